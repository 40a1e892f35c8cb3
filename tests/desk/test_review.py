from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from crypto.keys import Ed25519Secret
from crypto.sealing import unseal_bytes
from desk.records import SealedDraft
from desk.review import Draft, RecordSet, checked, counted, narrowed, open_draft, seal_draft
from desk.vetting import file_of
from desk.worker import Worker
from protocol import limits
from protocol.cases import State
from protocol.ids import CaseId, Digest, digest_of, numeric
from protocol.problems import Refused
from protocol.terms import Category, Outcome, Role
from tests.actors import Reviewer, claims_in
from tests.desks import House

BOTH = (Category.SUBSCRIBER, Category.IDENTIFICATION)


@pytest.fixture
async def drafted(house: House) -> AsyncIterator[tuple[Worker, CaseId]]:
    """A case with a draft that waits for approvals."""
    await house.admitted()
    case = await house.request(categories=BOTH)
    async with house.worker() as worker:
        await house.settle(worker)
        yield worker, case


async def stays(house: House, worker: Worker, case: CaseId) -> None:
    """Nothing leaves, now or later."""
    await house.settle(worker)
    house.now += timedelta(hours=1)
    await house.settle(worker)
    assert house.case(case).state is State.IN_REVIEW
    assert house.put == {}


def draft_of(house: House, case: CaseId) -> Draft:
    store = house.store()
    kept = store.draft(case)
    store.close()
    assert kept is not None
    return open_draft(kept, [house.platform.desk.identity])


def slip(house: House, case: CaseId, raw: bytes) -> None:
    """Put an approval into the file, past all checks."""
    store = house.store()
    store.add_approval(case, Digest(claims_in(raw)["draft"]), digest_of(raw), raw)
    store.close()


def enrolled(house: House, *reviewers: Reviewer, **members: Any) -> None:
    """A newer keyset with these reviewers too."""
    keys = [house.platform.key(Role.REVIEWER, one.name, one.secret.public, **members) for one in reviewers]
    house.platform.keyset_raw = house.platform.sign_keyset(2, (*house.platform.keys, *keys))


async def test_one_reviewer_twice_is_one(house: House, drafted: tuple[Worker, CaseId]) -> None:
    worker, case = drafted
    await house.approve(case, "carol")
    with pytest.raises(Refused) as refused:
        await house.approve(case, "carol")
    assert refused.value.reason == "one twice"
    slip(house, case, house.platform.carol.approval(case, draft_of(house, case).digest))
    await stays(house, worker, case)


async def test_one_reviewer_with_two_keys_is_one(house: House, drafted: tuple[Worker, CaseId]) -> None:
    _, case = drafted
    second = Reviewer(house.platform, "carol")
    enrolled(house, second)
    draft = draft_of(house, case)
    raws = [one.approval(case, draft.digest) for one in (house.platform.carol, second)]
    assert len(counted(raws, draft, house.platform.keyset, house.now)) == 1
    raws.append(house.platform.dave.approval(case, draft.digest))
    assert len(counted(raws, draft, house.platform.keyset, house.now)) == 2


async def test_approvals_that_do_not_count(house: House, drafted: tuple[Worker, CaseId]) -> None:
    worker, case = drafted
    draft = draft_of(house, case)
    stranger, ended, early = (Reviewer(house.platform, name) for name in ("mallory", "erin", "frank"))
    past, future = numeric(house.now) - 60, numeric(house.now) + 60
    told = [
        house.platform.key(Role.REVIEWER, ended.name, ended.secret.public, until=past),
        house.platform.key(Role.REVIEWER, early.name, early.secret.public, since=future),
    ]
    house.platform.keyset_raw = house.platform.sign_keyset(2, (*house.platform.keys, *told))
    operator = Reviewer(house.platform, "alice", house.platform.alice.secret)
    bent = [
        stranger.approval(case, draft.digest),
        operator.approval(case, draft.digest),
        ended.approval(case, draft.digest),
        ended.approval(case, draft.digest, house.now - timedelta(minutes=2)),  # signed while it counted, or so it says
        early.approval(case, draft.digest),
        house.platform.carol.approval(case, Digest("0" * 64)),
        house.platform.carol.approval(CaseId("01a00000-0000-8000-8000-000000000000"), draft.digest),
        house.platform.carol.approval(case, draft.digest, house.now + limits.LEEWAY + timedelta(seconds=1)),
        house.platform.carol.approval(case, draft.digest)[:-4] + b"AAAA",
        b"nothing",
    ]
    assert counted(bent, draft, house.platform.keyset, house.now) == ()
    for raw in (bent[0], bent[1]):
        slip(house, case, raw)
    await stays(house, worker, case)


