"""The case file: one ZIP with everything said in a case, which anyone checks offline.

`write` gives one form for one content: entries stored, in a fixed order, with no dates. `verify` reads it, writes it again
from what it read, and compares, so that no byte of the file is outside of the check; then it checks every signature, every
receipt's link, the state and the due time, and that the authority was admitted when it asked, from the keyset that the root
signed on. It opens nothing that is sealed.
"""

import io
import struct
import zipfile
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from crypto import strict
from crypto.errors import NotStrict
from crypto.keys import PublicKey
from protocol import limits
from protocol.authorities import Authority, Registration
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.ids import Digest, Instant, NotAnId, PartyId, digest_of, instant, parse_platform_id, written
from protocol.keyset import Keyset, read_keyset
from protocol.problems import Place, Refused
from protocol.sayings import Jwk, Receipt
from protocol.statements import Statement, key_of, validated
from protocol.terms import Closed, PlatformId

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
README: Final = "README.txt"
MOST_BYTES: Final = 64 * limits.MIB
MOST_ENTRIES: Final = 8 * limits.STATEMENTS
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_LOCAL: Final = struct.Struct("<4s14xLL2H")  # APPNOTE.TXT §4.3.7: signature, …, compressed and full size, lengths
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_README: Final = b"""This is the file of one case: every statement, in the order of the gateway's receipts, as it was signed.
keyset.jws        the platform's public keys, signed by its root
authority/        the registry statements of the requesting authority, with their receipts
case/             the statements of the case, with their receipts
sealed/           the sealed parts, which only their recipients open (age v1)
Check it with:    rogatory verify FILE
"""


@final
@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the archive, and where it ends in the file."""

    content: bytes
    end: int


_Stood: TypeAlias = tuple[Instant, Registration]  # how an authority stands, and since when


class Manifest(Closed):
    """What the file claims to be. Everything in it is checked against what was signed."""

    format: int
    platform: PlatformId
    root: Jwk


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a case file holds. Bytes that nobody need have verified."""

    platform: PartyId
    root: PublicKey
    keyset: bytes
    authority: Sequence[Row]
    case: Sequence[Row]
    sealed: Mapping[Digest, bytes]


@final
@dataclass(frozen=True, slots=True)
class Findings:
    """What `verify` checked, line by line, and what came of it."""

    lines: tuple[str, ...]
    keyset: Keyset
    authority: Authority
    case: Case
    root: PublicKey


def write(parts: Parts) -> bytes:
    """The case file in its one form."""
    sink = io.BytesIO()
    root = parts.root.jwk()
    manifest = strict.dumps({"format": FORMAT, "platform": parts.platform, "root": root})
    with zipfile.ZipFile(sink, "w") as archive:
        _add(archive, MANIFEST, manifest)
        _add(archive, README, _README)
        _add(archive, "keyset.jws", parts.keyset)
        for folder, rows in (("authority", parts.authority), ("case", parts.case)):
            for number, row in enumerate(rows, 1):
                _add(archive, f"{folder}/{number:04}.receipt.jws", row.receipt)
                if row.statement is not None:
                    _add(archive, f"{folder}/{number:04}.statement.jws", row.statement)
        for digest in sorted(parts.sealed):
            _add(archive, f"sealed/{digest}.age", parts.sealed[digest])
    return sink.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o600 << 16
    archive.writestr(entry, content)


def verify(raw: bytes, *, root: PublicKey | None = None) -> Findings:
    """Check a case file, all of it. `root` is the platform's root key as pinned by the reader; None takes the file's own.

    Raises Refused (`case-file-wrong`) with the place: the entry's name, or the byte.
    """
    found = _found(raw)
    contents = {name: entry.content for name, entry in found.items()}
    parts = _parts(contents)
    _same_form(raw, parts, found)
    if root is not None and root.id != parts.root.id:
        raise _wrong(MANIFEST, "the root key that you pinned")
    lines = [f"form: {len(found)} entries, every byte of the file accounted for"]
    keyset = _keyset(parts, lines)
    authority, history = _authority(parts, keyset, lines)
    case = _case(parts, keyset, authority, lines)
    if not _admitted(history, case.received):
        raise _wrong("case/0001", "a request of an authority that was admitted when it asked")
    _sealed(parts, case, lines)
    return Findings(tuple(lines), keyset, authority, case, parts.root)


def _wrong(place: str, expected: str) -> Refused:
    return Refused("case-file-wrong", detail=f"{place}: expected {expected}.", places=(Place(place, expected),))


def _found(raw: bytes) -> dict[str, _Entry]:
    """The entries in the order in which they lie in the file, as far as they are in our form.

    Not by `zipfile`, which believes the archive's directory, and what it says of sizes. What is passed over here, directory
    and checksums among it, `_same_form` compares.
    """
    if len(raw) > MOST_BYTES:
        raise _wrong("the file", f"at most {MOST_BYTES} bytes")
    found: dict[str, _Entry] = {}
    at = 0
    while raw.startswith(_LOCAL_SIGNATURE, at) and len(found) < MOST_ENTRIES:
        name, entry = _entry(raw, at)
        if name in found:
            raise _wrong(name, "each entry once")
        found[name] = entry
        at = entry.end
    return found


