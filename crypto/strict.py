"""Strict JSON and base64url: one text has one reading, or none.

What `loads` takes, every JSON reader takes alike: no doubled members, no floats, no NaN, no number that loses digits
in another language, no lone surrogates, no depth that exhausts a stack. What `b64url_decode` takes has exactly one
spelling. All else is `NotStrict` with a flaw from below. This module knows no member and no statement; `protocol` gives
the values their meaning.
"""

import binascii
import json
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from crypto.errors import NotStrict

NOT_UTF8: Final = "not-utf8"
NOT_JSON: Final = "not-json"
NOT_AN_OBJECT: Final = "not-an-object"
DOUBLED_MEMBER: Final = "doubled-member"
TOO_DEEP: Final = "too-deep"
NUMBER_TOO_LONG: Final = "number-too-long"
NOT_INTEGER: Final = "not-integer"
NOT_A_NUMBER: Final = "not-a-number"
SURROGATE: Final = "surrogate"
WHITE_SPACE: Final = "white-space"
NOT_BASE64URL: Final = "not-base64url"

MAX_DEPTH: Final = 16  # ours: the deepest statement has 5 levels, a request body 2
MAX_DIGITS: Final = 15  # RFC 8259 §6: integers up to 2**53 read alike everywhere; 15 digits are the safe round number

# A string that never ends is taken to the end of the text (`"?`): else each of its escaped quotes would start another
# scan, and the time would grow with the square of the length.
_STRING: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+"?', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_SPACE: Final = re.compile(rb"[ \t\n\r]")

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648 §5
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, object]:
    """The JSON object in `raw`, which may have white space between its parts. Raises `NotStrict`.

    >>> loads(b'{"a": [1, "b", null]}')
    {'a': [1, 'b', None]}
    """
    return _read(raw, _STRING.sub(b"", raw), max_depth)


def loads_compact(raw: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, object]:
    """As `loads`, without any white space outside strings: the form that JWS segments have here. Raises `NotStrict`."""
    outside = _STRING.sub(b"", raw)
    if _SPACE.search(outside):
        raise NotStrict(WHITE_SPACE)
    return _read(raw, outside, max_depth)


def dumps(value: Mapping[str, object]) -> bytes:
    """`value` as compact UTF-8 JSON, members in the order given. NaN, infinity and lone surrogates are `NotStrict`."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise NotStrict(SURROGATE) from None
    except ValueError:
        raise NotStrict(NOT_A_NUMBER) from None


def b64url_encode(raw: bytes) -> str:
    """`raw` in base64url without padding. RFC 7515 §2."""
    return _spell(raw).decode()


def b64url_decode(text: str | bytes) -> bytes:
    """The bytes that `text` stands for in base64url without padding; any second spelling of them is `NotStrict`."""
    try:
        spelt = text.encode("ascii") if isinstance(text, str) else text
        raw = binascii.a2b_base64(spelt.translate(_FROM_URL) + b"=" * (-len(spelt) % 4))
    except (UnicodeEncodeError, binascii.Error):
        raise NotStrict(NOT_BASE64URL) from None
    # The decoder skips foreign characters, padding and stray bits. Spelling `raw` anew catches all of them at once: there
    # is one spelling, and this must be it.
    if _spell(raw) != spelt:
        raise NotStrict(NOT_BASE64URL)
    return raw


def _spell(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL)


def _read(raw: bytes, outside: bytes, max_depth: int) -> dict[str, object]:
    """Parse `raw`; `outside` is what stands outside its strings."""
    _check_depth(outside, max_depth)
    try:
        value: object = _DECODER.decode(raw.decode())
    except UnicodeDecodeError:
        raise NotStrict(NOT_UTF8) from None
    except json.JSONDecodeError:
        raise NotStrict(NOT_JSON) from None
    if not isinstance(value, dict):
        raise NotStrict(NOT_AN_OBJECT)
    if b"\\u" in raw:  # only an escape can make a lone surrogate: in UTF-8 itself they were refused above
        dumps(value)
    return value


def _check_depth(outside: bytes, limit: int) -> None:
    """Refuse more than `limit` nested arrays and objects, before a parser that recurses sees them.

    Brackets of the wrong kind need no care: the parser stops at the first, and up to there the count is exact.
    """
    if outside.count(b"{") + outside.count(b"[") <= limit:
        return
    depth = 0
    for bracket in _BRACKET.findall(outside):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            raise NotStrict(TOO_DEEP)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object's members. RFC 8259 §4 leaves the meaning of doubled names open, so they have none here."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict(DOUBLED_MEMBER)
    return members


def _integer(digits: str) -> int:
    """An integer; its length is checked before `int`, whose time grows with the square of it."""
    if len(digits) - digits.startswith("-") > MAX_DIGITS:
        raise NotStrict(NUMBER_TOO_LONG)
    if digits == "-0":  # an integer here, a float in ECMAScript
        raise NotStrict(NOT_INTEGER)
    return int(digits)


def _refuse_float(_: str) -> NoReturn:
    raise NotStrict(NOT_INTEGER)


def _refuse_constant(_: str) -> NoReturn:
    raise NotStrict(NOT_A_NUMBER)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_refuse_float, parse_constant=_refuse_constant
)
