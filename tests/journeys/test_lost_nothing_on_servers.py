"""Lost nothing, with PostgreSQL for the record and Redis for the queue: both are killed too, and the broker is emptied."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from protocol.terms import Category
from tests.actors import Officer, claims_in
from tests.journeys.reviewers import approve_what_waits, at_the_desk
from tests.journeys.test_lost_nothing import CLIENTS, survived
from tests.journeys.town import Town, now
from tests.redis_servers import RedisServer, running
from tests.servers import PostgresServer, postgres


@pytest.fixture
def redis(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "redis")


@pytest.fixture
async def served(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Town]:
    """A town whose record is on PostgreSQL and whose queue is on Redis."""
    url = await postgres().fresh()
    with running(redis):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            town = Town(tmp_path / "town", session, engines={"store": url, "channel": redis.url})
            town.lay_out()
            try:
                await town.start("gateway")
                await town.start("desk")
                yield town
            finally:
                town.end()
    await postgres().drop(url)


async def restarted(town: Town, which: str, database: PostgresServer, broker: RedisServer) -> None:
    """Kill one of the four, at once, and start it again."""
    match which:
        case "postgresql":
            await asyncio.to_thread(database.kill)
            await asyncio.to_thread(database.start)
        case "redis":
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
        case _:
            town.kill(which)
            await town.start(which)


@pytest.mark.timeout(3600)
async def test_no_engines_death_loses_a_receipt_or_answers_twice(served: Town, redis: RedisServer, rounds: int) -> None:
    async def kill(number: int) -> None:
        which = ("postgresql", "redis", "gateway", "desk")[number] if number < 4 else _any()
        await restarted(served, which, postgres(), redis)

    total = await survived(served, rounds, kill)
    print(
        f"\n{rounds} kills of four, {CLIENTS} clients: {total} requests taken, {total} answered once, 0 lost, 0 doubled"
    )


def _any() -> str:
    return secrets.choice(("postgresql", "redis", "gateway", "desk"))


async def test_an_emptied_broker_loses_nothing_and_doubles_nothing(served: Town, redis: RedisServer) -> None:
    officer = await served.admit(Officer(served.platform))
    served.stop("desk")
    cases = []
    for number in range(10):
        sent = officer.request(targets=[f"@user{number:05}"], categories=(Category.SUBSCRIBER,), now=now())
        status, found = await served.post("/v1/cases", sent.statement, sent.sealed)
        assert status == 201
        cases.append(claims_in(found["receipt"].encode())["case"])
    await asyncio.sleep(1)  # the relay publishes
    with redis.client() as client:
        assert client.xlen(next(iter(client.keys("*requests*")))) > 0
        client.flushall()
    await served.start("desk")

    async def all_answered() -> bool:
        with at_the_desk(served) as (desk, review):
            approve_what_waits(desk, review, served)
        states = [(await served.get(officer, f"/v1/cases/{case}"))[1]["state"] for case in cases]
        return states == ["answered"] * 10

    await served.until(all_answered, "every request is answered, from the outbox", 150)
    for case in cases:
        _, found, _ = await served.get(officer, f"/v1/cases/{case}/statements")
        assert [claims_in(row["receipt"].encode())["stage"] for row in found["rows"]] == ["taken", "handed", "answered"]
