"""The record on PostgreSQL, for gateways of several processes and hosts.

A group of rows is one statement, one round trip and one transaction with `synchronous_commit=on`; what conflicts is found by the
unique indexes and leaves nothing behind. Lists go by cursor. When the server is away every verb raises StoreError at once or
after its time-out, and the next call connects again: nothing is repeated here that might have been done, but for transactions
that the server itself rolled back. An outbox is given to one process at a time, under a lease by the server's clock.

Session state is never changed, so that connections go back to their pool without a round trip.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeAlias, final

import asyncpg

from gateway.store import BlobRow, CaseRow, Commit, Known, Owed, StoreError
from gateway.store import postgres_queries as q
from gateway.store.migrations import VERSION_TABLE, judged
from protocol.chains import Row
from protocol.ids import CaseId, Digest, Instant, PartyId, instant, numeric

CONNECTING: Final = 5.0  # seconds; also how long a call waits for a free connection
STATEMENT: Final = 10.0  # seconds, counted by the server; the client's own bound is a little longer
WRITERS: Final = 2  # one commit is in flight, and the small writes of relay and clock go beside it
HOLDING: Final = 15  # seconds for which an outbox is ours, by the server's clock
TRIES: Final = 4  # of a transaction that the server rolled back for the sake of another
SERVER: Final = {
    "application_name": "rogatory-gateway",
    "synchronous_commit": "on",
    "statement_timeout": f"{STATEMENT:.0f}s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",  # our statements are short; compiling one takes longer than running it
    # Every read goes by an index, in its order. A plan made while a table was young must not be another: it would outlive that.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
NOWHERE: Final = "00000000-0000-0000-0000-000000000000"  # before every case
_AWAY: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_ROLLED_BACK: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@final
@dataclass(frozen=True, slots=True)
class _Asked:
    """A name that somebody waits to hear of."""

    issuer: str
    jti: str
    answer: asyncio.Future[Known | None]

    def tell(self, known: Known | None) -> None:
        """Whoever asked may have left."""
        if not self.answer.done():
            self.answer.set_result(known)

    def fail(self, error: StoreError) -> None:
        """Each gets an error of his own, with the one cause."""
        if not self.answer.done():
            mine = StoreError(error.flaw)
            mine.__cause__ = error.__cause__
            self.answer.set_exception(mine)
            self.answer.exception()  # seen: whoever asked may be leaving


@final
class PostgresStore:
    """The engine of many processes. Made by `open`."""

    def __init__(self, writes: Pool, reads: Pool, holder: str) -> None:
        self._writes = writes
        self._reads = reads
        self._holder = holder
        self._asked: list[_Asked] = []
        self._asking = asyncio.Lock()
        self._outboxes: dict[str, float] = {}  # ours, and until when by the loop's clock we need not ask

    @classmethod
    async def open(cls, url: str, *, connections: int) -> Self:
        """Connect and look at the schema, changing nothing.

        Raises StoreError: `unusable`, `newer-schema`, `older-schema` (run `rogatory gateway migrate`), `not-durable` (the server
        runs with `fsync` off, so that no promise could be kept).
        """
        with _told("unusable", ValueError):  # the driver's own, for an address that it cannot read
            writes = await _pool(url, min(WRITERS, connections))
            reads = await _pool(url, max(connections - WRITERS, 1))
            try:
                async with writes.acquire(timeout=CONNECTING) as connection:
                    await _looked_at(connection)
                    holder = str(await connection.fetchval("SELECT gen_random_uuid()"))
            except BaseException:
                writes.terminate()
                reads.terminate()
                raise
        return cls(writes, reads, holder)

    async def close(self) -> None:
        """Give the outboxes back to the other processes, and close every connection."""
        if self._outboxes:
            with suppress(StoreError):
                await self._write(q.RELEASED, self._holder)
        for pool in (self._writes, self._reads):
            try:
                async with asyncio.timeout(CONNECTING):
                    await pool.close()
            except _AWAY:
                pool.terminate()

    # writing

    async def append(self, commits: Sequence[Commit]) -> list[bool]:
        """One statement for the group; a row whose place or name is taken leaves nothing behind."""
        kept = {int(row[0]) for row in await self._write(q.APPEND, *_columns(commits))}
        return [number in kept for number in range(1, len(commits) + 1)]

    async def blob_stored(self, digest: Digest, size: int, owner: PartyId, at: Instant) -> None:
        """The first sender owns a blob."""
        await self._write(q.STORED, _raw(digest), size, owner, numeric(at))

    async def blob_fetched(self, case: CaseId, digest: Digest, at: Instant) -> frozenset[Digest]:
        """Note it, and give all fetched blobs of the case.

        The case's blobs are locked, so that of two processes that serve the last two of them one sees both.
        """
        with _told("not-written"):
            async with self._writes.acquire(timeout=CONNECTING) as connection, connection.transaction():
                known = {row[0]: row[1] for row in await connection.fetch(q.LOCKED, case)}
                if _raw(digest) in known:
                    await connection.execute(q.FETCHED, numeric(at), _raw(digest), case)
                    known[_raw(digest)] = True
        return frozenset(_digest(raw) for raw, fetched in known.items() if fetched)

    async def forget_blobs(self, digests: Sequence[Digest]) -> None:
        """Only what no statement has named meanwhile."""
        await self._write(q.FORGOTTEN, [_raw(digest) for digest in digests])

    async def reject(self, entity: str, rejection: bytes) -> None:
        """Into the outbox, to be published once."""
        await self._write(q.REJECTED, entity, rejection)

    async def published(self, rows: Sequence[Owed], again: Mapping[int, Instant]) -> None:
        """Move each to its next time; a rejection goes."""
        gone = [row.id for row in rows if row.rejection is not None]
        kept = [row.id for row in rows if row.rejection is None]
        await self._write(q.PUBLISHED, gone, kept, [numeric(again[one]) for one in kept])

    async def settle(self, entity: str, chain: str, of: Digest) -> bool:
        """All rows of the chain up to that one."""
        return bool(await self._write(q.SETTLED, entity, chain, _raw(of)))

    async def accepted(self, entity: str, of: Digest, acceptance: bytes) -> None:
        """The last word of a desk on a registry statement."""
        await self._write(q.ACCEPTED, _raw(of), entity, acceptance)

    async def lease(self, name: str, holder: str, now: Instant, length: timedelta) -> bool:
        """Free, run out, or already ours."""
        return bool(await self._write(q.LEASED, name, holder, numeric(now + length) - numeric(now), numeric(now)))

    # reading

    async def named(self, issuer: str, jti: str) -> Known | None:
        """By the unique index. Asked at every door for every statement: what waits goes into the next question together."""
        if not (issuer.isascii() and jti.isascii()) or "\0" in issuer + jti:
            return None  # nobody has verified the name yet: what could not be one spoils no question of others
        mine = _Asked(issuer, jti, asyncio.get_running_loop().create_future())
        self._asked.append(mine)
        async with self._asking:
            if not mine.answer.done():
                asked, self._asked = self._asked, []
                await self._answer(asked)
        return await mine.answer

    async def chain(self, chain: str) -> list[Row]:
        """In order of their numbers."""
        return [Row(receipt, statement) for receipt, statement in await self._read(q.CHAIN, chain)]

    async def authorities(self) -> list[PartyId]:
        """In the order of their ids."""
        return [PartyId(row[0]) for row in await self._ask(q.AUTHORITIES)]

    async def owner(self, case: CaseId) -> PartyId | None:
        """By primary key."""
        found = await self._ask(q.OWNER, case=case)
        return PartyId(found[0][0]) if found else None

    async def cases(self, authority: PartyId, after: CaseId | None, limit: int) -> list[CaseRow]:
        """By key, never by offset."""
        found = await self._ask(q.CASES, authority=authority, after=after or NOWHERE, limit=limit)
        return [_case(row) for row in found]

    async def sealed(self, digest: Digest) -> tuple[bytes, CaseId] | None:
        """By primary key."""
        found = await self._ask(q.SEALED, digest=_raw(digest))
        return (found[0][0], CaseId(found[0][1])) if found else None

    async def blob(self, digest: Digest) -> BlobRow | None:
        """By primary key."""
        found = await self._ask(q.BLOB, digest=_raw(digest))
        if not found:
            return None
        size, owner, chain, entity, at = found[0]
        return BlobRow(digest, size, PartyId(owner), chain, entity, instant(at))

    async def orphans(self, before: Instant, limit: int) -> list[Digest]:
        """By the index of what no statement names."""
        return [_digest(row[0]) for row in await self._ask(q.ORPHANS, before=numeric(before), limit=limit)]

    async def owed(self, entity: str, now: Instant, limit: int) -> list[Owed]:
        """Nothing while another process holds this outbox; else by the index of what is due."""
        if not await self._holds(entity):
            return []
        found = await self._read(q.OWED, entity, numeric(now), limit)
        return [Owed(row[0], entity, *row[1:]) for row in found]

    async def acceptances(self, of: Digest) -> list[bytes]:
        """One a desk at most."""
        return [row[0] for row in await self._ask(q.ACCEPTANCES, digest=_raw(of))]

    async def overdue(self, now: Instant, limit: int) -> list[CaseRow]:
        """By the index of what is owed: the cost does not grow with the cases that are not due."""
        return [_case(row) for row in await self._ask(q.OVERDUE, now=numeric(now), limit=limit)]

    async def counts(self) -> dict[str, int]:
        """For operators and tests; walks the tables."""
        return {name: (await self._ask(query))[0][0] for name, query in q.COUNTS.items()}

    # the engine

    async def _holds(self, entity: str) -> bool:
        """Whether this process publishes for that desk. A third of the lease is used before it is asked for again."""
        now = asyncio.get_running_loop().time()
        if now < self._outboxes.get(entity, 0):
            return True
        held = bool(await self._write(q.LEASED, f"outbox {entity}", self._holder, HOLDING, None))
        if held:
            self._outboxes[entity] = now + HOLDING / 3
        else:
            self._outboxes.pop(entity, None)
        return held

    async def _answer(self, asked: Sequence["_Asked"]) -> None:
        """One question for all of them. Whoever leaves in the middle of it leaves the others' to the next."""
        try:
            found = await self._read(q.NAMED, [one.issuer for one in asked], [one.jti for one in asked])
        except StoreError as error:
            for one in asked:
                one.fail(error)
        except asyncio.CancelledError:
            self._asked[:0] = asked
            raise
        else:
            known = {row[0]: Known(_digest(row[1]), row[2], row[3]) for row in found}
            for number, one in enumerate(asked, 1):
                one.tell(known.get(number))

    async def _write(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """One statement, which is one transaction. One that the server rolled back is run again: nothing of it stands."""
        with _told("not-written"):
            for _ in range(TRIES - 1):
                with suppress(*_ROLLED_BACK):
                    return await _run(self._writes, sql, values)
            return await _run(self._writes, sql, values)

    async def _ask(self, query: q.Query, **values: object) -> list[asyncpg.Record]:
        return await self._read(query.sql, *(values[name] for name in query.names))

    async def _read(self, sql: str, *values: object) -> list[asyncpg.Record]:
        with _told("not-read"):
            return await _run(self._reads, sql, values)


@contextmanager
def _told(flaw: str, *more: type[Exception]) -> Iterator[None]:
    """The world's errors as the store's own."""
    try:
        yield
    except (*_AWAY, *more) as error:
        raise StoreError(flaw) from error


async def _pool(url: str, most: int) -> Pool:
    """Connections are made when they are asked for, and again after the server was away; no task watches them."""
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=most,
        timeout=CONNECTING,
        command_timeout=STATEMENT + 2,
        server_settings=SERVER,
        reset=_as_it_is,
    )


