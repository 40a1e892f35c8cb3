"""The field's terms: closed choices, and the strict forms of texts and numbers that statements and bodies are made of.

Nothing here says anything yet: what a kind of statement says is `sayings`, what the HTTP API answers is `wire`. A value that has
passed one of these forms is of exactly that form.
"""

from enum import StrEnum
from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protocol import ids, limits


class Role(StrEnum):
    """What a key may sign or open. Every key has one role; an authority's are not in the keyset."""

    ROOT = "root"
    GATEWAY = "gateway-signing"
    GATEWAY_QUEUE = "gateway-queue"
    DESK = "desk-signing"
    DESK_SEALING = "desk-sealing"
    DESK_QUEUE = "desk-queue"
    OPERATOR = "operator"
    REVIEWER = "reviewer"
    AUTHORITY = "authority"


class RequestKind(StrEnum):
    """What is asked for."""

    PRODUCTION = "production"


class Urgency(StrEnum):
    """How soon."""

    ORDINARY = "ordinary"
    EMERGENCY = "emergency"


class Category(StrEnum):
    """The four categories of data of Reg. (EU) 2023/1543 Art. 3(9)-(12)."""

    SUBSCRIBER = "subscriber"
    IDENTIFICATION = "identification"
    TRAFFIC = "traffic"
    CONTENT = "content"


class AuthorityType(StrEnum):
    """What kind of authority asks."""

    POLICE = "police"
    PROSECUTOR = "prosecutor"
    COURT = "court"
    REGULATOR = "regulator"


class Outcome(StrEnum):
    """How a request was answered. Refusing and having nothing are answers; silence is not."""

    DISCLOSED = "disclosed"
    PARTLY_DISCLOSED = "partly_disclosed"
    NO_DATA = "no_data"
    REFUSED = "refused"
    CLARIFICATION_NEEDED = "clarification_needed"


class Stage(StrEnum):
    """What a receipt promises: the row's place in the life of a chain."""

    TAKEN = "taken"
    HANDED = "handed"
    ANSWERED = "answered"
    RETRIEVED = "retrieved"
    OVERDUE = "overdue"


class Withdrawn(StrEnum):
    """Why a request is taken back. A code, so that no free text lies in the open."""

    NO_LONGER_NEEDED = "no_longer_needed"
    MISTAKEN = "mistaken"
    REPLACED = "replaced"


class Standing(StrEnum):
    """What an operator makes of an authority."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Closed(BaseModel):
    """Strict, frozen, and closed: no member but the ones that stand here."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # a command builds the few that it reads: importing all costs 150 ms less
    )


def one_line(most: int, least: int = 1) -> StringConstraints:
    """One line of printable text."""
    return StringConstraints(min_length=least, max_length=most, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")


NumericDate: TypeAlias = Annotated[int, Field(ge=ids.EARLIEST, le=ids.LATEST)]
AuthorityId: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{ids.AUTHORITY_PATTERN}$")]
PlatformId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", max_length=100)]
Party: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$", min_length=4, max_length=108)]
CaseText: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{ids.UUID8_PATTERN}$")]
JtiText: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{ids.UUID7_PATTERN}$")]
DigestText: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{ids.DIGEST_PATTERN}$")]
KeyIdText: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Country: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Entity: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,15}$")]
FrameworkId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}\.[a-z0-9-]{2,32}$")]
Code: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,47}$")]
Coordinate: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Recipient: TypeAlias = Annotated[str, StringConstraints(pattern=r"^age1[a-z0-9]{50,2100}$")]
Url: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https://[^\s\x00-\x1f\x7f]{3,500}$")]
Salt: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]
CompactJws: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=limits.STATEMENT)
]

Value = TypeVar("Value")


def once(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Each value once: a list with one twice says nothing more, and is counted otherwise by others."""
    if len(set(values)) != len(values):
        raise ValueError("each once")
    return values
