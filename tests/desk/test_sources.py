"""What a sources file may say. What a source then does is in contracts/test_any_source.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from desk.sources import SourceError, SqlSource
from protocol.procedures.production import Selector, Target
from protocol.terms import Category

GOOD = """
name = "accounts"
url = "sqlite:///accounts.db"
rows = 10
seconds = 5
[[queries]]
category = "subscriber"
by = "account"
account = "account"
sql = "SELECT account FROM people WHERE account = :target"
"""
QUERY = GOOD[GOOD.index("[[queries]]") :]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sources.toml"


def test_a_sources_file_is_read(path: Path) -> None:
    path.write_text(GOOD)
    assert SqlSource.read(path).name == "accounts"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('name = "accounts"', "", id="no name"),
        pytest.param('"accounts"', '"Accounts of all"', id="a name that is no name"),
        pytest.param("rows = 10", "rows = 0", id="no rows"),
        pytest.param("rows = 10", 'rows = "10"', id="a number as text"),
        pytest.param("seconds = 5", "seconds = 86400", id="a day"),
        pytest.param("seconds = 5", "seconds = 5\nwrites = true", id="unknown member"),
        pytest.param('"subscriber"', '"everything"', id="no such category"),
        pytest.param('"subscriber"', "7", id="category is a number"),
        pytest.param('by = "account"', 'by = "shoe-size"', id="no such way to name a target"),
        pytest.param(":target", "'@a'", id="a query that asks for nobody"),
        pytest.param(":target", ":target AND x = :other", id="another parameter"),
        pytest.param("SELECT account", "DELETE", id="no SELECT"),
        pytest.param("SELECT account FROM", "PRAGMA query_only=off -- SELECT account FROM", id="a pragma"),
        pytest.param(":target", ":target; DROP TABLE people", id="two statements"),
        pytest.param('account = "account"', 'account = "a b"', id="a column that is no name"),
        pytest.param(QUERY, "", id="no queries"),
        pytest.param(QUERY, "queries = 7", id="queries are a number"),
        pytest.param(QUERY, "queries = [7]", id="a query is a number"),
        pytest.param(QUERY, QUERY + QUERY, id="two queries for one question"),
    ],
)
def test_what_is_not_of_the_form_is_refused(path: Path, old: str, new: str) -> None:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ValidationError):
        SqlSource.read(path)


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        pytest.param("no url at all", "url-form", id="no URL"),
        pytest.param("clickhouse://host/db", "url-form", id="a database that SQLAlchemy does not know"),
        pytest.param("postgresql+psycopg://host/db", "no-such-driver", id="a driver that is not installed"),
        pytest.param("mssql+pyodbc://host/db", "no-such-driver", id="another"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(path: Path, url: str, flaw: str) -> None:
    path.write_text(GOOD.replace("sqlite:///accounts.db", url))
    with pytest.raises(SourceError) as refused:
        SqlSource.read(path)
    assert refused.value.flaw == flaw


def test_a_database_that_we_could_not_keep_from_writing_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desk.sources.DIALECTS", {})
    path.write_text(GOOD)
    with pytest.raises(SourceError, match="dialect-unknown"):
        SqlSource.read(path)


def test_a_database_in_memory_has_no_path_to_make_absolute(path: Path) -> None:
    path.write_text(GOOD.replace("sqlite:///accounts.db", "sqlite://"))
    assert SqlSource.read(path).name == "accounts"


@pytest.fixture
def read(path: Path) -> SqlSource:
    path.write_text(GOOD)
    return SqlSource.read(path)


async def test_a_missing_database_is_an_error_and_is_not_made(read: SqlSource, path: Path) -> None:
    with pytest.raises(SourceError, match="failed"):
        await read.find(Category.SUBSCRIBER, [Target(by=Selector.ACCOUNT, value="@a")], None)
    assert [one.name for one in path.parent.iterdir()] == ["sources.toml"]
