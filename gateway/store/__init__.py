"""The record, in the verbs of the domain. An engine is a file beside this one; they share a contract test and no code.

What `append` returns for is durable. The gateway's loops and routes know this module alone, never an engine.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, final

from protocol.chains import Row
from protocol.ids import CaseId, Digest, Instant, PartyId
from protocol.terms import Stage


class StoreError(Exception):
    """The store cannot keep or find something. `flaw` is a short constant, safe to log."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@final
@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case as it stands in lists and in the clock's index."""

    case: CaseId
    authority: PartyId
    entity: str
    state: str
    received: Instant
    due: Instant | None
    overdue: bool
    steps: int


@final
@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob of ciphertext: its size in bytes, who sent it, and the case that names it, if one does."""

    digest: Digest
    size: int
    owner: PartyId
    case: CaseId | None
    entity: str | None
    at: Instant  # when it came last


@final
@dataclass(frozen=True, slots=True)
class Commit:
    """One row of a chain with all that must become durable with it, or not at all."""

    chain: str
    seq: int
    stage: Stage
    at: Instant
    of: Digest
    receipt: bytes
    issuer: PartyId | None = None
    jti: str | None = None
    statement: bytes | None = None
    sealed: tuple[Digest, bytes] | None = None  # the sealed part that the statement names
    case: CaseRow | None = None  # the case after this row; None for a registry chain
    state: str | None = None  # the authority's state after this row; None for a case
    blobs: tuple[Digest, ...] = ()  # blobs that belong to the case from now on
    entities: tuple[str, ...] = ()  # whose desks must learn of it


@final
@dataclass(frozen=True, slots=True)
class Known:
    """A statement that is here already: its digest, its chain, and the receipt that was given for it."""

    digest: Digest
    chain: str
    receipt: bytes


@final
@dataclass(frozen=True, slots=True)
class Owed:
    """An outbox row: what an entity's desk has not said yet that it holds."""

    id: int
    entity: str
    receipt: bytes | None
    statement: bytes | None
    rejection: bytes | None
    sealed: bytes | None
    attempts: int


class Store(Protocol):
    """What an engine does. Every verb raises StoreError when it cannot."""

    async def append(self, commits: Sequence[Commit]) -> list[bool]:
        """Keep these rows, durably, in one transaction. False for each whose place or name was taken meanwhile."""
        ...

    async def named(self, issuer: str, jti: str) -> Known | None:
        """The statement of that name, which is unique for ever."""
        ...

    async def chain(self, chain: str) -> list[Row]:
        """The rows of a case or a registry chain, in order."""
        ...

    async def authorities(self) -> list[PartyId]:
        """All authorities that ever applied."""
        ...

    async def owner(self, case: CaseId) -> PartyId | None:
        """The authority of a case."""
        ...

    async def cases(self, authority: PartyId, after: CaseId | None, limit: int) -> list[CaseRow]:
        """An authority's cases after a cursor, oldest first."""
        ...

    async def sealed(self, digest: Digest) -> tuple[bytes, CaseId] | None:
        """A sealed part, and the case that names it."""
        ...

    async def blob(self, digest: Digest) -> BlobRow | None:
        """What is known of a blob."""
        ...

    async def blob_stored(self, digest: Digest, size: int, owner: PartyId, at: Instant) -> None:
        """A blob is on disk. Its sender may send it again: while no statement names it, its time begins anew."""
        ...

    async def blob_fetched(self, case: CaseId, digest: Digest, at: Instant) -> frozenset[Digest]:
        """A blob of a case was fetched to its last byte. Returns all that were."""
        ...

    async def orphans(self, before: Instant, limit: int) -> list[Digest]:
        """Blobs that came before then and that no statement names."""
        ...

    async def forget_blobs(self, digests: Sequence[Digest]) -> None:
        """Orphans that were swept."""
        ...

    async def reject(self, entity: str, rejection: bytes) -> None:
        """Tell a desk that something it said was not taken."""
        ...

    async def owed(self, entity: str, now: Instant, limit: int) -> list[Owed]:
        """What is to be published to an entity's desk now, oldest first; what was never sent comes before what is sent again.

        Where several processes share the record, one of them at a time is given anything.
        """
        ...

    async def published(self, rows: Sequence[Owed], again: Mapping[int, Instant]) -> None:
        """These were published; each comes again at its time unless it is settled before. A rejection is settled."""
        ...

    async def settle(self, entity: str, chain: str, of: Digest) -> bool:
        """The desk holds the chain up to the row of that digest. False when there is no such row."""
        ...

    async def accepted(self, entity: str, of: Digest, acceptance: bytes) -> None:
        """Keep what a desk said of a registry statement."""
        ...

    async def acceptances(self, of: Digest) -> list[bytes]:
        """What desks said of a registry statement."""
        ...

    async def overdue(self, now: Instant, limit: int) -> list[CaseRow]:
        """Cases whose answer was owed before `now` and of which no notice was given, longest first."""
        ...

    async def lease(self, name: str, holder: str, now: Instant, length: timedelta) -> bool:
        """Take or keep the lease of that name, so that one process alone does a thing."""
        ...

    async def counts(self) -> dict[str, int]:
        """How many rows each table has. For operators and tests."""
        ...

    async def close(self) -> None:
        """Release the store."""
        ...


CONNECTIONS: Final = 10  # of one process to a server: PostgreSQL's own default allows a hundred in all


async def open_store(url: str, *, connections: int = CONNECTIONS) -> Store:
    """The record at `url`. `connections` bounds what one process opens to a server; a file has none.

    `sqlite:///path/to/file` is the file at the absolute path `/path/to/file`, made when it is not there, and migrated when its
    schema is older (a fourth slash, as SQLAlchemy writes it, changes nothing). `postgresql://user@host/database?sslmode=…` is
    read as libpq reads it, a `passfile` included; its schema is never changed here (`rogatory gateway migrate` does that).

    Raises StoreError: `store-scheme`, `store-path`, `unusable`, `newer-schema`, `older-schema`, `not-durable`.
    """
    opener = ENGINES.get(url.partition("://")[0])
    if opener is None:
        raise StoreError("store-scheme")
    return await opener(url, connections)


def sqlite_path(url: str) -> Path:
    """The file that a `sqlite:///` URL names. Nothing in it is decoded. Raises StoreError: `store-path`."""
    rest = url.partition("://")[2]
    if not rest.startswith("/") or not rest.strip("/") or "\0" in rest:
        raise StoreError("store-path")
    return Path("/" + rest.lstrip("/"))


async def _sqlite(url: str, _connections: int) -> Store:
    from gateway.store.sqlite import SqliteStore  # noqa: PLC0415 (the engine stands on this module)

    return await SqliteStore.open(sqlite_path(url))


async def _postgres(url: str, connections: int) -> Store:
    from gateway.store.postgres import PostgresStore  # noqa: PLC0415 (and its driver is nobody's but its users')

    return await PostgresStore.open(url, connections=connections)


ENGINES: Final[Mapping[str, Callable[[str, int], Awaitable[Store]]]] = MappingProxyType(
    {"sqlite": _sqlite, "postgresql": _postgres, "postgres": _postgres}  # libpq takes both names of its own
)
