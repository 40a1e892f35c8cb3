"""Review: what would be released, and the two people who must have said so.

A draft is the whole of what would leave: outcome, ground, explanation, categories, records. Reviewers sign its digest. Any change
makes another draft with another digest, for which no earlier approval counts. A draft can never hold a category that was not
asked for. Looking up is the worker's, sealing and sending `disclosures`'.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, final

from pydantic import Field, StringConstraints

from channels.logs import get_log
from crypto.keys import SecretKey
from crypto.sealing import seal_bytes, unseal_bytes
from crypto.strict import b64url_encode
from desk.records import Duty, SealedDraft
from desk.sources import Found
from desk.store import Store
from desk.vetting import File, Unfit, file_of, flags_of, particulars_of
from protocol import limits
from protocol.authorities import Registration
from protocol.cases import OPEN
from protocol.chains import Known
from protocol.disclosure import Records
from protocol.frameworks import OURS, framework, ground
from protocol.ids import CaseId, Digest, Instant, digest_of, instant, numeric, uuid7
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.procedures.production import ProductionParticulars
from protocol.procedures.shared import Particulars
from protocol.sayings import Approval
from protocol.statements import Statement, read, say, validated
from protocol.terms import CaseText, Category, Closed, Code, DigestText, Outcome, Role, Salt

log = get_log()
APPROVAL_TYP: Final = "rogatory-approval+jwt"
EXPLANATION: Final = 10_000  # characters: at most 40 KiB, and a sealed part may have 64
PREFIX: Final = 8  # characters of a draft's digest that a reviewer gives at least
RELEASED: Final = frozenset({Outcome.DISCLOSED, Outcome.PARTLY_DISCLOSED})


class RecordSet(Closed):
    """The records of one category."""

    category: Category
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | None, ...], ...]

    @staticmethod
    def of(records: Records) -> "RecordSet":
        """As a source gave them."""
        return RecordSet(category=records.category, source=records.source, columns=records.columns, rows=records.rows)

    @property
    def records(self) -> Records:
        """As a disclosure takes them."""
        return Records(self.category, self.source, self.columns, self.rows)


class Draft(Closed):
    """What would be released. Its canonical bytes are this model as JSON; their SHA-256 is what reviewers sign."""

    case: CaseText
    request: DigestText
    particulars: DigestText  # of the sealed particulars that it answers
    outcome: Outcome
    ground: Code | None = None
    explanation: Annotated[str, StringConstraints(max_length=EXPLANATION)] = ""  # read by the authority alone
    granted: tuple[Category, ...] = ()
    withheld: tuple[Category, ...] = ()
    accounts: Annotated[int, Field(ge=0)] = 0
    records: tuple[RecordSet, ...] = ()
    flags: tuple[str, ...] = ()  # what reviewers were warned of
    salt: Salt  # the decision names the digest in the open: nobody can test a guess at the records against it

    def to_bytes(self) -> bytes:
        """The canonical bytes."""
        return self.model_dump_json().encode()

    @property
    def digest(self) -> Digest:
        """What reviewers sign."""
        return digest_of(self.to_bytes())


def first_draft(file: File, found: Sequence[Found], subjects: int, salt: bytes) -> Draft:
    """What the desk proposes after it has asked its source; `found` has one entry for each category that it answers."""
    asked = file.case.asked.cover.categories
    granted = tuple(one.records.category for one in found)
    withheld = tuple(category for category in asked if category not in granted)
    accounts = frozenset[str]().union(*(one.accounts for one in found))
    something = any(one.records.rows for one in found)
    outcome = Outcome.NO_DATA
    if something:
        outcome = Outcome.PARTLY_DISCLOSED if withheld else Outcome.DISCLOSED
    return Draft.model_validate(
        _basis(file, subjects, salt)
        | {
            "outcome": outcome,
            "explanation": _held_back(withheld, "This desk has no source for"),
            "granted": granted if something else (),
            "withheld": withheld,
            "accounts": len(accounts) if something else 0,
            "records": tuple(RecordSet.of(one.records) for one in found) if something else (),
        }
    )


def narrowed(draft: Draft, withhold: Iterable[Category], text: str, salt: bytes) -> Draft:
    """The draft without some categories. Raises Refused when nothing would be left: refuse, with a ground."""
    leave = set(withhold)
    if not leave <= set(draft.granted):
        raise Refused("category-not-allowed", detail="Withhold what the draft grants.", reason="not granted")
    granted = tuple(category for category in draft.granted if category not in leave)
    if not granted:
        raise Refused(
            "impossible", detail="Nothing would be left. Refuse, with a ground.", reason="narrowed to nothing"
        )
    # Which accounts the records left are of is not known any more: the number stays the one of the look-up.
    return draft.model_copy(
        update={
            "outcome": Outcome.PARTLY_DISCLOSED,
            "granted": granted,
            "withheld": (*draft.withheld, *(category for category in draft.granted if category in leave)),
            "records": tuple(one for one in draft.records if one.category in granted),
            "explanation": _explained(text or _held_back(leave, "The platform withholds")),
            "salt": b64url_encode(salt),
        }
    )


def turned_down(file: File, outcome: Outcome, code: str, text: str, subjects: int, salt: bytes) -> Draft:
    """A refusal or a question, on a ground of the request's law. Raises Refused for a ground that the law does not have."""
    told = ground(file.case.asked.cover.framework, code)
    said = {"outcome": outcome, "ground": code, "explanation": _explained(text or told.text)}
    return Draft.model_validate(_basis(file, subjects, salt) | said)


