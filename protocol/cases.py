"""A case is the list of its statements; its state is a pure function of that list.

`fold` takes the rows of a case in the order of their receipts, which is the one order, and refuses an impossible one with the
reason. Gateway, desk, authority and judge compute the same state from the same bytes. Who may sign what was settled by
`statements.read`; whether the law opens what is asked, by `frameworks.admit`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, final

from protocol import deadlines, limits
from protocol.frameworks import admit, ground
from protocol.ids import CaseId, Digest, Instant, PartyId, case_id
from protocol.problems import Refused
from protocol.procedures import PROCEDURES
from protocol.sayings import (
    Acceptance,
    Acknowledgement,
    Blob,
    Claims,
    Decision,
    Request,
    SealedPart,
    Supplement,
    Withdrawal,
)
from protocol.statements import Statement, Step
from protocol.terms import Outcome, Role, Stage


class State(StrEnum):
    """Where a case stands."""

    RECEIVED = "received"  # taken; the desk has not accepted it yet
    IN_REVIEW = "in_review"  # the desk has it
    CLARIFICATION = "clarification"  # the authority must answer a question; the clock stands
    ANSWERED = "answered"  # decided
    DELIVERED = "delivered"  # every disclosure was fetched
    CLOSED = "closed"  # the authority opened it, or acknowledged an answer without data
    WITHDRAWN = "withdrawn"


OPEN: Final = frozenset({State.RECEIVED, State.IN_REVIEW})  # states in which the clock runs


@final
@dataclass(frozen=True, slots=True)
class Case:
    """A case after its last row."""

    id: CaseId
    authority: PartyId
    request: Statement
    state: State
    received: Instant
    due: Instant | None  # when the answer is owed; None when nothing is owed now
    remaining: timedelta | None  # what is left of a stopped clock
    accepted: bool | None  # what the desk said of the request; None until it said anything
    decision: Statement | None
    retrieved: frozenset[str]  # digests of the disclosures that were fetched
    blobs: tuple[Blob, ...]
    sealed: tuple[SealedPart, ...]  # the sealed parts that statements of the case name
    overdue: bool  # whether the notice of an overdue answer was given
    heard: frozenset[tuple[PartyId, str]]  # issuer and jti of every statement of the case
    steps: int

    @property
    def asked(self) -> Request:
        """The request that opened the case."""
        return self.request.saying(Request)

    @property
    def decided(self) -> Decision | None:
        """The decision that counts now."""
        return None if self.decision is None else self.decision.saying(Decision)

    @property
    def disclosures(self) -> tuple[SealedPart, ...]:
        """The disclosures that may be fetched now: none of a request that was taken back."""
        if self.decided is None or self.state is State.WITHDRAWN:
            return ()
        return self.decided.disclosures


# In which states a statement of each kind is possible. What stands in no row is refused.
POSSIBLE: Final[Mapping[type[Claims], frozenset[State]]] = MappingProxyType(
    {
        Supplement: frozenset({State.RECEIVED, State.IN_REVIEW, State.CLARIFICATION}),
        Withdrawal: frozenset({State.RECEIVED, State.IN_REVIEW, State.CLARIFICATION, State.ANSWERED}),
        Acknowledgement: frozenset({State.ANSWERED, State.DELIVERED}),
        Acceptance: frozenset(State),  # a desk may say late that it has a case which was withdrawn meanwhile
        Decision: frozenset({State.RECEIVED, State.IN_REVIEW}),
    }
)


def fold(steps: Iterable[Step]) -> Case:
    """The case that a list of rows makes. Raises Refused on the first impossible one."""
    case: Case | None = None
    for step in steps:
        case = advance(case, step)
    if case is None:
        raise Refused("not-found", reason="no such case")
    return case


def advance(case: Case | None, step: Step) -> Case:
    """The case after one more row. Raises Refused (`impossible` and the codes of the law)."""
    if case is None:
        return _opened(step)
    if step.statement is not None and step.statement.holder.role is Role.AUTHORITY:
        _from_requester(case, step.statement)
    if case.steps >= limits.STATEMENTS:
        raise Refused("impossible", detail="This case is full.", reason="case full")
    after = _noted(case, step) if step.statement is None else _said(case, step.statement, step)
    return replace(after, steps=case.steps + 1)


def chain_of(statement: Statement) -> CaseId:
    """The case in whose chain a statement stands; a request opens its own."""
    match statement.said:
        case Request() as said:
            return case_id(said.iat, statement.digest)
        case (
            Supplement(case=named)
            | Withdrawal(case=named)
            | Acknowledgement(case=named)
            | Acceptance(case=str() as named)
            | Decision(case=named)
        ):
            return CaseId(named)
        case _:
            raise Refused("type-refused", reason=f"{statement.typ} is of no case")


def opened_by(case: CaseId, request: Digest) -> bool:
    """Whether the statement of that digest is the one that opened the case: the id is made of both."""
    return case_id(int(case[:8] + case[9:13], 16) // 1000, request) == case


def stage_of(statement: Statement) -> Stage:
    """Which stage the receipt of a statement certifies."""
    match statement.said:
        case Acceptance():
            return Stage.HANDED
        case Decision():
            return Stage.ANSWERED
        case _:
            return Stage.TAKEN


def _opened(step: Step) -> Case:
    if step.statement is None or not isinstance(step.statement.said, Request):
        raise Refused("not-found", reason="a case begins with a request")
    said = step.statement.said
    step.statement.dated(step.at)
    opened = admit(said.cover)
    return Case(
        id=case_id(said.iat, step.statement.digest),
        authority=step.statement.issuer,
        request=step.statement,
        state=State.RECEIVED,
        received=step.at,
        due=deadlines.due(opened.deadline, step.at, said.cover.urgency),
        remaining=None,
        accepted=None,
        decision=None,
        retrieved=frozenset(),
        blobs=said.cover.blobs,
        sealed=(said.particulars,),
        overdue=False,
        heard=frozenset({step.statement.known_as}),
        steps=1,
    )


def _said(case: Case, statement: Statement, step: Step) -> Case:
    said = statement.said
    if statement.known_as in case.heard:  # else who carries a clarification could stop the clock with it once more
        raise Refused("jti-reused", reason="a statement twice in its case")
    if case.state not in POSSIBLE.get(type(said), frozenset()):
        raise Refused("impossible", detail=f"The case is {case.state}.", reason=f"{statement.typ} when {case.state}")
    if chain_of(statement) != case.id:
        raise Refused("not-found", reason="a statement of another case")
    statement.dated(step.at)
    case = replace(case, heard=case.heard | {statement.known_as})
    match said:
        case Supplement():
            return _supplemented(case, said, step.at)
        case Withdrawal():
            return replace(case, state=State.WITHDRAWN, due=None, remaining=None)
        case Acknowledgement():
            return _acknowledged(case, said, step.at)
        case Acceptance():
            _to_requester(case, statement)
            return _accepted(case, said)
        case _:  # a decision: POSSIBLE lets nothing else come here
            _to_requester(case, statement)
            return _decided(case, statement, statement.saying(Decision), step.at)


def _from_requester(case: Case, statement: Statement) -> None:
    """What is another's does not exist: asked before anything else, so that no other refusal tells of it."""
    if statement.issuer != case.authority:
        raise Refused("not-found", reason="a statement of another authority")


