"""From every schema that ever was to today's, on both engines; what is newer is left alone, what is older is not run on."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from gateway.store import StoreError, open_store
from gateway.store.migrations import HEAD, REVISIONS, migrated
from gateway.store.schema import metadata, sqlite_script
from protocol.ids import CaseId, PartyId, digest_of, instant
from tests.servers import postgres

NOW = instant(1_795_000_000)
CASE = CaseId("01a1ee56-5e00-8103-9821-e9d2158f64f8")
A = PartyId("kr-knpa-cyber")

# What the embedded engine made before there were revisions, word for word.
UNVERSIONED = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, chain TEXT NOT NULL, seq INTEGER NOT NULL, stage TEXT NOT NULL, at INTEGER NOT NULL,
  digest BLOB NOT NULL, issuer TEXT, jti TEXT, statement BLOB, sealed BLOB, receipt BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX rows_place ON rows (chain, seq);
CREATE UNIQUE INDEX rows_name ON rows (issuer, jti) WHERE issuer IS NOT NULL;
CREATE TABLE authorities (id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cases (
  id TEXT PRIMARY KEY, authority TEXT NOT NULL, entity TEXT NOT NULL, state TEXT NOT NULL,
  received INTEGER NOT NULL, due INTEGER, overdue INTEGER NOT NULL, steps INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cases_authority ON cases (authority, id);
CREATE INDEX cases_due ON cases (due) WHERE due IS NOT NULL AND overdue = 0;
CREATE TABLE sealed (digest BLOB PRIMARY KEY, chain TEXT NOT NULL, content BLOB NOT NULL) STRICT;
CREATE TABLE blobs (
  digest BLOB PRIMARY KEY, size INTEGER NOT NULL, owner TEXT NOT NULL, at INTEGER NOT NULL,
  chain TEXT, entity TEXT, fetched INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_chain ON blobs (chain) WHERE chain IS NOT NULL;
CREATE INDEX blobs_orphan ON blobs (at) WHERE chain IS NULL;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, entity TEXT NOT NULL, row INTEGER, chain TEXT, seq INTEGER, rejection BLOB,
  next INTEGER NOT NULL, attempts INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_next ON outbox (entity, next, id);
CREATE INDEX outbox_chain ON outbox (entity, chain, seq);
CREATE TABLE acceptances (
  digest BLOB NOT NULL, entity TEXT NOT NULL, statement BLOB NOT NULL, PRIMARY KEY (digest, entity)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', '1');
"""
# One of everything, as the first revision keeps it; good on both engines.
FILLED = """
INSERT INTO rows (id, chain, seq, stage, at, digest, issuer, jti, statement, sealed, receipt)
  VALUES (7, 'CASE', 1, 'taken', 1795000000, DIGEST, 'kr-knpa-cyber', 'jti', BYTES, NULL, BYTES);
INSERT INTO cases VALUES ('CASE', 'kr-knpa-cyber', 'main', 'received', 1795000000, 1795000100, FALSE, 1);
INSERT INTO authorities VALUES ('kr-knpa-cyber', 'admitted');
INSERT INTO outbox (id, entity, "row", chain, seq, next, attempts) VALUES (41, 'main', 7, 'CASE', 1, 0, 3);
""".replace("CASE", CASE)
ON_SQLITE = FILLED.replace("DIGEST", f"x'{digest_of(b'x')}'").replace("BYTES", "x'616263'")
ON_POSTGRES = FILLED.replace("DIGEST", f"'\\x{digest_of(b'x')}'").replace("BYTES", "'\\x616263'")


def settings(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "gateway.store:migrations")
    return config


async def on(url: str, work: Callable[[Connection], Any]) -> Any:
    """Run something of SQLAlchemy's on a database of either engine."""
    if url.startswith("sqlite"):
        engine = create_engine(url.replace("sqlite:///", "sqlite:////"))
        with engine.begin() as connection:
            found = work(connection)
        engine.dispose()
        return found
    server = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    async with server.begin() as connected:
        found = await connected.run_sync(work)
    await server.dispose()
    return found


