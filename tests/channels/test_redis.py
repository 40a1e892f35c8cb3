"""What the engine on Redis keeps beyond the contract of all engines: against real servers, their deaths and their owners."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.exceptions import OutOfMemoryError, ResponseError

import channels.redis
import channels.redis_line
from channels import BODY_MAX_BYTES, ChannelError, Depth, Entry, Lease
from channels.redis import BLOCK, RedisChannel
from channels.redis_line import TIMEOUT, Address
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from crypto.keys import X25519Secret
from tests.redis_servers import (
    HOST,
    RedisServer,
    elapse,
    needs_whole,
    running,
    spread_slots,
    write_certificates,
)

STREAM = "requests.eu"
KEY = "rogatory:{requests.eu}"
LEASE, NOW, SOON = timedelta(seconds=30), timedelta(0), timedelta(seconds=3)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
ACL = Path(__file__).parents[2] / "docker" / "redis-users.acl"

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """A server that nobody harms, empty."""
    with shared.client() as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        client.config_resetstat()
    return shared


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    server = RedisServer(tmp_path / "redis")
    with running(server):
        yield server


@asynccontextmanager
async def opened(url: str, max_deliveries: int = 5) -> AsyncIterator[RedisChannel]:
    channel = RedisChannel(Address.parse(url), lambda: START, max_deliveries)
    try:
        yield channel
    finally:
        await channel.close()


@pytest.fixture
async def channel(server: RedisServer) -> AsyncIterator[RedisChannel]:
    async with opened(server.url) as channel:
        yield channel


def entry(number: int, body: bytes = b"") -> Entry:
    return Entry(number.to_bytes(16), body or b"body %d" % number)


def entries(*numbers: int) -> list[Entry]:
    return [entry(number) for number in numbers]


async def take(channel: RedisChannel, limit: int = 100, stream: str = STREAM, wait: timedelta = NOW) -> list[Lease]:
    return await channel.receive(stream, limit=limit, lease=LEASE, wait=wait)


def received(leases: list[Lease]) -> list[Entry]:
    return [lease.entry for lease in leases]


def secret_file(path: Path, secret: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(secret)
    return path


# Addresses


def test_an_address_says_where_and_as_whom() -> None:
    found = Address.parse(
        "rediss+sentinel://desk@one:1,two,[::1]:3/main?ca_file=/a%20b&cert_file=/c&key_file=/d&depth=7"
    )
    assert (
        found.kind,
        found.tls,
        found.user,
        found.service,
        found.depth,
    ) == ("redis+sentinel", True, "desk", "main", 7)
    assert found.hosts == (("one", 1), ("two", 26379), ("::1", 3))
    assert {"ca_file": Path("/a b"), "cert_file": Path("/c"), "key_file": Path("/d")} == found.files
    plain = Address.parse("redis://localhost/3")
    assert (
        plain.kind,
        plain.tls,
        plain.user,
        plain.database,
        plain.hosts,
    ) == ("redis", False, None, 3, (("localhost", 6379),))


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("redis://", "channel-address"),
        ("redis:///0", "channel-address"),
        ("redis://host:0", "channel-address"),
        ("redis://host:65536", "channel-address"),
        ("redis://host:x", "channel-address"),
        ("redis://ho st", "channel-address"),
        ("redis://host/x", "channel-address"),
        ("redis://host/99999", "channel-address"),
        ("redis://host/0/1", "channel-address"),
        ("redis://host/0#x", "channel-address"),
        ("redis://host\n", "channel-address"),
        ("redis://us er@host", "channel-address"),
        ("redis://@host", "channel-address"),
        ("redis://one,two", "channel-address"),
        ("redis+cluster://one,,two", "channel-address"),
        ("redis+cluster://one/0", "channel-address"),
        ("redis+sentinel://one", "channel-address"),
        ("redis+sentinel://one/ma in", "channel-address"),
        ("redis://user:canary@host", "password-in-address"),
        ("redis://:canary@host", "password-in-address"),
        ("redis://host?password=canary", "channel-option"),
        ("redis://host?ca_file=/x", "channel-option"),
        ("rediss://host?cert_file=/x", "channel-option"),
        ("rediss://host?ca_file=/x&ca_file=/y", "channel-option"),
        ("redis://host?depth=1&depth=2", "channel-option"),
        ("redis://host?depth=0", "channel-option"),
        ("redis://host?depth=", "channel-option"),
        ("redis://host?depth=many", "channel-option"),
        ("redis://host?depth=9999999999", "channel-option"),
        ("redis://host?password_file=relative", "channel-path"),
        ("redis://host?password_file=", "channel-path"),
        ("redis://host?password_file=/a%00b", "channel-path"),
    ],
)
def test_no_other_address_is_read_and_none_is_told(url: str, flaw: str) -> None:
    with pytest.raises(ChannelError, match=rf"^{flaw}$") as caught:
        channels.open_channel(url, lambda: START)
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize(
    "scheme", ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"]
)
async def test_opening_needs_no_server(scheme: str) -> None:
    channel = channels.open_channel(f"{scheme}://localhost:1{'/main' if 'sentinel' in scheme else ''}", lambda: START)
    with pytest.raises(ChannelError, match=r"^unreachable$"):
        await channel.publish(STREAM, entries(1))
    await channel.close()


@pytest.mark.parametrize(
    ("prepare", "flaw"),
    [
        (lambda _: None, "no-such-file"),
        (lambda file: (file.write_text("secret"), file.chmod(0o644)), "mode-too-open"),
        (lambda file: secret_file(file, "\n"), "passphrase-empty"),
    ],
)
def test_a_passwords_file_is_there_and_is_ours_alone(
    tmp_path: Path, prepare: Callable[[Path], object], flaw: str
) -> None:
    prepare(tmp_path / "password")
    for scheme, option in (("redis", "password_file"), ("redis+sentinel", "sentinel_password_file")):
        address = f"{scheme}://localhost{'/main' if 'sentinel' in scheme else ''}?{option}={tmp_path / 'password'}"
        with pytest.raises(ChannelError, match=rf"^{flaw}$"):
            channels.open_channel(address, lambda: START)


# Putting and taking


async def test_five_hundred_at_once_go_out_in_a_few_calls(server: RedisServer, channel: RedisChannel) -> None:
    await asyncio.gather(*(channel.publish(STREAM, [entry(number)]) for number in range(500)))
    assert Depth(waiting=500, leased=0, dead=0) == await channel.depth(STREAM)
    with server.client() as client:
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls < 10


async def test_hundreds_receive_at_once_on_a_bounded_number_of_connections(
    server: RedisServer, channel: RedisChannel
) -> None:
    await channel.publish(STREAM, entries(*range(200)))
    shares = await asyncio.gather(*(take(channel, limit=1) for _ in range(200)))
    assert sorted(entry.id for share in shares for entry in received(share)) == [one.id for one in entries(*range(200))]
    with server.client() as client:
        assert client.info("clients")["connected_clients"] <= channels.redis._WORKING + channels.redis._WAITING + 1


async def test_more_than_one_call_may_carry_goes_in_several(channel: RedisChannel) -> None:
    large = [entry(number, bytes([number]) * BODY_MAX_BYTES) for number in range(9)]
    await channel.publish(STREAM, large)
    await channel.publish("requests.us", many := entries(*range(2_300)))
    await asyncio.gather(*(channel.publish("requests.uk", [one]) for one in large))
    assert large == received(await take(channel))
    got = [lease for _ in range(3) for lease in await take(channel, 1_000, "requests.us")]
    assert many == received(got)
    assert len(await take(channel, stream="requests.uk")) == 9
    await channel.ack(got)
    assert Depth(0, 0, 0) == await channel.depth("requests.us")


async def test_an_ack_may_name_leases_of_several_streams_in_any_order(channel: RedisChannel) -> None:
    await channel.publish(STREAM, entries(*range(9)))
    await channel.publish("requests.us", entries(1, 2))
    held = await take(channel)
    await channel.ack([held[5], *await take(channel, stream="requests.us"), held[5], held[1], held[8]])
    assert Depth(waiting=0, leased=6, dead=0) == await channel.depth(STREAM)
    assert Depth(0, 0, 0) == await channel.depth("requests.us")


async def test_leases_end_by_the_servers_clock(channel: RedisChannel) -> None:
    await channel.publish(STREAM, entries(1))
    short = timedelta(milliseconds=300)
    assert await channel.receive(STREAM, limit=1, lease=short, wait=NOW)
    assert await channel.receive(STREAM, limit=1, lease=short, wait=NOW) == []
    (again,) = await channel.receive(STREAM, limit=1, lease=short, wait=SOON)
    assert again.deliveries == 2


async def test_waiting_longer_than_the_time_out_is_no_error(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BLOCK < TIMEOUT / 2
    monkeypatch.setattr(channels.redis_line, "TIMEOUT", 2.2 * BLOCK)
    async with opened(server.url) as channel, asyncio.timeout(4):
        assert await take(channel, wait=timedelta(seconds=5 * BLOCK)) == []


async def test_a_server_that_answers_nobody_is_unreachable_after_one_time_out(
    mortal: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels.redis_line, "TIMEOUT", 1.0)
    async with opened(mortal.url) as channel:
        await channel.publish(STREAM, entries(1))
        held = await take(channel)
        waiting = asyncio.create_task(take(channel, wait=timedelta(seconds=60)))
        await asyncio.sleep(0.1)
        mortal.pause()
        async with asyncio.timeout(2):
            with pytest.raises(ChannelError, match=r"^unreachable$"):
                await waiting
        async with asyncio.timeout(4):  # one attempt more
            with pytest.raises(ChannelError, match=r"^unreachable$"):
                await channel.ack(held)
        mortal.resume()
        await channel.ack(held)
        assert Depth(0, 0, 0) == await channel.depth(STREAM)


async def test_who_leaves_in_the_middle_takes_nobody_with_him(mortal: RedisServer) -> None:
    async with opened(mortal.url) as channel:
        await channel.publish(STREAM, entries(0))
        mortal.pause()
        senders = [asyncio.create_task(channel.publish(STREAM, [entry(number)])) for number in range(1, 5)]
        receiver = asyncio.create_task(take(channel, wait=timedelta(seconds=60)))
        await asyncio.sleep(0.05)
        for left in (senders[0], senders[2], receiver):  # the first has the turn, another waits
            left.cancel()
        await asyncio.sleep(0.05)
        mortal.resume()
        await asyncio.gather(senders[1], senders[3])
        await channel.publish(STREAM, entries(5))
        elapse(mortal, LEASE)  # of what the receiver that left was given
        got = {one.id for one in received(await take(channel))}
        assert {entry(number).id for number in (0, 2, 4, 5)} <= got
        assert all(task.cancelled() for task in (senders[0], senders[2], receiver))


# Fullness


async def test_a_full_stream_takes_no_more_until_something_is_done(server: RedisServer) -> None:
    async with opened(f"{server.url}?depth=3") as channel:
        await channel.publish(STREAM, entries(1, 2))
        with pytest.raises(ChannelError, match=r"^full$"):
            await channel.publish(STREAM, entries(3, 4))
        await channel.publish(STREAM, entries(1, 2, 3))  # they are there
        await channel.publish("requests.us", entries(4))
        with pytest.raises(ChannelError, match=r"^full$"):
            await channel.publish(STREAM, entries(4))
        held = await take(channel)
        with pytest.raises(ChannelError, match=r"^full$"):
            await channel.publish(STREAM, entries(4))  # what is lent is there still
        await channel.ack(held[:1])
        await channel.publish(STREAM, entries(4))
        assert entries(1, 2, 3) == received(held)
        assert entries(4) == received(await take(channel))


async def test_of_those_that_publish_together_who_fits_in_is_told_so(server: RedisServer) -> None:
    async with opened(f"{server.url}?depth=2") as channel:
        found = await asyncio.gather(
            *(channel.publish(STREAM, [entry(number)]) for number in range(4)), return_exceptions=True
        )
        assert [one.flaw if isinstance(one, ChannelError) else one for one in found] == [None, None, "full", "full"]


async def test_when_the_memory_is_full_nothing_comes_in_and_everything_gets_out(
    server: RedisServer, channel: RedisChannel
) -> None:
    await channel.publish(STREAM, entries(1, 2, 3))
    with server.client() as client:
        client.config_set("maxmemory", 1)
    with pytest.raises(ChannelError, match=r"^full$"):
        await channel.publish(STREAM, entries(4))
    first, second, _ = await take(channel)
    await channel.ack([first])
    await channel.reject(second, "altered")
    async with opened(server.url, max_deliveries=1) as strict:
        elapse(server, LEASE)
        assert await take(strict) == []
    assert [letter.reason for letter in await channel.dead(STREAM, 9)] == ["deliveries-exhausted", "altered"]
    assert Depth(waiting=0, leased=0, dead=2) == await channel.depth(STREAM)


async def test_only_the_last_dead_letters_are_kept(channel: RedisChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.redis, "DEAD_KEPT", 100)
    await channel.publish(STREAM, entries(*range(400)))
    for lease in await take(channel, limit=400):
        await channel.reject(lease, "altered")
    assert entry(399).id == (await channel.dead(STREAM, 1))[0].entry_id
    assert 100 <= (await channel.depth(STREAM)).dead < 300


# The broker's owner


class Line:
    """Both ends of a sealed stream, and what lies between."""

    def __init__(self, channel: RedisChannel) -> None:
        self.desk = X25519Secret.generate()
        self.channel = channel
        self.sender = Sender()
        self.dead: list[tuple[bytes, str]] = []
        self.incoming = Incoming(channel, STREAM, Receiver([self.desk]), self.bury)

    def bury(self, lease: Lease, flaw: str) -> None:
        self.dead.append((lease.entry.id, flaw))

    async def send(self, *plains: bytes, stream: str = STREAM) -> list[bytes]:
        outgoing = Outgoing(self.channel, stream, self.sender, lambda: self.desk.public, lambda: START, os.urandom)
        return await outgoing.send(plains)

    async def take(self) -> list[bytes]:
        opened = await self.incoming.receive(100, LEASE, NOW)
        await self.incoming.ack(opened)
        return [one.plain for one in opened]


async def test_what_the_brokers_owner_puts_there_is_dead_and_the_rest_flows(
    server: RedisServer, channel: RedisChannel
) -> None:
    line = Line(channel)
    cut, one, two, _ = await line.send(b"cut", b"one", b"two", b"first")
    (elsewhere,) = await line.send(b"elsewhere", stream="decisions.eu")
    with server.client() as client:
        values = {fields[b"e"][:16]: (place, fields[b"e"]) for place, fields in client.xrange(KEY)}
        ((_, moved),) = client.xrange("rogatory:{decisions.eu}")
        client.xdel(KEY, *(values[id_][0] for id_ in (cut, one, two)))
        poison = [
            values[cut][1][:-1],  # truncated
            one + values[two][1][16:],  # swapped
            two + values[one][1][16:],
            moved[b"e"],  # replayed out of another stream
            b"z" * 16 + values[two][1][16:],  # replayed under another id
            b"short",
            b"",
        ]
        for value in poison:
            client.xadd(KEY, {"e": value})
        client.xadd(KEY, {"foreign": "x", "fields": "y"})
        client.xadd(KEY, {"e": bytes(17 + BODY_MAX_BYTES)})
    await line.send(b"last")
    assert await line.take() == [b"first", b"last"]
    assert [(cut, "altered"), (one, "moved"), (two, "moved"), (elsewhere, "moved"), (b"z" * 16, "moved")] == [
        (id_, flaw if flaw != "box-form" else "altered") for id_, flaw in line.dead
    ]
    letters = await channel.dead(STREAM, 20)
    assert [bytes(16)] * 4 == [letter.entry_id for letter in letters if letter.reason == "entry-form"]
    assert len(letters) == 9
    assert Depth(waiting=0, leased=0, dead=9) == await channel.depth(STREAM)


async def test_foreign_entries_do_not_wake_a_receiver(server: RedisServer, channel: RedisChannel) -> None:
    waiting = asyncio.create_task(take(channel, wait=SOON))
    await asyncio.sleep(0.1)
    with server.client() as client:
        client.xadd(KEY, {"foreign": "x"})
        await asyncio.sleep(0.1)
    assert not waiting.done()
    await channel.publish(STREAM, entries(1))
    assert entries(1) == received(await waiting)
    assert [letter.reason for letter in await channel.dead(STREAM, 9)] == ["entry-form"]


async def test_what_was_deleted_while_it_was_lent_is_owed_no_more(server: RedisServer, channel: RedisChannel) -> None:
    await channel.publish(STREAM, entries(1, 2, 3))
    held = await take(channel)
    with server.client() as client:
        client.xdel(KEY, held[0].token, held[2].token)
    elapse(server, LEASE)
    assert entries(2) == received(await take(channel))
    assert Depth(waiting=0, leased=1, dead=0) == await channel.depth(STREAM)
    await channel.ack(held)


async def test_what_was_trimmed_may_be_published_again(server: RedisServer, channel: RedisChannel) -> None:
    await channel.publish(STREAM, entries(1, 2))
    with server.client() as client:
        client.xtrim(KEY, maxlen=0, approximate=False)
    await channel.publish(STREAM, entries(1, 2))
    assert entries(1, 2) == received(await take(channel))


@pytest.mark.parametrize(
    ("part", "verb"),
    [
        ("", lambda channel, held: channel.ack(held)),
        ("", lambda channel, held: channel.publish(STREAM, [held[0].entry])),
        ("", lambda channel, _: take(channel)),
        ("", lambda channel, _: channel.depth(STREAM)),
        (":ids", lambda channel, _: channel.publish(STREAM, entries(2))),
        (":dead", lambda channel, held: channel.reject(held[0], "altered")),
        (":dead", lambda channel, _: channel.dead(STREAM, 9)),
    ],
)
async def test_a_key_of_another_kind_is_an_error_that_ends_with_it(
    server: RedisServer,
    channel: RedisChannel,
    part: str,
    verb: Callable[[RedisChannel, list[Lease]], Awaitable[object]],
) -> None:
    await channel.publish(STREAM, entries(1))
    held = await take(channel)
    with server.client() as client:
        client.delete(KEY + part)
        client.set(KEY + part, "x")
        with pytest.raises(ChannelError, match=r"^engine$"):
            await verb(channel, held)
        client.delete(KEY + part)
    await channel.publish(STREAM, entries(3))
    assert entry(3) in received(await take(channel))


async def test_a_flushed_server_is_begun_anew(server: RedisServer, channel: RedisChannel) -> None:
    await channel.publish(STREAM, entries(1, 2))
    held = await take(channel)
    waiting = asyncio.create_task(take(channel, wait=SOON))
    await asyncio.sleep(0.1)
    with server.client() as client:
        client.flushall()
        client.script_flush()
    await channel.ack(held)
    await channel.reject(held[0], "altered")
    assert Depth(0, 0, 0) == await channel.depth(STREAM)
    assert await channel.dead(STREAM, 9) == []
    await channel.publish(STREAM, entries(1, 2))
    assert entries(1, 2) == received(await waiting)


async def test_losing_everything_under_load_loses_nothing_that_is_sent_again(
    server: RedisServer, channel: RedisChannel
) -> None:
    owed = {one.id: one for one in entries(*range(300))}
    receiver = asyncio.create_task(_receive_until_empty(channel, owed))
    for number in range(4):
        await channel.publish(STREAM, list(owed.values()))
        with server.client() as client:
            client.flushall()
        await asyncio.sleep(0.02 * number)
    while owed:
        await channel.publish(STREAM, list(owed.values()))
        await asyncio.sleep(0.05)
    await receiver
    assert (await channel.depth(STREAM)).dead == 0


async def _receive_until_empty(channel: RedisChannel, owed: dict[bytes, Entry]) -> None:
    """Settle with the sender, as a desk's answers do, until it is owed nothing."""
    while owed:
        held = await take(channel, limit=7, wait=timedelta(seconds=0.2))
        for lease in held:
            assert owed.pop(lease.entry.id, lease.entry) == lease.entry
        await channel.ack(held)


