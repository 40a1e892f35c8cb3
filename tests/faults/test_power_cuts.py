"""The power goes off at random moments: no receipt without its record. scripts/proof/power_cuts.py does it 100,000 times."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.power import FAILING, Survival, recorded, survived, tracing
from tests.faults.rooms import in_memory

CUTS = 600
FEW = 150
OFTEN = ["--inject=fdatasync:error=EIO:when=28+4"]
LOST = {"a receipt without its row", "a case without an owner"}


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder in memory, where there is one: the files are rebuilt hundreds of times."""
    if (missing := tracing()) is not None:
        pytest.skip(missing)
    folder = in_memory()
    yield folder
    shutil.rmtree(folder)


def test_no_power_cut_leaves_a_receipt_without_its_record(room: Path) -> None:
    found = survived(recorded(room, 260), CUTS, 1, room / "cut")
    assert found.broken == 0, found
    assert (found.cuts, found.failed) == (CUTS, 0)
    assert found.promises > CUTS * 50
    assert found.chains > CUTS // 10


def test_nor_does_one_on_a_disk_that_fails(room: Path) -> None:
    found = survived(recorded(room, 100, failing=FAILING, parties="desk"), FEW, 2, room / "cut")
    assert found.broken == 0, found
    assert found.failed > 5


def test_a_store_that_does_not_wait_for_the_disk_is_found_out(room: Path) -> None:
    found = survived(recorded(room, 60, weakened=True), FEW, 3, room / "cut")
    assert found.faults["a receipt without its row"] > FEW // 10
    assert set(found.faults) <= LOST, "WAL with NORMAL loses the last, and breaks nothing"


def test_nor_is_an_entry_lost_that_was_published_on_a_disk_that_fails(room: Path) -> None:
    found = survived(recorded(room, 60, failing=OFTEN, parties="queue"), FEW, 4, room / "cut")
    assert found.failed > 0, "the disk did fail"
    assert found.broken == 0, found


def test_two_survivals_are_told_together() -> None:
    one, two = Survival(cuts=2, broken=1, example="the first"), Survival(cuts=3, failed=4, example="the second")
    one.add(two)
    assert (one.cuts, one.broken, one.failed, one.example) == (5, 1, 4, "the first")