async def test_who_is_not_in_the_keyset_can_neither_look_nor_approve(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    _, case = drafted
    draft = draft_of(house, case).digest
    for secret, code in (
        (Ed25519Secret.generate(), "key-unknown"),
        (house.platform.alice.secret, "key-role"),
        (house.platform.desk.secret, "key-role"),
    ):
        async with house.reviewing() as review:
            with pytest.raises(Refused) as refused:
                review.show(case, secret, house.now)
            assert refused.value.code == code
            with pytest.raises(Refused) as refused:
                review.approve(case, draft, secret, house.now)
            assert refused.value.code == code
    house.now += timedelta(days=399, hours=23)
    async with house.reviewing() as review:
        house.now += timedelta(days=1)
        with pytest.raises(Refused) as refused:
            review.show(case, house.platform.carol.secret, house.now)
    assert refused.value.code == "key-not-active"
    assert house.events("particulars.opened") == []


async def test_each_look_is_logged_with_the_reviewer_s_name(house: House, drafted: tuple[Worker, CaseId]) -> None:
    _, case = drafted
    async with house.reviewing() as review:
        found = review.show(case, house.platform.dave.secret, house.now)
    assert found.particulars.facts == "The account sold stolen cards."
    (event,) = house.events("particulars.opened")
    assert (event["case"], event["reviewer"]) == (case, "dave")


async def test_a_draft_that_changed_is_not_approved_under_its_old_digest(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    worker, case = drafted
    old = draft_of(house, case).digest
    await house.approve(case, "carol")
    async with house.reviewing() as review:
        new = review.narrow(case, [Category.IDENTIFICATION], "", house.platform.dave.secret, house.now)
        for typed in (old, old[:8], "", new.digest[:7]):
            with pytest.raises(Refused) as refused:
                review.approve(case, typed, house.platform.carol.secret, house.now)
            assert refused.value.reason == "other draft"
    slip(house, case, house.platform.carol.approval(case, old))
    await stays(house, worker, case)


async def test_narrowing_withholds_and_its_maker_counts_as_one(house: House, drafted: tuple[Worker, CaseId]) -> None:
    worker, case = drafted
    async with house.reviewing() as review:
        new = review.narrow(
            case, [Category.IDENTIFICATION], "Not proportionate.", house.platform.dave.secret, house.now
        )
        assert {one.category for one in new.records} == {Category.SUBSCRIBER}
        _, count = review.approve(case, new.digest[:8].upper(), house.platform.carol.secret, house.now)
    assert count == 2
    await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert (decided.outcome, decided.categories) == (Outcome.PARTLY_DISCLOSED, (Category.SUBSCRIBER,))
    sealed = next(one.sealed for one in house.said if one.sealed is not None)
    assert unseal_bytes(sealed, [house.officer.identity]) == b"Not proportionate."


@pytest.mark.parametrize(
    ("withhold", "code"),
    [
        pytest.param(BOTH, "impossible", id="nothing would be left"),
        pytest.param((Category.CONTENT,), "category-not-allowed", id="not granted"),
    ],
)
async def test_what_cannot_be_narrowed(
    house: House, drafted: tuple[Worker, CaseId], withhold: tuple[Category, ...], code: str
) -> None:
    _, case = drafted
    with pytest.raises(Refused) as refused:
        narrowed(draft_of(house, case), withhold, "", b"s" * 16)
    assert refused.value.code == code


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CLARIFICATION_NEEDED])
async def test_a_refusal_or_question_by_two_reviewers_leaves_with_its_ground(
    house: House, drafted: tuple[Worker, CaseId], outcome: Outcome
) -> None:
    worker, case = drafted
    async with house.reviewing() as review:
        make = review.refuse if outcome is Outcome.REFUSED else review.clarify
        new = make(case, "insufficient-information", "", house.platform.dave.secret, house.now)
        assert new.explanation.startswith("The order is incomplete")
        assert (new.records, new.granted, new.accounts) == ((), (), 0)
    await house.settle(worker)
    assert house.case(case).state is State.IN_REVIEW
    await house.approve(case, "carol")
    await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert (decided.outcome, decided.ground) == (outcome, "insufficient-information")
    assert (decided.disclosures, decided.draft) == ((), new.digest)
    assert house.put == {}


