"""Keys as types, their names, and the words by which people compare them.

A key that exists is a good key: the constructors refuse points that are off the curve, of small order, or written in
a second way, so that whoever holds a `PublicKey` need not check it again. Its name is its RFC 7638 thumbprint, the
`KeyId`. Secrets print as their key id alone, compare in constant time and refuse to be pickled or copied. This module
stores nothing (`crypto.keyring` does) and says nothing about whose a key is (`protocol` does).
"""

import hashlib
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final, NewType, NoReturn, Self, SupportsIndex, TypeAlias, final

import nacl.bindings
import nacl.exceptions
import nacl.utils
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from crypto.errors import BadKey, BadSignature, NotStrict
from crypto.strict import b64url_decode, b64url_encode, dumps

KeyId = NewType("KeyId", str)
"""A public key's RFC 7638 thumbprint: SHA-256 in base64url, 43 characters."""

KEY_ID_FORM: Final = "key-id-form"
KEY_FORM: Final = "key-form"
POINT_REFUSED: Final = "point-refused"
JWK_KIND: Final = "jwk-kind"
JWK_MEMBER: Final = "jwk-member"
RECIPIENT_FORM: Final = "recipient-form"
UNKNOWN_WORD: Final = "unknown-word"
SIGNATURE: Final = "signature"
SIGNATURE_FORM: Final = "signature-form"
HIGH_S: Final = "high-s"

KEY_SIZE: Final = 32  # bytes, of every point, coordinate and scalar here
SIGNATURE_SIZE: Final = 64  # bytes: RFC 8032 §5.1.6 for Ed25519, RFC 7518 §3.4 (r and s) for ES256
P25519: Final = 2**255 - 19  # the field of X25519, RFC 7748 §4.1
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 §2.4.2
WORD_BITS: Final = 11  # a word is one of 2,048
MAX_WORDS: Final = 23  # as many as a digest of 256 bits fills

_ES256: Final = ec.ECDSA(SHA256())
_BETWEEN_WORDS: Final = re.compile(r"[\s,\-]+")


def parse_key_id(text: str) -> KeyId:
    """`text` as a key's name, or `BadKey`. Says nothing about whether such a key exists."""
    try:
        digest = b64url_decode(text)
    except NotStrict:
        raise BadKey(KEY_ID_FORM) from None
    if len(digest) != hashlib.sha256().digest_size:
        raise BadKey(KEY_ID_FORM)
    return KeyId(text)


def sealing_key_id(recipient: str) -> KeyId:
    """The name of a sealing key: SHA-256, in base64url, of its age recipient as text.

    Post-quantum recipients have no registered JWK, and so no thumbprint. The text's form is `crypto.sealing`'s question.
    """
    if not recipient.isascii():
        raise BadKey(RECIPIENT_FORM)
    return _name(recipient.encode())


@final
@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """A public Ed25519 key. `point` is 32 bytes, RFC 8032 §5.1.2; small orders and second spellings are `BadKey`."""

    point: bytes = field(repr=False)
    id: KeyId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.point)
        # With such a point libsodium takes one signature a message and key, and none that fits every message.
        if not nacl.bindings.crypto_core_ed25519_is_valid_point(self.point):
            raise BadKey(POINT_REFUSED)
        object.__setattr__(self, "id", _thumbprint(self.jwk()))

    def jwk(self) -> dict[str, str]:
        """The key as a JWK with the required members alone. RFC 8037 §2."""
        return {"crv": "Ed25519", "kty": "OKP", "x": b64url_encode(self.point)}

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if `signature` (64 bytes) is this key's over `message`; `BadSignature` if it is not."""
        # Checked here since the binding wants both in one string, and would cut it elsewhere.
        if len(signature) != SIGNATURE_SIZE:
            raise BadSignature(SIGNATURE_FORM)
        try:
            nacl.bindings.crypto_sign_open(signature + message, self.point)
        except nacl.exceptions.BadSignatureError:
            raise BadSignature(SIGNATURE) from None


