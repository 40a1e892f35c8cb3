"""A disk that can lose power: what a process asked of it, read from strace, and what may be left at any moment of that.

The promise of a disk is taken at its weakest. What was written is sure once `fsync` or `fdatasync` of that file has returned,
and a name once its folder was synced. Until then each 512-byte sector of each write may be there or not, in any order, and
each name may lead where it led before. A sync that failed loses for ever what it should have kept, as Linux does: some of it
reached the disk, and no later sync tries the rest again.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECTOR: Final = 512
# `?` for what an architecture may lack. What is traced and not modelled stops the reading: see `Disk.do`.
CALLS: Final = (
    "openat,?open,?creat,close,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "sync_file_range,?unlink,unlinkat,?rename,?renameat,renameat2,?link,linkat,dup,?dup2,dup3"
)
STRANGE: Final = frozenset(
    {"writev", "pwritev", "pwritev2", "fallocate", "sync_file_range", "truncate", "dup", "dup2", "dup3"}
)
_LINE: Final = re.compile(rb"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_RESULT: Final = re.compile(rb"\) += (-?\d+|\?)[^)]*(?:\([^)]*\) ?)*$")
_UNFINISHED: Final = b" <unfinished ...>"
_TEXT: Final = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass
class Call:
    """A system call as strace tells it. Strings stand in `texts`; what lies between them in `rest`."""

    name: str
    texts: list[bytes]
    rest: list[str]
    result: int | None = None  # None when it never returned

    @property
    def number(self) -> int:
        """The first argument, where that is a file descriptor."""
        return int(self.rest[0].split(",")[0])

    def last(self) -> int:
        """The last argument, a number."""
        return int(self.rest[-1].rpartition(",")[2])


@dataclass(frozen=True)
class Step:
    """A call begins, or has returned."""

    call: Call
    ended: bool


def steps_of(trace: Path) -> list[Step]:
    """The calls in the order in which they began and returned. Lines that are no calls (signals, exits) are passed over."""
    steps: list[Step] = []
    under_way: dict[bytes, Call] = {}
    for line in trace.read_bytes().splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        thread, _, name, rest = found.groups()
        result = _RESULT.search(rest, max(0, len(rest) - 200))
        if name is not None:
            under_way[thread] = _begun(
                name.decode(), rest.removesuffix(_UNFINISHED) if result is None else rest[: result.start()]
            )
            steps.append(Step(under_way[thread], ended=False))
        if result is not None:
            call = under_way.pop(thread)
            call.result = None if result[1] == b"?" else int(result[1])
            steps.append(Step(call, ended=True))
    return steps


def _begun(name: str, arguments: bytes) -> Call:
    texts, between, at = [], [], 0
    for found in _TEXT.finditer(arguments):
        if found[2]:
            raise AssertionError("strace cut a string short")
        texts.append(bytes.fromhex(found[1].replace(rb"\x", b"").decode()))
        between.append(arguments[at : found.start()].decode())
        at = found.end()
    return Call(name, texts, [*between, arguments[at:].decode()])


@dataclass(frozen=True)
class Write:
    """Bytes at a place of a file."""

    turn: int
    offset: int
    data: bytes

    def onto(self, image: bytearray, keep: Callable[[], bool]) -> None:
        """Put those sectors into the image that `keep` keeps."""
        at, end = self.offset, self.offset + len(self.data)
        while at < end:
            after = min((at // SECTOR + 1) * SECTOR, end)
            if keep():
                if len(image) < after:
                    image.extend(bytes(after - len(image)))
                image[at:after] = self.data[at - self.offset : after - self.offset]
            at = after

    def whole(self, image: bytearray) -> None:
        """Put all of it into the image."""
        end = self.offset + len(self.data)
        if len(image) < end:
            image.extend(bytes(end - len(image)))
        image[self.offset : end] = self.data


@dataclass(frozen=True)
class Resize:
    """A new length of a file."""

    turn: int
    size: int

    def onto(self, image: bytearray, keep: Callable[[], bool]) -> None:
        """All or nothing: a length is one number."""
        if keep():
            self.whole(image)

    def whole(self, image: bytearray) -> None:
        """Cut it, or lengthen it with zeros."""
        del image[self.size :]
        image.extend(bytes(self.size - len(image)))


@dataclass
class File:
    """What is surely there, and what was asked since."""

    sure: bytearray = field(default_factory=bytearray)
    asked: list[Write | Resize] = field(default_factory=list)

    def synced(self, turn: int) -> None:
        """All that was asked before that turn is surely there."""
        while self.asked and self.asked[0].turn <= turn:
            self.asked.pop(0).whole(self.sure)

    def forsaken(self, turn: int, luck: random.Random) -> None:
        """The sync failed: some of it is there, and the rest never will be."""
        while self.asked and self.asked[0].turn <= turn:
            self.asked.pop(0).onto(self.sure, lambda: luck.random() < 0.5)


class Disk:
    """One folder, as far as a trace has gone. Descriptors of other files are none of its business, but for the markers'."""

    def __init__(self, folder: Path, markers: Path, luck: random.Random) -> None:
        self.markers: list[bytes] = []
        self.failed = 0  # syncs and writes that were answered with an error
        self._folder, self._markers = str(folder), str(markers)
        self._luck = luck
        self._turn = 0
        self._names: dict[str, list[File | None]] = {}  # where each leads: surely, and then by each change since
        self._open: dict[int, File | str] = {}  # a file, or the path of the folder or of the markers
        self._syncing: dict[int, int] = {}  # a sync under way, by its call: the turn in which it began
        # What is written may reach the disk from the moment that it was asked; a name and a sync count from the return.
        self._at_start: dict[str, Callable[[Call], None]] = {
            "close": self._closed,
            **dict.fromkeys(("write", "pwrite64"), self._written),
            **dict.fromkeys(("fsync", "fdatasync"), self._syncs),
        }
        self._at_end: dict[str, Callable[[Call], None]] = {
            "ftruncate": self._resized,
            **dict.fromkeys(("openat", "open", "creat"), self._opened),
            **dict.fromkeys(("fsync", "fdatasync"), self._synced),
            **dict.fromkeys(("unlink", "unlinkat"), self._removed),
            **dict.fromkeys(("link", "linkat", "rename", "renameat", "renameat2"), self._named_anew),
        }

    def do(self, step: Step) -> None:
        """Go on by one step. Raises AssertionError for a call on the folder's files that is not modelled."""
        self._turn += 1
        call = step.call
        if step.ended and (call.result is None or call.result < 0):
            self._failed(call)
        elif (work := (self._at_end if step.ended else self._at_start).get(call.name)) is not None:
            work(call)
        elif call.name in STRANGE and self._touches(call):
            raise AssertionError(f"{call.name} on a file in the folder is not modelled")

    def left(self, luck: random.Random) -> dict[str, bytes]:
        """What may be found after the power went off now: the files by name."""
        chance = luck.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # dropped, torn, kept

        def keep() -> bool:
            return luck.random() < chance

        files: dict[str, bytes] = {}
        for name, ways in self._names.items():
            changes = sum(keep() for _ in ways[1:])
            file = ways[changes]
            if file is None or name.endswith("-shm"):  # shared memory: written through a mapping, and made anew
                continue
            image = bytearray(file.sure)
            for one in file.asked:
                one.onto(image, keep) if 0 < chance < 1 else _all_or_nothing(one, image, chance)
            files[name] = bytes(image)
        return files

    def _name(self, path: bytes) -> str | None:
        folder, _, name = path.decode().rpartition("/")
        return name if folder == self._folder else None

    def _opened(self, call: Call) -> None:
        assert call.result is not None
        self._open.pop(call.result, None)
        path = call.texts[0].decode()
        if path in {self._folder, self._markers}:
            self._open[call.result] = path
        if (name := self._name(call.texts[0])) is None:
            return
        file = self._names.get(name, [None])[-1]
        if file is None:
            file = File()
            self._lead(name, file)
        elif "O_TRUNC" in call.rest[-1]:
            file.asked.append(Resize(self._turn, 0))
        self._open[call.result] = file

    def _written(self, call: Call) -> None:
        if call.result is None or call.result < 0:
            return
        file, data = self._open.get(call.number), call.texts[0][: call.result]
        if file == self._markers:
            self.markers.append(data)
        elif isinstance(file, File):
            if call.name == "write":
                raise AssertionError("a write without a place on a file in the folder")
            file.asked.append(Write(self._turn, call.last(), data))

    def _syncs(self, call: Call) -> None:
        self._syncing[id(call)] = self._turn

    def _synced(self, call: Call) -> None:
        file, began = self._open.get(call.number), self._syncing.pop(id(call))
        if isinstance(file, File):
            file.synced(began)
        elif file == self._folder:
            for name, ways in self._names.items():
                self._names[name] = ways[-1:]

    def _closed(self, call: Call) -> None:
        self._open.pop(call.number, None)

    def _resized(self, call: Call) -> None:
        if isinstance(file := self._open.get(call.number), File):
            file.asked.append(Resize(self._turn, call.last()))

    def _removed(self, call: Call) -> None:
        if (name := self._name(call.texts[0])) is not None:
            self._lead(name, None)

    def _touches(self, call: Call) -> bool:
        if call.texts and call.name == "truncate":
            return self._name(call.texts[0]) is not None
        return call.number in self._open

    def _failed(self, call: Call) -> None:
        file = self._open.get(call.number) if call.name in {"fsync", "fdatasync", "pwrite64"} else None
        if file is None:
            return
        self.failed += 1
        if isinstance(file, File) and call.name != "pwrite64":
            file.forsaken(self._syncing.pop(id(call)), self._luck)

    def _named_anew(self, call: Call) -> None:
        old, new = (self._name(text) for text in call.texts)
        if new is None:
            return
        assert old is not None, "a name from outside of the folder"
        self._lead(new, self._names[old][-1])
        if call.name.startswith("rename"):
            self._lead(old, None)

    def _lead(self, name: str, file: File | None) -> None:
        self._names.setdefault(name, [None]).append(file)


def _all_or_nothing(one: Write | Resize, image: bytearray, chance: float) -> None:
    if chance == 1:
        one.whole(image)


def cuts(steps: list[Step], disk: Disk, at: Iterable[int]) -> Iterator[int]:
    """Walk the trace, and stop at each of these places, told in order: `disk` is then what it was before that step."""
    gone = 0
    for place in at:
        for step in steps[gone:place]:
            disk.do(step)
        gone = place
        yield place
