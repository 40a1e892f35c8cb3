"""The README's quick start works as typed: every command of it, in order, in one shell."""

import os
import re
import subprocess
from pathlib import Path

from tests.journeys.town import free_port

ROOT = Path(__file__).parents[2]
UP = "python -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:PORT/readyz\")' 2>/dev/null"
DRAFTED = "rogatory desk cases --as town/reviewers/carol --json | grep -q '\"review\"'"


def read(name: str, command: str, pick: str) -> str:
    """What a person would read off a command's output, as a variable of the shell."""
    return f"{name}=$({command} --json | python -c 'import json, sys; found = json.load(sys.stdin); print({pick})')"


def until(holds: str) -> str:
    return f"for i in $(seq 100); do {holds} && break; sleep 0.2; done"


READ_CASE = read("CASE", "rogatory authority cases --home officer", 'found["cases"][0]["case"]')
READ_DRAFT = read("DRAFT", "rogatory desk show $CASE --as town/reviewers/carol", 'found["draft"]["digest"]')
READ_WORDS = read("WORDS", "rogatory authority status --home officer", '*found["words"]')


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    start = text[text.index("## Quick start by hand") : text.index("## Where to read on")]
    found = re.findall(r"^\$ (.+)$", start, re.MULTILINE)
    assert len(found) > 15
    return [one for one in found if not one.startswith(". .venv/")]


def script(port: int) -> str:
    """The README's commands as they stand, but for the port; what a person reads off one and types into the next is read here."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for command in commands():
        typed = command.replace("CASE", "$CASE").replace("DRAFT", "$DRAFT")
        if command.startswith("rogatory keys init"):
            typed += f" --gateway-url http://127.0.0.1:{port}"
        if command.startswith("rogatory gateway authorities confirm"):
            lines.append(READ_WORDS)
            typed += ' <<< "$WORDS"'
        if command.startswith("rogatory desk show"):
            lines += [READ_CASE, until(DRAFTED)]
        lines.append(typed)
        if command.startswith("rogatory desk show"):
            lines.append(READ_DRAFT)
        if command.startswith("rogatory gateway serve"):
            lines.append(until(UP))
    return "\n".join(lines).replace("127.0.0.1:8440", f"127.0.0.1:{port}").replace("PORT", str(port))


def test_the_quick_start_works_as_typed(tmp_path: Path) -> None:
    where = {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script(free_port())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env=dict(os.environ) | where,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "every byte of the file accounted for" in done.stdout
    assert "is closed" in done.stdout


def test_the_demo_tells_its_story_to_the_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/rogatory", "demo", "--folder", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
        env=dict(os.environ) | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for told in ("401 signature-invalid", "409 jti-reused", "not-found", "Everything was as it should be"):
        assert told in done.stdout
    assert (tmp_path / "demo/case.zip").exists()