def _basis(file: File, subjects: int, salt: bytes) -> dict[str, object]:
    return {
        "case": file.case.id,
        "request": file.case.request.digest,
        "particulars": file.part.sha256,
        "flags": flags_of(file, subjects),
        "salt": b64url_encode(salt),
    }


def _explained(text: str) -> str:
    if len(text) > EXPLANATION:
        raise Refused("too-large", detail=f"An explanation has at most {EXPLANATION} characters.")
    return text


def _held_back(categories: Iterable[Category], how: str) -> str:
    names = ", ".join(sorted(categories))
    return f"{how}: {names}." if names else ""


def checked(draft: Draft, file: File) -> Draft:
    """The draft, if it may be an answer to this case as it stands. Raises Refused."""
    answers = (draft.case, draft.request, draft.particulars)
    if answers != (file.case.id, file.case.request.digest, file.part.sha256):
        raise Refused("impossible", detail="The draft is of other particulars.", reason="draft of other particulars")
    if not set(draft.granted) <= set(file.case.asked.cover.categories):
        raise Refused("category-not-allowed", detail="Not asked for.", reason="draft grants what was not asked")
    if {one.category for one in draft.records} != set(draft.granted):
        raise Refused(
            "category-not-allowed", detail="Records and categories differ.", reason="records of another category"
        )
    if draft.outcome in RELEASED and file.authority.state is not Registration.ACTIVE:
        raise Refused("authority-not-active", reason="disclosure to an authority that is not active")
    if file.case.state not in OPEN:
        raise Refused("impossible", detail=f"The case is {file.case.state}.", reason="case not open")
    return draft


def counted(approvals: Iterable[bytes], draft: Draft, keyset: Keyset, now: Instant) -> tuple[Statement, ...]:
    """The approvals of this very draft that count: one a person and a key, under reviewers' keys valid then and now.

    What does not count is passed over, never an error: it may be another reviewer's mistake, or somebody's forgery.
    """
    found: dict[str, Statement] = {}
    for raw in approvals:
        try:
            statement = _approval(raw, draft, keyset, now)
        except Refused:
            continue
        found.setdefault(statement.holder.name, statement)
    return tuple(found.values())


