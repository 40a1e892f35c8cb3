"""Power cuts: a gateway's heart recorded under load, and its files rebuilt as a cut at any moment may leave them.

`recorded` runs it under strace; `survived` rebuilds the files at random moments, opens them as the gateway would, and counts
what was promised and is not there. tests/faults/disk.py says what a power cut may leave.
"""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from channels import ChannelError, open_channel
from crypto.keys import read_jwk
from gateway.registry import Registry
from gateway.store import StoreError
from gateway.store.sqlite import SqliteStore
from protocol.chains import CaseChain, Known
from protocol.ids import CaseId, PartyId
from protocol.keyset import Keyset, read_keyset
from protocol.problems import Refused
from tests.actors import NOW
from tests.faults.disk import CALLS, Disk, Step, cuts, steps_of
from tests.faults.load import STREAM, Fact

ROOT: Final = Path(__file__).resolve().parents[2]
DEEP: Final = 20  # of so many cuts one has its chains read, every signature checked
CHAINS: Final = 5  # that are read then
FAILING: Final = (  # each thread's n-th call, and every so many after it
    "--inject=fdatasync,fsync:error=EIO:when=25+9",
    "--inject=pwrite64:error=EIO:when=300+101",
)


@dataclass
class Promised:
    """What was handed out until now."""

    taken: dict[bytes, Fact] = field(default_factory=dict)  # by the statement's digest
    settling: set[str] = field(default_factory=set)  # chains whose desk was about to say that it has them
    queued: set[bytes] = field(default_factory=set)  # entries that nobody has begun to acknowledge

    def note(self, fact: Fact) -> None:
        """One more fact, in its order."""
        match fact:
            case {"taken": _, "of": str(of)}:
                self.taken[bytes.fromhex(of)] = fact
            case {"settling": str(chain)}:
                self.settling.add(chain)
            case {"published": str(entry)}:
                self.queued.add(bytes.fromhex(entry))
            case {"acking": str(entry)}:
                self.queued.discard(bytes.fromhex(entry))
            case _:
                raise AssertionError(f"an unknown fact: {fact}")


@dataclass(frozen=True)
class Recording:
    """A trace, the folder that it is of, and the keys that read what was in it."""

    steps: list[Step]
    folder: Path
    markers: Path
    keyset: Keyset


def recorded(
    at: Path, requests: int, *, weakened: bool = False, failing: Sequence[str] = (), parties: str = "desk queue"
) -> Recording:
    """Run the load under strace in a new folder of `at`.

    `failing`: strace's options that make some calls end in EIO. `weakened`: the store does not wait for the disk, so that promises
    must be found broken.
    """
    folder, markers, trace = at / "data", at / "markers", at / "trace"
    folder.mkdir(mode=0o700)
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-xx", "-s", "1000000", "-o", str(trace), f"--trace={CALLS}"]
    load = [sys.executable, "-m", "tests.faults.child", "power", str(folder), str(markers), f"--requests={requests}"]
    more = [f"--parties={parties}", *(["--weakened"] if weakened else [])]
    ran([*strace, *failing, *load, *more])
    facts = json.loads(markers.with_suffix(".json").read_text())
    keyset = read_keyset(facts["keyset"].encode(), read_jwk(facts["root"]), PartyId(facts["platform"]), None)
    recording = Recording(steps_of(trace), folder, markers, keyset)
    trace.unlink()
    return recording


