"""Group commit: what waits goes into the next transaction, and each caller waits for his own.

One commit is in flight at any time. A caller that leaves does not stop it, a commit that fails fails all of its waiters, and
the queue is bounded: past it the gateway says that it is busy. What a chain's followers wait for is told here too (`Arrivals`),
because here alone it is known that something became durable.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from gateway.store import Commit, Store, StoreError
from protocol.problems import Refused

MOST_WAITING: Final = 4_096  # ours: a few hundred milliseconds of work on a slow disk
GROUP: Final = 512  # rows of one transaction


@final
@dataclass(frozen=True, slots=True)
class _Waiting:
    commit: Commit
    done: asyncio.Future[bool]


@final
class Arrivals:
    """Who waits for the next row of a chain."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def tell(self, chain: str) -> None:
        """A row of that chain is durable."""
        for event in self._waiting.get(chain, ()):
            event.set()

    async def wait(self, chain: str, timeout: float) -> None:  # noqa: ASYNC109 (a long poll's own bound, in seconds)
        """Until the next row of that chain, or for `timeout` seconds."""
        event = asyncio.Event()
        self._waiting[chain].add(event)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._waiting[chain].discard(event)
            if not self._waiting[chain]:
                del self._waiting[chain]


@final
class Commits:
    """The one way into the store for rows of chains."""

    def __init__(self, store: Store, arrivals: Arrivals) -> None:
        self._store = store
        self._arrivals = arrivals
        self._waiting: list[_Waiting] = []
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._ended = False
        self._idle.set()

    async def add(self, commit: Commit) -> bool:
        """Wait until the row is durable. False when its place or name was taken meanwhile: look again.

        Raises Refused: `overloaded`, `not-durable`.
        """
        if self._ended:
            raise Refused("stopping", reason="commits have ended", wait=1)
        if len(self._waiting) >= MOST_WAITING:
            raise Refused("overloaded", reason="commit queue full", wait=1)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(commit, done))
        self._some.set()
        return await asyncio.shield(done)

    async def run(self) -> None:
        """Commit group after group, for as long as the process lives. When it ends, nobody is left waiting."""
        group: list[_Waiting] = []
        try:
            while True:
                await self._some.wait()
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                if not self._waiting:
                    self._some.clear()
                self._idle.clear()
                await self._commit(group)
                if not self._waiting:
                    self._idle.set()
        finally:
            self._ended = True
            for one in (*group, *self._waiting):
                _fail(one, "ended")
            self._waiting = []
            self._idle.set()

    async def drained(self) -> None:
        """Until nothing waits and nothing is in flight; at once when commits have ended."""
        while not self._ended and (self._waiting or not self._idle.is_set()):
            await self._idle.wait()
            await asyncio.sleep(0)

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            kept = await self._store.append([one.commit for one in group])
        except StoreError as error:
            for one in group:
                _fail(one, error.flaw)
            return
        for one, stands in zip(group, kept, strict=True):
            if not one.done.done():
                one.done.set_result(stands)
            if stands:
                self._arrivals.tell(one.commit.chain)


def _fail(one: _Waiting, flaw: str) -> None:
    """An error answer is ambiguous: the row may stand. Only a retry, which finds it or takes it, makes that safe."""
    if not one.done.done():
        one.done.set_exception(Refused("not-durable", reason=flaw, wait=1))
        one.done.exception()  # seen: whoever waited may have left
