"""Blobs in an object store: uploaded in parts while they are hashed, completed only when the digest is right, else aborted.

An upload has no name before it is completed, so that nothing unfinished is ever seen. A sender keeps a mark beside it,
`arriving/<sha256>/<token>`, and puts it anew from time to time, until the row of the blob is in the record: a mark that is old by
the store's own clock tells `recover` what may have no row. Parts of an upload whose process died have no name to sweep them by:
the bucket needs a rule that aborts unfinished uploads after a day (`AbortIncompleteMultipartUpload`).

What the store says never leaves this room: its texts hold addresses, and with some stores signatures. A constant is told instead.
"""

import asyncio
import errno
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self, final

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

from gateway.blobs import STEP, Known, Pieces, Tally, in_thread, place, seen, whole
from gateway.store import StoreError
from protocol import limits
from protocol.ids import Digest, NotAnId, parse_digest
from protocol.problems import Refused

if TYPE_CHECKING:
    from obstore import PutResult
    from obstore.store import ObjectStore  # a union of stubs, not there at run time

DOOR: Final = "arriving"
PART: Final = 8 * limits.MIB  # bytes of a part; what is smaller goes in one request. S3 takes 5 MiB and up
PARTS: Final = 9_900  # S3 takes 10,000: a longer blob has longer parts
ABREAST: Final = 2  # parts on their way at once, of one upload
MOST: Final = 32  # uploads at once: each holds up to four parts
FRESH: Final = 600.0  # seconds until a sender puts its mark anew
ABANDONED: Final = timedelta(hours=2)  # a mark so old has nobody
SWEEP: Final = 1_000  # marks asked for at a time
_FAILED: Final = (BaseError, OSError, ValueError)  # what obstore raises


@final
class ObjectBlobs:
    """The engine, over one bucket and prefix."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._arriving = 0

    def roomy(self) -> bool:
        """An object store has no end. Whether it answers is told to each sender: requests without blobs need it not."""
        return True

    async def holds(self, digest: Digest) -> bool:
        """See `Blobs`."""
        return await self.size(digest) is not None

    async def size(self, digest: Digest) -> int | None:
        """How many bytes are under that name. Raises StoreError."""
        try:
            with _asked():
                return (await self._store.head_async(place(digest)))["size"]
        except FileNotFoundError:
            return None

    @asynccontextmanager
    async def arriving(
        self, digest: Digest, limit: int | None, length: int | None = None
    ) -> AsyncIterator["_Arriving"]:
        """See `Blobs`. A blob of more than 77 GiB must come with its `length`: the parts that it needs are set at its begin."""
        if self._arriving >= MOST:
            raise Refused("overloaded", reason="too many blobs arriving", wait=5)
        self._arriving += 1
        arriving = _Arriving(self, self._store, digest, Tally(digest, limit), _part(length))
        try:
            await arriving.mark()
            try:
                yield arriving
                arriving.placing = False  # its row is in the record
            finally:
                await whole(arriving.leave())
        finally:
            self._arriving -= 1

    async def open(self, digest: Digest, start: int, stop: int) -> Pieces:
        """See `Blobs`. Each window is a request of its own, so that a reader who waits holds no connection to the store."""
        name = place(digest)

        async def fetch(begin: int, end: int) -> memoryview:
            with _asked():
                return memoryview(await self._store.get_range_async(name, start=begin, end=end))

        return await Pieces(fetch, start, stop).begun()

    async def remove(self, digest: Digest) -> None:
        """See `Blobs`."""
        if not [one async for one in self._marks(f"{DOOR}/{digest}")]:
            await self._erase(place(digest))

    async def recover(self, known: Known) -> None:
        """See `Blobs`."""
        now = await self._time()
        marks: dict[str, list[tuple[str, bool]]] = {}
        async for path, when in self._marks(DOOR):
            marks.setdefault(path.split("/")[1], []).append((path, now - when > ABANDONED))
        for name, those in marks.items():
            if all(dead for _, dead in those):
                with suppress(NotAnId):
                    digest = parse_digest(name)
                    if not await known(digest):
                        await self._erase(place(digest))
            for path, dead in those:
                if dead:
                    await self._erase(path)

    async def _marks(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        with _asked():
            async for batch in self._store.list(prefix, chunk_size=SWEEP):
                for one in batch:
                    yield one["path"], one["last_modified"]

    async def _time(self) -> datetime:
        """What time the store has: marks are as old as it says."""
        path = f"{DOOR}/clock/{secrets.token_hex(8)}"
        with _asked():
            await self._store.put_async(path, b"now")
            now = (await self._store.head_async(path))["last_modified"]
        await self._erase(path)
        return now

    async def _erase(self, path: str) -> None:
        with suppress(FileNotFoundError), _asked():
            await self._store.delete_async(path)


@final
class _Arriving:
    """Holds a part until it is longer than one: most blobs go in one request, which no other sender can overwrite."""

    def __init__(self, blobs: ObjectBlobs, store: "ObjectStore", digest: Digest, tally: Tally, part: int) -> None:
        self.placing = False  # whether it may have its name, and no row yet
        self._blobs = blobs
        self._store = store
        self._digest = digest
        self._tally = tally
        self._part = part
        self._path = f"{DOOR}/{digest}/{secrets.token_hex(8)}"
        self._marked = 0.0
        self._fresh = bytearray()  # not hashed yet
        self._steps: list[bytes] = []  # hashed, and a part at most
        self._upload: _Upload | None = None

    async def mark(self) -> None:
        """Say, by the store's clock, that somebody is sending this."""
        with _durable():
            await self._store.put_async(self._path, b"arriving")
        self._marked = asyncio.get_running_loop().time()

    async def write(self, chunk: bytes) -> None:
        self._tally.count(chunk)
        self._fresh += chunk
        if len(self._fresh) >= STEP:
            await self._flush()
        if asyncio.get_running_loop().time() - self._marked > FRESH:
            await self.mark()

    async def keep(self) -> int:
        await self._flush()
        self._tally.check()
        await self.mark()
        self.placing = True
        with _durable():
            await whole(self._put() if self._upload is None else self._complete(self._upload))
        return self._tally.size

    async def leave(self) -> None:
        """Abort what was not completed, and take the mark away, unless a row may be missing. The mark's own loss is nothing."""
        if self._upload is not None:
            await self._upload.abort()
        if not self.placing:
            with suppress(*_FAILED):
                await self._store.delete_async(self._path)

    async def _flush(self) -> None:
        """Hash what is new; once there is more than a part, hand all of it on."""
        step, self._fresh = bytes(self._fresh), bytearray()
        await in_thread(self._tally.hash, step)
        self._steps.append(step)
        if self._upload is None and self._tally.size > self._part:
            self._upload = _Upload(self._store, place(self._digest), self._part)
        if self._upload is not None:
            with _durable():
                while self._steps:
                    await self._upload.hand(self._steps.pop(0))

    async def _put(self) -> None:
        name, body = place(self._digest), b"".join(self._steps)
        try:
            await self._store.put_async(name, body, mode="create", use_multipart=False)
        except AlreadyExistsError:
            if await self._blobs.size(self._digest) != self._tally.size:  # not of our making
                await self._store.put_async(name, body, mode="overwrite", use_multipart=False)

    async def _complete(self, upload: "_Upload") -> None:
        """No store completes parts on condition: what is there already is left as it is, else the same bytes come over it."""
        if await self._blobs.size(self._digest) == self._tally.size:
            await upload.abort()
        else:
            await upload.complete()


