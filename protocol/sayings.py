"""What a statement says: one closed, strict model for each kind, and the table of who may sign which.

A model here is what the claims of the JWS must be, member for member; unknown members are refused. The models say nothing of
signatures (`statements.read`), of order (`cases`, `authorities`), or of law (`frameworks`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self, TypeAlias, TypeVar, final

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from protocol import limits
from protocol.terms import (
    AuthorityId,
    AuthorityType,
    CaseText,
    Category,
    Closed,
    Code,
    CompactJws,
    Coordinate,
    Country,
    DigestText,
    Entity,
    FrameworkId,
    JtiText,
    KeyIdText,
    NumericDate,
    Outcome,
    Party,
    Recipient,
    RequestKind,
    Role,
    Salt,
    Stage,
    Standing,
    Urgency,
    Url,
    Withdrawn,
    once,
    one_line,
)


class OkpJwk(Closed):
    """A key on curve25519 (RFC 8037 §2): Ed25519 for signing, X25519 for queues."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519", "X25519"]
    x: Coordinate


class EcJwk(Closed):
    """A P-256 key (RFC 7518 §6.2)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: Coordinate
    y: Coordinate


Jwk: TypeAlias = OkpJwk | EcJwk
SigningKeys: TypeAlias = Annotated[
    tuple[Jwk, ...], Field(min_length=1, max_length=limits.SIGNING_KEYS), AfterValidator(once)
]
SealingKeys: TypeAlias = Annotated[
    tuple[Recipient, ...], Field(min_length=1, max_length=limits.RECIPIENTS), AfterValidator(once)
]
Categories: TypeAlias = Annotated[
    tuple[Category, ...], Field(min_length=1, max_length=len(Category)), AfterValidator(once)
]


class SealedPart(Closed):
    """A sealed file by its digest (of the ciphertext), its size in bytes, and the keys that open it."""

    sha256: DigestText
    size: Annotated[int, Field(ge=1, le=2**50)]
    recipients: Annotated[
        tuple[KeyIdText, ...], Field(min_length=1, max_length=limits.RECIPIENTS), AfterValidator(once)
    ]


class Blob(Closed):
    """A sealed attachment that travels on its own."""

    sha256: DigestText
    size: Annotated[int, Field(ge=1, le=limits.ATTACHMENT)]


File = TypeVar("File", SealedPart, Blob)


def _each_file_once(files: tuple[File, ...]) -> tuple[File, ...]:
    once(tuple(file.sha256 for file in files))
    return files


Blobs: TypeAlias = Annotated[tuple[Blob, ...], Field(max_length=limits.ATTACHMENTS), AfterValidator(_each_file_once)]


class Cover(Closed):
    """What the blind gateway may know of a request, and needs to."""

    kind: RequestKind
    urgency: Urgency
    framework: FrameworkId
    basis: Annotated[str, one_line(120)]  # the article the request rests on
    categories: Categories
    subjects: Annotated[int, Field(ge=1, le=limits.SUBJECTS)]
    entity: Entity = "main"
    reference: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9./_-]{1,64}$")] | None = None
    confidential_until: NumericDate | None = None
    blobs: Blobs = ()


class Claims(Closed):
    """What every statement says: who to whom, when, and under which id."""

    iss: Party
    aud: Party
    iat: NumericDate
    jti: JtiText


class Application(Claims):
    """An authority presents itself and its keys. Proves only that the sender holds the key that signs it."""

    iss: AuthorityId
    name: Annotated[str, one_line(120)]
    country: Country
    type: AuthorityType
    signing: SigningKeys
    sealing: SealingKeys
    contact: Annotated[str, one_line(200)]  # the second line, as the applicant names it; never the one to confirm over
    root: KeyIdText  # the platform's root key that the applicant pinned
    webhook: Url | None = None


class Admission(Claims):
    """An operator confirmed the fingerprint of an application over a line that the applicant did not choose."""

    authority: AuthorityId
    application: DigestText
    words: Annotated[str, one_line(200)]  # as typed by the operator
    line: Annotated[str, one_line(200)]  # which second line, from which directory


class StandingSet(Claims):
    """An operator suspends, revokes or restores an authority."""

    authority: AuthorityId
    standing: Standing
    why: Annotated[str, one_line(200)]


class Rekey(Claims):
    """An authority's new keys: signed by an old one, and carrying the same claims signed by a new one."""

    iss: AuthorityId
    signing: SigningKeys
    sealing: SealingKeys
    inner: CompactJws | None = None  # absent in the inner statement itself