def _entry(raw: bytes, at: int) -> tuple[str, _Entry]:
    """The entry whose local header is there."""
    if len(raw) < at + _LOCAL.size:
        raise _wrong(f"byte {at}", "a whole entry")
    _, size, _, name_size, extra_size = _LOCAL.unpack_from(raw, at)
    begin = at + _LOCAL.size + name_size + extra_size
    name, end = raw[at + _LOCAL.size : begin - extra_size], begin + size
    if not name.isascii() or end > len(raw):
        raise _wrong(f"byte {at}", "a whole entry with an ASCII name")
    return name.decode("ascii"), _Entry(raw[begin:end], end)


def _parts(contents: Mapping[str, bytes]) -> Parts:
    try:
        strict.loads_compact(contents.get(MANIFEST, b""), max_depth=limits.DEPTH)
        manifest = validated(contents[MANIFEST], Manifest)
        platform = parse_platform_id(manifest.platform)
        root = key_of(manifest.root)
    except (NotStrict, Refused, NotAnId):
        raise _wrong(MANIFEST, "the manifest of a case file") from None
    if manifest.format != FORMAT:
        raise _wrong(MANIFEST, f"format {FORMAT}")
    sealed = {
        Digest(name.removeprefix("sealed/").removesuffix(".age")): content
        for name, content in contents.items()
        if name.startswith("sealed/")
    }
    rows = {folder: _rows(contents, folder) for folder in ("authority", "case")}
    return Parts(platform, root, contents.get("keyset.jws", b""), rows["authority"], rows["case"], sealed)


def _rows(contents: Mapping[str, bytes], folder: str) -> list[Row]:
    rows: list[Row] = []
    while (receipt := contents.get(f"{folder}/{len(rows) + 1:04}.receipt.jws")) is not None:
        rows.append(Row(receipt, contents.get(f"{folder}/{len(rows) + 1:04}.statement.jws")))
    return rows


def _same_form(raw: bytes, parts: Parts, found: Mapping[str, _Entry]) -> None:
    """The file is byte for byte what `write` makes of its content."""
    again = write(parts)
    if again == raw:
        return
    at = bisect_left(range(min(len(raw), len(again))), x=True, key=lambda n: raw[: n + 1] != again[: n + 1])
    place = next((name for name, entry in found.items() if at < entry.end), "the archive's own directory")
    raise _wrong(f"byte {at} ({place})", "the one form of a case file")


def _keyset(parts: Parts, lines: list[str]) -> Keyset:
    try:
        keyset = read_keyset(parts.keyset, parts.root, parts.platform, None)
    except Refused as refused:
        raise _wrong("keyset.jws", f"a keyset that the root signed ({refused.reason})") from None
    lines.append(f"keyset: version {keyset.version} of {parts.platform}, signed by the root key {parts.root.id}")
    return keyset


def _authority(parts: Parts, keyset: Keyset, lines: list[str]) -> tuple[Authority, list[_Stood]]:
    """The authority after its last row, and how it stood after each."""
    chain = RegistryChain()
    chains: list[RegistryChain] = []
    for number, row in enumerate(parts.authority, 1):
        try:
            chain = chain.then(row, keyset)
        except Refused as refused:
            raise _wrong(f"authority/{number:04}", f"the next row of the registry ({refused.reason})") from None
        chains.append(chain)
    if chain.authority is None:
        raise _wrong("authority/", "the requesting authority's registry")
    found = chain.authority
    names = ", ".join(sorted(found.operators))
    lines.append(
        f"authority: {found.id} is {found.state}, {len(parts.authority)} statements, confirmed by {names or 'nobody'}"
    )
    return found, [(one.link.since, one.authority.state) for one in chains if one.authority is not None]


def _admitted(history: Sequence[_Stood], at: Instant) -> bool:
    """Whether the authority might ask at `at`. Between rows of one second in two chains there is no order: either will do."""
    before = [state for since, state in history if since < at][-1:]
    within = [state for since, state in history if since == at]
    return Registration.ACTIVE in {*before, *within}


def _case(parts: Parts, keyset: Keyset, authority: Authority, lines: list[str]) -> Case:
    known = Known(keyset, authority)
    chain = CaseChain()
    receipts: list[Statement | None] = []
    for number, row in enumerate(parts.case, 1):
        try:
            chain = chain.then(row, known)
        except Refused as refused:
            raise _wrong(f"case/{number:04}", f"the next row of the case ({refused.reason})") from None
        receipts.append(chain.receipt)
    lines += [
        _told(said.saying(Receipt), row) for said, row in zip(receipts, parts.case, strict=True) if said is not None
    ]
    if chain.case is None:
        raise _wrong("case/", "the rows of a case")
    due = "nothing is owed" if chain.case.due is None else f"an answer is owed by {written(chain.case.due)}"
    lines.append(f"case: {chain.case.id} is {chain.case.state}; {due}")
    return chain.case


def _told(said: Receipt, row: Row) -> str:
    what = "no statement" if row.statement is None else f"statement {said.of[:16]}… by its key"
    return f"row {said.seq}: {said.stage} on {written(instant(said.iat))}, receipt linked and signed, {what}, state {said.state}"


def _sealed(parts: Parts, case: Case, lines: list[str]) -> None:
    named = {part.sha256: part for part in case.sealed}
    for digest, content in parts.sealed.items():
        if digest not in named or digest_of(content) != digest or len(content) != named[digest].size:
            raise _wrong(f"sealed/{digest}.age", "a sealed part that a statement of the case names")
    for digest in map(Digest, named):
        kept = "here, digest and size fit" if digest in parts.sealed else "not in this file"
        lines.append(f"sealed part {digest[:16]}…: {kept}")
