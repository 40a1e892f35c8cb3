"""Authorities: who is admitted, confirmed by whom, and which key counted when. Gateway and desk compute it alike.

An authority is the list of its registry statements, in the order of their receipts. `fold` is pure and refuses an impossible
statement with the reason. Who may sign which kind was settled by `statements.read`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import final

from crypto.errors import BadKey
from crypto.keys import KeyId, fingerprint_words, read_words
from protocol import limits
from protocol.ids import Instant, PartyId
from protocol.problems import Place, Refused
from protocol.sayings import Admission, Application, Rekey, SigningKeys, StandingSet
from protocol.statements import Holder, Statement, Step, inner_of, key_of, sound_recipients
from protocol.terms import Role, Standing


class Registration(StrEnum):
    """Where an authority stands."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


@final
@dataclass(frozen=True, slots=True)
class Authority:
    """An authority after its last registry statement."""

    id: PartyId
    state: Registration
    application: Statement
    holders: tuple[Holder, ...]  # every signing key that it ever had
    sealing: tuple[str, ...]  # the age recipients that count now
    rekeyed: Instant | None  # when the keys last changed after the application
    operators: frozenset[str]  # names of the operators who confirmed
    heard: frozenset[tuple[PartyId, str]]  # issuer and jti of every statement of the chain
    steps: int

    @property
    def words(self) -> tuple[str, ...]:
        """The fingerprint words of the whole application, to be compared over the second line."""
        return fingerprint_words(bytes.fromhex(self.application.digest))

    def holder(self, key: KeyId) -> Holder | None:
        """The holder of one of its keys, past or present."""
        return next((one for one in self.holders if one.key.id == key), None)


def fold(steps: Iterable[Step]) -> Authority:
    """The authority that a chain of registry statements makes. Raises Refused on the first impossible one."""
    authority: Authority | None = None
    for step in steps:
        authority = advance(authority, step)
    if authority is None:
        raise Refused("not-found", reason="no such authority")
    return authority


def advance(authority: Authority | None, step: Step) -> Authority:
    """The authority after one more step. Raises Refused."""
    statement = step.statement
    if statement is None:
        raise Refused("impossible", reason="a registry step without a statement")
    if authority is None:
        return _applied(statement, step.at)
    if authority.steps >= limits.STATEMENTS:
        raise Refused("impossible", detail="This chain is full.", reason="chain full")
    if chain_of(statement) != authority.id:
        raise Refused("not-found", reason="a statement of another authority's chain")
    if statement.known_as in authority.heard:  # else who carries a `restored` could play it again after a suspension
        raise Refused("jti-reused", reason="a statement twice in its chain")
    statement.dated(step.at)
    after = _said(authority, statement, step.at)
    return replace(after, heard=authority.heard | {statement.known_as}, steps=authority.steps + 1)


def chain_of(statement: Statement) -> PartyId:
    """The authority in whose chain a registry statement stands. Raises Refused (`type-refused`)."""
    match statement.said:
        case Application() | Rekey():
            return statement.issuer
        case Admission(authority=named) | StandingSet(authority=named):
            return PartyId(named)
        case _:
            raise Refused("type-refused", reason=f"{statement.typ} is of no registry chain")


def _said(authority: Authority, statement: Statement, at: Instant) -> Authority:
    match statement.said:
        case Admission() as said:
            return _admitted(authority, statement, said)
        case StandingSet() as said:
            return _stood(authority, said)
        case Rekey() as said:
            return _rekeyed(authority, said, at)
        case _:  # chain_of lets only an application come here
            raise Refused("authority-exists", reason="a second application")


def active(authority: Authority | None) -> Authority:
    """The authority, if it may ask now. Raises Refused (`authority-not-active`)."""
    if authority is None or authority.state is not Registration.ACTIVE:
        state = "unknown" if authority is None else authority.state.value
        raise Refused("authority-not-active", detail=f"The authority is {state}.", reason=f"authority {state}")
    return authority


