"""Receipts: the gateway's signed promise that a statement stands on disk.

A receipt is made in the transaction that stores its statement, and is handed out only after that transaction is durable.
Receipts of one chain link by digest. The gateway makes them with `following`; authority, desk and case file check them with
`linked`, which is the same rule read backwards. No disk and no clock is touched here.
"""

from dataclasses import dataclass
from typing import Final, final

from crypto.strict import b64url_encode
from protocol import authorities, cases
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.ids import Digest, Instant, Jti, PartyId, instant, numeric
from protocol.problems import Refused
from protocol.sayings import KINDS, Chain, Receipt, Rejection
from protocol.statements import Keys, Statement, Step, read
from protocol.terms import Stage

RECEIPT_TYP: Final = "rogatory-receipt+jwt"
REJECTION_TYP: Final = "rogatory-rejection+jwt"
BEGINNING: Final = instant(0)
SALT: Final = 16  # bytes: nobody can test a guess against a receipt's digest


@final
@dataclass(frozen=True, slots=True)
class Link:
    """Where the next receipt of a chain stands: its number, the receipt before it, and the time that it may not precede."""

    seq: int = 1
    previous: Digest | None = None
    since: Instant = BEGINNING

    @staticmethod
    def after(receipt: Statement) -> "Link":
        """The place after `receipt`."""
        said = receipt.saying(Receipt)
        return Link(said.seq + 1, receipt.digest, instant(said.iat))

    def time(self, now: Instant) -> Instant:
        """The time of the next receipt: `now` in whole seconds, but never before the last one, whatever the clock does."""
        return max(instant(numeric(now)), self.since)


def following(link: Link, after: Case | Authority, step: Step, *, platform: PartyId, jti: Jti, salt: bytes) -> Receipt:
    """The claims of the receipt for a step that led to `after`. `salt` is 16 random bytes."""
    of_case = isinstance(after, Case)
    return Receipt(
        iss=platform,
        aud=after.authority if isinstance(after, Case) else after.id,
        iat=numeric(step.at),
        jti=jti,
        case=after.id if of_case else None,
        authority=None if of_case else after.id,
        seq=link.seq,
        stage=step.stage,
        of=step.of,
        previous=link.previous,
        state=after.state.value,
        due=numeric(after.due) if isinstance(after, Case) and after.due is not None else None,
        salt=b64url_encode(salt),
    )


def read_receipt(raw: bytes, keys: Keys) -> Statement:
    """A receipt, under a gateway key that counted at the receipt's own time. Raises Refused (`receipt-wrong`)."""
    try:
        return read(raw, keys, None, kinds=(RECEIPT_TYP,))
    except Refused as refused:
        raise Refused("receipt-wrong", reason=f"receipt: {refused.reason}", places=refused.places) from None


def read_rejection(raw: bytes, keys: Keys, of: Digest) -> Rejection:
    """The gateway's signed no to the statement with that digest. Raises Refused (`receipt-wrong`)."""
    try:
        said = read(raw, keys, None, kinds=(REJECTION_TYP,)).saying(Rejection)
    except Refused as refused:
        raise Refused("receipt-wrong", reason=f"rejection: {refused.reason}") from None
    if said.of != of:
        raise Refused("receipt-wrong", reason="rejection of another statement")
    return said


def step_of(receipt: Statement, statement: Statement | None) -> Step:
    """The row of a chain that a receipt certifies."""
    said = receipt.saying(Receipt)
    return Step(said.stage, instant(said.iat), Digest(said.of), statement)


def linked_case(link: Link, before: Case | None, receipt: Statement, statement: Statement | None) -> Case:
    """The case after one more receipt, with everything that the receipt promises checked: number, link, state, due time.

    Raises Refused: `receipt-wrong`, or the reason why the step itself is impossible.
    """
    said = _in_place(link, receipt, statement)
    after = cases.advance(before, step_of(receipt, statement))
    due = None if after.due is None else numeric(after.due)
    if (said.case, said.aud, said.state, said.due) != (after.id, after.authority, after.state.value, due):
        raise Refused("receipt-wrong", reason="case, addressee, state or due time differ from what follows")
    return after


def linked_authority(link: Link, before: Authority | None, receipt: Statement, statement: Statement) -> Authority:
    """The authority after one more receipt of its registry chain, checked alike."""
    said = _in_place(link, receipt, statement)
    after = authorities.advance(before, step_of(receipt, statement))
    if (said.authority, said.aud, said.state, said.due) != (after.id, after.id, after.state.value, None):
        raise Refused("receipt-wrong", reason="authority, addressee or state differ from what follows")
    return after


def _in_place(link: Link, receipt: Statement, statement: Statement | None) -> Receipt:
    said = receipt.saying(Receipt)
    if (said.seq, said.previous) != (link.seq, link.previous):
        raise Refused("receipt-wrong", reason=f"receipt {said.seq} where {link.seq} follows")
    if instant(said.iat) < link.since:
        raise Refused("receipt-wrong", reason="a receipt older than the one before it")
    if statement is None:
        if said.stage not in {Stage.RETRIEVED, Stage.OVERDUE}:
            raise Refused("receipt-wrong", reason=f"{said.stage} without a statement")
        return said
    if said.of != statement.digest or said.stage is not stage_of(statement):
        raise Refused("receipt-wrong", reason="receipt of another statement or stage")
    return said


def stage_of(statement: Statement) -> Stage:
    """Which stage the receipt of a statement certifies, in a case's chain or a registry's."""
    if KINDS[statement.typ].chain is Chain.CASE:
        return cases.stage_of(statement)
    return Stage.TAKEN
