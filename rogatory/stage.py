"""What the demo stands on: processes that end, waiting with a bound, and looks at what lies on other people's disks.

Read only, but for the copies that the attacks need. Nothing here tells; `demo` does.
"""

import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from crypto.strict import b64url_decode, b64url_encode
from protocol.sayings import Request
from protocol.statements import claims

PATIENCE: Final = 30.0  # seconds for any one thing to happen


class Untrue(click.ClickException):
    """Something was not as it should be. The demo ends with exit code 1."""


@contextmanager
def patience(what: str) -> Iterator[Iterator[None]]:
    """Something to wait on: each `next` is a short pause, and the last one says what did not happen."""

    def pauses() -> Iterator[None]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            time.sleep(0.1)
            yield
        raise Untrue(f"Not within {PATIENCE:.0f} s: {what}")

    yield pauses()


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; end it when it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def entries(queue: Path) -> list[bytes]:
    """The bodies of the queue's entries, as whoever owns the broker reads them."""
    with sqlite3.connect(f"file:{queue}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT body FROM entries WHERE stream = 'requests.main' ORDER BY seq").fetchall()
    connection.close()
    return [row[0] for row in found]


def cover(record: Path, case: str) -> dict[str, Any]:
    """What the gateway's own record says of a case."""
    with sqlite3.connect(f"file:{record}?mode=ro", uri=True) as connection:
        row = connection.execute("SELECT statement FROM rows WHERE chain = ? AND seq = 1", (case,)).fetchone()
    connection.close()
    return claims(b64url_decode(row[0].split(b".")[1]), Request).cover.model_dump(mode="json", exclude_none=True)


def rows(record: Path) -> int:
    """How many rows the gateway's record has."""
    with sqlite3.connect(f"file:{record}?mode=ro", uri=True) as connection:
        found: int = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    connection.close()
    return found


def found(folders: Sequence[Path], texts: Sequence[str]) -> list[str]:
    """Files below the folders that hold one of the texts."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [str(file) for file in files for text in texts if text.encode() in file.read_bytes()]


def flipped(token: bytes) -> bytes:
    """One bit of what was signed changed; the form is still a token's."""
    head, body, signature = token.split(b".")
    said = bytearray(b64url_decode(body))
    said[said.index(b'"subjects":1') + 11] ^= 2
    return b".".join((head, b64url_encode(bytes(said)).encode(), signature))


def bend(file: Path, to: Path) -> None:
    """A copy of a file with one bit in its middle changed."""
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    to.write_bytes(raw)
