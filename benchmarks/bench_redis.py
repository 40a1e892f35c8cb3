"""What an entry costs through the sealed channel on Redis, against the bare commands `XADD`, `XREADGROUP`, `XACK`.

    python benchmarks/bench_redis.py [ROUNDS]

One process on both sides, batches of 64, bodies of 1 KB, a server of its own with `appendfsync everysec` (with `always` the disk
decides, and both are alike: that is the second table). Sealed: boxed, published, leased, opened, acknowledged. Bare: 64 `XADD` in
one pipeline, one `XREADGROUP`, one `XACK`, bodies as they are, nothing ever removed. Rounds are interleaved; the goal is half of
bare.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, cast

from redis.asyncio import Redis

from channels import Channel, Entry, Lease, open_channel
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from crypto.keys import X25519Secret

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.redis_servers import RedisServer, running

BODY, BATCH, BATCHES = 1024, 64, 40
STREAM = "requests.eu"
LEASE, WAIT = timedelta(minutes=1), timedelta(0)


class Runner(Protocol):
    """What carries one batch the whole way."""

    async def through(self, bodies: list[bytes]) -> None: ...


class Sealed:
    """Both ends of a sealed line."""

    def __init__(self, channel: Channel) -> None:
        desk = X25519Secret.generate()
        self.channel = channel
        self.outgoing = Outgoing(channel, STREAM, Sender(), lambda: desk.public, lambda: datetime.now(UTC), os.urandom)
        self.incoming = Incoming(channel, STREAM, Receiver([desk]), self.bury)

    def bury(self, lease: Lease, flaw: str) -> None:
        raise SystemExit(f"entry {lease.entry.id.hex()} did not open: {flaw}")

    async def through(self, bodies: list[bytes]) -> None:
        await self.outgoing.send(bodies)
        opened = await self.incoming.receive(BATCH, LEASE, WAIT)
        if [one.plain for one in opened] != bodies:
            raise SystemExit("what was received is not what was sent")
        await self.incoming.ack(opened)


class Engine:
    """The channel without the boxes."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def through(self, bodies: list[bytes]) -> None:
        await self.channel.publish(STREAM + ".open", [Entry(os.urandom(16), body) for body in bodies])
        leases = await self.channel.receive(STREAM + ".open", limit=BATCH, lease=LEASE, wait=WAIT)
        if [one.entry.body for one in leases] != bodies:
            raise SystemExit("what was received is not what was sent")
        await self.channel.ack(leases)


class Bare:
    """The commands."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def through(self, bodies: list[bytes]) -> None:
        async with self.client.pipeline(transaction=False) as pipe:
            for body in bodies:
                pipe.xadd("bare", {"e": body})
            await pipe.execute()
        answer = await self.client.xreadgroup("group", "consumer", {"bare": ">"}, count=BATCH)
        ((_, entries),) = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer)
        if [fields[b"e"] for _, fields in entries] != bodies:
            raise SystemExit("what was received is not what was sent")
        await self.client.xack("bare", "group", *[place for place, _ in entries])


async def timed(through: Callable[[list[bytes]], Awaitable[None]], batches: list[list[bytes]]) -> float:
    """Entries a second."""
    start = time.perf_counter()
    for batch in batches:
        await through(batch)
    return BATCH * len(batches) / (time.perf_counter() - start)


async def bench(rounds: int, fsync: str) -> None:
    """One table."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), "--appendfsync", fsync)
        with running(server):
            channel = open_channel(server.url, lambda: datetime.now(UTC))
            client = Redis.from_url(server.url, protocol=2)
            await client.xgroup_create("bare", "group", "0", mkstream=True)
            runners: dict[str, Runner] = {"bare": Bare(client), "engine": Engine(channel), "sealed": Sealed(channel)}
            rates: dict[str, list[float]] = {name: [] for name in runners}
            for number in range(rounds + 1):
                batches = [[os.urandom(BODY) for _ in range(BATCH)] for _ in range(BATCHES)]
                for name, runner in runners.items():
                    rate = await timed(runner.through, batches)
                    if number:  # the first warms up
                        rates[name].append(rate)
            await channel.close()
            await client.aclose()
    print(f"appendfsync {fsync}, batches of {BATCH}, {BODY} B, {rounds} interleaved rounds")
    for name, found in rates.items():
        ratios = sorted(one / bare for one, bare in zip(found, rates["bare"], strict=True))
        print(
            f"  {name:>7}  {statistics.median(found):8,.0f} entries/s  {statistics.median(ratios):5.2f} of bare"
            f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    for mode in ("everysec", "always"):
        asyncio.run(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 15, mode))
