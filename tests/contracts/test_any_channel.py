"""What every engine of `channels` keeps: one suite, run over each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels import BODY_MAX_BYTES, Channel, ChannelError, Depth, Entry, Lease
from channels.redis import RedisChannel
from channels.redis_line import Address
from channels.sqlite import SqliteChannel
from tests.redis_servers import RedisServer, elapse, running

STREAM = "requests.eu"
LEASE, NOW, SOON = timedelta(seconds=30), timedelta(0), timedelta(seconds=5)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Engine:
    """An engine's place, time as the test wants it, and as many channels to that place as it asks for."""

    connect: Callable[[Callable[[], datetime], int], Channel]
    pass_time: Callable[[timedelta], None] = lambda _: None  # for an engine that has a clock of its own
    grain: timedelta = timedelta(
        milliseconds=1
    )  # how exactly leases can be watched: such a clock goes on during the test
    now: datetime = START
    opened: list[Channel] = field(default_factory=list)

    def channel(self, max_deliveries: int = 5) -> Channel:
        self.opened.append(self.connect(lambda: self.now, max_deliveries))
        return self.opened[-1]

    def elapse(self, time: timedelta) -> None:
        self.now += time
        self.pass_time(time)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


def on_sqlite(request: pytest.FixtureRequest) -> Engine:
    file = request.getfixturevalue("tmp_path") / "lines" / "channel.db"
    return Engine(lambda clock, most: SqliteChannel(file, clock, most))


def on_redis(request: pytest.FixtureRequest) -> Engine:
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.client() as client:
        client.flushall()
    return Engine(
        lambda clock, most: RedisChannel(Address.parse(server.url), clock, most),
        lambda time: elapse(server, time),
        timedelta(seconds=5),
    )


ENGINES = {"sqlite": on_sqlite, "redis": on_redis}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    engine = ENGINES[request.param](request)
    yield engine
    for channel in engine.opened:
        await channel.close()


@pytest.fixture
def channel(engine: Engine) -> Channel:
    return engine.channel()


def entry(number: int, body: bytes = b"") -> Entry:
    return Entry(number.to_bytes(16), body or b"body %d" % number)


async def take(channel: Channel, limit: int = 100, stream: str = STREAM) -> list[Lease]:
    return await channel.receive(stream, limit=limit, lease=LEASE, wait=NOW)


async def test_what_is_published_is_received_byte_for_byte(channel: Channel) -> None:
    sent = [entry(1, b"\0\xff" * 700), Entry(bytes(16), b""), entry(2, bytes(BODY_MAX_BYTES))]
    await channel.publish(STREAM, sent)
    assert sent == [lease.entry for lease in await take(channel)]


async def test_the_oldest_comes_first_whatever_the_ids_say(channel: Channel) -> None:
    for number in (3, 1, 2):
        await channel.publish(STREAM, [entry(number)])
    assert [entry(3), entry(1)] == [lease.entry for lease in await take(channel, limit=2)]
    assert [entry(2)] == [lease.entry for lease in await take(channel)]


async def test_streams_do_not_see_each_other(channel: Channel) -> None:
    await channel.publish("requests.eu", [entry(1)])
    await channel.publish("requests.us", [entry(1, b"other")])
    assert [entry(1)] == [lease.entry for lease in await take(channel, stream="requests.eu")]
    assert [entry(1, b"other")] == [lease.entry for lease in await take(channel, stream="requests.us")]
    assert await take(channel, stream="requests") == []


async def test_an_id_that_is_there_is_not_doubled(channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1), entry(2), entry(1)])
    await channel.publish(STREAM, [entry(2), entry(3)])
    held = await take(channel)
    await channel.publish(STREAM, [entry(1)])
    assert [entry(1), entry(2), entry(3)] == [lease.entry for lease in held]
    assert await take(channel) == []


async def test_an_id_that_was_removed_may_come_again(channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    old = await take(channel)
    await channel.ack(old)
    await channel.publish(STREAM, [entry(1)])
    await channel.ack(old)  # that of the entry that is gone, not of this one
    assert [(entry(1), 1)] == [(lease.entry, lease.deliveries) for lease in await take(channel)]


async def test_publishing_nothing_does_nothing(channel: Channel) -> None:
    await channel.publish(STREAM, [])
    await channel.ack([])
    assert await take(channel) == []


async def test_a_leased_entry_is_invisible_until_its_lease_ends(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    (first,) = await take(channel)
    engine.elapse(LEASE - engine.grain)
    assert await take(channel) == []
    engine.elapse(engine.grain)
    (second,) = await take(channel)
    assert (first.deliveries, second.deliveries) == (1, 2)
    assert first.entry == second.entry


async def test_an_entry_that_comes_again_comes_in_its_old_place(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    await take(channel)
    await channel.publish(STREAM, [entry(2)])
    engine.elapse(LEASE)
    assert [entry(1), entry(2)] == [lease.entry for lease in await take(channel)]


async def test_an_acknowledged_entry_never_comes_again(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1), entry(2)])
    held = await take(channel)
    await channel.ack(held[:1])
    await channel.ack(held[:1])
    engine.elapse(LEASE)
    assert [entry(2)] == [lease.entry for lease in await take(channel)]


async def test_a_late_ack_counts_while_nobody_else_has_the_entry(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1), entry(2)])
    held = await take(channel)
    engine.elapse(LEASE)
    assert [entry(1)] == [lease.entry for lease in await take(channel, limit=1)]
    await channel.ack(held)  # 1 is another's now; 2 waits again
    assert Depth(waiting=0, leased=1, dead=0) == await channel.depth(STREAM)


