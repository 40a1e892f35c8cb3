import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto.keys import Ed25519Secret
from gateway.intake import Ask
from gateway.store import StoreError
from protocol.authorities import Registration
from protocol.cases import State
from protocol.chains import RegistryChain
from protocol.ids import CaseId, Digest, digest_of
from protocol.problems import Refused
from protocol.receipts import read_rejection
from protocol.sayings import Blob
from protocol.terms import Category, Outcome, Stage, Standing
from tests.actors import BENT, Bent, Mallory, Officer, Platform, claims_in
from tests.gateway.heart import FROM_DESK, Heart, beating

A_BLOB = digest_of(b"a blob")


@pytest.fixture
async def heart(tmp_path: Path) -> AsyncIterator[Heart]:
    async with beating(tmp_path, Platform()) as one:
        yield one


@pytest.fixture
async def officer(heart: Heart) -> Officer:
    return await heart.admitted(Officer(heart.platform))


async def refusal(heart: Heart, raw: bytes, sealed: bytes | None = None, ask: Ask | None = None) -> Refused:
    """The refusal of a statement, after which the store holds what it held before."""
    before = await heart.store.counts()
    with pytest.raises(Refused) as refused:
        await heart.intake.take(raw, sealed, heart.clock.now(), ask or Ask(frozenset(_all_kinds())))
    assert await heart.store.counts() == before
    return refused.value


def _all_kinds() -> list[str]:
    return ["rogatory-request+jwt", "rogatory-supplement+jwt", "rogatory-withdrawal+jwt", "rogatory-acknowledgement+jwt",
            "rogatory-application+jwt", "rogatory-admission+jwt", "rogatory-standing+jwt", "rogatory-rekey+jwt",
            "rogatory-acceptance+jwt", "rogatory-decision+jwt"]  # fmt: skip


async def test_an_authority_counts_after_two_confirmations(heart: Heart) -> None:
    officer = Officer(heart.platform)
    await heart.take(officer.application())
    sent = officer.request()
    assert (await refusal(heart, *sent)).code == "authority-not-active"
    found = heart.registry.find(officer.party)
    assert found is not None
    await heart.take(heart.platform.alice.admission(found))
    assert (await refusal(heart, *sent)).code == "authority-not-active"
    assert (await refusal(heart, heart.platform.alice.admission(found))).code == "impossible"
    await heart.take(heart.platform.bob.admission(found))
    assert (await heart.take(*sent)).new


