"""Whole age files: who can open them, and that whatever is wrong with one ends in SealingError and an empty sink."""

import os
import threading
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import sealing
from crypto.errors import SealingError
from crypto.sealing import bech32, header, stream
from crypto.sealing.header import Stanza

PQ = sealing.generate_identity()
CLASSIC = sealing.generate_identity(post_quantum=False)
TO_PQ, TO_CLASSIC = sealing.recipient_of(PQ), sealing.recipient_of(CLASSIC)
BOTH = pytest.mark.parametrize("identity", [PQ, CLASSIC], ids=["post-quantum", "classic"])
PARTICULARS = b"particulars " * 200


def flaw_of(call: Callable[[], object]) -> str:
    with pytest.raises(SealingError) as error:
        call()
    return error.value.flaw


def test_identities_have_the_forms_that_age_knows() -> None:
    assert PQ.startswith("AGE-SECRET-KEY-PQ-1")
    assert CLASSIC.startswith("AGE-SECRET-KEY-1")
    assert TO_PQ.startswith("age1pq1")
    assert TO_CLASSIC.startswith("age1")
    assert sealing.generate_identity() != PQ


@BOTH
@given(plain=st.binary(max_size=3000))
def test_what_is_sealed_to_an_identity_opens_with_it(identity: str, plain: bytes) -> None:
    sealed = sealing.seal_bytes(plain, [sealing.recipient_of(identity)])
    assert sealing.unseal_bytes(sealed, [identity]) == plain
    sealing.check_header(sealed)


@BOTH
def test_files_are_sealed_and_opened_as_bytes_are(identity: str, tmp_path: Path) -> None:
    plain = os.urandom(5_000_000)
    (tmp_path / "plain").write_bytes(plain)
    with (tmp_path / "plain").open("rb") as source, (tmp_path / "sealed").open("wb") as sink:
        sealing.seal(source, sink, [sealing.recipient_of(identity)])
    with (tmp_path / "sealed").open("rb") as source, (tmp_path / "opened").open("wb") as sink:
        sealing.unseal(source, sink, [identity])
    assert (tmp_path / "opened").read_bytes() == plain
    assert sealing.unseal_bytes((tmp_path / "sealed").read_bytes(), [identity]) == plain


@BOTH
def test_each_of_several_recipients_opens_and_nobody_else(identity: str) -> None:
    post_quantum = identity is PQ
    others = [sealing.generate_identity(post_quantum) for _ in range(3)]
    sealed = sealing.seal_bytes(PARTICULARS, [sealing.recipient_of(one) for one in [*others, identity]])
    for one in [*others, identity]:
        assert sealing.unseal_bytes(sealed, [one]) == PARTICULARS
    strangers = [sealing.generate_identity(post_quantum), PQ if identity is CLASSIC else CLASSIC]
    assert flaw_of(lambda: sealing.unseal_bytes(sealed, strangers)) == "not-for-us"
    assert flaw_of(lambda: sealing.unseal_bytes(sealed, [])) == "not-for-us"
    assert sealing.unseal_bytes(sealed, [*strangers, identity]) == PARTICULARS


def test_parsed_keys_serve_as_their_texts_do() -> None:
    recipient, identity = sealing.parse_recipient(TO_PQ), sealing.parse_identity(PQ)
    assert recipient == identity.recipient
    assert recipient.text == TO_PQ
    assert sealing.unseal_bytes(sealing.seal_bytes(PARTICULARS, [recipient]), [identity]) == PARTICULARS


def test_recipients_are_remembered_and_identities_never() -> None:
    assert sealing.parse_recipient(TO_PQ) is sealing.parse_recipient(TO_PQ)
    assert sealing.parse_identity(PQ) is not sealing.parse_identity(PQ)


@BOTH
def test_a_secret_does_not_print(identity: str) -> None:
    parsed = sealing.parse_identity(identity)
    secret = bech32.decode(identity)[1]
    for text in (repr(parsed), str(parsed), f"{parsed}"):
        assert identity.lower()[:30] not in text.lower()
        assert secret.hex() not in text
        assert len(text) < 120


