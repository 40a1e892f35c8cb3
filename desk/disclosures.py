"""Disclosures: what two people approved is sealed to the requester, sent, and signed for. Once.

The sealed file is fixed on disk, with its digest, before any byte leaves; after a crash the same bytes are sent again, and the
decision names them. So nothing is ever disclosed twice in two forms. The records are never on disk in clear: the ZIP is made in
memory and sealed from there. To whom is what the registry chain says that this desk verified, never what a request says.
"""

import asyncio
import hashlib
import io
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, final

from channels.logs import get_log
from crypto.keys import SecretKey, sealing_key_id
from crypto.sealing import parse_recipient, seal, seal_bytes
from desk.records import Duty, Release
from desk.review import RELEASED, Draft, checked, counted, open_draft
from desk.store import Store
from desk.vetting import File, file_of
from protocol import limits
from protocol.authorities import Authority
from protocol.disclosure import About, files_of, write
from protocol.ids import CaseId, Digest, Instant, digest_of, numeric, uuid7
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.sayings import Decision, SealedPart
from protocol.statements import Statement, say

log = get_log()
Put: TypeAlias = Callable[[Path, Digest], Awaitable[None]]
"""Bring a sealed file to the gateway, where it lies under its digest. Doing it again is harmless. Raises OSError."""

ENDING: Final = ".age"
PART: Final = ".part"


@final
@dataclass(frozen=True, slots=True)
class _Approved:
    """A draft that may leave, and all that says so."""

    file: File
    draft: Draft
    approvals: tuple[Statement, ...]