def ran(command: list[str], **more: str) -> str:
    """What the command printed; coverage does not follow it. Its errors are shown when it fails."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")} | more
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout


def tracing() -> str | None:
    """Why nothing can be recorded here, or None."""
    if shutil.which("strace") is None:
        return "strace is not to be had on this machine: scripts/install-strace.sh"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"], capture_output=True, check=False
    )
    return None if done.returncode == 0 else "strace may not trace here, or is older than 5.3"


@dataclass
class Survival:
    """What was found in so many cuts."""

    cuts: int = 0
    promises: int = 0  # that were looked for, over all cuts
    chains: int = 0  # that were read whole
    failed: int = 0  # writes and syncs of the recording that ended in an error
    broken: int = 0  # cuts that broke a promise
    faults: Counter[str] = field(default_factory=Counter)  # in how many cuts each was found
    example: str = ""  # the first of them

    def add(self, other: "Survival") -> None:
        """Both together."""
        self.cuts += other.cuts
        self.promises += other.promises
        self.chains += other.chains
        self.failed = max(self.failed, other.failed)
        self.broken += other.broken
        self.faults += other.faults
        self.example = self.example or other.example


def survived(recording: Recording, many: int, seed: int, at: Path) -> Survival:
    """Cut the power at so many moments, drawn by `seed`; `at` is a folder to rebuild the files in, best in memory."""
    return asyncio.run(_survived(recording, many, random.Random(seed), at))


async def _survived(recording: Recording, many: int, luck: random.Random, at: Path) -> Survival:
    disk = Disk(recording.folder, recording.markers, luck)
    found, promised, told = Survival(), Promised(), 0
    places = sorted(luck.choices(range(len(recording.steps) + 1), k=many))
    for place in cuts(recording.steps, disk, places):
        for marker in disk.markers[told:]:
            promised.note(json.loads(marker))
        told = len(disk.markers)
        found.cuts += 1
        found.promises += len(promised.taken) + len(promised.queued)
        deep = luck.randrange(DEEP) == 0
        rebuilt(disk.left(luck), at)
        faults = await faults_of(at, promised, recording.keyset, deep=deep, luck=luck)
        found.chains += CHAINS if deep and promised.taken else 0
        if faults:
            found.broken += 1
            found.faults.update(set(faults))
            found.example = found.example or f"cut before step {place} of {len(recording.steps)}: {faults[0]}"
    found.failed = disk.failed
    return found


def rebuilt(files: dict[str, bytes], at: Path) -> None:
    """These files, and no others, in the folder."""
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(mode=0o700)
    for name, content in files.items():
        path = at / name
        path.touch(mode=0o600)
        path.write_bytes(content)


async def faults_of(
    folder: Path, promised: Promised, keyset: Keyset, *, deep: bool, luck: random.Random | None = None
) -> list[str]:
    """Open the record and the queue as a gateway does that starts after the cut, and say what is wrong with them.

    `deep` reads the registry and some chains (all of them where there is no `luck`), with every signature.
    """
    faults: list[str] = []
    try:
        store = await SqliteStore.open(folder / "gateway.db")
        if deep:
            faults += await _unreadable(store, promised, keyset, luck) + _unlike(store._reader)
        faults += _missing(store._reader, promised) + _torn(store._reader, promised)
        await store.close()
        if deep:
            await open_channel(f"sqlite:///{folder / 'queue.db'}", lambda: NOW).close()
        if promised.queued:
            faults += _unqueued(folder / "queue.db", promised)
    except (StoreError, ChannelError, sqlite3.Error) as error:
        faults.append(f"cannot be opened: {error!r} after {error.__cause__!r}")
    return faults


def _missing(record: sqlite3.Connection, promised: Promised) -> list[str]:
    """Promises without a record, byte for byte."""
    rows = {of: (sha256(receipt).hexdigest(), sealed) for of, receipt, sealed in record.execute(
        "SELECT r.digest, r.receipt, s.content FROM rows r LEFT JOIN sealed s ON s.digest = r.sealed"
        " WHERE r.issuer IS NOT NULL"
    )}  # fmt: skip
    faults = []
    for of, fact in promised.taken.items():
        receipt, sealed = rows.get(of, (None, None))
        if receipt != fact["receipt"]:
            faults.append("a receipt without its row")
        elif fact["sealed"] is not None and (sealed is None or sha256(sealed).hexdigest() != fact["sealed"]):
            faults.append("a receipt without its sealed part")
    return faults


def _torn(record: sqlite3.Connection, promised: Promised) -> list[str]:
    """What may never be, whatever was promised: half a transaction, a doubled statement, a damaged page."""
    faults = []
    if (found := record.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
        faults.append(f"integrity: {found[0][0]}")
    for fault, query in (
        (
            "a row without its sealed part",
            "SELECT 1 FROM rows WHERE sealed IS NOT NULL AND sealed NOT IN (SELECT digest FROM sealed)",
        ),
        ("a statement twice", "SELECT 1 FROM rows WHERE statement IS NOT NULL GROUP BY digest HAVING count(*) > 1"),
        (
            "a chain with a gap, or unlike its list entry",
            (
                "SELECT 1 FROM (SELECT chain, count(*) AS many, max(seq) AS top, min(seq) AS first FROM rows GROUP BY chain)"
                " LEFT JOIN cases ON cases.id = chain LEFT JOIN authorities ON authorities.id = chain"
                " WHERE first <> 1 OR top <> many OR coalesce(cases.steps, iif(authorities.id IS NULL, 0, many)) <> many"
            ),
        ),
    ):
        if record.execute(query).fetchone() is not None:
            faults.append(fault)
    owed = "SELECT DISTINCT chain FROM rows WHERE id NOT IN (SELECT row FROM outbox WHERE row IS NOT NULL)"
    if {chain for (chain,) in record.execute(owed)} - promised.settling:
        faults.append("a row that no desk will be told of")
    return faults


def _unlike(record: sqlite3.Connection) -> list[str]:
    """Content that is not what its digest says."""
    faults = []
    for fault, query in (
        ("a statement that is not its digest's", "SELECT digest, statement FROM rows WHERE statement IS NOT NULL"),
        ("a sealed part that is not its digest's", "SELECT digest, content FROM sealed"),
    ):
        if any(sha256(content).digest() != digest for digest, content in record.execute(query)):
            faults.append(fault)
    return faults


async def _unreadable(store: SqliteStore, promised: Promised, keyset: Keyset, luck: random.Random | None) -> list[str]:
    """Chains that do not hold, of those that were promised."""
    registry = Registry(keyset)
    chains = sorted({str(fact["taken"]) for fact in promised.taken.values() if fact["sealed"] is not None})
    if luck is not None and chains:
        chains = luck.choices(chains, k=CHAINS)
    faults = []
    try:
        await registry.load(store)
        for chain in chains:
            owner = await store.owner(CaseId(chain))
            if owner is None:
                faults.append("a case without an owner")
                continue
            known = Known(keyset, registry.find(owner))
            if CaseChain.read(await store.chain(chain), known).case is None:
                faults.append("an empty chain")
    except Refused as refused:
        faults.append(f"a chain that does not hold: {refused.code} {refused.reason}")
    return faults


def _unqueued(path: Path, promised: Promised) -> list[str]:
    """Entries whose `publish` returned, that nobody took out, and that are not there."""
    faults = []
    with closing(sqlite3.connect(path)) as queue:
        query = "SELECT id FROM entries JOIN turns USING (seq) WHERE turns.stream = ?"
        found = [entry for (entry,) in queue.execute(query, (STREAM,))]
        if promised.queued - set(found):
            faults.append("an entry that was published is not in the queue")
        if len(found) != len(set(found)):
            faults.append("an entry twice in the queue")
        if queue.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            faults.append("the queue's integrity")
    return faults
