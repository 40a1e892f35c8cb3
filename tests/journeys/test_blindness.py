"""Blindness: what is asked and what is disclosed passes through the gateway, and nothing of it stays there in clear."""

import asyncio
import io
import secrets
import shutil
import sqlite3
import zipfile
from pathlib import Path

from crypto.sealing import unseal_bytes
from protocol.terms import Category
from tests.actors import Officer, claims_in
from tests.journeys.reviewers import approve_what_waits, at_the_desk
from tests.journeys.town import Town, canaries_in, now


def a_canary() -> str:
    return "canary" + secrets.token_hex(12)


async def test_no_file_log_queue_entry_or_error_of_the_journey_holds_a_canary(town: Town, tmp_path: Path) -> None:
    target, fact, person, name, phone = (a_canary() for _ in range(5))
    canaries = [one.encode() for one in (target, fact, person, name, phone)]
    with sqlite3.connect(town.folder / "desk/subscribers.db") as subscribers:
        subscribers.execute(
            "INSERT INTO subscribers VALUES (?, ?, ?, ?, ?, 'open')", ("@" + target, phone, "x@mail.example", name, 1)
        )
    subscribers.close()
    officer = await town.admit(Officer(town.platform))
    told = {"facts": fact, "officer": {"name": person}}
    sent = officer.request(
        targets=["@" + target], particulars=told, now=now(), categories=(Category.SUBSCRIBER, Category.IDENTIFICATION)
    )
    # errors on the way: the same particulars under a statement that is refused, and altered ones
    for statement, sealed in ((sent.statement[:-8] + b"AAAAAAAA", sent.sealed), (sent.statement, sent.sealed[:-1])):
        status, problem = await town.post("/v1/cases", statement, sealed)
        assert status in {400, 401, 422}
        assert not any(one.decode() in str(problem) for one in canaries)
    town.stop("desk")
    status, found = await town.post("/v1/cases", sent.statement, sent.sealed)
    assert status == 201, found
    case = claims_in(found["receipt"].encode())["case"]
    await asyncio.sleep(1)  # the relay publishes
    shutil.copytree(town.folder / "channel", tmp_path / "queue")  # with the entry in it
    await town.start("desk")
    await answered(town, officer, case)

    status, told_case, _ = await town.get(officer, f"/v1/cases/{case}")
    (disclosure,) = told_case["disclosures"]
    status, sealed, _ = await town.get(officer, f"/v1/blobs/{disclosure['sha256']}")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(unseal_bytes(sealed, [officer.identity]))) as archive:
        opened = b"".join(archive.read(entry) for entry in archive.namelist())
    assert name.encode() in opened
    assert phone.encode() in opened
    await town.until(lambda: delivered(town, officer, case), "the case is delivered")
    status, file, _ = await town.get(officer, f"/v1/cases/{case}/file")
    assert status == 200
    assert not any(one in file for one in canaries)
    town.end()

    assert canaries_in(tmp_path, canaries, but=("subscribers.db",)) == []
    (tmp_path / "seen").write_bytes(("x" + target).encode())
    assert canaries_in(tmp_path, canaries, but=("subscribers.db",)) == ["seen: raw"], "the search finds what is there"


async def answered(town: Town, officer: Officer, case: str) -> None:
    async def is_answered() -> bool:
        with at_the_desk(town) as (desk, review):
            approve_what_waits(desk, review, town)
        return (await town.get(officer, f"/v1/cases/{case}"))[1]["state"] == "answered"

    await town.until(is_answered, "the case is answered", 60)


async def delivered(town: Town, officer: Officer, case: str) -> bool:
    return bool((await town.get(officer, f"/v1/cases/{case}"))[1]["state"] == "delivered")
