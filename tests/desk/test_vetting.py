from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from crypto.keys import Ed25519Secret
from crypto.sealing import generate_identity, recipient_of
from desk.records import Duty
from desk.vetting import active_at
from protocol import limits
from protocol.authorities import Registration
from protocol.cases import State
from protocol.chains import CaseChain, RegistryChain, Row
from protocol.envelope import Envelope
from protocol.ids import Digest, digest_of
from protocol.receipts import Link, following
from protocol.sayings import Admission, OkpJwk, Rekey
from protocol.statements import Step, say
from protocol.terms import Stage, Standing
from tests.actors import BENT, Bent, Chains, Mallory, Officer, Sent, claims_in, fresh_jti, jwk_of
from tests.desks import House


async def refused(house: House, *codes: str) -> None:
    """The desk refuses exactly so, files nothing new, says nothing, and cries out."""
    async with house.worker() as worker:
        store = house.store()
        before = store.cases()
        house.said.clear()
        await house.settle(worker)
        assert [one.reason for one in reversed(await house.dead())] == list(codes)
        assert [one["code"] for one in house.events("entry.refused")] == list(codes)
        assert {one["level"] for one in house.events("entry.refused")} == {"error"}
        assert store.cases() == before
        assert house.said == []
        store.close()


def bare(row: Row, **told: Any) -> Envelope:
    return Envelope(**{"statement": row.statement, "receipt": row.receipt} | told)


async def known(house: House) -> None:
    """The desk knows the authority, and the line is quiet."""
    await house.admitted()
    async with house.worker() as worker:
        await house.settle(worker)


# An authority that nobody admitted


async def test_an_authority_of_which_the_desk_never_heard_is_refused(house: House) -> None:
    house.chains.admitted(house.officer)
    await house.request()
    await refused(house, "key-unknown")


async def test_an_authority_admitted_under_the_gateway_s_own_key_is_refused(house: House) -> None:
    """The gateway in wrong hands applies in the name of a ministry, and admits itself."""
    mallory = Officer(house.platform, "kr-ministry")
    row = house.chains.take(mallory.application())
    await house.send_rows(row)
    pending = house.chains.authority(mallory.party)
    told: dict[str, Any] = {
        "authority": pending.id,
        "application": pending.application.digest,
        "words": " ".join(pending.words),
        "line": "none",
    }
    raw = say(Admission(**house.platform.alice.common(**told)), house.platform.gateway)
    chain = house.chains.registry[mallory.party]
    await house.send(Envelope(statement=raw, receipt=receipt(house, chain.link, pending, Digest(digest_of(raw)))))
    own = Ed25519Secret.generate()
    raw = say(Admission(**house.platform.alice.common(**told)), own)
    await house.send(Envelope(statement=raw, receipt=receipt(house, chain.link, pending, Digest(digest_of(raw)))))
    async with house.worker() as worker:
        await house.settle(worker)
    assert [one.reason for one in reversed(await house.dead())] == ["key-role", "key-unknown"]
    assert [claims_in(one.statement or b"")["of"] for one in house.said] == [pending.application.digest]


def receipt(house: House, link: Link, after: Any, of: Digest, secret: Any = None, **told: Any) -> bytes:
    """A receipt as the gateway in wrong hands can make it: properly signed, for whatever it likes."""
    step = Step(told.pop("stage", Stage.TAKEN), link.time(told.pop("at", house.now)), of)
    said = following(link, after, step, platform=house.platform.id, jti=fresh_jti(house.now), salt=b"s" * 16)
    return say(said.model_copy(update=told), secret or house.platform.gateway)


async def test_a_request_before_the_second_confirmation_is_refused(house: House) -> None:
    house.chains.take(house.officer.application())
    pending = house.chains.authority(house.officer.party)
    house.chains.take(house.platform.alice.admission(pending))
    await house.send_rows(*house.chains.registry_rows[house.officer.party])
    await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
    assert [one.reason for one in await house.dead()] == ["authority-not-active"]


async def test_one_operator_twice_does_not_admit(house: House) -> None:
    house.chains.take(house.officer.application())
    pending = house.chains.authority(house.officer.party)
    house.chains.take(house.platform.alice.admission(pending))
    await house.send_rows(*house.chains.registry_rows[house.officer.party])
    raw = house.platform.alice.admission(pending)
    chain = house.chains.registry[house.officer.party]
    forged = receipt(house, chain.link, chain.authority, Digest(digest_of(raw)), state="active")
    await house.send(Envelope(statement=raw, receipt=forged))
    async with house.worker() as worker:
        await house.settle(worker)
    assert [one.reason for one in await house.dead()] == ["impossible"]


