"""What every kind of request's particulars share, and the shape of a procedure's row."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Self, final

from pydantic import Field, StringConstraints, model_validator

from protocol import limits
from protocol.terms import AuthorityId, Closed, DigestText, JtiText, NumericDate, Outcome


class Officer(Closed):
    """The person who issued the request. Known to the desk alone."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    rank: Annotated[str, StringConstraints(min_length=1, max_length=120)] | None = None
    mail: Annotated[str, StringConstraints(min_length=3, max_length=200)] | None = None
    phone: Annotated[str, StringConstraints(min_length=3, max_length=40)] | None = None


class Attachment(Closed):
    """A document that belongs to the request: its name, type and the digest of its sealed bytes, which travel as a blob."""

    name: Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f]{1,120}$")]
    type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,80}$")]
    sha256: DigestText  # of the sealed blob, as the cover names it
    plain_sha256: DigestText  # of the document itself


class Span(Closed):
    """A span of time. `until` is exclusive."""

    since: NumericDate
    until: NumericDate

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.since >= self.until:
            raise ValueError("since is before until")
        return self


class Particulars(Closed):
    """What the desk alone may know. Repeats `iss` and `jti`, so that nobody sends another's particulars as his own."""

    iss: AuthorityId
    jti: JtiText
    facts: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    officer: Officer
    validated_by: Officer | None = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=limits.ATTACHMENTS)] = ()


@final
@dataclass(frozen=True, slots=True)
class Procedure:
    """One kind of request: the model of its particulars, and how it may be answered."""

    particulars: type[Particulars]
    outcomes: AbstractSet[Outcome]