async def test_an_ack_of_a_lease_that_is_anothers_now_is_passed_over(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    stale = await take(channel)
    engine.elapse(LEASE)
    await take(channel)
    await channel.ack(stale)
    await channel.reject(stale[0], "altered")
    engine.elapse(LEASE)
    assert [lease.deliveries for lease in await take(channel)] == [3]
    assert await channel.dead(STREAM, 10) == []


async def test_a_rejected_entry_is_dead_with_its_reason(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1), entry(2)])
    first, second = await take(channel)
    await channel.reject(first, "altered")
    engine.elapse(timedelta(seconds=1))
    await channel.reject(second, "not-our-key")
    await channel.reject(second, "moved")  # it is dead already
    engine.elapse(LEASE)
    assert await take(channel) == []
    newest, oldest = await channel.dead(STREAM, 10)
    assert (entry(2).id, "not-our-key", 1, START + timedelta(seconds=1)) == (
        newest.entry_id,
        newest.reason,
        newest.deliveries,
        newest.at,
    )
    assert (entry(1).id, "altered", START) == (oldest.entry_id, oldest.reason, oldest.at)
    assert [newest] == await channel.dead(STREAM, 1)
    assert await channel.dead("requests.us", 10) == []


async def test_a_late_rejection_counts_while_nobody_else_has_the_entry(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1), entry(2)])
    held = await take(channel)
    engine.elapse(LEASE)
    await take(channel, limit=1)
    await channel.reject(held[1], "altered")
    assert [letter.reason for letter in await channel.dead(STREAM, 10)] == ["altered"]


async def test_what_was_delivered_often_enough_in_vain_is_dead(engine: Engine) -> None:
    channel = engine.channel(max_deliveries=3)
    await channel.publish(STREAM, [entry(1)])
    for _ in range(3):
        assert [entry(1)] == [lease.entry for lease in await take(channel)]
        engine.elapse(LEASE)
    await channel.publish(STREAM, [entry(2)])
    assert [entry(2)] == [lease.entry for lease in await take(channel)]
    (letter,) = await channel.dead(STREAM, 10)
    assert (entry(1).id, "deliveries-exhausted", 3) == (letter.entry_id, letter.reason, letter.deliveries)