@final
class _Upload:
    """Parts on their way. obstore takes them from an iterator as it has room, and aborts the upload when that one raises."""

    def __init__(self, store: "ObjectStore", name: str, part: int) -> None:
        self._piece: bytes | BaseException = b""
        self._given = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self._ended = asyncio.ensure_future(
            store.put_async(name, self, use_multipart=True, chunk_size=part, max_concurrency=ABREAST)
        )
        self._ended.add_done_callback(self._over)

    async def hand(self, piece: bytes) -> None:
        """The next bytes; returns when obstore has asked for them. Raises what ended the upload."""
        await self._give(piece)
        if self._ended.done():
            await self._ended

    async def complete(self) -> None:
        """No more comes: give it its name. Raises what the store says."""
        await self._give(StopAsyncIteration())
        await self._ended

    async def abort(self) -> None:
        """Nothing of it is to stay. A store that cannot be told keeps hidden parts until its own rule clears them."""
        await self._give(_Aborted())
        with suppress(_Aborted, *_FAILED):
            await self._ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._given.wait()
        piece = self._piece
        if isinstance(piece, BaseException):
            raise piece
        self._given.clear()
        self._taken.set()
        return piece

    def _over(self, ended: "asyncio.Future[PutResult]") -> None:
        seen(ended)
        self._taken.set()

    async def _give(self, piece: bytes | BaseException) -> None:
        await self._taken.wait()
        if not self._ended.done():
            self._taken.clear()
            self._piece = piece
            self._given.set()
            if isinstance(piece, bytes):
                await self._taken.wait()


@final
class _Aborted(Exception):
    """Raised into obstore, so that it aborts; and comes back."""


def _part(length: int | None) -> int:
    """How long the parts are of a blob that is said to have `length` bytes."""
    least = -(-(length or 0) // PARTS)
    return max(PART, -(-least // limits.MIB) * limits.MIB)


def _flaw(error: BaseException) -> str:
    match error:
        case PermissionDeniedError() | UnauthenticatedError():
            return "blobs-denied"
        case FileNotFoundError():
            return "blobs-nowhere"  # no such bucket
        case _:
            return "blobs-failed"


@final
class _asked:  # noqa: N801 (used as a statement)
    """What the store answers to a question, without its text."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "no such blob") from None
        if isinstance(error, _FAILED):
            raise StoreError(_flaw(error)) from None


@final
class _durable:  # noqa: N801 (used as a statement)
    """What the store does not take, as a problem."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StoreError):
            raise Refused("not-durable", reason=error.flaw, wait=5) from None
        if isinstance(error, _FAILED):
            raise Refused("not-durable", reason=_flaw(error), wait=5) from None