def test_stanzas_of_unknown_kinds_are_passed_over() -> None:
    file_key = bytes(16)
    grease = Stanza("x-grease", ("whatever",), bytes(100))
    mine = sealing.parse_recipient(TO_CLASSIC).wrap(file_key)
    sink = BytesIO()
    sink.write(header.write([grease, mine, grease], file_key))
    stream.encrypt(file_key, stream.Reader(BytesIO(PARTICULARS)), sink)
    assert sealing.unseal_bytes(sink.getvalue(), [CLASSIC]) == PARTICULARS


@pytest.mark.parametrize(
    ("recipients", "flaw"),
    [
        ([], "recipients-missing"),
        ([TO_PQ, TO_CLASSIC], "mixed-recipients"),
        ([TO_CLASSIC, TO_CLASSIC, TO_PQ], "mixed-recipients"),
        ([TO_CLASSIC] * 65, "recipients-too-many"),
        ([""], "bech32-form"),
        (["age1"], "bech32-form"),
        ([TO_CLASSIC.upper()], "recipient-unknown"),
        ([TO_PQ.upper()], "recipient-unknown"),
        ([TO_CLASSIC.capitalize()], "bech32-mixed-case"),
        ([TO_PQ[:-1]], "bech32-checksum"),
        ([" " + TO_CLASSIC], "bech32-form"),
        ([TO_CLASSIC + "\n"], "bech32-form"),
        ([PQ], "recipient-unknown"),
        ([CLASSIC], "recipient-unknown"),
        ([bech32.encode("age1pq", bytes(32))], "recipient-size"),
        ([bech32.encode("age", bytes(1216))], "recipient-size"),
        ([bech32.encode("age", bytes(32))], "low-order-point"),
        ([bech32.encode("age1pq", b"\xff" * 1184 + bytes([9, *bytes(31)]))], "recipient-key"),
        ([bech32.encode("age1tag", bytes(33))], "recipient-unknown"),
        ([bech32.encode("npub", bytes(32))], "recipient-unknown"),
        (["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"], "bech32-form"),
        (["age1" + "q" * 10_000_000], "bech32-too-long"),
        (["\ud800"], "bech32-form"),
        (TO_CLASSIC, "bech32-form"),  # a text in place of a list
    ],
)
def test_recipients_that_are_none_are_refused_and_nothing_is_written(recipients: list[str], flaw: str) -> None:
    sink = BytesIO()
    assert flaw_of(lambda: sealing.seal(BytesIO(PARTICULARS), sink, recipients)) == flaw
    assert sink.getvalue() == b""


@pytest.mark.parametrize(
    ("identity", "flaw"),
    [
        ("", "bech32-form"),
        (PQ.lower(), "identity-unknown"),
        (CLASSIC.lower(), "identity-unknown"),
        (CLASSIC.capitalize(), "bech32-mixed-case"),
        (PQ[:-1], "bech32-checksum"),
        (TO_PQ, "identity-unknown"),
        (TO_CLASSIC, "identity-unknown"),
        (bech32.encode("AGE-SECRET-KEY-", bytes(31)), "identity-size"),
        (bech32.encode("AGE-SECRET-KEY-PQ-", bytes(64)), "identity-size"),
        (bech32.encode("AGE-PLUGIN-YUBIKEY-", bytes(32)), "identity-unknown"),
    ],
)
def test_identities_that_are_none_are_refused(identity: str, flaw: str) -> None:
    sealed = sealing.seal_bytes(PARTICULARS, [TO_PQ])
    assert flaw_of(lambda: sealing.unseal_bytes(sealed, [identity])) == flaw
    assert flaw_of(lambda: sealing.recipient_of(identity)) == flaw


SEALED = sealing.seal_bytes(PARTICULARS, [TO_PQ])
OPENER = sealing.parse_identity(PQ)
FORGED_KEY = bytes(16)


def test_a_header_written_under_another_file_key_is_refused() -> None:
    stanza = sealing.parse_recipient(TO_PQ).wrap(FORGED_KEY)
    sealed = header.write([stanza], bytes([1] * 16)) + SEALED[header.read(SEALED).length :]
    assert flaw_of(lambda: sealing.unseal_bytes(sealed, [OPENER])) == "header-altered"


def test_a_stanza_added_for_somebody_else_is_found() -> None:
    head = header.read(SEALED)
    more = b"".join((head.covered[:-3], b"-> x-more\n\n", SEALED[head.length - 48 :]))
    assert header.read(more).stanzas[:1] == head.stanzas
    assert flaw_of(lambda: sealing.unseal_bytes(more, [OPENER])) == "header-altered"


