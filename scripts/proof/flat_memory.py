"""Prove that sealing and unsealing take the same little memory whatever the length.

    python scripts/proof/flat_memory.py [FOLDER] [--gib 4]

Seals so many GiB into a file in FOLDER (a temporary one, if none is given) and opens it again, each in a process of its
own, compares the digests, and prints how far each process's peak of memory rose above its start. Exits with 1 if one rose
above 64 MiB. FOLDER needs room for the sealed file. Linux alone: the peak is read from /proc.
"""

import argparse
import subprocess
import sys
import tempfile
from hashlib import sha256, shake_256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from crypto import sealing  # noqa: E402  # found by the line above, from any folder

MIB = 1024 * 1024
ALLOWED_MIB = 64
PATTERN = memoryview(
    shake_256(b"rogatory").digest(MIB + 1)
)  # one byte more than a step, so that no two steps are alike


class Plain:
    """So many bytes of the repeated pattern to be read, or any bytes written, with the digest of what went by."""

    def __init__(self, size: int = 0) -> None:
        self.digest = sha256()
        self._left = size
        self._at = 0

    def read(self, size: int, /) -> bytes:
        room = bytearray(size)
        return bytes(room[: self.readinto(memoryview(room))])

    def readinto(self, room: memoryview, /) -> int:
        part = PATTERN[self._at : self._at + min(len(room), self._left)]
        room[: len(part)] = part
        self._at = (self._at + len(part)) % len(PATTERN)
        self._left -= len(part)
        return self.write(part)

    def write(self, part: memoryview, /) -> int:
        self.digest.update(part)
        return len(part)


def peak() -> int:
    """The highest resident size of this process so far, in bytes.

    Not `ru_maxrss`: a child starts with its parent's there, which can hide all that it takes itself.
    """
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def seal(sealed: Path, size: int, identity: str) -> Plain:
    plain = Plain(size)
    with sealed.open("wb", buffering=0) as sink:
        sealing.seal(plain, sink, [sealing.recipient_of(identity)])
    return plain


def unseal(sealed: Path, _size: int, identity: str) -> Plain:
    plain = Plain()
    with sealed.open("rb", buffering=0) as source:
        sealing.unseal(source, plain, [identity])
    return plain


def measure(verb: str, sealed: Path, size: int, identity: str) -> None:
    """In a process of its own: once in small, so that all is loaded, then in full. Prints the rise and the digest."""
    sealing.unseal_bytes(sealing.seal_bytes(b"", [sealing.recipient_of(identity)]), [identity])
    start = peak()
    plain = {"seal": seal, "unseal": unseal}[verb](sealed, size, identity)
    print((peak() - start) / MIB, plain.digest.hexdigest())


def prove(folder: Path, gib: float) -> bool:
    """Whether both ways stayed below, and what was opened is what was sealed."""
    size, identity = int(gib * 1024 * MIB), sealing.generate_identity()
    sealed = folder / "flat-memory.age"
    rises, digests = [], []
    for verb in ("seal", "unseal"):
        command = [sys.executable, __file__, "--measure", verb, str(sealed), str(size)]
        done = subprocess.run(command, input=identity, stdout=subprocess.PIPE, text=True, check=True)
        rise, digest = done.stdout.split()
        rises.append(float(rise))
        digests.append(digest)
        print(f"{verb}: {gib:g} GiB, peak of memory {float(rise):.1f} MiB above start (allowed: {ALLOWED_MIB})")
    same = digests[0] == digests[1]
    print(f"what was opened is{'' if same else ' NOT'} what was sealed")
    return same and max(rises) <= ALLOWED_MIB


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:
        verb, sealed, size = sys.argv[2:]
        measure(verb, Path(sealed), int(size), sys.stdin.read())
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--gib", type=float, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return 0 if prove(Path(folder), arguments.gib) else 1


if __name__ == "__main__":
    sys.exit(main())
