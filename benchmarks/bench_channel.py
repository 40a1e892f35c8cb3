"""What one entry costs through the embedded channel: publish, receive and acknowledge, in batches, on a real disk.

    python benchmarks/bench_channel.py [FOLDER]

The goal: 30 µs at batches of 64 and more. Prints µs an entry of 1 KB: medians, the processor's share, the best round.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from channels import Entry
from channels.sqlite import SqliteChannel

BODY = 1024
BATCHES = (1, 16, 64, 256, 1_000)
ENTRIES = 8192
LEASE, WAIT = timedelta(minutes=1), timedelta(0)


def entry_id() -> bytes:
    """Ids that rise with time, as UUIDv7 do."""
    return time.time_ns().to_bytes(8) + os.urandom(8)


async def through(channel: SqliteChannel, entries: list[Entry]) -> dict[str, float]:
    """Seconds that each verb took for one batch."""
    cpu, start = time.process_time(), time.perf_counter()
    await channel.publish("requests.eu", entries)
    published = time.perf_counter()
    leases = await channel.receive("requests.eu", limit=len(entries), lease=LEASE, wait=WAIT)
    received = time.perf_counter()
    await channel.ack(leases)
    done = time.perf_counter()
    if [lease.entry for lease in leases] != entries:
        raise SystemExit("what was received is not what was published")
    return {
        "publish": published - start,
        "receive": received - published,
        "ack": done - received,
        "all": done - start,
        "cpu": time.process_time() - cpu,
    }


async def bench(folder: Path) -> None:
    """One table row a batch size."""
    print(
        f"{'batch':>5}  {'publish':>8} {'receive':>8} {'ack':>8} {'all':>8} {'cpu':>8} {'best':>8}   µs an entry, {BODY} B bodies"
    )
    for batch in BATCHES:
        channel = SqliteChannel(folder / f"batch-{batch}.db", lambda: datetime.now(UTC))
        rounds = [
            await through(channel, [Entry(entry_id(), os.urandom(BODY)) for _ in range(batch)])
            for _ in range(max(32, min(ENTRIES // batch, 256)))
        ]
        await channel.close()
        median = {verb: statistics.median(r[verb] for r in rounds) / batch * 1e6 for verb in rounds[0]}
        best = min(r["all"] for r in rounds) / batch * 1e6
        print(f"{batch:>5}  " + " ".join(f"{median[verb]:8.1f}" for verb in median) + f" {best:8.1f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        asyncio.run(bench(Path(name)))
