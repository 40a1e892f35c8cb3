"""Making a platform: the folders, the modes, the keyset; never half, never over something."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crypto.keyring import Cost, Keyring, read_passphrase
from crypto.keys import Ed25519Secret, read_jwk
from desk.settings import load_desk, load_reviewer
from gateway.app import load_keys
from gateway.operators import OperatorClient
from gateway.settings import load
from protocol.ids import parse_platform_id
from protocol.keyset import read_keyset
from protocol.terms import Role
from rogatory import keys
from rogatory.__main__ import main

BASE = ["--platform", "tg.example", "--operators", "alice,bob", "--reviewers", "carol,dave", "--cost", "interactive"]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["keys", *map(str, words)])


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("keys") / "town"
    done = run("init", folder, *BASE, "--gateway-url", "https://gateway.example", "--entity", "eu", "--json")
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_what_is_made_is_what_the_parties_read(town: tuple[Path, dict[str, Any]]) -> None:
    folder, told = town
    settings = load(folder / "gateway/gateway.toml")
    assert (settings.public_url, settings.port, settings.host) == ("https://gateway.example", 8440, "127.0.0.1")
    assert load_keys(settings, datetime.now(UTC)).keyset.entities() == ("eu",)
    assert load_desk(folder / "desk/desk.toml").entity == "eu"
    assert load_reviewer(folder / "reviewers/carol").name == "carol"
    assert OperatorClient.load(folder / "operators/alice", lambda: datetime.now(UTC)).settings.name == "alice"
    root = Keyring.open(folder / "root/root.ring", read_passphrase(folder / "root/root.passphrase"))
    secret = root.current(Role.ROOT).secret
    assert isinstance(secret, Ed25519Secret)
    assert secret.public.id == told["root"]


def test_everything_is_closed_to_others_and_every_passphrase_is_its_own(town: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = town
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            assert path.stat().st_mode & 0o777 == 0o700
        elif path.suffix in {".ring", ".passphrase"}:
            assert path.stat().st_mode & 0o777 == 0o600
    passphrases = [path.read_bytes() for path in folder.rglob("*.passphrase")]
    assert (len(passphrases), len(set(passphrases)), min(map(len, passphrases))) == (7, 7, 33)


def test_nothing_is_overwritten(town: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = town
    before = (folder / "public/keyset.jws").read_bytes()
    done = run("init", folder, *BASE)
    assert (done.exit_code, "left as it is" in done.stderr) == (1, True)
    assert (folder / "public/keyset.jws").read_bytes() == before


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def breaks(name: str) -> None:
        if name == "desk":
            raise KeyboardInterrupt

    plan = keys.Plan("tg.example", ("alice", "bob"), ("carol", "dave"), "main", "http://127.0.0.1:8440")
    with pytest.raises(KeyboardInterrupt):
        keys.make(tmp_path / "town", plan, datetime.now(UTC), Cost.INTERACTIVE, breaks)
    assert list(tmp_path.iterdir()) == []


def test_the_text_says_what_to_do_next_and_the_words_to_compare(tmp_path: Path) -> None:
    (tmp_path / "town").mkdir()  # empty: may be used
    done = run("init", tmp_path / "town", *BASE)
    assert done.exit_code == 0
    root = read_jwk(json.loads((tmp_path / "town/public/root.jwk").read_text()))
    assert root.id in done.stdout
    assert "Take" in done.stdout
    told = json.loads(run("status", tmp_path / "town", "--json").stdout)
    assert " ".join(told["words"]) in done.stdout
    assert [row["state"] for row in told["keys"]] == ["valid"] * 9
    assert len({row["key"] for row in told["keys"]}) == 9
    text = run("status", tmp_path / "town").stdout
    assert "tg.example, keyset 1, until" in text
    assert "gateway-signing" in text


@pytest.mark.parametrize(
    ("days", "state", "ended"), [(-200, "valid", True), (-500, "ended", True), (2, "not yet", False)]
)
def test_a_keyset_that_has_ended_is_shown_so(tmp_path: Path, days: int, state: str, ended: bool) -> None:
    plan = keys.Plan("tg.example", ("alice", "bob"), ("carol", "dave"), "main", "http://[::1]:8440")
    now = datetime.now(UTC) + timedelta(days=days)
    keys.make(tmp_path / "town", plan, now, Cost.INTERACTIVE, lambda _: None)
    told = json.loads(run("status", tmp_path / "town", "--json").stdout)
    assert (told["ended"], {row["state"] for row in told["keys"]}) == (ended, {state})
    assert ("ENDED" in run("status", tmp_path / "town").stdout) is ended


def test_a_keyset_by_another_root_is_not_shown(tmp_path: Path, town: tuple[Path, dict[str, Any]]) -> None:
    plan = keys.Plan("tg.example", ("alice", "bob"), ("carol", "dave"), "main", "http://127.0.0.1:8440")
    raw = keys.keyset_of(plan, keys.made(plan), datetime.now(UTC))
    (tmp_path / "public").mkdir()
    (tmp_path / "public/keyset.jws").write_bytes(raw)
    (tmp_path / "public/root.jwk").write_bytes((town[0] / "public/root.jwk").read_bytes())
    done = run("status", tmp_path)
    assert (done.exit_code, "keyset-wrong" in done.stderr) == (1, True)


def test_a_keyset_is_made_for_any_plan_and_version_and_needs_a_root() -> None:
    plan = keys.Plan("tg.example", ("alice", "bob"), ("carol", "dave"), "main", "http://127.0.0.1:8440")
    held, now = keys.made(plan), datetime.now(UTC)
    raw = keys.keyset_of(plan, held, now, 3)
    keyset = read_keyset(raw, keys._root_of(held), parse_platform_id(plan.platform), now)
    assert keyset.version == 3
    with pytest.raises(RuntimeError):
        keys.keyset_of(plan, held[1:], now)
    with pytest.raises(TypeError):
        keys._root_of([keys.Holding("root", "root", {Role.ROOT: held[2].secrets[Role.DESK_SEALING]})])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--operators", "alice"], id="one operator"),
        pytest.param(["--operators", "alice,alice"], id="one twice"),
        pytest.param(["--operators", "Alice,bob"], id="capitals"),
        pytest.param(["--operators", "../x,bob"], id="a path"),
        pytest.param(["--reviewers", "root,dave"], id="a name of ours"),
        pytest.param(["--platform", "TG"], id="no domain"),
        pytest.param(["--gateway-url", "https://a.example/path"], id="a path in the address"),
    ],
)
def test_what_cannot_be_is_a_mistake_in_typing(tmp_path: Path, words: Sequence[str]) -> None:
    done = run("init", tmp_path / "town", *BASE, *words)
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_roots_id_is_told_from_the_public_folder_alone(town: tuple[Path, dict[str, Any]]) -> None:
    folder, told = town
    assert run("root", folder / "public").stdout == told["root"] + "\n"
    assert run("root", folder / "public", "--words").stdout.splitlines()[1] == " ".join(told["words"])
