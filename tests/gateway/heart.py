"""A gateway's heart without wire: real store, real keys, a clock that the test moves."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from channels import Channel, open_channel
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from gateway.commits import Arrivals, Commits
from gateway.intake import Ask, Intake, Taken
from gateway.registry import Registry
from gateway.relay import Relay
from gateway.store.sqlite import SqliteStore
from protocol.cases import Case
from protocol.envelope import Envelope, pack, unpack
from protocol.ids import CaseId, Instant, PartyId
from protocol.sayings import KINDS
from protocol.terms import Role
from tests.actors import Officer, Platform

EVERYTHING = frozenset(KINDS)
FROM_DOOR = Ask(EVERYTHING)
FROM_DESK = Ask(EVERYTHING, aged=False)


@dataclass
class TestClock:
    """Stands still until it is moved; sleeping yields."""

    __test__ = False
    at: Instant
    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> Instant:
        return self.at

    async def sleep(self, length: timedelta) -> None:
        self.slept.append(length)
        await asyncio.sleep(0.001)


@dataclass
class Heart:
    platform: Platform
    clock: TestClock
    store: SqliteStore
    registry: Registry
    commits: Commits
    arrivals: Arrivals
    intake: Intake
    relay: Relay
    channel: Channel
    spent: list[PartyId]

    async def take(self, raw: bytes, sealed: bytes | None = None, ask: Ask = FROM_DOOR) -> Taken:
        return await self.intake.take(raw, sealed, self.clock.now(), ask)

    async def admitted(self, officer: Officer) -> Officer:
        await self.take(officer.application(self.clock.now()))
        for operator in self.platform.operators.values():
            found = self.registry.find(officer.party)
            assert found is not None
            await self.take(operator.admission(found, self.clock.now()))
        return officer

    async def request(self, officer: Officer, **cover: object) -> CaseId:
        sent = officer.request(now=self.clock.now(), **cover)  # type: ignore[arg-type]
        return CaseId((await self.take(sent.statement, sent.sealed)).chain)

    async def case(self, case_id: CaseId) -> Case:
        found = (await self.intake.case(case_id)).case
        assert found is not None
        return found

    async def at_desk(self) -> list[Envelope]:
        """What the desk finds in its queue, opened with its key and acknowledged."""
        desk = Incoming(self.channel, "requests.main", Receiver([self.platform.desk.queue]), lambda *_: None)
        opened = await desk.receive(1000, timedelta(seconds=30), timedelta(0))
        await desk.ack(opened)
        return [unpack(one.plain) for one in opened]

    async def from_desk(self, *envelopes: Envelope) -> int:
        """Let the desk send, and the relay take."""
        key = self.platform.gateway_queue.public
        out = Outgoing(self.channel, "decisions.main", Sender(), lambda: key, self.clock.now, os.urandom)
        await out.send([pack(one) for one in envelopes])
        return await self.relay.receive(timedelta(0))


@asynccontextmanager
async def beating(folder: Path, platform: Platform) -> AsyncIterator[Heart]:
    clock = TestClock(platform.now)
    store = await SqliteStore.open(folder / "gateway.db")
    registry = Registry(platform.keyset)
    await registry.load(store)
    arrivals = Arrivals()
    commits = Commits(store, arrivals)
    spent: list[PartyId] = []
    intake = Intake(
        store, registry, commits, lambda: platform.gateway, os.urandom, lambda party, _now: spent.append(party)
    )
    channel = open_channel(f"sqlite:///{folder / 'queue.db'}", clock.now)
    outgoing = Outgoing(
        channel,
        "requests.main",
        Sender(),
        lambda: platform.keyset.queue(Role.DESK_QUEUE, "main", clock.now()),
        clock.now,
        os.urandom,
    )
    incoming = Incoming(channel, "decisions.main", Receiver([platform.gateway_queue]), lambda *_: None)
    relay = Relay("main", store, intake, registry, outgoing, incoming, clock)
    running = asyncio.create_task(commits.run())
    try:
        yield Heart(platform, clock, store, registry, commits, arrivals, intake, relay, channel, spent)
    finally:
        await commits.drained()
        running.cancel()
        await channel.close()
        await store.close()
