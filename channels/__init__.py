"""How entries travel between the parties: the `Channel` protocol, its values, and the way to an engine.

An entry is an id and opaque bytes; a channel knows no statement, no case and no key. It promises *at least once*: an
entry that was published stays until a receiver acknowledges it, and may be handed out again, so that a receiver drops
what it has already. It never promises *once*, and never looks into a body (`channels.sealed` seals bodies for all
engines alike).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol, final

ENTRY_ID_BYTES: Final = 16  # a UUIDv7 (RFC 9562 §5.7) as bytes
BODY_MAX_BYTES: Final = 1 << 20  # ours: a statement, its sealed part and its padding, with room to spare
MAX_DELIVERIES: Final = 5  # ours: a receiver that failed five times will fail the sixth

_NAME: Final = re.compile(r"[a-z0-9.-]{1,64}", re.ASCII)


@final
class ChannelError(Exception):
    """What an engine could not do, or was asked wrongly. `flaw` is a constant such as `busy`, safe to log.

    An error of `publish` or `ack` is ambiguous, as on any wire: the work may have been done. Doing it again is harmless.
    """

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to carry: `id` is 16 bytes, unique in its stream; `body` at most 1 MiB. Raises `ChannelError`."""

    id: bytes
    body: bytes

    def __post_init__(self) -> None:
        if len(self.id) != ENTRY_ID_BYTES:
            raise ChannelError("entry-id")
        if len(self.body) > BODY_MAX_BYTES:
            raise ChannelError("entry-size")


@final
@dataclass(frozen=True, slots=True)
class Lease:
    """An entry that one receiver has for a time. It comes again, to anybody, unless acknowledged or rejected before."""

    entry: Entry
    deliveries: int  # how often it was handed out, this time included
    stream: str
    token: str  # the engine's own name for the entry's place; with `deliveries` it tells this lease from every other


@final
@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What became of an entry that could not be received. Its body is gone: the sender still has what was in it."""

    entry_id: bytes
    reason: str  # a flaw or problem code; `deliveries-exhausted` when no receiver ever said why
    deliveries: int
    at: datetime  # UTC


@final
@dataclass(frozen=True, slots=True)
class Depth:
    """How much one stream holds, for operators."""

    waiting: int
    leased: int
    dead: int


class Channel(Protocol):
    """Four verbs for the parties, two looks for operators. Every verb raises `ChannelError`."""

    async def publish(self, stream: str, entries: Sequence[Entry]) -> None:
        """Put `entries` at the end of `stream`. When it returns they are durable; an id that is there is not doubled."""
        ...

    async def receive(self, stream: str, *, limit: int, lease: timedelta, wait: timedelta) -> list[Lease]:
        """Lease up to `limit` entries, oldest first; an empty list when none came within `wait`.

        A leased entry is invisible until its lease ends, and then comes again with one more delivery. One whose last
        allowed lease ends goes to the dead letters. A cancelled call may have leased what nobody will acknowledge: that
        too comes again.
        """
        ...

    async def ack(self, leases: Sequence[Lease]) -> None:
        """Remove what was received. Idempotent; a lease that ran out and was given to another is passed over."""
        ...

    async def reject(self, lease: Lease, reason: str) -> None:
        """Move an entry to the dead letters. `reason` is a constant of the form of a stream's name, never content."""
        ...

    async def dead(self, stream: str, limit: int) -> list[DeadLetter]:
        """The last `limit` dead letters of `stream`, newest first."""
        ...

    async def depth(self, stream: str) -> Depth:
        """How many entries wait, are leased, and are dead."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of the engine. Idempotent; every other verb then fails with `closed`."""
        ...


def checked_name(name: str, flaw: str) -> str:
    """`name`, if it is a stream's name or a reason as engines may store it (`[a-z0-9.-]{1,64}`). For engines."""
    if _NAME.fullmatch(name) is None:
        raise ChannelError(flaw)
    return name


def open_channel(url: str, clock: Callable[[], datetime]) -> Channel:
    """The channel at `url`; `clock` gives UTC and decides when leases end. Raises `ChannelError`.

    `sqlite:///path/to/file` is the file at the absolute path `/path/to/file`, made when it is not there; nothing in
    the path is decoded. (A fourth slash, as SQLAlchemy writes it, changes nothing.)
    `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://` and the last two with `rediss`: see
    `channels.redis_line.Address.parse`.
    """
    scheme, separator, rest = url.partition("://")
    opener = _OPENERS.get(scheme)
    if opener is None or not separator:
        raise ChannelError("channel-scheme")
    return opener(rest, clock)


def _open_sqlite(rest: str, clock: Callable[[], datetime]) -> Channel:
    from channels.sqlite import SqliteChannel  # noqa: PLC0415 - the engine stands on this module

    if not rest.startswith("/") or not rest.strip("/") or "\0" in rest:
        raise ChannelError("channel-path")
    return SqliteChannel(Path("/" + rest.lstrip("/")), clock)


def _open_redis(scheme: str, rest: str, clock: Callable[[], datetime]) -> Channel:
    from channels.redis import RedisChannel  # noqa: PLC0415 - the engine stands on this module
    from channels.redis_line import Address  # noqa: PLC0415 - likewise, and its client takes long to load

    return RedisChannel(Address.parse(f"{scheme}://{rest}"), clock)


_OPENERS: Final[dict[str, Callable[[str, Callable[[], datetime]], Channel]]] = {
    "sqlite": _open_sqlite,
    **{
        scheme: partial(_open_redis, scheme)
        for scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
    },
}
