"""The disk is full: nothing is promised that is not kept, and once there is room everybody is served, once."""

import json
import sys
from pathlib import Path

import pytest

from tests.faults.power import ran
from tests.faults.rooms import no_small_disks, on_a_disk_of

REFUSED = 40


def test_a_full_disk_refuses_keeps_its_word_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    if (missing := no_small_disks()) is not None:
        pytest.skip(missing)
    child = [sys.executable, "-m", "tests.faults.child", "full", str(tmp_path), f"--requests={REFUSED}"]
    found = json.loads(ran(on_a_disk_of("10m", tmp_path, child)))
    assert set(found["while_full"]) == {"not-durable"}
    assert found["refused"] >= REFUSED
    assert found["promised"] > found["refused"] + 3, (
        "some were taken before it was full, and all that were refused, after"
    )
    assert found["faults"] == [], "each receipt has its row, once; every chain holds"
    assert found["cases"] == found["promised"] - 3, "one case each: what was refused left nothing"
