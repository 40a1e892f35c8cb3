"""What one log line costs: an event with six fields, allowed and written to a file.

python benchmarks/bench_logs.py
"""

import tempfile
import time

from channels import logs

LINES = 100_000
REGISTRY = {"statement.taken": frozenset({"case", "authority", "kind", "code", "took_ms", "size"})}


def main() -> None:
    """Prints microseconds a line, the best of five rounds."""
    with tempfile.TemporaryFile("w") as stream:
        logs.configure(REGISTRY, party="gateway", stream=stream)
        log = logs.get_log()
        rounds = []
        for _ in range(5):
            start = time.perf_counter()
            for number in range(LINES):
                log.info(
                    "statement.taken",
                    case="0192f0c1-7a3b-8000-9000-000000000000",
                    authority="kr-knpa-cyber",
                    kind="request",
                    code="taken",
                    took_ms=3.25,
                    size=number,
                )
            rounds.append((time.perf_counter() - start) / LINES * 1e6)
    print(f"{min(rounds):.1f} µs a line")


if __name__ == "__main__":
    main()
