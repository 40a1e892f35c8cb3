"""A loop that writes to the record is stopped while its commit waits for the disk."""

import asyncio
import threading
from pathlib import Path

from gateway.store import Commit
from gateway.store.sqlite import SqliteStore
from protocol.ids import PartyId, digest_of, instant
from protocol.terms import Stage

AT = instant(1_795_000_000)


async def test_a_writer_that_leaves_does_not_make_the_next_one_fail(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "gateway.db")
    disk = threading.Event()
    store._thread.submit(disk.wait)  # a disk that is busy: the commit waits in its thread
    leaving = asyncio.create_task(store.blob_stored(digest_of(b"a blob"), 6, PartyId("kr-unit"), AT))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.sleep(0.01)
    row = Commit("chain", 1, Stage.TAKEN, AT, digest_of(b"a statement"), b"a receipt")
    following = asyncio.create_task(store.append([row]))
    await asyncio.sleep(0.01)
    disk.set()
    try:
        assert await following == [True]
    finally:
        await store.close()