@final
@dataclass(frozen=True, slots=True)
class P256Key:
    """A public key on NIST P-256, for authorities whose keys live in smart cards. `x`, `y`: 32 bytes, big endian."""

    x: bytes = field(repr=False)
    y: bytes = field(repr=False)
    id: KeyId = field(init=False, compare=False)
    _key: ec.EllipticCurvePublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.x)
        _check_size(self.y)
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + self.x + self.y)
        except ValueError:
            raise BadKey(POINT_REFUSED) from None
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "id", _thumbprint(self.jwk()))

    def jwk(self) -> dict[str, str]:
        """The key as a JWK with the required members alone. RFC 7518 §6.2.1."""
        return {"crv": "P-256", "kty": "EC", "x": b64url_encode(self.x), "y": b64url_encode(self.y)}

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if `signature` (r and s, 64 bytes, low s) is this key's over `message`; `BadSignature` if it is not.

        With (r, s) the pair (r, n - s) is valid too; taking the lower s alone gives a statement one form.
        """
        if len(signature) != SIGNATURE_SIZE:
            raise BadSignature(SIGNATURE_FORM)
        r, s = int.from_bytes(signature[:KEY_SIZE]), int.from_bytes(signature[KEY_SIZE:])
        if not (0 < r < P256_ORDER and 0 < s < P256_ORDER):
            raise BadSignature(SIGNATURE_FORM)
        if s > P256_ORDER // 2:
            raise BadSignature(HIGH_S)
        try:
            self._key.verify(encode_dss_signature(r, s), message, _ES256)
        except InvalidSignature:
            raise BadSignature(SIGNATURE) from None


@final
@dataclass(frozen=True, slots=True)
class X25519Key:
    """A public key of a queue. `point` is 32 bytes, RFC 7748 §5; low orders and second spellings are `BadKey`."""

    point: bytes = field(repr=False)
    id: KeyId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.point)
        if int.from_bytes(self.point, "little") >= P25519:
            raise BadKey(POINT_REFUSED)
        try:
            # Any scalar is a multiple of 8, so that low orders give zero, which libsodium refuses. RFC 7748 §6.1.
            nacl.bindings.crypto_scalarmult(bytes(KEY_SIZE), self.point)
        except nacl.exceptions.RuntimeError:
            raise BadKey(POINT_REFUSED) from None
        object.__setattr__(self, "id", _thumbprint(self.jwk()))

    def jwk(self) -> dict[str, str]:
        """The key as a JWK with the required members alone. RFC 8037 §2."""
        return {"crv": "X25519", "kty": "OKP", "x": b64url_encode(self.point)}


PublicKey: TypeAlias = Ed25519Key | P256Key
"""A key that verifies signatures."""


def read_jwk(jwk: Mapping[str, object]) -> PublicKey:
    """The signature key that `jwk` holds. It must have the members of its kind and no other; else `BadKey`."""
    match jwk.get("kty"), jwk.get("crv"):
        case "OKP", "Ed25519":
            return Ed25519Key(*_coordinates(jwk, "x"))
        case "EC", "P-256":
            return P256Key(*_coordinates(jwk, "x", "y"))
        case _:
            raise BadKey(JWK_KIND)


def read_queue_jwk(jwk: Mapping[str, object]) -> X25519Key:
    """The queue key that `jwk` holds. It must have the members of its kind and no other; else `BadKey`."""
    if (jwk.get("kty"), jwk.get("crv")) != ("OKP", "X25519"):
        raise BadKey(JWK_KIND)
    return X25519Key(*_coordinates(jwk, "x"))


class _Secret(ABC):
    """What the private keys have in common: they do not leak."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        _check_size(raw)
        self._raw = raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The key whose 32 bytes `to_bytes` gave; `BadKey` if they are none."""
        return cls(raw)

    def to_bytes(self) -> bytes:
        """The 32 secret bytes: for the key ring, which seals them, and for the queue boxes."""
        return self._raw

    @property
    @abstractmethod
    def _id(self) -> KeyId:
        """The name of the public half."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._id})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(self._raw, other.to_bytes())

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("A secret key is neither pickled nor copied.")


