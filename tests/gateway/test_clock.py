from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.blobs.folder import FolderBlobs
from gateway.clock import Ticker
from protocol.ids import PartyId, digest_of
from protocol.terms import Outcome
from tests.actors import Officer, Platform, claims_in
from tests.gateway.heart import FROM_DESK, Heart, beating

A_BLOB = b"ciphertext"


@pytest.fixture
async def heart(tmp_path: Path) -> AsyncIterator[Heart]:
    async with beating(tmp_path, Platform()) as one:
        yield one


@pytest.fixture
async def officer(heart: Heart) -> Officer:
    return await heart.admitted(Officer(heart.platform))


def ticker(heart: Heart, folder: Path, holder: str = "one") -> Ticker:
    return Ticker(heart.store, heart.intake, FolderBlobs(folder / "blobs"), heart.clock, holder)


async def test_an_answer_that_is_owed_gets_one_signed_notice(heart: Heart, officer: Officer, tmp_path: Path) -> None:
    case_id = await heart.request(officer)
    clock = ticker(heart, tmp_path)
    heart.clock.at += timedelta(days=10) - timedelta(seconds=1)
    assert await clock.tick() == 0
    heart.clock.at += timedelta(seconds=1)
    assert await clock.tick() == 1
    assert await clock.tick() == 0
    assert (await heart.case(case_id)).overdue
    last = (await heart.store.chain(case_id))[-1]
    assert last.statement is None
    assert claims_in(last.receipt)["stage"] == "overdue"


async def test_what_was_answered_is_never_overdue(heart: Heart, officer: Officer, tmp_path: Path) -> None:
    case_id = await heart.request(officer)
    decision = heart.platform.desk.decision(await heart.case(case_id), Outcome.NO_DATA)
    await heart.take(decision, ask=FROM_DESK)
    heart.clock.at += timedelta(days=100)
    assert await ticker(heart, tmp_path).tick() == 0


async def test_one_case_that_cannot_be_read_holds_up_no_other(heart: Heart, officer: Officer, tmp_path: Path) -> None:
    broken, sound = await heart.request(officer), await heart.request(officer)
    await heart.store._write(
        lambda writer: writer.execute("UPDATE rows SET receipt = x'00' WHERE chain = ?", (broken,))
    )
    heart.clock.at += timedelta(days=10)
    clock = ticker(heart, tmp_path)
    assert await clock.tick() == 1
    assert (await heart.case(sound)).overdue
    assert await clock.tick() == 0


async def test_of_two_processes_one_alone_ticks(heart: Heart, officer: Officer, tmp_path: Path) -> None:
    await heart.request(officer)
    heart.clock.at += timedelta(days=10)
    assert await ticker(heart, tmp_path, "one").tick() == 1
    await heart.request(officer)
    heart.clock.at += timedelta(days=10)
    assert await ticker(heart, tmp_path, "one").tick() == 1
    assert await ticker(heart, tmp_path, "two").tick() == 0


async def test_a_clock_that_jumps_back_gives_no_receipt_out_of_order(heart: Heart, officer: Officer) -> None:
    heart.clock.at += timedelta(hours=2)
    case_id = await heart.request(officer)
    heart.clock.at -= timedelta(hours=1)
    await heart.take(officer.withdrawal(case_id), ask=FROM_DESK)
    times = [claims_in(row.receipt)["iat"] for row in await heart.store.chain(case_id)]
    assert times == sorted(times)


async def test_blobs_that_nobody_names_are_swept_after_a_day(heart: Heart, tmp_path: Path) -> None:
    await heart.store.blob_stored(digest_of(A_BLOB), len(A_BLOB), PartyId("kr-knpa-cyber"), heart.clock.now())
    clock = ticker(heart, tmp_path)
    heart.clock.at += timedelta(hours=24)
    assert await clock.tick() == 0
    heart.clock.at += timedelta(seconds=1)
    assert await clock.tick() == 1
    assert await heart.store.blob(digest_of(A_BLOB)) is None


async def test_what_dead_senders_left_is_cleared_each_hour(heart: Heart, tmp_path: Path) -> None:
    clock = ticker(heart, tmp_path)
    mark = tmp_path / "blobs/arriving" / f"{digest_of(b'blob')}.1"
    mark.write_bytes(b"bl")
    heart.clock.at += timedelta(hours=1) - timedelta(seconds=1)
    await clock.tick()
    assert mark.exists()
    heart.clock.at += timedelta(seconds=1)
    await clock.tick()
    assert not mark.exists()
