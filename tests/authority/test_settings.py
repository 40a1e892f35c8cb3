"""The authority's home: made once, closed to others, overridden by the environment, strict in its form."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from authority.settings import AuthoritySettings, load, make
from crypto.errors import KeyringError
from crypto.keyring import Cost
from protocol.terms import AuthorityType
from tests.actors import NOW

SETTINGS = AuthoritySettings(
    id="kr-knpa-cyber",
    name='KNPA "Cyber"',
    country="KR",
    type=AuthorityType.POLICE,
    contact="+82",
    gateway="https://gateway.example",
    platform="tg.example",
    root="x" * 43,
)


def test_a_home_is_made_once_and_reads_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path / "a/b", SETTINGS, b"secret", NOW, Cost.INTERACTIVE)
    found = load(tmp_path / "a/b")
    assert (found.folder, found.settings.model_dump()) == (home.folder, SETTINGS.model_dump())
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeyringError, match="exists"):
        make(tmp_path / "a/b", SETTINGS, b"secret", NOW, Cost.INTERACTIVE)
    monkeypatch.setenv("ROGATORY_AUTHORITY_GATEWAY", "http://127.0.0.1:8440")
    assert load(tmp_path / "a/b").settings.gateway == "http://127.0.0.1:8440"
    monkeypatch.setenv("ROGATORY_AUTHORITY_GATEWAY", "http://gateway.example")
    with pytest.raises(ValidationError):
        load(tmp_path / "a/b")


def test_a_folder_without_settings_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="rogatory authority init"):
        load(tmp_path)