class Request(Claims):
    """A request: the cover in clear, the particulars by their digest."""

    iss: AuthorityId
    cover: Cover
    particulars: SealedPart


class Supplement(Claims):
    """More for a case: the answer to a clarification, or what was found since."""

    iss: AuthorityId
    case: CaseText
    particulars: SealedPart
    blobs: Blobs = ()


class Withdrawal(Claims):
    """The authority takes its request back."""

    iss: AuthorityId
    case: CaseText
    why: Withdrawn


class Acknowledgement(Claims):
    """The authority opened the disclosure and it was what the decision said; or it was not."""

    iss: AuthorityId
    case: CaseText
    decision: DigestText
    opened: bool
    flaw: Code | None = None

    @model_validator(mode="after")
    def _a_flaw_says_what_was_wrong(self) -> Self:
        if self.opened == (self.flaw is not None):
            raise ValueError("flaw is there exactly when opened is false")
        return self


class Acceptance(Claims):
    """The desk has a statement, verified it on its own evidence, and could open it; or why not."""

    case: CaseText | None = None
    authority: AuthorityId | None = None
    of: DigestText
    accepted: bool
    ground: Code | None = None

    @model_validator(mode="after")
    def _one_chain_and_a_ground_for_a_no(self) -> Self:
        if (self.case is None) == (self.authority is None):
            raise ValueError("exactly one of case and authority")
        if self.accepted == (self.ground is not None):
            raise ValueError("ground is there exactly when accepted is false")
        return self


