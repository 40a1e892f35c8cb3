"""One platform for all tests of the desk, and a `House` (tests/desks.py) for each."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from channels.logs import configure
from desk.settings import load_desk
from protocol.events import EVENTS
from tests.actors import NOW, Platform
from tests.desks import SOURCES, SQL, House


@pytest.fixture(scope="session")
def platform_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Path]:
    """One platform for all tests: key rings are slow to make. Tests are kept apart by their data."""
    folder = tmp_path_factory.mktemp("platform")
    platform = Platform()
    platform.write(folder)
    connection = sqlite3.connect(folder / "desk/accounts.db")
    connection.executescript(SQL)
    connection.close()
    (folder / "desk/sources.toml").write_text(SOURCES)
    return platform, folder


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure(EVENTS, party="desk", stream=stream)
    yield stream
    configure(EVENTS, party="desk", stream=io.StringIO())


@pytest.fixture
async def house(platform_folder: tuple[Platform, Path], tmp_path: Path, logged: io.StringIO) -> AsyncIterator[House]:
    platform, folder = platform_folder
    platform.now = NOW
    raw = platform.keyset_raw
    told = {"data": tmp_path / "data", "channel": f"sqlite:///{tmp_path}/queue.db"}
    settings = load_desk(folder / "desk/desk.toml").model_copy(update=told)
    found = House(platform, folder, settings, logged)
    yield found
    platform.keyset_raw = raw
    await found.close()
