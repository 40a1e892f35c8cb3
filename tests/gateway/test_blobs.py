import asyncio
import fcntl
import gc
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import blobs
from gateway.blobs import in_thread, whole
from gateway.blobs.folder import FolderBlobs
from protocol.ids import Digest, digest_of
from protocol.problems import Refused

CONTENT = b"ciphertext" * 300_000  # 3 MB: more than one step
DIGEST = digest_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(store: FolderBlobs) -> list[Path]:
    return [one for one in store._folder.rglob("*") if one.is_file()]


async def put(store: FolderBlobs, content: bytes, digest: Digest, limit: int | None = None) -> int:
    async with store.arriving(digest, limit) as arriving:
        for start in range(0, len(content), 100_000):
            await arriving.write(content[start : start + 100_000])
        return await arriving.keep()


async def test_a_blob_is_kept_under_its_digest_for_its_owner_alone(store: FolderBlobs) -> None:
    assert not await store.holds(DIGEST)
    assert await put(store, CONTENT, DIGEST, len(CONTENT)) == len(CONTENT)
    assert await store.holds(DIGEST)
    assert files(store) == [store.path(DIGEST)]
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert stat.S_IMODE(store.path(DIGEST).stat().st_mode) == 0o600
    for folder in store.path(DIGEST).parents[:3]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


@pytest.mark.parametrize(
    ("content", "digest", "limit", "code"),
    [
        pytest.param(CONTENT, digest_of(b"other"), None, "digest-mismatch", id="another digest"),
        pytest.param(b"", digest_of(b""), None, "digest-mismatch", id="empty"),
        pytest.param(CONTENT, DIGEST, len(CONTENT) - 1, "too-large", id="one byte too many"),
        pytest.param(CONTENT[:-1], DIGEST, None, "digest-mismatch", id="cut"),
    ],
)
async def test_what_is_not_kept_leaves_nothing(
    store: FolderBlobs, content: bytes, digest: Digest, limit: int | None, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await put(store, content, digest, limit)
    assert refused.value.code == code
    assert files(store) == []


async def test_a_sender_who_leaves_leaves_nothing(store: FolderBlobs) -> None:
    async def left() -> None:
        async with store.arriving(DIGEST, None) as arriving:
            await arriving.write(CONTENT)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await left()
    assert files(store) == []


async def test_two_senders_of_one_blob_at_once_make_one_file(store: FolderBlobs) -> None:
    await asyncio.gather(*(put(store, CONTENT, DIGEST) for _ in range(4)))
    assert files(store) == [store.path(DIGEST)]
    assert store.path(DIGEST).read_bytes() == CONTENT


async def test_a_blob_is_removed_whether_it_is_there_or_not(store: FolderBlobs) -> None:
    await put(store, CONTENT, DIGEST)
    await store.remove(DIGEST)
    await store.remove(DIGEST)
    assert files(store) == []


async def test_what_a_crash_left_is_cleared_and_what_has_a_row_is_kept(store: FolderBlobs, tmp_path: Path) -> None:
    """A mark lies beside what may have no row: the file is dropped when it has none."""
    recorded, unrecorded = digest_of(b"recorded"), digest_of(b"unrecorded")
    for content, digest in ((b"recorded", recorded), (b"unrecorded", unrecorded)):
        await put(store, content, digest)
        os.link(store.path(digest), store._door / f"{digest}.7")
    (store._door / f"{DIGEST}.8").write_bytes(CONTENT[:1000])
    (store._door / "stray").write_bytes(b"?")

    async def known(digest: Digest) -> bool:
        return digest == recorded

    await store.recover(known)
    assert files(store) == [store.path(recorded)]


async def test_a_full_disk_takes_no_blob(store: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "RESERVE", 1 << 60)
    assert not store.roomy()
    with pytest.raises(Refused) as refused:
        await put(store, CONTENT, DIGEST)
    assert refused.value.code == "not-durable"
    assert files(store) == []


async def test_a_disk_that_fails_is_told_by_its_number_alone(store: FolderBlobs, tmp_path: Path) -> None:
    async with store.arriving(DIGEST, None) as arriving:
        arriving._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
        with pytest.raises(Refused) as refused:
            await arriving.write(CONTENT)
        arriving._file.close()
    assert (refused.value.code, refused.value.reason) == ("not-durable", "disk ENOSPC")


async def test_who_is_cancelled_waits_for_the_thread_that_holds_his_file() -> None:
    ended: list[float] = []

    def work() -> None:
        time.sleep(0.2)
        ended.append(time.monotonic())

    task = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == 1


async def test_who_is_cancelled_gets_no_error_of_what_he_left(caplog: pytest.LogCaptureFixture) -> None:
    """Its text would be printed by asyncio, and is not ours."""

    async def fails() -> None:
        await asyncio.sleep(0.1)
        raise OSError("a text")

    task = asyncio.create_task(whole(fails()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert caplog.text == ""


HOLDS = """
import asyncio, sys
from pathlib import Path
from gateway.blobs.folder import FolderBlobs
async def main():
    async with FolderBlobs(Path(sys.argv[1])).arriving(sys.argv[2], None) as arriving:
        await arriving.write(b"abc")
        await arriving.keep()
        print("kept", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


async def test_what_another_process_sends_is_left_alone_until_that_process_is_no_more(store: FolderBlobs) -> None:
    digest = digest_of(b"abc")
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDS, store._folder, digest, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"kept\n"

    async def unknown(_: Digest) -> bool:
        return False

    await store.recover(unknown)
    await store.remove(digest)
    assert len(files(store)) == 2  # the blob and its mark
    other.kill()
    await other.wait()
    await store.recover(unknown)
    assert files(store) == []


async def test_a_mark_that_is_looked_at_before_it_is_held_is_made_anew(
    store: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of another process may hold it for an instant, or have cleared it."""
    real, looked = fcntl.flock, []

    def flock(file: object, operation: int) -> None:
        looked.append(file)
        if len(looked) == 1:
            raise BlockingIOError
        if len(looked) == 2:
            next(store._door.iterdir()).unlink()
        real(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr("gateway.blobs.folder.fcntl.flock", flock)
    await put(store, CONTENT, DIGEST)
    assert len(looked) == 3
    assert files(store) == [store.path(DIGEST)]


async def test_a_mark_that_goes_while_a_sweep_looks_is_nobodys_concern(
    store: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(_: Digest) -> bool:
        return False

    monkeypatch.setattr(Path, "iterdir", lambda _: iter([store._door / f"{DIGEST}.gone"]))
    await store.recover(unknown)
