"""Filing: one entry from the gateway, vetted and put on file, with what the desk says of it, in one transaction.

Of every row that it holds the desk says so, signed: of a request whether it could be opened, of all else that it is here, so that
the gateway stops sending it. Particulars that cannot be opened, or are another statement's, are answered at once with a question;
nobody need approve that, for nothing is disclosed. No source is asked here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypedDict, final

from channels.logs import get_log
from crypto.keys import SecretKey
from desk.records import CaseRow, Duty
from desk.store import Store
from desk.vetting import Filed, Held, Registered, Rejected, Unfit, particulars_of, vet
from protocol import limits
from protocol.cases import OPEN
from protocol.envelope import unpack
from protocol.ids import CaseId, Digest, Instant, PartyId, digest_of, instant, numeric, uuid7
from protocol.keyset import Keyset
from protocol.sayings import Acceptance, Acknowledgement, Decision, Receipt, Rejection, Request, Supplement, Withdrawal
from protocol.statements import Statement, say
from protocol.terms import Outcome

log = get_log()
AFTER_NO: Final = timedelta(minutes=10)  # ours: when a decision that the gateway did not take is tried again


class _Common(TypedDict):
    """The claims that every statement has."""

    iss: str
    aud: str
    iat: int
    jti: str


@final
class Filing:
    """What one desk does with an entry. Holds the key that signs its acceptances, and those that open particulars."""

    def __init__(
        self,
        store: Store,
        keyset: Keyset,
        entity: str,
        identities: Sequence[str],
        secret: Callable[[], SecretKey],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._keyset = keyset
        self._entity = entity
        self._identities = identities
        self._secret = secret
        self._entropy = entropy

    def take(self, plain: bytes, now: Instant) -> None:
        """Vet an entry and file it, whole or not at all. Raises Early, Refused, StoreError."""
        envelope = unpack(plain)
        with self._store.transaction():
            match vet(envelope, self._store, self._keyset, self._entity, now):
                case Held() as held:
                    self._again(held, now)
                case Registered() as registered:
                    self._registered(registered, now)
                case Filed() as filed:
                    self._filed(filed, now)
                case Rejected() as rejected:
                    self._rejected(rejected.said, now)

    def _again(self, held: Held, now: Instant) -> None:
        """The gateway has not heard: say the same bytes again."""
        said = self._store.accepted(held.chain, held.of)
        if said is not None:
            self._store.say_again(held.chain, digest_of(said), said, now)

    def _registered(self, found: Registered, now: Instant) -> None:
        self._keep(found, found.authority.id, now)
        self._accept(found.authority.id, found.receipt, None, now, row=False)

    def _filed(self, filed: Filed, now: Instant) -> None:
        self._keep(filed, filed.case.id, now)
        before = self._store.case(filed.case.id)
        said = None if filed.statement is None else filed.statement.said
        if filed.sealed is not None and isinstance(said, Request | Supplement):
            self._store.add_sealed(Digest(said.particulars.sha256), filed.case.id, filed.sealed)
        row = _row(filed, before, now)
        self._store.put_case(row)
        if filed.statement is not None:
            self._said(filed, filed.statement, now)
        else:
            self._accept(filed.case.authority, filed.receipt, None, now, row=False)
        if row.state not in OPEN:
            self._store.drop_draft(filed.case.id)
            self._store.drop_release(filed.case.id)

    def _said(self, filed: Filed, statement: Statement, now: Instant) -> None:
        """What a statement of the case makes of it."""
        case, ground = filed.case, None
        match statement.said:
            case Request() | Supplement():
                self._store.drop_draft(case.id)
                self._store.drop_release(case.id)
                ground = self._opened(filed, statement)
            case Withdrawal():
                self._store.unsaid(case.id)
            case Acceptance() | Decision():
                self._receipted(filed, statement)
            case _:
                pass  # an acknowledgement: what it makes of the case is in its state
        self._accept(case.authority, filed.receipt, ground, now, row=isinstance(statement.said, Request))
        if ground is not None and case.state in OPEN:
            self._ask(filed, ground, now)

    def _opened(self, filed: Filed, statement: Statement) -> str | None:
        """None when the particulars can be worked with: then they are looked up. Else why not."""
        try:
            particulars_of(filed.case.asked.cover.kind, statement, filed.sealed or b"", self._identities)
        except Unfit as unfit:
            return unfit.ground
        if filed.case.state in OPEN:
            self._store.set_duty(filed.case.id, Duty.LOOK_UP)
        return None

    def _receipted(self, filed: Filed, statement: Statement) -> None:
        """What the desk said is on record: it need not be said again. A decision that it did not say is an alarm."""
        if self._store.settled(statement.digest) is None and isinstance(statement.said, Decision):
            log.error(
                "decision.foreign", case=filed.case.id, authority=filed.case.authority, digest=statement.digest[:16]
            )

    def _ask(self, filed: Filed, ground: str, now: Instant) -> None:
        """The question to the authority: seal anew what this desk cannot read."""
        case = filed.case
        said = Decision(
            **self._common(case.authority, now),
            case=case.id,
            outcome=Outcome.CLARIFICATION_NEEDED,
            ground=ground,
        )
        raw = say(said, self._secret())
        digest = digest_of(raw)
        self._store.say(case.id, digest, raw, now, decision=True)
        log.info(
            "decision.signed",
            case=case.id,
            authority=case.authority,
            outcome=said.outcome.value,
            code=ground,
            digest=digest[:16],
        )

    def _rejected(self, said: Rejection, now: Instant) -> None:
        """The gateway took it not: a decision is tried again later, unless the case has moved on by then."""
        found = self._store.settled(Digest(said.of))
        if found is None:
            return  # it was taken back meanwhile, or this no came twice
        log.error("decision.rejected", case=found.chain, code=said.code, digest=said.of[:16])
        case = CaseId(found.chain)
        row = self._store.case(case)
        if found.decision and row is not None and row.state in OPEN:
            if row.duty is Duty.NONE:
                self._store.set_duty(case, Duty.LOOK_UP if self._store.draft(case) is None else Duty.REVIEW)
            self._store.troubled(case, said.code, now + AFTER_NO)

    def _keep(self, found: Registered | Filed, chain: str, now: Instant) -> None:
        """The row itself, with the time when the desk first saw it."""
        receipt = found.receipt.saying(Receipt)
        self._store.add_row(chain, receipt.seq, found.row, (found.receipt.digest, Digest(receipt.of)), now)
        late = now - instant(receipt.iat)
        if late > limits.HELD_BACK:
            log.error(
                "receipt.late",
                case=receipt.case,
                authority=receipt.aud,
                seq=receipt.seq,
                seconds=int(late.total_seconds()),
            )
        log.info(
            "entry.vetted",
            case=receipt.case,
            authority=receipt.aud,
            stage=receipt.stage.value,
            seq=receipt.seq,
            digest=receipt.of[:16],
        )

    def _accept(self, party: PartyId, receipt: Statement, ground: str | None, now: Instant, *, row: bool) -> None:
        said = receipt.saying(Receipt)
        acceptance = Acceptance(
            **self._common(party, now),
            case=said.case,
            authority=said.authority,
            of=said.of,
            accepted=ground is None,
            ground=ground,
        )
        raw = say(acceptance, self._secret())
        self._store.accept(said.case or party, Digest(said.of), digest_of(raw), raw, now, row=row)

    def _common(self, party: PartyId, now: Instant) -> _Common:
        return {
            "iss": self._keyset.platform,
            "aud": party,
            "iat": numeric(now),
            "jti": uuid7(now, self._entropy(10)),
        }


def _row(filed: Filed, before: CaseRow | None, now: Instant) -> CaseRow:
    """The case in the desk's list. What is owed is nothing, what was owed before, or a new look, when an answer did not open."""
    case = filed.case
    duty = Duty.NONE
    if case.state in OPEN and before is not None:
        duty = before.duty
        if filed.statement is not None and isinstance(filed.statement.said, Acknowledgement):
            duty = Duty.LOOK_UP
    row = CaseRow(
        case=case.id,
        authority=case.authority,
        state=case.state.value,
        urgency=case.asked.cover.urgency.value,
        received=case.received,
        due=case.due,
        seen=now,
        duty=duty,
    )
    if before is None:
        return row
    return replace(row, seen=before.seen, trouble=None if duty is Duty.NONE else before.trouble)
