"""The recipient kind X25519: the specification's example, RFC 7748's vectors, and malformed stanzas."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cryptography_vectors
import pytest

from crypto.errors import SealingError
from crypto.sealing import x25519
from crypto.sealing.header import Stanza, from_base64, to_base64
from crypto.sealing.x25519 import X25519Identity, X25519Recipient

EXAMPLE = json.loads(Path(__file__).with_name("c2sp-age-examples.json").read_text("ascii"))["X25519"]
SECRET = bytes([0x42] * 32)  # of the example
FILE_KEY = bytes(range(16))
# RFC 7748 §6.1 and the curve's points of small order, in each form that decodes to one of them.
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
]


def rfc7748() -> list[dict[str, bytes]]:
    with cryptography_vectors.open_vector_file("asymmetric/X25519/rfc7748.txt", "r") as text:
        blocks = text.read().split("COUNT = ")[1:]
    rows = [dict(line.split(" = ") for line in block.splitlines()[1:] if " = " in line) for block in blocks]
    return [{name: bytes.fromhex(value) for name, value in row.items() if len(value) == 64} for row in rows]


def test_the_example_of_the_specification_opens() -> None:
    identity = X25519Identity.of(SECRET)
    kind, share = EXAMPLE["stanza"]
    stanza = Stanza(kind, (share,), from_base64(EXAMPLE["body"].encode()))
    assert identity.recipient.text == EXAMPLE["recipient"]
    assert identity.unwrap(stanza) == bytes.fromhex("6505da236915145fea6f7f0e451b0b92")


@pytest.mark.parametrize("vector", [row for row in rfc7748() if "INPUT_SCALAR" in row])
def test_the_vectors_of_rfc_7748_agree(vector: dict[str, bytes]) -> None:
    identity = X25519Identity.of(vector["INPUT_SCALAR"])
    assert x25519._agree(identity.key, vector["INPUT_U"]) == vector["OUTPUT_U"]


def test_there_are_vectors() -> None:
    assert sum("INPUT_SCALAR" in row for row in rfc7748()) >= 2


def test_what_is_wrapped_is_unwrapped_by_its_identity_alone() -> None:
    mine, other = X25519Identity.of(SECRET), X25519Identity.of(bytes(32))
    stanza = mine.recipient.wrap(FILE_KEY)
    assert mine.unwrap(stanza) == FILE_KEY
    assert other.unwrap(stanza) is None


def test_each_stanza_has_a_share_of_its_own() -> None:
    recipient = X25519Identity.of(SECRET).recipient
    assert recipient.wrap(FILE_KEY) != recipient.wrap(FILE_KEY)


@pytest.mark.parametrize("kind", ["x25519", "X25519 ", "mlkem768x25519", "grease"])
def test_stanzas_of_other_kinds_are_left_alone(kind: str) -> None:
    identity = X25519Identity.of(SECRET)
    assert identity.unwrap(replace(identity.recipient.wrap(FILE_KEY), kind=kind)) is None


GOOD = X25519Identity.of(SECRET).recipient.wrap(FILE_KEY)
SHARE = GOOD.arguments[0]


@pytest.mark.parametrize(
    ("stanza", "flaw"),
    [
        (replace(GOOD, arguments=()), "stanza-malformed"),
        (replace(GOOD, arguments=(SHARE, "more")), "stanza-malformed"),
        (replace(GOOD, arguments=("",)), "stanza-malformed"),
        (replace(GOOD, arguments=(to_base64(bytes(31)),)), "stanza-malformed"),
        (replace(GOOD, arguments=(to_base64(bytes(33)),)), "stanza-malformed"),
        (replace(GOOD, arguments=(SHARE + "=",)), "base64-malformed"),
        (replace(GOOD, arguments=(SHARE[:-1] + "B",)), "base64-malformed"),
        (replace(GOOD, arguments=("!" * 43,)), "base64-malformed"),
        (replace(GOOD, body=b""), "stanza-malformed"),
        (replace(GOOD, body=GOOD.body[:-1]), "stanza-malformed"),
        (replace(GOOD, body=GOOD.body + b"\0"), "stanza-malformed"),
        (replace(GOOD, body=bytes(48)), "stanza-malformed"),  # a file key of 32 bytes
        *((replace(GOOD, arguments=(to_base64(bytes.fromhex(point)),)), "low-order-point") for point in LOW_ORDER),
    ],
)
def test_malformed_stanzas_of_this_kind_are_refused(stanza: Stanza, flaw: str) -> None:
    with pytest.raises(SealingError) as error:
        X25519Identity.of(SECRET).unwrap(stanza)
    assert error.value.flaw == flaw


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_recipient_of_low_order_is_refused(point: str) -> None:
    with pytest.raises(SealingError, match="low-order-point"):
        X25519Recipient.of(bytes.fromhex(point))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(SealingError, match="recipient-size"):
        X25519Recipient.of(bytes(size))
    with pytest.raises(SealingError, match="identity-size"):
        X25519Identity.of(bytes(size))


def test_an_identity_shows_its_recipient_alone_and_cannot_be_pickled() -> None:
    identity = X25519Identity.of(SECRET)
    assert repr(identity) == f"X25519Identity(recipient=<{EXAMPLE['recipient']}>)"
    with pytest.raises(TypeError):
        pickle.dumps(identity)
