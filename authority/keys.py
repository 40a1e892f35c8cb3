"""The authority's own keys in their ring: which one signs now, which ones open, and how both are turned.

New keys are made as `next` before anybody hears of them, and become `current` when the receipt of the `rekey` is verified; so a
break at any point leaves keys that work. Old sealing keys go on opening what was sealed to them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final, final

from crypto.errors import KeyringError
from crypto.keyring import Cost, Held, Keyring, SealingSecret, Status
from crypto.keys import Ed25519Secret, KeyId, P256Secret, PublicKey, SecretKey
from crypto.sealing import generate_identity
from protocol.ids import Instant, numeric
from protocol.sayings import EcJwk, OkpJwk

SIGNING: Final = "authority-signing"
SEALING: Final = "authority-sealing"


def jwk(key: PublicKey) -> OkpJwk | EcJwk:
    """A public key as a claim."""
    found = key.jwk()
    return EcJwk.model_validate(found) if found["kty"] == "EC" else OkpJwk.model_validate(found)


@final
class Keys:
    """An open key ring of an authority."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    @staticmethod
    def make(path: Path, passphrase: bytes, now: Instant, cost: Cost) -> "Keys":
        """A new ring: Ed25519 for signing, post-quantum hybrid for sealing. Raises KeyringError (`exists`)."""
        held = (_new(SIGNING, 0, Status.CURRENT, now), _new(SEALING, 0, Status.CURRENT, now))
        return Keys(Keyring.create(path, passphrase, held, cost=cost))

    @staticmethod
    def open(path: Path, passphrase: bytes) -> "Keys":
        """The ring in a file. Raises KeyringError."""
        return Keys(Keyring.open(path, passphrase))

    @property
    def signing(self) -> SecretKey:
        """The key that signs now."""
        return _signs(self._ring.current(SIGNING))

    @property
    def recipient(self) -> str:
        """What answers are sealed to now."""
        return _opens(self._ring.current(SEALING)).recipient

    @property
    def identities(self) -> dict[KeyId, str]:
        """Every key that may still open something, by its id."""
        return {secret.id: secret.identity for secret in map(_opens, self._ring.openers(SEALING))}

    def following(self, now: Instant) -> tuple[SecretKey, str]:
        """The next signing key and recipient: those made before and not yet turned to, or new ones, on the disk already."""
        found = {one.role: one for one in self._ring.held if one.status is Status.NEXT}
        missing = [_new(role, self._epoch(role), Status.NEXT, now) for role in (SIGNING, SEALING) if role not in found]
        if missing:
            self._ring = self._ring.replace((*self._ring.held, *missing))
            found |= {one.role: one for one in missing}
        return _signs(found[SIGNING]), _opens(found[SEALING]).recipient

    def turn(self) -> None:
        """Make the next keys the current ones. Done twice it does nothing more."""
        roles = {one.role for one in self._ring.held if one.status is Status.NEXT}
        if roles:
            self._ring = self._ring.replace(_turned(one) if one.role in roles else one for one in self._ring.held)

    def _epoch(self, role: str) -> int:
        return 1 + max(one.epoch for one in self._ring.held if one.role == role)


def _turned(one: Held) -> Held:
    match one.status:
        case Status.NEXT:
            return replace(one, status=Status.CURRENT)
        case Status.CURRENT:
            return replace(one, status=Status.PREVIOUS)
        case _:
            return one


def _new(role: str, epoch: int, status: Status, now: Instant) -> Held:
    secret = Ed25519Secret.generate() if role == SIGNING else SealingSecret(generate_identity())
    return Held(role, epoch, status, numeric(now), secret)


def _signs(held: Held) -> SecretKey:
    if not isinstance(held.secret, Ed25519Secret | P256Secret):
        raise KeyringError("no-such-key")
    return held.secret


def _opens(held: Held) -> SealingSecret:
    if not isinstance(held.secret, SealingSecret):
        raise KeyringError("no-such-key")
    return held.secret
