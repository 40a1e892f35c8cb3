"""Sealed lines: every entry is boxed on its way in and unboxed on its way out, once, for all engines.

The relay and the worker hold an `Outgoing` and an `Incoming` and never see an engine, so that neither can forget to seal;
an engine sees ciphertext, padded, and a key id. An entry that does not open is not handed on: it goes to the dead letters
with its flaw. Who sent an entry is not known here; the statements inside say so, and their reader verifies them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, final

from channels import Channel, Entry, Lease, checked_name
from crypto.boxes import Receiver, Sender
from crypto.errors import BoxError
from crypto.keys import X25519Key

_HOUR: Final = 3600  # seconds, for which a sender keeps one key pair
_ENTROPY_BYTES: Final = 10


@final
@dataclass(frozen=True, slots=True)
class Opened:
    """What came, as its sender put it in, and the lease to settle when it is dealt with."""

    lease: Lease
    plain: bytes = field(repr=False)


@final
class Outgoing:
    """The sending end of one stream.

    `receiver` gives the key that is current when an entry is sent, so that a turned key needs no restart; `clock` gives
    UTC, `entropy(n)` n random bytes. Raises `ChannelError` when `stream` is no stream's name.
    """

    __slots__ = ("_channel", "_clock", "_entropy", "_receiver", "_sender", "_stream")

    def __init__(
        self,
        channel: Channel,
        stream: str,
        sender: Sender,
        receiver: Callable[[], X25519Key],
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._channel = channel
        self._stream = checked_name(stream, "stream-name")
        self._sender = sender
        self._receiver = receiver
        self._clock = clock
        self._entropy = entropy

    async def send(self, plains: Sequence[bytes]) -> list[bytes]:
        """Box and publish; the entries' ids, in order, when all of them are durable.

        Raises `ChannelError`, and `BoxError` for what is too long; then nothing is known to have been sent.
        """
        now, receiver = self._clock(), self._receiver()
        ids = [_uuid7(now, self._entropy(_ENTROPY_BYTES)) for _ in plains]
        entries = [
            Entry(id_, self._sender.box(plain, receiver, channel=self._stream, entry_id=id_, hour=_hour(now)))
            for id_, plain in zip(ids, plains, strict=True)
        ]
        await self._channel.publish(self._stream, entries)
        return ids


@final
class Incoming:
    """The receiving end of one stream. `on_dead` is told of each entry that did not open, with its flaw."""

    __slots__ = ("_channel", "_on_dead", "_receiver", "_stream")

    def __init__(
        self, channel: Channel, stream: str, receiver: Receiver, on_dead: Callable[[Lease, str], None]
    ) -> None:
        self._channel = channel
        self._stream = checked_name(stream, "stream-name")
        self._receiver = receiver
        self._on_dead = on_dead

    async def receive(self, limit: int, lease: timedelta, wait: timedelta) -> list[Opened]:
        """Up to `limit` entries that opened, oldest first. Empty when nothing came within `wait`, or nothing opened.

        Raises `ChannelError`; what had been leased comes again.
        """
        opened = []
        for held in await self._channel.receive(self._stream, limit=limit, lease=lease, wait=wait):
            try:
                plain = self._receiver.unbox(held.entry.body, channel=self._stream, entry_id=held.entry.id)
            except BoxError as error:
                await self._channel.reject(held, error.flaw)
                self._on_dead(held, error.flaw)
            else:
                opened.append(Opened(held, plain))
        return opened

    async def ack(self, opened: Sequence[Opened]) -> None:
        """Remove what has been dealt with. See `Channel.ack`."""
        await self._channel.ack([one.lease for one in opened])

    async def reject(self, opened: Opened, reason: str) -> None:
        """Give up on one entry; `reason` is a code, never content. See `Channel.reject`."""
        await self._channel.reject(opened.lease, reason)


def _hour(now: datetime) -> int:
    return int(now.timestamp()) // _HOUR


def _uuid7(now: datetime, entropy: bytes) -> bytes:
    """RFC 9562 §5.7: 48 bits of milliseconds, then `entropy` (10 bytes) but for the bits of version and variant."""
    raw = bytearray(int(now.timestamp() * 1000).to_bytes(6) + entropy)
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)
