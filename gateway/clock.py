"""What falls due: the notice of an overdue answer, and the sweep of blobs that nobody named.

Each tick asks the store by index, so that its cost does not grow with the cases that are not due. Several processes share one
lease, so that each step is done once. Nothing is ever closed by time alone.
"""

from datetime import timedelta
from typing import Final, final

from channels.logs import get_log
from gateway.blobs import Blobs
from gateway.intake import Intake
from gateway.relay import Clock
from gateway.store import CaseRow, Store, StoreError
from protocol import limits
from protocol.ids import CaseId, Digest, Instant, digest_of, numeric
from protocol.problems import Refused
from protocol.terms import Stage

log = get_log()
TICK: Final = timedelta(seconds=5)
LEASE: Final = timedelta(seconds=30)
BATCH: Final = 256
RECOVER: Final = timedelta(hours=1)  # ours: how often what dead senders of blobs left is cleared
PUT_OFF: Final = timedelta(hours=1)  # ours: until a case whose notice could not be given is tried again


@final
class Ticker:
    """The gateway's clock. `holder` names this process in the lease."""

    def __init__(self, store: Store, intake: Intake, blobs: Blobs, clock: Clock, holder: str) -> None:
        self._store = store
        self._intake = intake
        self._blobs = blobs
        self._clock = clock
        self._holder = holder
        self._recovered = clock.now()  # the listener does it at its start
        self._put_off: dict[CaseId, Instant] = {}

    async def ticking(self) -> None:
        """Tick for as long as the process lives."""
        while True:
            try:
                await self.tick()
            except (StoreError, Refused, OSError) as error:
                log.exception("loop.failed", error, loop="clock")
            await self._clock.sleep(TICK)

    async def tick(self) -> int:
        """One round. Returns how many steps were done; 0 when another process holds the lease."""
        now = self._clock.now()
        if not await self._store.lease("clock", self._holder, now, LEASE):
            return 0
        steps = 0
        self._put_off = {case: until for case, until in self._put_off.items() if now < until}
        for row in await self._store.overdue(now, BATCH + len(self._put_off)):
            if row.case not in self._put_off:
                steps += await self._overdue(row)
        steps += await self._sweep()
        if now - self._recovered >= RECOVER:
            self._recovered = now
            await self._blobs.recover(self._recorded)
        return steps

    async def _overdue(self, row: CaseRow) -> int:
        """The signed notice that the answer is overdue. Its cause is the due time that passed."""
        now = self._clock.now()
        try:
            receipt = await self._intake.note(row.case, Stage.OVERDUE, due_passed(row), now)
        except Refused as refused:
            log.warning(
                "statement.refused", case=row.case, authority=row.authority, code=refused.code, reason=refused.reason
            )
            receipt = None
        if receipt is None:  # one case that cannot be noticed now must not hold up the others
            self._put_off[row.case] = now + PUT_OFF
            return 0
        log.warning("case.overdue", case=row.case, authority=row.authority, stage=Stage.OVERDUE.value)
        return 1

    async def _sweep(self) -> int:
        """Blobs that came a day ago, and that no statement has named since."""
        orphans = await self._store.orphans(self._clock.now() - limits.BLOB_ORPHAN, BATCH)
        if orphans:
            await self._store.forget_blobs(orphans)
            for digest in orphans:
                if await self._store.blob(digest) is None:
                    await self._blobs.remove(digest)
            log.info("blobs.swept", entries=len(orphans))
        return len(orphans)

    async def _recorded(self, digest: Digest) -> bool:
        return await self._store.blob(digest) is not None


def due_passed(row: CaseRow) -> Digest:
    """What an overdue notice names as its cause: the SHA-256 of the case's id and the due time in decimal."""
    due = 0 if row.due is None else numeric(row.due)
    return digest_of(f"{row.case} due {due}".encode())