@final
class Disclosures:
    """The last room before the door. `folder` holds sealed files that are on their way, and nothing else."""

    def __init__(
        self,
        store: Store,
        keyset: Keyset,
        identities: Sequence[str],
        secret: Callable[[], SecretKey],
        folder: Path,
        put: Put,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._keyset = keyset
        self._identities = identities
        self._secret = secret
        self._folder = folder
        self._put = put
        self._entropy = entropy

    async def release(self, case: CaseId, now: Instant) -> Digest:
        """Seal, send, sign. Gives the decision's digest.  1 approved?  2 fixed on disk?  3 at the gateway?  4 still so?

        Raises Refused when it may not leave, OSError when the gateway cannot be reached: all can be done again.
        """
        approved = await asyncio.to_thread(self._approved, case, now)  # (1)
        parts: tuple[SealedPart, ...] = ()
        if approved.draft.outcome in RELEASED:
            fixed = await asyncio.to_thread(self._fixed, approved, now)  # (2)
            await self._put(self.path(fixed.sha256), fixed.sha256)  # (3)
            parts = (SealedPart(sha256=fixed.sha256, size=fixed.size, recipients=fixed.recipients),)
        return await asyncio.to_thread(self._decide, approved.draft, parts, now)  # (4)

    def path(self, sha256: Digest) -> Path:
        """Where a sealed disclosure lies."""
        return self._folder / f"{sha256}{ENDING}"

    def sweep(self) -> int:
        """Remove what is no longer on its way. Returns how many files."""
        if not self._folder.is_dir():
            return 0
        with self._store.transaction():  # no other thread or process can just be fixing one
            kept = {f"{sha256}{ENDING}" for sha256 in self._store.released()}
            gone = [path for path in self._folder.glob(f"*{ENDING}") if path.name not in kept]
            for path in gone:
                path.unlink(missing_ok=True)
        return len(gone)

    def _approved(self, case: CaseId, now: Instant) -> _Approved:
        """Everything read and verified anew: file, draft, approvals. Raises Refused."""
        file = file_of(case, self._store, self._keyset)
        row, kept = self._store.case(case), self._store.draft(case)
        if row is None or row.duty is not Duty.REVIEW or kept is None or self._store.awaiting(case):
            raise Refused("impossible", reason="nothing to release")
        draft = checked(open_draft(kept, self._identities), file)
        approvals = counted(self._store.approvals(case, draft.digest), draft, self._keyset, now)
        if len(approvals) < limits.APPROVALS:
            raise Refused("impossible", reason=f"{len(approvals)} approvals count")
        return _Approved(file, draft, approvals)

    def _fixed(self, approved: _Approved, now: Instant) -> Release:
        """The one sealed form of an approved draft: as it lies here, or made now."""
        case = approved.file.case.id
        recipients = recipients_of(approved.file.authority)
        ids = tuple(sealing_key_id(recipient) for recipient in recipients)
        if (held := self._usable(case, approved.draft, ids)) is not None:
            return held
        self._folder.mkdir(mode=0o700, exist_ok=True)
        part = self._folder / f".{secrets.token_hex(8)}{PART}"
        try:
            sha256, size = self._seal(approved, recipients, part, now)
            with self._store.transaction():
                if (held := self._usable(case, approved.draft, ids)) is not None:
                    return held  # another worker was first: its bytes leave, and ours do not
                part.replace(self.path(sha256))
                _synced(self._folder)
                fixed = Release(approved.draft.digest, sha256, size, ids, self._secret().public.id)
                self._store.put_release(case, fixed)
            return fixed
        finally:
            part.unlink(missing_ok=True)

    def _usable(self, case: CaseId, draft: Draft, ids: tuple[str, ...]) -> Release | None:
        held = self._store.release(case)
        if held is None or (held.draft, held.recipients, held.signer) != (draft.digest, ids, self._secret().public.id):
            return None
        return held if self.path(held.sha256).exists() else None

    def _seal(self, approved: _Approved, recipients: Sequence[str], part: Path, now: Instant) -> tuple[Digest, int]:
        draft, file = approved.draft, approved.file
        files = files_of(one.records for one in draft.records)
        about = About(
            platform=self._keyset.platform,
            requester=file.authority.id,
            case=file.case.id,
            request=file.case.request.digest,
            desk=self._secret().public.id,
            draft=draft.digest,
            asked=file.case.asked.cover.categories,
            granted=draft.granted,
            made=numeric(now),
            files=tuple(listed for listed, _ in files),
        )
        plain = io.BytesIO()
        write(plain, about, [content for _, content in files])
        plain.seek(0)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            sink = _Hashed(raw)
            seal(plain, sink, recipients)
            raw.flush()
            os.fsync(raw.fileno())
        return Digest(sink.digest.hexdigest()), sink.size

    def _decide(self, draft: Draft, parts: tuple[SealedPart, ...], now: Instant) -> Digest:
        """Sign, if everything still stands as it did: a withdrawal or another draft may have come while bytes travelled."""
        case = CaseId(draft.case)
        with self._store.transaction():
            approved = self._approved(case, now)
            if approved.draft.digest != draft.digest:
                raise Refused("impossible", reason="the draft changed on the way")
            explanation, part = self._explained(approved)
            said = Decision(
                iss=self._keyset.platform,
                aud=approved.file.authority.id,
                iat=numeric(now),
                jti=uuid7(now, self._entropy(10)),
                case=case,
                outcome=draft.outcome,
                ground=draft.ground,
                categories=draft.granted,
                accounts=draft.accounts,
                disclosures=parts,
                explanation=part,
                draft=draft.digest,
                approvals=tuple(one.digest for one in approved.approvals[:8]),
            )
            raw = say(said, self._secret())
            digest = digest_of(raw)
            self._store.say(case, digest, raw, now, decision=True, sealed=explanation)
            self._store.set_duty(case, Duty.NONE)
            log.info(
                "decision.signed",
                case=case,
                authority=said.aud,
                outcome=draft.outcome.value,
                draft=draft.digest[:16],
                digest=digest[:16],
            )
        return digest

    def _explained(self, approved: _Approved) -> tuple[bytes | None, SealedPart | None]:
        """The explanation sealed to the requester, and how the decision names it."""
        if not approved.draft.explanation:
            return None, None
        recipients = recipients_of(approved.file.authority)
        sealed = seal_bytes(approved.draft.explanation.encode(), recipients)
        ids = tuple(sealing_key_id(recipient) for recipient in recipients)
        return sealed, SealedPart(sha256=digest_of(sealed), size=len(sealed), recipients=ids)


def recipients_of(authority: Authority) -> tuple[str, ...]:
    """All sealing keys that the authority's verified chain names.

    Where it names keys of both kinds, the post-quantum ones alone: one file is never sealed to both (C2SP age), and a copy
    for the others would take the protection away.
    """
    strong = tuple(one for one in authority.sealing if parse_recipient(one).post_quantum)
    return strong or authority.sealing


@final
class _Hashed:
    """A sink that keeps the digest and the size of what passes."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes | bytearray | memoryview, /) -> int:
        """Pass on all of it."""
        self.digest.update(content)
        self.size += len(content)
        return self._raw.write(content)


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
