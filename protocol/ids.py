"""Names of things: instants, parties, cases, statements, digests. Each has one strict parser, and is derived where possible.

A value of one of these types has the exact form that its parser takes, so that nobody need look at it again. No clock is read
and no randomness made here: `now` and `entropy` are parameters.
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Final, NewType, TypeAlias

Instant: TypeAlias = datetime  # always aware, always UTC; made by `instant` or at a process's edge
PartyId = NewType("PartyId", str)  # `kr-knpa-cyber` (an authority) or `platform.example` (the platform)
CaseId = NewType("CaseId", str)  # UUIDv8, lower case
Jti = NewType("Jti", str)  # UUIDv7, lower case
Digest = NewType("Digest", str)  # SHA-256 in lower-case hex, as `sha256sum` prints it

AUTHORITY_PATTERN: Final = r"[a-z]{2}(?:-[a-z0-9]{1,24}){1,4}"
PLATFORM_PATTERN: Final = r"(?=.{4,100}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}"
UUID7_PATTERN: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
UUID8_PATTERN: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
DIGEST_PATTERN: Final = r"[0-9a-f]{64}"

EARLIEST: Final = 1_700_000_000  # 2023-11-14: nothing of ours is older
LATEST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that a datetime can hold


class NotAnId(ValueError):
    """A text that is not of the form that was asked for. Says the form, never the text."""


def _shaped(text: str, pattern: str, what: str) -> str:
    if re.fullmatch(pattern, text, re.ASCII) is None:
        raise NotAnId(f"not {what}")
    return text


def parse_authority_id(text: str) -> PartyId:
    """An authority's id: ISO 3166-1 alpha-2 country first, lower case, one to four further parts."""
    return PartyId(_shaped(text, AUTHORITY_PATTERN, "an authority's id"))


def parse_platform_id(text: str) -> PartyId:
    """A platform's id: its domain in lower case (RFC 1035 labels)."""
    return PartyId(_shaped(text, PLATFORM_PATTERN, "a platform's id"))


def parse_case_id(text: str) -> CaseId:
    """A case's id: UUIDv8 (RFC 9562 §5.8) in lower case."""
    return CaseId(_shaped(text, UUID8_PATTERN, "a case id"))


def parse_jti(text: str) -> Jti:
    """A statement's id: UUIDv7 (RFC 9562 §5.7) in lower case."""
    return Jti(_shaped(text, UUID7_PATTERN, "a UUIDv7"))


def parse_digest(text: str) -> Digest:
    """A SHA-256 (FIPS 180-4) in lower-case hex."""
    return Digest(_shaped(text, DIGEST_PATTERN, "a SHA-256 in hex"))


def digest_of(raw: bytes) -> Digest:
    """The SHA-256 of `raw`.

    >>> digest_of(b"abc")[:8]
    'ba7816bf'
    """
    return Digest(hashlib.sha256(raw).hexdigest())


def instant(seconds: int) -> Instant:
    """The instant of a NumericDate (RFC 7519 §2) in whole seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def numeric(at: Instant) -> int:
    """The NumericDate of `at`, in whole seconds, rounded down."""
    return int(at.timestamp())


def written(at: Instant) -> str:
    """`at` for people and JSON: RFC 3339 in UTC, whole seconds.

    >>> written(instant(1_800_000_000))
    '2027-01-15T08:00:00Z'
    """
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _uuid(high: int, version: int, low: bytes) -> str:
    """48 bits of time, then 74 of the 80 bits of `low` (the others give way to version and variant)."""
    number = (high & (2**48 - 1)) << 80 | int.from_bytes(low[:10], "big")
    number = number & ~(0xF << 76) | version << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7(now: Instant, entropy: bytes) -> Jti:
    """A UUIDv7 (RFC 9562 §5.7) of `now` in milliseconds and at least ten bytes of `entropy`."""
    if len(entropy) < 10:  # noqa: PLR2004 (80 bits, of which 74 are used)
        raise RuntimeError("uuid7 needs ten bytes of entropy")
    return Jti(_uuid(int(now.timestamp() * 1000), 7, entropy))


def case_id(iat: int, statement: Digest) -> CaseId:
    """The id of the case that a request opens: UUIDv8 (RFC 9562 §5.8) of its `iat` in milliseconds and its digest.

    Everyone computes it from the statement; nobody assigns it, and it sorts by time.
    """
    return CaseId(_uuid(iat * 1000, 8, bytes.fromhex(statement)))
