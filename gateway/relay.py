"""The relay: from the outbox to the desks, and from the desks to intake.

Out: each row of a case or a registry that a desk must know is published until the desk says that it holds it, so that a lost
broker loses nothing. In: what a desk signed is taken by the same `intake.take` as everything else; what cannot be taken is
answered with a signed rejection. The relay seals and opens boxes through `channels.sealed` and never sees an engine.
"""

from datetime import timedelta
from typing import Final, Protocol, final

from channels import ChannelError
from channels.logs import get_log
from channels.sealed import Incoming, Opened, Outgoing
from crypto.errors import BoxError
from gateway.intake import Ask, Intake
from gateway.registry import Registry
from gateway.store import Owed, Store, StoreError
from protocol.cases import opened_by
from protocol.envelope import Envelope, pack, unpack
from protocol.ids import CaseId, Digest, Instant
from protocol.problems import Refused
from protocol.sayings import Acceptance
from protocol.statements import Statement, read

log = get_log()
BATCH: Final = 128
LEASE: Final = timedelta(seconds=30)
PAUSE: Final = timedelta(milliseconds=50)  # between two looks at an empty outbox
WAIT: Final = timedelta(seconds=2)
AGAIN: Final = timedelta(minutes=1)  # first repetition; it doubles
AGAIN_MOST: Final = timedelta(hours=1)
LATER: Final = frozenset({"overloaded", "not-durable", "stopping"})  # not the statement's fault: the lease runs out
ACCEPTANCE: Final = "rogatory-acceptance+jwt"
DECISION: Final = "rogatory-decision+jwt"
DESK_KINDS: Final = frozenset({ACCEPTANCE, DECISION})


class Clock(Protocol):
    """Time and waiting, handed in by `app`."""

    def now(self) -> Instant:
        """The instant now, in UTC."""
        ...

    async def sleep(self, length: timedelta) -> None:
        """Wait that long."""
        ...


@final
class Relay:
    """Both directions for one entity's desk."""

    def __init__(
        self,
        entity: str,
        store: Store,
        intake: Intake,
        registry: Registry,
        outgoing: Outgoing,
        incoming: Incoming,
        clock: Clock,
    ) -> None:
        self._entity = entity
        self._store = store
        self._intake = intake
        self._registry = registry
        self._outgoing = outgoing
        self._incoming = incoming
        self._clock = clock

    async def publishing(self) -> None:
        """Publish what is owed, for as long as the process lives."""
        while True:
            try:
                published = await self.publish()
            except (ChannelError, StoreError, BoxError) as error:
                log.exception("loop.failed", error, loop="publish", reason=error.flaw)
                published = 0
            if published < BATCH:
                await self._clock.sleep(PAUSE)

    async def receiving(self) -> None:
        """Take what the desk says, for as long as the process lives."""
        while True:
            try:
                await self.receive(WAIT)
            except (ChannelError, StoreError) as error:
                log.exception("loop.failed", error, loop="receive", reason=error.flaw)
                await self._clock.sleep(PAUSE * 10)

    async def publish(self) -> int:
        """One round: at most a batch, oldest first. Returns how many were published."""
        now = self._clock.now()
        rows = await self._store.owed(self._entity, now, BATCH)
        if not rows:
            return 0
        await self._outgoing.send([_packed(row) for row in rows])
        await self._store.published(rows, {row.id: now + _pause(row.attempts) for row in rows})
        log.info("relay.published", entries=len(rows), stream=f"requests.{self._entity}")
        return len(rows)

    async def receive(self, wait: timedelta) -> int:
        """One round: what the desk sent. Returns how many entries were dealt with."""
        opened = await self._incoming.receive(BATCH, LEASE, wait)
        done: list[Opened] = []
        for one in opened:
            try:
                await self._one(one.plain)
            except Refused as refused:
                if refused.code in LATER:
                    continue
                log.warning("relay.refused", code=refused.code, reason=refused.reason, entry=one.lease.entry.id.hex())
                if refused.rejection is None:
                    await self._incoming.reject(one, refused.code)
                    continue
                await self._store.reject(self._entity, refused.rejection)
            done.append(one)
        if done:
            await self._incoming.ack(done)
        return len(opened)

    async def _one(self, plain: bytes) -> None:
        envelope = unpack(plain)
        if envelope.statement is None:
            raise Refused("token-form", reason="an entry from the desk without a statement")
        now = self._clock.now()
        held = self._acceptance(envelope.statement, now)
        try:
            if held is None or accepts_request(held):
                await self._intake.take(envelope.statement, envelope.sealed, now, Ask(DESK_KINDS, aged=False))
        finally:
            if held is not None:  # whatever became of it as a row: the desk has what it names
                await self._intake.settle(held, self._entity)

    def _acceptance(self, raw: bytes, now: Instant) -> Statement | None:
        """The desk's word that it holds something, or None: a decision, or what `take` refuses with its reason."""
        try:
            held = read(raw, self._registry, now, kinds=(ACCEPTANCE,))
        except Refused:
            return None
        if held.holder.entity != self._entity:
            raise Refused("key-role", reason="an acceptance by another entity's desk")
        return held


def accepts_request(statement: Statement) -> bool:
    """Whether an acceptance is of a case's request, and so a row of the case; any other says what the desk holds."""
    said = statement.saying(Acceptance)
    return said.case is not None and opened_by(CaseId(said.case), Digest(said.of))


def _packed(row: Owed) -> bytes:
    return pack(Envelope(statement=row.statement, receipt=row.receipt, rejection=row.rejection, sealed=row.sealed))


def _pause(attempts: int) -> timedelta:
    """One minute, two, four, to an hour."""
    return min(AGAIN * (1 << min(attempts, 10)), AGAIN_MOST)
