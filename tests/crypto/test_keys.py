"""Keys: only good ones exist, each has one name, secrets do not leak, and words compare what people read out."""

import base64
import copy
import hashlib
import hmac
import json
import pickle
from importlib import resources

import nacl.bindings
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import BadKey, BadSignature
from crypto.keys import (
    P256_ORDER,
    Ed25519Key,
    Ed25519Secret,
    P256Key,
    P256Secret,
    X25519Key,
    X25519Secret,
    fingerprint_words,
    parse_key_id,
    read_jwk,
    read_queue_jwk,
    read_words,
    sealing_key_id,
    signing_secret,
)
from crypto.strict import b64url_decode, b64url_encode

# RFC 8037 A.1, A.3
RFC8037_SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
# RFC 7515 A.3.1
RFC7515_X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
RFC7515_Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"

ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": RFC8037_X}
P256 = {"kty": "EC", "crv": "P-256", "x": RFC7515_X, "y": RFC7515_Y}
X25519 = {"kty": "OKP", "crv": "X25519", "x": b64url_encode(bytes([9]) + bytes(31))}

SECRETS = [Ed25519Secret, P256Secret, X25519Secret]
SIGNERS = [Ed25519Secret, P256Secret]
Secret = Ed25519Secret | P256Secret | X25519Secret
Signer = Ed25519Secret | P256Secret


def test_the_name_of_a_key_is_its_thumbprint() -> None:
    assert read_jwk(ED25519).id == RFC8037_THUMBPRINT


@pytest.mark.parametrize("jwk", [ED25519, P256, X25519])
def test_a_name_is_the_sha256_of_the_members_in_order(jwk: dict[str, str]) -> None:
    key = read_queue_jwk(jwk) if jwk is X25519 else read_jwk(jwk)
    text = json.dumps(jwk, sort_keys=True, separators=(",", ":"))
    assert base64.urlsafe_b64decode(key.id + "=") == hashlib.sha256(text.encode()).digest()
    assert parse_key_id(key.id) == key.id


@pytest.mark.parametrize("jwk", [ED25519, P256])
def test_a_jwk_is_read_and_written_alike(jwk: dict[str, str]) -> None:
    assert read_jwk(jwk).jwk() == jwk
    assert read_jwk(dict(reversed(jwk.items()))) == read_jwk(jwk)


def test_a_queue_jwk_is_read_and_written_alike() -> None:
    assert read_queue_jwk(X25519).jwk() == X25519