@pytest.mark.parametrize(
    ("error", "flaw"),
    [
        (ResponseError("Error running script (call to f_…): @user_script:9: -READONLY You can't write"), "unreachable"),
        (
            ResponseError("READONLY You can't write against a read only replica. script: …, on @user_script:9."),
            "unreachable",
        ),
        (ResponseError("MASTERDOWN Link with MASTER is down"), "unreachable"),
        (ResponseError("BUSY Redis is busy running a script."), "unreachable"),
        (ResponseError("The user executing the script can't run this command or subcommand"), "refused"),
        (ResponseError("NOAUTH Authentication required."), "refused"),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "disk"),
        (ResponseError("Error running script (call to f_…): @user_script:9: -OOM command not allowed"), "full"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "full"),
        (ResponseError("wrong number of arguments"), "engine"),
        (ConnectionResetError(), "unreachable"),
    ],
)
def test_what_the_client_says_becomes_a_constant(error: Exception, flaw: str) -> None:
    with pytest.raises(ChannelError, match=rf"^{flaw}$"), channels.redis_line._translated():
        raise error


# The server's death


async def test_a_server_that_comes_later_is_found(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    async with opened(server.url) as channel:
        with pytest.raises(ChannelError, match=r"^unreachable$"):
            await take(channel)
        with running(server):
            await channel.publish(STREAM, entries(1))
            assert entries(1) == received(await take(channel))


async def test_kills_under_load_lose_and_double_nothing(mortal: RedisServer) -> None:
    """Whoever was told that his entry is there finds it, once; what was not settled comes again."""
    done: list[bytes] = []
    async with opened(mortal.url) as near, opened(mortal.url) as far:
        sending = asyncio.gather(*(_send_stubbornly(near, range(100 * n, 100 * n + 100)) for n in range(4)))
        receiving = asyncio.create_task(_settle_stubbornly(far, done, 400))
        for how in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            await asyncio.sleep(0.15)
            mortal.end(how)
            await asyncio.to_thread(mortal.start)
        await sending
        while not receiving.done():
            elapse(mortal, LEASE)  # of answers that were lost with a connection
            await asyncio.sleep(0.1)
        await receiving
        assert Depth(0, 0, 0) == await far.depth(STREAM)
    assert sorted(done) == [one.id for one in entries(*range(400))]


async def stubbornly(verb: Callable[[], Awaitable[Result]]) -> Result:
    """Do it until the server is there, as whoever uses a channel must."""
    while True:
        try:
            return await verb()
        except ChannelError as error:
            if error.flaw != "unreachable":
                raise
            await asyncio.sleep(0.01)


async def _send_stubbornly(channel: RedisChannel, numbers: range) -> None:
    for number in numbers:
        await stubbornly(partial(channel.publish, STREAM, [entry(number)]))


async def _settle_stubbornly(channel: RedisChannel, done: list[bytes], most: int) -> None:
    """Note entries when they are settled. An `ack` whose answer was lost is made again."""
    while len(done) < most:
        held = await stubbornly(lambda: take(channel, limit=10, wait=timedelta(seconds=0.1)))
        await stubbornly(partial(channel.ack, held))
        done += [lease.entry.id for lease in held]


async def test_a_replica_is_no_server_for_us(tmp_path: Path) -> None:
    master, replica = RedisServer(tmp_path / "master"), RedisServer(tmp_path / "replica")
    replica.options = ("--replicaof", HOST, str(master.port))
    with running(master, replica):
        async with opened(replica.url) as channel:
            for verb in (channel.publish(STREAM, entries(1)), take(channel)):
                with pytest.raises(ChannelError, match=r"^unreachable$"):
                    await verb
            with replica.client() as client:
                client.execute_command("REPLICAOF", "NO", "ONE")
            await channel.publish(STREAM, entries(1))
            assert entries(1) == received(await take(channel))


# Who may


def with_users(folder: Path) -> tuple[RedisServer, Path]:
    """A server with the users that we ship, and a password for them."""
    folder.mkdir(parents=True)
    password = os.urandom(16).hex()
    mark = hashlib.sha256(password.encode()).hexdigest()
    users = ACL.read_text()
    for user in ("GATEWAY", "DESK"):
        users = users.replace(f"#SHA256-OF-{user}-PASSWORD", f"#{mark}")
    users += "user owner on nopass ~* &* +@all\n"
    (folder / "users.acl").write_text(users)
    return RedisServer(folder, "--aclfile", str(folder / "users.acl")), secret_file(folder / "password", password)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, Path]]:
    server, password = with_users(tmp_path_factory.mktemp("guarded") / "redis")
    with running(server):
        yield server, password


