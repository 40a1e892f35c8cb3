"""What was signed and not yet receipted: kept on disk, so that a break loses nothing and the same bytes go out again.

A statement lies in a file of mode 0600 from before it is first sent until its receipt is there and verified; then the receipt
lies in its place, for ever: it proves that the statement was taken. Sending twice is harmless (the same bytes, the same receipt).
What was refused is moved aside, with the signed rejection if there is one. Nothing here is in the clear but what the gateway may
see: particulars and attachments are kept sealed.
"""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, final

from pydantic import AfterValidator, StringConstraints

from crypto.strict import b64url_decode
from protocol import limits
from protocol.ids import Digest, digest_of
from protocol.problems import Refused
from protocol.sayings import KINDS, Claims
from protocol.statements import claims, named, validated
from protocol.terms import Closed, CompactJws, DigestText

_ENDING: Final = ".owed"


@final
@dataclass(frozen=True, slots=True)
class Owed:
    """A statement that we signed and where it goes, with the sealed part and the digests of the sealed blobs that it names."""

    path: str
    typ: str
    statement: bytes
    sealed: bytes | None = None
    blobs: tuple[Digest, ...] = ()

    @property
    def digest(self) -> Digest:
        """The statement's digest."""
        return digest_of(self.statement)

    @property
    def said(self) -> Claims:
        """What we said. Nobody else need be believed for it: the file is ours."""
        return claims(b64url_decode(self.statement.split(b".")[1]), KINDS[self.typ].model)


def _known(typ: str) -> str:
    if typ not in KINDS:
        raise ValueError("a kind of statement")
    return typ


class _File(Closed):
    path: Annotated[str, StringConstraints(pattern=r"^/v1/[a-z0-9/-]{1,200}$")]
    typ: Annotated[str, AfterValidator(_known)]
    statement: CompactJws
    sealed: Annotated[str, StringConstraints(max_length=limits.SEALED * 2)] | None = None
    blobs: tuple[DigestText, ...] = ()


@final
class Outbox:
    """The folder of what was signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for each in (folder, folder / "blobs", folder / "receipts", folder / "refused"):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self._folder

    def blob(self, digest: Digest) -> Path:
        """Where a sealed attachment lies until the statement that names it is receipted."""
        return self._folder / "blobs" / f"{digest}.age"

    def draft(self) -> Path:
        """A name for a sealed attachment in the making."""
        return self._folder / "blobs" / f".{secrets.token_hex(8)}"

    def keep(self, owed: Owed) -> None:
        """Put a statement on the disk before it is sent; what has the same `jti` was never taken, and makes room."""
        sealed = None if owed.sealed is None else base64.b64encode(owed.sealed).decode()
        file = _File(path=owed.path, typ=owed.typ, statement=owed.statement.decode(), sealed=sealed, blobs=owed.blobs)
        write(self._file(owed), file.model_dump_json(exclude_none=True).encode())

    def owed(self) -> list[Owed]:
        """What has no receipt yet, oldest first: by `jti`, which begins with the time (RFC 9562 §5.7)."""
        return [self._read(path) for path in sorted(self._folder.glob(f"*{_ENDING}"))]

    def settle(self, owed: Owed, chain: str, seq: int, receipt: bytes) -> None:
        """The verified receipt in the place of the statement."""
        self.remember(chain, seq, receipt)
        self._file(owed).unlink(missing_ok=True)
        self._sweep(owed)

    def refuse(self, owed: Owed, rejection: bytes | None) -> None:
        """Move aside what was refused, with the signed no."""
        aside = self._folder / "refused" / self._file(owed).name
        self._file(owed).rename(aside)
        if rejection is not None:
            write(aside.with_suffix(".rejection.jws"), rejection)
        self._sweep(owed)

    def remember(self, chain: str, seq: int, receipt: bytes) -> None:
        """Keep a receipt of a chain. Raises Refused if another one was seen at its place."""
        path = self._folder / "receipts" / chain / f"{seq:04}.jws"
        if path.exists():
            if path.read_bytes() != receipt:
                raise Refused(
                    "receipt-wrong",
                    detail="The gateway gave another receipt for this place of the chain before. Keep both; call the platform.",
                    reason=f"two receipts {seq}",
                )
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write(path, receipt)

    def receipts(self, chain: str) -> dict[int, bytes]:
        """The receipts of a chain that were seen, by their number."""
        folder = self._folder / "receipts" / chain
        return {int(path.stem): path.read_bytes() for path in folder.glob("*.jws")}

    def _file(self, owed: Owed) -> Path:
        return self._folder / f"{named(owed.statement).jti}{_ENDING}"

    def _read(self, path: Path) -> Owed:
        found = validated(path.read_bytes(), _File)
        sealed = None if found.sealed is None else base64.b64decode(found.sealed, validate=True)
        return Owed(found.path, found.typ, found.statement.encode(), sealed, tuple(map(Digest, found.blobs)))

    def _sweep(self, owed: Owed) -> None:
        """Remove sealed attachments that nothing owed names any more."""
        still = {blob for other in self.owed() for blob in other.blobs}
        for blob in set(owed.blobs) - still:
            self.blob(blob).unlink(missing_ok=True)


def write(path: Path, raw: bytes) -> None:
    """Write a file of mode 0600 at once or not at all, and on the disk when this returns."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
