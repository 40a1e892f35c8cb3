"""The recipient kind `mlkem768x25519` (C2SP age): `age1pq1…` and `AGE-SECRET-KEY-PQ-1…`, and our default.

HPKE over a hybrid of ML-KEM-768 and X25519 (X-Wing): a file recorded today stays closed as long as either of the two
holds. The identity is a seed of 32 bytes, from which SHAKE-256 makes both secrets (draft-ietf-hpke-pq).
"""

from dataclasses import dataclass, field
from hashlib import shake_256
from typing import ClassVar, Final, Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from crypto.errors import SealingError
from crypto.sealing import bech32
from crypto.sealing.header import WRAPPED_KEY_SIZE, Stanza, from_base64, to_base64
from crypto.sealing.x25519 import refuse_low_order

KIND: Final = "mlkem768x25519"
RECIPIENT_PREFIX: Final = "age1pq"
IDENTITY_PREFIX: Final = "AGE-SECRET-KEY-PQ-"
SEED_SIZE: Final = 32  # bytes, as all below

_MLKEM_KEY_SIZE: Final = 1184
_MLKEM_SEED_SIZE: Final = 64
_X25519_SIZE: Final = 32
_SHARE_SIZE: Final = 1120
_INFO: Final = b"age-encryption.org/mlkem768x25519"
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@final
@dataclass(frozen=True, slots=True)
class MLKEM768X25519Recipient:
    """Whom a file is sealed to."""

    post_quantum: ClassVar[bool] = True

    key: MLKEM768X25519PublicKey = field(compare=False)
    content: bytes  # ML-KEM key, then point

    def __repr__(self) -> str:
        text = self.text
        return f"<{text[:12]}…{text[-8:]}>"

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Raises SealingError unless `content` is an ML-KEM-768 key in reduced form, then a point not of low order."""
        if len(content) != _MLKEM_KEY_SIZE + _X25519_SIZE:
            raise SealingError("recipient-size")
        lattice, point = content[:_MLKEM_KEY_SIZE], content[_MLKEM_KEY_SIZE:]
        refuse_low_order(point)
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(lattice)
        except ValueError:  # FIPS 203 §7.2, the modulus check
            raise SealingError("recipient-key") from None
        key = MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(point))
        return cls(key, content)

    @property
    def text(self) -> str:
        """The form `age1pq1…`."""
        return bech32.encode(RECIPIENT_PREFIX, self.content)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key for this recipient, under an encapsulation made for this stanza alone."""
        sealed = _SUITE.encrypt(file_key, self.key, _INFO)
        return Stanza(KIND, (to_base64(sealed[:_SHARE_SIZE]),), sealed[_SHARE_SIZE:])


@final
@dataclass(frozen=True, slots=True, eq=False)
class MLKEM768X25519Identity:
    """Who can open a file. Its repr shows the recipient alone."""

    key: MLKEM768X25519PrivateKey = field(repr=False)
    recipient: MLKEM768X25519Recipient

    @classmethod
    def of(cls, seed: bytes) -> Self:
        """Raises SealingError if `seed` is not 32 bytes long."""
        if len(seed) != SEED_SIZE:
            raise SealingError("identity-size")
        expanded = shake_256(seed).digest(_MLKEM_SEED_SIZE + _X25519_SIZE)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_SIZE])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_SIZE:])
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return cls(MLKEM768X25519PrivateKey(mlkem, x25519), MLKEM768X25519Recipient.of(public))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is another's. Raises SealingError if it is of this kind and malformed."""
        if stanza.kind != KIND:
            return None
        if len(stanza.arguments) != 1 or len(stanza.body) != WRAPPED_KEY_SIZE:
            raise SealingError("stanza-malformed")  # the body's length before its tag: no partitioning oracle
        share = from_base64(stanza.arguments[0].encode("ascii"))
        if len(share) != _SHARE_SIZE:
            raise SealingError("stanza-malformed")
        try:
            return _SUITE.decrypt(share + stanza.body, self.key, _INFO)
        except InvalidTag:  # another's stanza, or a share of low order: HPKE tells them not apart
            return None