# A sealing key that the gateway swaps


async def test_a_sealing_key_swapped_under_a_foreign_signature_is_refused(house: House) -> None:
    await known(house)
    mallory = Ed25519Secret.generate()
    jwk = jwk_of(mallory.public)
    assert isinstance(jwk, OkpJwk)
    told = house.officer.common(signing=(jwk,), sealing=(recipient_of(generate_identity()),))
    inner = say(Rekey(**told), mallory).decode()
    chain = house.chains.registry[house.officer.party]
    for secret in (mallory, house.platform.gateway):
        raw = say(Rekey(**told, inner=inner), secret)
        forged = receipt(house, chain.link, chain.authority, Digest(digest_of(raw)))
        await house.send(Envelope(statement=raw, receipt=forged))
    await refused(house, "key-unknown", "key-role")


async def test_a_disclosure_goes_to_the_key_of_the_rekey_that_the_authority_signed(house: House) -> None:
    await known(house)
    secret, identity = Ed25519Secret.generate(), generate_identity()
    await house.take(house.officer.rekey(secret, identity))
    house.officer.secret, house.officer.identity = secret, identity
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol", "dave")
        await house.settle(worker)
    assert await house.dead() == []
    assert house.case(case).state is State.ANSWERED


# Receipts


async def test_a_receipt_signed_by_the_desk_s_key_is_refused(house: House) -> None:
    await known(house)
    sent = house.officer.request()
    row = house.chains.take(sent.statement)
    for secret in (house.platform.desk.secret, house.officer.secret, Ed25519Secret.generate()):
        bent = say(house.chains.read(row.receipt).said, secret)
        await house.send(bare(Row(bent, row.statement), sealed=sent.sealed))
    await refused(house, "receipt-wrong", "receipt-wrong", "receipt-wrong")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        pytest.param({"state": "answered"}, "receipt-wrong", id="another state"),
        pytest.param({"due": 1_895_000_000}, "receipt-wrong", id="a later due time"),
        pytest.param({"due": None}, "receipt-wrong", id="no due time"),
        pytest.param({"stage": Stage.ANSWERED}, "receipt-wrong", id="another stage"),
        pytest.param({"of": "0" * 64}, "receipt-wrong", id="of another statement"),
        pytest.param({"aud": "us-fbi"}, "receipt-wrong", id="to another authority"),
        pytest.param({"case": "01a00000-0000-8000-8000-000000000000"}, "receipt-wrong", id="of another case"),
    ],
)
async def test_a_receipt_that_promises_what_does_not_follow_is_refused(
    house: House, told: dict[str, Any], code: str
) -> None:
    await known(house)
    sent = house.officer.request()
    row = house.chains.take(sent.statement)
    said = house.chains.read(row.receipt).said.model_copy(update=told)
    await house.send(bare(Row(say(said, house.platform.gateway), row.statement), sealed=sent.sealed))
    await refused(house, code)


async def test_a_receipt_of_the_future_is_refused(house: House) -> None:
    await known(house)
    sent = house.officer.request()
    row = house.chains.take(sent.statement, house.now + limits.CLOCKS + timedelta(seconds=1))
    await house.send(bare(row, sealed=sent.sealed))
    await refused(house, "receipt-wrong")


@pytest.mark.parametrize("bent", BENT[::7], ids=lambda bent: bent.name)
async def test_a_bent_request_under_a_genuine_receipt_is_refused(house: House, bent: Bent) -> None:
    await known(house)
    sent = house.officer.request()
    row = house.chains.take(sent.statement)
    raw = bent.bend(Mallory(house.officer.secret), sent.statement)
    if not raw.isascii() or len(raw) > limits.STATEMENT:
        pytest.skip("no envelope holds it")
    await house.send(bare(Row(row.receipt, raw), sealed=sent.sealed))
    async with house.worker() as worker:
        await house.settle(worker)
    assert len(await house.dead()) == 1
    store = house.store()
    assert store.cases() == []
    store.close()


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        pytest.param({"sealed": None}, "sealed-missing", id="sealed part left out"),
        pytest.param({"sealed": b"other bytes"}, "digest-mismatch", id="sealed part exchanged"),
        pytest.param({"statement": None}, "receipt-wrong", id="statement left out"),
    ],
)
async def test_what_the_gateway_leaves_out_or_exchanges_is_refused(
    house: House, envelope: dict[str, Any], code: str
) -> None:
    await known(house)
    sent = house.officer.request()
    row = house.chains.take(sent.statement)
    await house.send(bare(row, **{"sealed": sent.sealed} | envelope))
    await refused(house, code)