def _approval(raw: bytes, draft: Draft, keyset: Keyset, now: Instant) -> Statement:
    """Two names with one key cannot be: a keyset has no key twice."""
    statement = read(raw, Known(keyset), now, kinds=(APPROVAL_TYP,))
    said = statement.saying(Approval)
    if (said.case, said.draft) != (draft.case, draft.digest):
        raise Refused("impossible", detail="This approves another draft.", reason="approval of another draft")
    if not statement.holder.valid(instant(said.iat)) or instant(said.iat) > now + limits.LEEWAY:
        raise Refused("key-not-active", reason="reviewer's key not valid when it signed")
    return statement


def seal_draft(draft: Draft, recipient: str) -> SealedDraft:
    """The draft as the store may keep it: sealed to the desk itself."""
    return SealedDraft(draft.digest, seal_bytes(draft.to_bytes(), [recipient]))


def open_draft(kept: SealedDraft, identities: Sequence[str]) -> Draft:
    """The draft again. Sealing does not say who sealed: that it is the one reviewers saw is the digest's to prove."""
    draft = validated(unseal_bytes(kept.sealed, identities), Draft)
    if draft.digest != kept.digest:
        raise Refused("digest-mismatch", reason="draft differs from its digest")
    return draft


@final
@dataclass(frozen=True, slots=True)
class Opened:
    """A case as a reviewer sees it."""

    file: File
    particulars: Particulars
    draft: Draft | None
    approvals: tuple[Statement, ...]  # that count for this draft
    trouble: str | None

    @property
    def subjects(self) -> int:
        """How many targets the particulars name."""
        return subjects_of(self.particulars)


def subjects_of(particulars: Particulars) -> int:
    """How many targets there are."""
    return len(particulars.targets) if isinstance(particulars, ProductionParticulars) else 0


