"""Signed tokens: compact JWS (RFC 7515) in the one form that is written here, and the only one read.

`parse` reads a token strictly and believes nothing; `verify` runs PyJWT's `PyJWS` over our keys, and gives `Verified`.
The key decides which algorithms are open to it, never the header (RFC 8725 §3.1). Everything outside the table
ALGORITHMS, and every header member but `alg`, `kid` and `typ`, is refused. Which kinds (`typ`) exist, and who may sign
them, is `protocol`'s question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Never, final

from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS
from jwt.exceptions import DecodeError, InvalidKeyError, PyJWTError

from crypto.errors import BadKey, BadSignature, BadToken, NotStrict
from crypto.keys import Ed25519Key, KeyId, P256Key, PublicKey, SecretKey, parse_key_id
from crypto.strict import b64url_decode, loads_compact

TOO_LONG: Final = "token-too-long"
FORM: Final = "token-form"
HEADER_TOO_LONG: Final = "header-too-long"
HEADER_MEMBER: Final = "header-member"
ALGORITHM_REFUSED: Final = "algorithm-refused"
KEY_ID_FORM: Final = "key-id-form"
TYP_FORM: Final = "typ-form"
KEY_MISMATCH: Final = "key-mismatch"
HEADER_MISMATCH: Final = "header-mismatch"
SIGNATURE: Final = "signature"

SEGMENTS: Final = 3  # RFC 7515 §7.1
MAX_TOKEN: Final = 128 * 1024  # bytes: half of the largest request body
MAX_HEADER: Final = 512  # characters of base64url; ours have up to 190
MAX_TYP: Final = 64  # characters; ours have up to 30
HEADERS_KEPT: Final = 1024  # a megabyte at most

ALGORITHMS: Final[Mapping[str, type[PublicKey]]] = {
    "Ed25519": Ed25519Key,  # RFC 9864 §2.2
    "EdDSA": Ed25519Key,  # RFC 8037 §3.1, the older name; read, never written
    "ES256": P256Key,  # RFC 7518 §3.4, low s alone
}
"""What a header's `alg` may be, and the one type of key that it goes with. A new algorithm is one row."""


@final
@dataclass(frozen=True, slots=True)
class Unverified:
    """A token of the right form that ANYONE may have written. Its fields serve to find the key, and nothing else."""

    raw: bytes
    algorithm: str
    key_id: KeyId
    typ: str
    payload: bytes


@final
@dataclass(frozen=True, slots=True)
class Verified:
    """A token that the holder of `key_id` signed. Made by `verify` alone; it says nothing about whose key that is."""

    raw: bytes  # the compact JWS as received, of which no second spelling is taken
    algorithm: str
    key_id: KeyId
    typ: str
    payload: bytes


def parse(raw: bytes) -> Unverified:
    """Read a token's form: three canonical segments, a closed header. `BadToken` or `NotStrict` tell what is wrong."""
    if len(raw) > MAX_TOKEN:
        raise BadToken(TOO_LONG)
    if raw.count(b".") != SEGMENTS - 1:
        raise BadToken(FORM)
    header, payload, signature = raw.split(b".")
    if len(header) > MAX_HEADER:
        raise BadToken(HEADER_TOO_LONG)
    algorithm, key_id, typ = _read_header(header)
    b64url_decode(signature)
    return Unverified(raw, algorithm, key_id, typ, b64url_decode(payload))


