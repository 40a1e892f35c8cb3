"""Receipts: each promise is checked, and linked to the one before it."""

from datetime import timedelta
from typing import Any

import pytest

from crypto.keys import SecretKey
from crypto.strict import b64url_decode
from protocol.chains import CaseChain, Row
from protocol.ids import Digest, Jti, digest_of, instant, numeric
from protocol.problems import Refused
from protocol.receipts import (
    BEGINNING,
    SALT,
    Link,
    following,
    linked_authority,
    linked_case,
    read_receipt,
    read_rejection,
    stage_of,
    step_of,
)
from protocol.sayings import Receipt
from protocol.statements import read
from protocol.terms import Outcome, Stage
from tests.actors import BENT, DAY, NOW, Bent, Chains, Mallory, Officer, Platform, claims_in

PLATFORM = Platform()
OFFICER = Officer(PLATFORM)
CHAINS = Chains(PLATFORM)
CHAINS.admitted(OFFICER)
CASE = CHAINS.opened(OFFICER).id
CHAINS.take(PLATFORM.desk.acceptance(CHAINS.case(CASE)))
CHAINS.take(PLATFORM.desk.decision(CHAINS.case(CASE), Outcome.DISCLOSED))
CHAINS.note(CASE, Stage.RETRIEVED)
ROWS = CHAINS.case_rows[CASE]
KNOWN = CHAINS.known(OFFICER.party)
GATEWAY = Mallory(PLATFORM.gateway)


def before(row: int) -> CaseChain:
    """The case's chain before a row, counted from 0."""
    return CaseChain.read(ROWS[:row], KNOWN)


def refusal(row: int, receipt: bytes) -> Refused:
    with pytest.raises(Refused) as found:
        before(row).then(Row(receipt, ROWS[row].statement), KNOWN)
    return found.value


def test_a_receipt_says_what_was_taken_where_and_what_is_owed() -> None:
    case = before(1).case
    assert case is not None
    said = read_receipt(ROWS[0].receipt, KNOWN).saying(Receipt)
    assert (said.iss, said.aud, said.case, said.authority) == (PLATFORM.id, OFFICER.party, CASE, None)
    assert (said.seq, said.previous, said.stage) == (1, None, Stage.TAKEN)
    assert (said.of, said.state, said.due) == (case.request.digest, "received", numeric(NOW) + 10 * DAY)
    assert len(b64url_decode(said.salt)) == SALT


def test_receipts_of_one_step_differ_by_their_salt() -> None:
    salts = {claims_in(row.receipt)["salt"] for row in ROWS}
    assert len(salts) == len(ROWS)


def test_each_receipt_names_the_one_before_it() -> None:
    said = [claims_in(row.receipt) for row in ROWS]
    assert [one["seq"] for one in said] == [1, 2, 3, 4]
    assert [one.get("previous") for one in said] == [None, *(digest_of(row.receipt) for row in ROWS[:-1])]
    assert [one["stage"] for one in said] == ["taken", "handed", "answered", "retrieved"]
    assert [one["state"] for one in said] == ["received", "in_review", "answered", "delivered"]
    assert "due" not in said[2]


@pytest.mark.parametrize("row", range(1, 4))
@pytest.mark.parametrize(
    "members",
    [
        {"state": "closed"},
        {"due": numeric(NOW) + 11 * DAY},
        {"seq": 9, "previous": "0" * 64},
        {"previous": "0" * 64, "seq": 2},
        {"case": "01a1ee56-5e00-8644-b836-edcc4521e310"},
        {"aud": "kr-spo"},
        {"stage": "overdue"},
        {"iat": numeric(NOW) - 60},
    ],
    ids=" ".join,
)
def test_a_promise_that_does_not_follow_is_refused(row: int, members: dict[str, Any]) -> None:
    code = refusal(row, GATEWAY.claims(ROWS[row].receipt, **members)).code
    assert code == ("impossible" if (row, "stage" in members) == (3, True) else "receipt-wrong")


@pytest.mark.parametrize("members", [{"state": "in_review"}, {"due": numeric(NOW)}, {"seq": 2, "previous": "0" * 64}])
def test_the_first_promise_follows_from_the_request(members: dict[str, Any]) -> None:
    assert refusal(0, GATEWAY.claims(ROWS[0].receipt, **members)).code == "receipt-wrong"


@pytest.mark.parametrize("row", range(3))
def test_a_receipt_of_another_statement_is_refused(row: int) -> None:
    assert (
        refusal(row, GATEWAY.claims(ROWS[row].receipt, of="0" * 64)).reason == "receipt of another statement or stage"
    )


def test_a_receipt_may_not_drop_its_statement() -> None:
    with pytest.raises(Refused) as found:
        before(1).then(Row(ROWS[1].receipt), KNOWN)
    assert found.value.reason == "handed without a statement"


def test_a_receipt_may_not_gain_a_statement() -> None:
    with pytest.raises(Refused) as found:
        before(3).then(Row(ROWS[3].receipt, OFFICER.withdrawal(CASE)), KNOWN)
    assert found.value.code == "receipt-wrong"


