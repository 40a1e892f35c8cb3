"""The authority's ring: turned once, whatever breaks; other kinds of keys; what is in the wrong place."""

from pathlib import Path

import pytest

from authority.keys import SEALING, SIGNING, Keys, jwk
from crypto.errors import KeyringError
from crypto.keyring import Cost, Held, Keyring, SealingSecret, Status
from crypto.keys import Ed25519Secret, P256Secret
from crypto.sealing import generate_identity
from protocol.sayings import EcJwk
from tests.actors import NOW

PASSPHRASE = b"an officer's own"


def test_keys_are_turned_once_and_the_next_ones_survive_a_break(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys = Keys.make(tmp_path / "ring", PASSPHRASE, NOW, Cost.INTERACTIVE)
    old = keys.signing.public.id
    keys.turn()  # nothing to turn to
    assert keys.signing.public.id == old
    signing, recipient = keys.following(NOW)
    again = Keys.open(tmp_path / "ring", PASSPHRASE)
    assert again.following(NOW)[0].public.id == signing.public.id
    again.turn()
    again.turn()
    assert (again.signing.public.id, again.recipient) == (signing.public.id, recipient)
    assert len(again.identities) == 2
    again.following(NOW)
    again.turn()
    assert len(again.identities) == 3


def test_a_ring_with_a_p256_key_signs_and_one_with_keys_in_wrong_places_does_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    sealing = SealingSecret(generate_identity(post_quantum=False))
    good = (Held(SIGNING, 0, Status.CURRENT, 0, P256Secret.generate()), Held(SEALING, 0, Status.CURRENT, 0, sealing))
    Keyring.create(tmp_path / "good", PASSPHRASE, good, cost=Cost.INTERACTIVE)
    assert isinstance(jwk(Keys.open(tmp_path / "good", PASSPHRASE).signing.public), EcJwk)
    bad = (
        Held(SIGNING, 0, Status.CURRENT, 0, sealing),
        Held(SEALING, 0, Status.CURRENT, 0, Ed25519Secret.generate()),
    )
    Keyring.create(tmp_path / "bad", PASSPHRASE, bad, cost=Cost.INTERACTIVE)
    keys = Keys.open(tmp_path / "bad", PASSPHRASE)
    for ask in (lambda: keys.signing, lambda: keys.recipient):
        with pytest.raises(KeyringError, match="no-such-key"):
            ask()