async def test_a_registry_row_without_its_statement_is_refused(house: House) -> None:
    row = house.chains.take(house.officer.application())
    await house.send(Envelope(receipt=row.receipt))
    await refused(house, "receipt-wrong")


async def test_a_statement_without_a_receipt_is_refused(house: House) -> None:
    await known(house)
    sent = house.officer.request()
    await house.send(Envelope(statement=sent.statement, sealed=sent.sealed))
    await refused(house, "receipt-wrong")


async def test_a_case_of_another_entity_is_refused(house: House) -> None:
    await known(house)
    sent = house.officer.request(entity="eu", recipients=(house.platform.desk.recipient,))
    row = house.chains.take(sent.statement)
    await house.send(bare(row, sealed=sent.sealed))
    await refused(house, "entity-unknown")


async def test_another_authority_s_statement_in_a_case_is_refused(house: House) -> None:
    await known(house)
    other = Officer(house.platform, "fr-parquet-paris", country="FR")
    house.chains.admitted(other)
    await house.send_rows(*house.chains.registry_rows[other.party])
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
    raw = other.withdrawal(case)
    chain = house.chains.cases[case]
    await house.send(Envelope(statement=raw, receipt=receipt(house, chain.link, chain.case, Digest(digest_of(raw)))))
    async with house.worker() as worker:
        await house.settle(worker)
    assert [one.reason for one in await house.dead()] == ["key-unknown"]


# Forks and roll-backs


async def test_a_registry_chain_that_forks_is_refused_and_a_suspension_stays(house: House) -> None:
    """The gateway forgets a suspension, and tells another story from there."""
    await known(house)
    honest = house.chains.registry[house.officer.party]
    await house.take(house.platform.alice.standing(house.officer.party, Standing.SUSPENDED))
    async with house.worker() as worker:
        await house.settle(worker)
    house.chains.registry[house.officer.party] = honest
    secret = Ed25519Secret.generate()
    row = house.chains.take(house.officer.rekey(secret))
    await house.send_rows(row)
    house.officer.secret = secret
    later = house.chains.take(house.platform.bob.standing(house.officer.party, Standing.SUSPENDED))
    await house.send_rows(later)
    await refused(house, "receipt-wrong", "receipt-wrong")
    store = house.store()
    found = RegistryChain.read(store.rows(house.officer.party), house.platform.keyset).authority
    store.close()
    assert found is not None
    assert found.state is Registration.SUSPENDED


async def test_a_case_that_forks_is_refused(house: House) -> None:
    await known(house)
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
    held = house.chains.cases[case]
    rows = house.chains.case_rows[case]
    before = CaseChain().then(rows[0], house.chains.known(house.officer.party))
    house.chains.cases[case] = before
    house.now += timedelta(seconds=1)
    await house.send_rows(house.chains.take(house.officer.withdrawal(case), house.now))
    house.chains.cases[case] = held
    await refused(house, "receipt-wrong")


async def test_a_request_of_a_suspended_authority_is_refused(house: House) -> None:
    await known(house)
    await house.take(house.platform.alice.standing(house.officer.party))
    async with house.worker() as worker:
        await house.settle(worker)
    house.now += timedelta(seconds=5)
    sent = house.officer.request(now=house.now)
    row = house.chains.take(sent.statement, house.now)  # a gateway in wrong hands takes it all the same
    await house.send(bare(row, sealed=sent.sealed))
    await refused(house, "authority-not-active")


async def test_a_request_dated_back_before_a_suspension_is_flagged_and_discloses_nothing(house: House) -> None:
    await known(house)
    house.now += timedelta(minutes=10)
    await house.take(house.platform.alice.standing(house.officer.party, now=house.now))
    async with house.worker() as worker:
        await house.settle(worker)
        back = house.now - timedelta(minutes=5)
        sent = house.officer.request(now=back)
        row = house.chains.take(sent.statement, back)
        case = await sent_on(house, row, sent)
        await house.settle(worker)
        store = house.store()
        found = store.case(case)
        store.close()
    assert found is not None
    assert (found.duty, found.trouble) == (Duty.LOOK_UP, "authority-not-active")
    assert house.put == {}


