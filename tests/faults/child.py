"""The process that suffers: a gateway's heart in FOLDER under load, and what it was promised and told.

    python -m tests.faults.child power FOLDER MARKERS [--requests N]     every promise a line in MARKERS
    python -m tests.faults.child failing FOLDER [--requests N]                       under libfiu: EIO at random, then a report
    python -m tests.faults.child full FOLDER [--requests N]                          on a small disk: until it is full, and after
    python -m tests.faults.child slow FOLDER [--requests N]                          how long each receipt took

The last three print one JSON object. Beside MARKERS lies the platform's keyset, for who reads the record afterwards.
"""

import argparse
import asyncio
import ctypes
import errno
import json
import os
import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.store import StoreError
from protocol.problems import Refused
from tests.actors import Platform, Sent
from tests.faults.load import Fact, Load
from tests.gateway.heart import Heart, beating

FAILING: Final = {  # libfiu's names of what may fail, and how often
    "posix/io/rw/pwrite": 0.02,
    "posix/io/rw/write": 0.02,
    "posix/io/sync/fsync": 0.05,
    "posix/io/sync/fdatasync": 0.05,
}
BALLAST: Final = (
    8_000_000  # bytes that are there at first, and then make room: for a whole write-ahead log, and its pages
)
PER_ROUND: Final = 16


async def power(folder: Path, requests: int, markers: Path, parties: list[str], *, weakened: bool) -> None:
    """The whole load; each promise is a line in `markers` before whoever was promised goes on."""
    platform = Platform(post_quantum=False)
    facts = {"keyset": platform.keyset_raw.decode(), "root": platform.root.public.jwk(), "platform": platform.id}
    markers.with_suffix(".json").write_text(json.dumps(facts))
    line = os.open(markers, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with beating(folder, platform) as heart:
        if weakened:  # what the test must find out
            heart.store._writer.execute("PRAGMA synchronous = NORMAL")
        load = Load(heart, requests, lambda fact: _told(line, fact), random.Random(7))
        await load.run(*parties)
    os.close(line)


def _told(line: int, fact: Fact) -> None:
    os.write(line, json.dumps(fact).encode())


async def failing(folder: Path, requests: int) -> dict[str, object]:
    """Load while writes and syncs fail; then whether the record holds what was promised."""
    inject = _injector()
    told: list[Fact] = []
    async with beating(folder, Platform(post_quantum=False)) as heart:
        load = Load(heart, requests, told.append, random.Random())
        inject(True)
        try:
            await load.run("desk", "queue")
        finally:
            inject(False)
    return await _report(folder, heart, load, told)


async def full(folder: Path, requests: int) -> dict[str, object]:
    """Load until the disk is full; then, with room made, what was refused is asked again."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    told: list[Fact] = []
    async with beating(folder, Platform(post_quantum=False)) as heart:
        load = Load(heart, 0, told.append, random.Random(7))
        officer = await load.admitted("kr-unit-0")
        refused: list[Sent] = []
        while len(refused) < requests:
            wave = [officer.request(plain=os.urandom(3_000)) for _ in range(PER_ROUND)]
            refused += [sent for sent, took in zip(wave, await _wave(load, wave), strict=True) if not took]
        before = load.errors.copy()
        ballast.unlink()
        async with asyncio.timeout(60):
            for sent in refused:
                await load.taken(*sent)
    return await _report(folder, heart, load, told) | {"refused": len(refused), "while_full": dict(before)}


async def _wave(load: Load, wave: list[Sent]) -> list[bool]:
    async def once(sent: Sent) -> bool:
        try:
            await load.heart.take(*sent)
        except (Refused, StoreError) as error:
            load.errors[getattr(error, "code", "") or "store"] += 1
            return False
        await load.taken(*sent)  # the same receipt, and told
        return True

    return list(await asyncio.gather(*(once(sent) for sent in wave)))


async def slow(folder: Path, requests: int) -> dict[str, object]:
    """How long each receipt took."""
    told: list[Fact] = []
    async with beating(folder, Platform(post_quantum=False)) as heart:
        load = Load(heart, requests, told.append, random.Random(7))
        await load.run()
    took = sorted(load.took)
    times = {"median": took[len(took) // 2], "longest": took[-1]}
    return await _report(folder, heart, load, told) | times


async def _report(folder: Path, heart: Heart, load: Load, told: list[Fact]) -> dict[str, object]:
    """What was promised and told, and the faults that the reopened record has."""
    from tests.faults.power import Promised, faults_of  # noqa: PLC0415 (its parent's part)

    promised = Promised()
    for fact in told:
        promised.note(fact)
    found = await faults_of(folder, promised, heart.registry.keyset, deep=True)
    with closing(sqlite3.connect(folder / "gateway.db")) as record:
        cases = record.execute("SELECT count(*) FROM cases").fetchone()[0]
    return {"promised": len(promised.taken), "cases": cases, "errors": dict(load.errors), "faults": found}


def _injector() -> Callable[[bool], None]:
    """Turns the failing on and off, in this process alone. libfiu's preload library must be there (LD_PRELOAD)."""
    fiu = ctypes.CDLL("libfiu.so.0")
    fiu.fiu_enable_random.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_float]

    def inject(on: bool) -> None:
        for name, chance in FAILING.items():
            if on:
                assert fiu.fiu_enable_random(name.encode(), 1, errno.EIO, 0, chance) == 0
            else:
                fiu.fiu_disable(name.encode())

    return inject


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["power", "failing", "full", "slow"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("markers", nargs="?", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--parties", default="desk queue")
    parser.add_argument("--weakened", action="store_true")
    asked = parser.parse_args()
    if asked.what == "power":
        parties = asked.parties.split()
        asyncio.run(power(asked.folder, asked.requests, asked.markers, parties, weakened=asked.weakened))
        return
    work = {"failing": failing, "full": full, "slow": slow}[asked.what]
    json.dump(asyncio.run(work(asked.folder, asked.requests)), sys.stdout)


if __name__ == "__main__":
    main()
