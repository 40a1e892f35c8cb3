"""The recipient kind mlkem768x25519: the specification's example, HPKE's and ML-KEM's vectors, and malformed stanzas."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.bindings._rust import openssl

from crypto.errors import SealingError
from crypto.sealing import bech32
from crypto.sealing import mlkem768x25519 as pq
from crypto.sealing.header import Stanza, from_base64, to_base64
from crypto.sealing.mlkem768x25519 import MLKEM768X25519Identity, MLKEM768X25519Recipient

EXAMPLE = json.loads(Path(__file__).with_name("c2sp-age-examples.json").read_text("ascii"))["mlkem768x25519"]
SEED = bytes(range(32))
POINT = bytes([9, *bytes(31)])
FILE_KEY = bytes(range(16))
X_WING, HKDF_SHA256, CHACHA20_POLY1305 = 0x647A, 1, 3  # the numbers that HPKE gives them


def hpke_vectors() -> list[dict[str, Any]]:
    with cryptography_vectors.open_vector_file("HPKE/hpke-pq-test-vectors.json", "r") as text:
        rows = json.load(text)
    return [row for row in rows if row["mode"] == 0 and row["kem_id"] == X_WING]


def mlkem_public_keys() -> list[bytes]:
    with cryptography_vectors.open_vector_file("asymmetric/MLKEM/kat_MLKEM_768.rsp", "r") as text:
        return [bytes.fromhex(line.removeprefix("pk = ")) for line in text if line.startswith("pk = ")][:20]


def test_the_example_of_the_specification_opens() -> None:
    identity = MLKEM768X25519Identity.of(bech32.decode(EXAMPLE["identity"])[1])
    kind, share = EXAMPLE["stanza"]
    stanza = Stanza(kind, (share,), from_base64(EXAMPLE["body"].encode()))
    assert identity.recipient.text == EXAMPLE["recipient"]
    assert identity.unwrap(stanza) == bytes.fromhex("df56f61c8e496609c18d25c197451803")


@pytest.mark.parametrize("vector", hpke_vectors(), ids=lambda vector: f"kdf {vector['kdf_id']}")
def test_a_seed_makes_the_key_pair_of_the_hpke_vectors(vector: dict[str, Any]) -> None:
    identity = MLKEM768X25519Identity.of(bytes.fromhex(vector["skRm"]))
    assert identity.recipient.content == bytes.fromhex(vector["pkRm"])


def test_the_suite_opens_the_hpke_vector_that_was_made_with_it() -> None:
    (vector,) = [row for row in hpke_vectors() if (row["kdf_id"], row["aead_id"]) == (HKDF_SHA256, CHACHA20_POLY1305)]
    identity = MLKEM768X25519Identity.of(bytes.fromhex(vector["skRm"]))
    assert vector["suite_id"] == "48504b45647a00010003"
    first = vector["encryptions"][0]
    # The vectors authenticate additional data, which age leaves empty: this is the library's own door for them.
    opened = openssl.hpke._decrypt_with_aad(
        pq._SUITE,
        bytes.fromhex(vector["enc"] + first["ct"]),
        identity.key,
        bytes.fromhex(vector["info"]),
        bytes.fromhex(first["aad"]),
    )
    assert opened == bytes.fromhex(first["pt"])


@pytest.mark.parametrize("key", mlkem_public_keys(), ids=range(20))
def test_the_public_keys_of_the_ml_kem_vectors_are_recipients(key: bytes) -> None:
    assert MLKEM768X25519Recipient.of(key + POINT).wrap(FILE_KEY).kind == "mlkem768x25519"


@pytest.mark.parametrize("at", [0, 600, 1149])
def test_an_ml_kem_key_out_of_range_is_refused(at: int) -> None:
    key = bytearray(mlkem_public_keys()[0])
    key[at : at + 3] = b"\xff\xff\xff"  # coefficients above 3,329 (FIPS 203 §7.2)
    with pytest.raises(SealingError, match="recipient-key"):
        MLKEM768X25519Recipient.of(bytes(key) + POINT)


def test_a_recipient_whose_point_has_low_order_is_refused() -> None:
    with pytest.raises(SealingError, match="low-order-point"):
        MLKEM768X25519Recipient.of(mlkem_public_keys()[0] + bytes(32))


@pytest.mark.parametrize("size", [0, 32, 1184, 1215, 1217])
def test_recipients_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(SealingError, match="recipient-size"):
        MLKEM768X25519Recipient.of(bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33, 96])
def test_seeds_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(SealingError, match="identity-size"):
        MLKEM768X25519Identity.of(bytes(size))


def test_what_is_wrapped_is_unwrapped_by_its_identity_alone() -> None:
    mine, other = MLKEM768X25519Identity.of(SEED), MLKEM768X25519Identity.of(bytes(32))
    stanza = mine.recipient.wrap(FILE_KEY)
    assert mine.unwrap(stanza) == FILE_KEY
    assert other.unwrap(stanza) is None
    assert mine.recipient.wrap(FILE_KEY) != stanza


@pytest.mark.parametrize("kind", ["MLKEM768X25519", "X25519", "mlkem768p256tag", "grease"])
def test_stanzas_of_other_kinds_are_left_alone(kind: str) -> None:
    identity = MLKEM768X25519Identity.of(SEED)
    assert identity.unwrap(replace(identity.recipient.wrap(FILE_KEY), kind=kind)) is None


GOOD = MLKEM768X25519Identity.of(SEED).recipient.wrap(FILE_KEY)
SHARE = from_base64(GOOD.arguments[0].encode())


@pytest.mark.parametrize(
    ("stanza", "flaw"),
    [
        (replace(GOOD, arguments=()), "stanza-malformed"),
        (replace(GOOD, arguments=(GOOD.arguments[0], "more")), "stanza-malformed"),
        (replace(GOOD, arguments=(to_base64(SHARE[:-1]),)), "stanza-malformed"),
        (replace(GOOD, arguments=(to_base64(SHARE + b"\0"),)), "stanza-malformed"),
        (replace(GOOD, arguments=(GOOD.arguments[0] + "=",)), "base64-malformed"),
        (replace(GOOD, arguments=("-" * 1494,)), "base64-malformed"),
        (replace(GOOD, body=b""), "stanza-malformed"),
        (replace(GOOD, body=GOOD.body[:-1]), "stanza-malformed"),
        (replace(GOOD, body=bytes(48)), "stanza-malformed"),
    ],
)
def test_malformed_stanzas_of_this_kind_are_refused(stanza: Stanza, flaw: str) -> None:
    with pytest.raises(SealingError) as error:
        MLKEM768X25519Identity.of(SEED).unwrap(stanza)
    assert error.value.flaw == flaw


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(bytes([SHARE[0] ^ 1]) + SHARE[1:], id="ML-KEM part altered"),
        pytest.param(SHARE[:-1] + bytes([SHARE[-1] ^ 1]), id="X25519 part altered"),
        pytest.param(SHARE[:-32] + bytes(32), id="X25519 part of low order"),
        pytest.param(bytes(1120), id="zeros"),
    ],
)
def test_an_altered_share_unwraps_to_nothing(share: bytes) -> None:
    assert MLKEM768X25519Identity.of(SEED).unwrap(replace(GOOD, arguments=(to_base64(share),))) is None


def test_an_identity_shows_its_recipient_alone_and_cannot_be_pickled() -> None:
    identity = MLKEM768X25519Identity.of(SEED)
    text = identity.recipient.text
    assert repr(identity) == f"MLKEM768X25519Identity(recipient=<{text[:12]}…{text[-8:]}>)"
    with pytest.raises(TypeError):
        pickle.dumps(identity)
