"""Strict JSON and base64url: what has one reading is read, what has two is refused, and nothing else can happen."""

import base64
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import NotStrict
from crypto.strict import MAX_DEPTH, MAX_DIGITS, b64url_decode, b64url_encode, dumps, loads, loads_compact

INTEGERS = st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)

HOSTILE = [
    pytest.param(b"", "not-json", id="nothing"),
    pytest.param(b"{", "not-json", id="cut"),
    pytest.param(b'{"a', "not-json", id="cut in a string"),
    pytest.param(b'{"a":"\\', "not-json", id="cut after a backslash"),
    pytest.param(b'{"a":1,}', "not-json", id="comma at the end"),
    pytest.param(b"{'a':1}", "not-json", id="single quotes"),
    pytest.param(b"{a:1}", "not-json", id="bare name"),
    pytest.param(b'{"a":1}{"a":2}', "not-json", id="a second object"),
    pytest.param(b'{"a":1}]]]]', "not-json", id="brackets after the end"),
    pytest.param(b'{"a":1}\x00', "not-json", id="NUL after the end"),
    pytest.param(b'\xef\xbb\xbf{"a":1}', "not-json", id="byte order mark"),
    pytest.param(b'{"a":"\n"}', "not-json", id="control character in a string"),
    pytest.param(b'{"a":1} // why', "not-json", id="comment"),
    pytest.param(b'{"a":01}', "not-json", id="leading zero"),
    pytest.param(b'{"a":+1}', "not-json", id="plus sign"),
    pytest.param('{"a":"\u00a0"}'.encode("utf-16"), "not-utf8", id="UTF-16"),
    pytest.param(b'{"a":"\xff"}', "not-utf8", id="stray byte"),
    pytest.param(b'{"a":"\xc0\x80"}', "not-utf8", id="overlong NUL"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', "not-utf8", id="raw surrogate"),
    pytest.param(b'{"a":"\\ud800"}', "surrogate", id="lone high surrogate"),
    pytest.param(b'{"a":"\\uDC00"}', "surrogate", id="lone low surrogate"),
    pytest.param(b'{"a":"\\udc00\\ud800"}', "surrogate", id="surrogates the wrong way round"),
    pytest.param(b'{"\\ud800":1}', "surrogate", id="lone surrogate in a name"),
    pytest.param(b'{"a":[{"b":"\\ud800"}]}', "surrogate", id="lone surrogate further in"),
    pytest.param(b"[]", "not-an-object", id="array"),
    pytest.param(b'"a"', "not-an-object", id="string"),
    pytest.param(b"null", "not-an-object", id="null"),
    pytest.param(b"1", "not-an-object", id="number"),
    pytest.param(b'{"a":1,"a":1}', "doubled-member", id="doubled member"),
    pytest.param(b'{"a":1,"\\u0061":2}', "doubled-member", id="doubled by an escape"),
    pytest.param(b'{"a":[{"b":{"c":1,"c":1}}]}', "doubled-member", id="doubled further in"),
    pytest.param(b'{"a":NaN}', "not-a-number", id="NaN"),
    pytest.param(b'{"a":Infinity}', "not-a-number", id="infinity"),
    pytest.param(b'{"a":-Infinity}', "not-a-number", id="minus infinity"),
    pytest.param(b'{"a":1.0}', "not-integer", id="float"),
    pytest.param(b'{"a":1e2}', "not-integer", id="exponent"),
    pytest.param(b'{"a":1E400}', "not-integer", id="exponent beyond any float"),
    pytest.param(b'{"a":-0}', "not-integer", id="minus zero"),
    pytest.param(b'{"a":%s}' % (b"9" * 16), "number-too-long", id="16 digits"),
    pytest.param(b'{"a":-%s}' % (b"9" * 16), "number-too-long", id="16 digits below zero"),
    pytest.param(b'{"a":%s}' % (b"9" * 5_000), "number-too-long", id="5,000 digits"),
    pytest.param(b'{"a":%s.5}' % (b"9" * 5_000), "not-integer", id="5,000 digits and a fraction"),
    pytest.param(b'{"a":' * 100_000, "too-deep", id="100,000 objects"),
    pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep", id="100,000 arrays"),
    pytest.param(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too-deep", id="one level too many"),
    pytest.param(b'{"a":[%s1]}' % (b'{"b":"]}"},' * 20 + b"[" * MAX_DEPTH), "too-deep", id="hidden behind strings"),
]


@pytest.mark.parametrize(("raw", "flaw"), HOSTILE)
def test_what_has_no_one_reading_is_refused_by_name(raw: bytes, flaw: str) -> None:
    with pytest.raises(NotStrict) as refusal:
        loads(raw)
    assert refusal.value.flaw == flaw


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b"{}", {}, id="nothing in it"),
        pytest.param(b' {\t"a" :\r\n[ 1 , -2 ] } ', {"a": [1, -2]}, id="white space"),
        pytest.param(b'{"a":0,"b":true,"c":null}', {"a": 0, "b": True, "c": None}, id="every plain kind"),
        pytest.param(b'{"a":999999999999999}', {"a": 10**15 - 1}, id="15 digits"),
        pytest.param(b'{"a":-999999999999999}', {"a": 1 - 10**15}, id="15 digits below zero"),
        pytest.param(b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}, id="a pair of surrogates is a character"),
        pytest.param(b'{"a":"\\\\ud800"}', {"a": "\\ud800"}, id="an escaped backslash is no escape"),
        pytest.param('{"ä":"\u00a0"}'.encode(), {"ä": "\u00a0"}, id="beyond ASCII"),
        pytest.param(b'{"a":"%s"}' % (b"[{" * 100_000), {"a": "[{" * 100_000}, id="brackets in a string"),
        pytest.param(b'{"a":"\\"%s"}' % (b"[" * 99), {"a": '"' + "[" * 99}, id="brackets after an escaped quote"),
        pytest.param(b'{"a":[%s[]]}' % (b"[]," * 999), {"a": [[]] * 1_000}, id="many side by side"),
    ],
)
def test_what_has_one_reading_is_read(raw: bytes, value: dict[str, object]) -> None:
    assert loads(raw) == value


