"""Vetting: believes nothing that comes over the line.

Every registry row is folded onto the chain that the desk holds, under operators' keys that the root signed; every case row under
the authority so found. So a gateway in wrong hands can neither invent an authority, nor swap its sealing key, nor take back a
suspension. What is held already is `Held`; what does not follow yet is `Early` and comes again; all else that is wrong is
`Refused` and goes to the dead letters. Nothing is written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from crypto import strict
from crypto.errors import NotStrict, SealingError
from crypto.sealing import unseal_bytes
from desk.store import Store
from protocol import limits
from protocol.authorities import Authority, Registration
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.envelope import Envelope
from protocol.ids import CaseId, Digest, Instant, PartyId, digest_of, instant, numeric
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.procedures import PROCEDURES
from protocol.procedures.shared import Particulars
from protocol.receipts import REJECTION_TYP, read_receipt
from protocol.sayings import Receipt, Rejection, Request, SealedPart, Supplement
from protocol.statements import Statement, named, read, validated
from protocol.terms import RequestKind

UNREADABLE: Final = "particulars-unreadable"
FOREIGN: Final = "particulars-foreign"
MALFORMED: Final = "particulars-malformed"

LATE: Final = "receipt-late"
KEY_ENDED: Final = "key-ended"
NOT_ACTIVE: Final = "authority-not-active"
SUBJECTS: Final = "subjects-differ"


@final
class Early(Exception):
    """A row whose predecessor is not here yet. It is left to its lease and comes again."""


@final
@dataclass(frozen=True, slots=True)
class Held:
    """A row that the desk has already."""

    chain: str
    of: Digest


@final
@dataclass(frozen=True, slots=True)
class Registered:
    """A new row of a registry chain, and the authority after it."""

    row: Row
    receipt: Statement
    authority: Authority


@final
@dataclass(frozen=True, slots=True)
class Filed:
    """A new row of a case's chain, and the case after it. `sealed` are the particulars that came beside it."""

    row: Row
    receipt: Statement
    case: Case
    statement: Statement | None
    sealed: bytes | None


@final
@dataclass(frozen=True, slots=True)
class Rejected:
    """The gateway did not take what the desk said."""

    said: Rejection


Vetted: TypeAlias = Held | Registered | Filed | Rejected


def vet(envelope: Envelope, store: Store, keyset: Keyset, entity: str, now: Instant) -> Vetted:
    """What an entry is, everything in it checked against what the desk holds. Raises Early, Refused."""
    if envelope.rejection is not None:
        return Rejected(read(envelope.rejection, Known(keyset), None, kinds=(REJECTION_TYP,)).saying(Rejection))
    if envelope.receipt is None:
        raise Refused("receipt-wrong", reason="an entry without a receipt")
    row = Row(envelope.receipt, envelope.statement)
    receipt = read_receipt(row.receipt, Known(keyset))
    said = receipt.saying(Receipt)
    if instant(said.iat) > now + limits.CLOCKS:
        raise Refused("receipt-wrong", reason=f"a receipt of the future, {said.iat - numeric(now)} s")
    chain = said.case or said.authority or ""
    if (place := _place(store, chain, receipt)) is not None:
        return place
    if said.authority is not None:
        after = RegistryChain.read(store.rows(chain), keyset).then(row, keyset)
        if after.authority is None:
            raise RuntimeError("a chain with a row makes an authority")
        return Registered(row, receipt, after.authority)
    return _filed(row, receipt, envelope.sealed, _Desk(store, keyset, entity))


def _place(store: Store, chain: str, receipt: Statement) -> Held | None:
    """Held already: `Held`. The next one: None. Another row in a place that is taken: the chain would fork."""
    said = receipt.saying(Receipt)
    held = store.receipt_digest(chain, said.seq)
    if held is None:
        if said.seq > 1 and store.receipt_digest(chain, said.seq - 1) is None:
            raise Early
        return None
    if held != receipt.digest:
        raise Refused("receipt-wrong", reason=f"another row at {said.seq}: the chain would fork")
    return Held(chain, Digest(said.of))


@final
@dataclass(frozen=True, slots=True)
class _Desk:
    """What a row is checked against."""

    store: Store
    keyset: Keyset
    entity: str


def _filed(row: Row, receipt: Statement, sealed: bytes | None, desk: _Desk) -> Filed:
    said = receipt.saying(Receipt)
    party = _owner(row, said, desk.store)
    rows = desk.store.rows(party)
    known = Known(desk.keyset, RegistryChain.read(rows, desk.keyset).authority)
    after = CaseChain.read(desk.store.rows(said.case or ""), known).then(row, known)
    if after.case is None:
        raise RuntimeError("a chain with a row makes a case")
    statement = None if row.statement is None else read(row.statement, known, instant(said.iat))
    if after.case.asked.cover.entity != desk.entity:
        raise Refused("entity-unknown", reason="a case of another entity")
    part = None
    if statement is not None and isinstance(statement.said, Request | Supplement):
        if not active_at(rows, desk.keyset, instant(said.iat)):
            raise Refused("authority-not-active", reason="not active at the receipt's time")
        part = beside(statement.said.particulars, sealed)
    return Filed(row, receipt, after.case, statement, part)


