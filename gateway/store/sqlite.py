"""The record in one SQLite file: WAL, `synchronous=FULL`, one writing process.

Rows are inserted in the loop's own tick and committed in a thread, one commit in flight (measured best on this engine); reads go
over a connection of their own. The file is 0600. What is erased is overwritten (`secure_delete`).
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast, final

from gateway.store import BlobRow, CaseRow, Commit, Known, Owed, StoreError
from gateway.store.migrations import VERSION_TABLE, judged, sqlite_migrated
from protocol.chains import Row
from protocol.ids import CaseId, Digest, Instant, PartyId, instant, numeric

_TABLES: Final = ("rows", "authorities", "cases", "sealed", "blobs", "outbox", "acceptances")
_CASE: Final = "id, authority, entity, state, received, due, overdue, steps"
Result = TypeVar("Result")


@final
class SqliteStore:
    """The embedded engine. Made by `open`."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or make the file, and migrate what is older. Raises StoreError: `newer-schema`, `not-migrated`, `unusable`."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            if not _prepared(path):
                await asyncio.to_thread(sqlite_migrated, path)
            return cls(path, _connected(path), _connected(path))
        except (sqlite3.Error, OSError) as error:
            raise StoreError("unusable") from error

    async def close(self) -> None:
        """Wait for the commit in flight, then close."""
        async with self._turn:
            self._thread.shutdown(wait=True)
            self._reader.close()
            self._writer.close()

    # writing

    async def append(self, commits: Sequence[Commit]) -> list[bool]:
        """One transaction for the group; a row whose place or name is taken leaves nothing behind."""
        return await self._write(lambda writer: [_appended(writer, commit) for commit in commits])

    async def blob_stored(self, digest: Digest, size: int, owner: PartyId, at: Instant) -> None:
        """The first sender owns a blob."""
        row = (_raw(digest), size, owner, numeric(at))
        await self._write(
            lambda writer: writer.execute(
                "INSERT INTO blobs (digest, size, owner, at) VALUES (?, ?, ?, ?) ON CONFLICT (digest)"
                " DO UPDATE SET at = excluded.at WHERE chain IS NULL AND owner = excluded.owner",
                row,
            )
        )

    async def blob_fetched(self, case: CaseId, digest: Digest, at: Instant) -> frozenset[Digest]:
        """Note it, and give all fetched blobs of the case."""

        def write(writer: sqlite3.Connection) -> frozenset[Digest]:
            writer.execute(
                "UPDATE blobs SET fetched = coalesce(fetched, ?) WHERE digest = ? AND chain = ?",
                (numeric(at), _raw(digest), case),
            )
            found = writer.execute("SELECT digest FROM blobs WHERE chain = ? AND fetched IS NOT NULL", (case,))
            return frozenset(_digest(row[0]) for row in found)

        return await self._write(write)

    async def forget_blobs(self, digests: Sequence[Digest]) -> None:
        """Only what no statement has named meanwhile."""
        rows = [(_raw(digest),) for digest in digests]
        await self._write(
            lambda writer: writer.executemany("DELETE FROM blobs WHERE digest = ? AND chain IS NULL", rows)
        )

    async def reject(self, entity: str, rejection: bytes) -> None:
        """Into the outbox, to be published once."""
        await self._write(
            lambda writer: writer.execute(
                "INSERT INTO outbox (entity, rejection, next, attempts) VALUES (?, ?, 0, 0)", (entity, rejection)
            )
        )

    async def published(self, rows: Sequence[Owed], again: Mapping[int, Instant]) -> None:
        """Move each to its next time; a rejection goes."""
        kept = [(numeric(again[row.id]), row.id) for row in rows if row.rejection is None]
        gone = [(row.id,) for row in rows if row.rejection is not None]

        def write(writer: sqlite3.Connection) -> None:
            writer.executemany("UPDATE outbox SET next = ?, attempts = attempts + 1 WHERE id = ?", kept)
            writer.executemany("DELETE FROM outbox WHERE id = ?", gone)

        await self._write(write)

    async def settle(self, entity: str, chain: str, of: Digest) -> bool:
        """All rows of the chain up to that one."""
        found = self._one("SELECT max(seq) FROM rows WHERE chain = ? AND digest = ?", (chain, _raw(of)))
        if found is None or found[0] is None:
            return False
        row = (entity, chain, found[0])
        await self._write(
            lambda writer: writer.execute("DELETE FROM outbox WHERE entity = ? AND chain = ? AND seq <= ?", row)
        )
        return True

    async def accepted(self, entity: str, of: Digest, acceptance: bytes) -> None:
        """The last word of a desk on a registry statement."""
        row = (_raw(of), entity, acceptance)
        await self._write(lambda writer: writer.execute("INSERT OR REPLACE INTO acceptances VALUES (?, ?, ?)", row))

    async def lease(self, name: str, holder: str, now: Instant, length: timedelta) -> bool:
        """Free, run out, or already ours."""

        def write(writer: sqlite3.Connection) -> bool:
            taken = writer.execute(
                "INSERT INTO leases VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET holder = ?2, until = ?3"
                " WHERE holder = ?2 OR until <= ?4",
                (name, holder, numeric(now + length), numeric(now)),
            )
            return taken.rowcount == 1

        return await self._write(write)

    # reading

    async def named(self, issuer: str, jti: str) -> Known | None:
        """By the unique index."""
        row = self._one("SELECT digest, chain, receipt FROM rows WHERE issuer = ? AND jti = ?", (issuer, jti))
        return None if row is None else Known(_digest(row[0]), row[1], row[2])

    async def chain(self, chain: str) -> list[Row]:
        """In order of their numbers."""
        found = self._all("SELECT receipt, statement FROM rows WHERE chain = ? ORDER BY seq", (chain,))
        return [Row(receipt, statement) for receipt, statement in found]

    async def authorities(self) -> list[PartyId]:
        """In the order of their ids."""
        return [PartyId(row[0]) for row in self._all("SELECT id FROM authorities ORDER BY id", ())]

    async def owner(self, case: CaseId) -> PartyId | None:
        """By primary key."""
        row = self._one("SELECT authority FROM cases WHERE id = ?", (case,))
        return None if row is None else PartyId(row[0])

    async def cases(self, authority: PartyId, after: CaseId | None, limit: int) -> list[CaseRow]:
        """By key, never by offset."""
        found = self._all(
            f"SELECT {_CASE} FROM cases WHERE authority = ? AND id > ? ORDER BY id LIMIT ?",  # noqa: S608 (a constant)
            (authority, after or "", limit),
        )
        return [_case(row) for row in found]

    async def sealed(self, digest: Digest) -> tuple[bytes, CaseId] | None:
        """By primary key."""
        row = self._one("SELECT content, chain FROM sealed WHERE digest = ?", (_raw(digest),))
        return None if row is None else (row[0], CaseId(row[1]))

    async def blob(self, digest: Digest) -> BlobRow | None:
        """By primary key."""
        row = self._one("SELECT size, owner, chain, entity, at FROM blobs WHERE digest = ?", (_raw(digest),))
        return None if row is None else BlobRow(digest, row[0], PartyId(row[1]), row[2], row[3], instant(row[4]))

    async def orphans(self, before: Instant, limit: int) -> list[Digest]:
        """By the index of what no statement names."""
        found = self._all(
            "SELECT digest FROM blobs WHERE chain IS NULL AND at < ? ORDER BY at LIMIT ?", (numeric(before), limit)
        )
        return [_digest(row[0]) for row in found]

    async def owed(self, entity: str, now: Instant, limit: int) -> list[Owed]:
        """By the index of what is due; the sealed part goes with the statement that names it."""
        found = self._all(
            "SELECT o.id, r.receipt, r.statement, o.rejection, s.content, o.attempts FROM outbox o"
            " LEFT JOIN rows r ON r.id = o.row LEFT JOIN sealed s ON s.digest = r.sealed"
            " WHERE o.id IN (SELECT id FROM outbox WHERE entity = ? AND next <= ? ORDER BY next, id LIMIT ?) ORDER BY o.id",
            (entity, numeric(now), limit),
        )
        return [Owed(row[0], entity, *row[1:]) for row in found]

    async def acceptances(self, of: Digest) -> list[bytes]:
        """One a desk at most."""
        return [row[0] for row in self._all("SELECT statement FROM acceptances WHERE digest = ?", (_raw(of),))]

    async def overdue(self, now: Instant, limit: int) -> list[CaseRow]:
        """By the index of what is owed: the cost does not grow with the cases that are not due."""
        found = self._all(
            f"SELECT {_CASE} FROM cases WHERE due IS NOT NULL AND overdue = 0 AND due <= ? ORDER BY due LIMIT ?",  # noqa: S608
            (numeric(now), limit),
        )
        return [_case(row) for row in found]

    async def counts(self) -> dict[str, int]:
        """For operators and tests; walks the tables."""
        return {name: self._all(f"SELECT count(*) FROM {name}", ())[0][0] for name in _TABLES}  # noqa: S608 (constants)

    # the engine

    async def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` here and COMMIT in the thread. After an error nothing of it stands, as far as anyone can know."""
        async with self._turn:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                result = work(self._writer)
                await self._committed()
            except sqlite3.Error as error:
                self._recover()
                raise StoreError("not-written") from error
            return result

    async def _committed(self) -> None:
        """COMMIT in the thread. A caller that leaves does not leave it under way: the next writer finds it done."""
        committing = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.commit)
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            await asyncio.wait([committing])
            if committing.exception() is not None:
                self._recover()
            raise

    def _recover(self) -> None:
        """Roll back; a connection that cannot even do that is replaced."""
        try:
            if self._writer.in_transaction:
                self._writer.rollback()
        except sqlite3.Error:
            self._writer.close()
            self._reconnect()

    def _reconnect(self) -> None:
        try:
            self._writer = _connected(self._path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError("not-written") from error

    def _one(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        try:
            return cast("tuple[Any, ...] | None", self._reader.execute(query, values).fetchone())
        except sqlite3.Error as error:
            raise StoreError("not-read") from error

    def _all(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError("not-read") from error


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "wal_autocheckpoint = 1000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    for beside in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if beside.exists():
            os.chmod(beside, 0o600)  # noqa: PTH101 (the -wal and -shm files follow the umask otherwise)
    return connection


def _prepared(path: Path) -> bool:
    """Make the tables where there are none. False for a schema that is older, and so to be migrated."""
    with closing(_connected(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # of two processes that start at once, one makes them
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        if not tables:
            script = files("gateway.store.migrations").joinpath("sqlite.sql").read_text()
            for statement in script.split(";\n"):
                connection.execute(statement)
            connection.commit()
            return True
        if VERSION_TABLE not in tables:
            return False
        found = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 (a constant)
        return judged(None if found is None else found[0]) == "current"


def _appended(writer: sqlite3.Connection, commit: Commit) -> bool:
    """The first insert decides: when its place or its name is taken, nothing else is written."""
    try:
        row = writer.execute(
            "INSERT INTO rows (chain, seq, stage, at, digest, issuer, jti, statement, sealed, receipt)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                commit.chain,
                commit.seq,
                commit.stage.value,
                numeric(commit.at),
                _raw(commit.of),
                commit.issuer,
                commit.jti,
                commit.statement,
                None if commit.sealed is None else _raw(commit.sealed[0]),
                commit.receipt,
            ),
        ).lastrowid
    except sqlite3.IntegrityError:
        return False
    if commit.case is not None:
        writer.execute("INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _case_values(commit.case))
        named = [(commit.chain, commit.case.entity, _raw(digest)) for digest in commit.blobs]
        writer.executemany("UPDATE blobs SET chain = ?, entity = ? WHERE digest = ? AND chain IS NULL", named)
    if commit.state is not None:
        writer.execute("INSERT OR REPLACE INTO authorities VALUES (?, ?)", (commit.chain, commit.state))
    if commit.sealed is not None:
        digest, content = commit.sealed
        writer.execute("INSERT OR IGNORE INTO sealed VALUES (?, ?, ?)", (_raw(digest), commit.chain, content))
    owed = [(entity, row, commit.chain, commit.seq) for entity in commit.entities]
    writer.executemany("INSERT INTO outbox (entity, row, chain, seq, next, attempts) VALUES (?, ?, ?, ?, 0, 0)", owed)
    return True


def _case_values(case: CaseRow) -> tuple[object, ...]:
    due = None if case.due is None else numeric(case.due)
    return (
        case.case,
        case.authority,
        case.entity,
        case.state,
        numeric(case.received),
        due,
        int(case.overdue),
        case.steps,
    )


def _case(row: tuple[Any, ...]) -> CaseRow:
    due = None if row[5] is None else instant(row[5])
    return CaseRow(CaseId(row[0]), PartyId(row[1]), row[2], row[3], instant(row[4]), due, bool(row[6]), row[7])


def _raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest)


def _digest(raw: bytes) -> Digest:
    return Digest(raw.hex())