def test_rows_may_not_be_left_out_doubled_or_exchanged() -> None:
    for rows in (ROWS[1:], [ROWS[0], *ROWS[2:]], [ROWS[0], ROWS[0]], [ROWS[0], ROWS[2], ROWS[1]], [*ROWS, ROWS[3]]):
        with pytest.raises(Refused):
            CaseChain.read(rows, KNOWN)


@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
def test_a_bent_receipt_is_refused(bent: Bent) -> None:
    with pytest.raises(Refused) as found:
        read_receipt(bent.bend(GATEWAY, ROWS[0].receipt), KNOWN)
    assert found.value.code == "receipt-wrong"


@pytest.mark.parametrize(
    "secret",
    [PLATFORM.desk.secret, PLATFORM.alice.secret, PLATFORM.root, OFFICER.secret],
    ids=["desk", "operator", "root", "officer"],
)
def test_a_receipt_is_the_gateway_s_alone(secret: SecretKey) -> None:
    forged = Mallory(secret).header(ROWS[0].receipt, kid=secret.public.id)
    assert refusal(0, forged).code == "receipt-wrong"


def test_a_statement_of_another_kind_is_no_receipt() -> None:
    assert ROWS[0].statement is not None
    with pytest.raises(Refused) as found:
        read_receipt(ROWS[0].statement, KNOWN)
    assert found.value.code == "receipt-wrong"


# -- rejections -----------------------------------------------------------------------------------------------------------


def test_a_rejection_is_of_the_statement_that_was_sent() -> None:
    of = digest_of(b"what was sent")
    raw = PLATFORM.rejection(of, OFFICER.party, "key-role")
    assert read_rejection(raw, KNOWN, of).code == "key-role"
    with pytest.raises(Refused) as found:
        read_rejection(raw, KNOWN, digest_of(b"something else"))
    assert found.value.code == "receipt-wrong"


def test_a_rejection_is_the_gateway_s_alone() -> None:
    of = digest_of(b"what was sent")
    secret = PLATFORM.desk.secret
    raw = Mallory(secret).header(PLATFORM.rejection(of, OFFICER.party), kid=secret.public.id)
    with pytest.raises(Refused) as found:
        read_rejection(raw, KNOWN, of)
    assert found.value.code == "receipt-wrong"
    with pytest.raises(Refused):
        read_rejection(ROWS[0].receipt, KNOWN, of)


# -- places in the chain --------------------------------------------------------------------------------------------------


def test_time_in_a_chain_never_goes_back() -> None:
    link = Link.after(read(ROWS[0].receipt, KNOWN, None))
    assert (link.seq, link.previous, link.since) == (2, digest_of(ROWS[0].receipt), NOW)
    assert link.time(NOW - timedelta(days=1)) == NOW
    assert link.time(NOW + timedelta(seconds=1.9)) == NOW + timedelta(seconds=1)
    assert Link().time(NOW) == NOW
    assert instant(0) == BEGINNING


def test_what_is_made_for_a_step_is_what_is_checked() -> None:
    chain, after = before(1), before(2).case
    assert after is not None
    assert ROWS[1].statement is not None
    receipt = read_receipt(ROWS[1].receipt, KNOWN)
    step = step_of(receipt, read(ROWS[1].statement, KNOWN, NOW))
    jti, salt = receipt.said.jti, b64url_decode(receipt.saying(Receipt).salt)
    said = following(chain.link, after, step, platform=PLATFORM.id, jti=Jti(jti), salt=salt)
    assert said == receipt.said


def test_a_receipt_of_a_case_is_none_of_a_registry_and_the_other_way_round() -> None:
    registry = CHAINS.registry_rows[OFFICER.party]
    receipt = read(registry[0].receipt, KNOWN, None)
    assert ROWS[0].statement is not None
    assert registry[0].statement is not None
    request = read(ROWS[0].statement, KNOWN, NOW)
    application = read(registry[0].statement, KNOWN, NOW)
    with pytest.raises(Refused):
        linked_case(Link(), None, receipt, request)
    with pytest.raises(Refused):
        linked_case(Link(), None, receipt, application)
    with pytest.raises(Refused):
        linked_authority(Link(), None, read(ROWS[0].receipt, KNOWN, None), application)
    forged = read(GATEWAY.claims(registry[0].receipt, authority="kr-spo", aud="kr-spo"), KNOWN, None)
    with pytest.raises(Refused) as found:
        linked_authority(Link(), None, forged, application)
    assert found.value.code == "receipt-wrong"


def test_statements_of_a_registry_are_simply_taken() -> None:
    raw = CHAINS.registry_rows[OFFICER.party][0].statement
    assert raw is not None
    assert stage_of(read(raw, KNOWN, NOW)) is Stage.TAKEN
    assert Digest(claims_in(CHAINS.registry_rows[OFFICER.party][0].receipt)["of"]) == digest_of(raw)