def _owner(row: Row, said: Receipt, store: Store) -> PartyId:
    """Whose case it is: known, or claimed by the statement that opens it, which is then read under that party's keys."""
    held = store.case(CaseId(said.case or ""))
    if held is not None:
        return held.authority
    if row.statement is None:
        raise Refused("receipt-wrong", reason="a case that begins without a statement")
    return PartyId(named(row.statement).issuer)


def beside(part: SealedPart, sealed: bytes | None) -> bytes:
    """The sealed part that a statement names. The gateway checked it too: what differs was changed since."""
    if sealed is None:
        raise Refused("sealed-missing", reason="sealed part not sent along")
    if digest_of(sealed) != part.sha256 or len(sealed) != part.size:
        raise Refused("digest-mismatch", reason="sealed part is not the one signed")
    return sealed


def active_at(rows: Sequence[Row], keyset: Keyset, at: Instant) -> bool:
    """Whether a registry chain made its authority active at that time.

    Receipts count whole seconds: where two fell into the same one, either may have been first, and the doubt is the
    authority's gain. That it has ended since is a flag of its own.
    """
    chain, active = RegistryChain(), False
    for row in rows:
        after = chain.then(row, keyset)
        if after.link.since > at:
            break
        if after.link.since < at:
            active = False
        active = active or (after.authority is not None and after.authority.state is Registration.ACTIVE)
        chain = after
    return active


@final
@dataclass(frozen=True, slots=True)
class File:
    """All that the desk holds of a case, verified anew when it is read."""

    case: Case
    authority: Authority
    seen: Instant  # when the desk first saw the request
    supplement: Statement | None  # the last one, which replaces the request's particulars
    sealed: bytes  # the particulars that count now

    @property
    def said(self) -> Statement:
        """The statement whose particulars count now."""
        return self.case.request if self.supplement is None else self.supplement

    @property
    def part(self) -> SealedPart:
        """The particulars that count now, as they were signed."""
        said = self.said.said
        if not isinstance(said, Request | Supplement):
            raise TypeError("particulars of neither request nor supplement")
        return said.particulars


def file_of(case: CaseId, store: Store, keyset: Keyset) -> File:
    """The file of a case, read and verified row by row. Raises Refused (`not-found`, or what is wrong in it)."""
    row = store.case(case)
    if row is None:
        raise Refused("not-found", detail="No such case at this desk.", reason="no such case")
    authority = RegistryChain.read(store.rows(row.authority), keyset).authority
    known = Known(keyset, authority)
    chain, supplement = CaseChain(), None
    for one in store.rows(case):
        chain = chain.then(one, known)
        supplement = _supplement(one, chain, known) or supplement
    if chain.case is None or authority is None:
        raise Refused("not-found", reason="a case without rows")
    said = (supplement or chain.case.request).said
    if not isinstance(said, Request | Supplement):
        raise TypeError("a case begins with a request")
    sealed = beside(said.particulars, store.sealed(Digest(said.particulars.sha256)))
    return File(chain.case, authority, row.seen, supplement, sealed)


def _supplement(row: Row, chain: CaseChain, known: Known) -> Statement | None:
    if row.statement is None or chain.receipt is None:
        return None
    statement = read(row.statement, known, instant(chain.receipt.said.iat))
    return statement if isinstance(statement.said, Supplement) else None


@final
class Unfit(Exception):
    """Particulars that cannot be worked with. `ground` is what the authority is told."""

    def __init__(self, ground: str) -> None:
        super().__init__(ground)
        self.ground = ground


def particulars_of(kind: RequestKind, said: Statement, sealed: bytes, identities: Sequence[str]) -> Particulars:
    """Open sealed particulars: strict, of the model of their kind, and of this very statement. Raises Unfit."""
    try:
        plain = unseal_bytes(sealed, identities)
    except SealingError:
        raise Unfit(UNREADABLE) from None
    try:
        strict.loads(plain, max_depth=limits.DEPTH)
        found = validated(plain, PROCEDURES[kind].particulars)
    except (NotStrict, Refused):
        raise Unfit(MALFORMED) from None
    if (found.iss, found.jti) != (said.said.iss, said.said.jti):
        raise Unfit(FOREIGN)
    return found


def flags_of(file: File, subjects: int) -> tuple[str, ...]:
    """What reviewers must know before they approve. `subjects` is how many targets the particulars name."""
    asked = file.case.asked
    found = (
        (LATE, file.seen - file.case.received > limits.HELD_BACK),
        (KEY_ENDED, _ended(file)),
        (NOT_ACTIVE, file.authority.state is not Registration.ACTIVE),
        (SUBJECTS, subjects != asked.cover.subjects),
    )
    return tuple(flag for flag, raised in found if raised)


def _ended(file: File) -> bool:
    """Whether the signer's key had ended before the desk saw the request, which may so have been kept back or made later."""
    holder = file.authority.holder(file.case.request.holder.key.id)
    return holder is None or (holder.until is not None and holder.until <= file.seen)
