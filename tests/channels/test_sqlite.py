"""What is the embedded engine's own: its file, its processes, its disk. The rest is in tests/contracts."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channels import ChannelError, Depth, Entry
from channels.sqlite import SqliteChannel

STREAM = "requests.eu"
LEASE, NOW = timedelta(seconds=30), timedelta(0)
Open = Callable[[], SqliteChannel]


def clock() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


def entries(count: int, start: int = 0, size: int = 100) -> list[Entry]:
    return [Entry((start + n).to_bytes(16), bytes(size)) for n in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "channel.db"


@pytest.fixture
async def open_it(file: Path) -> AsyncIterator[Open]:
    opened: list[SqliteChannel] = []

    def channel() -> SqliteChannel:
        opened.append(SqliteChannel(file, clock))
        return opened[-1]

    yield channel
    for one in opened:
        await one.close()


async def test_only_its_owner_may_read_what_lies_there(file: Path, open_it: Open) -> None:
    old = os.umask(0)
    try:
        channel = open_it()
        await channel.publish(STREAM, entries(1))
    finally:
        os.umask(old)
    found = {one.name: stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()}
    assert found == {"channel.db": 0o600, "channel.db-wal": 0o600, "channel.db-shm": 0o600}


async def test_a_folder_that_is_not_there_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "channel.db"
    await SqliteChannel(file, clock).close()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def other_mode(file: Path) -> None:
    file.touch()
    file.chmod(0o640)


def symbolic_link(file: Path) -> None:
    file.with_name("real").touch(0o600)
    file.symlink_to(file.with_name("real"))


def dangling_link(file: Path) -> None:
    file.symlink_to(file.with_name("nowhere"))


def no_database(file: Path) -> None:
    file.touch(0o600)
    file.write_bytes(b"no database at all" * 100)


def empty(file: Path) -> None:
    file.touch(0o600)


def other_database(file: Path) -> None:
    file.touch(0o600)
    store = sqlite3.connect(file)
    store.execute("CREATE TABLE cases (id)")
    store.close()


def later_format(file: Path) -> None:
    other_database(file)
    store = sqlite3.connect(file)
    store.execute("PRAGMA application_id = 1383023464")
    store.execute("PRAGMA user_version = 2")
    store.close()


@pytest.mark.parametrize(
    ("place", "flaw"),
    [
        pytest.param(other_mode, "mode-too-open", id="others may read it"),
        pytest.param(symbolic_link, "not-a-file", id="symbolic link"),
        pytest.param(dangling_link, "not-a-file", id="link to nowhere"),
        pytest.param(Path.mkdir, "not-a-file", id="folder"),
        pytest.param(os.mkfifo, "not-a-file", id="pipe"),
        pytest.param(no_database, "corrupt", id="no database"),
        pytest.param(empty, "not-a-channel", id="empty file"),
        pytest.param(other_database, "not-a-channel", id="a store"),
        pytest.param(later_format, "not-a-channel", id="later format"),
    ],
)
def test_no_other_file_is_taken_for_a_channel(file: Path, place: Callable[[Path], None], flaw: str) -> None:
    place(file)
    with pytest.raises(ChannelError, match=rf"^{flaw}$"):
        SqliteChannel(file, clock)


def test_a_place_where_no_file_can_be_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ChannelError, match=r"^disk$"):
        SqliteChannel(tmp_path / "file" / "channel.db", clock)


async def test_a_full_disk_loses_nothing_and_says_so(open_it: Open) -> None:
    channel = open_it()
    await channel.publish(STREAM, entries(10))
    pages = channel._writer.execute("PRAGMA page_count").fetchone()[0]
    channel._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ChannelError, match=r"^full$"):
        await channel.publish(STREAM, entries(50, start=10, size=5000))
    assert Depth(waiting=10, leased=0, dead=0) == await channel.depth(STREAM)
    held = await channel.receive(STREAM, limit=100, lease=LEASE, wait=NOW)
    assert entries(10) == [lease.entry for lease in held]
    await channel.ack(held)
    channel._writer.execute("PRAGMA max_page_count = 100000")
    await channel.publish(STREAM, entries(50, start=10, size=5000))
    assert (await channel.depth(STREAM)).waiting == 50


async def test_a_file_that_another_holds_too_long_is_busy_and_loses_nothing(file: Path, open_it: Open) -> None:
    channel = open_it()
    await channel.publish(STREAM, entries(3))
    channel._writer.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for verb in (
        channel.publish(STREAM, entries(3, start=3)),
        channel.receive(STREAM, limit=1, lease=LEASE, wait=NOW),
    ):
        with pytest.raises(ChannelError, match=r"^busy$"):
            await verb
    other.execute("ROLLBACK")
    other.close()
    assert Depth(waiting=3, leased=0, dead=0) == await channel.depth(STREAM)


async def test_a_short_lock_is_waited_for(file: Path, open_it: Open) -> None:
    channel = open_it()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    publishing = asyncio.create_task(channel.publish(STREAM, entries(3)))
    await asyncio.sleep(0.1)
    other.execute("ROLLBACK")
    other.close()
    await publishing
    assert (await channel.depth(STREAM)).waiting == 3


async def test_a_file_that_cannot_be_looked_at_is_left_to_the_writer_who_says_why(file: Path, open_it: Open) -> None:
    channel = open_it()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("DROP TABLE turns")
    other.close()
    with pytest.raises(ChannelError, match=r"^engine$"):
        await channel.receive(STREAM, limit=1, lease=LEASE, wait=NOW)


async def test_waiting_hardly_uses_the_processor(open_it: Open) -> None:
    channel = open_it()
    start = time.process_time()
    assert await channel.receive(STREAM, limit=1, lease=LEASE, wait=timedelta(seconds=1)) == []
    assert time.process_time() - start < 0.1


async def test_a_transaction_that_fails_half_way_leaves_nothing(open_it: Open) -> None:
    channel = open_it()
    channel._writer.execute("CREATE TRIGGER t BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(ChannelError, match=r"^engine$"):
        await channel.publish(STREAM, entries(3))
    channel._writer.execute("DROP TRIGGER t")
    assert Depth(waiting=0, leased=0, dead=0) == await channel.depth(STREAM)
    await channel.publish(STREAM, entries(3))
    assert (await channel.depth(STREAM)).waiting == 3


async def test_the_search_for_what_waits_reads_no_backlog(open_it: Open) -> None:
    """Whatever lies there, the steps of one look are the same: what waits and what has ended are found by key."""
    channel = open_it()
    plans = [
        channel._writer.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        for sql, values in (
            (channel_sql("_READY"), ("a", 1)),
            (channel_sql("_TAKE"), ("a", 1)),
            (channel_sql("_ENDED"), ("a", 1)),
            (channel_sql("_LEND"), (1, "a", 1)),
        )
    ]
    steps = [step for plan in plans for *_, step in plan]
    assert not [step for step in steps if "SCAN" in step or "B-TREE" in step]


def channel_sql(name: str) -> str:
    from channels import sqlite  # noqa: PLC0415 - only here are the statements themselves looked at

    statement = getattr(sqlite, name)
    assert isinstance(statement, str)
    return statement


PUBLISHER = """
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from channels import Entry
    from channels.sqlite import SqliteChannel

    async def main(file, start, batches):
        channel = SqliteChannel(Path(file), lambda: datetime.now(UTC))
        for batch in range(batches):
            await channel.publish("requests.eu", [Entry((start + batch * 5 + n).to_bytes(16), bytes(300)) for n in range(5)])
            print(start + batch * 5 + 5, flush=True)
        await channel.close()

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def publisher(file: Path, start: int, batches: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PUBLISHER), str(file), str(start), str(batches)],
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_processes_that_start_at_once_share_one_file(file: Path, open_it: Open) -> None:
    writers = [publisher(file, 1000 * n, 20) for n in range(3)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    channel = open_it()
    held = await channel.receive(STREAM, limit=1000, lease=LEASE, wait=NOW)
    assert [1000 * n + i for n in range(3) for i in range(100)] == sorted(
        int.from_bytes(lease.entry.id) for lease in held
    )
    assert {"channel.db", "channel.db-wal", "channel.db-shm"} == {one.name for one in file.parent.iterdir()}


async def test_what_publish_returned_from_outlives_a_killed_process(file: Path, open_it: Open, rounds: int) -> None:
    for turn in range(rounds):
        writer = publisher(file, 100_000 * turn, 10_000)
        assert writer.stdout is not None
        for _ in range(5 + 7 * turn % 23):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        told = [int(line) for line in writer.communicate(timeout=60)[0].split() if line]
        last = max(told, default=100_000 * turn)
        channel = open_it()
        held = await channel.receive(STREAM, limit=1000, lease=LEASE, wait=NOW)
        got = [int.from_bytes(lease.entry.id) for lease in held]
        assert set(range(100_000 * turn, last)) <= set(got)
        assert list(range(100_000 * turn, 100_000 * turn + len(got))) == got  # whole batches, in order
        assert len(got) % 5 == 0
        await channel.ack(held)


async def test_a_cancelled_wait_leases_nothing(open_it: Open) -> None:
    channel = open_it()
    waiting = asyncio.create_task(channel.receive(STREAM, limit=1, lease=LEASE, wait=timedelta(seconds=10)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await channel.publish(STREAM, entries(1))
    assert Depth(waiting=1, leased=0, dead=0) == await channel.depth(STREAM)
