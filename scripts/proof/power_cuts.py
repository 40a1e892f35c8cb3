"""Prove that no power cut leaves a receipt without its record.

    python scripts/proof/power_cuts.py [--cuts 100000] [--processes 2]

Records a gateway's heart under load with strace (system calls on its record and its queue), rebuilds the files as a power cut
at random moments may leave them, with unsynced writes dropped, torn at sectors or kept, opens them as a gateway does, and looks
for every receipt that was handed out before. A tenth of the cuts is made on a disk whose writes and syncs also fail now and
then. As a control a store that does not wait for the disk must be found out. Prints what was found; exits with 1 when a promise
was broken, or when the control was not found out. Linux with strace alone.
"""

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.faults.power import FAILING, Survival, recorded, survived, tracing  # noqa: E402  # found by the line above
from tests.faults.rooms import in_memory  # noqa: E402

A_RECORDING = 2_500  # cuts of one recording: then the load is run anew
REQUESTS = 260  # of one recording: enough for the write-ahead log to be emptied into the file under load
CONTROL = 300  # cuts of it
TENTH = 10


def one(seed: int, cuts: int, *, failing: bool = False, weakened: bool = False) -> Survival:
    """A recording and its cuts, in a folder of its own in memory."""
    room = in_memory()
    try:
        parties = "desk" if failing else "desk queue"
        recording = recorded(room, REQUESTS, failing=FAILING if failing else (), weakened=weakened, parties=parties)
        return survived(recording, cuts, seed, room / "cut")
    finally:
        shutil.rmtree(room)


def told(what: str, found: Survival) -> None:
    print(
        f"{what}: {found.cuts:,} cuts, {found.promises:,} promises looked for, {found.chains:,} chains read whole, "
        f"{found.failed} failed writes and syncs in a recording: {found.broken:,} cuts broke a promise",
        flush=True,
    )
    if found.broken:
        print(f"  {dict(found.faults)}; the first: {found.example}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if (missing := tracing()) is not None:
        print(f"not proved: {missing}")
        return 1
    begun, each = time.monotonic(), min(A_RECORDING, max(1, asked.cuts // 10))
    sound, failing = Survival(), Survival()
    with ProcessPoolExecutor(asked.processes) as pool:
        many = range(-(-asked.cuts // each))
        parts = [(number, pool.submit(one, number, each, failing=number % TENTH == 0)) for number in many]
        control = pool.submit(one, len(parts), CONTROL, weakened=True)
        for number, part in parts:
            (failing if number % TENTH == 0 else sound).add(part.result())
        weakened = control.result()
    told("a sound disk", sound)
    told("a disk that fails", failing)
    told("control, a store that does not wait for the disk", weakened)
    print(f"{time.monotonic() - begun:.0f} s")
    return 0 if sound.broken == failing.broken == 0 < weakened.broken else 1


if __name__ == "__main__":
    sys.exit(main())
