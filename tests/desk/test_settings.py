from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from desk.settings import load_desk, load_reviewer
from tests.actors import Platform

DESK = """
platform = "tg.example"
gateway = "https://gateway.tg.example"
ring = "desk.ring"
passphrase_file = "desk.passphrase"
keyset = "../public/keyset.jws"
root = "../public/root.jwk"
channel = "sqlite:///../channel/queue.db"
sources = "sources.toml"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "desk.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file_and_the_rest_has_safe_defaults(tmp_path: Path) -> None:
    found = load_desk(written(tmp_path, DESK))
    assert found.ring == tmp_path / "desk.ring"
    assert found.database == tmp_path / "data/desk.db"
    assert found.channel == f"sqlite:///{tmp_path.parent}/channel/queue.db"
    assert (found.entity, found.unreceipted) == ("main", timedelta(minutes=15))


def test_a_channel_that_is_no_file_is_left_as_it_is(tmp_path: Path) -> None:
    text = DESK.replace("sqlite:///../channel/queue.db", "rediss://broker.tg.example/0")
    assert load_desk(written(tmp_path, text)).channel == "rediss://broker.tg.example/0"


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROGATORY_DESK_ENTITY", "eu")
    assert load_desk(written(tmp_path, DESK)).entity == "eu"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('platform = "tg.example"', "", id="no platform"),
        pytest.param("tg.example", "TG", id="a platform that is no domain"),
        pytest.param("https://gateway.tg.example", "gateway.tg.example", id="a gateway without a scheme"),
        pytest.param("https://gateway.tg.example", "https://gateway.tg.example/v1", id="a gateway with a path"),
        pytest.param("ring =", "rings =", id="a name misspelt"),
        pytest.param("sources =", "entity = 7\nsources =", id="an entity that is a number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ValidationError):
        load_desk(written(tmp_path, DESK.replace(old, new, 1)))


def test_a_missing_file_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_desk(tmp_path / "desk.toml")


def test_a_reviewer_s_folder_names_desk_and_ring(platform_folder: tuple[Platform, Path]) -> None:
    _, folder = platform_folder
    found = load_reviewer(folder / "reviewers/carol")
    assert found.name == "carol"
    assert found.ring == folder / "reviewers/carol/carol.ring"
    assert found.desk.resolve() == folder / "desk/desk.toml"
    assert load_desk(found.desk).ring == folder / "desk/desk.ring"
