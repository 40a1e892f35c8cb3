"""Lost nothing: gateway and desk are killed at random moments under load, and started again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from protocol.chains import CaseChain, Known, Row
from protocol.terms import Category
from tests.actors import Officer, Sent, claims_in
from tests.journeys.reviewers import approve_what_waits, at_the_desk, luck
from tests.journeys.town import Town, now

CLIENTS = 8
PATIENCE = 240.0  # a lease, a repetition, and what they wait for
TERMINAL = {"answered", "delivered", "closed"}


@dataclass
class Load:
    """Eight officers who ask and ask, and remember every receipt that they were handed."""

    town: Town
    receipts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # officer: (case, receipt)
    stopping: bool = False
    asked: int = 0

    async def ask(self, officer: Officer) -> None:
        while not self.stopping:
            sent = officer.request(targets=[f"@user{self.asked:05}"], categories=(Category.SUBSCRIBER,), now=now())
            self.asked += 1
            receipt = await self._until_taken(sent)
            self.receipts.setdefault(officer.party, []).append((claims_in(receipt.encode())["case"], receipt))
            await asyncio.sleep(luck(1.0))

    async def _until_taken(self, sent: Sent) -> str:
        while True:
            try:
                status, found = await self.town.post("/v1/cases", sent.statement, sent.sealed)
            except (aiohttp.ClientError, TimeoutError, ValueError):
                await asyncio.sleep(0.1)
                continue
            if status in {200, 201}:
                return str(found["receipt"])
            assert status == 503, found
            await asyncio.sleep(0.1)


@pytest.mark.timeout(3600)
async def test_no_kill_loses_a_receipt_or_answers_twice(town: Town, rounds: int) -> None:
    async def kill(number: int) -> None:
        party = ("gateway", "desk")[number % 2]
        town.kill(party)
        await town.start(party)

    total = await survived(town, rounds, kill)
    print(f"\n{rounds} kills, {CLIENTS} clients: {total} requests taken, {total} answered once, 0 lost, 0 doubled")


async def survived(town: Town, rounds: int, kill: Callable[[int], Awaitable[None]]) -> int:
    """Load from eight clients, `kill` at random moments; then everything is looked at. Returns how many requests there were."""
    officers = [await town.admit(Officer(town.platform, f"kr-unit-{number}")) for number in range(CLIENTS)]
    load = Load(town)
    with at_the_desk(town) as (desk, review):
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(load.ask(officer)) for officer in officers]
            for number in range(rounds):
                await asyncio.sleep(luck(0.6))
                approve_what_waits(desk, review, town)
                await kill(number)
            load.stopping = True
            await asyncio.gather(*clients)

        async def all_answered() -> bool:
            approve_what_waits(desk, review, town)
            return not [case for officer in officers for case in await open_cases(town, officer)]

        await town.until(all_answered, "every request is answered", PATIENCE)
    total = 0
    for officer in officers:
        total += await checked(town, officer, load.receipts[officer.party])
    blobs = [path for path in (town.folder / "gateway/data/blobs").rglob("*") if path.is_file()]
    assert len({path.name for path in blobs}) == total, "one disclosure a case"
    return total


async def open_cases(town: Town, officer: Officer) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        status, page, _ = await town.get(officer, f"/v1/cases?limit=100{after}")
        assert status == 200, page
        found += [row["case"] for row in page["cases"] if row["state"] not in TERMINAL]
        if page.get("after") is None:
            return found
        after = f"&after={page['after']}"


async def checked(town: Town, officer: Officer, receipts: list[tuple[str, str]]) -> int:
    """Every receipt is the first of its case's chain, which holds and has one decision. Returns how many."""
    known = Known(town.platform.keyset, await town.authority(officer))
    for case, receipt in receipts:
        status, found, _ = await town.get(officer, f"/v1/cases/{case}/statements")
        assert status == 200, found
        rows = [
            Row(row["receipt"].encode(), row["statement"].encode() if row.get("statement") else None)
            for row in found["rows"]
        ]
        assert rows[0].receipt.decode() == receipt, "the receipt that was handed out"
        chain = CaseChain.read(rows, known)
        assert chain.case is not None
        stages = Counter(claims_in(row.receipt)["stage"] for row in rows)
        assert (stages["taken"], stages["handed"], stages["answered"]) == (1, 1, 1), stages
    assert len(receipts) == len({case for case, _ in receipts})
    return len(receipts)
