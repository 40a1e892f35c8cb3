"""One suite for every place that ciphertext is kept in: a folder, and objects in memory, on a disk, in a real S3.

The S3 server is that of `moto`, a process of its own on loopback, ended by its own id.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]
import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from gateway.blobs import WINDOW, Blobs, Pieces, objects, open_blobs
from gateway.blobs.folder import FolderBlobs
from gateway.blobs.objects import DOOR, PART, ObjectBlobs
from gateway.store import StoreError
from protocol import limits
from protocol.cases import State
from protocol.ids import Digest, digest_of
from protocol.problems import Refused
from tests.actors import Officer, Platform
from tests.gateway.doorstep import doorstep

SMALL = b"ciphertext" * 30_000  # one request
LARGE = bytes(range(256)) * (10 * 4096) + b"end"  # 10 MiB and three bytes: more than a part, three windows
GIB = 1024 * limits.MIB
STARTING = 30.0  # seconds
BUCKETS = count()


@dataclass(frozen=True)
class S3:
    """An S3 server and what it holds."""

    port: int

    def bucket(self) -> str:
        """A bucket that nobody has used."""
        name = f"bucket{os.getpid()}-{next(BUCKETS)}"
        self.ask(f"/{name}", "PUT")
        return name

    def url(self, bucket: str) -> str:
        return f"s3://{bucket}/below/it?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def keys(self, bucket: str) -> list[str]:
        """The names of all objects."""
        return re.findall("<Key>([^<]*)</Key>", self.ask(f"/{bucket}"))

    def uploads(self, bucket: str) -> list[str]:
        """The names that unfinished uploads are for: their parts are hidden, and paid for."""
        return re.findall("<Key>([^<]*)</Key>", self.ask(f"/{bucket}?uploads"))

    def ask(self, path: str, method: str = "GET") -> str:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 (loopback)
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    program = shutil.which("moto_server", path=str(Path(sys.executable).parent))
    assert program is not None, "the wheel moto[server] is not installed"
    with (tmp_path_factory.mktemp("s3") / "log").open("wb") as log:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        ends = time.monotonic() + STARTING
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        yield S3(port)
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client finds in the environment of a machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-machine")


@pytest.fixture(params=["folder", "memory", "disk", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, machine: None) -> Blobs:
    """A place that nobody has used."""
    match request.param:
        case "folder":
            return FolderBlobs(tmp_path / "blobs")
        case "memory":
            return ObjectBlobs(MemoryStore())
        case "disk":
            return ObjectBlobs(LocalStore(tmp_path / "blobs", mkdir=True))
        case _:
            server: S3 = request.getfixturevalue("s3")
            return open_blobs(server.url(server.bucket()))


async def held(blobs: Blobs) -> list[str]:
    """Every name below the place, marks too."""
    if isinstance(blobs, FolderBlobs):
        return sorted(str(one.relative_to(blobs._folder)) for one in blobs._folder.rglob("*") if one.is_file())
    assert isinstance(blobs, ObjectBlobs)
    return sorted([one["path"] async for batch in blobs._store.list() for one in batch])


def at(content: bytes) -> str:
    digest = digest_of(content)
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


async def put(
    blobs: Blobs, content: bytes, digest: Digest | None = None, limit: int | None = None, step: int = 100_000
) -> int:
    async with blobs.arriving(digest or digest_of(content), limit, len(content)) as arriving:
        for start in range(0, len(content), step):
            await arriving.write(content[start : start + step])
        return await arriving.keep()


async def got(blobs: Blobs, digest: Digest, start: int, stop: int) -> bytes:
    content = await blobs.open(digest, start, stop)
    with content:
        if isinstance(content, Pieces):
            return b"".join([bytes(piece) async for piece in content])
        content.seek(start)
        return content.read(stop - start)


def die(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, senders that are no more are seen to be no more."""
    if isinstance(blobs, ObjectBlobs):
        monkeypatch.setattr(objects, "ABANDONED", timedelta(seconds=-2))  # S3 tells time in whole seconds