async def everything(url: str, owner: RedisServer) -> None:
    """Each verb, on each of its ways."""
    async with opened(url, max_deliveries=2) as channel:
        with _owner(owner) as client:
            client.flushall()
            client.script_flush()
        waiting = asyncio.create_task(take(channel, limit=1, wait=SOON))
        await asyncio.sleep(0.05)
        try:
            await channel.publish(STREAM, entries(1, 2, 3))
            first = await waiting
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        second, third = await take(channel)
        await channel.ack(first)
        await channel.reject(second, "altered")
        for _ in range(2):
            with _owner(owner) as client:
                client.xclaim(KEY, "rogatory", "rogatory", 0, [third.token], idle=60_000, justid=True)
            await take(channel)
        assert Depth(0, 0, 2) == await channel.depth(STREAM)
        assert len(await channel.dead(STREAM, 9)) == 2


def _owner(server: RedisServer) -> redis.Redis:
    return redis.Redis(host=HOST, port=server.port, protocol=2, username="owner", password="x")


def granted() -> list[str]:
    line = next(line for line in ACL.read_text().splitlines() if line.startswith("user gateway "))
    return [word[1:] for word in line.split() if word.startswith("+")]


@pytest.mark.parametrize("user", ["gateway", "desk"])
async def test_the_users_that_we_ship_may_do_what_is_needed(guarded: tuple[RedisServer, Path], user: str) -> None:
    server, password = guarded
    with _owner(server) as owner:
        owner.acl_log_reset()
        await everything(f"redis://{user}@{HOST}:{server.port}?password_file={password}", server)
        assert owner.acl_log() == []


