import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from protocol.cases import State
from protocol.envelope import Envelope
from protocol.ids import Digest, digest_of
from protocol.terms import Outcome
from tests.actors import Mallory, Officer, Platform, claims_in
from tests.gateway.heart import Heart, beating


@pytest.fixture
async def heart(tmp_path: Path) -> AsyncIterator[Heart]:
    async with beating(tmp_path, Platform()) as one:
        yield one


@pytest.fixture
async def officer(heart: Heart) -> Officer:
    return await heart.admitted(Officer(heart.platform))


async def test_the_desk_gets_each_row_with_its_receipt_and_its_sealed_part(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    taken = await heart.take(*sent)
    assert await heart.relay.publish() == 4
    envelopes = await heart.at_desk()
    assert [claims_in(one.receipt or b"")["seq"] for one in envelopes] == [1, 2, 3, 1]
    assert envelopes[-1] == Envelope(statement=sent.statement, receipt=taken.receipt, sealed=sent.sealed)


async def test_it_is_published_again_until_the_desk_accepts(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    await heart.relay.publish()
    await heart.at_desk()
    assert await heart.relay.publish() == 0
    heart.clock.at += timedelta(minutes=2)
    assert await heart.relay.publish() == 4
    case = await heart.case(case_id)
    await heart.from_desk(Envelope(statement=heart.platform.desk.acceptance(case, now=heart.clock.now())))
    assert (await heart.case(case_id)).state is State.IN_REVIEW
    heart.clock.at += timedelta(hours=2)
    await heart.at_desk()
    await heart.relay.publish()
    kinds = [claims_in(one.receipt or b"") for one in await heart.at_desk()]
    assert [(one.get("case"), one["seq"]) for one in kinds][-1] == (case_id, 2), "the acceptance's own receipt"
    assert (case_id, 1) not in [(one.get("case"), one["seq"]) for one in kinds]


async def test_what_the_desk_says_that_it_holds_is_settled(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    desk = heart.platform.desk
    acceptance = desk.acceptance(await heart.case(case_id))
    await heart.from_desk(Envelope(statement=acceptance))
    held = desk.acceptance(await heart.case(case_id), of=digest_of(acceptance))
    before = len(await heart.store.chain(case_id))
    await heart.from_desk(Envelope(statement=held))
    assert len(await heart.store.chain(case_id)) == before
    assert [row.entity for row in await heart.store.owed("main", heart.clock.now(), 99)] == ["main"] * 3


async def test_the_desks_word_on_a_registry_statement_is_kept_for_the_operator(heart: Heart, officer: Officer) -> None:
    raw = heart.platform.alice.standing(officer.party)
    await heart.take(raw)
    said = heart.platform.desk.registered(officer.party, digest_of(raw))
    await heart.from_desk(Envelope(statement=said))
    assert await heart.store.acceptances(digest_of(raw)) == [said]
    assert await heart.store.owed("main", heart.clock.now(), 99) == []


async def test_what_cannot_be_taken_is_answered_with_a_signed_rejection(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    decision = heart.platform.desk.decision(await heart.case(case_id), Outcome.NO_DATA)
    await heart.take(officer.withdrawal(case_id))
    await heart.from_desk(Envelope(statement=decision))
    await heart.relay.publish()
    (rejection,) = [one.rejection for one in await heart.at_desk() if one.rejection is not None]
    assert claims_in(rejection)["of"] == digest_of(decision)
    assert claims_in(rejection)["code"] == "impossible"


async def test_a_second_acceptance_settles_and_is_rejected(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    case = await heart.case(case_id)
    await heart.from_desk(Envelope(statement=heart.platform.desk.acceptance(case)))
    assert await heart.from_desk(Envelope(statement=heart.platform.desk.acceptance(case))) == 1
    assert (await heart.case(case_id)).steps == 2


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(Envelope(receipt=b"a.b.c"), id="no statement"),
        pytest.param(Envelope(statement=b"not a token"), id="no token"),
    ],
)
async def test_junk_goes_to_the_dead_letters_and_the_rest_flows(
    heart: Heart, officer: Officer, envelope: Envelope
) -> None:
    case_id = await heart.request(officer)
    acceptance = heart.platform.desk.acceptance(await heart.case(case_id))
    await heart.from_desk(envelope, Envelope(statement=acceptance))
    assert (await heart.case(case_id)).state is State.IN_REVIEW
    assert len(await heart.channel.dead("decisions.main", 10)) == 1


async def test_a_decision_under_the_gateways_key_or_forged_is_refused(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    decision = heart.platform.desk.decision(await heart.case(case_id), Outcome.NO_DATA)
    forged = Mallory(heart.platform.gateway).header(decision, kid=heart.platform.gateway.public.id)
    await heart.from_desk(Envelope(statement=forged), Envelope(statement=Mallory.flipped(decision, 2)))
    assert (await heart.case(case_id)).decision is None
    assert [one.reason for one in await heart.channel.dead("decisions.main", 10)] == ["signature-invalid", "key-role"]


async def test_a_statement_that_the_gateway_cannot_keep_now_comes_again(
    heart: Heart, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = await heart.request(officer)
    acceptance = heart.platform.desk.acceptance(await heart.case(case_id))
    monkeypatch.setattr("gateway.commits.MOST_WAITING", 0)
    await heart.from_desk(Envelope(statement=acceptance))
    assert (await heart.case(case_id)).state is State.RECEIVED
    monkeypatch.undo()
    heart.clock.at += timedelta(minutes=1)
    assert await heart.relay.receive(timedelta(0)) == 1
    assert (await heart.case(case_id)).state is State.IN_REVIEW


async def test_the_desks_explanation_is_kept_sealed(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    sealed = os.urandom(300)
    part = {"sha256": digest_of(sealed), "size": len(sealed), "recipients": ("r" * 42 + "w",)}
    decision = heart.platform.desk.decision(await heart.case(case_id), Outcome.NO_DATA, explanation=part)
    await heart.from_desk(Envelope(statement=decision, sealed=sealed))
    assert await heart.store.sealed(Digest(digest_of(sealed))) == (sealed, case_id)


async def test_another_entitys_desk_settles_nothing_here(tmp_path: Path) -> None:
    async with beating(tmp_path, Platform(entities=("main", "eu"))) as heart:
        officer = await heart.admitted(Officer(heart.platform))
        case_id = await heart.request(officer)
        foreign = heart.platform.desks["eu"].acceptance(await heart.case(case_id))
        before = len(await heart.store.owed("main", heart.clock.now(), 99))
        await heart.from_desk(Envelope(statement=foreign))
        assert len(await heart.store.owed("main", heart.clock.now(), 99)) == before
        assert (await heart.case(case_id)).accepted is None
