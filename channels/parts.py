"""Files in the making: what is fetched lies under a name of its own until the last byte of it is right and on the disk."""

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Self, final


@final
class Part:
    """A file in the making: 0600, one writer at a time, its size known, on the disk before it gets its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise BlockingIOError(errno.EAGAIN, "Another process is fetching this file", str(self.path)) from None
        self.size = os.lseek(self._descriptor, 0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, chunk: bytes) -> None:
        """Append all of it."""
        view = memoryview(chunk)
        while view:
            written = os.write(self._descriptor, view)
            self.size += written
            view = view[written:]

    def cut(self, size: int) -> None:
        """Go on from there."""
        os.ftruncate(self._descriptor, size)
        self.size = os.lseek(self._descriptor, size, os.SEEK_SET)

    def place(self, to: Path) -> None:
        """Give it its name, once it is on the disk."""
        os.fsync(self._descriptor)
        self.path.replace(to)
        folder = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def is_file_of(path: Path, sha256: str, size: int) -> bool:
    """Whether a file of that digest and size is there."""
    return path.is_file() and path.stat().st_size == size and digest_of_file(path) == sha256
