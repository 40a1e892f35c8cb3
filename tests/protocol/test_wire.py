"""The wire: what the API answers is what the record says, and a body is closed."""

import pytest
from pydantic import ValidationError

from protocol import limits
from protocol.ids import numeric
from protocol.terms import Outcome, Stage
from protocol.wire import AuthorityAnswer, CaseAnswer, Limits, ReceiptAnswer, StatementBody
from tests.actors import DAY, NOW, Chains, Officer, Platform, an_answer

PLATFORM = Platform()
OFFICER = Officer(PLATFORM)


def test_a_case_is_answered_as_it_stands() -> None:
    chains = Chains(PLATFORM)
    chains.admitted(OFFICER)
    case = chains.opened(OFFICER)
    answer = CaseAnswer.of(case)
    assert (answer.case, answer.state, answer.received, answer.due) == (
        case.id,
        "received",
        numeric(NOW),
        numeric(NOW) + 10 * DAY,
    )
    assert (answer.outcome, answer.ground, answer.decision, answer.explanation) == (None, None, None, None)
    assert (answer.accepted, answer.overdue, answer.disclosures, answer.steps) == (None, False, (), 1)
    chains.take(PLATFORM.desk.acceptance(case))
    explanation = an_answer(b"why")
    chains.take(PLATFORM.desk.decision(case, Outcome.PARTLY_DISCLOSED, explanation=explanation))
    chains.note(case.id, Stage.RETRIEVED)
    case = chains.case(case.id)
    answer = CaseAnswer.of(case)
    assert case.decision is not None
    assert (answer.state, answer.outcome, answer.decision) == ("delivered", "partly_disclosed", case.decision.digest)
    assert (answer.due, answer.accepted, answer.disclosures, answer.explanation, answer.steps) == (
        None,
        True,
        (an_answer(),),
        explanation,
        4,
    )
    assert CaseAnswer.model_validate_json(answer.model_dump_json()) == answer


def test_a_refusal_is_answered_with_its_ground() -> None:
    chains = Chains(PLATFORM)
    chains.admitted(OFFICER)
    case = chains.opened(OFFICER)
    chains.take(PLATFORM.desk.decision(case, Outcome.REFUSED))
    answer = CaseAnswer.of(chains.case(case.id))
    assert (answer.outcome, answer.ground) == ("refused", "insufficient-information")


def test_an_authority_is_answered_as_it_stands() -> None:
    chains = Chains(PLATFORM)
    chains.take(OFFICER.application())
    chains.take(PLATFORM.alice.admission(chains.authority(OFFICER.party)))
    authority = chains.authority(OFFICER.party)
    answer = AuthorityAnswer.of(authority)
    assert (answer.authority, answer.state, answer.confirmations) == (OFFICER.party, "pending", 1)
    assert answer.application == authority.application.digest


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"statement": ""},
        {"statement": 7},
        {"statement": "a.b.c", "more": 1},
        {"statement": "x" * (limits.STATEMENT + 1)},
        {"statement": "a.b.c", "sealed": "A" * (limits.SEALED * 4 // 3 + 5)},
    ],
)
def test_a_body_is_a_statement_and_a_sealed_part_and_no_more(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StatementBody.model_validate(body)


def test_an_answer_may_say_more_than_an_older_client_knows() -> None:
    assert ReceiptAnswer.model_validate({"receipt": "a.b.c", "news": 1}).receipt == "a.b.c"
    with pytest.raises(ValidationError):
        ReceiptAnswer.model_validate({"receipt": "a.b"})


def test_the_limits_are_told_in_bytes_and_seconds() -> None:
    told = Limits()
    assert (told.body, told.attachment, told.fresh, told.proof) == (262_144, 67_108_864, 300, 60)