@pytest.mark.parametrize("command", [one for one in granted() if one not in {"cluster|slots", "command"}])
async def test_and_nothing_that_is_not_needed(guarded: tuple[RedisServer, Path], command: str) -> None:
    server, password = guarded
    with _owner(server) as owner:
        owner.execute_command("ACL", "SETUSER", "gateway", f"-{command.partition('|')[0]}")
        try:
            with pytest.raises(ChannelError, match=r"^refused$"):
                await everything(f"redis://gateway@{HOST}:{server.port}?password_file={password}", server)
        finally:
            owner.execute_command("ACL", "SETUSER", "gateway", f"+{command}")


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "CONFIG GET *",
        "CONFIG SET dir /",
        "DEBUG SLEEP 0",
        "SHUTDOWN",
        "SAVE",
        "MONITOR",
        "ACL LIST",
        "CLIENT LIST",
        "SCRIPT FLUSH",
        "REPLICAOF NO ONE",
        "MODULE LIST",
        "INFO",
        "SLOWLOG GET",
        "CLUSTER NODES",
        "PUBLISH a b",
        f"XTRIM {KEY} MAXLEN 0",
        f"XGROUP DESTROY {KEY} rogatory",
        f"SET {KEY} x",
        f"RENAME {KEY} x",
        "XLEN other",
        "DEL rogatory",
        "EVAL return(redis.call('XLEN','other')) 0",
        "EVAL return(redis.call('KEYS','*')) 0",
    ],
)
async def test_our_users_may_do_nothing_else(guarded: tuple[RedisServer, Path], command: str) -> None:
    server, password = guarded
    with redis.Redis(
        host=HOST, port=server.port, protocol=2, username="gateway", password=password.read_text()
    ) as client:
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't run|can't access|not allowed") as caught:
            client.execute_command(*command.split())
        assert "unknown" not in str(caught.value)