async def test_a_ground_of_another_law_or_a_text_too_long_makes_no_draft(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    _, case = drafted
    secret = house.platform.carol.secret
    async with house.reviewing() as review:
        with pytest.raises(Refused) as refused:
            review.refuse(case, "because", "", secret, house.now)
        assert refused.value.code == "invalid-member"
        with pytest.raises(Refused) as refused:
            review.refuse(case, "impossible", "x" * 10_001, secret, house.now)
        assert refused.value.code == "too-large"


async def test_nothing_is_drafted_or_approved_when_nothing_is_owed(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    worker, case = drafted
    await house.approve(case, "carol", "dave")
    digest = draft_of(house, case).digest
    await house.settle(worker)
    secret = house.platform.carol.secret
    async with house.reviewing() as review:
        with pytest.raises(Refused) as refused:
            review.refuse(case, "impossible", "", secret, house.now)
        assert refused.value.reason == "no duty"
        with pytest.raises(Refused) as refused:
            review.approve(case, digest, secret, house.now)
        assert refused.value.reason == "no draft"
        with pytest.raises(Refused) as refused:
            review.show(CaseId("01a00000-0000-8000-8000-000000000000"), secret, house.now)
        assert refused.value.code == "not-found"


async def test_narrowing_needs_a_draft(house: House) -> None:
    await house.admitted()
    case = await house.request(targets=("@nobody",))
    async with house.worker() as worker:
        await worker.receive(timedelta(0))
        async with house.reviewing() as review:
            with pytest.raises(Refused) as refused:
                review.narrow(case, [Category.SUBSCRIBER], "", house.platform.carol.secret, house.now)
    assert refused.value.reason == "no draft"


async def test_unreadable_particulars_are_not_shown(house: House) -> None:
    await house.admitted()
    case = await house.request(plain=b"{}")
    async with house.worker() as worker:
        await house.settle(worker)
    async with house.reviewing() as review:
        with pytest.raises(Refused) as refused:
            review.show(case, house.platform.carol.secret, house.now)
    assert refused.value.reason == "particulars-malformed"


async def test_a_flagged_draft_is_approved_on_purpose_alone(house: House) -> None:
    await house.admitted()
    case = await house.request()
    house.now += timedelta(hours=2)
    async with house.worker() as worker:
        await house.settle(worker)
        with pytest.raises(Refused) as refused:
            await house.approve(case, "carol")
        assert refused.value.reason == "flagged"
        await house.approve(case, "carol", "dave", despite_flags=True)
        await house.settle(worker)
    assert house.case(case).state is State.ANSWERED


async def test_a_suspension_after_the_draft_stops_approval_and_release_but_not_a_refusal(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    worker, case = drafted
    await house.approve(case, "carol")
    await house.take(house.platform.alice.standing(house.officer.party))
    await house.settle(worker)
    with pytest.raises(Refused) as refused:
        await house.approve(case, "dave", despite_flags=True)
    assert refused.value.code == "authority-not-active"
    slip(house, case, house.platform.dave.approval(case, draft_of(house, case).digest))
    await stays(house, worker, case)
    async with house.reviewing() as review:
        review.refuse(case, "impossible", "", house.platform.carol.secret, house.now)
    await house.approve(case, "dave", despite_flags=True)
    await house.settle(worker)
    assert house.case(case).state is State.ANSWERED


@pytest.mark.parametrize(
    ("told", "code"),
    [
        pytest.param({"case": "01a00000-0000-8000-8000-000000000000"}, "impossible", id="of another case"),
        pytest.param({"request": "0" * 64}, "impossible", id="of another request"),
        pytest.param({"particulars": "0" * 64}, "impossible", id="of other particulars"),
        pytest.param({"granted": (*BOTH, Category.CONTENT)}, "category-not-allowed", id="grants what was not asked"),
        pytest.param({"granted": BOTH[:1]}, "category-not-allowed", id="records beyond what is granted"),
        pytest.param(
            {"records": (RecordSet(category=Category.CONTENT, source="x", columns=(), rows=()),)},
            "category-not-allowed",
            id="records of another category",
        ),
    ],
)
async def test_a_draft_that_is_no_answer_to_its_case_is_refused(
    house: House, drafted: tuple[Worker, CaseId], told: dict[str, Any], code: str
) -> None:
    """Even were it in the file under two genuine approvals."""
    worker, case = drafted
    bent = draft_of(house, case).model_copy(update=told)
    store = house.store()
    with pytest.raises(Refused) as refused:
        checked(bent, file_of(case, store, house.platform.keyset))
    assert refused.value.code == code
    store.put_draft(case, seal_draft(bent, house.platform.desk.recipient), house.now)
    store.close()
    for one in (house.platform.carol, house.platform.dave):
        slip(house, case, one.approval(case, bent.digest))
    await stays(house, worker, case)


async def test_a_draft_exchanged_in_the_file_does_not_open(house: House, drafted: tuple[Worker, CaseId]) -> None:
    worker, case = drafted
    await house.approve(case, "carol", "dave")
    genuine = draft_of(house, case)
    bent = seal_draft(genuine.model_copy(update={"accounts": 2}), house.platform.desk.recipient)
    with pytest.raises(Refused):
        open_draft(SealedDraft(genuine.digest, bent.sealed), [house.platform.desk.identity])
    store = house.store()
    store.put_draft(case, SealedDraft(genuine.digest, bent.sealed), house.now)
    store.close()
    await stays(house, worker, case)


def test_a_draft_s_bytes_are_its_model_and_a_salt_makes_guesses_useless() -> None:
    told: dict[str, Any] = {
        "case": "01a00000-0000-8000-8000-000000000000",
        "request": "0" * 64,
        "particulars": "1" * 64,
        "outcome": Outcome.NO_DATA,
    }
    one, same, other = (Draft(**told, salt=salt * 22) for salt in "aab")
    assert one.to_bytes() == same.to_bytes()
    assert one.digest == same.digest != other.digest
    assert Draft.model_validate_json(one.to_bytes()) == one


async def test_an_approval_is_kept_verbatim_and_named_by_the_decision(
    house: House, drafted: tuple[Worker, CaseId]
) -> None:
    worker, case = drafted
    draft = await house.approve(case, "carol", "dave")
    await house.settle(worker)
    store = house.store()
    raws = store.approvals(case, draft)
    store.close()
    decided = house.case(case).decided
    assert decided is not None
    assert {digest_of(raw) for raw in raws} == set(decided.approvals)
    assert {claims_in(raw)["draft"] for raw in raws} == {draft}
