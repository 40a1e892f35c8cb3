"""The payload of an age v1 file (C2SP age, "Payload"): 64 KiB chunks of ChaCha20-Poly1305 in the STREAM form.

Memory stays flat whatever the length. A payload of more than one step (1 MiB) is worked on by two threads, since the
cipher lets go of the interpreter lock; source and sink are touched by the caller's thread alone, so that their errors
are the caller's own and no thread can be left waiting on them. A step that has one bad chunk reaches the sink in no part.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from secrets import token_bytes
from typing import Final, Protocol, Self, TypeVar, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import SealingError

CHUNK: Final = 64 * 1024  # bytes of plaintext, as the specification has it
TAG: Final = 16
NONCE: Final = 16  # bytes: the payload's own, of which its key is made

_SEALED_CHUNK: Final = CHUNK + TAG
_CHUNKS: Final = 16  # a step: 1 MiB, so that a hand-over between threads costs little beside the work
_SLOTS: Final = 4  # steps in memory: one being read, one waiting to learn whether it is the last, two under way
_THREADS: Final = 2

_T = TypeVar("_T")


class Source(Protocol):
    """What is read from: any binary file. It may give less than asked for; nothing means the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...


class Sink(Protocol):
    """What is written to: any binary file. The view given is valid during the call alone, as `io` has it."""

    def write(self, part: memoryview, /) -> int:
        """How many bytes of `part` were taken, one at least."""
        ...


# One step: content, room for the result, number of its first chunk, whether it is the last; tells how far the room was used.
_Work = Callable[[memoryview, memoryview, int, bool], int]


@final
class Reader:
    """A source with what was read too far laid before it. A count below the one asked for means the end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._readinto: Callable[[memoryview], int | None] | None = getattr(source, "readinto", None)
        self._before = b""

    def put_back(self, content: bytes) -> None:
        """Lay `content` before what comes next."""
        self._before = content + self._before

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        parts = [self._before[:size]]
        self._before = self._before[size:]
        missing = size - len(parts[0])
        while missing and (part := _ready(self._source.read(missing))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def fill(self, room: bytearray) -> int:
        """Fill `room`, and tell how far: short only at the end."""
        view = memoryview(room)
        at = 0
        while at < len(view) and (got := self._into(view[at:])):
            at += got
        return at

    def _into(self, view: memoryview) -> int:
        if not self._before and self._readinto is not None:
            return _ready(self._readinto(view))
        part = self._before[: len(view)] or _ready(self._source.read(len(view)))
        self._before = self._before[len(view) :]
        view[: len(part)] = part
        return len(part)


def write_all(sink: Sink, content: memoryview) -> None:
    """Write all of `content`, though the sink may take it in parts."""
    while len(content):
        taken = sink.write(content)
        if not taken:
            raise BlockingIOError("the sink takes nothing")
        rest = content[taken:]
        content.release()  # the memory behind it is used again: a sink that kept the view shall hear of it
        content = rest


def encrypt(file_key: bytes, reader: Reader, sink: Sink) -> None:
    """Seal all that `reader` has left into `sink`: nonce, then chunks."""
    nonce = token_bytes(NONCE)
    write_all(sink, memoryview(nonce))
    _pump(reader, sink, CHUNK, _SEALED_CHUNK, partial(_encrypt_step, _cipher(file_key, nonce)))


def decrypt(file_key: bytes, reader: Reader, sink: Sink) -> None:
    """Open all that `reader` has left. Raises SealingError on a changed, missing, moved or added byte.

    Whole steps before the bad one may have been written by then: authentic, but not the whole.
    """
    nonce = reader.take(NONCE)
    if len(nonce) != NONCE:
        raise SealingError("payload-cut")
    _pump(reader, sink, _SEALED_CHUNK, CHUNK, partial(_decrypt_step, _cipher(file_key, nonce)))


def _pump(reader: Reader, sink: Sink, chunk_in: int, chunk_out: int, work: _Work) -> None:
    """Carry all from `reader` through `work` to `sink`, in order. What fits into one step needs no threads."""
    begin = reader.take(chunk_in * _CHUNKS)
    if len(begin) == chunk_in * _CHUNKS:
        reader.put_back(begin)
        _pump_steps(reader, sink, [_Slot.of(chunk_in, chunk_out) for _ in range(_SLOTS)], work)
        return
    room = memoryview(bytearray(len(begin) + TAG * (len(begin) // chunk_in + 1)))
    write_all(sink, room[: work(memoryview(begin), room, 0, True)])


@final
@dataclass(frozen=True, slots=True)
class _Slot:
    """Memory for one step, used again and again: fresh memory for each would cost a third of the speed."""

    content: bytearray
    room: bytearray

    @classmethod
    def of(cls, chunk_in: int, chunk_out: int) -> Self:
        return cls(bytearray(chunk_in * _CHUNKS), bytearray(chunk_out * _CHUNKS))


def _pump_steps(reader: Reader, sink: Sink, idle: list[_Slot], work: _Work) -> None:
    """Steps in parallel, written in order. A step is begun when it is known whether another follows it."""
    busy: deque[tuple[_Slot, Future[int]]] = deque()

    def write_oldest() -> None:
        slot, used = busy.popleft()
        write_all(sink, memoryview(slot.room)[: used.result()])
        idle.append(slot)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sealing") as threads:
        held = idle.pop()
        size = reader.fill(held.content)
        first, last = 0, False
        while not last:
            if not idle:
                write_oldest()
            following = idle.pop()
            size_following = reader.fill(following.content) if size == len(held.content) else 0
            content, last = memoryview(held.content)[:size], size_following == 0
            busy.append((held, threads.submit(work, content, memoryview(held.room), first, last)))
            held, size = following, size_following
            first += _CHUNKS
        while busy:
            write_oldest()


def _encrypt_step(cipher: ChaCha20Poly1305, content: memoryview, room: memoryview, first: int, last: bool) -> int:
    used = 0
    # An empty payload is one empty chunk.
    for number, at in enumerate(range(0, len(content) or 1, CHUNK), first):
        chunk = content[at : at + CHUNK]
        nonce = _nonce(number, last=last and at + CHUNK >= len(content))
        used += cipher.encrypt_into(nonce, chunk, None, room[used : used + len(chunk) + TAG])
    return used


def _decrypt_step(cipher: ChaCha20Poly1305, content: memoryview, room: memoryview, first: int, last: bool) -> int:
    used = 0
    for number, at in enumerate(range(0, len(content) or 1, _SEALED_CHUNK), first):
        chunk = content[at : at + _SEALED_CHUNK]
        if len(chunk) < TAG or (len(chunk) == TAG and number):
            raise SealingError("payload-cut")  # only the chunk of an empty payload may be empty
        nonce = _nonce(number, last=last and at + _SEALED_CHUNK >= len(content))
        try:
            used += cipher.decrypt_into(nonce, chunk, None, room[used : used + len(chunk) - TAG])
        except InvalidTag:
            raise SealingError("payload-altered") from None
    return used


def _cipher(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=nonce, info=b"payload").derive(file_key))


def _nonce(number: int, *, last: bool) -> bytes:
    """Eleven bytes of counter, big end first, and one that marks the last chunk."""
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def _ready(got: _T | None) -> _T:
    """What a read gave; None means that the source was opened without blocking and has nothing yet."""
    if got is None:
        raise BlockingIOError("the source has nothing yet")
    return got
