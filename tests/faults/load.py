"""The load of these tests: officers who ask, a desk that takes and accepts, a queue that is filled and emptied.

Everything goes through the real heart. Whoever waits for a receipt asks again after every refusal, as a client may, and every
promise is told to `tell` the moment that it was given, before anything else is done.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Final, TypeAlias

from channels import ChannelError, Entry
from gateway.intake import Taken
from gateway.store import StoreError
from protocol.envelope import Envelope
from protocol.ids import CaseId, digest_of
from protocol.problems import Refused
from tests.actors import Officer, claims_in
from tests.gateway.heart import Heart

CLIENTS: Final = 12
STREAM: Final = "probe"
LONG: Final = 20_000  # bytes of a sealed part that fills pages of its own
STUCK: Final = 20.0  # seconds after which a caller counts as forgotten
Fact: TypeAlias = dict[str, str | None]


@dataclass
class Load:
    """Many clients at once. `errors` counts what they were told instead of a receipt, `took` the seconds of each receipt."""

    heart: Heart
    requests: int
    tell: Callable[[Fact], None]
    luck: random.Random
    errors: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    asked: int = 0
    idle: bool = False

    async def run(self, *parties: str) -> None:
        """Until every request has its receipt. Parties beside the officers: `desk`, `queue`."""
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            beside = {"desk": self._desk, "queue": self._queue}
            others = [group.create_task(self._again(beside[name])) for name in parties]
            officers = [await self.admitted(f"kr-unit-{number}") for number in range(2)]
            await asyncio.gather(*(self._ask(officers[number % 2]) for number in range(CLIENTS)))
            self.idle = True
            await asyncio.gather(*others)

    async def admitted(self, name: str) -> Officer:
        """An authority that may ask."""
        officer = Officer(self.heart.platform, name)
        await self.taken(officer.application())
        for operator in self.heart.platform.operators.values():
            found = self.heart.registry.find(officer.party)
            assert found is not None
            await self.taken(operator.admission(found))
        return officer

    async def taken(self, statement: bytes, sealed: bytes | None = None) -> Taken:
        """Ask until there is a receipt, and tell of it."""
        while True:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(STUCK):
                    taken = await self.heart.take(statement, sealed)
            except (Refused, StoreError) as error:
                self.errors[getattr(error, "code", "") or "store"] += 1
                await asyncio.sleep(0.002)
                continue
            self.took.append(time.monotonic() - begun)
            self.tell(
                {
                    "taken": taken.chain,
                    "of": digest_of(statement),
                    "receipt": sha256(taken.receipt).hexdigest(),
                    "sealed": None if sealed is None else digest_of(sealed),
                }
            )
            return taken

    async def _ask(self, officer: Officer) -> None:
        while self.asked < self.requests:
            self.asked += 1
            number = self.asked
            plain = os.urandom(LONG if number % 10 == 0 else self.luck.randrange(100, 2000))
            sent = officer.request(plain=plain)
            taken = await self.taken(*sent)
            if number % 3 == 0:
                await self.taken(officer.withdrawal(CaseId(taken.chain)))
            if number % 5 == 0:
                assert (await self.taken(*sent)).receipt == taken.receipt

    async def _again(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do it over and over; an engine that fails is tried again, as the relay does."""
        while not self.idle:
            try:
                await work()
            except (ChannelError, StoreError) as error:
                self.errors[f"relay {error.flaw}"] += 1
            await asyncio.sleep(0.002)

    async def _desk(self) -> None:
        """Publish, receive, and accept every fourth request."""
        await self.heart.relay.publish()
        accepted = []
        for envelope in await self.heart.at_desk():
            said = {} if envelope.receipt is None else claims_in(envelope.receipt)
            if "case" in said and said["seq"] == 1 and said["case"][-1] in "048c":
                case = await self.heart.case(CaseId(said["case"]))
                self.tell({"settling": case.id})
                accepted.append(Envelope(statement=self.heart.platform.desk.acceptance(case)))
        if accepted:
            await self.heart.from_desk(*accepted)

    async def _queue(self) -> None:
        """Put something into the queue, and mostly take one out of it."""
        channel = self.heart.channel
        entry = Entry(os.urandom(16), os.urandom(700))
        await channel.publish(STREAM, [entry])
        self.tell({"published": entry.id.hex()})
        if self.luck.random() < 0.7:
            leases = await channel.receive(STREAM, limit=1, lease=timedelta(hours=1), wait=timedelta(0))
            for lease in leases:
                self.tell({"acking": lease.entry.id.hex()})
            await channel.ack(leases)
