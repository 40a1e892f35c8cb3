"""The disclosure: a ZIP that anyone can open, `about.json` first, then the records.

The desk writes it with `write`; the authority opens it with `opened`, which compares `about.json` with the signed decision, so
that a ciphertext cannot be passed on under another name. Sealing and the digest of the ciphertext are not this module's.
"""

import csv
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Final, final

from pydantic import AfterValidator, Field, StringConstraints

from crypto import strict
from crypto.errors import NotStrict
from protocol import limits
from protocol.ids import Digest, digest_of
from protocol.problems import Refused
from protocol.statements import validated
from protocol.terms import AuthorityId, CaseText, Category, Closed, DigestText, KeyIdText, NumericDate, PlatformId

ABOUT: Final = "about.json"
ABOUT_BYTES: Final = 64 * limits.KIB
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the ZIP's own dates say nothing; about.json does
_STEP: Final = 2 * limits.MIB
# What `zipfile` raises on hostile archives; RuntimeError is an entry that claims to be encrypted.
_UNSOUND: Final = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, OSError)
# Where a spreadsheet may see the beginning of a cell (in some countries it parts cells at `;`), and takes it for a formula.
_FORMULA: Final = re.compile("(^|[;,|\t\r\n])(?=[\\s\"']*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


class Part(Closed):
    """One file of the disclosure."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")]
    sha256: DigestText
    size: Annotated[int, Field(ge=0)]
    category: Category
    source: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
    rows: Annotated[int, Field(ge=0)]


def _files_once(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Unpacked, no file may take another's place, and none that of `about.json`."""
    if len({ABOUT, *(part.name for part in parts)}) != len(parts) + 1:
        raise ValueError("each name once")
    return parts


class About(Closed):
    """Of which case this is, for whom, what was asked and granted, from which sources, when."""

    platform: PlatformId
    requester: AuthorityId
    case: CaseText
    request: DigestText
    desk: KeyIdText  # the key that signs the decision
    draft: DigestText  # what the reviewers approved
    asked: tuple[Category, ...]
    granted: tuple[Category, ...]
    made: NumericDate
    files: Annotated[tuple[Part, ...], Field(max_length=1_000), AfterValidator(_files_once)]


@final
@dataclass(frozen=True, slots=True)
class Records:
    """The rows that one named query of one source gave for one category, as text."""

    category: Category
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | None, ...], ...]

    @property
    def stem(self) -> str:
        """The file name that these records get, without its ending."""
        return f"{self.category.value}-{self.source}"


def files_of(records: Iterable[Records]) -> list[tuple[Part, bytes]]:
    """Each set of records as CSV (RFC 4180) and as JSON."""
    found: list[tuple[Part, bytes]] = []
    for one in records:
        for ending, content in (("csv", _csv(one)), ("json", _json(one))):
            part = Part(
                name=f"{one.stem}.{ending}",
                sha256=digest_of(content),
                size=len(content),
                category=one.category,
                source=one.source,
                rows=len(one.rows),
            )
            found.append((part, content))
    return found


def write(sink: IO[bytes], about: About, contents: Sequence[bytes]) -> None:
    """The ZIP: `about.json`, then the files in the order in which it lists them."""
    if [digest_of(content) for content in contents] != [part.sha256 for part in about.files]:
        raise RuntimeError("about.json lists other files")
    with zipfile.ZipFile(sink, "w") as archive:
        _add(archive, ABOUT, about.model_dump_json(indent=2).encode())
        for part, content in zip(about.files, contents, strict=True):
            _add(archive, part.name, content)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    archive.writestr(entry, content)


def opened(source: IO[bytes]) -> About:
    """`about.json` of a disclosure, every listed file there with its digest, and no other. Raises `disclosure-wrong`."""
    try:
        with zipfile.ZipFile(_BySteps(source)) as archive:
            return _checked(archive)
    except _UNSOUND as error:
        raise _wrong(f"no sound ZIP: {type(error).__name__}") from None


def _checked(archive: zipfile.ZipFile) -> About:
    entries = archive.infolist()
    if not entries or entries[0].filename != ABOUT or entries[0].file_size > ABOUT_BYTES:
        raise _wrong("about.json is not first")
    if any(entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for entry in entries):
        raise _wrong("a compression that not everyone has")
    with archive.open(entries[0]) as content:
        raw = content.read(ABOUT_BYTES)  # by size, or a small entry could unfold to gigabytes
    try:
        strict.loads(raw, max_depth=limits.DEPTH)
        about = validated(raw, About)
    except (NotStrict, Refused) as error:
        raise _wrong(f"about.json: {error}") from None
    if [entry.filename for entry in entries[1:]] != [part.name for part in about.files]:
        raise _wrong("other files than about.json lists")
    for entry, part in zip(entries[1:], about.files, strict=True):
        if entry.file_size != part.size or _digest(archive, entry) != part.sha256:
            raise _wrong(f"{part.name} differs from its digest")
    return about


@final
class _BySteps:
    """A file that gives at most 2 MiB at once: a ZIP's directory that claims gigabytes is not read into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """As files do it; raises BadZipFile instead of giving more."""
        found = self._file.read(size if 0 <= size <= _STEP else _STEP + 1)
        if len(found) > _STEP:
            raise zipfile.BadZipFile("asks for too much at once")
        return found


def _digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Digest:
    """Streamed, and never more than the size that the entry names."""
    digest = hashlib.sha256()
    with archive.open(entry) as content:
        while step := content.read(limits.MIB):
            digest.update(step)
    return Digest(digest.hexdigest())


def _wrong(reason: str) -> Refused:
    return Refused("disclosure-wrong", reason=reason)


def _csv(records: Records) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(tuple(_harmless(column) for column in records.columns))
    writer.writerows(tuple("" if value is None else _harmless(value) for value in row) for row in records.rows)
    return out.getvalue().encode("utf-8")


def _harmless(value: str | int) -> str | int:
    """A spreadsheet must not take a record for a formula; the JSON beside it has the value as it is."""
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _json(records: Records) -> bytes:
    rows = [dict(zip(records.columns, row, strict=True)) for row in records.rows]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode("utf-8")
