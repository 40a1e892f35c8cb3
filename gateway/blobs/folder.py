"""Blobs in a folder of this machine: files `ab/cd/<sha256>`, folders 0700, files 0600, sent by the kernel itself.

A sender writes a mark under `arriving/`, which becomes the blob by a hard link, and holds a lock on it until the row of the blob
is in the record. The kernel drops the lock when the sender's process ends, however it ends: a mark that nobody holds tells
`recover` which file may have no row. A mark outlives a sender whose row failed, for the same reason.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, final

import gateway.blobs
from gateway.blobs import STEP, Known, Tally, in_thread, place
from protocol.ids import Digest, NotAnId, parse_digest
from protocol.problems import Refused


@final
class FolderBlobs:
    """The engine. `folder` is made when it is not there. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._door = folder / "arriving"
        for one in (folder, self._door):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where the blob of that digest lies, or would."""
        return self._folder / place(digest)

    def roomy(self) -> bool:
        """Whether the disk has more than the reserve left."""
        return shutil.disk_usage(self._folder).free > gateway.blobs.RESERVE

    async def holds(self, digest: Digest) -> bool:
        """Whether it is on disk. One system call, so no thread."""
        return self.path(digest).is_file()

    @asynccontextmanager
    async def arriving(
        self, digest: Digest, limit: int | None, _length: int | None = None
    ) -> AsyncIterator["_Arriving"]:
        """See `Blobs`. Refused (`not-durable`) when the disk is full."""
        if not self.roomy():
            raise Refused("not-durable", reason="disk nearly full", wait=60)
        with _durable():
            mark, file = await in_thread(self._marked, digest)
        arriving = _Arriving(Tally(digest, limit), file, mark, self.path(digest))
        try:
            yield arriving
            arriving.placing = False  # its row is in the record
        finally:
            if not arriving.placing:
                mark.unlink(missing_ok=True)
            with suppress(OSError):  # what was written is worth nothing without its name
                file.close()

    def _marked(self, digest: Digest) -> tuple[Path, BinaryIO]:
        while True:
            mark = self._door / f"{digest}.{secrets.token_hex(8)}"
            file = os.fdopen(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            if _locked(file):
                return mark, file
            file.close()  # somebody looked at it before it was held, and may have cleared it
            mark.unlink(missing_ok=True)

    async def open(self, digest: Digest, _start: int, _stop: int) -> BinaryIO:
        """The file, at its beginning: who sends it says from where to the kernel."""
        file: BinaryIO = await in_thread(self.path(digest).open, "rb")
        return file

    async def remove(self, digest: Digest) -> None:
        """See `Blobs`."""
        await in_thread(self._erased, digest)

    async def recover(self, known: Known) -> None:
        """See `Blobs`. One mark at a time, and its lock is held until it is cleared."""
        for mark in sorted(self._door.iterdir()):
            file = await in_thread(_left, mark)
            if file is None:
                continue
            with file:
                with suppress(NotAnId):
                    digest = parse_digest(mark.name.partition(".")[0])
                    if not await known(digest):
                        await in_thread(self._erased, digest, mark)
                mark.unlink(missing_ok=True)

    def _erased(self, digest: Digest, held: Path | None = None) -> None:
        """Erase the file, unless a living mark, other than the one that is held here, says that somebody sends it."""
        for mark in self._door.glob(f"{digest}.*"):
            if mark == held:
                continue
            if (file := _left(mark)) is None:
                return
            file.close()
        self.path(digest).unlink(missing_ok=True)


@final
class _Arriving:
    def __init__(self, tally: Tally, file: BinaryIO, mark: Path, target: Path) -> None:
        self.placing = False  # whether it may have its name, and no row yet
        self._tally = tally
        self._root = target.parent.parent
        self._file = file
        self._mark = mark
        self._target = target
        self._held = bytearray()

    async def write(self, chunk: bytes) -> None:
        self._tally.count(chunk)
        self._held += chunk
        if len(self._held) >= STEP:
            await self._flush()

    async def keep(self) -> int:
        await self._flush()
        self._tally.check()
        self.placing = True
        with _durable():
            await in_thread(self._placed)
        return self._tally.size

    async def _flush(self) -> None:
        step, self._held = bytes(self._held), bytearray()
        with _durable():
            await in_thread(self._written, step)

    def _written(self, step: bytes) -> None:
        self._tally.hash(step)
        self._file.write(step)

    def _placed(self) -> None:
        """Give the file its name. Another sender of the same bytes may have been faster, which is as good."""
        self._file.flush()
        os.fsync(self._file.fileno())
        for folder in (self._root, self._target.parent):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                _synced(folder.parent)
        with suppress(FileExistsError):
            os.link(self._mark, self._target)
        _synced(self._target.parent)


def _left(mark: Path) -> IO[bytes] | None:
    """The mark, held, if nobody else holds it."""
    try:
        file = mark.open("rb")
    except FileNotFoundError:
        return None
    if _locked(file):
        return file
    file.close()
    return None


def _locked(file: IO[bytes]) -> bool:
    """Hold it, until it is closed or the process ends. False when another does, or when it was cleared meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0


def _synced(folder: Path) -> None:
    """Make a name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@final
class _durable:  # noqa: N801 (used as a statement)
    """What the disk refuses, as a problem. Its number alone goes to the log."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise Refused("not-durable", reason=f"disk {errno.errorcode.get(error.errno or 0, 'failed')}", wait=5)
