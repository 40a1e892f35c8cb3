"""The image's recipe: pinned, small, not root; what it copies is what its ignore file lets through. Nothing here needs Docker."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.docker.dockerfile import DOCKER, ROOT, Instruction, instructions, labels, stages

DOCKERFILE = (DOCKER / "Dockerfile").read_text()
BUILD, FINAL = stages(DOCKERFILE)
PACKAGES = {"authority", "channels", "crypto", "desk", "gateway", "protocol", "rogatory"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PIN = ROOT / "scripts/pin-images.sh"


def only(word: str, stage: list[Instruction]) -> str:
    (found,) = [one.rest for one in stage if one.word == word]
    return found


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned_by_an_argument_without_a_default() -> None:
    assert instructions(DOCKERFILE)[0] == Instruction("ARG", "PYTHON_DIGEST")
    for stage in (BUILD, FINAL):
        assert re.match(r"docker\.io/library/python:3\.11-slim\S*@\$\{PYTHON_DIGEST:\?\w+\}", stage[0].rest)


def test_no_file_has_a_digest_that_no_registry_told() -> None:
    files = [path for path in DOCKER.rglob("*") if path.is_file() and "secrets" not in path.relative_to(DOCKER).parts]
    found = {path.name for path in [*files, PIN] if DIGEST.search(path.read_text(errors="replace"))}
    assert found <= {"images.env"}  # what `make pin` wrote


def test_the_image_is_not_root_by_number_and_ends_on_sigterm() -> None:
    assert only("USER", FINAL) == "10001:10001"
    assert only("STOPSIGNAL", FINAL) == "SIGTERM"
    assert "ready.py" in only("HEALTHCHECK", FINAL)
    assert only("ENTRYPOINT", FINAL) == '["rogatory"]'
    assert "PYTHONDONTWRITEBYTECODE=1" in only("ENV", FINAL)


def test_everything_is_installed_by_its_hash_and_pip_stays_outside() -> None:
    installs = [one.rest for one in BUILD if one.word == "RUN" and "install" in one.rest]
    assert installs
    for one in installs:
        assert ("--require-hashes" in one and "--only-binary :all:" in one) or "--no-index --no-deps" in one
    assert all("--without-pip" in one.rest for one in BUILD if "-m venv" in one.rest)


def test_the_labels_say_what_it_is_and_where_its_bill_of_materials_lies() -> None:
    said = labels(FINAL)
    assert said["rogatory.sbom"] == "/opt/rogatory/sbom.cdx.json"
    assert f"> {said['rogatory.sbom']}" in " ".join(one.rest for one in BUILD)
    assert said["org.opencontainers.image.base.digest"] == "${PYTHON_DIGEST}"
    assert said["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = {line[1:].rstrip("/") for line in rules if line.startswith("!")}
    copied = {source for one in BUILD if one.word == "COPY" for source in one.rest.split()[:-1]}
    assert rules[0] == "*"
    assert let_in == copied
    assert copied >= PACKAGES


def test_the_bill_of_materials_names_every_package_with_its_hashes(tmp_path: Path) -> None:
    def made() -> str:
        # Of the tests' own environment, which holds more than the image's: all that is locked anywhere.
        locks = tmp_path / "locks.txt"
        locks.write_text("\n".join(path.read_text() for path in sorted((ROOT / "requirements").glob("*.txt"))))
        extra = [f"{one.name}=={one.version}\n" for one in distributions()]
        locks.write_text("".join(extra) + locks.read_text())
        command = [sys.executable, DOCKER / "sbom.py", locks]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    first = made()
    told = json.loads(first)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    assert told["metadata"]["component"]["name"] == "rogatory"
    by_name = {one["name"]: one for one in told["components"]}
    assert by_name["pynacl"]["purl"] == f"pkg:pypi/pynacl@{by_name['pynacl']['version']}"
    assert len(by_name["pynacl"]["properties"]) > 1
    assert made() == first


def test_a_package_that_no_lock_knows_gets_no_bill_of_materials(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("nothing==1 \\\n    --hash=sha256:" + "0" * 64)
    done = subprocess.run([sys.executable, DOCKER / "sbom.py", lock], capture_output=True, check=False)
    assert done.returncode != 0
    assert done.stdout == b""


# Pinning. A registry's own programs are not to be had everywhere: in their place stands one that says what it is told to.


def pinned(tmp_path: Path, says: str | None) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The script with nothing on its PATH but the shell's own tools and, if `says`, a `skopeo` that prints that."""
    tools, docker = tmp_path / "tools", tmp_path / "docker"
    tools.mkdir()
    docker.mkdir()
    for name in ("sh", "sed", "sort", "cut", "uniq", "grep", "mv", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name in ("Dockerfile", "compose.yml"):
        shutil.copy(DOCKER / name, docker)
    if says is not None:
        (tools / "skopeo").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{says}\n')
        (tools / "skopeo").chmod(0o755)
    environment = {"PATH": str(tools)}
    command = [str(shutil.which("sh")), str(PIN), str(docker)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done, docker / "images.env"


def test_without_a_way_to_a_registry_nothing_is_pinned_and_the_reason_is_said(tmp_path: Path) -> None:
    done, written = pinned(tmp_path, None)
    assert done.returncode == 1
    assert "neither docker with buildx, nor skopeo, nor crane" in done.stderr
    assert not written.exists()


def test_what_the_registry_says_is_written_for_every_image(tmp_path: Path) -> None:
    done, written = pinned(tmp_path, "printf 'sha256:%064d\\n' 7")
    assert done.returncode == 0, done.stderr
    lines = [line for line in written.read_text().splitlines() if not line.startswith("#")]
    assert [line.split("=")[0] for line in lines] == [
        "CADDY_DIGEST",
        "POSTGRES_DIGEST",
        "PYTHON_DIGEST",
        "REDIS_DIGEST",
    ]
    assert all(DIGEST.fullmatch(line.split("=")[1]) for line in lines)
    assert "docker://docker.io/library/python:3.11-slim" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("says", ["echo sha256:abc", "echo", "exit 1", "echo latest"])
def test_what_is_no_digest_is_not_written(tmp_path: Path, says: str) -> None:
    done, written = pinned(tmp_path, says)
    assert done.returncode == 1
    assert not written.exists()
    assert {path.name for path in written.parent.iterdir()} == {"Dockerfile", "compose.yml"}