@pytest.mark.parametrize(
    ("jwk", "flaw"),
    [
        pytest.param({}, "jwk-kind", id="nothing"),
        pytest.param({**ED25519, "kty": "EC"}, "jwk-kind", id="kind and curve that do not go together"),
        pytest.param({**P256, "crv": "P-384"}, "jwk-kind", id="another curve"),
        pytest.param({**P256, "crv": "secp256k1"}, "jwk-kind", id="the coin's curve"),
        pytest.param({**ED25519, "crv": "Ed448"}, "jwk-kind", id="Ed448"),
        pytest.param({**ED25519, "crv": ["Ed25519"]}, "jwk-kind", id="curve in a list"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0"}, "jwk-kind", id="a shared secret"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "jwk-kind", id="RSA"),
        pytest.param(X25519, "jwk-kind", id="a queue key"),
        pytest.param({**ED25519, "d": RFC8037_SEED}, "jwk-member", id="with its private half"),
        pytest.param({**ED25519, "kid": RFC8037_THUMBPRINT}, "jwk-member", id="with a name"),
        pytest.param({**ED25519, "use": "sig"}, "jwk-member", id="with a use"),
        pytest.param({**ED25519, "y": RFC7515_Y}, "jwk-member", id="with a second coordinate"),
        pytest.param({"kty": "OKP", "crv": "Ed25519"}, "jwk-member", id="no point"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": RFC7515_X}, "jwk-member", id="half a point"),
        pytest.param({**ED25519, "x": RFC8037_X + "="}, "key-form", id="padding"),
        pytest.param({**ED25519, "x": RFC8037_X[:-1] + "p"}, "key-form", id="unused bits set"),
        pytest.param({**ED25519, "x": ""}, "key-form", id="empty"),
        pytest.param({**ED25519, "x": RFC8037_X[:-1]}, "key-form", id="short"),
        pytest.param({**ED25519, "x": RFC8037_X + "AAA"}, "key-form", id="long"),
        pytest.param({**ED25519, "x": 1}, "key-form", id="a number"),
        pytest.param({**ED25519, "x": None}, "key-form", id="null"),
        pytest.param({**ED25519, "x": [RFC8037_X]}, "key-form", id="a list"),
        pytest.param({**P256, "x": "AA"}, "key-form", id="a short x"),
        pytest.param({**P256, "y": "AA"}, "key-form", id="a short y"),
        pytest.param({**P256, "y": 7}, "key-form", id="a number for y"),
        pytest.param({**P256, "y": RFC7515_X}, "point-refused", id="off the curve"),
    ],
)
def test_a_jwk_that_is_not_exactly_one_of_ours_is_refused(jwk: dict[str, object], flaw: str) -> None:
    with pytest.raises(BadKey) as refusal:
        read_jwk(jwk)
    assert refusal.value.flaw == flaw


@pytest.mark.parametrize(
    ("jwk", "flaw"),
    [
        pytest.param(ED25519, "jwk-kind", id="a signing key"),
        pytest.param({**X25519, "kty": "EC"}, "jwk-kind", id="another kind"),
        pytest.param({**X25519, "d": RFC8037_SEED}, "jwk-member", id="with its private half"),
        pytest.param({**X25519, "x": X25519["x"] + "="}, "key-form", id="padding"),
        pytest.param({**X25519, "x": 9}, "key-form", id="a number"),
        pytest.param({**X25519, "x": "CQ"}, "key-form", id="short"),
        pytest.param({**X25519, "x": b64url_encode(bytes(32))}, "point-refused", id="low order"),
    ],
)
def test_a_queue_jwk_that_is_not_exactly_ours_is_refused(jwk: dict[str, object], flaw: str) -> None:
    with pytest.raises(BadKey) as refusal:
        read_queue_jwk(jwk)
    assert refusal.value.flaw == flaw


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(RFC8037_THUMBPRINT[:-1], id="short"),
        pytest.param(RFC8037_THUMBPRINT + "A", id="long"),
        pytest.param(RFC8037_THUMBPRINT + "=", id="padding"),
        pytest.param(RFC8037_THUMBPRINT[:-1] + "l", id="unused bits set"),
        pytest.param(" " + RFC8037_THUMBPRINT[1:], id="space"),
        pytest.param("../../../../../../../../../../../etc/passwords"[:43], id="path"),
    ],
)
def test_a_name_of_another_form_is_no_key_id(text: str) -> None:
    with pytest.raises(BadKey, match="key-id-form"):
        parse_key_id(text)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_survives_the_key_ring(kind: type[Secret]) -> None:
    secret = kind.generate()
    again = kind.from_bytes(secret.to_bytes())
    assert again == secret
    assert hash(again) == hash(secret)
    assert again.public == secret.public
    assert again.public.id == secret.public.id
    assert len(secret.to_bytes()) == 32


@pytest.mark.parametrize("kind", SECRETS)
def test_two_secrets_differ(kind: type[Secret]) -> None:
    assert kind.generate() != kind.generate()


