"""Blobs: ciphertext under its own SHA-256, written once and never changed; in a folder, or in an object store.

What is under a digest has that digest, is whole, and is durable: it gets its name only after its last byte was hashed. What a
crash leaves half done is cleared by `recover`, which takes nothing from a process that lives. Nothing here is opened, and who
may see a blob is not asked here (`routes.blobs`). The record of blobs is the store's; a blob without a row there does not exist
for anybody. Both engines name a blob `ab/cd/<sha256>`, so that a folder can be copied into a bucket as it is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, ParamSpec, Protocol, Self, TypeVar, final

from gateway.store import StoreError
from protocol import limits
from protocol.ids import Digest
from protocol.problems import Refused

STEP: Final = limits.MIB  # bytes hashed, written or sent at a time
WINDOW: Final = 4 * limits.MIB  # bytes asked of an object store at a time
RESERVE: Final = 64 * limits.MIB  # bytes of the disk that blobs leave to the record
Given = ParamSpec("Given")
Found = TypeVar("Found")
Known = Callable[[Digest], Awaitable[bool]]  # whether a blob has its row in the record


class Arriving(Protocol):
    """A blob on its way in. `write` what comes, then `keep` it; leaving `Blobs.arriving` without that leaves nothing."""

    async def write(self, chunk: bytes) -> None:
        """More of it. Raises Refused: `too-large`, `not-durable`."""
        ...

    async def keep(self) -> int:
        """Check the digest, and make it durable under its name. Returns the size in bytes.

        Raises Refused: `digest-mismatch`, `not-durable`.
        """
        ...


@final
class Pieces:
    """Bytes of a blob that come from afar: a window at a time, the next one fetched while a reader takes this one.

    Two windows are all that is held, however slow the reader is; nothing is open while he waits. `close` it, read or not.
    """

    def __init__(self, fetch: Callable[[int, int], Awaitable[memoryview]], start: int, stop: int) -> None:
        self._fetch = fetch
        self._start = start
        self._stop = stop
        self._ahead = self._fetched(start)

    async def begun(self) -> Self:
        """Wait for the first window, so that what is missing is known before an answer begins. Raises as `fetch` does."""
        await self._ahead
        return self

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """`STEP` bytes at most at a time. Raises StoreError, FileNotFoundError: what was given before is no whole."""
        for start in range(self._start, self._stop, WINDOW):
            window = await self._ahead
            if len(window) != min(WINDOW, self._stop - start):
                raise StoreError("blobs-cut")
            if start + WINDOW < self._stop:
                self._ahead = self._fetched(start + WINDOW)
            for at in range(0, len(window), STEP):
                yield window[at : at + STEP]

    def close(self) -> None:
        """Fetch no more."""
        self._ahead.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetched(self, start: int) -> asyncio.Future[memoryview]:
        coming = asyncio.ensure_future(self._fetch(start, min(start + WINDOW, self._stop)))
        coming.add_done_callback(seen)
        return coming


class Blobs(Protocol):
    """What an engine does."""

    def roomy(self) -> bool:
        """Whether there is room for more."""
        ...

    async def holds(self, digest: Digest) -> bool:
        """Whether it is here. Raises StoreError."""
        ...

    def arriving(
        self, digest: Digest, limit: int | None, length: int | None = None
    ) -> AbstractAsyncContextManager[Arriving]:
        """Take a blob in: `limit` bytes at most, None for any number; `length` is what its sender says it has.

        The row in the record is to be written before the block ends: until then `recover` and `remove` leave it alone, in
        whichever process they are asked. Raises Refused: `not-durable`, `overloaded`.
        """
        ...

    async def open(self, digest: Digest, start: int, stop: int) -> BinaryIO | Pieces:
        """The bytes from `start` to before `stop`: a file on this machine's disk, at its beginning, or those bytes as they come.

        Raises FileNotFoundError when it is not here, StoreError when nobody can say.
        """
        ...

    async def remove(self, digest: Digest) -> None:
        """Erase it. It need not be here, and stays while somebody is sending it. Raises StoreError, OSError."""
        ...

    async def recover(self, known: Known) -> None:
        """Clear what senders left who are no more: beginnings, and what got its name but no row. At any time, by any process.

        Raises StoreError, OSError.
        """
        ...


@final
class Tally:
    """What has come of a blob, against what was said of it."""

    def __init__(self, digest: Digest, limit: int | None) -> None:
        self.size = 0
        self._digest = digest
        self._limit = limit
        self._hash = hashlib.sha256()

    def count(self, chunk: bytes) -> None:
        """These bytes came. Raises Refused: `too-large`."""
        self.size += len(chunk)
        if self._limit is not None and self.size > self._limit:
            raise too_large(self._limit)

    def hash(self, step: bytes) -> None:
        """Hash them, in order, each once; in a thread, when they are many."""
        self._hash.update(step)

    def check(self) -> None:
        """Raises Refused (`digest-mismatch`) when this is not what was named, or nothing at all."""
        if self.size == 0 or self._hash.hexdigest() != self._digest:
            raise Refused(
                "digest-mismatch",
                detail="The address must be the SHA-256 of the body, which must not be empty.",
                reason="the body has another digest",
            )


def too_large(limit: int) -> Refused:
    """More bytes came than a body may have."""
    return Refused("too-large", detail=f"At most {limit} bytes are taken here.", reason=f"more than {limit} bytes")


def place(digest: Digest) -> str:
    """Where a blob lies below its folder or prefix."""
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


async def in_thread(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    """Run `work` in a thread, and never leave while it runs: it holds a file that the caller will close."""
    return await whole(asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs)))


async def whole(work: Awaitable[Found]) -> Found:
    """Await what must not be left half done. Who is cancelled meanwhile is so after it."""
    running = asyncio.ensure_future(work)
    running.add_done_callback(seen)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def seen(ended: asyncio.Future[Found]) -> None:
    """Nobody may wait any more for what ended; asyncio would print its error, whose text is not ours."""
    if not ended.cancelled():
        ended.exception()


def open_blobs(url: str) -> Blobs:
    """The blobs at `url`, whose scheme names the engine. Raises StoreError (`blobs-scheme`, `blobs-url`), OSError.

    `file:///folder` is that folder, made when it is not there; nothing in the path is decoded. `s3://bucket/prefix`,
    `gs://bucket/prefix` and `az://container/prefix`: see `gateway.blobs.address`.
    """
    opener = ENGINES.get(url.partition("://")[0])
    if opener is None:
        raise StoreError("blobs-scheme")
    return opener(url)


def _folder(url: str) -> Blobs:
    from gateway.blobs.folder import FolderBlobs  # noqa: PLC0415 (the engine stands on this module)

    rest = url.partition("://")[2]
    if not rest.startswith("/") or not rest.strip("/") or "\0" in rest:
        raise StoreError("blobs-url")
    return FolderBlobs(Path("/" + rest.lstrip("/")))


def _objects(url: str) -> Blobs:
    from gateway.blobs.address import bucket  # noqa: PLC0415 (its client is loaded where it is used)
    from gateway.blobs.objects import ObjectBlobs  # noqa: PLC0415 (likewise)

    return ObjectBlobs(bucket(url))


ENGINES: Final[Mapping[str, Callable[[str], Blobs]]] = MappingProxyType(
    {"file": _folder, "s3": _objects, "gs": _objects, "az": _objects}
)