async def test_strangers_are_refused(guarded: tuple[RedisServer, Path], tmp_path: Path) -> None:
    server, password = guarded
    wrong = secret_file(tmp_path / "wrong", "canary-canary")
    for address in (
        f"{HOST}:{server.port}",
        f"gateway@{HOST}:{server.port}?password_file={wrong}",
        f"{HOST}:{server.port}?password_file={password}",
    ):
        async with opened(f"redis://{address}") as channel:
            with pytest.raises(ChannelError, match=r"^refused$") as caught:
                await channel.publish(STREAM, entries(1))
            told: BaseException | None = caught.value
            while told is not None:
                assert "canary" not in repr(told)
                told = told.__cause__ or told.__context__


async def test_a_password_that_was_changed_needs_no_restart(guarded: tuple[RedisServer, Path], tmp_path: Path) -> None:
    server, password = guarded
    mine = secret_file(tmp_path / "password", password.read_text())
    with _owner(server) as owner:
        async with opened(f"redis://desk@{HOST}:{server.port}?password_file={mine}") as channel:
            await channel.publish(STREAM, entries(1))
            owner.execute_command("ACL", "SETUSER", "desk", ">turned", f"<{password.read_text()}")
            owner.execute_command("CLIENT", "KILL", "USER", "desk")
            with pytest.raises(ChannelError, match=r"^refused$"):
                await channel.publish(STREAM, entries(2))
            mine.write_text("turned")
            await channel.publish(STREAM, entries(2))
            mine.unlink()
            owner.execute_command("CLIENT", "KILL", "USER", "desk")
            with pytest.raises(ChannelError, match=r"^no-such-file$"):
                await channel.publish(STREAM, entries(3))
        owner.execute_command("ACL", "SETUSER", "desk", f">{password.read_text()}", "<turned")