async def test_a_receipt_says_what_was_taken_and_when_the_answer_is_owed(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    taken = await heart.take(*sent)
    said = claims_in(taken.receipt)
    assert said["of"] == digest_of(sent.statement)
    assert (said["seq"], said["stage"], said["state"], said["case"]) == (1, "taken", "received", taken.chain)
    assert said["due"] - said["iat"] == 10 * 86_400
    assert heart.spent[-1] == officer.party


async def test_the_same_bytes_get_the_same_receipt_even_when_stale_or_suspended(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    first = await heart.take(*sent)
    heart.clock.at += timedelta(days=3)
    await heart.take(heart.platform.alice.standing(officer.party, now=heart.clock.now()))
    again = await heart.take(*sent)
    assert (again.receipt, again.new, again.chain) == (first.receipt, False, first.chain)


async def test_fifty_of_the_same_at_once_make_one_case(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    before = await heart.store.counts()
    taken = await asyncio.gather(*(heart.take(*sent) for _ in range(50)))
    after = await heart.store.counts()
    assert {one.receipt for one in taken} == {taken[0].receipt}
    assert sum(one.new for one in taken) == 1
    assert {name: after[name] - before[name] for name in after} == {
        "rows": 1, "authorities": 0, "cases": 1, "sealed": 1, "blobs": 0, "outbox": 1, "acceptances": 0
    }  # fmt: skip


async def test_other_bytes_under_a_used_jti_are_refused(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    await heart.take(*sent)
    other = officer.request(members={"jti": claims_in(sent.statement)["jti"]}, subjects=2)
    assert (await refusal(heart, *other)).code == "jti-reused"


@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
async def test_what_is_bent_is_refused_and_leaves_nothing(heart: Heart, officer: Officer, bent: Bent) -> None:
    sent = officer.request()
    refused = await refusal(heart, bent.bend(Mallory(officer.secret), sent.statement), sent.sealed)
    assert refused.code in {bent.code, "invalid-member", "missing-member"}


async def test_age_is_judged_at_the_door_alone(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    heart.clock.at += timedelta(minutes=5)
    assert (await refusal(heart, *sent)).code == "stale"
    assert (await heart.take(*sent, ask=FROM_DESK)).new
    ahead = officer.request(now=heart.clock.now() + timedelta(seconds=62))
    assert (await refusal(heart, *ahead)).code == "from-the-future"
    within = officer.request(now=heart.clock.now() + timedelta(seconds=60))
    assert (await heart.take(*within)).new


async def test_the_sealed_part_must_be_the_one_that_was_signed(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    assert (await refusal(heart, sent.statement, None)).code == "sealed-missing"
    assert (await refusal(heart, sent.statement, sent.sealed + b"x")).code == "digest-mismatch"
    assert (await refusal(heart, officer.withdrawal(await heart.request(officer)), b"x")).code == "sealed-unexpected"


async def test_a_refusal_of_an_authenticated_statement_is_signed(heart: Heart, officer: Officer) -> None:
    sent = officer.request(framework="xx.unknown")
    refused = await refusal(heart, *sent)
    assert refused.code == "framework-unknown"
    assert refused.rejection is not None
    said = read_rejection(refused.rejection, heart.registry, digest_of(sent.statement))
    assert (said.code, said.aud) == ("framework-unknown", officer.party)
    forged = await refusal(heart, Mallory.flipped(officer.request().statement, 2))
    assert forged.rejection is None


@pytest.mark.parametrize(
    ("cover", "code"),
    [
        ({"framework": "eu.nothing"}, "framework-unknown"),
        ({"entity": "nowhere"}, "entity-unknown"),
        ({"blobs": (Blob(sha256=A_BLOB, size=6),)}, "blob-missing"),
    ],
)
async def test_a_cover_that_cannot_be_is_refused(
    heart: Heart, officer: Officer, cover: dict[str, object], code: str
) -> None:
    recipients = [heart.platform.desk.recipient]
    sent = officer.request(recipients=recipients, **cover)  # type: ignore[arg-type]
    assert (await refusal(heart, *sent)).code == code


async def test_particulars_sealed_to_a_key_that_is_not_the_desks_are_refused(heart: Heart, officer: Officer) -> None:
    sent = officer.request(recipients=[officer.recipient])
    assert (await refusal(heart, *sent)).code == "recipient-unknown"


async def test_a_blob_must_be_of_its_size_and_its_sender(heart: Heart, officer: Officer) -> None:
    await heart.store.blob_stored(A_BLOB, 6, officer.party, heart.clock.now())
    wrong = officer.request(blobs=(Blob(sha256=A_BLOB, size=7),))
    assert (await refusal(heart, *wrong)).code == "blob-missing"
    other = await heart.admitted(Officer(heart.platform, "de-bka", country="DE"))
    foreign = other.request(blobs=(Blob(sha256=A_BLOB, size=6),))
    assert (await refusal(heart, *foreign)).code == "blob-missing"
    right = officer.request(blobs=(Blob(sha256=A_BLOB, size=6),))
    taken = await heart.take(*right)
    found = await heart.store.blob(A_BLOB)
    assert found is not None
    assert found.case == taken.chain


async def test_another_authoritys_case_does_not_exist(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    other = await heart.admitted(Officer(heart.platform, "de-bka", country="DE"))
    assert (await refusal(heart, other.withdrawal(case_id))).code == "not-found"
    unknown = CaseId("01a1ee56-5e00-8435-84e2-11ddd12d67ab")
    assert (await refusal(heart, other.withdrawal(unknown))).code == "not-found"


async def test_the_address_must_name_the_chain(heart: Heart, officer: Officer) -> None:
    one, two = await heart.request(officer), await heart.request(officer)
    ask = Ask(frozenset(_all_kinds()), chain=two)
    assert (await refusal(heart, officer.withdrawal(one), None, ask)).code == "not-found"


async def test_a_kind_that_is_not_taken_here_is_refused(heart: Heart, officer: Officer) -> None:
    ask = Ask(frozenset({"rogatory-application+jwt"}))
    assert (await refusal(heart, *officer.request(), ask)).code == "type-refused"


async def test_the_whole_life_of_a_case(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer, categories=(Category.SUBSCRIBER, Category.TRAFFIC))
    desk = heart.platform.desk
    await heart.take(desk.acceptance(await heart.case(case_id)), ask=FROM_DESK)
    assert (await heart.case(case_id)).state is State.IN_REVIEW
    await heart.store.blob_stored(digest_of(b"sealed records"), 14, heart.platform.id, heart.clock.now())
    await heart.take(desk.decision(await heart.case(case_id), Outcome.DISCLOSED), ask=FROM_DESK)
    assert (await heart.case(case_id)).state is State.ANSWERED
    await heart.intake.retrieved(case_id, digest_of(b"sealed records"), digest_of(b"proof"), heart.clock.now())
    assert (await heart.case(case_id)).state is State.DELIVERED
    await heart.intake.retrieved(case_id, digest_of(b"sealed records"), digest_of(b"proof"), heart.clock.now())
    await heart.take(officer.acknowledgement(await heart.case(case_id)))
    assert (await heart.case(case_id)).state is State.CLOSED
    assert [claims_in(row.receipt)["seq"] for row in await heart.store.chain(case_id)] == [1, 2, 3, 4, 5]


async def test_a_decision_after_a_withdrawal_is_refused(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    decision = heart.platform.desk.decision(await heart.case(case_id), Outcome.NO_DATA)
    await heart.take(officer.withdrawal(case_id))
    refused = await refusal(heart, decision, None, FROM_DESK)
    assert refused.code == "impossible"
    assert refused.rejection is not None


async def test_racing_statements_of_one_case_all_find_their_place(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    sent = [officer.supplement(case_id) for _ in range(8)]
    taken = await asyncio.gather(*(heart.take(*one) for one in sent))
    assert sorted(claims_in(one.receipt)["seq"] for one in taken) == list(range(2, 10))
    assert (await heart.case(case_id)).steps == 9


async def test_a_chain_that_is_too_busy_says_so(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    results = await asyncio.gather(
        *(heart.take(*officer.supplement(case_id)) for _ in range(40)), return_exceptions=True
    )
    refused = [one for one in results if isinstance(one, Refused)]
    assert {one.code for one in refused} <= {"overloaded"}
    assert (await heart.case(case_id)).steps == 41 - len(refused)


async def test_a_stage_is_noted_once_and_only_when_it_is_due(heart: Heart, officer: Officer) -> None:
    case_id = await heart.request(officer)
    cause = Digest("0" * 64)
    assert await heart.intake.note(case_id, Stage.OVERDUE, cause, heart.clock.now()) is None
    heart.clock.at += timedelta(days=10)
    receipt = await heart.intake.note(case_id, Stage.OVERDUE, cause, heart.clock.now())
    assert receipt is not None
    assert claims_in(receipt)["stage"] == "overdue"
    assert await heart.intake.note(case_id, Stage.OVERDUE, cause, heart.clock.now()) is None
    unknown = CaseId("01a1ee56-5e00-8435-84e2-11ddd12d67ab")
    assert await heart.intake.note(unknown, Stage.OVERDUE, cause, heart.clock.now()) is None
    await heart.intake.retrieved(unknown, cause, cause, heart.clock.now())


async def test_an_authority_of_the_same_id_is_taken(heart: Heart, officer: Officer) -> None:
    impostor = Officer(heart.platform, officer.name)
    assert (await refusal(heart, impostor.application())).code == "authority-exists"


async def test_a_key_has_one_holder_for_ever(heart: Heart, officer: Officer) -> None:
    thief = Officer(heart.platform, "de-bka", secret=officer.secret, country="DE")
    assert (await refusal(heart, thief.application())).code == "invalid-member"


async def test_new_keys_count_at_once_and_old_ones_no_more(heart: Heart, officer: Officer) -> None:
    old, new = officer.request(), Ed25519Secret.generate()
    taken = await heart.take(*officer.request())
    heart.clock.at += timedelta(seconds=10)
    await heart.take(officer.rekey(new, now=heart.clock.now()))
    heart.clock.at += timedelta(seconds=1)
    assert (await refusal(heart, *old)).code == "key-not-active"
    assert (await heart.case(CaseId(taken.chain))).state is State.RECEIVED
    officer.secret = new
    assert (await heart.take(*officer.request(now=heart.clock.now()))).new


@pytest.mark.parametrize("standing", [Standing.SUSPENDED, Standing.REVOKED])
async def test_a_suspended_authority_asks_nothing(heart: Heart, officer: Officer, standing: Standing) -> None:
    await heart.take(heart.platform.bob.standing(officer.party, standing))
    refused = await refusal(heart, *officer.request())
    assert (refused.code, refused.detail) == ("authority-not-active", f"The authority is {standing}.")


async def test_after_a_restart_the_registry_is_what_it_was(tmp_path: Path) -> None:
    platform = Platform()
    async with beating(tmp_path, platform) as heart:
        officer = await heart.admitted(Officer(platform))
        case_id = await heart.request(officer)
    async with beating(tmp_path, platform) as heart:
        found = heart.registry.find(officer.party)
        assert found is not None
        assert found.state is Registration.ACTIVE
        assert [one.id for one in heart.registry.all()] == [officer.party]
        assert (await heart.case(case_id)).state is State.RECEIVED
        assert (await heart.take(*officer.request())).new


async def test_a_failed_commit_fails_its_waiters_and_a_retry_gives_one_case(
    heart: Heart, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = officer.request()
    real = heart.store.append

    async def broken(_commits: object) -> list[bool]:
        raise StoreError("disk-full")

    monkeypatch.setattr(heart.store, "append", broken)
    refused = await refusal(heart, *sent)
    assert (refused.code, refused.wait, refused.rejection) == ("not-durable", 1, None)
    monkeypatch.setattr(heart.store, "append", real)
    assert (await heart.take(*sent)).new


async def test_an_empty_registry_chain_is_a_programmers_error(heart: Heart) -> None:
    with pytest.raises(RuntimeError):
        heart.registry.put(RegistryChain())


async def test_forged_bytes_under_a_used_jti_learn_nothing_of_it(heart: Heart, officer: Officer) -> None:
    sent = officer.request()
    await heart.take(*sent)
    forged = Mallory.flipped(sent.statement, 2)
    assert (await refusal(heart, forged, sent.sealed)).code == "signature-invalid"


async def test_a_blob_that_the_sweep_may_take_is_as_one_that_is_gone(heart: Heart, officer: Officer) -> None:
    await heart.store.blob_stored(A_BLOB, 6, officer.party, heart.clock.now())
    heart.clock.at += timedelta(hours=23, minutes=55)
    named = (Blob(sha256=A_BLOB, size=6),)
    assert (await refusal(heart, *officer.request(now=heart.clock.now(), blobs=named))).code == "blob-missing"
    await heart.store.blob_stored(A_BLOB, 6, officer.party, heart.clock.now())
    assert (await heart.take(*officer.request(now=heart.clock.now(), blobs=named))).new


async def test_a_request_and_a_rekey_in_one_second_leave_the_case_readable(heart: Heart, officer: Officer) -> None:
    taken = await heart.take(*officer.request())
    await heart.take(officer.rekey(Ed25519Secret.generate(), now=heart.clock.now()))
    assert (await heart.case(CaseId(taken.chain))).state is State.RECEIVED


async def test_a_suspension_whose_commit_seemed_to_fail_is_applied_when_it_comes_again(
    heart: Heart, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = heart.store.append

    async def ambiguous(commits: Any) -> list[bool]:
        await real(commits)
        raise StoreError("connection-lost")

    raw = heart.platform.alice.standing(officer.party)
    monkeypatch.setattr(heart.store, "append", ambiguous)
    with pytest.raises(Refused) as refused:
        await heart.take(raw)
    assert refused.value.code == "not-durable"
    monkeypatch.setattr(heart.store, "append", real)
    assert not (await heart.take(raw)).new
    assert (await refusal(heart, *officer.request())).code == "authority-not-active"


async def test_a_blob_of_one_case_is_not_named_in_another(heart: Heart, officer: Officer) -> None:
    await heart.store.blob_stored(A_BLOB, 6, officer.party, heart.clock.now())
    named = (Blob(sha256=A_BLOB, size=6),)
    await heart.take(*officer.request(blobs=named))
    assert (await refusal(heart, *officer.request(blobs=named))).code == "blob-missing"


async def test_a_hostile_place_in_a_refusal_is_left_out_of_the_rejection(heart: Heart, officer: Officer) -> None:
    new = Ed25519Secret.generate()
    raw = officer.rekey(new, now=heart.clock.now())
    inner = Mallory(new).claims(claims_in(raw)["inner"].encode(), **{"x" * 300: 1})
    bent = Mallory(officer.secret).claims(raw, inner=inner.decode())
    refused = await refusal(heart, bent)
    assert refused.code == "unknown-member"
    assert refused.rejection is not None
    assert "member" not in claims_in(refused.rejection)
