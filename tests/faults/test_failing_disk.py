"""Writes and syncs fail, or take long: no receipt for what is not kept, and who asks again has one case."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.faults.power import ran, tracing
from tests.faults.rooms import fiu, in_memory

REQUESTS = 120
DELAY = 0.02  # seconds that each sync takes longer


def test_writes_and_syncs_fail_and_every_retry_gives_one_case() -> None:
    if (library := fiu()) is None:
        pytest.skip("libfiu is not to be had on this machine: scripts/install-libfiu.sh")
    folder = in_memory()
    child = [sys.executable, "-m", "tests.faults.child", "failing", str(folder), f"--requests={REQUESTS}"]
    try:
        found = json.loads(ran(child, LD_PRELOAD=str(library)))
    finally:
        shutil.rmtree(folder)
    assert found["errors"].pop("not-durable") > 10
    assert set(found["errors"]) <= {"relay disk", "relay not-written", "relay not-read"}
    assert found["faults"] == []
    assert found["cases"] == REQUESTS


def test_on_a_slow_disk_receipts_take_longer_and_none_is_lost(tmp_path: Path) -> None:
    if (missing := tracing()) is not None:
        pytest.skip(missing)
    command = [sys.executable, "-m", "tests.faults.child", "slow", str(tmp_path), f"--requests={REQUESTS}"]
    late = f"--inject=fdatasync,fsync:delay_enter={int(DELAY * 1e6)}"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "--trace=fdatasync,fsync", late]
    found = json.loads(ran([*strace, *command]))
    assert found["median"] > DELAY
    assert (found["errors"], found["faults"], found["cases"]) == ({}, [], REQUESTS)