# TLS, Sentinel, Cluster


async def test_by_tls_both_show_who_they_are(tmp_path: Path) -> None:
    needs_whole()
    write_certificates(tmp_path)
    server = RedisServer(tmp_path / "redis")
    server.options = tuple(
        f"--port 0 --tls-port {server.port} --tls-auth-clients yes --tls-ca-cert-file {tmp_path}/ca.pem "
        f"--tls-cert-file {tmp_path}/server.pem --tls-key-file {tmp_path}/server.key".split()
    )
    place, ca = f"rediss://{HOST}:{server.port}", f"ca_file={tmp_path}/ca.pem"
    own = f"cert_file={tmp_path}/client.pem&key_file={tmp_path}/client.key"
    with running(server):
        async with opened(f"{place}?{ca}&{own}") as channel:
            await channel.publish(STREAM, entries(1))
            assert entries(1) == received(await take(channel, wait=NOW))
            assert await take(channel, wait=timedelta(seconds=0.1)) == []
        for url, flaw in (
            (f"{place}?{own}", "certificate"),  # an authority that is not the system's
            (f"rediss://localhost:{server.port}?{ca}&{own}", "certificate"),  # another name than the server's
            (f"{place}?{ca}", "unreachable"),
            (f"redis://{HOST}:{server.port}", "unreachable"),
        ):
            async with opened(url) as channel:
                with pytest.raises(ChannelError, match=rf"^{flaw}$"):
                    await channel.publish(STREAM, entries(2))


