"""What the desk's record holds: its tables, and its rows as values. Kept and found by `store`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, final

from protocol.ids import CaseId, Digest, Instant, PartyId, instant

SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rows (
  chain TEXT NOT NULL, seq INTEGER NOT NULL, receipt_digest TEXT NOT NULL, of TEXT NOT NULL, receipt BLOB NOT NULL,
  statement BLOB, seen INTEGER NOT NULL, PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE sealed (digest TEXT PRIMARY KEY, chain TEXT NOT NULL, content BLOB NOT NULL) STRICT;
CREATE TABLE cases (
  id TEXT PRIMARY KEY, authority TEXT NOT NULL, state TEXT NOT NULL, urgency TEXT NOT NULL, received INTEGER NOT NULL,
  due INTEGER, seen INTEGER NOT NULL, duty TEXT NOT NULL, next INTEGER NOT NULL, trouble TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX cases_duty ON cases (duty, next);
CREATE TABLE drafts (
  chain TEXT PRIMARY KEY, digest TEXT NOT NULL, sealed BLOB NOT NULL, made INTEGER NOT NULL
) STRICT;
CREATE TABLE approvals (
  digest TEXT PRIMARY KEY, chain TEXT NOT NULL, draft TEXT NOT NULL, statement BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_draft ON approvals (chain, draft);
CREATE TABLE releases (
  chain TEXT PRIMARY KEY, draft TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, recipients TEXT NOT NULL,
  signer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE acceptances (
  chain TEXT NOT NULL, of TEXT NOT NULL, statement BLOB NOT NULL, PRIMARY KEY (chain, of)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, chain TEXT NOT NULL, decision INTEGER NOT NULL, statement BLOB NOT NULL,
  sealed BLOB, awaits INTEGER NOT NULL, made INTEGER NOT NULL, next INTEGER NOT NULL, attempts INTEGER NOT NULL,
  alarmed INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_next ON outbox (next, id);
CREATE INDEX outbox_chain ON outbox (chain);
"""
CASE: Final = "id, authority, state, urgency, received, due, seen, duty, trouble"
SAID: Final = "id, digest, chain, decision, statement, sealed, awaits, made, attempts"


@final
class StoreError(Exception):
    """What the disk or the file refused. `flaw` is a constant, safe to log."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class Duty(StrEnum):
    """What the desk owes a case now."""

    LOOK_UP = "look_up"  # ask the source, prepare a draft
    REVIEW = "review"  # a draft waits for two approvals
    NONE = "none"  # nothing: answered, withdrawn, or a question to the authority is open


@final
@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case in the desk's list. `seen` is when the desk first saw its request; `trouble` why a look-up failed."""

    case: CaseId
    authority: PartyId
    state: str
    urgency: str
    received: Instant
    due: Instant | None
    seen: Instant
    duty: Duty
    trouble: str | None = None


@final
@dataclass(frozen=True, slots=True)
class SealedDraft:
    """A draft as it lies here: its digest, which reviewers sign, and its bytes sealed to the desk."""

    digest: Digest
    sealed: bytes = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Release:
    """A disclosure that was sealed once and for all: whatever happens, these bytes leave or none."""

    draft: Digest
    sha256: Digest
    size: int
    recipients: tuple[str, ...]  # key ids
    signer: str  # the id of the desk's key that about.json names, and that signs the decision


@final
@dataclass(frozen=True, slots=True)
class Said:
    """What the desk signed and has not been heard of yet. `awaits` says whether the gateway owes a receipt for it."""

    id: int
    digest: Digest
    chain: str
    decision: bool
    statement: bytes
    sealed: bytes | None
    awaits: bool
    made: Instant
    attempts: int


def case_of(row: tuple[Any, ...]) -> CaseRow:
    """A row of `cases`, in the order of CASE."""
    due = None if row[5] is None else instant(row[5])
    return CaseRow(
        CaseId(row[0]), PartyId(row[1]), row[2], row[3], instant(row[4]), due, instant(row[6]), Duty(row[7]), row[8]
    )


def said_of(row: tuple[Any, ...]) -> Said:
    """A row of `outbox`, in the order of SAID."""
    return Said(row[0], Digest(row[1]), row[2], bool(row[3]), row[4], row[5], bool(row[6]), instant(row[7]), row[8])
