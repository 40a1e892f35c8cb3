"""Bech32 as age writes its keys: the checksum of BIP 173, without BIP 173's limit on length.

Strict on both ways: one case throughout, no character outside the alphabet, a right checksum, padding of zero bits that
is shorter than a byte. It knows no kind of key: what a prefix means is told by the table of recipients.
"""

import re
from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from typing import Final

from crypto.errors import SealingError

MAX_LENGTH: Final = (
    4096  # ours: a post-quantum recipient has 1,959 characters, and a loop over a megabyte would be a gift
)

_ALPHABET: Final = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173
_BASE32: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648 §6: the same five-bit groups under other letters
_TO_BASE32: Final = bytes.maketrans(_ALPHABET, _BASE32)
_FROM_BASE32: Final = bytes.maketrans(_BASE32, _ALPHABET)
_VALUES: Final = bytes.maketrans(_ALPHABET, bytes(range(32)))
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173
_CHECKSUM: Final = 6  # characters
# A prefix may hold a `1`: the last one divides (BIP 173).
_FORM: Final = re.compile(rb"([!-~]+)1([qpzry9x8gf2tvdw0s3jn54khce6mua7l]*)([qpzry9x8gf2tvdw0s3jn54khce6mua7l]{6})")


def _feedback(top: int) -> int:
    """What the five bits that leave the register add to it."""
    total = 0
    for bit, generator in enumerate(_GENERATOR):
        if top >> bit & 1:
            total ^= generator
    return total


_FEEDBACK: Final = tuple(_feedback(top) for top in range(32))


def encode(prefix: str, content: bytes) -> str:
    """The Bech32 form of `content` under `prefix`, in upper case if the prefix is.

    >>> encode("AGE-SECRET-KEY-", bytes([0x42] * 32))
    'AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX'
    """
    lower = prefix.lower().encode("ascii")
    letters = _letters(content)
    register = _register(lower, letters + _ALPHABET[:1] * _CHECKSUM) ^ 1
    checksum = bytes(_ALPHABET[register >> shift & 31] for shift in range(25, -1, -5))
    text = b"".join((lower, b"1", letters, checksum)).decode("ascii")
    return text.upper() if prefix.isupper() else text


def decode(text: str) -> tuple[str, bytes]:
    """Prefix, in the case it was written in, and content. Raises SealingError on all that `encode` would not write."""
    if len(text) > MAX_LENGTH:
        raise SealingError("bech32-too-long")
    # ASCII first: there are letters beyond it whose lower case is in the alphabet.
    if not text.isascii() or (found := _FORM.fullmatch(text.lower().encode("ascii"))) is None:
        raise SealingError("bech32-form")
    if text not in (text.lower(), text.upper()):
        raise SealingError("bech32-mixed-case")
    prefix, letters, checksum = found.groups()
    if _register(prefix, letters + checksum) != 1:
        raise SealingError("bech32-checksum")
    return text[: len(prefix)], _content(letters)


def _letters(content: bytes) -> bytes:
    return b32encode(content).rstrip(b"=").translate(_FROM_BASE32)


def _content(letters: bytes) -> bytes:
    try:
        content = b32decode(letters.translate(_TO_BASE32) + b"=" * (-len(letters) % 8))
    except Base32Error:
        raise SealingError("bech32-padding") from None
    if _letters(content) != letters:
        raise SealingError("bech32-padding")
    return content


def _register(prefix: bytes, letters: bytes) -> int:
    """The checksum register after prefix and letters (BIP 173, `bech32_polymod` over `bech32_hrp_expand`)."""
    register = 1
    high, low = bytes(letter >> 5 for letter in prefix), bytes(letter & 31 for letter in prefix)
    for value in b"".join((high, b"\0", low, letters.translate(_VALUES))):
        register = (register & 0x1FFFFFF) << 5 ^ value ^ _FEEDBACK[register >> 25]
    return register
