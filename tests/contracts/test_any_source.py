"""What every kind of source promises a desk. SqlSource over SQLite stands alone here until a second kind is there."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from desk.sources import SourceError, SqlSource
from protocol.procedures.production import Selector, Target
from protocol.procedures.shared import Span
from protocol.terms import Category

Make: TypeAlias = Callable[..., SqlSource]

CONTENT = """
CREATE TABLE people (account TEXT, phone TEXT, name TEXT, seen INTEGER, score REAL, raw BLOB);
INSERT INTO people VALUES
  ('@a', '+12025550101', 'Ada', 100, 1.5, x'00ff'), ('@b', '+12025550101', 'Bo', 200, NULL, NULL),
  ('@c', '+12025550102', ''' OR 1=1 --', 300, 0.0, NULL);
"""


def sqlite(folder: Path, queries: list[dict[str, str]], **told: object) -> SqlSource:
    connection = sqlite3.connect(folder / "people.db")
    connection.executescript(CONTENT)
    connection.close()
    lines = ['name = "people"', 'url = "sqlite:///people.db"']
    lines += [f"{name} = {value}" for name, value in told.items()]
    for query in queries:
        lines += ["[[queries]]", *(f"{name} = '''{value}'''" for name, value in query.items())]
    path = folder / "sources.toml"
    path.write_text("\n".join(lines))
    return SqlSource.read(path)


@pytest.fixture(params=[sqlite])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return lambda *args, **told: request.param(tmp_path, *args, **told)


def query(sql: str, by: str = "account", category: str = "subscriber", account: str = "account") -> dict[str, str]:
    return {"category": category, "by": by, "account": account, "sql": sql}


BY_ACCOUNT = query("SELECT account, name FROM people WHERE account = :target")
BY_PHONE = query("SELECT account, name FROM people WHERE phone = :target", "phone")


def targets(*values: str, by: Selector = Selector.ACCOUNT) -> list[Target]:
    return [Target(by=by, value=value) for value in values]


async def test_targets_are_found_and_accounts_counted(make: Make) -> None:
    found = await make([BY_ACCOUNT, BY_PHONE]).find(
        Category.SUBSCRIBER, [*targets("@a", "@c"), *targets("+12025550101", by=Selector.PHONE)], None
    )
    assert found.records.columns == ("account", "name")
    assert found.records.rows == (("@a", "Ada"), ("@c", "' OR 1=1 --"), ("@b", "Bo"))
    assert found.accounts == {"@a", "@b", "@c"}
    assert (found.records.source, found.records.category) == ("people", Category.SUBSCRIBER)


async def test_who_is_not_there_gives_no_rows(make: Make) -> None:
    found = await make([BY_ACCOUNT]).find(Category.SUBSCRIBER, targets("@nobody"), None)
    assert (found.records.rows, found.accounts) == ((), frozenset())


@pytest.mark.parametrize("value", ["' OR '1'='1", "@a' --", "@a'; DROP TABLE people; --", "%", "@a\\", ":target", '"'])
async def test_a_target_is_a_value_and_never_a_part_of_the_query(make: Make, value: str) -> None:
    source = make([BY_ACCOUNT])
    assert (await source.find(Category.SUBSCRIBER, targets(value), None)).records.rows == ()
    assert (await source.find(Category.SUBSCRIBER, targets("@a"), None)).records.rows == (("@a", "Ada"),)


@pytest.mark.parametrize(
    ("span", "rows"),
    [
        pytest.param(None, 2, id="no time named"),
        pytest.param(Span(since=1_700_000_100, until=1_700_000_200), 1, id="until is exclusive"),
        pytest.param(Span(since=1_700_000_101, until=1_700_000_201), 1, id="since is inclusive"),
        pytest.param(Span(since=1_700_000_201, until=1_700_000_300), 0, id="after all"),
    ],
)
async def test_the_span_of_time_is_bound(make: Make, span: Span | None, rows: int) -> None:
    sql = (
        "SELECT account, seen FROM people WHERE phone = :target"
        " AND (:since IS NULL OR seen + 1700000000 >= :since) AND (:until IS NULL OR seen + 1700000000 < :until)"
    )
    source = make([query(sql, "phone", "traffic")])
    found = await source.find(Category.TRAFFIC, targets("+12025550101", by=Selector.PHONE), span)
    assert len(found.records.rows) == rows


async def test_values_that_are_neither_text_nor_whole_numbers_become_text(make: Make) -> None:
    source = make([query("SELECT account, seen, score, raw FROM people WHERE account = :target")])
    found = await source.find(Category.SUBSCRIBER, targets("@a", "@b"), None)
    assert found.records.rows == (("@a", 100, "1.5", "00ff"), ("@b", 200, None, None))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH gone AS (SELECT :target AS x) INSERT INTO people (account) SELECT x FROM gone",
        "WITH gone AS (SELECT :target AS x) UPDATE people SET name = (SELECT x FROM gone)",
        "WITH gone AS (SELECT :target AS x) DELETE FROM people WHERE account IN (SELECT x FROM gone)",
    ],
)
async def test_a_query_that_would_write_fails_and_changes_nothing(make: Make, tmp_path: Path, sql: str) -> None:
    source = make([query(sql), BY_PHONE])
    with pytest.raises(SourceError, match="failed"):
        await source.find(Category.SUBSCRIBER, targets("@a"), None)
    found = await source.find(Category.SUBSCRIBER, targets("+12025550101", by=Selector.PHONE), None)
    assert found.records.rows == (("@a", "Ada"), ("@b", "Bo"))


async def test_more_rows_than_the_limit_are_an_error_and_no_shorter_answer(make: Make) -> None:
    source = make([BY_PHONE], rows=1)
    with pytest.raises(SourceError, match="too-many-rows"):
        await source.find(Category.SUBSCRIBER, targets("+12025550101", by=Selector.PHONE), None)
    found = await source.find(Category.SUBSCRIBER, targets("+12025550102", by=Selector.PHONE), None)
    assert len(found.records.rows) == 1


async def test_a_query_that_takes_too_long_is_stopped(make: Make) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT count(*) AS account FROM n WHERE i = :target"
    )
    source = make([query(endless)], seconds=1)
    with pytest.raises(SourceError, match="too-slow"):
        await source.find(Category.SUBSCRIBER, targets("@a"), None)
    assert all(not isinstance(thread, threading.Timer) for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("queries", "asked", "flaw"),
    [
        pytest.param([BY_PHONE], targets("@a"), "no-query", id="a target named in another way"),
        pytest.param(
            [query("SELECT nothing FROM people WHERE account = :target")], targets("@a"), "failed", id="no such column"
        ),
        pytest.param(
            [query("SELECT name FROM people WHERE account = :target")],
            targets("@a"),
            "account-missing",
            id="no account",
        ),
        pytest.param(
            [BY_ACCOUNT, query("SELECT account FROM people WHERE phone = :target", "phone")],
            [*targets("@a"), *targets("+12025550101", by=Selector.PHONE)],
            "columns-differ",
            id="two queries with other columns",
        ),
    ],
)
async def test_what_a_source_cannot_do_is_an_error_without_content(
    make: Make, queries: list[dict[str, str]], asked: list[Target], flaw: str
) -> None:
    with pytest.raises(SourceError) as failed:
        await make(queries).find(Category.SUBSCRIBER, asked, None)
    assert failed.value.flaw == flaw
    assert str(failed.value) == flaw


def test_a_source_says_what_it_answers(make: Make) -> None:
    source = make([BY_ACCOUNT, BY_PHONE, query(BY_PHONE["sql"], "phone", "traffic")])
    mixed = [*targets("@a"), *targets("+1", by=Selector.PHONE)]
    assert source.answers(Category.SUBSCRIBER, mixed)
    assert not source.answers(Category.TRAFFIC, mixed)
    assert source.answers(Category.TRAFFIC, mixed[1:])
    assert not source.answers(Category.CONTENT, mixed)
