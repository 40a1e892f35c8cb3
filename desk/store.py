"""The desk's record in one SQLite file, shared by the worker and the reviewers' command line.

It holds what was verified, verbatim, and ciphertext: particulars and drafts lie here sealed to the desk's own keys, and nothing
in clear that was not in clear at the gateway. What belongs together is written in one `transaction`, durable when it ends
(WAL, `synchronous=FULL`); what is deleted is overwritten (`secure_delete`). The file is 0600. Nothing is judged here.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import RLock
from typing import Any, Self, cast, final

from desk.records import (
    CASE,
    SAID,
    SCHEMA,
    SCHEMA_VERSION,
    CaseRow,
    Duty,
    Release,
    Said,
    SealedDraft,
    StoreError,
    case_of,
    said_of,
)
from protocol.chains import Row
from protocol.ids import CaseId, Digest, Instant, numeric


@final
class Store:
    """The file. Made by `open`. Every method raises `StoreError`; each is durable by itself outside a `transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file, and its folder. Raises StoreError: `newer-schema`, `unusable`."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = _connected(path)
            _prepared(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreError("unusable") from error
        return cls(connection)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within is written, or nothing. Other threads and processes wait. Not to be nested."""
        with self._lock:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise

    # what was verified

    def rows(self, chain: str) -> list[Row]:
        """The rows of a case or registry chain, in order."""
        found = self._all("SELECT receipt, statement FROM rows WHERE chain = ? ORDER BY seq", chain)
        return [Row(receipt, statement) for receipt, statement in found]

    def receipt_digest(self, chain: str, seq: int) -> Digest | None:
        """The digest of the receipt at that place, or None."""
        row = self._one("SELECT receipt_digest FROM rows WHERE chain = ? AND seq = ?", chain, seq)
        return None if row is None else Digest(row[0])

    def add_row(self, chain: str, seq: int, row: Row, digests: tuple[Digest, Digest], seen: Instant) -> None:
        """Append a row. `digests` are the receipt's own and that of what it certifies. A taken place is a StoreError."""
        self._run(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)",
            chain, seq, *digests, row.receipt, row.statement, numeric(seen),
        )  # fmt: skip

    def add_sealed(self, digest: Digest, chain: str, content: bytes) -> None:
        """Keep sealed particulars."""
        self._run("INSERT OR IGNORE INTO sealed VALUES (?, ?, ?)", digest, chain, content)

    def sealed(self, digest: Digest) -> bytes | None:
        """Sealed particulars, or None."""
        row = self._one("SELECT content FROM sealed WHERE digest = ?", digest)
        return None if row is None else cast("bytes", row[0])

    # cases

    def case(self, case: CaseId) -> CaseRow | None:
        """One case, or None."""
        row = self._one(f"SELECT {CASE} FROM cases WHERE id = ?", case)  # noqa: S608 (a constant)
        return None if row is None else case_of(row)

    def cases(self) -> list[CaseRow]:
        """All cases, oldest first."""
        return [case_of(row) for row in self._all(f"SELECT {CASE} FROM cases ORDER BY id")]  # noqa: S608 (a constant)

    def put_case(self, row: CaseRow) -> None:
        """Add or replace a case's row; it is due at once."""
        due = None if row.due is None else numeric(row.due)
        self._run(
            "INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            row.case, row.authority, row.state, row.urgency, numeric(row.received), due, numeric(row.seen),
            row.duty.value, row.trouble,
        )  # fmt: skip

    def to_look_up(self, now: Instant, limit: int) -> list[CaseId]:
        """Cases that want a draft, emergencies first, then the oldest."""
        found = self._all(
            "SELECT id FROM cases WHERE duty = 'look_up' AND next <= ? ORDER BY urgency, id LIMIT ?",
            numeric(now),
            limit,
        )
        return [CaseId(row[0]) for row in found]

    def troubled(self, case: CaseId, flaw: str, again: Instant) -> None:
        """A look-up or release failed: why, and when to try again. Nothing, when nothing is owed any more."""
        self._run("UPDATE cases SET trouble = ?, next = ? WHERE id = ? AND duty != 'none'", flaw, numeric(again), case)

    def set_duty(self, case: CaseId, duty: Duty) -> None:
        """What is owed now."""
        self._run("UPDATE cases SET duty = ?, next = 0, trouble = NULL WHERE id = ?", duty.value, case)

    # drafts and approvals

    def draft(self, case: CaseId) -> SealedDraft | None:
        """The draft that counts now, or None."""
        row = self._one("SELECT digest, sealed FROM drafts WHERE chain = ?", case)
        return None if row is None else SealedDraft(Digest(row[0]), row[1])

    def put_draft(self, case: CaseId, draft: SealedDraft, made: Instant) -> None:
        """A new draft takes the place of the one before, whose approvals so count for nothing."""
        self._run("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?, ?)", case, draft.digest, draft.sealed, numeric(made))
        self.set_duty(case, Duty.REVIEW)

    def drop_draft(self, case: CaseId) -> None:
        """Forget the draft. What was approved, and by whom, stays."""
        self._run("DELETE FROM drafts WHERE chain = ?", case)

    def add_approval(self, case: CaseId, draft: Digest, digest: Digest, statement: bytes) -> None:
        """Keep an approval, verbatim."""
        self._run("INSERT OR IGNORE INTO approvals VALUES (?, ?, ?, ?)", digest, case, draft, statement)

    def approvals(self, case: CaseId, draft: Digest) -> list[bytes]:
        """The approvals of that draft, as they were signed."""
        found = self._all("SELECT statement FROM approvals WHERE chain = ? AND draft = ? ORDER BY digest", case, draft)
        return [row[0] for row in found]

    def to_release(self, now: Instant, approvals: int, limit: int) -> list[CaseId]:
        """Cases whose present draft has at least so many approvals; whether they count is for `review` to say."""
        found = self._all(
            "SELECT cases.id FROM cases JOIN drafts ON drafts.chain = cases.id"
            " WHERE duty = 'review' AND next <= ? AND (SELECT count(*) FROM approvals"
            " WHERE approvals.chain = cases.id AND approvals.draft = drafts.digest) >= ?"
            " ORDER BY urgency, id LIMIT ?",
            numeric(now), approvals, limit,
        )  # fmt: skip
        return [CaseId(row[0]) for row in found]

    # releases

    def release(self, case: CaseId) -> Release | None:
        """The sealed disclosure of a case that has not been receipted yet, or None."""
        row = self._one("SELECT draft, sha256, size, recipients, signer FROM releases WHERE chain = ?", case)
        return None if row is None else Release(Digest(row[0]), Digest(row[1]), row[2], tuple(row[3].split()), row[4])

    def put_release(self, case: CaseId, release: Release) -> None:
        """Fix the sealed disclosure of a case: from now on these bytes leave, or none."""
        self._run(
            "INSERT OR REPLACE INTO releases VALUES (?, ?, ?, ?, ?, ?)",
            case, release.draft, release.sha256, release.size, " ".join(release.recipients), release.signer,
        )  # fmt: skip

    def drop_release(self, case: CaseId) -> None:
        """Forget it; the file is its maker's to remove."""
        self._run("DELETE FROM releases WHERE chain = ?", case)

    def released(self) -> frozenset[Digest]:
        """The digests of all sealed disclosures that are still needed."""
        return frozenset(Digest(row[0]) for row in self._all("SELECT sha256 FROM releases"))

    # what the desk says

    def say(
        self, chain: str, digest: Digest, statement: bytes, at: Instant, *, decision: bool, sealed: bytes | None = None
    ) -> None:
        """Into the outbox, until the gateway's receipt or rejection comes back."""
        self._run(
            "INSERT OR IGNORE INTO outbox (digest, chain, decision, statement, sealed, awaits, made, next, attempts, alarmed)"
            " VALUES (?, ?, ?, ?, ?, 1, ?, 0, 0, 0)",
            digest, chain, int(decision), statement, sealed, numeric(at),
        )  # fmt: skip

    def accept(self, chain: str, of: Digest, digest: Digest, statement: bytes, at: Instant, *, row: bool) -> None:
        """Keep what was said of a row, and say it: once, or, when it is to be a `row` itself, until it is receipted."""
        self._run("INSERT OR IGNORE INTO acceptances VALUES (?, ?, ?)", chain, of, statement)
        self._run(
            "INSERT OR IGNORE INTO outbox (digest, chain, decision, statement, awaits, made, next, attempts, alarmed)"
            " VALUES (?, ?, 0, ?, ?, ?, 0, 0, 0)",
            digest, chain, statement, int(row), numeric(at),
        )  # fmt: skip

    def accepted(self, chain: str, of: Digest) -> bytes | None:
        """What was said of a row. None if nothing was."""
        row = self._one("SELECT statement FROM acceptances WHERE chain = ? AND of = ?", chain, of)
        return None if row is None else cast("bytes", row[0])

    def say_again(self, chain: str, digest: Digest, statement: bytes, at: Instant) -> None:
        """The gateway asked again: publish at once; what has had its receipt goes out once more and is not waited for."""
        self._run(
            "INSERT INTO outbox (digest, chain, decision, statement, awaits, made, next, attempts, alarmed)"
            " VALUES (?, ?, 0, ?, 0, ?, 0, 0, 0) ON CONFLICT (digest) DO UPDATE SET next = 0",
            digest, chain, statement, numeric(at),
        )  # fmt: skip

    def owed(self, now: Instant, limit: int) -> list[Said]:
        """What is to be published now, in the order in which it was said."""
        found = self._all(f"SELECT {SAID} FROM outbox WHERE next <= ? ORDER BY id LIMIT ?", numeric(now), limit)  # noqa: S608 (a constant)
        return [said_of(row) for row in found]

    def published(self, said: Said, again: Instant) -> None:
        """It went out: due again then, or, when no receipt is owed for it, done."""
        if said.awaits:
            self._run("UPDATE outbox SET next = ?, attempts = attempts + 1 WHERE id = ?", numeric(again), said.id)
        else:
            self._run("DELETE FROM outbox WHERE id = ?", said.id)

    def settled(self, digest: Digest) -> Said | None:
        """The gateway answered: take it out of the outbox. None when it was not there."""
        row = self._one(f"DELETE FROM outbox WHERE digest = ? RETURNING {SAID}", digest)  # noqa: S608 (a constant)
        return None if row is None else said_of(row)

    def unsaid(self, case: CaseId) -> None:
        """Take a case's decisions out of the outbox: the request was taken back."""
        self._run("DELETE FROM outbox WHERE chain = ? AND decision = 1", case)

    def awaiting(self, case: CaseId) -> bool:
        """Whether a decision of the case is on its way."""
        return self._one("SELECT 1 FROM outbox WHERE chain = ? AND decision = 1", case) is not None

    def unreceipted(self, before: Instant, now: Instant, every: timedelta) -> list[Said]:
        """What has waited for its receipt since before then, and was not alarmed of lately; now it was."""
        found = self._all(
            f"UPDATE outbox SET alarmed = ? WHERE awaits = 1 AND made < ? AND alarmed <= ? RETURNING {SAID}",  # noqa: S608 (a constant)
            numeric(now), numeric(before), numeric(now - every),
        )  # fmt: skip
        return [said_of(row) for row in found]

    # the keyset

    def keyset(self) -> bytes | None:
        """The newest keyset that this desk has held, as the root signed it."""
        row = self._one("SELECT value FROM meta WHERE name = 'keyset'")
        return None if row is None else cast("bytes", row[0])

    def put_keyset(self, raw: bytes) -> None:
        """Keep the newest keyset, so that no older one is believed after a restart."""
        self._run("INSERT OR REPLACE INTO meta VALUES ('keyset', ?)", raw)

    def _run(self, query: str, *values: object) -> None:
        with self._lock:
            try:
                self._connection.execute(query, values)
            except sqlite3.Error as error:
                raise StoreError("not-written") from error

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        found = self._all(query, *values)
        return found[0] if found else None

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StoreError("not-read") from error


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _prepared(connection: sqlite3.Connection) -> None:
    """Make the tables, or see that they are of our version. Two processes may start at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is None:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION).encode(),))
        found = int(connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])
    finally:
        connection.commit()
    if found > SCHEMA_VERSION:
        connection.close()
        raise StoreError("newer-schema")