def _applied(statement: Statement, at: Instant) -> Authority:
    if not isinstance(statement.said, Application):
        raise Refused("not-found", reason="a registry chain begins with an application")
    said = statement.said
    return Authority(
        id=statement.issuer,
        state=Registration.PENDING,
        application=statement,
        holders=_held(statement.issuer, said.signing, at),
        sealing=sound_recipients(said.sealing),
        rekeyed=None,
        operators=frozenset(),
        heard=frozenset({statement.known_as}),
        steps=1,
    )


def _held(party: PartyId, keys: SigningKeys, at: Instant) -> tuple[Holder, ...]:
    return tuple(Holder(party, Role.AUTHORITY, party, key_of(jwk), at) for jwk in keys)


def _admitted(authority: Authority, statement: Statement, said: Admission) -> Authority:
    operator = statement.holder.name
    if authority.state is not Registration.PENDING:
        raise Refused("impossible", detail=f"The authority is {authority.state}.", reason="admission when not pending")
    if said.application != authority.application.digest:
        raise Refused(
            "digest-mismatch", detail="This is another application.", reason="admission of another application"
        )
    if _typed(said.words) != authority.words:
        raise Refused("words-wrong", reason="fingerprint words differ")
    if operator in authority.operators:
        raise Refused(
            "impossible", detail="The same operator confirmed before; a second one must.", reason="one operator twice"
        )
    operators = authority.operators | {operator}
    state = Registration.ACTIVE if len(operators) >= limits.CONFIRMATIONS else Registration.PENDING
    return replace(authority, operators=operators, state=state)


def _typed(words: str) -> tuple[str, ...]:
    try:
        return read_words(words)
    except BadKey:
        return ()


def _stood(authority: Authority, said: StandingSet) -> Authority:
    """Suspend, revoke, restore. A revoked authority stays so: it applies anew under another id."""
    wanted = Registration(said.standing.value)
    restored = said.standing is Standing.ACTIVE
    possible = (
        {Registration.SUSPENDED} if restored else {Registration.PENDING, Registration.ACTIVE, Registration.SUSPENDED}
    )
    if authority.state not in possible or authority.state is wanted:
        raise Refused(
            "impossible", detail=f"The authority is {authority.state}.", reason=f"{authority.state} to {wanted}"
        )
    if restored and len(authority.operators) < limits.CONFIRMATIONS:
        wanted = Registration.PENDING  # suspended before it was confirmed: restoring confirms nothing
    return replace(authority, state=wanted)


def _rekeyed(authority: Authority, said: Rekey, at: Instant) -> Authority:
    """New keys from now on. The old ones stay known, so that what they signed before stays verifiable."""
    if authority.state not in {Registration.ACTIVE, Registration.PENDING}:
        raise Refused(
            "authority-not-active", detail=f"The authority is {authority.state}.", reason="rekey when not active"
        )
    if authority.state is Registration.PENDING:
        raise Refused("impossible", detail="Confirm the application first, or apply anew.", reason="rekey when pending")
    prover = inner_of(said)
    fresh = _held(authority.id, said.signing, at)
    kept = {one.key.id for one in fresh}
    known = {one.key.id: one for one in authority.holders}
    if not kept <= known.keys() and prover in known:
        raise Refused("invalid-member", places=(Place("/inner", "signed by a new key"),), reason="inner by an old key")
    end = at + timedelta(
        seconds=1
    )  # receipts count whole seconds: what was taken in this one, before, stays verifiable
    ended = tuple(
        replace(one, until=end) if one.until is None else one for one in authority.holders if one.key.id not in kept
    )
    reused = {one.key.id for one in authority.holders if one.until is not None} & kept
    if reused:
        raise Refused("invalid-member", detail="A retired key cannot come back.", reason="retired key presented again")
    return replace(
        authority,
        holders=ended + tuple(known.get(one.key.id, one) for one in fresh),
        sealing=sound_recipients(said.sealing),
        rekeyed=at,
    )
