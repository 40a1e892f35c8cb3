"""The embedded engine: one SQLite file that the gateway's and the desk's processes share.

Several processes write it (write-ahead log, `BEGIN IMMEDIATE`, a busy time-out); what `publish` returned from survives a
power cut; each call is one transaction in this channel's own thread. Waiting is a look-up by key every 20 ms in the
loop's thread, which writes nothing and takes microseconds. It never shares a file with a party's store, which has one
writer, and it reads no clock but the one that it is given.
"""

import asyncio
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, final

from channels import MAX_DELIVERIES, ChannelError, DeadLetter, Depth, Entry, Lease, checked_name

T = TypeVar("T")
_Turn: TypeAlias = tuple[str, int, int, int]  # stream, until, seq, deliveries: the turn of one lease, and of no other

POLL: Final = 0.02  # seconds between two looks while waiting
BUSY_TIMEOUT: Final = 5.0  # seconds to wait for another process's transaction
RECEIVE_MAX: Final = 1_000  # ours: leases in one call

_FORMAT: Final = (0x526F4368, 1)  # application_id ("RoCh") and user_version, in the file's header
_FLAWS: Final = {
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "disk",
    sqlite3.SQLITE_CANTOPEN: "disk",
    sqlite3.SQLITE_READONLY: "disk",
    sqlite3.SQLITE_PERM: "disk",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
}

# An entry lies in `entries`, written once and deleted once. Its turn says who may have it: `until` is 0 while it waits,
# else the millisecond in which its lease ends; so a lease rewrites no body, and what waits is found oldest first by key.
# `seq` is never used twice (AUTOINCREMENT): with `deliveries` it names one lease for ever.
_SCHEMA: Final = """
PRAGMA application_id = 1383023464;
PRAGMA user_version = 1;
CREATE TABLE entries (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    id     BLOB NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (stream, id)
);
CREATE TABLE turns (
    stream     TEXT    NOT NULL,
    until      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (stream, until, seq)
) WITHOUT ROWID;
CREATE TRIGGER an_entry_leaves_with_its_turn AFTER DELETE ON turns
BEGIN DELETE FROM entries WHERE seq = OLD.seq; END;
CREATE TABLE dead (
    seq        INTEGER PRIMARY KEY,
    stream     TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    reason     TEXT    NOT NULL,
    deliveries INTEGER NOT NULL,
    at         INTEGER NOT NULL
);
CREATE INDEX dead_by_stream ON dead (stream, seq);
"""

_LAST: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'entries'"
_PUT: Final = "INSERT INTO entries (seq, stream, id, body) VALUES (?, ?, ?, ?) ON CONFLICT (stream, id) DO NOTHING"
_PUT_TURNS: Final = "INSERT INTO turns SELECT stream, 0, seq, 0 FROM entries WHERE seq >= ?"  # what was there has one
_READY: Final = "SELECT 1 FROM turns WHERE stream = ? AND until <= ? LIMIT 1"
_TAKE: Final = """
SELECT seq, id, body, deliveries + 1 FROM turns CROSS JOIN entries USING (seq)
WHERE turns.stream = ? AND until = 0 ORDER BY seq LIMIT ?"""
_LEND: Final = "UPDATE turns SET until = ?, deliveries = deliveries + 1 WHERE stream = ? AND until = 0 AND seq <= ?"
_ENDED: Final = "SELECT 1 FROM turns WHERE stream = ? AND until > 0 AND until <= ? LIMIT 1"
_BURY_EXHAUSTED: Final = """
INSERT INTO dead (stream, id, reason, deliveries, at)
SELECT turns.stream, id, 'deliveries-exhausted', deliveries, until FROM turns CROSS JOIN entries USING (seq)
WHERE turns.stream = ? AND until > 0 AND until <= ? AND deliveries >= ? ORDER BY seq"""
_DROP_EXHAUSTED: Final = "DELETE FROM turns WHERE stream = ? AND until > 0 AND until <= ? AND deliveries >= ?"
_TAKE_BACK: Final = "UPDATE turns SET until = 0 WHERE stream = ? AND until > 0 AND until <= ?"
_BURY: Final = """
INSERT INTO dead (stream, id, reason, deliveries, at)
SELECT turns.stream, id, ?, deliveries, ? FROM turns CROSS JOIN entries USING (seq)
WHERE turns.stream = ? AND until = ? AND seq = ? AND deliveries = ?"""
_DROP: Final = "DELETE FROM turns WHERE stream = ? AND until = ? AND seq = ? AND deliveries = ?"
_DEAD: Final = "SELECT id, reason, deliveries, at FROM dead WHERE stream = ? ORDER BY seq DESC LIMIT ?"
_DEPTH: Final = """
SELECT (SELECT count(*) FROM turns WHERE stream = ?1 AND until = 0),
       (SELECT count(*) FROM turns WHERE stream = ?1 AND until > 0),
       (SELECT count(*) FROM dead WHERE stream = ?1)"""


