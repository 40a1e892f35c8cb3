"""Envelopes: what one queue entry holds, and nothing else."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.envelope import MEMBERS, Envelope, pack, sealed_bytes, unpack
from protocol.problems import PROBLEMS, Refused

TOKENS = st.none() | st.text("ABCabc012-_.", min_size=1, max_size=60).map(str.encode)
ENVELOPES = st.builds(Envelope, TOKENS, TOKENS, TOKENS, st.none() | st.binary(max_size=200))


@given(ENVELOPES)
def test_what_is_packed_comes_out_again(envelope: Envelope) -> None:
    if envelope == Envelope():
        with pytest.raises(Refused):
            unpack(pack(envelope))
    else:
        assert unpack(pack(envelope)) == envelope


def test_an_envelope_has_a_name_for_each_of_its_members() -> None:
    full = Envelope(b"a.b.c", b"d.e.f", b"g.h.i", b"age")
    assert json.loads(pack(full)).keys() == MEMBERS


def refusal(raw: bytes) -> str:
    with pytest.raises(Refused) as found:
        unpack(raw)
    return found.value.code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not-json"),
        (b"[]", "not-json"),
        (b'"a.b.c"', "not-json"),
        (b"{", "not-json"),
        (b'{"statement": "a.b.c"}', "not-json"),  # one form: no white space
        (b'{"statement":"a.b.c","statement":"d.e.f"}', "not-json"),
        (b'{"statement":{"statement":"a.b.c"}}', "not-json"),
        (b'{"statement":"\xff"}', "not-json"),
        (b"{}", "unknown-member"),
        (b'{"statement":"a.b.c","extra":"x"}', "unknown-member"),
        (b'{"Statement":"a.b.c"}', "unknown-member"),
        (b'{"statement":null}', "invalid-member"),
        (b'{"statement":7}', "invalid-member"),
        ('{"statement":"ä.b.c"}'.encode(), "invalid-member"),
        (b'{"receipt":"' + b"a" * (limits.STATEMENT + 1) + b'"}', "invalid-member"),
        (b'{"sealed":7}', "invalid-member"),
        (b'{"sealed":"YQ"}', "invalid-member"),
        (b'{"sealed":"YR=="}', "invalid-member"),
        (b'{"sealed":"YQ==\\n"}', "invalid-member"),
        (b'{"sealed":"Y Q="}', "invalid-member"),
        (b'{"sealed":"_-=="}', "invalid-member"),
        ('{"sealed":"ÿQ=="}'.encode(), "invalid-member"),
        (b'{"sealed":"' + b"A" * (limits.SEALED * 4 // 3 + 8) + b'"}', "too-large"),
    ],
)
def test_what_is_no_envelope_is_refused(raw: bytes, code: str) -> None:
    assert refusal(raw) == code


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(sorted(MEMBERS)), st.text() | st.integers()).map(
        lambda one: json.dumps(one, separators=(",", ":")).encode()
    )
)
def test_no_bytes_make_the_reader_stumble(raw: bytes) -> None:
    try:
        envelope = unpack(raw)
    except Refused as refused:
        code = refused.code
    else:
        assert unpack(pack(envelope)) == envelope
        return
    assert code in PROBLEMS


def test_a_sealed_part_of_the_largest_size_passes_and_one_byte_more_does_not() -> None:
    most = bytes(limits.SEALED)
    assert sealed_bytes(base64.b64encode(most).decode()) == most
    with pytest.raises(Refused):
        sealed_bytes(base64.b64encode(most + b"\0").decode())
    with pytest.raises(Refused):
        sealed_bytes(base64.b64encode(most + b"\0\0\0").decode())


@pytest.mark.parametrize("value", [None, 7, b"YQ==", ["YQ=="]])
def test_what_is_no_text_is_no_sealed_part(value: Any) -> None:
    with pytest.raises(Refused) as found:
        sealed_bytes(value)
    assert found.value.code == "invalid-member"
