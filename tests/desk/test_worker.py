from __future__ import annotations

import base64
import io
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto.sealing import generate_identity, recipient_of, unseal_bytes
from desk.records import Duty
from protocol.cases import State
from protocol.disclosure import opened
from protocol.envelope import Envelope
from protocol.ids import CaseId
from protocol.sayings import Decision, Request
from protocol.statements import say
from protocol.terms import Category, Outcome, Stage
from tests.actors import Officer, Sent, claims_in, part_of
from tests.desks import TARGET, House, Killed


def decisions(house: House) -> list[dict[str, Any]]:
    found = [claims_in(one.statement) for one in house.said if one.statement is not None]
    return [one for one in found if "outcome" in one]


def acceptances(house: House) -> list[dict[str, Any]]:
    found = [claims_in(one.statement) for one in house.said if one.statement is not None]
    return [one for one in found if "of" in one]


def owed(house: House, case: CaseId) -> Duty:
    store = house.store()
    try:
        row = store.case(case)
    finally:
        store.close()
    assert row is not None
    return row.duty


async def test_a_request_travels_the_desk_s_whole_way(house: House) -> None:
    await house.admitted()
    case = await house.request(categories=(Category.SUBSCRIBER, Category.IDENTIFICATION))
    async with house.worker() as worker:
        await house.settle(worker)
        assert house.case(case).state is State.IN_REVIEW
        assert house.case(case).accepted is True
        draft = await house.approve(case, "carol", "dave")
        await house.settle(worker)
    decided = house.case(case).decided
    assert isinstance(decided, Decision)
    assert (house.case(case).state, decided.outcome) == (State.ANSWERED, Outcome.DISCLOSED)
    assert (decided.accounts, decided.draft, len(set(decided.approvals))) == (1, draft, 2)
    assert decided.categories == (Category.SUBSCRIBER, Category.IDENTIFICATION)
    (part,) = decided.disclosures
    plain = io.BytesIO(unseal_bytes(house.put[part.sha256], [house.officer.identity]))
    about = opened(plain)
    assert (about.case, about.draft, about.requester) == (case, draft, house.officer.party)
    assert about.desk == house.platform.desk.secret.public.id
    with zipfile.ZipFile(plain) as archive:
        assert b"canary-7f3a Sami" in archive.read("subscriber-accounts.csv")
        assert b"2001:db8::7" in archive.read("identification-accounts.json")