@final
class SqliteChannel:
    """`Channel` over the file at `path`, which is made (mode 0600) when it is not there. Raises `ChannelError`."""

    def __init__(self, path: Path, clock: Callable[[], datetime], max_deliveries: int = MAX_DELIVERIES) -> None:
        self._clock = clock
        self._max_deliveries = max_deliveries
        self._closed = False
        with _translated():
            _prepare(path)
            self._writer = _connect(path)
            self._watch = _connect(path)
            self._watch.execute("PRAGMA busy_timeout = 0")  # it looks from the loop's thread, which must never wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="channel")

    async def publish(self, stream: str, entries: Sequence[Entry]) -> None:
        """See `Channel.publish`."""
        await self._run(self._publish, checked_name(stream, "stream-name"), entries)

    async def receive(self, stream: str, *, limit: int, lease: timedelta, wait: timedelta) -> list[Lease]:
        """See `Channel.receive`. `limit` is 1 to 1,000, `lease` at least a millisecond (flaw `receive-limits`)."""
        checked_name(stream, "stream-name")
        if not 1 <= limit <= RECEIVE_MAX or lease < timedelta(milliseconds=1):
            raise ChannelError("receive-limits")
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        while True:
            if self._ready(stream) and (leases := await self._run(self._receive, stream, limit, lease)):
                return leases
            left = end - loop.time()
            if left <= 0:
                return []
            await asyncio.sleep(min(POLL, left))

    async def ack(self, leases: Sequence[Lease]) -> None:
        """See `Channel.ack`."""
        await self._run(self._ack, leases)

    async def reject(self, lease: Lease, reason: str) -> None:
        """See `Channel.reject`."""
        await self._run(self._reject, lease, checked_name(reason, "reason"))

    async def dead(self, stream: str, limit: int) -> list[DeadLetter]:
        """See `Channel.dead`."""
        return await self._run(self._dead, checked_name(stream, "stream-name"), limit)

    async def depth(self, stream: str) -> Depth:
        """See `Channel.depth`. It counts in an index: some 50 ms for a million entries, in the channel's thread."""
        return await self._run(self._depth, checked_name(stream, "stream-name"))

    async def close(self) -> None:
        """See `Channel.close`."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        await asyncio.wrap_future(self._thread.submit(self._writer.close))
        self._thread.shutdown()

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do `work` in the channel's thread: one call at a time, in order."""
        if self._closed:
            raise ChannelError("closed")
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _ready(self, stream: str) -> bool:
        """Whether something waits or a lease has ended. A file that cannot be read just now is left to the writer."""
        if self._closed:
            raise ChannelError("closed")
        try:
            return bool(self._watch.execute(_READY, (stream, _milliseconds(self._clock()))).fetchall())
        except sqlite3.DatabaseError:
            return True

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One transaction: all of it, or, after any error, nothing. Every one waits for the disk (FULL), leases too.

        With NORMAL for leases and acks two of three waits were saved, and a published entry could be lost: what lies unsynced
        in the log before it may be dropped by a sync that fails, and the log then ends there (`tests/faults`).
        """
        execute = self._writer.execute
        execute("PRAGMA synchronous = FULL")
        execute("BEGIN IMMEDIATE")
        try:
            yield execute
            execute("COMMIT")
        finally:
            if self._writer.in_transaction:  # an error passes by; a full disk has rolled back by itself
                execute("ROLLBACK")

    def _publish(self, stream: str, entries: Sequence[Entry]) -> None:
        with self._transaction() as execute:
            last = execute(_LAST).fetchone()
            first = 1 + (last[0] if last else 0)
            rows = [(seq, stream, entry.id, entry.body) for seq, entry in enumerate(entries, first)]
            self._writer.executemany(_PUT, rows)
            execute(_PUT_TURNS, (first,))

    def _receive(self, stream: str, limit: int, lease: timedelta) -> list[Lease]:
        now = self._clock()
        until = _milliseconds(now + lease)
        with self._transaction() as execute:
            self._end_leases(stream, _milliseconds(now))
            rows = execute(_TAKE, (stream, limit)).fetchall()
            if rows:
                # What was taken is the oldest of what waits, hence a prefix of it: one statement lends the whole batch.
                execute(_LEND, (until, stream, rows[-1][0]))
        return [Lease(Entry(id_, body), deliveries, stream, f"{until}.{seq}") for seq, id_, body, deliveries in rows]

    def _end_leases(self, stream: str, now: int) -> None:
        """What was lent until `now` waits again in its old place, or is dead when it was lent often enough."""
        execute = self._writer.execute
        if execute(_ENDED, (stream, now)).fetchall():
            execute(_BURY_EXHAUSTED, (stream, now, self._max_deliveries))
            execute(_DROP_EXHAUSTED, (stream, now, self._max_deliveries))
            execute(_TAKE_BACK, (stream, now))

    def _ack(self, leases: Sequence[Lease]) -> None:
        lent = [_turn_of(lease) for lease in leases]
        with self._transaction():
            if self._writer.executemany(_DROP, lent).rowcount < len(lent):
                self._writer.executemany(_DROP, [_taken_back(turn) for turn in lent])

    def _reject(self, lease: Lease, reason: str) -> None:
        lent, now = _turn_of(lease), _milliseconds(self._clock())
        with self._transaction() as execute:
            for turn in (lent, _taken_back(lent)):
                execute(_BURY, (reason, now, *turn))
                execute(_DROP, turn)

    def _dead(self, stream: str, limit: int) -> list[DeadLetter]:
        return [
            DeadLetter(id_, reason, deliveries, datetime.fromtimestamp(at / 1000, UTC))
            for id_, reason, deliveries, at in self._writer.execute(_DEAD, (stream, limit)).fetchall()
        ]

    def _depth(self, stream: str) -> Depth:
        return Depth(*self._writer.execute(_DEPTH, (stream,)).fetchone())


def _turn_of(lease: Lease) -> _Turn:
    """Where the entry lies while it is lent, and which of its leases this is."""
    until, _, seq = lease.token.partition(".")
    return lease.stream, int(until), int(seq), lease.deliveries


def _taken_back(turn: _Turn) -> _Turn:
    """Where it lies when its lease has ended and nobody else has it yet: then the lease may still be settled."""
    stream, _, seq, deliveries = turn
    return stream, 0, seq, deliveries


def _milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970. Never the 0 that means "waits"."""
    return int(moment.timestamp() * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    """Engine and disk errors become `ChannelError` with a constant."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code; errors of the module itself (a closed connection) carry none.
        raise ChannelError(_FLAWS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "engine")) from error
    except OSError as error:
        raise ChannelError("disk") from error


def _prepare(path: Path) -> None:
    """Make the file if it is not there, and refuse one that others may read or that is no plain file.

    It is made whole under another name and then linked into place: of two processes that start at once one wins, and
    neither meets a half-made file or a change of journal mode, which SQLite answers with "locked" and no waiting.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.lexists(path):
        _make(path)
    # Looked at by name: closing a descriptor of our own would drop this process's POSIX locks on the file.
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ChannelError("not-a-file")
    if found.st_mode & 0o077:
        raise ChannelError("mode-too-open")


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as new:
            new.execute("PRAGMA page_size = 8192")  # measured: a body of 1 KB wastes less, a commit writes fewer frames
            new.execute("PRAGMA journal_mode = WAL")  # kept, like the page size, in the file's header
            new.executescript(_SCHEMA)
        with suppress(FileExistsError):  # another process was first
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the name must survive a power cut as what is published under it does
    finally:
        os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that waits for others' transactions and syncs each commit; it may be handed to another thread."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        found = connection.execute("SELECT * FROM pragma_application_id, pragma_user_version").fetchone()
        if found != _FORMAT:
            raise ChannelError("not-a-channel")
        # What was removed is overwritten where the page is written anyway; the full form costs a fifth of the speed.
        connection.execute("PRAGMA secure_delete = FAST")
    except (sqlite3.Error, ChannelError):
        connection.close()
        raise
    return connection