@final
class Ed25519Secret(_Secret):
    """A private Ed25519 key; its 32 bytes are the seed of RFC 8032 §5.1.5."""

    __slots__ = ("_expanded", "public")
    algorithm: Final = "Ed25519"  # RFC 9864 §2.2
    public: Ed25519Key

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        point, self._expanded = nacl.bindings.crypto_sign_seed_keypair(raw)
        self.public = Ed25519Key(point)

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the system's randomness."""
        return cls(nacl.utils.random(KEY_SIZE))

    @property
    def _id(self) -> KeyId:
        return self.public.id

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes; the same message gives the same one."""
        return nacl.bindings.crypto_sign(message, self._expanded)[:SIGNATURE_SIZE]


@final
class P256Secret(_Secret):
    """A private key on NIST P-256; its 32 bytes are the scalar, big endian."""

    __slots__ = ("_key", "public")
    algorithm: Final = "ES256"  # RFC 7518 §3.4
    public: P256Key

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        scalar = int.from_bytes(raw)
        if not 0 < scalar < P256_ORDER:
            raise BadKey(KEY_FORM)
        self._key = ec.derive_private_key(scalar, ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        self.public = P256Key(point.x.to_bytes(KEY_SIZE), point.y.to_bytes(KEY_SIZE))

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(KEY_SIZE))

    @property
    def _id(self) -> KeyId:
        return self.public.id

    def sign(self, message: bytes) -> bytes:
        """The signature: r and s, 64 bytes, s in the lower half."""
        r, s = decode_dss_signature(self._key.sign(message, _ES256))
        return r.to_bytes(KEY_SIZE) + min(s, P256_ORDER - s).to_bytes(KEY_SIZE)


@final
class X25519Secret(_Secret):
    """A private key of a queue; its 32 bytes are the scalar before clamping, RFC 7748 §5."""

    __slots__ = ("public",)
    public: X25519Key

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.public = X25519Key(nacl.bindings.crypto_scalarmult_base(raw))

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the system's randomness."""
        return cls(nacl.utils.random(KEY_SIZE))

    @property
    def _id(self) -> KeyId:
        return self.public.id


SecretKey: TypeAlias = Ed25519Secret | P256Secret
"""A key that signs."""


def signing_secret(secret: object) -> SecretKey:
    """A secret that came out of a ring, as one that signs. `TypeError` when it is of another kind: the ring is the wrong one."""
    if not isinstance(secret, Ed25519Secret | P256Secret):
        raise TypeError("the ring holds another kind of key for signing")
    return secret


def fingerprint_words(digest: bytes, count: int = 10) -> tuple[str, ...]:
    """The first `count` times 11 bits of a SHA-256 `digest` as words to read out; ten are 110 bits.

    >>> " ".join(fingerprint_words(bytes(32), count=3))
    'abandon abandon abandon'
    """
    if len(digest) != hashlib.sha256().digest_size or not 0 < count <= MAX_WORDS:
        raise ValueError("Fingerprint words are 1 to 23 and come from the 32 bytes of a SHA-256 digest.")
    words, bits = _words(), int.from_bytes(digest)
    shifts = (8 * len(digest) - WORD_BITS * (place + 1) for place in range(count))
    return tuple(words[bits >> shift & (len(words) - 1)] for shift in shifts)


def read_words(text: str) -> tuple[str, ...]:
    """The words that a person typed, in any case, with white space, commas or hyphens between.

    A word that is not on the list is `BadKey`; how many there must be, and which, is the caller's question.
    """
    typed = tuple(word for word in _BETWEEN_WORDS.split(text.casefold()) if word)
    if not set(typed) <= _known_words():
        raise BadKey(UNKNOWN_WORD)
    return typed


# words.txt is the English list of BIP-39, byte for byte as in the PyPI package `mnemonic` 0.21 (MIT licence, Trezor):
# each word is known by its first four letters. SHA-256 of the file:
# 2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda.
@cache
def _words() -> tuple[str, ...]:
    return tuple(resources.files("crypto").joinpath("words.txt").read_text("ascii").split())


@cache
def _known_words() -> frozenset[str]:
    return frozenset(_words())


def _check_size(raw: bytes) -> None:
    if len(raw) != KEY_SIZE:
        raise BadKey(KEY_FORM)


def _coordinates(jwk: Mapping[str, object], *names: str) -> list[bytes]:
    """The values of `names`; beside them a JWK has `kty` and `crv`, and nothing else (a `d` least of all)."""
    if jwk.keys() != {"kty", "crv", *names}:
        raise BadKey(JWK_MEMBER)
    return [_coordinate(jwk[name]) for name in names]


def _coordinate(value: object) -> bytes:
    if not isinstance(value, str):
        raise BadKey(KEY_FORM)
    try:
        return b64url_decode(value)
    except NotStrict:
        raise BadKey(KEY_FORM) from None


def _thumbprint(jwk: Mapping[str, str]) -> KeyId:
    """RFC 7638 §3: the required members in lexicographic order, which is the one in which `jwk()` writes them."""
    return _name(dumps(jwk))


def _name(text: bytes) -> KeyId:
    return KeyId(b64url_encode(hashlib.sha256(text).digest()))
