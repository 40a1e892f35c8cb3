"""Attachments: the documents that came with a request, fetched from the gateway, checked, and opened for a reviewer.

A document is written only when its sealed bytes are those that the statement names, and what opened is what the particulars name.
It goes into a folder that the reviewer chose; the desk's own folder keeps neither the sealed nor the opened form.
"""

import hashlib
import os
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Final

from crypto.errors import SealingError
from crypto.sealing import unseal
from desk.blobs import Blobs
from desk.review import Opened
from protocol.ids import Digest
from protocol.problems import Refused

NAME_BYTES: Final = 200  # of 255 that a file system takes, with room for number and `.part`


async def fetched(found: Opened, blobs: Blobs, identities: Sequence[str], folder: Path) -> list[Path]:
    """All documents of a case, opened into `folder`, which is there. Raises Refused (`digest-mismatch`), OSError."""
    sizes = {blob.sha256: blob.size for blob in found.file.case.blobs}
    paths = []
    for number, attachment in enumerate(found.particulars.attachments, 1):
        if attachment.sha256 not in sizes:
            raise Refused(
                "digest-mismatch", detail=f"No statement names attachment {number}.", reason="attachment unnamed"
            )
        sealed = folder / f".{number}.age"
        try:
            await blobs.get(sealed, Digest(attachment.sha256), sizes[attachment.sha256])
            paths.append(
                _opened(sealed, identities, folder / f"{number}-{fitting(attachment.name)}", attachment.plain_sha256)
            )
        finally:
            sealed.unlink(missing_ok=True)
    return paths


def fitting(name: str) -> str:
    """A document's name as a file system takes it: cut where it has too many bytes, its ending kept."""
    stem, dot, ending = name.rpartition(".")
    if len(name.encode()) <= NAME_BYTES or len(ending.encode()) > NAME_BYTES // 4:
        return name.encode()[:NAME_BYTES].decode(errors="ignore")
    return stem.encode()[: NAME_BYTES - len(ending.encode()) - 1].decode(errors="ignore") + dot + ending


def _opened(sealed: Path, identities: Sequence[str], to: Path, digest: str) -> Path:
    """The document in clear, whole or not at all."""
    part = to.with_name(f".{to.name}.part")
    try:
        with (
            sealed.open("rb") as source,
            os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as sink,
        ):
            unseal(source, sink, identities)
            if _digest(sink) != digest:
                raise Refused(
                    "digest-mismatch", detail="A document is not the one that was named.", reason="attachment differs"
                )
        part.replace(to)
    except SealingError as error:
        raise Refused("digest-mismatch", detail="A document cannot be opened.", reason=error.flaw) from None
    finally:
        part.unlink(missing_ok=True)
    return to


def _digest(file: BufferedRandom) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
