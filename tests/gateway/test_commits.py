import asyncio
from collections.abc import Sequence

import pytest

from gateway.commits import MOST_WAITING, Arrivals, Commits
from gateway.store import Commit, StoreError
from protocol.ids import digest_of, instant
from protocol.problems import Refused
from protocol.terms import Stage


def a_commit(number: int) -> Commit:
    return Commit(f"chain-{number}", 1, Stage.TAKEN, instant(1_795_000_000), digest_of(b"%d" % number), b"receipt")


class SlowStore:
    """Takes a tick for each group, and notes the groups. Fails when told to."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.broken = False
        self.takes = 0.01

    async def append(self, commits: Sequence[Commit]) -> list[bool]:
        await asyncio.sleep(self.takes)
        if self.broken:
            raise StoreError("disk-full")
        self.groups.append([one.chain for one in commits])
        return [True] * len(commits)


async def test_what_came_during_a_commit_goes_into_the_next_one() -> None:
    store = SlowStore()
    commits = Commits(store, Arrivals())  # type: ignore[arg-type]
    running = asyncio.create_task(commits.run())
    first = asyncio.create_task(commits.add(a_commit(0)))
    await asyncio.sleep(0.001)
    rest = [asyncio.create_task(commits.add(a_commit(number))) for number in range(1, 9)]
    assert all(await asyncio.gather(first, *rest))
    assert [len(group) for group in store.groups] == [1, 8]
    running.cancel()


async def test_a_caller_that_leaves_stops_nothing() -> None:
    store = SlowStore()
    commits = Commits(store, Arrivals())  # type: ignore[arg-type]
    running = asyncio.create_task(commits.run())
    leaving = asyncio.create_task(commits.add(a_commit(1)))
    await asyncio.sleep(0.001)
    leaving.cancel()
    await asyncio.sleep(0)
    await commits.drained()
    assert store.groups == [["chain-1"]]
    running.cancel()


async def test_a_failed_group_fails_every_waiter_also_one_that_left() -> None:
    store = SlowStore()
    store.broken = True
    commits = Commits(store, Arrivals())  # type: ignore[arg-type]
    running = asyncio.create_task(commits.run())
    waiting = [asyncio.create_task(commits.add(a_commit(number))) for number in range(3)]
    await asyncio.sleep(0.001)
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [one.code for one in results[1:] if isinstance(one, Refused)] == ["not-durable"] * 2
    running.cancel()


async def test_past_the_bound_the_gateway_is_busy() -> None:
    commits = Commits(SlowStore(), Arrivals())  # type: ignore[arg-type]
    waiting = [asyncio.create_task(commits.add(a_commit(number))) for number in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as refused:
        await commits.add(a_commit(-1))
    assert (refused.value.code, refused.value.wait) == ("overloaded", 1)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_for_a_chain_is_told_and_others_are_not() -> None:
    arrivals = Arrivals()
    waiting = asyncio.create_task(arrivals.wait("chain-1", 30))
    other = asyncio.create_task(arrivals.wait("chain-2", 0.05))
    await asyncio.sleep(0)
    arrivals.tell("chain-1")
    arrivals.tell("nobody waits")
    async with asyncio.timeout(1):
        await waiting
    assert not other.done()
    await other
    assert arrivals._waiting == {}


async def test_when_commits_end_nobody_is_left_waiting() -> None:
    store = SlowStore()
    store.takes = 30
    commits = Commits(store, Arrivals())  # type: ignore[arg-type]
    running = asyncio.create_task(commits.run())
    first = asyncio.create_task(commits.add(a_commit(0)))
    await asyncio.sleep(0.001)
    second = asyncio.create_task(commits.add(a_commit(1)))
    await asyncio.sleep(0.001)
    running.cancel()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [one.code for one in results if isinstance(one, Refused)] == ["not-durable"] * 2
    async with asyncio.timeout(1):
        await commits.drained()
    with pytest.raises(Refused) as refused:
        await commits.add(a_commit(2))
    assert refused.value.code == "stopping"
