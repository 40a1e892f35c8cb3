"""The recipient kind `X25519` (C2SP age, "The X25519 recipient type"): `age1…` and `AGE-SECRET-KEY-1…`.

Read by every age program there is. Not secure against a quantum computer to come: `mlkem768x25519` is what we write by
default. Low-order points are refused, both as recipients and as shares.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import SealingError
from crypto.sealing import bech32
from crypto.sealing.header import WRAPPED_KEY_SIZE, Stanza, from_base64, to_base64

KIND: Final = "X25519"
RECIPIENT_PREFIX: Final = "age"
IDENTITY_PREFIX: Final = "AGE-SECRET-KEY-"
KEY_SIZE: Final = 32  # bytes: a point as well as a secret

_INFO: Final = b"age-encryption.org/v1/X25519"
_NONCE: Final = bytes(12)  # fixed: each wrap key is used once
_ANY_SECRET: Final = X25519PrivateKey.from_private_bytes(
    bytes([1] * KEY_SIZE)
)  # no secret: to see whether a point has low order


@final
@dataclass(frozen=True, slots=True)
class X25519Recipient:
    """Whom a file is sealed to: a point that is not of low order."""

    post_quantum: ClassVar[bool] = False

    point: bytes

    def __repr__(self) -> str:
        return f"<{self.text}>"

    @classmethod
    def of(cls, point: bytes) -> Self:
        """Raises SealingError if `point` is none, or of low order."""
        if len(point) != KEY_SIZE:
            raise SealingError("recipient-size")
        refuse_low_order(point)
        return cls(point)

    @property
    def text(self) -> str:
        """The form `age1…`."""
        return bech32.encode(RECIPIENT_PREFIX, self.point)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key for this recipient, under a share made for this stanza alone."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        shared = _agree(ephemeral, self.point)
        body = _wrapper(shared, share, self.point).encrypt(_NONCE, file_key, None)
        return Stanza(KIND, (to_base64(share),), body)


@final
@dataclass(frozen=True, slots=True, eq=False)
class X25519Identity:
    """Who can open a file. Its repr shows the recipient alone."""

    key: X25519PrivateKey = field(repr=False)
    recipient: X25519Recipient

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """Raises SealingError if `secret` is not 32 bytes long."""
        if len(secret) != KEY_SIZE:
            raise SealingError("identity-size")
        key = X25519PrivateKey.from_private_bytes(secret)
        return cls(key, X25519Recipient.of(key.public_key().public_bytes_raw()))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is another's. Raises SealingError if it is of this kind and malformed."""
        if stanza.kind != KIND:
            return None
        if len(stanza.arguments) != 1 or len(stanza.body) != WRAPPED_KEY_SIZE:
            raise SealingError("stanza-malformed")  # the body's length before its tag: no partitioning oracle
        share = from_base64(stanza.arguments[0].encode("ascii"))
        if len(share) != KEY_SIZE:
            raise SealingError("stanza-malformed")
        wrapper = _wrapper(_agree(self.key, share), share, self.recipient.point)
        try:
            return wrapper.decrypt(_NONCE, stanza.body, None)
        except InvalidTag:
            return None


def refuse_low_order(point: bytes) -> None:
    """Raises SealingError if every secret agrees with `point` on zero (RFC 7748 §6.1)."""
    _agree(_ANY_SECRET, point)


def _agree(secret: X25519PrivateKey, point: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # the shared secret is zero
        raise SealingError("low-order-point") from None


def _wrapper(shared: bytes, share: bytes, point: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=share + point, info=_INFO).derive(shared))