def _to_requester(case: Case, statement: Statement) -> None:
    """The desk of the addressed entity speaks, to who asked; another entity's desk has not seen the particulars."""
    if statement.said.aud != case.authority:
        raise Refused("wrong-audience", reason="addressed to another authority")
    if statement.holder.entity != case.asked.cover.entity:
        raise Refused(
            "key-role", reason=f"the desk of {statement.holder.entity} in a case of {case.asked.cover.entity}"
        )


def _supplemented(case: Case, said: Supplement, at: Instant) -> Case:
    """The clock goes on where it stood; a supplement that nobody asked for does not move it."""
    after = replace(case, blobs=case.blobs + said.blobs, sealed=(*case.sealed, said.particulars))
    if case.remaining is None:
        return after
    return replace(
        after, state=State.IN_REVIEW, due=deadlines.resumed(case.remaining, at), remaining=None, overdue=False
    )


def _acknowledged(case: Case, said: Acknowledgement, at: Instant) -> Case:
    """Opened: closed. Not opened: the desk owes a new answer, in the time that the law gives for one."""
    if case.decision is None or said.decision != case.decision.digest:
        raise Refused("impossible", detail="Acknowledge the decision that counts now.", reason="another decision")
    if said.opened:
        return replace(case, state=State.CLOSED)
    rule = admit(case.asked.cover).deadline
    due = deadlines.due(rule, at, case.asked.cover.urgency)
    return replace(case, state=State.IN_REVIEW, due=due, retrieved=frozenset(), overdue=False)


def _accepted(case: Case, said: Acceptance) -> Case:
    if said.of != case.request.digest:
        raise Refused("impossible", detail="Accept the case's request.", reason="acceptance of another statement")
    if case.accepted is not None:
        raise Refused("impossible", detail="The desk spoke before.", reason="a second acceptance")
    state = State.IN_REVIEW if case.state is State.RECEIVED else case.state
    return replace(case, accepted=said.accepted, state=state)


def _decided(case: Case, statement: Statement, said: Decision, at: Instant) -> Case:
    cover = case.asked.cover
    if said.outcome not in PROCEDURES[cover.kind].outcomes:
        raise Refused(
            "impossible", detail=f"{cover.kind} has no such outcome.", reason=f"{said.outcome} for {cover.kind}"
        )
    if not set(said.categories) <= set(cover.categories):
        raise Refused("category-not-allowed", detail="Not asked for.", reason="a category that was not asked for")
    if said.ground is not None:
        ground(cover.framework, said.ground)
    sealed = case.sealed if said.explanation is None else (*case.sealed, said.explanation)
    after = replace(case, decision=statement, sealed=sealed, retrieved=frozenset(), due=None)
    if said.outcome is Outcome.CLARIFICATION_NEEDED:
        left = timedelta(0) if case.due is None else deadlines.left(case.due, at)
        return replace(after, state=State.CLARIFICATION, remaining=left)
    return replace(after, state=State.ANSWERED)


def _noted(case: Case, step: Step) -> Case:
    """A stage that no statement caused."""
    match step.stage:
        case Stage.RETRIEVED:
            return _retrieved(case)
        case Stage.OVERDUE:
            if case.overdue or case.due is None or step.at < case.due:
                raise Refused("impossible", reason="not overdue, or said before")
            return replace(case, overdue=True)
        case _:
            raise Refused("impossible", reason=f"{step.stage} needs a statement")


def _retrieved(case: Case) -> Case:
    """One row for the whole answer: given when the last of its disclosures was fetched."""
    if case.state is not State.ANSWERED or not case.disclosures:
        raise Refused("impossible", reason=f"retrieved when {case.state}")
    return replace(case, state=State.DELIVERED, retrieved=frozenset(one.sha256 for one in case.disclosures))