async def test_every_row_that_the_desk_holds_is_accepted_and_nothing_waits_at_the_end(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        await house.settle(worker)
        rows = [*house.chains.registry_rows[house.officer.party], *house.chains.case_rows[case]]
        assert len(rows) == 6
        assert len({one["of"] for one in acceptances(house)}) == len(rows)
        house.now += timedelta(hours=2)
        assert await worker.publish() == 0
    assert await house.dead() == []
    assert (await house.channel.depth("requests.main")).waiting == 0


async def test_a_row_that_comes_again_is_accepted_again_with_the_same_bytes(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        before = {one.statement for one in house.said}
        await house.send_rows(*house.chains.registry_rows[house.officer.party], *house.chains.case_rows[case])
        house.said.clear()
        await house.settle(worker)
        assert {one.statement for one in house.said} == before
        assert await house.dead() == []


async def test_rows_in_disorder_are_all_filed(house: House) -> None:
    house.chains.admitted(house.officer)
    await house.send_rows(*reversed(house.chains.registry_rows[house.officer.party]))
    async with house.worker() as worker:
        await house.settle(worker)
    assert len(acceptances(house)) == 3
    assert await house.dead() == []


async def test_a_gap_is_left_to_its_lease_and_filed_when_the_row_before_comes(house: House) -> None:
    house.chains.admitted(house.officer)
    first, *others = house.chains.registry_rows[house.officer.party]
    await house.send_rows(*others)
    async with house.worker() as worker:
        await house.settle(worker)
        assert house.said == []
        assert (await house.channel.depth("requests.main")).leased == 2
        await house.send_rows(first)
        await house.settle(worker)
        house.now += timedelta(seconds=31)
        await house.settle(worker)
    assert len(acceptances(house)) == 3
    assert await house.dead() == []


ELSEWHERE = generate_identity()
OF_ANOTHER = (
    b'{"iss":"kr-knpa-cyber","jti":"01a00000-0000-7000-8000-000000000000","facts":"x","officer":{"name":"K"},'
    b'"targets":[{"by":"account","value":"@user00007"}]}'
)


@pytest.mark.parametrize(
    ("told", "ground"),
    [
        pytest.param({"plain": b"\x00\xff"}, "particulars-malformed", id="not JSON"),
        pytest.param({"plain": b'{"iss":"kr-knpa-cyber"}'}, "particulars-malformed", id="members missing"),
        pytest.param({"plain": b'{"iss":"a","iss":"b"}'}, "particulars-malformed", id="doubled member"),
        pytest.param({"particulars": {"iss": "us-fbi"}}, "particulars-foreign", id="another authority's"),
        pytest.param({"plain": OF_ANOTHER}, "particulars-foreign", id="another statement's"),
        pytest.param({"recipients": (recipient_of(ELSEWHERE),)}, "particulars-unreadable", id="sealed to another key"),
    ],
)
async def test_particulars_that_cannot_be_worked_with_are_answered_with_a_question(
    house: House, told: dict[str, Any], ground: str
) -> None:
    await house.admitted()
    case = await house.request(**told)
    async with house.worker() as worker:
        await house.settle(worker)
    found = house.case(case)
    assert (found.state, found.accepted) == (State.CLARIFICATION, False)
    assert found.decided is not None
    assert (found.decided.outcome, found.decided.ground) == (Outcome.CLARIFICATION_NEEDED, ground)
    assert (found.decided.draft, found.decided.approvals) == (None, ())
    assert ground in {one.get("ground") for one in acceptances(house)}
    assert owed(house, case) is Duty.NONE


async def test_what_is_not_an_age_file_is_answered_with_a_question(house: House) -> None:
    await house.admitted()
    sent = house.officer.request()
    told = house.chains.read(sent.statement).saying(Request)
    part = part_of(b"not age", [house.platform.desk.recipient])
    raw = say(told.model_copy(update={"particulars": part}), house.officer.secret)
    case = await house.taken(Sent(raw, b"not age"))
    async with house.worker() as worker:
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert decided.ground == "particulars-unreadable"


async def test_a_supplement_answers_the_question_and_is_what_is_looked_up(house: House) -> None:
    await house.admitted()
    case = await house.request(plain=b"{}")
    async with house.worker() as worker:
        await house.settle(worker)
        assert house.case(case).state is State.CLARIFICATION
        await house.taken(house.officer.supplement(case))
        await house.settle(worker)
        assert (house.case(case).state, owed(house, case)) == (State.IN_REVIEW, Duty.REVIEW)
        await house.approve(case, "dave", "carol")
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert decided.outcome is Outcome.NO_DATA  # the supplement asks for @suspect, whom nobody knows
    assert house.put == {}


async def test_a_supplement_that_cannot_be_opened_asks_again(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.taken(house.officer.supplement(case, plain=b"nothing"))
        await house.settle(worker)
    assert house.case(case).state is State.CLARIFICATION
    assert owed(house, case) is Duty.NONE


async def test_a_supplement_makes_a_new_draft_for_which_no_approval_counts(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        old = await house.approve(case, "carol")
        await house.taken(house.officer.supplement(case))
        await house.settle(worker)
        new = await house.approve(case, "dave")
        await house.settle(worker)
        assert old != new
        assert house.case(case).state is State.IN_REVIEW
        await house.approve(case, "carol")
        await house.settle(worker)
    assert house.case(case).state is State.ANSWERED


async def test_a_withdrawal_before_release_stops_it(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        await house.take(house.officer.withdrawal(case))
        await house.settle(worker)
        store = house.store()
        assert store.draft(case) is None
        store.close()
    assert house.case(case).state is State.WITHDRAWN
    assert decisions(house) == []
    assert house.put == {}


async def test_a_decision_that_comes_after_a_withdrawal_is_rejected_and_forgotten(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        house.chains.take(house.officer.withdrawal(case))  # the desk is not told yet
        await house.settle(worker)
        assert len(decisions(house)) == 1
        assert house.events("decision.rejected")[0]["code"] == "impossible"
        await house.send_rows(house.chains.case_rows[case][-1])
        await house.settle(worker)
        assert owed(house, case) is Duty.NONE
        house.now += timedelta(hours=1)
        await house.settle(worker)
    assert len(decisions(house)) == 1
    assert not list((house.settings.data / "disclosures").iterdir())


async def test_an_answer_that_did_not_open_is_looked_up_anew(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        await house.settle(worker)
        first = house.case(case).decided
        await house.take(house.officer.acknowledgement(house.case(case), flaw="not-for-us"))
        await house.settle(worker)
        assert owed(house, case) is Duty.REVIEW
        await house.approve(case, "carol", "dave")
        await house.settle(worker)
        second = house.case(case).decided
        await house.send_rows(house.chains.note(case, Stage.RETRIEVED))
        await house.take(house.officer.acknowledgement(house.case(case)))
        await house.settle(worker)
    assert first is not None
    assert second is not None
    assert first.draft != second.draft
    assert house.case(case).state is State.CLOSED
    assert len(decisions(house)) == 2


async def test_a_category_without_a_source_is_withheld_and_said(house: House) -> None:
    await house.admitted()
    case = await house.request(categories=(Category.SUBSCRIBER, Category.CONTENT))
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert (decided.outcome, decided.categories) == (Outcome.PARTLY_DISCLOSED, (Category.SUBSCRIBER,))
    explanation = next(one.sealed for one in house.said if one.sealed is not None)
    assert unseal_bytes(explanation, [house.officer.identity]) == b"This desk has no source for: content."


async def test_a_gateway_that_is_away_is_tried_again_with_the_same_bytes(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        house.put_fails = 1
        await house.settle(worker)
        (sealed,) = [one for one in (house.settings.data / "disclosures").iterdir() if one.suffix == ".age"]
        assert house.case(case).state is State.IN_REVIEW
        house.now += timedelta(minutes=2)
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert sealed.name == f"{decided.disclosures[0].sha256}.age"
    assert list(house.put) == [decided.disclosures[0].sha256]
    assert not sealed.exists()


async def test_a_crash_between_sending_and_signing_sends_the_same_bytes_again(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        house.put_kills = True
        with pytest.raises(Killed):
            await worker.release()
    house.put_kills = False
    assert len(house.put) == 1
    assert decisions(house) == []
    async with house.worker() as worker:  # the next process
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert list(house.put) == [decided.disclosures[0].sha256]
    assert len(decisions(house)) == 1


async def test_what_has_no_receipt_is_said_again_and_then_cried_out_for(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await worker.work_until_idle()
        request = house.case(case).request.digest
        first = len([one for one in await house.hear() if one.statement and claims_in(one.statement)["of"] == request])
        house.now += timedelta(minutes=1)
        assert await worker.publish() == 1
        await worker.alarm()
        assert house.events("decision.unreceipted") == []
        house.now += timedelta(minutes=16)
        await worker.alarm()
        await worker.alarm()
        (event,) = house.events("decision.unreceipted")
        assert (first, event["case"], event["seconds"]) == (1, case, 17 * 60)


async def test_no_particulars_and_no_records_are_on_disk(house: House) -> None:
    """A canary of the particulars and one of the records, in every spelling that one would find."""
    await house.admitted()
    canaries = [b"canary-facts-91c4", b"canary-7f3a Sami", TARGET.encode()]
    case = await house.request(particulars={"facts": canaries[0].decode()})
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol")
        house.put_fails = 1
        await house.approve(case, "dave")
        await house.settle(worker)
        clean(house, canaries)
        house.now += timedelta(minutes=2)
        await house.settle(worker)
        clean(house, canaries)
    clean(house, canaries)
    assert house.case(case).state is State.ANSWERED


def clean(house: House, canaries: list[bytes]) -> None:
    beside = Path(house.settings.channel.removeprefix("sqlite://")).parent
    files = [*house.settings.data.rglob("*"), *beside.glob("queue*")]
    content = b"".join(path.read_bytes() for path in files if path.is_file()) + house.logged.getvalue().encode()
    assert len(content) > 10_000
    for canary in canaries:
        text = canary.decode()
        spellings = [canary, canary.hex().encode(), text.encode("utf-16-le"), text.encode("utf-16-be")]
        spellings += [base64.b64encode(b"\0" * pad + canary)[4 if pad else 0 : -4] for pad in range(3)]
        for spelling in spellings:
            assert spelling not in content


async def test_files_and_folders_of_the_desk_are_its_own(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        house.put_fails = 1
        await house.settle(worker)
        found = [house.settings.data, *house.settings.data.rglob("*")]
        assert {path.name for path in found} >= {"desk.db", "desk.db-wal", "disclosures"}
        assert {path.stat().st_mode & 0o077 for path in found} == {0}


async def test_a_look_up_that_fails_is_shown_and_tried_again(house: House) -> None:
    await house.admitted()
    (house.folder / "desk/accounts.db").rename(house.folder / "desk/elsewhere.db")
    case = await house.request()
    async with house.worker() as worker:
        try:
            await house.settle(worker)
        finally:
            (house.folder / "desk/elsewhere.db").rename(house.folder / "desk/accounts.db")
        store = house.store()
        row = store.case(case)
        store.close()
        assert row is not None
        assert (row.duty, row.trouble) == (Duty.LOOK_UP, "failed")
        house.now += timedelta(minutes=2)
        await house.settle(worker)
    assert owed(house, case) is Duty.REVIEW


async def test_a_decision_under_the_desk_s_key_that_the_desk_did_not_make_is_an_alarm(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.take(house.platform.desk.decision(house.case(case), Outcome.DISCLOSED))
        await house.settle(worker)
    (event,) = house.events("decision.foreign")
    assert event["case"] == case


async def test_what_breaks_within_an_entry_leaves_it_to_its_lease_and_the_others_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.admitted()
    other = Officer(house.platform, "fr-parquet-paris", country="FR")
    house.chains.admitted(other)
    await house.send_rows(*house.chains.registry_rows[other.party])
    async with house.worker() as worker:
        take, broken = type(worker._filing).take, [True]

        def breaks(filing: Any, plain: bytes, now: Any) -> None:
            if broken:
                broken.clear()
                raise ZeroDivisionError("canary")
            take(filing, plain, now)

        monkeypatch.setattr(type(worker._filing), "take", breaks)
        await house.settle(worker)
        assert len(acceptances(house)) == 3
        house.now += timedelta(seconds=31)
        await house.settle(worker)
    assert len(acceptances(house)) == 6
    (event,) = house.events("loop.failed")
    assert event["error"] == "ZeroDivisionError"
    assert "canary" not in house.logged.getvalue()


async def test_an_envelope_that_is_none_goes_to_the_dead_letters(house: House) -> None:
    await house.outgoing.send([b"[]"])
    await house.send(Envelope(statement=b"a.b.c"))
    async with house.worker() as worker:
        await house.settle(worker)
    assert {one.reason for one in await house.dead()} == {"not-json", "receipt-wrong"}


async def test_particulars_that_the_desk_cannot_open_any_more_are_trouble_and_no_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring restored without the key of then: the operator must see it."""
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await worker.receive(timedelta(0))
        lost = replace(worker._keys, identities=[ELSEWHERE])
        monkeypatch.setattr(worker, "_keys", lost)
        assert await worker.look_up() == 0
    (event,) = house.events("case.troubled")
    assert (event["case"], event["reason"], event["loop"]) == (case, "particulars-unreadable", "look-up")


async def test_a_withdrawal_while_the_source_is_asked_makes_the_draft_void(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await worker.receive(timedelta(0))
        find = worker._source.find
        asked: list[bool] = []

        async def slow(*args: Any) -> Any:
            found = await find(*args)
            if not asked:
                asked.append(True)
                await house.hear()
                await house.take(house.officer.withdrawal(case))
                await worker.receive(timedelta(0))
            return found

        monkeypatch.setattr(worker._source, "find", slow)
        assert await worker.look_up() == 0
        store = house.store()
        assert store.draft(case) is None
        store.close()
    assert owed(house, case) is Duty.NONE
