"""The disclosure: a ZIP that anyone opens, in which nothing is other than `about.json` lists it."""

import csv
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.disclosure import ABOUT, About, Part, Records, files_of, opened, write
from protocol.ids import digest_of, numeric
from protocol.problems import Refused
from protocol.terms import Category
from tests.actors import NOW

SUBSCRIBER = Records(
    Category.SUBSCRIBER,
    "accounts",
    ("account", "name", "phone", "born"),
    (("@suspect", 'Kim, "Minji"', "+82 10 1234 5678", 1990), ("@other", "이지은", None, None)),
)  # fmt: skip
TRAFFIC = Records(
    Category.TRAFFIC, "ip_log", ("at", "ip"), tuple((f"2026-11-{n:02}", "192.0.2.1") for n in range(1, 31))
)


def about(files: list[tuple[Part, bytes]], **members: Any) -> About:
    told: dict[str, Any] = {
        "platform": "tg.example",
        "requester": "kr-knpa-cyber",
        "case": "01a1ee56-5e00-8644-b836-edcc4521e310",
        "request": "a" * 64,
        "desk": "A" * 43,
        "draft": "d" * 64,
        "asked": (Category.SUBSCRIBER, Category.TRAFFIC),
        "granted": (Category.SUBSCRIBER,),
        "made": numeric(NOW),
        "files": tuple(part for part, _ in files),
    }
    return About(**told | members)


def made(files: list[tuple[Part, bytes]] | None = None) -> bytes:
    found = files_of([SUBSCRIBER, TRAFFIC]) if files is None else files
    sink = io.BytesIO()
    write(sink, about(found), [content for _, content in found])
    return sink.getvalue()


ZIP = made()


def refusal(raw: bytes) -> Refused:
    with pytest.raises(Refused) as found:
        opened(io.BytesIO(raw))
    assert found.value.code == "disclosure-wrong"
    return found.value