async def test_when_sentinel_names_another_master_work_goes_on(tmp_path: Path) -> None:
    needs_whole()
    master, replica = RedisServer(tmp_path / "master"), RedisServer(tmp_path / "replica")
    replica.options = ("--replicaof", HOST, str(master.port))
    sentinels = [RedisServer(tmp_path / f"sentinel-{n}", sentinel=True) for n in range(3)]
    for sentinel in sentinels:
        (sentinel.folder / "sentinel.conf").write_text(
            f"sentinel monitor main {HOST} {master.port} 2\nrequirepass watchword\nsentinel sentinel-pass watchword\n"
            "sentinel down-after-milliseconds main 400\nsentinel failover-timeout main 2000\n"
        )
    watchword = secret_file(tmp_path / "watchword", "watchword")
    hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
    url = f"redis+sentinel://{hosts}/main?sentinel_password_file={watchword}"
    with running(master, replica, *sentinels):
        async with opened(url) as channel:
            await channel.publish(STREAM, entries(1, 2))
            (held,) = await take(channel, limit=1)
            with master.client() as client:
                assert client.execute_command("WAIT", 1, 10_000) == 1
            await _until_sentinels_agree(sentinels)
            master.kill()
            async with asyncio.timeout(30):
                await _send_stubbornly(channel, range(3, 4))
            await channel.ack([held])
            got = await take(channel)
            assert entries(2, 3) == received(got)
            with replica.client() as client:
                assert client.info("replication")["role"] == "master"
    async with opened(url) as channel:
        with pytest.raises(ChannelError, match=r"^unreachable$"):
            await channel.publish(STREAM, entries(4))


