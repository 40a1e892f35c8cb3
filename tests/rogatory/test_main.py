"""The entrance: lazy, complete, quick; and what the world refuses becomes a sentence."""

import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from pydantic import BaseModel

import rogatory
from channels import ChannelError
from crypto.errors import KeyringError
from gateway.store import StoreError
from protocol.problems import Place, Refused
from rogatory.__main__ import COMMANDS, main
from rogatory.sentences import sentence

ROOT = Path(__file__).parents[2]


def test_help_names_every_command_and_imports_none_of_them() -> None:
    look = (
        "import sys; from click.testing import CliRunner; from rogatory.__main__ import main;"
        "done = CliRunner().invoke(main, ['--help']); print(done.output);"
        "print('imported:', [name for name in ('authority', 'gateway', 'desk', 'protocol', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "imported: []" in done.stdout
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_help_answers_at_once() -> None:
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rogatory", "--help"], cwd=ROOT, capture_output=True, check=True)
        took.append(time.perf_counter() - begun)
    print(f"rogatory --help: {min(took) * 1_000:.0f} ms")
    assert min(took) < 0.45  # 150 ms on a machine of its own; the shared one is given three times that


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    if name == "demo":
        pytest.importorskip("rogatory.demo")
    done = CliRunner().invoke(main, [name, "--help"])
    assert (done.exit_code, "Usage:" in done.output) == (0, True), done.output


def test_an_unknown_command_is_a_mistake_in_typing() -> None:
    done = CliRunner().invoke(main, ["nonsense"])
    assert (done.exit_code, "No such command" in done.output) == (2, True)


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == rogatory.VERSION
    assert rogatory.VERSION in CliRunner().invoke(main, ["--version"]).output


def test_completion_knows_commands_and_their_options() -> None:
    complete = ShellComplete(main, {}, "rogatory", "_ROGATORY_COMPLETE")
    assert [one.value for one in complete.get_completions([], "de")] == ["desk", "demo"]
    assert "--platform" in [one.value for one in complete.get_completions(["keys", "init"], "--p")]
    assert "--version" in [one.value for one in complete.get_completions([], "--v")]


class _Form(BaseModel):
    size: int


def _misfit() -> Exception:
    try:
        _Form.model_validate({"size": "canary"})
    except ValueError as error:
        return error
    raise AssertionError


def _no_toml() -> Exception:
    try:
        tomllib.loads("x = ")
    except tomllib.TOMLDecodeError as error:
        return error
    raise AssertionError


WORLD = [
    (Refused("stale"), "The statement is too old (stale). Build and sign"),
    (Refused("kind-not-allowed", article="Art. 1", places=(Place("/x", "y"),)), "  law: Art. 1\n  /x: y"),
    (KeyringError("wrong-passphrase-or-altered"), "The passphrase is wrong"),
    (KeyringError("doubled-epoch"), "KeyringError: doubled-epoch."),
    (ChannelError("busy"), "The queue is busy"),
    (StoreError("disk-full"), "StoreError: disk-full."),
    (FileNotFoundError(2, "No such file or directory", "/x"), "/x: No such file or directory"),
    (OSError(), "OSError"),
    (_misfit(), "_Form is not as it must be:\n  size: Input should be a valid integer"),
    (_no_toml(), "A TOML file cannot be read: Invalid value"),
]


@pytest.mark.parametrize(("error", "says"), WORLD, ids=lambda value: type(value).__name__)
def test_what_the_world_refused_is_a_sentence_and_exit_code_1(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def verify() -> None:
        raise error

    monkeypatch.setattr(import_module("rogatory.verify"), "verify", verify)
    done = CliRunner().invoke(main, ["verify"])
    assert done.exit_code == 1
    assert says in done.output
    assert "canary" not in done.output


@pytest.mark.parametrize("error", [RuntimeError("ours"), click.Abort(), click.UsageError("typed")])
def test_our_own_mistakes_and_clicks_errors_go_on_as_they_are(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def verify() -> None:
        raise error

    monkeypatch.setattr(import_module("rogatory.verify"), "verify", verify)
    with pytest.raises(type(error)):
        main.main(["verify"], standalone_mode=False)


def test_what_is_no_error_of_the_world_has_no_sentence() -> None:
    assert sentence(ValueError("x")) is None


def test_a_table_row_that_names_no_command_is_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("rogatory.verify"), "verify", "nothing")
    with pytest.raises(TypeError):
        main.main(["verify"], standalone_mode=False)