def verify(token: Unverified, key: PublicKey) -> Verified:
    """`token`, if `key` signed it; `BadSignature` if not, or if its header names another key or algorithm."""
    if token.key_id != key.id:
        raise BadSignature(KEY_MISMATCH)
    if type(key) is not ALGORITHMS[token.algorithm]:
        raise BadSignature(ALGORITHM_REFUSED)
    try:
        # The key's type has chosen the one algorithm; PyJWS finds it in the header again, and nothing else is taken.
        signed = _JWS.decode_complete(token.raw, key, algorithms=[token.algorithm])  # type: ignore[arg-type] # see _OurKeys
    except PyJWTError:
        raise BadSignature(SIGNATURE) from None
    # `Verified` says what the signed bytes say, even to a caller who made an `Unverified` by hand.
    if signed["header"] != {"alg": token.algorithm, "kid": token.key_id, "typ": token.typ}:
        raise BadSignature(HEADER_MISMATCH)
    return Verified(token.raw, token.algorithm, token.key_id, token.typ, signed["payload"])


def sign(payload: bytes, secret: SecretKey, typ: str) -> bytes:
    """`payload` as a compact JWS of kind `typ`. What `parse` would refuse is not written: `BadToken`."""
    _check_typ(typ)
    header = {"typ": typ, "kid": secret.public.id}
    raw = _JWS.encode(payload, secret, secret.algorithm, header).encode()  # type: ignore[arg-type] # see _OurKeys
    if len(raw) > MAX_TOKEN:
        raise BadToken(TOO_LONG)
    return raw


@lru_cache(HEADERS_KEPT)
def _read_header(segment: bytes) -> tuple[str, KeyId, str]:
    """The three members that a header has, no more: `crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64` are refused with the rest.

    A signer's headers are the same bytes each time, so what was read of them is kept; a refusal is not.
    """
    header = loads_compact(b64url_decode(segment))
    algorithm, key_id, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken(ALGORITHM_REFUSED)
    if header.keys() != {"alg", "kid", "typ"}:
        raise BadToken(HEADER_MEMBER)
    if not isinstance(key_id, str):
        raise BadToken(KEY_ID_FORM)
    if not isinstance(typ, str):
        raise BadToken(TYP_FORM)
    _check_typ(typ)
    try:
        return algorithm, parse_key_id(key_id), typ
    except BadKey:
        raise BadToken(KEY_ID_FORM) from None


def _check_typ(typ: str) -> None:
    """A media type without `application/` (RFC 7515 §4.1.9), as far as its alphabet goes; `protocol` lists them."""
    if not (0 < len(typ) <= MAX_TYP and typ.isascii() and typ.isprintable()):
        raise BadToken(TYP_FORM)


class _OurKeys(Algorithm):
    """PyJWT's plug for an algorithm: it hands our key types on untouched, and they verify and sign.

    PyJWT's types know only its own kinds of keys, hence the `type: ignore` where one is handed in.
    """

    def prepare_key(self, key: PublicKey | SecretKey) -> PublicKey | SecretKey:
        return key

    def verify(self, msg: bytes, key: PublicKey, sig: bytes) -> bool:
        try:
            key.verify(msg, sig)
        except BadSignature:
            return False
        return True

    def sign(self, msg: bytes, key: SecretKey) -> bytes:
        return key.sign(msg)

    # PyJWT wants these two. A key's form on the wire is the question of `crypto.keys` alone, so they give nothing away.

    @staticmethod
    def to_jwk(key_obj: object, as_dict: bool = False) -> Never:  # noqa: ARG004 - PyJWT's signature
        raise InvalidKeyError

    @staticmethod
    def from_jwk(jwk: object) -> Never:  # noqa: ARG004 - PyJWT's signature
        raise InvalidKeyError


class _StrictJWS(PyJWS):
    """PyJWS with no algorithm but ours, and with our reading of base64url.

    PyJWT's own reading would do after `parse`, but looks at each character in Python, which takes a third of the time of
    a verification. Should a later PyJWT no longer ask here, it is slower and no less safe.
    """

    def __init__(self) -> None:
        super().__init__(algorithms=[])
        for name in ALGORITHMS:
            self.register_algorithm(name, _OurKeys())

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        try:
            return b64url_decode(segment)
        except NotStrict:
            raise DecodeError(name) from None


_JWS: Final = _StrictJWS()