async def _as_it_is(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """We change no session state, and so have none to reset."""


async def _run(pool: Pool, sql: str, values: Sequence[object]) -> list[asyncpg.Record]:
    async with pool.acquire(timeout=CONNECTING) as connection:
        return await connection.fetch(sql, *values)


async def _looked_at(connection: Connection) -> None:
    if await connection.fetchval("SHOW fsync") != "on":
        raise StoreError("not-durable")
    version = None
    with suppress(asyncpg.UndefinedTableError):
        version = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 (a constant)
    if judged(version) == "older":
        raise StoreError("older-schema")


def _columns(commits: Sequence[Commit]) -> Iterator[list[object]]:
    """The group turned on its side: what `q.APPEND` takes, in its order."""
    numbered = list(enumerate(commits, 1))
    cased = [(n, one.case) for n, one in numbered if one.case is not None]
    states = [(n, one.state) for n, one in numbered if one.state is not None]
    parts = [(n, one.sealed[1]) for n, one in numbered if one.sealed is not None]
    named = [(n, _raw(blob), one.case.entity) for n, one in numbered if one.case is not None for blob in one.blobs]
    told = [(n, entity) for n, one in numbered for entity in one.entities]
    yield from _turned([_row(one) for one in commits], 10)
    yield from _turned([(n, *_case_values(case)) for n, case in cased], 9)
    yield from _turned(states, 2)
    yield from _turned(parts, 2)
    yield from _turned(named, 3)
    yield from _turned(told, 2)


def _turned(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _row(commit: Commit) -> tuple[object, ...]:
    return (
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
    )


def _case_values(case: CaseRow) -> tuple[object, ...]:
    due = None if case.due is None else numeric(case.due)
    return (
        case.case,
        case.authority,
        case.entity,
        case.state,
        numeric(case.received),
        due,
        case.overdue,
        case.steps,
    )


def _case(row: asyncpg.Record) -> CaseRow:
    due = None if row[5] is None else instant(row[5])
    return CaseRow(CaseId(str(row[0])), PartyId(row[1]), row[2], row[3], instant(row[4]), due, row[6], row[7])


def _raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest)


def _digest(raw: bytes) -> Digest:
    return Digest(raw.hex())
