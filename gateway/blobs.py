"""Blobs: ciphertext on disk, each file under its own SHA-256, written once and never changed.

What is under a digest has that digest, is whole, and is durable: a file gets its name only after its last byte was hashed and
synced. What a crash leaves half done is cleared by `recover`. Nothing here is opened, and who may see a blob is not asked here
(`routes.blobs`). The record of blobs is the store's; a file without a row there does not exist for anybody.
"""

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar, final

from protocol import limits
from protocol.ids import Digest, NotAnId, parse_digest
from protocol.problems import Refused

STEP: Final = limits.MIB  # bytes hashed and written at a time, in a thread
RESERVE: Final = 64 * limits.MIB  # bytes of the disk that blobs leave to the record
Given = ParamSpec("Given")
Found = TypeVar("Found")


@final
class Arriving:
    """A blob on its way in. `write` what comes, then `keep` it; leaving `Blobs.arriving` without that leaves nothing."""

    def __init__(self, digest: Digest, limit: int | None, file: BinaryIO, place: Callable[[], None]) -> None:
        self.size = 0
        self._digest = digest
        self._limit = limit
        self._file = file
        self._place = place
        self._hash = hashlib.sha256()
        self._held = bytearray()

    async def write(self, chunk: bytes) -> None:
        """More of it. Raises Refused: `too-large`, `not-durable`."""
        self.size += len(chunk)
        if self._limit is not None and self.size > self._limit:
            raise too_large(self._limit)
        self._held += chunk
        if len(self._held) >= STEP:
            await self._flush()

    async def keep(self) -> int:
        """Check the digest, and make it durable under its name. Returns the size. Raises Refused."""
        await self._flush()
        if self._hash.hexdigest() != self._digest or self.size == 0:
            raise mismatch()
        with _durable():
            await in_thread(self._placed)
        return self.size

    async def _flush(self) -> None:
        step, self._held = bytes(self._held), bytearray()
        with _durable():
            await in_thread(self._written, step)

    def _written(self, step: bytes) -> None:
        self._hash.update(step)
        self._file.write(step)

    def _placed(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._place()


@final
class Blobs:
    """A folder of ciphertext: `ab/cd/<sha256>`, folders 0700, files 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._door = folder / "arriving"
        for one in (folder, self._door):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number = count()

    def path(self, digest: Digest) -> Path:
        """Where the blob of that digest lies, or would."""
        return self._folder / digest[:2] / digest[2:4] / digest

    def holds(self, digest: Digest) -> bool:
        """Whether it is on disk."""
        return self.path(digest).is_file()

    def roomy(self) -> bool:
        """Whether the disk has more than the reserve left."""
        return shutil.disk_usage(self._folder).free > RESERVE

    @asynccontextmanager
    async def arriving(self, digest: Digest, limit: int | None) -> AsyncIterator[Arriving]:
        """Take a blob in; `limit` in bytes, None for none. Raises Refused (`not-durable`) when the disk is full.

        Its mark under `arriving/` stays until the block ends, so that `recover` knows which files may have no row yet.
        """
        if not self.roomy():
            raise Refused("not-durable", reason="disk nearly full", wait=60)
        mark = self._door / f"{digest}.{next(self._number)}"
        with _durable():
            file = await in_thread(_made, mark)
        try:
            yield Arriving(digest, limit, file, partial(self._place, mark, digest))
        finally:
            with suppress(OSError):  # what was written is worth nothing without its name
                file.close()
            mark.unlink()

    def _place(self, mark: Path, digest: Digest) -> None:
        """Give the file its name. Another sender of the same bytes may have been faster, which is as good."""
        target = self.path(digest)
        for folder in (target.parent.parent, target.parent):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                _sync(folder.parent)
        with suppress(FileExistsError):
            os.link(mark, target)
        _sync(target.parent)

    async def remove(self, digest: Digest) -> None:
        """Erase the file; it need not be there."""
        await in_thread(partial(self.path(digest).unlink, missing_ok=True))

    async def recover(self, known: Callable[[Digest], Awaitable[bool]]) -> None:
        """Clear what a crash left: marks, and files that got their name but no row. Asked once, before anything arrives."""
        for mark in sorted(self._door.iterdir()):
            with suppress(NotAnId):
                digest = parse_digest(mark.name.partition(".")[0])
                if not await known(digest):
                    await self.remove(digest)
            mark.unlink()


def too_large(limit: int) -> Refused:
    """More bytes came than a body may have."""
    return Refused("too-large", detail=f"At most {limit} bytes are taken here.", reason=f"more than {limit} bytes")


def mismatch() -> Refused:
    """What came is not what the address names."""
    return Refused(
        "digest-mismatch",
        detail="The address must be the SHA-256 of the body, which must not be empty.",
        reason="the body has another digest",
    )


def _made(mark: Path) -> BinaryIO:
    return os.fdopen(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _sync(folder: Path) -> None:
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


async def in_thread(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    """Run `work` in a thread, and never leave while it runs: it holds a file that the caller will close."""
    running = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