def entries() -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def zipped(content: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, text in content:
            archive.writestr(name, text)
    return sink.getvalue()


# -- what is good ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_opened_with_every_file_as_it_was() -> None:
    found = opened(io.BytesIO(ZIP))
    assert found == about(files_of([SUBSCRIBER, TRAFFIC]))
    assert [(part.name, part.rows) for part in found.files] == [
        ("subscriber-accounts.csv", 2),
        ("subscriber-accounts.json", 2),
        ("traffic-ip_log.csv", 30),
        ("traffic-ip_log.json", 30),
    ]
    contents = dict(entries())
    assert next(iter(contents)) == ABOUT
    for part in found.files:
        assert (digest_of(contents[part.name]), len(contents[part.name])) == (part.sha256, part.size)


def test_records_are_the_same_in_both_forms() -> None:
    contents = dict(entries())
    table = list(csv.reader(io.StringIO(contents["subscriber-accounts.csv"].decode(), newline="")))
    rows = json.loads(contents["subscriber-accounts.json"])
    assert table[0] == list(rows[0])
    assert rows == [dict(zip(SUBSCRIBER.columns, row, strict=True)) for row in SUBSCRIBER.rows]
    assert table[1] == ["'@suspect", 'Kim, "Minji"', "'+82 10 1234 5678", "1990"]
    assert table[2] == ["'@other", "이지은", "", ""]


def test_an_answer_without_rows_is_a_table_of_none() -> None:
    files = files_of([Records(Category.CONTENT, "posts", ("id",), ())])
    assert [(part.rows, content) for part, content in files] == [(0, b"id\r\n"), (0, b"[]")]
    assert opened(io.BytesIO(made(files))).files == tuple(part for part, _ in files)


def test_one_content_has_one_form() -> None:
    assert made() == ZIP


def test_it_is_written_to_a_sink_that_cannot_go_back() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.got = b""

        def writable(self) -> bool:
            return True

        def write(self, raw: Any) -> int:
            self.got += bytes(raw)
            return len(raw)

    pipe, files = Pipe(), files_of([SUBSCRIBER])
    write(pipe, about(files), [content for _, content in files])  # type: ignore[arg-type]
    assert opened(io.BytesIO(pipe.got)).files == tuple(part for part, _ in files)


def test_files_that_about_does_not_list_are_a_mistake_of_ours() -> None:
    files = files_of([SUBSCRIBER])
    for contents in ([b"x", files[1][1]], [files[0][1]], [files[1][1], files[0][1]]):
        with pytest.raises(RuntimeError):
            write(io.BytesIO(), about(files), contents)


# -- spreadsheets ---------------------------------------------------------------------------------------------------------

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
SEPARATORS = ",;|\t\r\n"


def cells(text: str) -> list[str]:
    """Every cell that a spreadsheet might see in a text: it may part it wherever some country parts cells."""
    for separator in SEPARATORS:
        text = text.replace(separator, "\0")
    return text.split("\0")


@pytest.mark.parametrize(
    "value",
    [
        '=cmd|"/c calc"!A0',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        '"=1',
        "'=1",
        "\uff1d1+1",
        "name;=HYPERLINK(A1)",
        "name\t=1",
        'x","=1',
        "a, -b",
        "first\n=second",
        "==",
    ],
)
def test_a_record_does_not_become_a_formula(value: str) -> None:
    (_, table), (_, rows) = files_of([Records(Category.SUBSCRIBER, "accounts", (value,), ((value,),))])
    assert json.loads(rows) == [{value: value}]
    for row in csv.reader(io.StringIO(table.decode(), newline="")):
        for cell in cells(row[0]):
            assert not cell.lstrip(" \"'").startswith(tuple(STARTS)) or cell.startswith("'")


@given(st.text(alphabet="=+-@,;|\t\r\n\"' a1\uff1d", max_size=12))
def test_no_text_makes_a_formula_in_any_country(value: str) -> None:
    (_, table), (_, rows) = files_of([Records(Category.SUBSCRIBER, "accounts", ("x",), ((value,),))])
    assert json.loads(rows) == [{"x": value}]
    (_, row) = csv.reader(io.StringIO(table.decode(), newline=""))
    found = row[0] if row else ""
    for cell in cells(found):
        assert not cell.lstrip(" \"'").startswith(tuple("=+-@\uff1d")) or cell.startswith("'")


@pytest.mark.parametrize("value", ["Kim Minji", "a-b", "kim@example.org", "1+1", "", "x = y", "192.0.2.1"])
def test_a_harmless_record_stays_as_it_is(value: str) -> None:
    (_, table), _ = files_of([Records(Category.SUBSCRIBER, "accounts", ("x", "n"), ((value, -5),))])
    assert list(csv.reader(io.StringIO(table.decode(), newline="")))[1] == [value, "-5"]


# -- what was changed -----------------------------------------------------------------------------------------------------


def test_a_change_of_any_byte_is_refused_or_changes_nothing_that_is_read() -> None:
    """The seal finds every changed byte before; this is what a reader can rely on besides."""
    good = (opened(io.BytesIO(ZIP)), entries())
    for at in range(len(ZIP)):
        bent = bytearray(ZIP)
        bent[at] ^= 1 << at % 8
        try:
            found = opened(io.BytesIO(bytes(bent)))
        except Refused as refused:
            assert refused.code == "disclosure-wrong"  # noqa: PT017 - most are refused, some are dates in the directory
            continue
        with zipfile.ZipFile(io.BytesIO(bytes(bent))) as archive:
            assert (found, [(entry.filename, archive.read(entry)) for entry in archive.infolist()]) == good


@pytest.mark.parametrize("raw", [b"", b"PK\5\6" + bytes(18), b"x" * 1000, ZIP[:-1], ZIP[:200], ZIP[40:], ZIP[:-60]])
def test_what_is_no_zip_of_ours_is_refused(raw: bytes) -> None:
    refusal(raw)


def with_about(text: bytes) -> bytes:
    return zipped([(ABOUT, text), *entries()[1:]])


TOLD = entries()[0][1]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"{",
        b"\xff",
        TOLD.replace(b'"platform"', b'"platform":"x.example","platform"'),
        TOLD.replace(b"{", b'{"more":1,', 1),
        TOLD.replace(b'"case"', b'"cafe"'),
        TOLD.replace(b'"rows": 2', b'"rows": 2.0'),
        TOLD.replace(b"accounts.csv", b"../../.bashrc"),
        TOLD.replace(b"accounts.csv", b"ACCOUNTS.csv"),
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_an_about_that_is_none_is_refused(text: bytes) -> None:
    assert "about.json" in refusal(with_about(text)).reason


def test_about_is_the_first() -> None:
    refusal(zipped(entries()[::-1]))
    refusal(zipped(entries()[1:]))


@pytest.mark.parametrize("number", range(1, 5))
def test_every_listed_file_is_there_as_it_was_listed(number: int) -> None:
    found = entries()
    name, content = found[number]
    for bent in (content + b" ", content[:-1], content[:-1] + b"x", b""):
        refusal(zipped([*found[:number], (name, bent), *found[number + 1 :]]))
    refusal(zipped(found[:number] + found[number + 1 :]))
    refusal(zipped([*found[:number], ("other.csv", content), *found[number + 1 :]]))


def test_a_file_that_is_not_listed_is_refused() -> None:
    refusal(zipped([*entries(), ("virus.exe", b"MZ")]))
    refusal(zipped([entries()[0], ("../x", b"x"), *entries()[1:]]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["subscriber-accounts.csv", ABOUT])
def test_a_name_that_stands_twice_is_refused_since_one_would_take_the_other_s_place(name: str) -> None:
    found = json.loads(TOLD)
    found["files"][1]["name"] = name
    contents = entries()
    raw = zipped([(ABOUT, json.dumps(found).encode()), contents[1], (name, contents[2][1]), *contents[3:]])
    assert "about.json" in refusal(raw).reason


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_not_everyone_has_is_refused(compression: int) -> None:
    assert "compression" in refusal(zipped(entries(), compression)).reason


def test_plain_entries_are_opened_too() -> None:
    assert opened(io.BytesIO(zipped(entries(), zipfile.ZIP_STORED))).requester == "kr-knpa-cyber"


def test_an_entry_that_claims_to_be_encrypted_is_refused() -> None:
    raw = bytearray(ZIP)
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    assert refusal(bytes(raw)).reason == "no sound ZIP: RuntimeError"


# -- size -----------------------------------------------------------------------------------------------------------------


def about_bomb() -> bytes:
    """An `about.json` that unfolds to a thousand times its size, and says that it is small."""
    raw = zipped([(ABOUT, bytes(64 * limits.MIB))])
    return raw.replace(struct.pack("<L", 64 * limits.MIB), struct.pack("<L", 1000))


def file_bomb() -> bytes:
    """A listed file that does so."""
    found = files_of([Records(Category.SUBSCRIBER, "accounts", ("x",), (("y",),))])
    names = [part.name for part, _ in found]
    listed = about(found).model_dump_json().encode()
    raw = zipped([(ABOUT, listed), (names[0], bytes(64 * limits.MIB)), (names[1], found[1][1])])
    return raw.replace(struct.pack("<L", 64 * limits.MIB), struct.pack("<L", found[0][0].size))


def directory_bomb() -> bytes:
    """A directory of a million entries."""
    one = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    many = one * 1_000_000
    return many + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(many), 0, 0)


@pytest.mark.parametrize("make", [about_bomb, file_bomb, directory_bomb])
def test_what_claims_to_be_small_is_not_unfolded(make: Callable[[], bytes]) -> None:
    raw = io.BytesIO(make())
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as found:
            opened(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.value.code == "disclosure-wrong"
    assert peak < 16 * limits.MIB


def test_a_large_disclosure_is_checked_in_little_memory() -> None:
    content = b"0123456789abcdef" * (2 * limits.MIB)
    part = Part(
        name="a.bin", sha256=digest_of(content), size=len(content), category=Category.CONTENT, source="posts", rows=1
    )
    raw = io.BytesIO(made([(part, content)]))
    tracemalloc.start()
    try:
        opened(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * limits.MIB
