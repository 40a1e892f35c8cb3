"""The whole way over HTTP and the queue: what the desk discloses opens with programs that are not ours, and what fails, fails."""

import asyncio
import io
import shutil
import zipfile
from typing import Any

import aiohttp
import pyrage
import pytest

from crypto.sealing import generate_identity, seal_bytes
from crypto.strict import b64url_decode
from protocol.disclosure import About, opened
from protocol.ids import CaseId
from protocol.sayings import Decision, Request
from protocol.statements import claims, say
from protocol.terms import Category, Outcome
from tests.actors import Officer, Sent, claims_in, part_of
from tests.foreign.programs import go_open, js_open
from tests.journeys.reviewers import approve_what_waits, at_the_desk
from tests.journeys.town import Town, now


async def asked(town: Town, officer: Officer, sent: Sent) -> str:
    status, found = await town.post("/v1/cases", sent.statement, sent.sealed)
    assert status == 201, found
    return str(claims_in(found["receipt"].encode())["case"])


async def state(town: Town, officer: Officer, case: str, wanted: str) -> dict[str, Any]:
    """The case as the gateway tells it, once it is in that state; reviewers approve meanwhile."""
    found: dict[str, Any] = {}

    async def is_there() -> bool:
        nonlocal found
        with at_the_desk(town) as (desk, review):
            approve_what_waits(desk, review, town)
        found = (await town.get(officer, f"/v1/cases/{case}"))[1]
        return bool(found["state"] == wanted)

    await town.until(is_there, f"the case is {wanted}", 60)
    return found


async def disclosed(town: Town, officer: Officer) -> bytes:
    case = await asked(town, officer, officer.request(targets=["@user00042"], now=now()))
    found = await state(town, officer, case, "answered")
    status, sealed, _ = await town.get(officer, f"/v1/blobs/{found['disclosures'][0]['sha256']}")
    assert status == 200
    return bytes(sealed)


def sound(plain: bytes, officer: Officer) -> About:
    about = opened(io.BytesIO(plain))
    assert about.requester == officer.party
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        assert b"rosa.eberle.42@mail.example" in archive.read("subscriber-subscribers.csv")
    return about


async def test_a_disclosure_opens_with_implementations_that_are_not_ours(town: Town) -> None:
    strong = await town.admit(Officer(town.platform, "kr-knpa-cyber"))
    sealed = await disclosed(town, strong)
    sound(await asyncio.to_thread(js_open, sealed, strong.identity), strong)

    plain = await town.admit(Officer(town.platform, "kr-knpa-local", identity=generate_identity(post_quantum=False)))
    sealed = await disclosed(town, plain)
    sound(pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(plain.identity)]), plain)
    sound(await asyncio.to_thread(js_open, sealed, plain.identity), plain)
    if shutil.which("age") is None:
        pytest.skip("the program `age` is not here: the rest of this test has run")
    sound(await asyncio.to_thread(go_open, sealed, plain.identity), plain)


async def test_the_same_bytes_from_fifty_connections_make_one_case(town: Town) -> None:
    officer = await town.admit(Officer(town.platform))
    sent = officer.request(now=now())

    async def once() -> tuple[int, str]:
        async with aiohttp.ClientSession() as session:
            mine = Town(town.folder, session, town.platform, town.port)
            status, found = await mine.post("/v1/cases", sent.statement, sent.sealed)
            return status, found["receipt"]

    answers = await asyncio.gather(*(once() for _ in range(50)))
    assert sorted(status for status, _ in answers) == [200] * 49 + [201]
    assert len({receipt for _, receipt in answers}) == 1
    _, page, _ = await town.get(officer, "/v1/cases")
    assert len(page["cases"]) == 1


@pytest.mark.parametrize("what", ["no age file", "sealed to another key", "another's particulars"])
async def test_what_the_desk_cannot_use_comes_back_as_a_question(town: Town, what: str) -> None:
    officer = await town.admit(Officer(town.platform))
    if what == "no age file":
        recipients = [town.platform.desk.recipient]
        sent = bent(officer, b"this is no age file", recipients)
    elif what == "sealed to another key":
        other = generate_identity()
        sealed = seal_bytes(b"{}", [Officer(town.platform, identity=other).recipient])
        sent = bent(officer, sealed, [town.platform.desk.recipient])
    else:
        victim = Officer(town.platform, "de-bka", country="DE")
        sent = bent(officer, victim.request(now=now()).sealed, [town.platform.desk.recipient])
    case = await asked(town, officer, sent)
    found = await state(town, officer, case, "clarification")
    expected = "particulars-foreign" if what == "another's particulars" else "particulars-unreadable"
    assert (found["outcome"], found["ground"]) == (Outcome.CLARIFICATION_NEEDED, expected)
    supplement = officer.supplement(CaseId(case), now=now())
    status, answer = await town.post(f"/v1/cases/{case}/statements", supplement.statement, supplement.sealed)
    assert status == 201, answer
    await state(town, officer, case, "answered")


def bent(officer: Officer, sealed: bytes, recipients: list[str]) -> Sent:
    """A request over bytes that are not its own sealed particulars."""
    honest = claims(b64url_decode(officer.request(now=now()).statement.split(b".")[1]), Request)
    told = honest.model_copy(update={"particulars": part_of(sealed, recipients)})
    return Sent(say(told, officer.secret), sealed)


async def test_no_desk_says_who_approved(town: Town) -> None:
    """The decision names the approvals' digests; the approvals stay at the desk."""
    officer = await town.admit(Officer(town.platform))
    case = await asked(town, officer, officer.request(targets=["@user00042"], now=now()))
    await state(town, officer, case, "answered")
    _, rows, _ = await town.get(officer, f"/v1/cases/{case}/statements")
    decision = claims(b64url_decode(rows["rows"][-1]["statement"].split(".")[1]), Decision)
    assert len(decision.approvals) == 2
    assert decision.categories == (Category.SUBSCRIBER,)
    raw = b"".join(path.read_bytes() for path in (town.folder / "gateway").rglob("*") if path.is_file())
    assert b"carol" not in raw.replace(town.platform.keyset_raw, b"")
