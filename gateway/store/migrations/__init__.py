"""From any schema that was ever released to today's, on every engine: Alembic, run from the package, without a file of settings.

The version stands in the table `alembic_version`, and engines read it with a plain query at their start: importing Alembic costs
a second, so that it is imported when there is something to migrate and never else. Each migration is one transaction: all of it
or nothing. A schema newer than this code is never touched.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gateway.store import StoreError, sqlite_path

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection

REVISIONS: Final = ("0001", "0002")  # oldest first; each is a file in versions/
HEAD: Final = REVISIONS[-1]
VERSION_TABLE: Final = "alembic_version"
# Before there were revisions, a SQLite file said `schema` = `1` in a table of its own. It has the tables of the first revision.
UNVERSIONED: Final = "meta"


def judged(version: str | None) -> Literal["current", "older"]:
    """How a stored version stands to this code; None is a database without tables. Raises StoreError: `newer-schema`."""
    if version == HEAD:
        return "current"
    if version is None or version in REVISIONS:
        return "older"
    raise StoreError("newer-schema")


async def migrated(url: str) -> None:
    """Bring the database at `url` to today's schema; when it is there already, nothing happens.

    Raises StoreError: `newer-schema`, `not-migrated` (nothing was changed), `store-scheme`, `store-path`.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        await asyncio.to_thread(sqlite_migrated, sqlite_path(url))
    elif scheme in {"postgresql", "postgres"}:
        await _postgres_migrated(url)
    else:
        raise StoreError("store-scheme")


def sqlite_migrated(path: Path) -> None:
    """The same for a file, in the caller's thread. Raises StoreError: `newer-schema`, `not-migrated`."""
    from sqlalchemy import create_engine, event, exc  # noqa: PLC0415 (a second: see above)

    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None, timeout=10))

    @event.listens_for(engine, "connect")
    def durable(connection: "DBAPIConnection", _record: object) -> None:
        connection.cursor().execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def locked(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # of two processes one waits, and finds it done

    try:
        with engine.begin() as connection:
            _upgraded(connection)
    except (exc.DBAPIError, sqlite3.Error) as error:
        raise StoreError("not-migrated") from error
    finally:
        engine.dispose()


async def _postgres_migrated(url: str) -> None:
    import asyncpg  # noqa: PLC0415 (see above)
    from sqlalchemy import exc  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('rogatory.migrate'))")
            await connection.run_sync(_upgraded)
    except (exc.DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise StoreError("not-migrated") from error
    finally:
        await engine.dispose()


def _upgraded(connection: "Connection") -> None:
    """Inside the caller's transaction, which nobody else can enter."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import inspect  # noqa: PLC0415

    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "gateway.store:migrations")
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables:
        judged(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar())  # noqa: S608 (a constant)
    elif UNVERSIONED in tables:
        judged_unversioned(connection.exec_driver_sql(f"SELECT value FROM {UNVERSIONED}").scalar())  # noqa: S608
        command.stamp(settings, REVISIONS[0])
        connection.exec_driver_sql(f"DROP TABLE {UNVERSIONED}")
    command.upgrade(settings, HEAD)


def judged_unversioned(value: object) -> None:
    """Refuse what an unversioned file says when it is not what such files said."""
    if value != "1":
        raise StoreError("newer-schema")
