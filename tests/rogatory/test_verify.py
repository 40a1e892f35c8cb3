"""`rogatory verify`: what it says of a sound file, and that it finds one changed byte."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from protocol.casefile import Parts, write
from rogatory.__main__ import main
from tests.actors import Chains, Officer, Platform

PLATFORM = Platform(post_quantum=False)


@pytest.fixture(scope="module")
def raw() -> bytes:
    chains, officer = Chains(PLATFORM), Officer(PLATFORM)
    chains.admitted(officer)
    case = chains.opened(officer)
    rows = chains.registry_rows[officer.party], chains.case_rows[case.id]
    return write(Parts(PLATFORM.id, PLATFORM.root.public, PLATFORM.keyset_raw, *rows, {}))


@pytest.fixture
def file(tmp_path: Path, raw: bytes) -> Path:
    (tmp_path / "case.zip").write_bytes(raw)
    return tmp_path / "case.zip"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)])


def test_a_sound_file_is_told_line_by_line_and_the_root_is_to_be_compared(file: Path) -> None:
    done = run(file)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("form: ")
    assert any("statement" in line and "by its key" in line for line in lines)
    assert PLATFORM.root.public.id in done.stdout
    assert lines[-1] == "Sound."


def test_the_named_root_is_held_against_the_file(file: Path) -> None:
    assert "the one that you named" in run(file, "--root", PLATFORM.root.public.id).stdout
    done = run(file, "--root", PLATFORM.gateway.public.id)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "not under the root key that you named" in done.stderr


def test_json_says_the_same(file: Path) -> None:
    told = json.loads(run(file, "--json").stdout)
    assert (told["root"], told["pinned"], told["state"]) == (PLATFORM.root.public.id, False, "received")
    assert told["checked"][0].startswith("form: ")


def test_one_changed_byte_anywhere_is_refused_with_the_place(file: Path, raw: bytes) -> None:
    for at in range(0, len(raw), len(raw) // 40):
        file.write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
        done = run(file)
        assert (done.exit_code, done.stdout) == (1, ""), at
        assert "case-file-wrong" in done.stderr
        assert ": expected" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_that_is_no_case_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    assert run(tmp_path / "x").exit_code == 1
    assert run(tmp_path / "missing").exit_code == 2