async def filled(url: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as connection:
            connection.executescript(ON_SQLITE)
        return
    server = await asyncpg.connect(url)
    await server.execute(ON_POSTGRES)
    await server.close()


def made(path: Path, script: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return f"sqlite://{path}"


def tables(url: str) -> list[tuple[str, str]]:
    """What a SQLite file says of itself, but for the spelling."""
    with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        return [(name, " ".join(sql.replace('"', "").replace("( ", "(").split())) for name, sql in found]


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'gateway.db'}"
        return
    url = await postgres().empty()
    yield url
    await postgres().drop(url)


async def still_there(url: str) -> None:
    store = await open_store(url)
    (row,) = await store.chain(CASE)
    assert (row.statement, row.receipt) == (b"abc", b"abc")
    assert await store.authorities() == [A]
    assert [one.case for one in await store.cases(A, None, 9)] == [CASE]
    (owed,) = await store.owed("main", NOW, 9)
    assert (owed.id, owed.receipt, owed.attempts) == (41, b"abc", 3)
    await store.close()


async def test_from_empty_it_is_what_the_schema_says(empty: str) -> None:
    await migrated(empty)
    assert await on(empty, lambda one: compare_metadata(MigrationContext.configure(one), metadata)) == []
    await migrated(empty)
    await (await open_store(empty)).close()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_from_every_revision_nothing_is_lost(empty: str, revision: str) -> None:
    await on(empty, lambda one: command.upgrade(settings(one), revision))
    await filled(empty)
    await migrated(empty)
    assert await on(empty, lambda one: compare_metadata(MigrationContext.configure(one), metadata)) == []
    await still_there(empty)


async def test_two_that_migrate_at_once_do_it_once(empty: str) -> None:
    await on(empty, lambda one: command.upgrade(settings(one), REVISIONS[0]))
    await filled(empty)
    await asyncio.gather(migrated(empty), migrated(empty))
    await still_there(empty)


async def test_a_newer_schema_is_neither_opened_nor_migrated(empty: str) -> None:
    await migrated(empty)
    await on(empty, lambda one: one.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (open_store, migrated):
        with pytest.raises(StoreError) as error:
            await refused(empty)
        assert error.value.flaw == "newer-schema"


async def test_postgresql_is_migrated_by_command_alone() -> None:
    for url in (await postgres().empty(), await postgres().empty()):
        with pytest.raises(StoreError) as error:
            await open_store(url)
        assert error.value.flaw == "older-schema"
        await on(url, lambda one: command.upgrade(settings(one), REVISIONS[0]))
    with pytest.raises(StoreError) as error:
        await open_store(url)
    assert error.value.flaw == "older-schema"


async def test_the_file_of_an_older_schema_is_migrated_at_start(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'gateway.db'}"
    await on(url, lambda one: command.upgrade(settings(one), REVISIONS[0]))
    await filled(url)
    await still_there(url)


async def test_a_file_from_before_there_were_revisions_is_recognised(tmp_path: Path) -> None:
    url = made(tmp_path / "gateway.db", UNVERSIONED + ON_SQLITE)
    await still_there(url)
    names = [name for name, _ in tables(url)]
    assert "meta" not in names
    assert names == [name for name, _ in tables(made(tmp_path / "fresh.db", sqlite_script()))]


async def test_an_unversioned_file_that_says_another_number_is_left_alone(tmp_path: Path) -> None:
    url = made(tmp_path / "gateway.db", UNVERSIONED.replace("'schema', '1'", "'schema', '2'"))
    with pytest.raises(StoreError) as error:
        await open_store(url)
    assert error.value.flaw == "newer-schema"


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    url = made(tmp_path / "gateway.db", UNVERSIONED + ON_SQLITE + "CREATE TABLE outbox_before (in_the_way TEXT);")
    before = tables(url)
    with pytest.raises(StoreError) as error:
        await open_store(url)
    assert error.value.flaw == "not-migrated"
    assert tables(url) == before


async def test_a_server_that_is_not_there_is_not_migrated(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        await migrated(f"postgresql://nobody@/nothing?host={tmp_path}")
    assert error.value.flaw == "not-migrated"


@pytest.mark.parametrize(
    ("url", "flaw"),
    [("mysql://x/y", "store-scheme"), ("", "store-scheme"), ("sqlite://", "store-path"), ("sqlite:///", "store-path")],
)
async def test_an_address_of_no_store_is_refused(url: str, flaw: str) -> None:
    for refused in (open_store, migrated):
        with pytest.raises(StoreError) as error:
            await refused(url)
        assert error.value.flaw == flaw


async def test_the_script_of_a_new_file_is_what_the_schema_says_and_what_the_migrations_make(tmp_path: Path) -> None:
    script = files("gateway.store.migrations").joinpath("sqlite.sql").read_text()
    assert script == sqlite_script(), "write sqlite_script() into gateway/store/migrations/sqlite.sql"
    fresh, grown = made(tmp_path / "fresh.db", script), f"sqlite://{tmp_path / 'grown.db'}"
    await migrated(grown)
    assert tables(fresh) == tables(grown)


def test_the_newest_revision_is_the_one_that_engines_ask_for() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [HEAD]
    assert [one.revision for one in scripts.walk_revisions()] == [*reversed(REVISIONS)]


def test_the_embedded_engine_starts_without_sqlalchemy_and_alembic(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from gateway.store import open_store\n"
        "async def main():\n"
        f"    for _ in range(2): await (await open_store('sqlite://{tmp_path / 'gateway.db'}')).close()\n"
        "asyncio.run(main()); print(sorted({'sqlalchemy', 'alembic', 'asyncpg'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
