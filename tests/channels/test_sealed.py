"""Sealed lines, over the real embedded engine."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from channels import ChannelError, Depth, Entry, Lease
from channels.sealed import Incoming, Opened, Outgoing
from channels.sqlite import SqliteChannel
from crypto.boxes import PLAIN_MAX, Receiver, Sender
from crypto.errors import BoxError
from crypto.keys import X25519Secret

STREAM = "requests.eu"
LEASE, NOW = timedelta(seconds=30), timedelta(0)
START = datetime(2026, 11, 24, 12, 0, 0, 123000, tzinfo=UTC)


@dataclass
class Line:
    """Both ends of a stream, and what lies between."""

    file: Path
    now: datetime = START
    desk: X25519Secret = field(default_factory=X25519Secret.generate)
    dead: list[tuple[bytes, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.desk.public
        self.channel = SqliteChannel(self.file, lambda: self.now)
        self.sender = Sender()
        self.outgoing = self.out(STREAM)
        self.incoming = self.inwards(self.desk)

    def out(self, stream: str) -> Outgoing:
        return Outgoing(self.channel, stream, self.sender, lambda: self.key, lambda: self.now, os.urandom)

    def inwards(self, *secrets: X25519Secret) -> Incoming:
        return Incoming(self.channel, STREAM, Receiver(secrets), self.bury)

    def bury(self, lease: Lease, flaw: str) -> None:
        self.dead.append((lease.entry.id, flaw))

    async def take(self) -> list[Opened]:
        return await self.incoming.receive(100, LEASE, NOW)

    async def raw(self) -> list[Lease]:
        return await self.channel.receive(STREAM, limit=100, lease=LEASE, wait=NOW)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = Line(tmp_path / "channel.db")
    yield line
    await line.channel.close()


async def test_what_is_sent_comes_out_as_it_went_in(line: Line) -> None:
    plains = [b"one", b"", b"\0" * 5000, bytes(range(256))]
    ids = await line.outgoing.send(plains)
    assert list(zip(ids, plains, strict=True)) == [(one.lease.entry.id, one.plain) for one in await line.take()]
    assert line.dead == []


async def test_what_lies_on_the_disk_shows_neither_content_nor_its_size(line: Line) -> None:
    canary = os.urandom(24).hex().encode()
    await line.outgoing.send([canary + bytes(n) for n in range(40)])
    bodies = [lease.entry.body for lease in await line.raw()]
    await line.channel.close()
    disk = b"".join(file.read_bytes() for file in line.file.parent.iterdir())
    assert bodies[0] in disk
    assert canary not in disk
    assert bytes.fromhex(canary.decode()) not in disk
    assert len({len(body) for body in bodies}) < 8


async def test_entry_ids_are_uuids_of_version_7(line: Line) -> None:
    ids = [UUID(bytes=one) for one in await line.outgoing.send([b""] * 50)]
    assert len(set(ids)) == 50
    assert {7} == {one.version for one in ids}
    assert {"specified in RFC 4122"} == {one.variant for one in ids}
    assert {int(START.timestamp() * 1000)} == {one.int >> 80 for one in ids}


async def test_an_acknowledged_entry_is_gone_and_another_comes_again(line: Line) -> None:
    await line.outgoing.send([b"one", b"two"])
    one, _ = await line.take()
    await line.incoming.ack([one])
    line.now += LEASE
    assert [(opened.plain, opened.lease.deliveries) for opened in await line.take()] == [(b"two", 2)]


async def test_a_rejected_entry_is_dead_with_its_reason(line: Line) -> None:
    (id_,) = await line.outgoing.send([b"one"])
    (opened,) = await line.take()
    await line.incoming.reject(opened, "statement-refused")
    assert [(id_, "statement-refused")] == [
        (letter.entry_id, letter.reason) for letter in await line.channel.dead(STREAM, 10)
    ]


async def test_what_does_not_open_is_dead_and_told_and_stops_nothing(line: Line) -> None:
    await line.outgoing.send([b"first"])
    await line.channel.publish(STREAM, [Entry(b"x" * 16, b"no box"), Entry(b"y" * 16, os.urandom(500))])
    line.key = X25519Secret.generate().public
    (foreign,) = await line.outgoing.send([b"for another"])
    line.key = line.desk.public
    await line.outgoing.send([b"last"])
    assert [one.plain for one in await line.take()] == [b"first", b"last"]
    assert [(b"x" * 16, "box-form"), (b"y" * 16, "box-form"), (foreign, "not-our-key")] == line.dead
    dead = [(letter.entry_id, letter.reason) for letter in await line.channel.dead(STREAM, 10)]
    assert line.dead == dead[::-1]
    assert Depth(waiting=0, leased=2, dead=3) == await line.channel.depth(STREAM)


async def test_an_entry_moved_to_another_stream_or_id_does_not_open(line: Line) -> None:
    await line.out("decisions.eu").send([b"elsewhere"])
    (other,) = await line.channel.receive("decisions.eu", limit=1, lease=LEASE, wait=NOW)
    await line.outgoing.send([b"here"])
    (own,) = await line.raw()
    await line.channel.ack([own])
    await line.channel.publish(STREAM, [other.entry, Entry(b"z" * 16, own.entry.body)])
    assert await line.take() == []
    assert [(other.entry.id, "moved"), (b"z" * 16, "moved")] == line.dead


async def test_one_ephemeral_key_serves_an_hour(line: Line) -> None:
    await line.outgoing.send([b"a", b"b"])
    line.now += timedelta(minutes=59)
    await line.outgoing.send([b"c"])
    line.now += timedelta(minutes=1)
    await line.outgoing.send([b"d"])
    keys = [lease.entry.body[33:65] for lease in await line.raw()]
    assert keys[0] == keys[1] == keys[2] != keys[3]


async def test_a_turned_key_is_used_at_once_and_both_epochs_open(line: Line) -> None:
    following = X25519Secret.generate()
    await line.outgoing.send([b"before"])
    line.key = following.public
    await line.outgoing.send([b"after"])
    opened = await line.inwards(following, line.desk).receive(10, LEASE, NOW)
    assert [one.plain for one in opened] == [b"before", b"after"]


async def test_what_is_too_long_is_refused_before_anything_is_sent(line: Line) -> None:
    with pytest.raises(BoxError, match=r"^too-long$"):
        await line.outgoing.send([b"short", bytes(PLAIN_MAX + 1)])
    assert Depth(waiting=0, leased=0, dead=0) == await line.channel.depth(STREAM)


@pytest.mark.parametrize("stream", ["", "A", "a/b"])
async def test_both_ends_want_a_streams_name(line: Line, stream: str) -> None:
    with pytest.raises(ChannelError, match=r"^stream-name$"):
        line.out(stream)
    with pytest.raises(ChannelError, match=r"^stream-name$"):
        Incoming(line.channel, stream, Receiver([line.desk]), line.bury)


async def test_what_came_out_prints_without_its_content(line: Line) -> None:
    await line.outgoing.send([b"canary-canary"])
    (opened,) = await line.take()
    assert "canary" not in repr(opened)
