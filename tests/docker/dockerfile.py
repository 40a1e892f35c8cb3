"""The Dockerfile as a list of instructions, and its build stage run in a folder in place of a container."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
NO_INDEX = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "Temporary failure in name resolution")


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Every instruction, its continued lines joined; no comments."""
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = bare.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, `FROM` first."""
    found: list[list[Instruction]] = []
    for one in instructions(text):
        if one.word == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def labels(stage: list[Instruction]) -> dict[str, str]:
    """The stage's labels."""
    words = " ".join(one.rest for one in stage if one.word == "LABEL")
    pairs = [pair.partition('="') for pair in words.split('" ')]
    return {name.strip(): value.strip('"') for name, _, value in pairs}


def built(folder: Path) -> Path:
    """Run the build stage in `folder`, its paths led there, and give what would be `/opt/rogatory`."""
    opt, work = folder / "opt/rogatory", folder / "build"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    work.mkdir()
    for one in stages((DOCKER / "Dockerfile").read_text())[0]:
        if one.word == "COPY":
            *sources, target = one.rest.split()
            for source in sources:
                _copied(ROOT / source, Path(target.replace("/opt/rogatory", str(opt))), work)
        elif one.word == "RUN":
            command = one.rest.replace("/opt/rogatory", str(opt))
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                cwd=work,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0 and any(sign in done.stderr + done.stdout for sign in NO_INDEX):
                pytest.skip("no package index can be reached from here, so the image's environment cannot be made")
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return opt


def _copied(source: Path, target: Path, work: Path) -> None:
    """As COPY does: a folder's content into the target, files into a folder whose name ends with a slash (or is one)."""
    place = work / target
    if source.is_dir():
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        return
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)