@final
class Review:
    """What reviewers do with a case. Stands on the store; each act is one transaction."""

    def __init__(
        self,
        store: Store,
        keyset: Keyset,
        identities: Sequence[str],
        recipient: str,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._keyset = keyset
        self._identities = identities
        self._recipient = recipient
        self._entropy = entropy

    def show(self, case: CaseId, reviewer: SecretKey, now: Instant) -> Opened:
        """Particulars and draft, opened for a reviewer, which is logged. Raises Refused, SealingError."""
        name = self._reviewer(reviewer, now)
        opened = self._opened(case, now)
        log.info("particulars.opened", case=case, authority=opened.file.authority.id, reviewer=name)
        return opened

    def approve(
        self, case: CaseId, draft: str, reviewer: SecretKey, now: Instant, *, despite_flags: bool = False
    ) -> tuple[Draft, int]:
        """Sign that the draft may leave. `draft` is how its digest begins, as the reviewer saw it. Gives how many now say so.

        Raises Refused: for another draft than the present one, for a flagged one without `despite_flags`, for a second
        approval by the same person, and for who is no reviewer.
        """
        name = self._reviewer(reviewer, now)
        with self._store.transaction():
            opened = self._opened(case, now)
            found = opened.draft
            if found is None:
                raise Refused("impossible", detail="There is no draft to approve.", reason="no draft")
            if len(draft) < PREFIX or not found.digest.startswith(draft.lower()):
                raise Refused(
                    "impossible", detail="The draft is another one now. Look at it again.", reason="other draft"
                )
            checked(found, opened.file)
            if (found.flags or flags_of(opened.file, opened.subjects)) and not despite_flags:
                raise Refused("impossible", detail="The draft is flagged. Look into it first.", reason="flagged")
            if name in {one.holder.name for one in opened.approvals}:
                raise Refused("impossible", detail="You approved it before; a second person must.", reason="one twice")
            self._sign(found, opened.file, reviewer, name, now)
        return found, len(opened.approvals) + 1

    def narrow(self, case: CaseId, withhold: Iterable[Category], text: str, reviewer: SecretKey, now: Instant) -> Draft:
        """A draft with fewer categories, approved by who made it. Raises Refused."""

        def make(opened: Opened) -> Draft:
            if opened.draft is None:
                raise Refused("impossible", detail="There is no draft to narrow.", reason="no draft")
            return narrowed(opened.draft, withhold, text, self._entropy(16))

        return self._replace(case, make, reviewer, now)

    def refuse(self, case: CaseId, code: str, text: str, reviewer: SecretKey, now: Instant) -> Draft:
        """A draft that refuses, approved by who made it. Raises Refused."""
        return self._turn_down(case, Outcome.REFUSED, code, text, reviewer, now)

    def clarify(self, case: CaseId, code: str, text: str, reviewer: SecretKey, now: Instant) -> Draft:
        """A draft that asks the authority a question, approved by who made it. Raises Refused."""
        return self._turn_down(case, Outcome.CLARIFICATION_NEEDED, code, text, reviewer, now)

    def _turn_down(
        self, case: CaseId, outcome: Outcome, code: str, text: str, reviewer: SecretKey, now: Instant
    ) -> Draft:
        def make(opened: Opened) -> Draft:
            return turned_down(opened.file, outcome, code, text, opened.subjects, self._entropy(16))

        return self._replace(case, make, reviewer, now)

    def _replace(self, case: CaseId, make: Callable[[Opened], Draft], reviewer: SecretKey, now: Instant) -> Draft:
        name = self._reviewer(reviewer, now)
        with self._store.transaction():
            opened = self._opened(case, now)
            row = self._store.case(case)
            if row is None or row.duty is Duty.NONE or self._store.awaiting(case):
                raise Refused("impossible", detail="Nothing is owed on this case now.", reason="no duty")
            draft = checked(make(opened), opened.file)
            self._store.put_draft(case, seal_draft(draft, self._recipient), now)
            note_draft(draft, opened.file)
            self._sign(draft, opened.file, reviewer, name, now)
        return draft

    def _opened(self, case: CaseId, now: Instant) -> Opened:
        file = file_of(case, self._store, self._keyset)
        try:
            particulars = particulars_of(file.case.asked.cover.kind, file.said, file.sealed, self._identities)
        except Unfit as unfit:
            raise Refused("impossible", detail=OURS[unfit.ground].text, reason=unfit.ground) from None
        row = self._store.case(case)
        kept = self._store.draft(case)
        draft = None if kept is None else open_draft(kept, self._identities)
        approvals: tuple[Statement, ...] = ()
        if draft is not None:
            approvals = counted(self._store.approvals(case, draft.digest), draft, self._keyset, now)
        return Opened(file, particulars, draft, approvals, None if row is None else row.trouble)

    def _reviewer(self, secret: SecretKey, now: Instant) -> str:
        """The name under which the root-signed keyset knows this key as a reviewer's. Raises Refused."""
        holder = self._keyset.holder(secret.public.id)
        if holder is None:
            raise Refused("key-unknown", detail="The keyset does not know this key.", reason="no such reviewer")
        if holder.role is not Role.REVIEWER:
            raise Refused("key-role", detail="This key is no reviewer's.", reason=f"{holder.role} key reviews")
        if not holder.valid(now):
            raise Refused("key-not-active", reason="reviewer's key not valid")
        return holder.name

    def _sign(self, draft: Draft, file: File, reviewer: SecretKey, name: str, now: Instant) -> None:
        """Within the transaction: an approval that cannot be logged is none."""
        platform = self._keyset.platform
        jti = uuid7(now, self._entropy(10))
        said = Approval(iss=platform, aud=platform, iat=numeric(now), jti=jti, case=draft.case, draft=draft.digest)
        raw = say(said, reviewer)
        self._store.add_approval(file.case.id, draft.digest, digest_of(raw), raw)
        short = draft.digest[:16]
        log.info("draft.approved", case=file.case.id, authority=file.authority.id, draft=short, reviewer=name)


def note_draft(draft: Draft, file: File) -> None:
    """Log that there is a new draft."""
    short = draft.digest[:16]
    log.info("draft.prepared", case=file.case.id, authority=file.authority.id, draft=short, accounts=draft.accounts)


def grounds(file: File) -> dict[str, str]:
    """The codes on which the request's law lets an answer be refused, and their texts."""
    return {code: found.text for code, found in framework(file.case.asked.cover.framework).grounds.items()}