async def _until_sentinels_agree(sentinels: list[RedisServer]) -> None:
    for sentinel in sentinels:
        with redis.Redis(host=HOST, port=sentinel.port, protocol=2, password="watchword") as client:
            async with asyncio.timeout(20):
                while True:
                    state = client.sentinel_master("main")
                    if state["num-other-sentinels"] == 2 and state["num-slaves"] == 1:
                        break
                    await asyncio.sleep(0.05)


async def test_on_a_cluster_each_stream_has_its_node(tmp_path: Path) -> None:
    password = None
    servers = []
    for number in range(3):
        server, password = with_users(tmp_path / f"node-{number}")
        server.options += ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        servers.append(server)
    users = (servers[0].folder / "users.acl").read_text()
    for server in servers:
        (server.folder / "users.acl").write_text(users.replace("user default off", "user default on nopass ~* +@all"))
    password = servers[0].folder / "password"
    hosts = ",".join(f"{HOST}:{server.port}" for server in servers[:2])
    streams = [f"requests.{name}" for name in "abcdefgh"]
    with running(*servers):
        spread_slots(servers)
        async with opened(f"redis+cluster://gateway@{hosts}?password_file={password}", max_deliveries=1) as channel:
            # A Cluster that has just met may say once more that it is not ready.
            waiting = asyncio.create_task(stubbornly(lambda: take(channel, stream=streams[0], wait=SOON)))
            await asyncio.sleep(0.2)
            await asyncio.gather(*(stubbornly(partial(channel.publish, stream, entries(1, 2))) for stream in streams))
            held = await waiting
            for stream in streams:
                held += await stubbornly(partial(take, channel, stream=stream))
            assert len(held) == 2 * len(streams)
            await channel.reject(held[-1], "altered")
            await channel.ack(held[:-1])
            assert len(await channel.dead(held[-1].stream, 9)) == 1
            assert Depth(0, 0, 0) == await channel.depth(streams[1])
            assert all(_keys_of(server) for server in servers)
            await _move_slot(servers, streams[1])
            await channel.publish(streams[1], entries(3))
            assert entries(3) == received(await take(channel, stream=streams[1]))
    async with opened(f"redis+cluster://{hosts}") as channel:
        with pytest.raises(ChannelError, match=r"^unreachable$"):
            await channel.publish(STREAM, entries(4))


def _keys_of(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.dbsize())


async def _move_slot(servers: list[RedisServer], stream: str) -> None:
    """Give the empty slot of a stream to another node."""
    key = f"rogatory:{{{stream}}}"
    clients = [server.client() for server in servers]
    slot = _run(clients[0], "CLUSTER", "KEYSLOT", key)
    (old,) = [one for one in clients if any(slot in range(a, b + 1) for a, b in _own_slots(one))]
    new = next(one for one in clients if one is not old)
    for name in (key, f"{key}:ids", f"{key}:dead"):
        old.delete(name)
    for one in (new, old):
        _run(one, "CLUSTER", "SETSLOT", slot, "NODE", _run(new, "CLUSTER", "MYID"))
    for one in clients:
        one.close()


def _own_slots(client: redis.Redis) -> list[tuple[int, int]]:
    own = _run(client, "CLUSTER", "MYID")
    return [(int(row[0]), int(row[1])) for row in _run(client, "CLUSTER", "SLOTS") if row[2][2] == own]


def _run(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]