async def sent_on(house: House, row: Row, sent: Sent) -> Any:
    await house.send(bare(row, sealed=sent.sealed))
    return next(
        case for case, chain in house.chains.cases.items() if chain.case and chain.case.request.raw == sent.statement
    )


async def test_a_receipt_more_than_an_hour_old_is_flagged(house: House) -> None:
    await known(house)
    early = await house.request()
    house.now += timedelta(hours=1, seconds=1)
    async with house.worker() as worker:
        await house.settle(worker)
        punctual = await house.request()
        await house.settle(worker)
    async with house.reviewing() as review:
        secret = house.platform.carol.secret
        first, second = (review.show(case, secret, house.now).draft for case in (early, punctual))
    assert first is not None
    assert second is not None
    assert (first.flags, second.flags) == (("receipt-late",), ())
    (event,) = house.events("receipt.late")
    assert (event["case"], event["seconds"]) == (early, 3601)


async def test_a_key_that_ended_between_receipt_and_first_sight_is_flagged(house: House) -> None:
    """Kept back, or made later under a stolen key and dated back: the desk cannot tell, a reviewer must."""
    await known(house)
    case = await house.request()  # lies in the queue
    house.now += timedelta(minutes=1)
    raw = house.officer.rekey(Ed25519Secret.generate(), now=house.now)
    row = house.chains.take(raw, house.now)
    house.now += timedelta(seconds=1)  # an old key counts to the end of the second in which it ends
    async with house.worker() as worker:
        await house.send_rows(row)
        await house.settle(worker)
    async with house.reviewing() as review:
        draft = review.show(case, house.platform.carol.secret, house.now).draft
    assert draft is not None
    assert draft.flags == ("key-ended",)


async def test_more_targets_than_the_cover_says_are_flagged(house: House) -> None:
    await known(house)
    case = await house.request(targets=("@user00007", "@user00008"), subjects=1)
    async with house.worker() as worker:
        await house.settle(worker)
    async with house.reviewing() as review:
        draft = review.show(case, house.platform.carol.secret, house.now).draft
    assert draft is not None
    assert draft.flags == ("subjects-differ",)


# Rejections


async def test_a_rejection_under_another_key_changes_nothing(house: House) -> None:
    await known(house)
    await house.request()
    async with house.worker() as worker:
        await worker.work_until_idle()
        store = house.store()
        (waiting,) = store.owed(house.now + timedelta(hours=2), 9)
        genuine = house.platform.rejection(waiting.digest, house.platform.id)
        said = house.chains.read(genuine).said
        await house.send(Envelope(rejection=say(said, house.officer.secret)))
        await worker.work_until_idle()
        assert store.owed(house.now + timedelta(hours=2), 9) == [waiting]
        await house.send(Envelope(rejection=genuine))
        await worker.work_until_idle()
        assert store.owed(house.now + timedelta(hours=2), 9) == []
        store.close()
    assert [one.reason for one in await house.dead()] == ["key-unknown"]
    assert len(house.events("decision.rejected")) == 1


async def test_a_rejection_of_what_the_desk_never_said_is_passed_over(house: House) -> None:
    await house.send(Envelope(rejection=house.platform.rejection(Digest("0" * 64), house.platform.id)))
    async with house.worker() as worker:
        await house.settle(worker)
    assert await house.dead() == []
    assert house.events("decision.rejected") == []


# When an authority was active


def test_an_authority_is_active_from_its_second_admission_to_its_suspension(house: House) -> None:
    chains, officer, start = Chains(house.platform), house.officer, house.now
    seconds = [start + timedelta(seconds=count) for count in range(8)]
    chains.take(officer.application(), seconds[0])
    for second, operator in ((1, house.platform.alice), (2, house.platform.bob)):
        chains.take(operator.admission(chains.authority(officer.party)), seconds[second])
    chains.take(house.platform.alice.standing(officer.party), seconds[4])
    chains.take(house.platform.alice.standing(officer.party, Standing.ACTIVE), seconds[6])
    rows = chains.registry_rows[officer.party]
    found = [active_at(rows, house.platform.keyset, at) for at in seconds]
    assert found == [False, False, True, True, True, False, True, True]
    assert active_at([], house.platform.keyset, start) is False
