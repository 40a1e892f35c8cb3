import asyncio
import os
import stat
import time
from pathlib import Path

import pytest

from gateway import blobs
from gateway.blobs import Blobs, in_thread
from protocol.ids import Digest, digest_of
from protocol.problems import Refused

CONTENT = b"ciphertext" * 300_000  # 3 MB: more than one step
DIGEST = digest_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(store: Blobs) -> list[Path]:
    return [one for one in store._folder.rglob("*") if one.is_file()]


async def put(store: Blobs, content: bytes, digest: Digest, limit: int | None = None) -> int:
    async with store.arriving(digest, limit) as arriving:
        for start in range(0, len(content), 100_000):
            await arriving.write(content[start : start + 100_000])
        return await arriving.keep()


async def test_a_blob_is_kept_under_its_digest_for_its_owner_alone(store: Blobs) -> None:
    assert not store.holds(DIGEST)
    assert await put(store, CONTENT, DIGEST, len(CONTENT)) == len(CONTENT)
    assert store.holds(DIGEST)
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
    store: Blobs, content: bytes, digest: Digest, limit: int | None, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await put(store, content, digest, limit)
    assert refused.value.code == code
    assert files(store) == []


async def test_a_sender_who_leaves_leaves_nothing(store: Blobs) -> None:
    async def left() -> None:
        async with store.arriving(DIGEST, None) as arriving:
            await arriving.write(CONTENT)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await left()
    assert files(store) == []


async def test_two_senders_of_one_blob_at_once_make_one_file(store: Blobs) -> None:
    await asyncio.gather(*(put(store, CONTENT, DIGEST) for _ in range(4)))
    assert files(store) == [store.path(DIGEST)]
    assert store.path(DIGEST).read_bytes() == CONTENT


async def test_a_blob_is_removed_whether_it_is_there_or_not(store: Blobs) -> None:
    await put(store, CONTENT, DIGEST)
    await store.remove(DIGEST)
    await store.remove(DIGEST)
    assert files(store) == []


async def test_what_a_crash_left_is_cleared_and_what_has_a_row_is_kept(store: Blobs, tmp_path: Path) -> None:
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


async def test_a_full_disk_takes_no_blob(store: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "RESERVE", 1 << 60)
    assert not store.roomy()
    with pytest.raises(Refused) as refused:
        await put(store, CONTENT, DIGEST)
    assert refused.value.code == "not-durable"
    assert files(store) == []


async def test_a_disk_that_fails_is_told_by_its_number_alone(store: Blobs, tmp_path: Path) -> None:
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
