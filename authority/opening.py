"""Opening what came back: fetch, compare with the signed decision, unseal, compare what is inside, acknowledge.

The decision was read from the case's verified chain. A ciphertext counts when its digest and size are the decision's, and what it
opens to when `about.json` names this platform, case, request, requester, draft, and the key that signed the decision: so nobody
passes one disclosure on as another. Whatever is wrong is acknowledged as not opened, with the flaw, and told. Files get their
names only when all of them are right; what is in the clear lies in files of mode 0600, in a folder of mode 0700.
"""

import asyncio
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

from authority.client import Client
from authority.line import refusal
from channels.http import Answered, BadAnswer
from crypto.errors import SealingError
from crypto.sealing import unseal, unseal_bytes
from protocol import limits
from protocol.cases import Case, State
from protocol.disclosure import ABOUT, About, opened
from protocol.ids import CaseId, digest_of
from protocol.problems import Refused
from protocol.sayings import Decision, SealedPart
from protocol.statements import Statement

_ACKNOWLEDGE: Final = frozenset({State.ANSWERED, State.DELIVERED})
_COPY: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that was opened and is what the decision says."""

    case: Case
    decision: Decision
    explanation: str | None
    files: tuple[Path, ...]
    about: tuple[About, ...]
    acknowledged: bool  # by this call; a clarification and a closed case are not


class _Flawed(Exception):
    """What was wrong: a code for the acknowledgement, which everybody may read."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


async def fetch(client: Client, case: CaseId) -> Opened:
    """The whole answer to a case, opened and acknowledged. Raises Refused (`disclosure-wrong`), which is acknowledged too."""
    found, _ = await client.line.case(case)
    if found.decision is None:
        raise Refused("impossible", detail="There is no answer yet; `wait` for it.", reason="no decision")
    if found.state is State.WITHDRAWN:
        raise Refused("impossible", detail="The request was withdrawn.", reason="withdrawn")
    decision = found.decision.saying(Decision)
    try:
        explanation = await _explanation(client, decision)
        files, about = await _files(client, found, found.decision, decision)
    except _Flawed as flawed:
        await _say_not_opened(client, case, flawed.flaw)
        raise Refused(
            "disclosure-wrong",
            detail=f"What came is not what the decision says ({flawed.flaw}). It was not used, and the platform was told so. "
            "Call it over the second line.",
            reason=flawed.flaw,
        ) from None
    found, _ = await client.line.case(case)
    acknowledged = found.state in _ACKNOWLEDGE
    if acknowledged:
        _, found = await client.acknowledge(found)
    return Opened(found, decision, explanation, files, about, acknowledged)


async def _say_not_opened(client: Client, case: CaseId, flaw: str) -> None:
    found, _ = await client.line.case(case)
    if found.state in _ACKNOWLEDGE:
        await client.acknowledge(found, flaw)


async def _explanation(client: Client, decision: Decision) -> str | None:
    part = decision.explanation
    if part is None:
        return None
    sealed = await client.line.small(f"/v1/blobs/{part.sha256}", limits.SEALED)
    if digest_of(sealed) != part.sha256 or len(sealed) != part.size:
        raise _Flawed("explanation-digest")
    try:
        return unseal_bytes(sealed, _identities(client, part)).decode()
    except SealingError as error:
        raise _Flawed(error.flaw) from None
    except UnicodeDecodeError:
        raise _Flawed("explanation-form") from None


async def _files(
    client: Client, case: Case, signed: Statement, decision: Decision
) -> tuple[tuple[Path, ...], tuple[About, ...]]:
    """Every disclosure, each in a folder of its own if there are several; the files listed when all of them are right."""
    folder = client.line.home.received / case.id
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".opening-", dir=folder
    ) as name:  # mode 0700; gone with what is in the clear
        drafts: list[tuple[Path, Path]] = []
        abouts: list[About] = []
        for number, part in enumerate(decision.disclosures, 1):
            sealed = await _fetched(client, folder, part)
            below = folder / str(number) if len(decision.disclosures) > 1 else folder
            about, found = await asyncio.to_thread(_opened, client, sealed, part, Path(name) / str(number))
            if not _fits(about, client, case, signed, decision):
                raise _Flawed("about-differs")
            abouts.append(about)
            drafts += [(draft, below / draft.name) for draft in found]
        for draft, to in drafts:
            to.parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(to)
    return tuple(to for _, to in drafts), tuple(abouts)


async def _fetched(client: Client, folder: Path, part: SealedPart) -> Path:
    """The ciphertext, by the digest and size that the decision names. It stays: it is what the desk's signature covers."""
    sealed = folder / f"{part.sha256}.age"
    client.told(sealed.name)
    try:
        await client.line.http.get_file(
            f"/v1/blobs/{part.sha256}", sealed, sha256=part.sha256, size=part.size, progress=client.progress
        )
    except Answered as answered:
        raise refusal(answered) from None
    except BadAnswer as error:
        if error.flaw not in {"digest", "too-long", "too-short"}:
            raise
        raise _Flawed("ciphertext-" + error.flaw) from None
    return sealed


def _identities(client: Client, part: SealedPart) -> list[str]:
    """Our keys among those that the decision names; none of ours means that it is not for us."""
    mine = client.line.keys.identities
    found = [mine[key] for key in mine if key in part.recipients]
    if not found:
        raise _Flawed("not-for-us")
    return found


def _opened(client: Client, sealed: Path, part: SealedPart, folder: Path) -> tuple[About, list[Path]]:
    """Unseal into a file that has no name, check all of it, and take the files out."""
    identities = _identities(client, part)
    with tempfile.TemporaryFile(dir=sealed.parent) as archive, sealed.open("rb") as source:
        try:
            unseal(source, archive, identities)
            archive.seek(0)
            about = opened(archive)
        except SealingError as error:
            raise _Flawed(error.flaw) from None
        except Refused:
            raise _Flawed("disclosure-form") from None
        archive.seek(0)
        return about, _taken_out(archive, about, folder)


def _taken_out(archive: IO[bytes], about: About, folder: Path) -> list[Path]:
    """`about.json` and the files that it lists, whose names and digests were checked."""
    folder.mkdir(mode=0o700)
    found: list[Path] = []
    with zipfile.ZipFile(archive) as entries:
        for name in (ABOUT, *(part.name for part in about.files)):
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as sink, entries.open(name) as content:
                while chunk := content.read(_COPY):
                    sink.write(chunk)
                sink.flush()
                os.fsync(descriptor)
            found.append(path)
    return found


def _fits(about: About, client: Client, case: Case, signed: Statement, decision: Decision) -> bool:
    """Whether what is inside says of itself what the decision and the case say of it."""
    return (
        about.platform,
        about.requester,
        about.case,
        about.request,
        about.desk,
        about.draft,
        about.asked,
        about.granted,
    ) == (
        client.line.home.platform,
        client.line.home.id,
        case.id,
        case.request.digest,
        signed.holder.key.id,
        decision.draft,
        case.asked.cover.categories,
        decision.categories,
    ) and {part.category for part in about.files} <= set(about.granted)
