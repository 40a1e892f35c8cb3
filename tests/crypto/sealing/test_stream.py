"""The payload: order, ends and errors of the stream, with sources and sinks that behave as badly as `io` allows."""

import threading
from collections.abc import Iterator
from io import BytesIO, RawIOBase
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import SealingError
from crypto.sealing import stream
from crypto.sealing.stream import CHUNK, NONCE, TAG, Reader

FILE_KEY = bytes(range(16))
STEP = 16 * CHUNK
SEALED_CHUNK = CHUNK + TAG
# Around every border: chunk, step, and the number of steps in memory.
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, STEP - 1, STEP, STEP + 1, STEP + CHUNK]
SIZES += [2 * STEP, 3 * STEP + 7, 4 * STEP, 5 * STEP, 6 * STEP + CHUNK, 9 * STEP + 1]


def noise(size: int) -> bytes:
    """Different bytes in every chunk, so that an exchange of two is seen."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def sealed(plain: bytes) -> bytes:
    sink = BytesIO()
    stream.encrypt(FILE_KEY, Reader(BytesIO(plain)), sink)
    return sink.getvalue()


def opened(payload: bytes) -> bytes:
    sink = BytesIO()
    stream.decrypt(FILE_KEY, Reader(BytesIO(payload)), sink)
    return sink.getvalue()


def chunks(payload: bytes) -> list[bytes]:
    return [payload[at : at + SEALED_CHUNK] for at in range(NONCE, len(payload), SEALED_CHUNK)]


def sealing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sealing")]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_opens_at_every_border(size: int) -> None:
    plain = noise(size)
    payload = sealed(plain)
    assert opened(payload) == plain
    assert len(payload) == NONCE + size + TAG * max(1, -(-size // CHUNK))


def test_the_same_bytes_are_never_sealed_alike() -> None:
    assert sealed(b"same") != sealed(b"same")


class Dribble(RawIOBase):
    """Gives and takes a few bytes at a time, as pipes and sockets do; the sizes repeat."""

    def __init__(self, content: bytes = b"", sizes: tuple[int, ...] = (1, 30_000, 7, 200_001)) -> None:
        self.taken = bytearray()
        self._content = BytesIO(content)
        self._sizes: Iterator[int] = chain.from_iterable(repeat(sizes))

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stub knows Buffer alone
        return self._content.readinto(memoryview(buffer)[: next(self._sizes)])

    def write(self, part: memoryview) -> int:  # type: ignore[override]
        took = part[: next(self._sizes)]
        self.taken += took
        return len(took)


class ReadAlone:
    """A source that has `read` and nothing else."""

    def __init__(self, source: RawIOBase) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        return self._source.read(size) or b""


@pytest.mark.parametrize("size", [0, 100, CHUNK + 1, 5 * STEP + 3])
@pytest.mark.parametrize("alone", [False, True], ids=["readinto", "read alone"])
def test_sources_and_sinks_may_give_and_take_little_by_little(size: int, alone: bool) -> None:
    plain = noise(size)

    def source(content: bytes) -> Reader:
        return Reader(ReadAlone(Dribble(content)) if alone else Dribble(content))

    into, back = Dribble(), Dribble()
    stream.encrypt(FILE_KEY, source(plain), into)
    stream.decrypt(FILE_KEY, source(bytes(into.taken)), back)
    assert bytes(back.taken) == plain


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK, STEP, 2 * STEP + CHUNK])
def test_every_cut_of_whole_chunks_is_found(size: int) -> None:
    payload = sealed(noise(size))
    borders = {0, 1, NONCE, NONCE + 1, NONCE + TAG, len(payload) - 1, *range(NONCE, len(payload), SEALED_CHUNK)}
    for length in borders - {len(payload)}:
        with pytest.raises(SealingError):
            opened(payload[:length])


SMALL = sealed(b"particulars")
TWO_CHUNKS = sealed(noise(CHUNK + 100))
LONG = sealed(noise(3 * STEP))


def test_no_bit_can_be_flipped_and_no_byte_cut_or_added() -> None:
    for bit in range(len(SMALL) * 8):
        altered = bytearray(SMALL)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealingError):
            opened(bytes(altered))
    for length in range(len(SMALL)):
        with pytest.raises(SealingError):
            opened(SMALL[:length])
        with pytest.raises(SealingError):
            opened(SMALL + SMALL[:length] + b"\0")


@given(st.sampled_from([TWO_CHUNKS, LONG]), st.data())
def test_a_flipped_bit_a_cut_and_a_tail_are_found_anywhere(payload: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(payload) - 1))
    flipped = bytearray(payload)
    flipped[at] ^= data.draw(st.integers(1, 255))
    tail = data.draw(st.binary(min_size=1, max_size=70_000) | st.just(payload[NONCE:]))
    for altered in (bytes(flipped), payload[:at], payload + tail):
        with pytest.raises(SealingError):
            opened(altered)


@given(st.permutations(range(6)).filter(lambda order: list(order) != sorted(order)))
def test_chunks_in_another_order_are_found(order: list[int]) -> None:
    payload = sealed(noise(6 * CHUNK))
    parts = chunks(payload)
    with pytest.raises(SealingError, match="payload-altered"):
        opened(payload[:NONCE] + b"".join(parts[number] for number in order))


@pytest.mark.parametrize("exchanged", [(0, 16), (15, 16), (1, 46), (16, 32)])
def test_chunks_exchanged_between_steps_are_found(exchanged: tuple[int, int]) -> None:
    parts = chunks(LONG)
    one, other = exchanged
    parts[one], parts[other] = parts[other], parts[one]
    with pytest.raises(SealingError, match="payload-altered"):
        opened(LONG[:NONCE] + b"".join(parts))


@pytest.mark.parametrize("dropped", [0, 1, 16, 47])
def test_a_missing_or_doubled_chunk_is_found(dropped: int) -> None:
    parts = chunks(LONG)
    for altered in (parts[:dropped] + parts[dropped + 1 :], parts[: dropped + 1] + parts[dropped:]):
        with pytest.raises(SealingError):
            opened(LONG[:NONCE] + b"".join(altered))


def encrypted_by_hand(*plain: tuple[bytes, bool]) -> bytes:
    """A payload of chunks as given, each with its mark of being the last."""
    nonce = bytes(NONCE)
    cipher = stream._cipher(FILE_KEY, nonce)
    marked = [
        cipher.encrypt(stream._nonce(number, last=last), chunk, None) for number, (chunk, last) in enumerate(plain)
    ]
    return nonce + b"".join(marked)


FULL = noise(CHUNK)


@pytest.mark.parametrize(
    ("payload", "flaw"),
    [
        pytest.param(b"", "payload-cut", id="no nonce"),
        pytest.param(bytes(NONCE - 1), "payload-cut", id="short nonce"),
        pytest.param(bytes(NONCE), "payload-cut", id="no chunk"),
        pytest.param(bytes(NONCE + TAG - 1), "payload-cut", id="less than a tag"),
        pytest.param(encrypted_by_hand((FULL, False), (b"", True)), "payload-cut", id="empty last chunk"),
        pytest.param(
            encrypted_by_hand(*[(FULL, False)] * 16, (b"", True)), "payload-cut", id="and in a step of its own"
        ),
        pytest.param(encrypted_by_hand((b"", False)), "payload-altered", id="empty, not marked as last"),
        pytest.param(encrypted_by_hand((b"a", False)), "payload-altered", id="not marked as last"),
        pytest.param(encrypted_by_hand((b"a", False), (b"b", True)), "payload-altered", id="short chunk amid"),
        pytest.param(encrypted_by_hand((FULL, True), (FULL, True)), "payload-altered", id="two last chunks"),
        pytest.param(encrypted_by_hand(*[(FULL, True)] * 17), "payload-altered", id="all marked as last"),
        pytest.param(encrypted_by_hand(*[(FULL, False)] * 32), "payload-altered", id="whole steps, none last"),
        pytest.param(encrypted_by_hand((bytes(CHUNK + 1), True)), "payload-altered", id="chunk too long"),
    ],
)
def test_a_payload_that_its_own_sender_malformed_is_refused(payload: bytes, flaw: str) -> None:
    with pytest.raises(SealingError) as error:
        opened(payload)
    assert error.value.flaw == flaw


def test_the_table_above_makes_payloads_as_they_should_be() -> None:
    assert opened(encrypted_by_hand((FULL, False), (b"b", True))) == FULL + b"b"
    assert opened(encrypted_by_hand((b"", True))) == b""


@pytest.mark.parametrize("bad", [0, 15, 16, 17, 47])
def test_of_a_step_with_a_bad_chunk_nothing_is_written_and_before_it_what_is_authentic(bad: int) -> None:
    plain = noise(3 * STEP)
    altered = bytearray(LONG)
    altered[NONCE + bad * SEALED_CHUNK] ^= 1
    sink = BytesIO()
    with pytest.raises(SealingError, match="payload-altered"):
        stream.decrypt(FILE_KEY, Reader(BytesIO(bytes(altered))), sink)
    assert sink.getvalue() == plain[: bad // 16 * STEP]
    assert not sealing_threads()


def test_what_needs_no_threads_starts_none() -> None:
    seen: list[str] = []

    class Watching(BytesIO):
        def write(self, part: memoryview) -> int:  # type: ignore[override]
            seen.extend(sealing_threads())
            return super().write(part)

    stream.encrypt(FILE_KEY, Reader(BytesIO(noise(STEP - 1))), Watching())
    assert not seen
    stream.encrypt(FILE_KEY, Reader(BytesIO(noise(STEP))), Watching())
    assert seen
    assert not sealing_threads()


class Breaking(BytesIO):
    """A file on a disk that fails after so many bytes."""

    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content)
        self._after = after

    def _use(self, size: int) -> int:
        self._after -= size
        if self._after < 0:
            raise OSError(5, "Input/output error")
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._use(len(content))
        return content

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return self._use(super().readinto(buffer))

    def write(self, part: memoryview, /) -> int:  # type: ignore[override]
        return self._use(super().write(part))


@pytest.mark.parametrize("after", [0, 10, CHUNK, STEP, 3 * STEP, 6 * STEP])
def test_errors_of_source_and_sink_are_the_callers_and_no_thread_stays(after: int) -> None:
    plain = noise(7 * STEP)
    payload = sealed(plain)
    with pytest.raises(OSError, match="Input/output error"):
        stream.encrypt(FILE_KEY, Reader(Breaking(plain, after)), BytesIO())
    with pytest.raises(OSError, match="Input/output error"):
        stream.encrypt(FILE_KEY, Reader(BytesIO(plain)), Breaking(b"", after))
    with pytest.raises(OSError, match="Input/output error"):
        stream.decrypt(FILE_KEY, Reader(Breaking(payload, after)), BytesIO())
    with pytest.raises(OSError, match="Input/output error"):
        stream.decrypt(FILE_KEY, Reader(BytesIO(payload)), Breaking(b"", after))
    assert not sealing_threads()


class NotReady(RawIOBase):
    """A file opened without blocking that has nothing yet and takes nothing now."""

    def readinto(self, _buffer: object) -> None:
        return None

    def write(self, _part: object) -> None:
        return None

    def readable(self) -> bool:
        return True


def test_files_that_do_not_block_are_an_error_and_never_an_end() -> None:
    with pytest.raises(BlockingIOError):
        stream.encrypt(FILE_KEY, Reader(NotReady()), BytesIO())
    with pytest.raises(BlockingIOError):
        Reader(NotReady()).fill(bytearray(10))
    with pytest.raises(BlockingIOError):
        stream.encrypt(FILE_KEY, Reader(BytesIO(b"content")), NotReady())  # type: ignore[arg-type]


def test_a_sink_that_keeps_the_view_hears_of_it() -> None:
    class Keeping:
        def __init__(self) -> None:
            self.kept: list[memoryview] = []

        def write(self, part: memoryview, /) -> int:
            self.kept.append(part)
            return len(part)

    sink = Keeping()
    stream.encrypt(FILE_KEY, Reader(BytesIO(b"content")), sink)
    with pytest.raises(ValueError, match="released"):
        bytes(sink.kept[0])