def test_secrets_of_two_kinds_differ_even_with_the_same_bytes() -> None:
    assert Ed25519Secret.from_bytes(b"\x01" * 32) != X25519Secret.from_bytes(b"\x01" * 32)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_shows_its_name_alone(kind: type[Secret]) -> None:
    secret = kind.generate()
    assert repr(secret) == str(secret) == f"{secret}" == f"{kind.__name__}({secret.public.id})"


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_neither_pickled_nor_copied(kind: type[Secret], leak: object) -> None:
    assert callable(leak)
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        leak(kind.generate())


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_compared_in_constant_time(kind: type[Secret], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    digest = hmac.compare_digest

    def watched(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return digest(one, two)

    monkeypatch.setattr("hmac.compare_digest", watched)
    one, two = kind.generate(), kind.generate()
    assert one != two
    assert compared == [(one.to_bytes(), two.to_bytes())]


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("raw", [b"", b"\x01" * 31, b"\x01" * 33])
def test_a_secret_of_another_size_is_refused(kind: type[Secret], raw: bytes) -> None:
    with pytest.raises(BadKey, match="key-form"):
        kind.from_bytes(raw)


@pytest.mark.parametrize("scalar", [0, P256_ORDER, 2**256 - 1])
def test_a_p256_scalar_out_of_range_is_refused(scalar: int) -> None:
    with pytest.raises(BadKey, match="key-form"):
        P256Secret.from_bytes(scalar.to_bytes(32))


@pytest.mark.parametrize("scalar", [1, P256_ORDER - 1])
def test_a_p256_scalar_at_the_edge_signs(scalar: int) -> None:
    secret = P256Secret.from_bytes(scalar.to_bytes(32))
    secret.public.verify(b"message", secret.sign(b"message"))


@pytest.mark.parametrize("kind", SIGNERS)
@given(message=st.binary(max_size=200))
def test_what_is_signed_is_verified_and_nothing_else(kind: type[Signer], message: bytes) -> None:
    secret = kind.from_bytes(hashlib.sha256(message).digest())
    signature = secret.sign(message)
    secret.public.verify(message, signature)
    for other in (message + b"\x00", b"\x00" + message, message[:-1] if message else b"x"):
        with pytest.raises(BadSignature):
            secret.public.verify(other, signature)
    with pytest.raises(BadSignature):
        kind.from_bytes(hashlib.sha256(signature).digest()).public.verify(message, signature)


@pytest.mark.parametrize("kind", SIGNERS)
def test_no_bit_of_a_signature_may_change(kind: type[Signer]) -> None:
    secret = kind.generate()
    signature = int.from_bytes(secret.sign(b"message"))
    for bit in range(512):
        with pytest.raises(BadSignature):
            secret.public.verify(b"message", (signature ^ 1 << bit).to_bytes(64))


@pytest.mark.parametrize("kind", SIGNERS)
@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 63), slice(1, 64)])
def test_a_short_signature_is_refused(kind: type[Signer], cut: slice) -> None:
    secret = kind.generate()
    with pytest.raises(BadSignature, match="signature-form"):
        secret.public.verify(b"message", secret.sign(b"message")[cut])


@pytest.mark.parametrize("kind", SIGNERS)
def test_the_border_between_signature_and_message_cannot_be_moved(kind: type[Signer]) -> None:
    secret = kind.generate()
    signed = secret.sign(b"message") + b"message"
    for border in (63, 65):
        with pytest.raises(BadSignature, match="signature-form"):
            secret.public.verify(signed[border:], signed[:border])


def test_openssl_makes_and_takes_the_same_ed25519_signatures() -> None:
    seed = b64url_decode(RFC8037_SEED)
    ours, theirs = Ed25519Secret.from_bytes(seed), Ed25519PrivateKey.from_private_bytes(seed)
    assert ours.public.point == b64url_decode(RFC8037_X) == theirs.public_key().public_bytes_raw()
    assert ours.sign(b"message") == theirs.sign(b"message")
    Ed25519PublicKey.from_public_bytes(ours.public.point).verify(ours.sign(b"message"), b"message")


def test_openssl_takes_our_p256_signatures_and_they_are_low() -> None:
    secret = P256Secret.generate()
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(secret.public.x), int.from_bytes(secret.public.y), ec.SECP256R1()
    )
    for count in range(32):  # half of the signatures have to be lowered: that none of 32 was is one in four billion
        message = count.to_bytes()
        signature = secret.sign(message)
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        assert s <= P256_ORDER // 2
        numbers.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def test_openssl_finds_the_same_queue_key() -> None:
    secret = X25519Secret.generate()
    assert secret.public.point == X25519PrivateKey.from_private_bytes(secret.to_bytes()).public_key().public_bytes_raw()


def test_a_public_key_shows_its_name() -> None:
    assert repr(read_jwk(ED25519)) == f"Ed25519Key(id='{RFC8037_THUMBPRINT}')"
    for secret in (P256Secret.generate(), X25519Secret.generate()):
        assert repr(secret.public) == f"{type(secret.public).__name__}(id='{secret.public.id}')"


