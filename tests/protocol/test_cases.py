"""A case is the list of its statements: which may follow which, what is owed when, and that nothing else ever happens."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from crypto.keys import Ed25519Secret
from protocol import cases, limits
from protocol.cases import OPEN, POSSIBLE, Case, State, advance, chain_of, fold, opened_by, stage_of
from protocol.chains import CaseChain
from protocol.ids import CaseId, Digest, digest_of
from protocol.problems import Refused
from protocol.procedures import PROCEDURES
from protocol.receipts import Link, linked_case, step_of
from protocol.sayings import Receipt
from protocol.statements import Statement, Step, read
from protocol.terms import Category, Outcome, Stage, Urgency
from tests.actors import NOW, Chains, Officer, Platform, an_answer, everything_said, part_of

PLATFORM = Platform(entities=("main", "eu"))
DESK = PLATFORM.desk
OFFICER = Officer(PLATFORM)
REGISTRY = Chains(PLATFORM)
REGISTRY.admitted(OFFICER)
OTHER = Officer(PLATFORM, "kr-spo")
REGISTRY.admitted(OTHER)
CODES = {
    "impossible",
    "not-found",
    "jti-reused",
    "category-not-allowed",
    "invalid-member",
    "wrong-audience",
    "key-role",
}


def gateway() -> Chains:
    """A gateway that knows both authorities."""
    chains = Chains(PLATFORM)
    chains.registry = dict(REGISTRY.registry)
    return chains


class Story:
    """One case, told move by move."""

    def __init__(self, **request: Any) -> None:
        self.chains = gateway()
        self.id = self.chains.opened(OFFICER, **request).id
        self.at = NOW

    @property
    def case(self) -> Case:
        return self.chains.case(self.id)

    def take(self, raw: bytes) -> Case:
        self.chains.take(raw, self.at)
        return self.case

    def note(self, stage: Stage) -> Case:
        self.chains.note(self.id, stage, now=self.at)
        return self.case

    def refusal(self, move: Callable[[], object]) -> Refused:
        before = self.case
        with pytest.raises(Refused) as found:
            move()
        assert self.case == before
        return found.value

    # what each side can do, by name

    def accept(self) -> Case:
        return self.take(DESK.acceptance(self.case))

    def decline(self) -> Case:
        return self.take(DESK.acceptance(self.case, "particulars-unreadable"))

    def decide(self, outcome: Outcome, **members: Any) -> Case:
        return self.take(DESK.decision(self.case, outcome, **members))

    def disclose(self) -> Case:
        return self.decide(Outcome.DISCLOSED)

    def find_nothing(self) -> Case:
        return self.decide(Outcome.NO_DATA)

    def ask(self) -> Case:
        return self.decide(Outcome.CLARIFICATION_NEEDED)

    def supplement(self) -> Case:
        return self.take(OFFICER.supplement(self.id).statement)

    def withdraw(self) -> Case:
        return self.take(OFFICER.withdrawal(self.id))

    def acknowledge(self) -> Case:
        return self.take(OFFICER.acknowledgement(self.case))

    def complain(self) -> Case:
        return self.take(OFFICER.acknowledgement(self.case, "digest-mismatch"))

    def fetch(self) -> Case:
        return self.note(Stage.RETRIEVED)

    def call_overdue(self) -> Case:
        return self.note(Stage.OVERDUE)


def told(*moves: str) -> Story:
    """A case after these moves."""
    story = Story()
    for move in moves:
        getattr(story, move)()
    return story


TO: dict[str, tuple[str, ...]] = {
    "received": (),
    "in_review": ("accept",),
    "clarification": ("accept", "ask"),
    "answered": ("accept", "disclose"),
    "answered without data": ("accept", "find_nothing"),
    "delivered": ("accept", "disclose", "fetch"),
    "closed": ("accept", "disclose", "fetch", "acknowledge"),
    "withdrawn": ("withdraw",),
}
R, V, C, A, D, Z, W = State
# Each row: what may follow in that state, and the state that it leads to. What does not stand here is refused.
TABLE: dict[str, dict[str, State]] = {
    "received": {"accept": V, "decline": V, "disclose": A, "find_nothing": A, "ask": C, "supplement": R, "withdraw": W},
    "in_review": {"disclose": A, "find_nothing": A, "ask": C, "supplement": V, "withdraw": W},
    "clarification": {"supplement": V, "withdraw": W},
    "answered": {"withdraw": W, "acknowledge": Z, "complain": V, "fetch": D},
    "answered without data": {"withdraw": W, "acknowledge": Z, "complain": V},
    "delivered": {"acknowledge": Z, "complain": V},
    "closed": {},
    "withdrawn": {"accept": W, "decline": W},
}
MOVES = (
    "accept", "decline", "disclose", "find_nothing", "ask", "supplement",
    "withdraw", "acknowledge", "complain", "fetch", "call_overdue",
)  # fmt: skip


@pytest.mark.parametrize("before", TABLE)
@pytest.mark.parametrize("move", MOVES)
def test_what_may_follow_in_each_state_and_what_it_leads_to(before: str, move: str) -> None:
    story = told(*TO[before])
    assert story.case.state == before.split(" ", maxsplit=1)[0]
    after = TABLE[before].get(move)
    if after is None:
        assert story.refusal(getattr(story, move)).code == "impossible"
    else:
        assert getattr(story, move)().state is after


def test_a_case_is_opened_by_a_request() -> None:
    story = Story()
    case = story.case
    assert (case.state, case.authority, case.received, case.steps) == (State.RECEIVED, OFFICER.party, NOW, 1)
    assert case.id == chain_of(case.request)
    assert (case.accepted, case.decision, case.decided, case.disclosures) == (None, None, None, ())
    assert case.sealed == (case.asked.particulars,)


def test_nothing_but_a_request_opens_a_case() -> None:
    said, known = everything_said(PLATFORM, OFFICER)
    for typ, raw in said.items():
        if typ in {"rogatory-request+jwt", "rogatory-keyset+jwt"}:
            continue
        statement = read(raw, known, NOW)
        with pytest.raises(Refused) as found:
            advance(None, Step(Stage.TAKEN, NOW, statement.digest, statement))
        assert found.value.code == "not-found"
    for stage in Stage:
        with pytest.raises(Refused):
            advance(None, Step(stage, NOW, digest_of(b"")))
    with pytest.raises(Refused) as found:
        fold([])
    assert found.value.code == "not-found"


def test_a_second_request_is_a_case_of_its_own() -> None:
    story = Story()
    statement = story.chains.read(OFFICER.request().statement)
    with pytest.raises(Refused) as found:
        advance(story.case, Step(Stage.TAKEN, NOW, statement.digest, statement))
    assert found.value.code == "impossible"


def test_what_is_of_no_case_is_refused() -> None:
    said, known = everything_said(PLATFORM, OFFICER)
    of_cases = {"request", "supplement", "withdrawal", "acknowledgement", "acceptance", "decision"}
    for typ, raw in said.items():
        if typ == "rogatory-keyset+jwt" or typ.removeprefix("rogatory-").removesuffix("+jwt") in of_cases:
            continue
        statement = read(raw, known, NOW)
        with pytest.raises(Refused) as found:
            chain_of(statement)
        assert found.value.code == "type-refused"
        with pytest.raises(Refused) as found:
            advance(Story().case, Step(Stage.TAKEN, NOW, statement.digest, statement))
        assert found.value.code == "impossible"


def test_an_acceptance_of_the_registry_is_of_no_case() -> None:
    story = Story()
    statement = story.chains.read(DESK.registered(OFFICER.party, Digest("0" * 64)))
    with pytest.raises(Refused) as found:
        advance(story.case, Step(Stage.HANDED, NOW, statement.digest, statement))
    assert found.value.code == "type-refused"


# -- who, to whom, and of which case --------------------------------------------------------------------------------------


def step_in(case: Case, statement: Statement) -> Refused:
    with pytest.raises(Refused) as found:
        advance(case, Step(stage_of(statement), NOW, statement.digest, statement))
    return found.value


def test_a_statement_of_one_case_is_not_taken_in_another() -> None:
    mine, another = told("accept", "disclose"), told("accept", "disclose")
    reviewed = told("accept")
    for case, raw in (
        (reviewed.case, OFFICER.supplement(another.id).statement),
        (mine.case, OFFICER.withdrawal(another.id)),
        (mine.case, OFFICER.acknowledgement(mine.case, case=another.id)),
        (mine.case, DESK.acceptance(mine.case, case=another.id)),
        (reviewed.case, DESK.decision(another.case, Outcome.NO_DATA)),
    ):
        assert step_in(case, mine.chains.read(raw)).code == "not-found"


def test_another_authority_says_nothing_in_a_case() -> None:
    story, answered = Story(), told("accept", "disclose")
    for case, raw in (
        (story.case, OTHER.supplement(story.id).statement),
        (story.case, OTHER.withdrawal(story.id)),
        (answered.case, OTHER.acknowledgement(answered.case)),
    ):
        assert step_in(case, story.chains.read(raw)).code == "not-found"


def test_the_desk_answers_who_asked() -> None:
    story = Story()
    for raw in (
        DESK.acceptance(story.case, aud=OTHER.party),
        DESK.decision(story.case, Outcome.NO_DATA, aud=OTHER.party),
        DESK.decision(story.case, Outcome.NO_DATA, aud=PLATFORM.id),
    ):
        statement = read(raw, story.chains.known(OFFICER.party), NOW)
        assert step_in(story.case, statement).code == "wrong-audience"


def test_the_desk_of_another_entity_says_nothing_in_a_case() -> None:
    eu = PLATFORM.desks["eu"]
    story = Story()
    for raw in (eu.acceptance(story.case), eu.decision(story.case, Outcome.NO_DATA)):
        assert story.refusal(lambda raw=raw: story.take(raw)).code == "key-role"  # type: ignore[misc]
    addressed = Story(entity="eu")
    assert addressed.refusal(addressed.accept).code == "key-role"
    assert addressed.take(eu.acceptance(addressed.case)).state is State.IN_REVIEW


def test_the_same_statement_is_not_taken_twice() -> None:
    """Else who carries a clarification could stop the clock with it again, and reopen it with an old supplement."""
    story = told("accept")
    asked, answer = DESK.decision(story.case, Outcome.CLARIFICATION_NEEDED), OFFICER.supplement(story.id).statement
    story.take(asked)
    story.take(answer)
    for raw in (asked, answer):
        assert story.refusal(lambda raw=raw: story.take(raw)).code == "jti-reused"  # type: ignore[misc]
    story.ask()
    assert story.refusal(lambda: story.take(answer)).code == "jti-reused"


def test_the_desk_accepts_the_request_once() -> None:
    story = Story()
    assert story.refusal(lambda: story.take(DESK.acceptance(story.case, of="0" * 64))).code == "impossible"
    assert story.accept().accepted is True
    assert story.refusal(story.accept).code == "impossible"
    assert told("decline").case.accepted is False


# -- the answer -----------------------------------------------------------------------------------------------------------


def test_only_what_was_asked_for_is_disclosed() -> None:
    story = told("accept")
    more = (Category.SUBSCRIBER, Category.CONTENT)
    refused = story.refusal(lambda: story.decide(Outcome.DISCLOSED, categories=more))
    assert refused.code == "category-not-allowed"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CLARIFICATION_NEEDED])
@pytest.mark.parametrize(
    ("ground", "known"), [("insufficient-information", True), ("particulars-foreign", True), ("because", False)]
)
def test_a_no_has_a_ground_of_the_law_or_of_ours(outcome: Outcome, ground: str, known: bool) -> None:
    story = told("accept")
    if known:
        assert story.decide(outcome, ground=ground).state in {State.ANSWERED, State.CLARIFICATION}
    else:
        assert story.refusal(lambda: story.decide(outcome, ground=ground)).code == "invalid-member"


def test_an_explanation_is_a_sealed_part_of_the_case() -> None:
    story = told("accept")
    explanation = part_of(b"why", [OFFICER.recipient])
    case = story.decide(Outcome.REFUSED, explanation=explanation)
    assert case.sealed == (case.asked.particulars, explanation)


def test_disclosures_are_there_until_the_request_is_taken_back() -> None:
    story = told("accept", "disclose")
    assert story.case.disclosures == (an_answer(),)
    assert story.case.decided is not None
    assert story.withdraw().disclosures == ()


def test_the_answer_is_delivered_when_all_of_it_was_fetched() -> None:
    story = told("accept")
    parts = (an_answer(b"one"), an_answer(b"two"))
    story.decide(Outcome.DISCLOSED, disclosures=parts)
    assert story.fetch().retrieved == {one.sha256 for one in parts}


def test_only_the_decision_that_counts_is_acknowledged() -> None:
    story = told("accept", "disclose")
    first = story.case.decision
    assert first is not None
    story.complain()
    story.disclose()
    raw = OFFICER.acknowledgement(story.case, decision=first.digest)
    assert story.refusal(lambda: story.take(raw)).code == "impossible"
    assert story.acknowledge().state is State.CLOSED


def test_what_did_not_open_is_owed_anew() -> None:
    story = told("accept", "disclose", "fetch")
    story.at = NOW + timedelta(days=3)
    case = story.complain()
    assert (case.state, case.due, case.retrieved) == (State.IN_REVIEW, NOW + timedelta(days=13), frozenset())
    assert story.disclose().state is State.ANSWERED


def test_an_unknown_framework_opens_nothing() -> None:
    with pytest.raises(Refused) as found:
        Story(framework="us.nothing")
    assert found.value.code == "framework-unknown"


def test_a_procedure_s_outcomes_are_the_only_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    story = told("accept")
    few = {kind: replace(one, outcomes=frozenset({Outcome.REFUSED})) for kind, one in PROCEDURES.items()}
    monkeypatch.setattr(cases, "PROCEDURES", few)
    assert story.refusal(story.find_nothing).code == "impossible"


# -- time -----------------------------------------------------------------------------------------------------------------

DAYS, HOURS = timedelta(days=10), timedelta(hours=8)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("urgency", "length"), [(Urgency.ORDINARY, DAYS), (Urgency.EMERGENCY, HOURS)])
def test_an_answer_is_overdue_when_its_time_has_come_and_not_before(urgency: Urgency, length: timedelta) -> None:
    story = Story(urgency=urgency)
    assert story.case.due == NOW + length
    story.at = NOW + length - SECOND
    assert story.refusal(story.call_overdue).code == "impossible"
    story.at = NOW + length
    assert story.call_overdue().overdue
    assert story.refusal(story.call_overdue).code == "impossible"  # said once


def test_the_clock_stands_while_the_authority_must_answer() -> None:
    story = told("accept")
    story.at = NOW + timedelta(days=4)
    case = story.ask()
    assert (case.state, case.due, case.remaining) == (State.CLARIFICATION, None, timedelta(days=6))
    story.at = NOW + timedelta(days=100)
    assert story.refusal(story.call_overdue).code == "impossible"
    case = story.supplement()
    assert (case.state, case.due, case.remaining) == (State.IN_REVIEW, NOW + timedelta(days=106), None)
    story.at = NOW + timedelta(days=106) - SECOND
    assert story.refusal(story.call_overdue).code == "impossible"
    story.at += SECOND
    assert story.call_overdue().overdue


def test_a_question_that_comes_too_late_gains_no_time() -> None:
    story = told("accept")
    story.at = NOW + DAYS
    story.call_overdue()
    story.at = NOW + DAYS + timedelta(days=2)
    assert story.ask().remaining == timedelta(0)
    story.at += timedelta(days=1)
    case = story.supplement()
    assert (case.due, case.overdue) == (story.at, False)
    assert story.call_overdue().overdue


def test_a_supplement_that_nobody_asked_for_does_not_move_the_clock() -> None:
    story = told("accept")
    story.at = NOW + timedelta(days=5)
    case = story.supplement()
    assert (case.due, case.state) == (NOW + DAYS, State.IN_REVIEW)
    assert len(case.sealed) == 2


@pytest.mark.parametrize("moves", [("accept", "disclose"), ("accept", "find_nothing"), ("withdraw",)])
def test_what_is_answered_or_taken_back_is_owed_no_more(moves: tuple[str, ...]) -> None:
    assert told(*moves).case.due is None


def test_the_clock_runs_in_the_open_states_alone() -> None:
    for name, moves in TO.items():
        case = told(*moves).case
        assert (case.state in OPEN) is (case.due is not None), name


def test_a_late_acceptance_does_not_reopen_what_was_taken_back() -> None:
    case = told("withdraw", "accept").case
    assert (case.state, case.accepted, case.due) == (State.WITHDRAWN, True, None)


# -- stages, ends, and what is left out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.TAKEN, Stage.HANDED, Stage.ANSWERED])
def test_a_stage_that_a_statement_causes_needs_one(stage: Stage) -> None:
    story = told("accept")
    assert story.refusal(lambda: story.note(stage)).code == "impossible"


def test_each_statement_has_its_stage() -> None:
    said, known = everything_said(PLATFORM, OFFICER)
    stages = {"acceptance": Stage.HANDED, "decision": Stage.ANSWERED, "request": Stage.TAKEN, "withdrawal": Stage.TAKEN}
    for kind, stage in stages.items():
        assert stage_of(read(said[f"rogatory-{kind}+jwt"], known, NOW)) is stage


def test_the_steps_of_a_case_fold_to_it() -> None:
    story = told("accept", "ask", "supplement", "disclose", "fetch", "acknowledge")
    known = story.chains.known(OFFICER.party)
    rows = story.chains.case_rows[story.id]
    steps = [
        step_of(read(row.receipt, known, None), None if row.statement is None else read(row.statement, known, NOW))
        for row in rows
    ]
    assert fold(steps) == story.case
    assert fold(steps[:1]).state is State.RECEIVED


def test_what_a_key_signs_is_not_taken_into_a_row_of_a_time_when_it_does_not_count() -> None:
    """After the clock was set back a row is dated later than the statement was read, and must be readable for ever."""
    chains = gateway()
    officer = Officer(PLATFORM, "kr-late")
    chains.admitted(officer)
    case = chains.opened(officer, now=NOW + 2 * HOURS)
    old = officer.withdrawal(case.id)
    chains.take(officer.rekey(Ed25519Secret.generate()), NOW + HOURS)
    with pytest.raises(Refused) as found:
        chains.take(old, NOW)
    assert found.value.code == "key-not-active"
    statement = chains.read(officer.request().statement)
    with pytest.raises(Refused) as found:
        advance(None, Step(Stage.TAKEN, NOW + HOURS + timedelta(seconds=1), statement.digest, statement))
    assert found.value.code == "key-not-active"


def test_a_case_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    story = told("accept", "supplement")
    monkeypatch.setattr(limits, "STATEMENTS", 3)
    assert story.refusal(story.supplement).code == "impossible"


def test_every_kind_that_is_possible_has_a_rule() -> None:
    said, known = everything_said(PLATFORM, OFFICER)
    case = Story().case
    kinds = set()
    for typ, raw in said.items():
        if typ == "rogatory-keyset+jwt":
            continue
        statement = read(raw, known, NOW)
        if type(statement.said) not in POSSIBLE:
            continue
        kinds.add(type(statement.said))
        for state in State:  # never the RuntimeError of a row without its rule
            with pytest.raises(Refused):
                advance(replace(case, state=state), Step(stage_of(statement), NOW, statement.digest, statement))
    assert kinds == set(POSSIBLE)


# -- any order ------------------------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Two authorities, two desks and a gateway say whatever they like, whenever they like, and say it again."""

    told = Bundle("told")

    @initialize(urgency=st.sampled_from(Urgency))
    def begin(self, urgency: Urgency) -> None:
        self.chains = gateway()
        self.now = NOW
        self.ids = [self.chains.opened(OFFICER, urgency=urgency).id, self.chains.opened(OTHER).id]
        self.taken = 2

    def _try(self, move: Callable[[], object]) -> bool:
        """Whether it was taken. Nothing but Refused may be raised, and only for reasons of order."""
        code = ""
        try:
            move()
        except Refused as refused:
            code = refused.code
        assert code in {"", *CODES}
        self.taken += not code
        return not code

    def _say(self, raw: bytes) -> bytes:
        self._try(lambda: self.chains.take(raw, self.now))
        return raw

    def _case(self, which: int) -> Case:
        return self.chains.case(self.ids[which])

    @rule(hours=st.sampled_from([1, 7, 8, 24, 240]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def set_the_gateway_s_clock_back(self) -> None:
        self.now = max(NOW, self.now - timedelta(minutes=30))

    @rule(target=told, which=st.integers(0, 1), other=st.booleans(), no=st.booleans())
    def accept(self, which: int, other: bool, no: bool) -> bytes:
        desk = PLATFORM.desks["eu" if other else "main"]
        return self._say(desk.acceptance(self._case(which), "particulars-unreadable" if no else None))

    @rule(target=told, which=st.integers(0, 1), outcome=st.sampled_from(Outcome))
    def decide(self, which: int, outcome: Outcome) -> bytes:
        return self._say(DESK.decision(self._case(which), outcome))

    @rule(target=told, which=st.integers(0, 1), by=st.sampled_from([OFFICER, OTHER]))
    def supplement(self, which: int, by: Officer) -> bytes:
        return self._say(by.supplement(self.ids[which], plain=b"more").statement)

    @rule(target=told, which=st.integers(0, 1), by=st.sampled_from([OFFICER, OTHER]))
    def withdraw(self, which: int, by: Officer) -> bytes:
        return self._say(by.withdrawal(self.ids[which]))

    @rule(
        target=told,
        which=st.integers(0, 1),
        by=st.sampled_from([OFFICER, OTHER]),
        flaw=st.sampled_from([None, "digest"]),
    )
    def acknowledge(self, which: int, by: Officer, flaw: str | None) -> bytes:
        return self._say(by.acknowledgement(self._case(which), flaw))

    @rule(raw=told)
    def say_it_again(self, raw: bytes) -> None:
        known = raw in {row.statement for rows in self.chains.case_rows.values() for row in rows}
        assert not (self._try(lambda: self.chains.take(raw, self.now)) and known)

    @rule(which=st.integers(0, 1), stage=st.sampled_from(Stage))
    def note(self, which: int, stage: Stage) -> None:
        self._try(lambda: self.chains.note(self.ids[which], stage, now=self.now))

    @invariant()
    def every_case_is_in_a_state(self) -> None:
        for case in self._cases():
            assert case.state in State
            assert (case.due is not None) == (case.state in OPEN)
            assert (case.remaining is not None) == (case.state is State.CLARIFICATION)

    def _cases(self) -> list[Case]:
        return [self.chains.case(one) for one in getattr(self, "ids", ())]

    def teardown(self) -> None:
        """The rows, read again from the first, make the same cases; every statement stands once; the receipts link."""
        for one in getattr(self, "ids", ()):
            rows = self.chains.case_rows[one]
            known = self.chains.known(self.chains.case(one).authority)
            assert CaseChain.read(rows, known) == self.chains.cases[one]
            statements = [row.statement for row in rows if row.statement is not None]
            assert len(set(statements)) == len(statements)
            receipts = [read(row.receipt, known, None).saying(Receipt) for row in rows]
            assert [said.seq for said in receipts] == list(range(1, len(rows) + 1))
            assert [said.previous for said in receipts] == [None, *(digest_of(row.receipt) for row in rows[:-1])]
            assert [said.iat for said in receipts] == sorted(said.iat for said in receipts)
        assert sum(len(rows) for rows in getattr(self, "chains", gateway()).case_rows.values()) == getattr(
            self, "taken", 0
        )


AnyOrder.TestCase.settings = settings(max_examples=30, stateful_step_count=25)
test_any_order_of_statements_makes_a_case = AnyOrder.TestCase


def test_a_receipt_of_one_case_does_not_link_into_another() -> None:
    mine, another = told("accept"), told("accept")
    row = another.chains.case_rows[another.id][1]
    chain = mine.chains.cases[mine.id]
    with pytest.raises(Refused):
        chain.then(row, mine.chains.known(OFFICER.party))


def test_a_receipt_that_the_gateway_gives_for_another_case_is_refused() -> None:
    """The gateway signs whatever it likes: the statement itself names its case."""
    story, another = told("accept", "disclose"), told("accept", "disclose")
    withdrawal = story.chains.read(OFFICER.withdrawal(another.id))
    step = Step(Stage.TAKEN, NOW, withdrawal.digest, withdrawal)
    after = replace(story.case, state=State.WITHDRAWN, due=None)
    link = story.chains.cases[story.id].link
    receipt = read(story.chains.receipt(link, after, step), story.chains.known(OFFICER.party), None)
    with pytest.raises(Refused) as found:
        linked_case(link, story.case, receipt, withdrawal)
    assert found.value.code == "not-found"


def test_a_case_is_not_found_under_an_id_that_nobody_opened() -> None:
    story = Story()
    nobody = CaseId("01a1ee56-5e00-8644-b836-edcc4521e310")
    with pytest.raises(Refused) as found:
        story.chains.take(OFFICER.withdrawal(nobody))
    assert found.value.code == "not-found"
    assert Link().seq == 1


def test_an_unregistered_key_says_nothing_in_a_case() -> None:
    story = Story()
    stranger = Officer(PLATFORM, OFFICER.name, Ed25519Secret.generate())
    assert story.refusal(lambda: story.take(stranger.withdrawal(story.id))).code == "key-unknown"


def test_a_case_s_id_tells_whether_a_request_opened_it() -> None:
    case = Story().case
    assert opened_by(case.id, case.request.digest)
    assert not opened_by(case.id, Story().case.request.digest)
    assert not opened_by(Story().case.id, case.request.digest)
