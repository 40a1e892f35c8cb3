"""The header of an age file: the grammar of C2SP age and nothing near it, at a cost that has a bound."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import SealingError
from crypto.sealing import header
from crypto.sealing.header import Stanza

FILE_KEY = bytes(range(16))
ARGUMENT = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
STANZAS = st.lists(
    st.builds(
        Stanza,
        kind=ARGUMENT.filter(lambda kind: kind != "scrypt"),
        arguments=st.lists(ARGUMENT, max_size=4).map(tuple),
        body=st.binary(max_size=200),
    ),
    min_size=1,
    max_size=5,
)
WRITTEN = header.write([Stanza("X25519", ("c2hhcmU",), bytes(32)), Stanza("p-grease", ("a", "b"), bytes(96))], FILE_KEY)


def flaw_of(begin: bytes) -> str:
    with pytest.raises(SealingError) as error:
        header.read(begin)
    return error.value.flaw


@given(STANZAS, st.binary(min_size=16, max_size=16), st.binary(max_size=100))
def test_what_is_written_reads_as_it_was(stanzas: list[Stanza], file_key: bytes, payload: bytes) -> None:
    written = header.write(stanzas, file_key)
    read = header.read(written + payload)
    assert read.stanzas == tuple(stanzas)
    assert read.length == len(written)
    read.verify(file_key)


@given(STANZAS, st.binary(min_size=16, max_size=16))
def test_another_file_key_does_not_verify(stanzas: list[Stanza], other: bytes) -> None:
    read = header.read(header.write(stanzas, FILE_KEY))
    if other != FILE_KEY:
        with pytest.raises(SealingError) as error:
            read.verify(other)
        assert error.value.flaw == "header-altered"


def test_no_bit_of_a_header_can_be_flipped() -> None:
    for bit in range(len(WRITTEN) * 8):
        altered = bytearray(WRITTEN)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealingError):
            header.read(bytes(altered)).verify(FILE_KEY)


def test_no_part_of_a_header_is_one() -> None:
    assert {flaw_of(WRITTEN[:length]) for length in range(len(WRITTEN))} == {"not-sealed", "header-malformed"}


@given(st.binary(max_size=300))
def test_any_bytes_read_or_are_refused(noise: bytes) -> None:
    try:
        header.read(b"age-encryption.org/v1\n" + noise)
    except SealingError:
        return
    pytest.fail("noise was taken for a header")


END = b"--- " + b"A" * 43 + b"\n"
STANZA = b"-> kind argument\n" + b"A" * 43 + b"\n"


def document(*parts: bytes) -> bytes:
    return b"".join((b"age-encryption.org/v1\n", *parts))


def test_the_parts_of_the_table_below_make_a_header() -> None:
    assert len(header.read(document(STANZA, END)).stanzas) == 1


@pytest.mark.parametrize(
    ("begin", "flaw"),
    [
        (b"", "not-sealed"),
        (b"age-encryption.org/v1", "not-sealed"),
        (b"age-encryption.org/v2\n" + STANZA + END, "not-sealed"),
        (b"age-encryption.org/v1\r\n" + STANZA + END, "not-sealed"),
        (b"\xef\xbb\xbf" + document(STANZA, END), "not-sealed"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "not-sealed"),
        (b"PK\x03\x04", "not-sealed"),
        (document(), "header-malformed"),
        (document(END), "header-malformed"),  # no stanza
        (document(STANZA), "header-malformed"),  # no end
        (document(b"\n", STANZA, END), "header-malformed"),
        (document(b"->\n\n", END), "header-malformed"),
        (document(b"-> \n\n", END), "header-malformed"),
        (document(b"->  kind\n\n", END), "header-malformed"),
        (document(b"-> kind \n\n", END), "header-malformed"),
        (document(b"-> kind  argument\n\n", END), "header-malformed"),
        (document(b"->kind\n\n", END), "header-malformed"),
        (document(b" -> kind\n\n", END), "header-malformed"),
        (document(b"-> kind\targument\n\n", END), "header-malformed"),
        (document(b"-> kind\x7f\n\n", END), "header-malformed"),
        (document("-> kïnd\n\n".encode(), END), "header-malformed"),
        (document(b"-> kind\r\n\n", END), "header-malformed"),
        (document(b"-> kind\n", END), "header-malformed"),  # no body line at all
        (document(b"-> kind\n" + b"A" * 64 + b"\n", END), "header-malformed"),  # no short line
        (document(b"-> kind\n" + b"A" * 65 + b"\n", END), "header-malformed"),
        (document(b"-> kind\nAAAA\nAAAA\n", END), "header-malformed"),  # two short lines
        (document(b"-> kind\nAA==\n", END), "header-malformed"),
        (document(b"-> kind\nAA-_\n", END), "header-malformed"),
        (document(b"-> kind\nAAAA \n", END), "header-malformed"),
        (document(b"-> kind\nAAAA\r\n", END), "header-malformed"),
        (document(b"-> kind\nA\n", END), "base64-malformed"),
        (document(b"-> kind\nAB\n", END), "base64-malformed"),  # bits after the last byte
        (document(STANZA, b"---" + b"A" * 43 + b"\n"), "header-malformed"),
        (document(STANZA, b"---  " + b"A" * 43 + b"\n"), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 42 + b"\n"), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 44 + b"\n"), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 43 + b"=\n"), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 43 + b"\r\n"), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 43), "header-malformed"),
        (document(STANZA, b"--- " + b"A" * 42 + b"B\n"), "base64-malformed"),
        (document(b"-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n" + b"A" * 43 + b"\n", END), "passphrase-refused"),
        (document(STANZA, b"-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n" + b"A" * 43 + b"\n", END), "passphrase-refused"),
        (document(STANZA * 65, END), "too-many-stanzas"),
        (document(STANZA[:-1].replace(b"argument", b"a" * header.MAX_HEADER) + b"\n", END), "header-malformed"),
        (document(b"-> kind\n" + (b"A" * 64 + b"\n") * 2500 + b"\n", END), "header-malformed"),
    ],
)
def test_what_is_near_a_header_is_refused(begin: bytes, flaw: str) -> None:
    assert flaw_of(begin) == flaw


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(document(STANZA * 20_000, END), id="20,000 stanzas"),
        pytest.param(document(b"-> a\n\n" * 1_000_000), id="the smallest stanzas"),
        pytest.param(document(b"->" + b" a" * 1_000_000), id="arguments without end"),
        pytest.param(document(b"-> a\n", (b"A" * 64 + b"\n") * 100_000), id="a body without end"),
        pytest.param(document(b"-> " + b"a" * 10_000_000), id="an argument without end"),
    ],
)
def test_the_worst_headers_are_refused_at_once(begin: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(SealingError):
        header.read(begin)
    assert time.process_time() - begun < 0.05


def test_sixty_four_stanzas_are_written_and_read_and_not_one_more() -> None:
    stanza = Stanza("mlkem768x25519", ("A" * 1494,), bytes(32))
    assert len(header.read(header.write([stanza] * 64, FILE_KEY)).stanzas) == 64
    with pytest.raises(SealingError, match="recipients-too-many"):
        header.write([stanza] * 65, FILE_KEY)


def test_a_header_too_long_to_be_read_is_not_written() -> None:
    with pytest.raises(SealingError, match="recipients-too-many"):
        header.write([Stanza("kind", (), bytes(header.MAX_HEADER))], FILE_KEY)


@given(st.binary(max_size=200))
def test_base64_reads_as_it_was_written(content: bytes) -> None:
    assert header.from_base64(header.to_base64(content).encode()) == content


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: text + b"=",
        lambda text: text + b"\n",
        lambda text: b" " + text,
        lambda text: text[:-1] + b"B",  # the spare bits set
        lambda text: text.replace(b"+", b"-"),
        lambda text: text[:-2],  # six bits too few
        lambda text: text + b"\xff",
    ],
)
def test_base64_has_one_form(bend: Callable[[bytes], bytes]) -> None:
    text = header.to_base64(b"\xfb" * 31 + b"\x00").encode()
    with pytest.raises(SealingError, match="base64-malformed"):
        header.from_base64(bend(text))