def test_public_keys_are_values() -> None:
    assert len({read_jwk(ED25519), read_jwk(ED25519), read_jwk(P256), read_jwk(P256)}) == 2
    of_two_kinds: set[object] = {read_jwk(ED25519), X25519Key(b64url_decode(RFC8037_X))}
    assert len(of_two_kinds) == 2
    with pytest.raises(AttributeError):
        read_jwk(ED25519).id = parse_key_id(RFC8037_THUMBPRINT)  # type: ignore[misc] # that it is refused is the test


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_point_of_another_size_is_refused(size: int) -> None:
    good = b64url_decode(RFC7515_X)
    for make in (lambda: Ed25519Key(bytes(size)), lambda: X25519Key(bytes(size)), lambda: P256Key(bytes(size), good)):
        with pytest.raises(BadKey, match="key-form"):
            make()


def test_a_sealing_key_is_named_by_the_digest_of_its_recipient() -> None:
    recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
    assert sealing_key_id(recipient) == b64url_encode(hashlib.sha256(recipient.encode()).digest())
    assert parse_key_id(sealing_key_id(recipient)) == sealing_key_id(recipient)


def test_a_recipient_is_ascii() -> None:
    with pytest.raises(BadKey, match="recipient-form"):
        sealing_key_id("agé1")


def test_the_list_of_words_is_the_one_that_it_is_said_to_be() -> None:
    raw = resources.files("crypto").joinpath("words.txt").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    words = raw.decode("ascii").split()
    assert len(set(words)) == 2048
    assert len({word[:4] for word in words}) == 2048


@pytest.mark.parametrize(
    ("digest", "words"),
    [
        # The first words of the test vectors of BIP-39 for 256 bits, which are cut the same way.
        pytest.param(bytes(32), "abandon " * 10, id="zeroes"),
        pytest.param(b"\xff" * 32, "zoo " * 10, id="ones"),
        pytest.param(b"\x7f" * 32, "legal winner thank year wave sausage worth useful legal winner", id="BIP-39, 7f…"),
        pytest.param(b"\x80" * 32, "letter advice cage absurd amount doctor acoustic avoid letter advice", id="80…"),
    ],
)
def test_ten_words_are_the_first_110_bits(digest: bytes, words: str) -> None:
    assert " ".join(fingerprint_words(digest)) == words.strip()


@given(st.binary(min_size=32, max_size=32), st.integers(1, 23))
def test_words_tell_the_bits_that_they_stand_for(digest: bytes, count: int) -> None:
    listed = resources.files("crypto").joinpath("words.txt").read_text().split()
    bits = "".join(f"{listed.index(word):011b}" for word in fingerprint_words(digest, count))
    assert bits == f"{int.from_bytes(digest):0256b}"[: 11 * count]


@pytest.mark.parametrize(("digest", "count"), [(bytes(31), 10), (bytes(33), 10), (bytes(32), 0), (bytes(32), 24)])
def test_words_come_from_a_whole_digest_and_no_further(digest: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        fingerprint_words(digest, count)


@pytest.mark.parametrize(
    "typed",
    [
        "legal winner thank",
        "LEGAL Winner thank",
        "  legal\twinner\r\nthank  ",
        "legal-winner-thank",
        "legal, winner, thank,",
        "legal - winner\u00a0thank",
    ],
)
def test_words_are_read_however_they_were_typed(typed: str) -> None:
    assert read_words(typed) == ("legal", "winner", "thank")


def test_nothing_typed_is_no_words() -> None:
    assert read_words(" , -") == ()


@pytest.mark.parametrize("typed", ["legal winer thank", "legal winner thank.", "légal", "legalwinner", "1"])
def test_a_word_that_is_not_on_the_list_is_refused(typed: str) -> None:
    with pytest.raises(BadKey, match="unknown-word"):
        read_words(typed)


@given(st.binary(min_size=32, max_size=32))
def test_words_heard_are_words_shown(digest: bytes) -> None:
    assert read_words(", ".join(fingerprint_words(digest)).upper()) == fingerprint_words(digest)


def test_the_seed_is_where_libsodium_keeps_it() -> None:
    secret = Ed25519Secret.generate()
    assert nacl.bindings.crypto_sign_seed_keypair(secret.to_bytes())[0] == secret.public.point


def test_what_signs_is_told_from_what_does_not() -> None:
    for secret in (Ed25519Secret.generate(), P256Secret.generate()):
        assert signing_secret(secret) is secret
    with pytest.raises(TypeError):
        signing_secret(X25519Secret.generate())