async def test_five_deliveries_are_allowed_when_nothing_is_said(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    seen = []
    while held := await take(channel):
        seen += held
        engine.elapse(LEASE)
    assert [lease.deliveries for lease in seen] == [1, 2, 3, 4, 5]


async def test_a_dead_entry_may_be_published_again(channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    await channel.reject((await take(channel))[0], "altered")
    await channel.publish(STREAM, [entry(1)])
    assert [entry(1)] == [lease.entry for lease in await take(channel)]


async def test_receivers_share_the_work_and_no_entry(engine: Engine) -> None:
    sender, *receivers = (engine.channel() for _ in range(4))
    await sender.publish(STREAM, [entry(number) for number in range(90)])
    shares = await asyncio.gather(*(take(receiver, limit=40) for receiver in receivers))
    got = [lease.entry for share in shares for lease in share]
    assert [entry(number) for number in range(90)] == sorted(got, key=lambda one: one.id)


async def test_senders_at_once_lose_nothing(engine: Engine) -> None:
    senders = [engine.channel() for _ in range(4)]
    await asyncio.gather(
        *(sender.publish(STREAM, [entry(100 * n + i)]) for n, sender in enumerate(senders) for i in range(20))
    )
    assert Depth(waiting=80, leased=0, dead=0) == await senders[0].depth(STREAM)


async def test_a_waiting_receiver_wakes_for_what_another_channel_publishes(engine: Engine) -> None:
    sender, receiver = engine.channel(), engine.channel()
    waiting = asyncio.create_task(receiver.receive(STREAM, limit=1, lease=LEASE, wait=SOON))
    await asyncio.sleep(0.05)
    await sender.publish("requests.us", [entry(7)])
    await sender.publish(STREAM, [entry(1)])
    async with asyncio.timeout(1):
        assert [entry(1)] == [lease.entry for lease in await waiting]


async def test_a_waiting_receiver_wakes_for_a_lease_that_ends(engine: Engine, channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    await take(channel)
    waiting = asyncio.create_task(channel.receive(STREAM, limit=1, lease=LEASE, wait=SOON))
    await asyncio.sleep(0.05)
    engine.elapse(LEASE)
    async with asyncio.timeout(1):
        assert [lease.deliveries for lease in await waiting] == [2]


async def test_of_many_that_wait_one_gets_it_and_the_others_wait_on(engine: Engine) -> None:
    receivers = [engine.channel() for _ in range(3)]
    tasks = [
        asyncio.create_task(one.receive(STREAM, limit=5, lease=LEASE, wait=timedelta(seconds=0.3))) for one in receivers
    ]
    await asyncio.sleep(0.05)
    await receivers[0].publish(STREAM, [entry(1)])
    assert sorted([len(await task) for task in tasks]) == [0, 0, 1]


async def test_waiting_ends_empty_when_nothing_came(channel: Channel) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert await channel.receive(STREAM, limit=1, lease=LEASE, wait=timedelta(seconds=0.1)) == []
    assert 0.1 <= loop.time() - start < 0.4


async def test_what_was_published_outlives_every_channel(engine: Engine) -> None:
    first = engine.channel()
    await first.publish(STREAM, [entry(1)])
    await first.close()
    assert [entry(1)] == [lease.entry for lease in await take(engine.channel())]


async def test_depth_counts_what_waits_is_leased_and_is_dead(channel: Channel) -> None:
    await channel.publish(STREAM, [entry(number) for number in range(6)])
    held = await take(channel, limit=3)
    await channel.reject(held[0], "altered")
    assert Depth(waiting=3, leased=2, dead=1) == await channel.depth(STREAM)
    assert Depth(0, 0, 0) == await channel.depth("requests.us")


async def test_a_closed_channel_does_nothing_more(channel: Channel) -> None:
    await channel.publish(STREAM, [entry(1)])
    (lease,) = await take(channel)
    waiting = asyncio.create_task(channel.receive(STREAM, limit=1, lease=LEASE, wait=SOON))
    await asyncio.sleep(0.05)
    await channel.close()
    await channel.close()
    for verb in (
        channel.publish(STREAM, [entry(2)]),
        take(channel),
        waiting,
        channel.ack([lease]),
        channel.reject(lease, "altered"),
        channel.dead(STREAM, 1),
        channel.depth(STREAM),
    ):
        with pytest.raises(ChannelError, match=r"^closed$"):
            await verb


@pytest.mark.parametrize("stream", ["", "Requests", "a b", "a/b", "a\n", "a" * 65, "é", "a;drop", "a_b", "a\0"])
async def test_only_a_streams_name_names_a_stream(channel: Channel, stream: str) -> None:
    lease = Lease(entry(1), 1, STREAM, "1.1")
    for verb, flaw in (
        (channel.publish(stream, []), "stream-name"),
        (take(channel, stream=stream), "stream-name"),
        (channel.dead(stream, 1), "stream-name"),
        (channel.depth(stream), "stream-name"),
        (channel.reject(lease, stream), "reason"),
    ):
        with pytest.raises(ChannelError, match=rf"^{flaw}$"):
            await verb


@pytest.mark.parametrize(
    ("limit", "lease"),
    [(0, LEASE), (-1, LEASE), (1001, LEASE), (1, timedelta(0)), (1, timedelta(seconds=-1)), (1, timedelta(0, 0, 999))],
)
async def test_a_receiver_asks_for_something_sensible(channel: Channel, limit: int, lease: timedelta) -> None:
    with pytest.raises(ChannelError, match=r"^receive-limits$"):
        await channel.receive(STREAM, limit=limit, lease=lease, wait=NOW)


Step = st.sampled_from(["publish", "receive", "ack", "reject", "elapse"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(Step, max_size=25), seed=st.integers(0, 2**32))
async def test_every_entry_waits_is_leased_is_done_or_is_dead(engine: Engine, steps: list[str], seed: int) -> None:
    """Whatever is done in whatever order, no entry is in two places and none is nowhere."""
    stream = f"s{seed}.{len(engine.opened)}"
    channel = engine.channel(max_deliveries=2)
    sent, done, rejected = 0, set[bytes](), set[bytes]()
    held: list[Lease] = []
    for step in steps:
        match step:
            case "publish":
                await channel.publish(stream, [entry(sent + i) for i in range(3)])
                sent += 3
            case "receive":
                held = await channel.receive(stream, limit=2, lease=LEASE, wait=NOW)
            case "ack":
                await channel.ack(held)
                done |= {lease.entry.id for lease in held}
                held = []
            case "reject" if held:
                await channel.reject(held[0], "altered")
                rejected.add(held.pop(0).entry.id)
            case "elapse":
                engine.elapse(LEASE)
                held = []
    depth = await channel.depth(stream)
    dead = {letter.entry_id for letter in await channel.dead(stream, 1000)}
    assert sent == depth.waiting + depth.leased + depth.dead + len(done)
    assert rejected <= dead
    assert not dead & done