async def nobody(_: Digest) -> bool:
    return False


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_a_blob_is_kept_under_its_digest_alone_and_read_back(blobs: Blobs, content: bytes) -> None:
    digest = digest_of(content)
    assert not await blobs.holds(digest)
    assert await put(blobs, content, limit=len(content)) == len(content)
    assert await blobs.holds(digest)
    assert await held(blobs) == [at(content)]
    assert await got(blobs, digest, 0, len(content)) == content
    assert blobs.roomy()


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (3, WINDOW),
        (1, WINDOW + 2),
        (WINDOW, 2 * WINDOW),
        (2 * WINDOW - 1, len(LARGE)),
        (len(LARGE) - 1, len(LARGE)),
    ],
)
async def test_any_range_is_read(blobs: Blobs, start: int, stop: int) -> None:
    await put(blobs, LARGE, step=limits.MIB)
    assert await got(blobs, digest_of(LARGE), start, stop) == LARGE[start:stop]


@pytest.mark.parametrize(
    ("content", "digest", "limit", "code"),
    [
        pytest.param(SMALL, digest_of(b"other"), None, "digest-mismatch", id="another digest"),
        pytest.param(LARGE, digest_of(b"other"), None, "digest-mismatch", id="another digest of parts"),
        pytest.param(b"", digest_of(b""), None, "digest-mismatch", id="empty"),
        pytest.param(LARGE, digest_of(LARGE), len(LARGE) - 1, "too-large", id="one byte too many"),
        pytest.param(LARGE[:-1], digest_of(LARGE), None, "digest-mismatch", id="cut"),
    ],
)
async def test_what_is_not_kept_leaves_nothing(
    blobs: Blobs, content: bytes, digest: Digest, limit: int | None, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await put(blobs, content, digest, limit)
    assert refused.value.code == code
    assert await held(blobs) == []
    assert not await blobs.holds(digest)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_a_sender_who_leaves_or_is_cancelled_leaves_nothing(blobs: Blobs, content: bytes) -> None:
    writing = asyncio.Event()

    async def waits() -> None:
        async with blobs.arriving(digest_of(content), None) as arriving:
            await arriving.write(content)
            writing.set()
            await asyncio.sleep(60)

    async def leaves() -> None:
        async with blobs.arriving(digest_of(content), None) as arriving:
            await arriving.write(content)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await leaves()
    sending = asyncio.create_task(waits())
    await writing.wait()
    assert len(await held(blobs)) == 1  # its mark
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await held(blobs) == []


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_senders_of_one_blob_at_once_and_after_one_another_make_one(blobs: Blobs, content: bytes) -> None:
    assert await asyncio.gather(*(put(blobs, content) for _ in range(3))) == [len(content)] * 3
    assert await put(blobs, content) == len(content)
    assert await held(blobs) == [at(content)]
    assert await got(blobs, digest_of(content), 0, len(content)) == content


async def test_what_is_missing_is_said_before_anything_is_sent(blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError) as error:
        await blobs.open(digest_of(SMALL), 0, len(SMALL))
    assert "127.0.0.1" not in str(error.value)
    assert not await blobs.holds(digest_of(SMALL))


async def test_a_blob_is_removed_whether_it_is_there_or_not(blobs: Blobs) -> None:
    await put(blobs, SMALL)
    await blobs.remove(digest_of(SMALL))
    await blobs.remove(digest_of(SMALL))
    assert await held(blobs) == []


async def test_what_somebody_sends_is_not_removed_before_its_row_is_written(blobs: Blobs) -> None:
    await put(blobs, SMALL)
    async with blobs.arriving(digest_of(SMALL), None) as arriving:
        await blobs.remove(digest_of(SMALL))
        await arriving.write(SMALL)
        await arriving.keep()
        await blobs.remove(digest_of(SMALL))
        await blobs.recover(nobody)
    assert await held(blobs) == [at(SMALL)]
    await blobs.remove(digest_of(SMALL))
    assert await held(blobs) == []


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_blob_whose_row_was_in_doubt_is_judged_by_the_record(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """The record failed after the blob had its name: whether the row is there is known later."""

    async def known(digest: Digest) -> bool:
        assert digest == digest_of(LARGE)
        return recorded

    async def unrecorded() -> None:
        async with blobs.arriving(digest_of(LARGE), None) as arriving:
            await arriving.write(LARGE)
            await arriving.keep()
            raise StoreError("not-written")

    with pytest.raises(StoreError):
        await unrecorded()
    assert len(await held(blobs)) == 2
    die(blobs, monkeypatch)
    await blobs.recover(known)
    assert await held(blobs) == ([at(LARGE)] if recorded else [])


async def test_a_reader_who_leaves_early_leaves_nothing_behind(blobs: Blobs) -> None:
    await put(blobs, LARGE)
    content = await blobs.open(digest_of(LARGE), 0, len(LARGE))
    with content:
        if isinstance(content, Pieces):
            async for piece in content:
                assert bytes(piece) == LARGE[: len(piece)]
                break


# the object engine


@pytest.fixture
def remote(s3: S3, machine: None) -> tuple[str, ObjectBlobs]:
    bucket = s3.bucket()
    opened = open_blobs(s3.url(bucket))
    assert isinstance(opened, ObjectBlobs)
    return bucket, opened


async def test_an_upload_that_is_not_kept_is_aborted_at_the_store(s3: S3, remote: tuple[str, ObjectBlobs]) -> None:
    bucket, blobs = remote
    with pytest.raises(Refused):
        await put(blobs, LARGE * 2, digest_of(b"other"))
    async with blobs.arriving(digest_of(LARGE), None) as arriving:
        await arriving.write(LARGE)
        async with asyncio.timeout(5):
            while s3.uploads(bucket) != [f"below/it/{at(LARGE)}"]:
                await asyncio.sleep(0.02)
        assert all(f"/{DOOR}/" in key for key in s3.keys(bucket))  # no name before the end
    assert s3.uploads(bucket) == s3.keys(bucket) == []


async def test_a_blob_that_is_there_is_not_written_again(s3: S3, remote: tuple[str, ObjectBlobs]) -> None:
    bucket, blobs = remote
    for content in (SMALL, LARGE):
        await put(blobs, content)
        before = await blobs._store.head_async(at(content))
        await asyncio.sleep(1.1)  # S3 tells time in whole seconds
        await put(blobs, content)
        assert await blobs._store.head_async(at(content)) == before
    assert s3.uploads(bucket) == []


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_another_object_under_a_blobs_name_is_replaced(content: bytes) -> None:
    blobs = ObjectBlobs(MemoryStore())
    await blobs._store.put_async(at(content), b"not ours")
    await put(blobs, content)
    assert await got(blobs, digest_of(content), 0, len(content)) == content


async def test_marks_are_judged_by_their_age_and_one_living_sender_covers_a_blob(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blobs = ObjectBlobs(MemoryStore())
    await put(blobs, SMALL)
    await put(blobs, LARGE)
    for mark in (f"{DOOR}/{digest_of(SMALL)}/1", f"{DOOR}/stray/1", f"{DOOR}/stray-too"):
        await blobs._store.put_async(mark, b"?")
    await blobs.recover(nobody)
    assert len(await held(blobs)) == 5  # all fresh
    monkeypatch.setattr(objects, "ABANDONED", timedelta(seconds=0.3))
    await asyncio.sleep(0.4)
    await blobs._store.put_async(f"{DOOR}/{digest_of(SMALL)}/2", b"?")
    await blobs.recover(nobody)
    assert await held(blobs) == sorted([at(SMALL), at(LARGE), f"{DOOR}/{digest_of(SMALL)}/2"])
    await asyncio.sleep(0.4)
    await blobs.recover(nobody)
    assert await held(blobs) == [at(LARGE)]


async def test_a_slow_sender_says_again_that_he_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FRESH", 0.0)
    blobs = ObjectBlobs(MemoryStore())
    async with blobs.arriving(digest_of(SMALL), None) as arriving:
        (mark,) = await held(blobs)
        before = (await blobs._store.head_async(mark))["last_modified"]
        await arriving.write(SMALL)
        assert (await blobs._store.head_async(mark))["last_modified"] > before


async def test_uploads_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MOST", 1)
    blobs = ObjectBlobs(MemoryStore())
    async with blobs.arriving(digest_of(SMALL), None):
        with pytest.raises(Refused) as refused:
            await put(blobs, LARGE)
        assert refused.value.code == "overloaded"
    await put(blobs, LARGE)


@pytest.mark.parametrize(
    ("length", "part"), [(None, PART), (1, PART), (77 * GIB, PART), (2 * 1024 * GIB, 212 * limits.MIB)]
)
def test_a_long_blob_has_long_parts(length: int | None, part: int) -> None:
    assert objects._part(length) == part
    assert part * 10_000 > (length or 0)


@asynccontextmanager
async def hostile(answer: bytes, *, after: int = 0) -> AsyncIterator[str]:
    """A store that answers the same to everything, from its request number `after` on; before that, that all is well."""
    asked = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        fine = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
        writer.write(fine if next(asked) < after else answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"s3://blobs?endpoint=http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def says(status: str, body: bytes = b"", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *fields])
    return head.encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        pytest.param(says("403 Forbidden", b"a-secret-of-the-machine"), "blobs-denied", id="denied"),
        pytest.param(says("404 Not Found", b"a-secret-of-the-machine"), "blobs-nowhere", id="no bucket"),
        pytest.param(says("500 Oh", b"a-secret-of-the-machine"), "blobs-failed", id="broken"),
        pytest.param(b"a-secret-of-the-machine", "blobs-failed", id="no HTTP"),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_store_that_fails_is_told_by_a_constant_and_nothing_is_promised(
    machine: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: bytes,
    flaw: str,
    after: int,
) -> None:
    """It fails at the mark, at the first bytes, or at the end."""
    monkeypatch.setitem(_retries(), "max_retries", 0)
    async with hostile(answer, after=after) as url:
        blobs = open_blobs(url)
        for content in (SMALL, LARGE):
            with pytest.raises(Refused) as refused:
                await put(blobs, content)
            assert (refused.value.code, refused.value.reason) == ("not-durable", flaw)
            assert refused.value.wait > 0
    assert caplog.text == ""


@pytest.mark.parametrize(("status", "flaw"), [("403 Forbidden", "blobs-denied"), ("500 Oh", "blobs-failed")])
async def test_what_cannot_be_asked_is_told_by_a_constant(
    machine: None, monkeypatch: pytest.MonkeyPatch, status: str, flaw: str
) -> None:
    monkeypatch.setitem(_retries(), "max_retries", 0)
    digest = digest_of(SMALL)
    async with hostile(says(status, b"a-secret-of-the-machine")) as url:
        blobs = open_blobs(url)
        asks: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (partial(blobs.holds, digest), flaw),
            (partial(blobs.open, digest, 0, 5), flaw),
            (partial(blobs.recover, nobody), flaw),
            (partial(blobs.remove, digest), "blobs-failed"),  # of a list that is denied obstore does not tell why
        ]
        for ask, told in asks:
            with pytest.raises(StoreError) as error:
                await ask()
            assert error.value.flaw == told
            assert "secret" not in str(error.value) + repr(error.value)


async def test_a_window_that_comes_short_is_an_error_and_not_an_end() -> None:
    async def fetch(start: int, stop: int) -> memoryview:
        return memoryview(LARGE[start : stop - (start > 0)])

    came = []
    with await Pieces(fetch, 0, len(LARGE)).begun() as pieces, pytest.raises(StoreError) as error:  # noqa: PT012
        async for piece in pieces:
            came += [len(piece)]
    assert (error.value.flaw, sum(came)) == ("blobs-cut", WINDOW)


async def test_a_blob_that_goes_while_it_is_read_is_an_error_and_not_an_end() -> None:
    blobs = ObjectBlobs(MemoryStore())
    await put(blobs, LARGE)
    content = await blobs.open(digest_of(LARGE), 0, len(LARGE))
    await blobs.remove(digest_of(LARGE))
    assert isinstance(content, Pieces)
    with pytest.raises(FileNotFoundError), content:
        async for _ in content:
            pass


async def test_a_long_blob_goes_through_in_flat_memory(tmp_path: Path) -> None:
    """In and out, and a reader who stands still; of which four parts, or two windows, are held."""
    blobs = ObjectBlobs(LocalStore(tmp_path))
    content = os.urandom(96 * limits.MIB)
    await put(blobs, LARGE, step=limits.MIB)  # what is loaded once
    await got(blobs, digest_of(LARGE), 0, len(LARGE))
    process, most = psutil.Process(), 0
    before = process.memory_info().rss

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    await put(blobs, content, step=limits.MIB)
    still = await blobs.open(digest_of(content), 0, len(content))
    moving = await blobs.open(digest_of(content), 0, len(content))
    at_byte = 0
    with still, moving:
        assert isinstance(moving, Pieces)
        async for piece in moving:
            assert piece == content[at_byte : at_byte + len(piece)]
            at_byte += len(piece)
    watching.cancel()
    assert at_byte == len(content)
    print(f"grew by {(most - before) / limits.MIB:.0f} MiB for 96 MiB")
    assert most - before < 64 * limits.MIB


# where it is


def _retries() -> dict[str, object]:
    from gateway.blobs import address  # noqa: PLC0415 (a table that tests shorten)

    return address.RETRIES  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("", "blobs-scheme"),
        ("data/blobs", "blobs-scheme"),
        ("http://bucket", "blobs-scheme"),
        ("memory:///", "blobs-scheme"),
        ("file://", "blobs-url"),
        ("file:///", "blobs-url"),
        ("file://host/folder", "blobs-url"),
        ("file:///a\0b", "blobs-url"),
        ("s3://", "blobs-url"),
        ("s3:///prefix", "blobs-url"),
        ("s3://key:secret@bucket/prefix", "blobs-url"),
        ("s3://bucket:80", "blobs-url"),
        ("s3://bucket#part", "blobs-url"),
        ("s3://bucket?access_key_id=a&secret_access_key=secret", "blobs-url"),
        ("s3://bucket?region=a&region=b", "blobs-url"),
        ("s3://bucket?region=", "blobs-url"),
        ("s3://bucket?region", "blobs-url"),
        ("s3://bucket?endpoint=http://minio.example:9000", "blobs-url"),
        ("s3://bucket?endpoint=https://a:secret@minio.example", "blobs-url"),
        ("s3://bucket?endpoint=ftp://127.0.0.1", "blobs-url"),
        ("s3://bucket?account=a", "blobs-url"),
        ("az://container/prefix", "blobs-url"),  # whose?
        ("s3://bucket?ca=nowhere.pem", "blobs-ca"),
        ("s3://bucket?credentials=nowhere.json", "blobs-credentials"),
        ("gs://bucket?credentials=nowhere.json", "blobs-credentials"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_quoted(url: str, flaw: str) -> None:
    with pytest.raises(StoreError) as error:
        open_blobs(url)
    assert error.value.flaw == flaw
    assert "secret" not in f"{error.value!r} {error.value.__cause__!r}"


@pytest.mark.parametrize(
    ("held", "mode"),
    [
        (b'{"access_key_id": "a", "secret_access_key": "b"}', 0o644),
        (b'{"access_key_id": "a", "access_key_id": "b"}', 0o600),
        (b'{"access_key_id": 1}', 0o600),
        (b'{"endpoint": "https://elsewhere.example"}', 0o600),
        (b"[]", 0o600),
        (b"", 0o600),
    ],
)
def test_a_file_of_credentials_is_read_strictly_and_is_nobody_elses(tmp_path: Path, held: bytes, mode: int) -> None:
    file = tmp_path / "credentials.json"
    file.write_bytes(held)
    file.chmod(mode)
    with pytest.raises(StoreError) as error:
        open_blobs(f"s3://bucket?credentials={file}")
    assert error.value.flaw == "blobs-credentials"


def test_credentials_come_from_a_file_and_are_shown_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text('{"access_key_id": "a-name", "secret_access_key": "a-secret-of-a-file"}')
    file.chmod(0o600)
    opened = open_blobs(f"s3://bucket/prefix?region=eu-central-1&credentials={file}")
    assert isinstance(opened, ObjectBlobs)
    assert isinstance(opened._store, S3Store)
    assert opened._store.config["secret_access_key"] == "a-secret-of-a-file"
    assert "secret" not in f"{opened!r} {opened} {opened._store!r}"


def test_azure_and_google_are_opened_without_being_asked(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text('{"account_key": "c2VjcmV0"}')
    file.chmod(0o600)
    azure = open_blobs(f"az://container/prefix?account=someone&endpoint=https://blobs.example&credentials={file}")
    google = open_blobs("gs://bucket/prefix?endpoint=https://storage.example")
    assert isinstance(azure, ObjectBlobs)
    assert isinstance(google, ObjectBlobs)
    assert repr(azure._store) == 'AzureStore(container_name="container", account_name="someone", prefix="prefix")'
    assert repr(google._store) == 'GCSStore(bucket="bucket", prefix="prefix")'


def test_a_folder_is_named_by_its_path_as_it_is(tmp_path: Path) -> None:
    opened = open_blobs(f"file://{tmp_path}/a%20b")
    assert isinstance(opened, FolderBlobs)
    assert (tmp_path / "a%20b").is_dir()


async def test_a_folders_blob_is_a_file_that_the_kernel_can_send(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    await put(blobs, SMALL)
    content = await blobs.open(digest_of(SMALL), 5, 10)
    with content:
        assert os.pread(content.fileno(), 5, 5) == SMALL[5:10]


# through the door


@pytest.fixture
def officer(platform: Platform) -> Officer:
    return Officer(platform)


@pytest.fixture
def platform() -> Platform:
    return Platform(post_quantum=False)


async def test_a_disclosure_in_an_object_store_is_put_and_fetched_in_parts_and_delivers_its_case(
    s3: S3, machine: None, tmp_path: Path, platform: Platform, officer: Officer
) -> None:
    bucket = s3.bucket()
    async with doorstep(tmp_path, platform, blobs=s3.url(bucket)) as gate:
        await gate.admitted(officer)
        case = await gate.opened(officer)
        await gate.decided(case, LARGE)
        assert s3.keys(bucket) == [f"below/it/{at(LARGE)}"]
        path = f"/v1/blobs/{digest_of(LARGE)}"
        first = await gate.get(path, officer, Range="bytes=0-4999999")
        assert (first.status, len(first.body)) == (206, 5_000_000)
        rest = await gate.get(path, officer, Range="bytes=5000000-", If_Range=first.headers["ETag"])
        assert first.body + rest.body == LARGE
        async with asyncio.timeout(5):
            while (await gate.case(case)).state is not State.DELIVERED:
                await asyncio.sleep(0.01)
        assert (await gate.put(LARGE, platform.desk, digest_of(b"other"))).code == "digest-mismatch"
        assert s3.uploads(bucket) == []


async def test_a_store_that_is_away_is_503_and_one_that_goes_in_the_middle_cuts_the_answer(
    s3: S3, machine: None, tmp_path: Path, platform: Platform, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket()
    async with doorstep(tmp_path, platform, blobs=s3.url(bucket)) as gate:
        await gate.admitted(officer)
        assert (await gate.put(LARGE, officer)).status == 201
        blobs, path = gate.gateway.blobs, f"/v1/blobs/{digest_of(LARGE)}"
        assert isinstance(blobs, ObjectBlobs)
        store = blobs._store
        asked = count()

        class Failing:
            async def get_range_async(self, *args: Any, **kwargs: Any) -> object:
                if next(asked) == 1:
                    raise OSError("gone")
                return await store.get_range_async(*args, **kwargs)

        monkeypatch.setattr(blobs, "_store", Failing())
        with pytest.raises(aiohttp.ClientError):
            await gate.get(path, officer)
        assert gate.lines[-1]["event"] == "request.failed"
        monkeypatch.setitem(_retries(), "max_retries", 0)
        nowhere = open_blobs("s3://blobs?endpoint=http://127.0.0.1:1")
        assert isinstance(nowhere, ObjectBlobs)
        monkeypatch.setattr(blobs, "_store", nowhere._store)
        assert (await gate.get(path, officer)).code == "not-durable"
        told = await gate.put(SMALL, officer)
        assert (told.code, told.headers["Retry-After"]) == ("not-durable", "5")
        assert (await gate.get("/readyz")).status == 200
        assert "secret" not in gate.written.getvalue()
