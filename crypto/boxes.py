"""Queue boxes: what crosses a channel, closed to its receiver, padded, and bound to its place.

A box tells whoever holds the broker nothing but the receiver's key id, a size class and that something was sent; it opens
only on the channel and under the entry id that it was made for. The sender's key pair is ephemeral, one for a process
and an hour, and its private half is never stored, so that the anonymity and the forward secrecy of a sealed box cost a
twelfth of it. A box does not say who sent it: that is the question of the statements inside.

    version (1) | receiver's key id (32) | ephemeral public key (32) | nonce (24) | ciphertext
    ciphertext: crypto_box of  SHA-256(channel | 0x00 | entry id) (32) | length (4, big endian) | content | zeros (Padmé)
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import nacl.exceptions
import nacl.utils
from nacl.bindings import crypto_box_beforenm, crypto_box_easy_afternm, crypto_box_open_easy_afternm

from crypto.errors import BadKey, BoxError
from crypto.keys import KeyId, X25519Key, X25519Secret
from crypto.strict import b64url_decode

VERSION: Final = b"\x01"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24  # random: the 192 bits of XSalsa20 make a repetition impossible in practice
MAC_BYTES: Final = 16
PLACE_BYTES: Final = 32
PREFIX_BYTES: Final = PLACE_BYTES + 4  # before the content: its place and its length
HEADER_BYTES: Final = len(VERSION) + KEY_BYTES + KEY_BYTES + NONCE_BYTES
PLAIN_MAX: Final = 1 << 20  # ours; a channel's own limit may be lower
PAIR_BOXES: Final = 1 << 20  # ours: boxes under one ephemeral pair, however short the hour
CACHE: Final = 64  # ours: shared keys remembered (some 40 µs each), a sender process and hour each

_EPHEMERAL: Final = len(VERSION) + KEY_BYTES
_NONCE: Final = _EPHEMERAL + KEY_BYTES


def padme(length: int) -> int:
    """The padded size for `length` bytes: it tells at most O(log log length) bits and costs at most 12 %.

    Padmé, from "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (PoPETs 2019), §4.

    >>> padme(9), padme(1000), padme(1025)
    (10, 1024, 1088)
    """
    if length <= 1:
        return length
    exponent = length.bit_length() - 1
    free = exponent - exponent.bit_length()  # low bits that must be zero
    mask = (1 << free) - 1
    return (length + mask) & ~mask


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    """An ephemeral key pair; its secret half lives in `shared` alone and dies with it."""

    hour: int
    public: bytes
    shared: Callable[[bytes], bytes]

    @classmethod
    def new(cls, hour: int) -> "_Pair":
        secret = X25519Secret.generate()
        return cls(hour, secret.public.point, _shared_keys(secret))


@final
class Sender:
    """Makes boxes, under a key pair that it forgets every hour. One for a process; it belongs to one thread."""

    __slots__ = ("_left", "_pair")

    def __init__(self) -> None:
        self._pair: _Pair | None = None
        self._left = 0

    def box(self, plain: bytes, receiver: X25519Key, *, channel: str, entry_id: bytes, hour: int) -> bytes:
        """`plain` (at most 1 MiB), boxed to `receiver` for this place. `hour` counts hours since any start.

        Raises `BoxError` (`too-long`).
        """
        if len(plain) > PLAIN_MAX:
            raise BoxError("too-long")
        pair = self._pair
        if pair is None or pair.hour != hour or not self._left:
            pair = self._pair = _Pair.new(hour)
            self._left = PAIR_BOXES
        self._left -= 1
        inner = _place(channel, entry_id) + len(plain).to_bytes(4) + plain
        inner = inner.ljust(padme(len(inner)), b"\0")
        nonce = nacl.utils.random(NONCE_BYTES)
        boxed = crypto_box_easy_afternm(inner, nonce, pair.shared(receiver.point))
        return b"".join((VERSION, _raw_id(receiver.id), pair.public, nonce, boxed))


@final
class Receiver:
    """Opens boxes made to any of `secrets`: the queue keys of the current epoch and of those beside it."""

    __slots__ = ("_shared",)

    def __init__(self, secrets: Iterable[X25519Secret]) -> None:
        self._shared = {_raw_id(secret.public.id): _shared_keys(secret) for secret in secrets}

    def unbox(self, boxed: bytes, *, channel: str, entry_id: bytes) -> bytes:
        """The content of `boxed`, or `BoxError`.

        `box-form`: no box of ours, or padded in a second way; `not-our-key`: made to another key; `altered`: it does not
        open; `moved`: made for another channel or entry.
        """
        if len(boxed) < HEADER_BYTES + MAC_BYTES + PREFIX_BYTES or not boxed.startswith(VERSION):
            raise BoxError("box-form")
        shared = self._shared.get(boxed[len(VERSION) : _EPHEMERAL])
        if shared is None:
            raise BoxError("not-our-key")
        try:
            key = shared(boxed[_EPHEMERAL:_NONCE])
            inner = crypto_box_open_easy_afternm(boxed[HEADER_BYTES:], boxed[_NONCE:HEADER_BYTES], key)
        except (nacl.exceptions.CryptoError, BadKey):
            raise BoxError("altered") from None
        # No secret is compared here, so that time may tell.
        if inner[:PLACE_BYTES] != _place(channel, entry_id):
            raise BoxError("moved")
        return _unpadded(inner)


def _unpadded(inner: bytes) -> bytes:
    """The content between its length and its zeros. One content has one padding, and any other is refused."""
    end = PREFIX_BYTES + int.from_bytes(inner[PLACE_BYTES:PREFIX_BYTES])
    if len(inner) != padme(end) or inner.count(0, end) != len(inner) - end:
        raise BoxError("box-form")
    return inner[PREFIX_BYTES:end]


def _place(channel: str, entry_id: bytes) -> bytes:
    """What binds a box to where it lies. A channel's name holds no zero byte, so that the two cannot run together."""
    return hashlib.sha256(b"%b\0%b" % (channel.encode(), entry_id)).digest()


def _shared_keys(secret: X25519Secret) -> Callable[[bytes], bytes]:
    """Shared keys between `secret` and public keys, the last few of them remembered."""
    raw = secret.to_bytes()
    # By way of the type, since X25519 itself ignores the top bit: a box would have a second form (RFC 7748 §5).
    return lru_cache(CACHE)(lambda public: crypto_box_beforenm(X25519Key(public).point, raw))


def _raw_id(key_id: KeyId) -> bytes:
    """The 32 bytes that a key id names in base64url."""
    return b64url_decode(key_id)