class Decision(Claims):
    """The desk's answer. The explanation is sealed to the requester; the approvals stay at the desk, their digests here."""

    case: CaseText
    outcome: Outcome
    ground: Code | None = None
    categories: Annotated[tuple[Category, ...], Field(max_length=len(Category)), AfterValidator(once)] = ()
    accounts: Annotated[int, Field(ge=0, le=2**31)] = 0
    disclosures: Annotated[
        tuple[SealedPart, ...], Field(max_length=limits.DISCLOSURES), AfterValidator(_each_file_once)
    ] = ()
    explanation: SealedPart | None = None
    draft: DigestText | None = None
    approvals: Annotated[tuple[DigestText, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _outcome_and_members_agree(self) -> Self:
        released = self.outcome in {Outcome.DISCLOSED, Outcome.PARTLY_DISCLOSED}
        if released != bool(self.disclosures) or released != bool(self.categories):
            raise ValueError("disclosures and categories are there exactly when something is disclosed")
        if self.accounts and not released:
            raise ValueError("accounts are affected only when something is disclosed")
        if (self.outcome in {Outcome.REFUSED, Outcome.CLARIFICATION_NEEDED}) != (self.ground is not None):
            raise ValueError("a ground is there exactly for a refusal or a clarification")
        if (self.draft is None) != (not self.approvals):
            raise ValueError("approvals are of a draft")
        if self.draft is None and self.outcome is not Outcome.CLARIFICATION_NEEDED:
            raise ValueError("only a clarification is asked for without a draft")
        if len(set(self.approvals)) != len(self.approvals) or 0 < len(self.approvals) < limits.APPROVALS:
            raise ValueError("two different approvals")
        return self


class Approval(Claims):
    """A reviewer: this draft, and no other, may leave. Stays at the desk."""

    case: CaseText
    draft: DigestText


class Receipt(Claims):
    """The gateway's signed promise: this stands on disk, at this place of the chain, and this is owed."""

    case: CaseText | None = None
    authority: AuthorityId | None = None
    seq: Annotated[int, Field(ge=1, le=limits.STATEMENTS * 2)]
    stage: Stage
    of: DigestText  # the statement, or what caused a stage that no statement caused
    previous: DigestText | None = None  # the previous receipt of the chain
    state: Annotated[str, StringConstraints(pattern=r"^[a-z_]{2,24}$")]
    due: NumericDate | None = None
    salt: Salt

    @model_validator(mode="after")
    def _one_chain(self) -> Self:
        if (self.case is None) == (self.authority is None):
            raise ValueError("exactly one of case and authority")
        if (self.seq == 1) != (self.previous is None):
            raise ValueError("the first receipt has no previous one, and no other")
        return self


class Rejection(Claims):
    """An authenticated statement that was not taken, and why: signed, since an unsigned refusal can be anybody's."""

    of: DigestText
    code: Code
    article: Annotated[str, one_line(120)] | None = None
    member: Annotated[str, one_line(200)] | None = None


class PlatformKey(Closed):
    """One of the platform's public keys: its role, whom it serves, and the time for which it is valid."""

    role: Role
    entity: Entity = "main"
    name: Code  # the holder: `gateway`, `desk`, an operator's or reviewer's name
    since: NumericDate
    until: NumericDate
    jwk: Jwk | None = None
    recipient: Recipient | None = None

    @model_validator(mode="after")
    def _form_fits_role(self) -> Self:
        if self.role in {Role.AUTHORITY, Role.ROOT}:
            raise ValueError("authorities and the root are not in the keyset")
        if (self.role is Role.DESK_SEALING) != (self.recipient is not None) or (self.jwk is None) == (
            self.recipient is None
        ):
            raise ValueError("a sealing key is a recipient, any other a JWK")
        if self.jwk is not None and (self.jwk.crv == "X25519") != (self.role in {Role.GATEWAY_QUEUE, Role.DESK_QUEUE}):
            raise ValueError("queue keys are X25519, signing keys are not")
        if self.since >= self.until:
            raise ValueError("since is before until")
        return self


class KeysetSaying(Claims):
    """The platform's public keys, signed by its offline root. The version only rises."""

    version: Annotated[int, Field(ge=1, le=2**31)]
    until: NumericDate
    keys: Annotated[tuple[PlatformKey, ...], Field(min_length=1, max_length=1_000)]


class Proof(Claims):
    """Authenticates one GET or PUT (after RFC 9449): method and address, good once."""

    htm: Literal["GET", "PUT"]
    htu: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]{3,2000}$")]


class Chain(StrEnum):
    """In which chain a statement of a kind stands."""

    CASE = "case"
    AUTHORITY = "authority"
    NONE = "none"


@final
@dataclass(frozen=True, slots=True)
class KindRow:
    """A statement kind: its model, the one role that signs it, its chain, and whether the platform is its audience."""

    model: type[Claims]
    role: Role
    chain: Chain
    to_platform: bool


def _row(model: type[Claims], role: Role, chain: Chain, *, to_platform: bool = True) -> KindRow:
    return KindRow(model, role, chain, to_platform)


KINDS: Final[Mapping[str, KindRow]] = MappingProxyType(
    {
        "rogatory-application+jwt": _row(Application, Role.AUTHORITY, Chain.AUTHORITY),
        "rogatory-admission+jwt": _row(Admission, Role.OPERATOR, Chain.AUTHORITY),
        "rogatory-standing+jwt": _row(StandingSet, Role.OPERATOR, Chain.AUTHORITY),
        "rogatory-rekey+jwt": _row(Rekey, Role.AUTHORITY, Chain.AUTHORITY),
        "rogatory-request+jwt": _row(Request, Role.AUTHORITY, Chain.CASE),
        "rogatory-supplement+jwt": _row(Supplement, Role.AUTHORITY, Chain.CASE),
        "rogatory-withdrawal+jwt": _row(Withdrawal, Role.AUTHORITY, Chain.CASE),
        "rogatory-acknowledgement+jwt": _row(Acknowledgement, Role.AUTHORITY, Chain.CASE),
        "rogatory-acceptance+jwt": _row(Acceptance, Role.DESK, Chain.CASE, to_platform=False),
        "rogatory-decision+jwt": _row(Decision, Role.DESK, Chain.CASE, to_platform=False),
        "rogatory-approval+jwt": _row(Approval, Role.REVIEWER, Chain.NONE),
        "rogatory-receipt+jwt": _row(Receipt, Role.GATEWAY, Chain.NONE, to_platform=False),
        "rogatory-rejection+jwt": _row(Rejection, Role.GATEWAY, Chain.NONE, to_platform=False),
        "rogatory-keyset+jwt": _row(KeysetSaying, Role.ROOT, Chain.NONE),
        "rogatory-proof+jwt": _row(Proof, Role.AUTHORITY, Chain.NONE),
        "rogatory-desk-proof+jwt": _row(Proof, Role.DESK, Chain.NONE),
        "rogatory-operator-proof+jwt": _row(Proof, Role.OPERATOR, Chain.NONE),
    }
)
