"""The worker: lease, vet, file, accept; look up, release, publish.

Four loops over one store; each step can be broken off anywhere and done again. What fails for one entry or one case is logged and
left: the entry to its lease, the case to a later try. The map from a refusal to the dead letters is here, and here alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, final

from channels.logs import get_log
from channels.sealed import Incoming, Opened, Outgoing
from crypto.errors import CryptoError
from desk.disclosures import Disclosures
from desk.filing import Filing
from desk.records import Duty, StoreError
from desk.review import Draft, checked, first_draft, note_draft, seal_draft, subjects_of
from desk.sources import Found, SourceError, SqlSource
from desk.store import Store
from desk.vetting import Early, File, Unfit, file_of, particulars_of
from protocol import limits
from protocol.authorities import active
from protocol.cases import OPEN
from protocol.envelope import Envelope, pack
from protocol.ids import CaseId, Instant
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.procedures.production import ProductionParticulars

log = get_log()
BATCH: Final = 64
LEASE: Final = timedelta(seconds=30)
WAIT: Final = timedelta(seconds=1)  # for an entry; a stop waits no longer than that
PAUSE: Final = timedelta(milliseconds=100)  # between two looks at nothing to do
AGAIN: Final = timedelta(minutes=1)  # until what was said is published once more; it doubles
AGAIN_MOST: Final = timedelta(hours=1)
TROUBLE: Final = timedelta(minutes=1)  # until a case that could not be looked up or released is tried again
ALARM: Final = timedelta(seconds=30)  # between two looks at what has waited too long
ALARM_EVERY: Final = timedelta(hours=1)  # for one and the same statement


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """One step, done again and again; with a pause when it had nothing to do."""

    name: str
    step: Callable[[], Awaitable[int]]
    pause: timedelta = PAUSE


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """What the desk opens with, and whom it believes."""

    keyset: Keyset
    identities: Sequence[str]
    recipient: str  # the desk's own: drafts are sealed to it

    def __repr__(self) -> str:
        return f"Keys(keyset={self.keyset.version})"


@final
class Worker:
    """The desk's process. `unreceipted` is how long the gateway's receipt may stay away before the alarm."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        filing: Filing,
        source: SqlSource,
        disclosures: Disclosures,
        lines: tuple[Incoming, Outgoing],
        *,
        now: Callable[[], Instant],
        entropy: Callable[[int], bytes],
        unreceipted: timedelta,
    ) -> None:
        self._store = store
        self._keys = keys
        self._filing = filing
        self._source = source
        self._disclosures = disclosures
        self._incoming, self._outgoing = lines
        self._now = now
        self._entropy = entropy
        self._unreceipted = unreceipted

    def loops(self) -> tuple[Loop, ...]:
        """What a process runs side by side."""
        return (
            Loop("receive", self.receive),
            Loop("look-up", self.look_up),
            Loop("release", self.release),
            Loop("publish", self.publish),
            Loop("alarm", self.alarm, ALARM),
        )

    async def run(self, loop: Loop, stop: asyncio.Event) -> None:
        """Run a loop until `stop`; what is under way is finished."""
        while not stop.is_set():
            done = 0
            try:
                done = await loop.step()
            except Exception as error:  # the process's edge: logged, and tried again
                log.exception("loop.failed", error, loop=loop.name)
            if not done:
                with suppress(TimeoutError):
                    async with asyncio.timeout(loop.pause.total_seconds()):
                        await stop.wait()

    async def work_until_idle(self) -> None:
        """Every step in turn, until none has anything left to do. For `work --once` and tests."""
        while await self.receive(timedelta(0)) + await self.look_up() + await self.release() + await self.publish():
            pass

    async def receive(self, wait: timedelta = WAIT) -> int:
        """Deal with what the gateway sent. Returns how many entries are settled.

        What came before its predecessor is tried once more after the others of its batch.
        """
        left: Sequence[Opened] = await self._incoming.receive(BATCH, LEASE, wait)
        settled = 0
        while left:
            early = [one for one in left if not await self._entry(one)]
            settled += len(left) - len(early)
            if len(early) == len(left):
                break
            left = early
        if settled:
            await asyncio.to_thread(self._disclosures.sweep)
        return settled

    async def _entry(self, one: Opened) -> bool:
        """False for what comes too early, which stays leased."""
        try:
            await asyncio.to_thread(self._filing.take, one.plain, self._now())
        except Early:
            return False
        except Refused as refused:
            entry = one.lease.entry.id.hex()
            log.error("entry.refused", code=refused.code, reason=refused.reason[:200], entry=entry)  # noqa: TRY400 (a refusal is no fault of ours)
            await self._incoming.reject(one, refused.code)
        except Exception as error:  # the process's edge: logged, and the entry left to its lease
            log.exception("loop.failed", error, loop="receive")
        else:
            await self._incoming.ack([one])
        return True

    async def look_up(self) -> int:
        """Ask the source for the cases that want a draft. Returns how many got one."""
        done = 0
        for case in await asyncio.to_thread(self._store.to_look_up, self._now(), BATCH):
            try:
                done += await self._looked_up(case)
            except (SourceError, StoreError, CryptoError) as error:
                await self._troubled("look-up", case, error.flaw)
            except Unfit as unfit:
                await self._troubled("look-up", case, unfit.ground)
            except Refused as refused:
                await self._troubled("look-up", case, refused.code)
        return done

    async def _looked_up(self, case: CaseId) -> bool:
        file = await asyncio.to_thread(file_of, case, self._store, self._keys.keyset)
        active(file.authority)  # nobody's data are read for an authority that may not have them
        asked = file.case.asked.cover
        particulars = particulars_of(asked.kind, file.said, file.sealed, self._keys.identities)
        if not isinstance(particulars, ProductionParticulars):
            raise TypeError("particulars of a kind that this desk does not look up")
        found: list[Found] = [
            await self._source.find(category, particulars.targets, particulars.span)
            for category in asked.categories
            if self._source.answers(category, particulars.targets)
        ]
        draft = first_draft(file, found, subjects_of(particulars), self._entropy(16))
        return await asyncio.to_thread(self._prepared, draft, file)

    def _prepared(self, draft: Draft, file: File) -> bool:
        """Keep the draft, if the case is still as it was when the source was asked."""
        now = self._now()
        sealed = seal_draft(draft, self._keys.recipient)
        with self._store.transaction():
            row = self._store.case(file.case.id)
            if row is None or row.duty is not Duty.LOOK_UP or row.state not in OPEN:
                return False
            checked(draft, file_of(file.case.id, self._store, self._keys.keyset))
            self._store.put_draft(file.case.id, sealed, now)
            note_draft(draft, file)
        return True

    async def release(self) -> int:
        """Let go what two people approved. Returns how many decisions were signed."""
        done = 0
        for case in await asyncio.to_thread(self._store.to_release, self._now(), limits.APPROVALS, BATCH):
            try:
                await self._disclosures.release(case, self._now())
                done += 1
            except (StoreError, CryptoError) as error:
                await self._troubled("release", case, error.flaw)
            except Refused as refused:
                await self._troubled("release", case, refused.code)
            except OSError as error:
                log.exception("loop.failed", error, loop="release")
                await self._troubled("release", case, "gateway-or-disk")
        return done

    async def _troubled(self, loop: str, case: CaseId, flaw: str) -> None:
        log.error("case.troubled", loop=loop, case=case, reason=flaw)
        await asyncio.to_thread(self._store.troubled, case, flaw, self._now() + TROUBLE)

    async def publish(self) -> int:
        """Say what the desk signed, oldest first, until the gateway answers. Returns how much was said."""
        now = self._now()
        owed = await asyncio.to_thread(self._store.owed, now, BATCH)
        if not owed:
            return 0
        await self._outgoing.send([pack(Envelope(statement=one.statement, sealed=one.sealed)) for one in owed])

        def published() -> None:
            with self._store.transaction():
                for one in owed:
                    self._store.published(one, now + _pause(one.attempts))

        await asyncio.to_thread(published)
        return len(owed)

    async def alarm(self) -> int:
        """Cry out for what has waited too long for the gateway's receipt. Returns 0: there is always a pause after it."""
        now = self._now()
        for one in await asyncio.to_thread(self._store.unreceipted, now - self._unreceipted, now, ALARM_EVERY):
            seconds = int((now - one.made).total_seconds())
            log.error("decision.unreceipted", case=one.chain, digest=one.digest[:16], seconds=seconds)
        return 0


def _pause(attempts: int) -> timedelta:
    """One minute, two, four, to an hour."""
    return min(AGAIN * (1 << min(attempts, 10)), AGAIN_MOST)