def test_as_many_levels_as_allowed_are_read() -> None:
    raw = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert list(loads(raw)) == ["a"]


def test_the_depth_is_the_callers_to_narrow() -> None:
    assert loads(b'{"a":1}', max_depth=1) == {"a": 1}
    with pytest.raises(NotStrict, match="too-deep"):
        loads(b'{"a":{}}', max_depth=1)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":"' + b'\\"' * 1_000_000, id="a string that never ends"),
        pytest.param(b'{"a":' + b"9" * 2_000_000, id="a number of two million digits"),
        pytest.param(b'"\\' * 1_000_000, id="quotes and backslashes"),
    ],
)
def test_time_grows_with_the_length_and_not_with_its_square(raw: bytes) -> None:
    began = time.process_time()
    with pytest.raises(NotStrict):
        loads(raw)
    assert time.process_time() - began < 5  # the square would take hours


@pytest.mark.parametrize("raw", [b' {"a":1}', b'{"a":1}\n', b'{"a": 1}', b'{"a"\t:1}', b'{"a":1,\r"b":2}'])
def test_compact_has_no_white_space_between_parts(raw: bytes) -> None:
    with pytest.raises(NotStrict, match="white-space"):
        loads_compact(raw)


@pytest.mark.parametrize(("raw", "flaw"), HOSTILE)
def test_compact_takes_nothing_else_that_is_hostile(raw: bytes, flaw: str) -> None:
    with pytest.raises(NotStrict) as refusal:
        loads_compact(raw)
    assert refusal.value.flaw in {flaw, "white-space"}


def test_compact_leaves_white_space_in_strings_alone() -> None:
    assert loads_compact(b'{"a b":"c \\" d"}') == {"a b": 'c " d'}


def test_the_depth_is_the_callers_to_narrow_in_compact_too() -> None:
    with pytest.raises(NotStrict, match="too-deep"):
        loads_compact(b'{"a":{}}', max_depth=1)


@given(OBJECTS)
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    assert loads_compact(dumps(value)) == value


@given(st.binary() | OBJECTS.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_a_refusal_comes_of_any_bytes(raw: bytes) -> None:
    try:
        value = loads(raw)
    except NotStrict:
        return
    assert json.loads(raw) == value


def test_json_is_written_compact_in_utf8_and_in_the_order_given() -> None:
    assert dumps({"b": ["ü", 1], "a": None}) == '{"b":["ü",1],"a":null}'.encode()


@pytest.mark.parametrize(
    ("value", "flaw"),
    [(math.nan, "not-a-number"), (math.inf, "not-a-number"), ("\ud800", "surrogate")],
)
def test_what_could_not_be_read_back_is_not_written(value: object, flaw: str) -> None:
    with pytest.raises(NotStrict, match=flaw):
        dumps({"a": value})


@given(st.binary())
def test_base64url_is_what_the_standard_library_writes_less_the_padding(raw: bytes) -> None:
    text = b64url_encode(raw)
    assert text == base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert b64url_decode(text) == b64url_decode(text.encode()) == raw


@given(st.text() | st.binary())
def test_no_bytes_have_two_spellings(text: str | bytes) -> None:
    try:
        raw = b64url_decode(text)
    except NotStrict:
        return
    assert b64url_encode(raw) in {text, text if isinstance(text, str) else text.decode()}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("QQ==", id="padding"),
        pytest.param("QUI=", id="padding of one"),
        pytest.param("QUJD====", id="padding that is not needed"),
        pytest.param("QR", id="unused bits set"),
        pytest.param("QUJ", id="two unused bits set"),
        pytest.param("Q", id="a lone character"),
        pytest.param("QUJDR", id="a lone character at the end"),
        pytest.param("+/+/", id="the other alphabet"),
        pytest.param("QU JD", id="a space"),
        pytest.param("QUJD\n", id="a line end"),
        pytest.param("QU.JD", id="a dot"),
        pytest.param("QÜJD", id="not ASCII"),
        pytest.param(b"QUJ\xff", id="not ASCII, in bytes"),
        pytest.param("\ud800UJD", id="a surrogate"),
        pytest.param("=", id="padding alone"),
    ],
)
def test_a_second_spelling_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotStrict, match="not-base64url"):
        b64url_decode(text)