def test_header_and_payload_of_two_files_do_not_join() -> None:
    other = sealing.seal_bytes(PARTICULARS, [TO_PQ])
    joined = SEALED[: header.read(SEALED).length] + other[header.read(other).length :]
    assert flaw_of(lambda: sealing.unseal_bytes(joined, [OPENER])) == "payload-altered"


@given(st.data())
def test_any_altered_cut_or_lengthened_file_is_refused_and_leaves_an_empty_sink(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SEALED) - 1))
    flipped = bytearray(SEALED)
    flipped[at] ^= data.draw(st.integers(1, 255))
    tail = data.draw(st.binary(min_size=1, max_size=100))
    for altered in (bytes(flipped), SEALED[:at], SEALED + tail, SEALED[at:], tail + SEALED):
        if altered != SEALED:
            sink = BytesIO()
            flaw_of(partial(sealing.unseal, BytesIO(altered), sink, [OPENER]))
            assert sink.getvalue() == b""


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(noise: bytes) -> None:
    for sealed in (noise, b"age-encryption.org/v1\n" + noise, SEALED[: header.read(SEALED).length] + noise):
        flaw_of(partial(sealing.unseal_bytes, sealed, [OPENER]))


def test_the_form_of_a_header_is_checked_without_a_key() -> None:
    sealing.check_header(SEALED)
    sealing.check_header(SEALED[: header.read(SEALED).length])
    assert flaw_of(lambda: sealing.check_header(PARTICULARS)) == "not-sealed"
    assert flaw_of(lambda: sealing.check_header(SEALED[:500])) == "header-malformed"


CUT_LATE = sealing.seal_bytes(bytes(5_000_000), [TO_CLASSIC])[:-1]


def test_a_sink_that_can_seek_is_cut_back_to_where_it_stood(tmp_path: Path) -> None:
    with (tmp_path / "opened").open("w+b") as sink:
        sink.write(b"before")
        assert flaw_of(lambda: sealing.unseal(BytesIO(CUT_LATE), sink, [CLASSIC])) == "payload-altered"
        sink.write(b", after")
    assert (tmp_path / "opened").read_bytes() == b"before, after"


class Counting:
    """A sink that can only be written to."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, part: memoryview, /) -> int:
        self.size += len(part)
        return len(part)


def test_a_sink_need_only_take_what_is_written() -> None:
    sink = Counting()
    sealing.unseal(BytesIO(SEALED), sink, [OPENER])
    assert sink.size == len(PARTICULARS)


def test_a_sink_that_cannot_seek_has_whole_steps_alone_when_the_error_comes() -> None:
    sink = Counting()
    assert flaw_of(lambda: sealing.unseal(BytesIO(CUT_LATE), sink, [CLASSIC])) == "payload-altered"
    assert sink.size == 4 * 1024 * 1024


def test_a_pipe_is_written_to_and_an_interrupted_one_ends_in_the_error() -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []

    def receive() -> None:
        with os.fdopen(reading, "rb") as pipe:
            received.append(pipe.read())

    receiver = threading.Thread(target=receive)
    receiver.start()
    with os.fdopen(writing, "wb") as pipe:
        assert flaw_of(lambda: sealing.unseal(BytesIO(CUT_LATE), pipe, [CLASSIC])) == "payload-altered"
    receiver.join()
    assert received == [bytes(4 * 1024 * 1024)]


def test_a_sink_that_will_not_be_cut_back_does_not_hide_the_error() -> None:
    class Append(BytesIO):
        def truncate(self, _size: int | None = None, /) -> int:
            raise OSError(22, "Invalid argument")

    assert flaw_of(lambda: sealing.unseal(BytesIO(CUT_LATE), Append(), [CLASSIC])) == "payload-altered"


def test_an_interruption_cuts_back_too() -> None:
    class Interrupted(BytesIO):
        def write(self, part: memoryview, /) -> int:  # type: ignore[override]
            if self.tell():
                raise KeyboardInterrupt
            return super().write(part)

    sink = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        sealing.unseal(BytesIO(CUT_LATE), sink, [CLASSIC])
    assert sink.getvalue() == b""
