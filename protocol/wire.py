"""Bodies and answers of the HTTP API as models: routes fill them, the document of the API lists them, clients read them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protocol import limits
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.ids import CaseId, numeric
from protocol.sayings import Jwk, SealedPart
from protocol.terms import (
    AuthorityId,
    CaseText,
    Category,
    Closed,
    CompactJws,
    DigestText,
    Entity,
    FrameworkId,
    NumericDate,
    PlatformId,
    RequestKind,
    Urgency,
)


class Answer(BaseModel):
    """Strict in type, but open: a newer gateway may say more than an older client knows."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class StatementBody(Closed):
    """The body of every POST: a signed statement, and the sealed part that it names in base64."""

    statement: Annotated[str, StringConstraints(min_length=1, max_length=limits.STATEMENT)]
    sealed: Annotated[str, StringConstraints(max_length=limits.SEALED * 4 // 3 + 4)] | None = None


class ReceiptAnswer(Answer):
    """What is answered to a statement that was taken: the signed receipt."""

    receipt: CompactJws


class ProblemPlace(Answer):
    """Where something is wrong: a JSON pointer (RFC 6901), and what was expected there."""

    pointer: str
    expected: str


class ProblemAnswer(Answer):
    """A refusal (RFC 9457). `code` is stable; `rejection` is signed, where the sender was authenticated."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    article: str | None = None
    errors: tuple[ProblemPlace, ...] = ()
    rejection: CompactJws | None = None


class Limits(Answer):
    """Sizes in bytes, times in seconds."""

    body: int = limits.BODY
    statement: int = limits.STATEMENT
    sealed: int = limits.SEALED
    attachment: int = limits.ATTACHMENT
    fresh: int = int(limits.FRESH.total_seconds())
    proof: int = int(limits.PROOF.total_seconds())


class FrameworkAnswer(Answer):
    """A law that this platform answers under, and what it opens."""

    id: FrameworkId
    title: str
    version: int
    kinds: dict[RequestKind, tuple[Category, ...]]


class ServiceAnswer(Answer):
    """Who this is, and what a client must know before it signs."""

    platform: PlatformId
    entities: tuple[Entity, ...]
    frameworks: tuple[FrameworkAnswer, ...]
    root: Jwk  # believed only when its thumbprint is the one that was pinned
    keyset: CompactJws
    limits: Limits
    links: dict[str, str]


class ChainRow(Answer):
    """One row of a chain, verbatim: the receipt, and the statement if one caused it."""

    seq: int
    receipt: CompactJws
    statement: CompactJws | None = None


class Statements(Answer):
    """The rows of a case or a registry chain, in order."""

    rows: tuple[ChainRow, ...]


class AuthorityAnswer(Answer):
    """Where an application stands."""

    authority: AuthorityId
    state: str
    application: DigestText
    confirmations: int

    @staticmethod
    def of(authority: Authority) -> "AuthorityAnswer":
        """The answer for an authority."""
        return AuthorityAnswer(
            authority=authority.id,
            state=authority.state,
            application=authority.application.digest,
            confirmations=len(authority.operators),
        )


class AuthorityList(Answer):
    """Authorities by id, for operators. `after` is the cursor for the next page; None when this was the last."""

    authorities: tuple[AuthorityAnswer, ...]
    after: AuthorityId | None = None


class Acceptances(Answer):
    """What desks said of a registry statement: at most one statement a desk."""

    acceptances: tuple[CompactJws, ...]


class CaseAnswer(Answer):
    """A case as its authority sees it."""

    case: CaseText
    state: str
    kind: RequestKind
    urgency: Urgency
    received: NumericDate
    due: NumericDate | None
    overdue: bool
    accepted: bool | None
    outcome: str | None
    ground: str | None
    decision: DigestText | None
    disclosures: tuple[SealedPart, ...]
    explanation: SealedPart | None
    steps: int

    @staticmethod
    def of(case: Case) -> "CaseAnswer":
        """The answer for a case."""
        decided = case.decided
        return CaseAnswer(
            case=case.id,
            state=case.state,
            kind=case.asked.cover.kind,
            urgency=case.asked.cover.urgency,
            received=numeric(case.received),
            due=None if case.due is None else numeric(case.due),
            overdue=case.overdue,
            accepted=case.accepted,
            outcome=None if decided is None else decided.outcome.value,
            ground=None if decided is None else decided.ground,
            decision=None if case.decision is None else case.decision.digest,
            disclosures=case.disclosures,
            explanation=None if decided is None else decided.explanation,
            steps=case.steps,
        )


class CaseRow(Answer):
    """A case in a list."""

    case: CaseText
    state: str
    received: NumericDate
    due: NumericDate | None


class CaseList(Answer):
    """Own cases, oldest first. `after` is the cursor for the next page; None when this was the last."""

    cases: tuple[CaseRow, ...]
    after: CaseId | None = None


class BlobAnswer(Answer):
    """A blob that is stored."""

    sha256: DigestText
    size: Annotated[int, Field(ge=1)]


class Health(Answer):
    """Alive, or ready."""

    status: Literal["ok", "stopping", "not-ready"]
    reasons: tuple[str, ...] = ()
