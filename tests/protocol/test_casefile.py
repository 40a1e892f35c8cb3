"""The case file: everything that was said, and no byte of it can be changed without being found."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import strict
from crypto.keys import Ed25519Secret
from protocol import casefile, limits
from protocol.casefile import Findings, Parts, verify, write
from protocol.cases import State
from protocol.chains import Row
from protocol.ids import CaseId, Digest, PartyId, digest_of
from protocol.problems import Refused
from protocol.terms import Outcome, Role, Stage, Standing
from tests.actors import NOW, Chains, Mallory, Officer, Platform

PLATFORM = Platform(post_quantum=False)  # for small files
OFFICER = Officer(PLATFORM, identity=PLATFORM.desk.identity)
MINUTE = timedelta(minutes=1)


def story(*, whole: bool = True) -> Parts:
    """A case from its request to its end, or its request alone."""
    chains = Chains(PLATFORM)
    chains.admitted(OFFICER)
    sent = OFFICER.request()
    chains.take(sent.statement)
    (case,) = map(CaseId, chains.cases)
    if whole:
        found = chains.case(case)
        chains.take(PLATFORM.desk.acceptance(found))
        chains.take(PLATFORM.desk.decision(found, Outcome.DISCLOSED))
        chains.note(case, Stage.RETRIEVED)
        chains.take(OFFICER.acknowledgement(chains.case(case)))
    return parts(chains, case, {digest_of(sent.sealed): sent.sealed})


def parts(chains: Chains, case: str, sealed: dict[Digest, bytes]) -> Parts:
    registry, rows = chains.registry_rows[OFFICER.party], chains.case_rows[case]
    return Parts(PLATFORM.id, PLATFORM.root.public, PLATFORM.keyset_raw, registry, rows, sealed)


PARTS = story()
FILE = write(PARTS)


def refusal(raw: bytes, **pinned: Any) -> Refused:
    with pytest.raises(Refused) as found:
        verify(raw, **pinned)
    assert found.value.code == "case-file-wrong"
    assert len(found.value.places) == 1
    assert found.value.places[0].pointer
    assert found.value.places[0].pointer in found.value.detail
    return found.value


def place(raw: bytes, **pinned: Any) -> str:
    return refusal(raw, **pinned).places[0].pointer


# -- what is good ---------------------------------------------------------------------------------------------------------


def test_a_case_file_is_checked_line_by_line() -> None:
    found: Findings = verify(FILE, root=PLATFORM.root.public)
    assert found.case.state is State.CLOSED
    assert found.authority.id == OFFICER.party
    assert found.root == PLATFORM.root.public
    assert found.keyset.version == 1
    told = "\n".join(found.lines)
    for line in (
        "every byte of the file accounted for",
        f"keyset: version 1 of tg.example, signed by the root key {PLATFORM.root.public.id}",
        "authority: kr-knpa-cyber is active, 3 statements, confirmed by alice, bob",
        "row 1: taken on 2026-11-18T11:06:40Z",
        "row 4: retrieved on 2026-11-18T11:06:40Z, receipt linked and signed, no statement, state delivered",
        "row 5:",
        "is closed; nothing is owed",
        "here, digest and size fit",
    ):
        assert line in told


def test_a_case_that_is_not_answered_shows_what_is_owed() -> None:
    found = verify(write(story(whole=False)))
    assert "is received; an answer is owed by 2026-11-28T11:06:40Z" in "\n".join(found.lines)


def test_sealed_parts_may_have_been_erased() -> None:
    found = verify(write(replace(PARTS, sealed={})))
    assert "not in this file" in found.lines[-1]


def test_one_content_has_one_form() -> None:
    assert write(PARTS) == FILE
    assert write(replace(PARTS, sealed=dict(reversed(list(PARTS.sealed.items()))))) == FILE


def test_the_file_is_a_zip_that_everyone_opens() -> None:
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("case/0001.statement.jws") == PARTS.case[0].statement
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert names[:3] == ["manifest.json", "README.txt", "keyset.jws"]
    assert "case/0004.receipt.jws" in names
    assert "case/0004.statement.jws" not in names


def test_the_file_is_read_when_the_keyset_has_long_ended() -> None:
    ended = PLATFORM.sign_keyset(until=int(NOW.timestamp()) + 1)
    assert verify(write(replace(PARTS, keyset=ended))).case.state is State.CLOSED


# -- what was changed -----------------------------------------------------------------------------------------------------


def test_a_change_of_any_byte_is_found_and_its_place_named() -> None:
    whole = story(whole=False)
    used = [key for key in PLATFORM.keys if key.role in {Role.GATEWAY, Role.OPERATOR}]
    small = write(replace(whole, keyset=PLATFORM.sign_keyset(keys=used)))
    assert verify(small).case.state is State.RECEIVED
    passed: list[int] = []
    for at in range(len(small)):
        bent = bytearray(small)
        bent[at] ^= 1 << at % 8
        try:
            verify(bytes(bent))
            passed.append(at)
        except Refused as refused:
            named = refused.places[0].pointer
            if refused.code != "case-file-wrong" or not named:
                passed.append(at)
    assert passed == []


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_any_change_of_a_byte_is_found_at_that_byte_or_in_that_entry(at: int, change: int) -> None:
    bent = bytearray(FILE)
    bent[at % len(FILE)] ^= change
    refusal(bytes(bent))


def test_the_place_is_the_entry_in_which_the_byte_lies() -> None:
    for name, content in entries():
        at = FILE.index(content) + len(content) // 2
        bent = bytearray(FILE)
        bent[at] ^= 1
        assert name in place(bytes(bent)), name
    bent = bytearray(FILE)
    bent[-30] ^= 1
    assert place(bytes(bent)) == f"byte {len(FILE) - 30} (the archive's own directory)"


CUTS = [1, 22, 100, len(FILE) // 2, len(FILE) - 30, len(FILE) - 1, len(FILE)]


@pytest.mark.parametrize("cut", CUTS, ids=map(str, range(len(CUTS))))
def test_a_file_that_was_cut_off_is_refused(cut: int) -> None:
    refusal(FILE[:-cut])


@pytest.mark.parametrize(
    "bend",
    [
        lambda raw: raw + b"\0",
        lambda raw: b"\0" + raw,
        lambda raw: raw + raw,
        lambda raw: raw[:-2] + b"\5\0hello",  # a comment at the end
        lambda _: b"",
        lambda _: b"PK\3\4",
        lambda _: b"PK\5\6" + bytes(18),
        lambda raw: raw[:4] + raw[30:],
    ],
    ids=["tail", "head", "twice", "comment", "nothing", "signature", "empty archive", "no header"],
)
def test_what_is_added_round_it_is_refused(bend: Callable[[bytes], bytes]) -> None:
    refusal(bend(FILE))


def entries() -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def zipped(content: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Entries as `write` writes them, whatever they are."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in content:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr, entry.compress_type = 3, 0o600 << 16, compression
            archive.writestr(entry, text)
    return sink.getvalue()


def with_entry(name: str, text: bytes) -> bytes:
    return zipped([(one, text if one == name else old) for one, old in entries()])


def test_the_bender_of_archives_bends_nothing_by_itself() -> None:
    assert zipped(entries()) == FILE


def test_entries_in_another_order_are_refused() -> None:
    found = entries()
    found[3], found[5] = found[5], found[3]
    refusal(zipped(found))


def test_entries_with_exchanged_content_are_refused() -> None:
    found = dict(entries())
    one, other = "case/0001.receipt.jws", "case/0002.receipt.jws"
    found[one], found[other] = found[other], found[one]
    assert place(zipped(list(found.items()))) == "case/0001"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["manifest.json", "case/0001.statement.jws"])
def test_a_name_that_stands_twice_is_refused(name: str) -> None:
    assert place(zipped([*entries(), (name, b"x")])) == name


@pytest.mark.parametrize("name", ["extra.txt", "case/0009.receipt.jws", "sealed/../../x", "authority/0000.receipt.jws"])
def test_an_entry_that_does_not_belong_is_refused(name: str) -> None:
    refusal(zipped([*entries(), (name, b"x")]))


@pytest.mark.parametrize("name", [name for name, _ in entries()])
def test_an_entry_that_is_missing_is_refused_unless_it_may_be_erased(name: str) -> None:
    raw = zipped([one for one in entries() if one[0] != name])
    if name.startswith("sealed/"):
        verify(raw)
    else:
        refusal(raw)


def test_a_packed_archive_is_refused() -> None:
    refusal(zipped(entries(), zipfile.ZIP_DEFLATED))


def test_a_name_beyond_ascii_is_refused() -> None:
    assert "ASCII" in refusal(zipped([*entries(), ("sealed/ä.age", b"x")])).detail


def test_a_sealed_part_that_was_altered_is_refused() -> None:
    ((digest, content),) = PARTS.sealed.items()
    for sealed in (
        {digest: content + b"\0"},
        {digest: content[:-1] + b"x"},
        {digest: content, digest_of(b"x"): b"x"},
        {digest_of(b"x"): b"x"},
        {Digest("x"): content},
    ):
        assert place(write(replace(PARTS, sealed=sealed))).startswith("sealed/")


def test_a_sealed_part_of_another_size_than_was_signed_is_refused() -> None:
    chains = Chains(PLATFORM)
    chains.admitted(OFFICER)
    sent = OFFICER.request()
    raw = Mallory(OFFICER.secret).claims(
        sent.statement, particulars={"sha256": digest_of(sent.sealed), "size": 1, "recipients": ["A" * 43]}
    )
    chains.take(raw)
    (case,) = chains.cases
    assert place(write(parts(chains, case, {digest_of(sent.sealed): sent.sealed}))).startswith("sealed/")


# -- whose file it is -----------------------------------------------------------------------------------------------------


def test_the_root_that_was_pinned_is_the_one_that_counts() -> None:
    other = Ed25519Secret.generate().public
    assert place(FILE, root=other) == "manifest.json"
    foreign = write(replace(PARTS, root=other))
    assert place(foreign, root=PLATFORM.root.public) == "manifest.json"
    assert place(foreign) == "keyset.jws"


def test_a_file_under_another_platform_s_name_is_refused() -> None:
    assert place(write(replace(PARTS, platform=PartyId("other.example")))) == "keyset.jws"


def test_a_keyset_that_another_root_signed_is_refused() -> None:
    forged = Mallory(Ed25519Secret.generate()).header(PLATFORM.keyset_raw)
    assert place(write(replace(PARTS, keyset=forged))) == "keyset.jws"


ROOT = PLATFORM.root.public.jwk()


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":1}',
        strict.dumps({"format": 2, "platform": "tg.example", "root": ROOT}),
        strict.dumps({"format": 1, "platform": "tg.example", "root": ROOT, "more": 1}),
        strict.dumps({"format": 1, "platform": "-.-", "root": ROOT}),
        strict.dumps({"format": True, "platform": "tg.example", "root": ROOT}),
        strict.dumps({"format": 1, "platform": "tg.example", "root": ROOT | {"x": "A" * 43}}),
        strict.dumps({"format": 1, "platform": "tg.example", "root": ROOT}) + b"\n",
        b'{"format":1,"format":1,' + strict.dumps({"platform": "tg.example", "root": ROOT})[1:],
    ],
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes) -> None:
    assert "manifest.json" in place(with_entry("manifest.json", manifest))


def test_the_readme_is_checked_like_everything_else() -> None:
    raw = with_entry("README.txt", b"All is well, believe me.")
    assert "README.txt" in place(raw)


# -- what was said --------------------------------------------------------------------------------------------------------


def with_row(number: int, row: Row) -> bytes:
    rows = list(PARTS.case)
    rows[number] = row
    return write(replace(PARTS, case=rows))


def test_a_statement_that_was_changed_is_found_in_its_row() -> None:
    row = PARTS.case[2]
    assert row.statement is not None
    bent = Mallory.flipped(row.statement, 1, 40)
    assert place(with_row(2, Row(row.receipt, bent))) == "case/0003"


def test_a_promise_that_was_changed_is_found_in_its_row() -> None:
    row = PARTS.case[0]
    later = Mallory(PLATFORM.gateway).claims(row.receipt, due=int(NOW.timestamp()) + 10**8)
    assert place(with_row(0, Row(later, row.statement))) == "case/0001"


def test_rows_that_were_left_out_are_missed() -> None:
    assert place(write(replace(PARTS, case=[PARTS.case[0], *PARTS.case[2:]]))) == "case/0002"
    assert place(write(replace(PARTS, case=[]))) == "case/"
    assert place(write(replace(PARTS, authority=[]))) == "authority/"
    assert place(write(replace(PARTS, authority=PARTS.authority[1:]))) == "authority/0001"


def test_rows_at_the_end_may_be_missing_and_the_state_says_so() -> None:
    """Nobody can tell from a file what was said after it was made."""
    assert verify(write(replace(PARTS, case=PARTS.case[:3]))).case.state is State.ANSWERED


def test_the_rows_of_another_case_are_refused() -> None:
    other = story()
    assert place(write(replace(PARTS, case=[*PARTS.case[:2], *other.case[2:]]))) == "case/0003"


def test_an_authority_that_nobody_confirmed_has_no_case_file() -> None:
    """A gateway in wrong hands invents an authority, and signs receipts for what it says."""
    chains = Chains(PLATFORM)
    chains.take(OFFICER.application())
    case = chains.opened(OFFICER)
    assert place(write(parts(chains, case.id, {}))) == "case/0001"
    chains.take(PLATFORM.alice.admission(chains.authority(OFFICER.party)))
    assert place(write(parts(chains, case.id, {}))) == "case/0001"


@pytest.mark.parametrize(
    ("confirmed", "suspended", "good"),
    [(-2, None, True), (0, None, True), (1, None, False), (-2, -1, False), (-2, 0, True), (-2, 1, True)],
    ids=["before", "in that second", "after", "suspended before", "suspended in that second", "suspended after"],
)
def test_the_authority_was_admitted_when_it_asked(confirmed: int, suspended: int | None, good: bool) -> None:
    chains = Chains(PLATFORM)
    asked = NOW + 3 * MINUTE
    chains.take(OFFICER.application())
    for operator in (PLATFORM.alice, PLATFORM.bob):
        at = asked + confirmed * MINUTE
        chains.take(operator.admission(chains.authority(OFFICER.party), at), at)
    case = chains.opened(OFFICER, asked)
    if suspended is not None:
        at = asked + suspended * MINUTE
        chains.take(PLATFORM.alice.standing(OFFICER.party, Standing.SUSPENDED, at), at)
    raw = write(parts(chains, case.id, {}))
    if good:
        assert verify(raw).case.id == case.id
    else:
        assert place(raw) == "case/0001"


# -- size -----------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_read() -> None:
    assert "at most" in refusal(bytes(casefile.MOST_BYTES + 1)).detail


def test_more_entries_than_a_case_can_have_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casefile, "MOST_ENTRIES", 3)
    refusal(FILE)


def bomb() -> bytes:
    """An entry that unfolds to a thousand times its size, and says that it has ten bytes."""
    raw = zipped([("manifest.json", bytes(64 * limits.MIB))], zipfile.ZIP_DEFLATED)
    return raw.replace(struct.pack("<L", 64 * limits.MIB), struct.pack("<L", 10))


def directory_bomb() -> bytes:
    """A directory of 200,000 entries, each of which would become an object."""
    one = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    many = one * 200_000
    return many + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(many), 0, 0)


@pytest.mark.parametrize("make", [bomb, directory_bomb])
def test_what_claims_to_be_small_is_not_unfolded(make: Callable[[], bytes]) -> None:
    raw = make()
    tracemalloc.start()
    try:
        refusal(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * limits.MIB + 2 * len(raw)
