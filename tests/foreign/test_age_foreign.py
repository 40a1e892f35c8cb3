"""Our sealed files against foreign implementations of age, both ways, and the age testkit as a table of the hostile.

pyrage (Rust) and Debian's age (Go) know X25519; age's own JavaScript library knows the post-quantum recipient too. What
a machine lacks is skipped with its reason: `make test` installs what can be had.
"""

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import pytest

from crypto import sealing
from crypto.errors import SealingError
from tests.foreign.programs import go_open, go_seal, js_open, js_seal, node, rust_open, rust_seal

SIZES = [0, 1, 2000, 64 * 1024, 64 * 1024 + 1, 3 * 1024 * 1024 + 5]
Way = Callable[[bytes, str], bytes]


FOREIGN = pytest.mark.parametrize(
    ("post_quantum", "their_seal", "their_open"),
    [
        pytest.param(True, js_seal, js_open, id="age-encryption, post-quantum"),
        pytest.param(False, js_seal, js_open, id="age-encryption, X25519"),
        pytest.param(False, rust_seal, rust_open, id="pyrage, X25519"),
        pytest.param(False, go_seal, go_open, id="age, X25519"),
    ],
)


@FOREIGN
@pytest.mark.parametrize("size", SIZES)
def test_what_we_seal_they_open_and_the_other_way_round(
    post_quantum: bool,
    their_seal: Way,
    their_open: Way,
    size: int,
) -> None:
    identity = sealing.generate_identity(post_quantum)
    recipient = sealing.recipient_of(identity)
    plain = os.urandom(size)
    assert their_open(sealing.seal_bytes(plain, [recipient]), identity) == plain
    assert sealing.unseal_bytes(their_seal(plain, recipient), [identity]) == plain


@FOREIGN
def test_each_of_several_recipients_opens_what_we_seal(post_quantum: bool, their_seal: Way, their_open: Way) -> None:
    identities = [sealing.generate_identity(post_quantum) for _ in range(3)]
    sealed = sealing.seal_bytes(b"for three", [sealing.recipient_of(identity) for identity in identities])
    assert [their_open(sealed, identity) for identity in identities] == [b"for three"] * 3


@pytest.mark.parametrize("kind", ["pq", "x25519"])
def test_their_identities_are_ours(kind: str) -> None:
    identity = node("generate", kind).decode()
    assert sealing.recipient_of(identity) == node("recipient", identity).decode()


@pytest.mark.parametrize("post_quantum", [True, False])
def test_our_identities_are_theirs(post_quantum: bool) -> None:
    identity = sealing.generate_identity(post_quantum)
    assert node("recipient", identity).decode() == sealing.recipient_of(identity)


class Vector:
    """One file of the age testkit: what is expected of it, and the age file itself (C2SP CCTV, age/README.md)."""

    def __init__(self, raw: bytes) -> None:
        text, sealed = raw.split(b"\n\n", 1)
        pairs = [line.split(": ", 1) for line in text.decode().splitlines()]
        self.members = dict(pairs)
        self.sealed = zlib.decompress(sealed) if self.members.get("compressed") == "zlib" else sealed
        self.identities = [value for name, value in pairs if name == "identity"]
        # Neither passphrases nor ASCII armour are read by us: such a file is refused whatever else is right with it.
        self.foreign_to_us = "passphrase" in self.members or "armored" in self.members
        self.opens = self.members["expect"] == "success" and not self.foreign_to_us


@cache
def vectors() -> dict[str, Vector]:
    raws = json.loads(node("testkit"))
    return {name: Vector(base64.b64decode(raw)) for name, raw in raws.items()}


def opened(vector: Vector) -> tuple[bytes, str]:
    """What reached the sink, and the flaw; none when it opened."""
    sink = BytesIO()
    try:
        sealing.unseal(BytesIO(vector.sealed), sink, vector.identities)
    except SealingError as error:
        return sink.getvalue(), error.flaw
    return sink.getvalue(), ""


def test_the_testkit_is_whole() -> None:
    assert len(vectors()) >= 140
    assert sum(vector.opens for vector in vectors().values()) >= 15
    assert {vector.members["expect"] for vector in vectors().values()} == FLAWS.keys() | {"success", "armor failure"}


def test_what_the_testkit_opens_opens() -> None:
    results = {name: opened(vector) for name, vector in vectors().items() if vector.opens}
    expected = {name: vectors()[name].members["payload"] for name in results}
    assert {name: hashlib.sha256(content).hexdigest() for name, (content, flaw) in results.items()} == expected


def test_what_the_testkit_refuses_is_refused_and_leaves_an_empty_sink() -> None:
    results = {name: opened(vector) for name, vector in vectors().items() if not vector.opens}
    assert {name: content for name, (content, _) in results.items() if content} == {}
    assert [name for name, (_, flaw) in results.items() if not flaw] == []


FLAWS = {
    "header failure": {
        "not-sealed",
        "header-malformed",
        "base64-malformed",
        "stanza-malformed",
        "low-order-point",
        "not-for-us",  # HPKE tells a share of low order not apart from another's stanza
        "payload-cut",  # a short nonce is of the header there, of the payload here
    },
    "no match": {"not-for-us"},
    "HMAC failure": {"header-altered"},
    "payload failure": {"payload-cut", "payload-altered"},
}


def test_the_testkit_s_kinds_of_failure_are_told_apart() -> None:
    for name, vector in vectors().items():
        if not vector.opens and not vector.foreign_to_us:
            assert opened(vector)[1] in FLAWS[vector.members["expect"]], name


def test_passphrases_and_armour_are_refused_by_their_form() -> None:
    flaws = {name: opened(vector)[1] for name, vector in vectors().items() if vector.foreign_to_us}
    assert {flaw for name, flaw in flaws.items() if name.startswith("scrypt")} <= {"passphrase-refused", "not-for-us"}
    assert {flaw for name, flaw in flaws.items() if name.startswith("armor")} == {"not-sealed"}
