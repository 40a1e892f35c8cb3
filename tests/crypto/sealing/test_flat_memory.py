"""The proof of flat memory, on a quarter of a GiB: `scripts/proof/flat_memory.py` does the whole."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "proof" / "flat_memory.py"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc (Linux)")
def test_a_quarter_of_a_gib_takes_less_than_64_mib_both_ways(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--gib", "0.25"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("what was opened is what was sealed\n")
    assert list(tmp_path.iterdir()) == []
