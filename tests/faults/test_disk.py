"""The disk that can lose power, held against small traces whose outcome can be told by hand."""

import random
from pathlib import Path

import pytest

from tests.faults.disk import Disk, steps_of

FOLDER, MARKERS = Path("/d"), Path("/markers")
OPEN = 'openat(AT_FDCWD, "{path}", O_RDWR|O_CREAT, 0600) = {fd}'


def a_disk(tmp_path: Path, *lines: str, upto: int | None = None) -> Disk:
    """The disk after these calls; strings are written plainly here, in hex by strace."""
    trace = tmp_path / "trace"
    told = []
    for line in lines:
        thread, _, rest = line.partition(" ") if line[:1].isdigit() else ("1", "", line)
        parts = rest.split('"')
        parts[1::2] = ["".join(f"\\x{byte:02x}" for byte in part.encode()) for part in parts[1::2]]
        told.append(f"{thread} " + '"'.join(parts))
    trace.write_text("\n".join(told))
    disk = Disk(FOLDER, MARKERS, random.Random(1))
    for step in steps_of(trace)[:upto]:
        disk.do(step)
    return disk


def what_may_be_left(disk: Disk) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(sorted(disk.left(random.Random(seed)).items())) for seed in range(300)}


FILE = OPEN.format(path="/d/f", fd=3)
DIR = OPEN.format(path="/d", fd=4)
SYNCED_NAME = (FILE, DIR, "fsync(4) = 0")


def test_what_was_not_synced_may_be_there_or_not(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, *SYNCED_NAME, 'pwrite64(3, "new", 3, 0) = 3')
    assert what_may_be_left(disk) == {(("f", b""),), (("f", b"new"),)}


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, *SYNCED_NAME, 'pwrite64(3, "new", 3, 0) = 3', "fdatasync(3) = 0")
    assert what_may_be_left(disk) == {(("f", b"new"),)}


def test_a_file_without_a_synced_name_may_be_gone(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, FILE, 'pwrite64(3, "new", 3, 0) = 3', "fdatasync(3) = 0")
    assert what_may_be_left(disk) == {(), (("f", b"new"),)}


def test_a_write_that_began_during_a_sync_is_not_covered_by_it(tmp_path: Path) -> None:
    disk = a_disk(
        tmp_path,
        *SYNCED_NAME,
        "fdatasync(3 <unfinished ...>",
        '2 pwrite64(3, "new", 3, 0) = 3',
        "<... fdatasync resumed>)  = 0",
    )
    assert what_may_be_left(disk) == {(("f", b""),), (("f", b"new"),)}


def test_what_a_failed_sync_lost_no_later_one_brings_back(tmp_path: Path) -> None:
    lines = [*SYNCED_NAME, 'pwrite64(3, "new", 3, 0) = 3', "fdatasync(3) = -1 EIO (Input/output error) (INJECTED)"]
    left = [what_may_be_left(a_disk(tmp_path, *lines, "fdatasync(3) = 0"))]
    assert left[0] in [{(("f", b""),)}, {(("f", b"new"),)}], "one of both, and for good"
    assert a_disk(tmp_path, *lines).failed == 1


def test_a_write_is_torn_at_sectors_alone(tmp_path: Path) -> None:
    disk = a_disk(tmp_path, *SYNCED_NAME, f'pwrite64(3, "{"a" * 512}{"b" * 512}", 1024, 0) = 1024')
    assert {content for ((_, content),) in what_may_be_left(disk)} == {
        b"",
        b"a" * 512,
        bytes(512) + b"b" * 512,
        b"a" * 512 + b"b" * 512,
    }


def test_a_removed_or_renamed_file_may_still_be_where_it_was(tmp_path: Path) -> None:
    synced = (*SYNCED_NAME, 'pwrite64(3, "x", 1, 0) = 1', "fsync(3) = 0")
    gone = a_disk(tmp_path, *synced, 'unlink("/d/f") = 0')
    assert what_may_be_left(gone) == {(), (("f", b"x"),)}
    moved = a_disk(tmp_path, *synced, 'rename("/d/f", "/d/g") = 0', "fsync(4) = 0")
    assert what_may_be_left(moved) == {(("g", b"x"),)}


def test_a_marker_counts_from_the_moment_that_its_writing_began(tmp_path: Path) -> None:
    lines = (OPEN.format(path="/markers", fd=5), 'write(5, "a promise", 9) = 9')
    assert a_disk(tmp_path, *lines, upto=3).markers == [b"a promise"]
    assert a_disk(tmp_path, *lines, upto=2).markers == []


@pytest.mark.parametrize(
    "call",
    [
        'write(3, "x", 1) = 1',
        "fallocate(3, 0, 0, 9) = 0",
        "dup(3) = 9",
        'truncate("/d/f", 0) = 0',
    ],
)
def test_what_is_not_modelled_stops_the_reading(tmp_path: Path, call: str) -> None:
    with pytest.raises(AssertionError):
        a_disk(tmp_path, FILE, call)
