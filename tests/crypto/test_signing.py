"""Signed tokens: what we sign, others verify; what others bend, we refuse, and say by which rule."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm
from jwt.api_jws import PyJWS

from crypto.errors import BadSignature, BadToken, NotStrict
from crypto.keys import P256_ORDER, Ed25519Key, Ed25519Secret, P256Key, P256Secret, PublicKey, SecretKey
from crypto.signing import (
    ALGORITHMS,
    MAX_HEADER,
    MAX_TOKEN,
    MAX_TYP,
    Unverified,
    Verified,
    _OurKeys,
    parse,
    sign,
    verify,
)
from crypto.strict import b64url_decode, b64url_encode

TYP = "rogatory-request+jwt"
OFFICER = Ed25519Secret.from_bytes(hashlib.sha256(b"officer").digest())
MALLORY = Ed25519Secret.from_bytes(hashlib.sha256(b"mallory").digest())
CARD = P256Secret.from_bytes(hashlib.sha256(b"card").digest())
SIGNERS = [pytest.param(OFFICER, id="Ed25519"), pytest.param(CARD, id="ES256")]
HEADER = {"alg": "Ed25519", "kid": OFFICER.public.id, "typ": TYP}


def openssl_key(key: PublicKey) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if isinstance(key, Ed25519Key):
        return Ed25519PublicKey.from_public_bytes(key.point)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key.x + key.y)


def token(header: bytes | Mapping[str, object], payload: bytes = b"{}", secret: SecretKey = OFFICER) -> bytes:
    """A well signed token with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    signed = f"{b64url_encode(text)}.{b64url_encode(payload)}".encode()
    return signed + b"." + b64url_encode(secret.sign(signed)).encode()


def with_header(**members: object) -> bytes:
    return token({**HEADER, **members})


def without(member: str) -> bytes:
    return token({name: value for name, value in HEADER.items() if name != member})


def hs256_with_the_public_key_as_secret(secret: bytes) -> bytes:
    header = json.dumps({**HEADER, "alg": "HS256"}, separators=(",", ":")).encode()
    signed = f"{b64url_encode(header)}.{b64url_encode(b'{}')}".encode()
    return signed + b"." + b64url_encode(hmac.digest(secret, signed, "sha256")).encode()


@pytest.mark.parametrize("secret", SIGNERS)
def test_what_is_signed_is_parsed_and_verified(secret: SecretKey) -> None:
    raw = sign(b'{"a":1}', secret, TYP)
    assert parse(raw) == Unverified(raw, secret.algorithm, secret.public.id, TYP, b'{"a":1}')
    assert verify(parse(raw), secret.public) == Verified(raw, secret.algorithm, secret.public.id, TYP, b'{"a":1}')


@pytest.mark.parametrize("secret", SIGNERS)
def test_a_header_says_the_algorithm_the_key_and_the_kind(secret: SecretKey) -> None:
    header = json.loads(b64url_decode(sign(b"{}", secret, TYP).split(b".")[0]))
    assert header == {"alg": secret.algorithm, "kid": secret.public.id, "typ": TYP}


@pytest.mark.parametrize("secret", SIGNERS)
@given(payload=st.binary())
def test_a_payload_is_any_bytes_and_comes_back_as_they_were(secret: SecretKey, payload: bytes) -> None:
    assert verify(parse(sign(payload, secret, TYP)), secret.public).payload == payload


def test_openssl_verifies_what_ed25519_signs() -> None:
    signed, _, signature = sign(b"{}", OFFICER, TYP).rpartition(b".")
    key = openssl_key(OFFICER.public)
    assert isinstance(key, Ed25519PublicKey)
    key.verify(b64url_decode(signature), signed)


def test_openssl_verifies_what_es256_signs() -> None:
    signed, _, segment = sign(b"{}", CARD, TYP).rpartition(b".")
    key, signature = openssl_key(CARD.public), b64url_decode(segment)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key.verify(der, signed, ec.ECDSA(SHA256()))


@pytest.mark.parametrize("secret", SIGNERS)
def test_plain_pyjwt_verifies_what_is_signed(secret: SecretKey) -> None:
    plain = PyJWS()
    plain.register_algorithm("Ed25519", OKPAlgorithm())  # PyJWT's own, by OpenSSL; it knows the older name alone
    key = openssl_key(secret.public)
    assert plain.decode(sign(b"{}", secret, TYP), key, algorithms=[secret.algorithm]) == b"{}"
    with pytest.raises(jwt.InvalidSignatureError):
        plain.decode(sign(b"{}", secret, TYP)[:-9] + b"AAAAAAAAA", key, algorithms=[secret.algorithm])


def test_the_older_name_is_taken_and_never_written() -> None:
    raw = with_header(alg="EdDSA")
    assert verify(parse(raw), OFFICER.public).algorithm == "EdDSA"
    assert parse(sign(b"{}", OFFICER, TYP)).algorithm == "Ed25519"


def test_the_order_of_the_header_is_the_signers() -> None:
    raw = token(dict(reversed(HEADER.items())))
    assert verify(parse(raw), OFFICER.public).raw == raw


def test_no_algorithm_is_open_but_those_of_the_table() -> None:
    assert dict(ALGORITHMS) == {"Ed25519": Ed25519Key, "EdDSA": Ed25519Key, "ES256": P256Key}


GOOD = sign(b"{}", OFFICER, TYP)
GOOD_HEADER, GOOD_PAYLOAD, GOOD_SIGNATURE = GOOD.split(b".")
PUBLIC_PEM = openssl_key(OFFICER.public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        pytest.param(with_header(alg="none"), "algorithm-refused", id="none, RFC 8725 §2.1"),
        pytest.param(with_header(alg="None"), "algorithm-refused", id="none in another case"),
        pytest.param(token({"alg": "none"}).rpartition(b".")[0] + b".", "algorithm-refused", id="none, unsigned"),
        pytest.param(hs256_with_the_public_key_as_secret(OFFICER.public.point), "algorithm-refused", id="HS256, raw"),
        pytest.param(hs256_with_the_public_key_as_secret(PUBLIC_PEM), "algorithm-refused", id="HS256, PEM"),
        pytest.param(with_header(alg="RS256"), "algorithm-refused", id="RSA"),
        pytest.param(with_header(alg="PS256"), "algorithm-refused", id="RSA-PSS"),
        pytest.param(with_header(alg="ES384"), "algorithm-refused", id="another curve"),
        pytest.param(with_header(alg="ES256K"), "algorithm-refused", id="the coin's curve"),
        pytest.param(with_header(alg="Ed448"), "algorithm-refused", id="Ed448"),
        pytest.param(with_header(alg="ed25519"), "algorithm-refused", id="in another case"),
        pytest.param(with_header(alg=""), "algorithm-refused", id="empty algorithm"),
        pytest.param(with_header(alg=None), "algorithm-refused", id="algorithm null"),
        pytest.param(with_header(alg=["Ed25519"]), "algorithm-refused", id="algorithm in a list"),
        pytest.param(without("alg"), "algorithm-refused", id="no algorithm"),
        pytest.param(without("kid"), "header-member", id="no key"),
        pytest.param(without("typ"), "header-member", id="no kind, RFC 8725 §3.11"),
        pytest.param(with_header(crit=["exp"], exp=1), "header-member", id="crit"),
        pytest.param(with_header(crit=["b64"], b64=False), "header-member", id="b64 and crit"),
        pytest.param(with_header(b64=True), "header-member", id="b64"),
        pytest.param(with_header(jku="https://mallory.example/keys"), "header-member", id="jku, RFC 8725 §3.10"),
        pytest.param(with_header(jwk=MALLORY.public.jwk()), "header-member", id="jwk"),
        pytest.param(with_header(x5u="https://mallory.example/cert"), "header-member", id="x5u"),
        pytest.param(with_header(x5c=["AAAA"]), "header-member", id="x5c"),
        pytest.param(with_header(x5t="AAAA"), "header-member", id="x5t"),
        pytest.param(with_header(cty="JWT"), "header-member", id="nested"),
        pytest.param(with_header(zip="DEF"), "header-member", id="compressed, RFC 8725 §3.6"),
        pytest.param(with_header(x=1), "header-member", id="foreign member"),
        pytest.param(with_header(kid=1), "key-id-form", id="key a number"),
        pytest.param(with_header(kid=None), "key-id-form", id="key null"),
        pytest.param(with_header(kid=[OFFICER.public.id]), "key-id-form", id="key in a list"),
        pytest.param(with_header(kid=""), "key-id-form", id="key empty"),
        pytest.param(with_header(kid="../../keys/root"), "key-id-form", id="key a path, RFC 8725 §3.10"),
        pytest.param(with_header(kid="' OR 1=1 --"), "key-id-form", id="key an injection"),
        pytest.param(with_header(kid=OFFICER.public.id + "="), "key-id-form", id="key with padding"),
        pytest.param(with_header(typ=1), "typ-form", id="kind a number"),
        pytest.param(with_header(typ=""), "typ-form", id="kind empty"),
        pytest.param(with_header(typ="x" * (MAX_TYP + 1)), "typ-form", id="kind too long"),
        pytest.param(with_header(typ="a\x00b"), "typ-form", id="kind with a NUL"),
        pytest.param(with_header(typ="request\u2011x"), "typ-form", id="kind beyond ASCII"),
        pytest.param(b"A" * (MAX_HEADER + 1) + b"..", "header-too-long", id="header too long"),
        pytest.param(b"A" * (MAX_TOKEN - 1) + b"..", "token-too-long", id="too long by one"),
        pytest.param(b"", "token-form", id="nothing"),
        pytest.param(b".", "token-form", id="two segments"),
        pytest.param(GOOD + b".", "token-form", id="four segments"),
        pytest.param(GOOD + b".AAAA.AAAA", "token-form", id="five segments, as JWE has"),
        pytest.param(b"." * MAX_TOKEN, "token-form", id="dots alone"),
        pytest.param(b'{"payload":"","signatures":[]}', "token-form", id="the JSON form"),
    ],
)
def test_a_token_that_is_not_of_our_form_is_refused_by_name(raw: bytes, flaw: str) -> None:
    with pytest.raises(BadToken) as refusal:
        parse(raw)
    assert refusal.value.flaw == flaw


COMPACT = json.dumps(HEADER, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        pytest.param(GOOD + b"==", "not-base64url", id="padding on the signature"),
        pytest.param(GOOD_HEADER + b"=." + GOOD_PAYLOAD + b"." + GOOD_SIGNATURE, "not-base64url", id="on the header"),
        pytest.param(GOOD_HEADER + b"." + GOOD_PAYLOAD + b"=." + GOOD_SIGNATURE, "not-base64url", id="on the payload"),
        pytest.param(GOOD + b"AAA", "not-base64url", id="characters more"),
        pytest.param(GOOD + b"\n", "not-base64url", id="a line end"),
        pytest.param(b" " + GOOD, "not-base64url", id="a space before"),
        pytest.param(GOOD.replace(b".", b". ", 1), "not-base64url", id="a space within"),
        pytest.param(GOOD + "ü".encode(), "not-base64url", id="not ASCII"),
        pytest.param(GOOD[:-1] + b"+", "not-base64url", id="the other alphabet"),
        pytest.param(GOOD[:-1] + bytes([GOOD[-1] + 1]), "not-base64url", id="unused bits set"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "not-base64url", id="byte order mark"),
        pytest.param(b"..", "not-json", id="three empty segments"),
        pytest.param(token(COMPACT.replace(b":", b": ")), "white-space", id="white space in the header"),
        pytest.param(token(COMPACT + b"\n"), "white-space", id="white space after the header"),
        pytest.param(token(COMPACT[:-1] + b',"typ":"x"}'), "doubled-member", id="doubled kind"),
        pytest.param(token(b'{"alg":"none",' + COMPACT[1:]), "doubled-member", id="doubled algorithm"),
        pytest.param(token(b'{"\\u0061lg":"none",' + COMPACT[1:]), "doubled-member", id="doubled by an escape"),
        pytest.param(token(COMPACT.replace(b"request", b"\\ud800")), "surrogate", id="lone surrogate"),
        pytest.param(token(COMPACT.replace(b"request", b"\xff")), "not-utf8", id="not UTF-8"),
        pytest.param(token(b"[" + COMPACT + b"]"), "not-an-object", id="header in an array"),
        pytest.param(token(b"null"), "not-an-object", id="header null"),
        pytest.param(token(COMPACT[:-1] + b',"x":NaN}'), "not-a-number", id="NaN"),
        pytest.param(token(COMPACT[:-1] + b',"x":' + b"[" * 99), "too-deep", id="nested"),
    ],
)
def test_a_token_with_two_readings_is_refused_by_name(raw: bytes, flaw: str) -> None:
    with pytest.raises(NotStrict) as refusal:
        parse(raw)
    assert refusal.value.flaw == flaw


@given(
    st.binary() | st.lists(st.binary(max_size=20).map(b64url_encode), max_size=4).map(lambda s: ".".join(s).encode())
)
def test_nothing_but_a_refusal_comes_of_any_bytes(raw: bytes) -> None:
    with pytest.raises((BadToken, NotStrict)):
        parse(raw)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_byte_of_a_token_may_change(place: int, byte: int) -> None:
    bent = GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
    if bent == GOOD:
        assert verify(parse(bent), OFFICER.public).raw == GOOD
        return
    with pytest.raises((BadToken, NotStrict, BadSignature)):
        verify(parse(bent), OFFICER.public)


def test_the_longest_token_is_taken() -> None:
    frame = len(sign(b"", OFFICER, TYP))
    payload = b"x" * ((MAX_TOKEN - frame) * 3 // 4)
    raw = sign(payload, OFFICER, TYP)
    assert MAX_TOKEN - 1 <= len(raw) <= MAX_TOKEN
    assert verify(parse(raw), OFFICER.public).payload == payload


def test_a_longer_one_is_not_even_written() -> None:
    with pytest.raises(BadToken, match="token-too-long"):
        sign(b"x" * MAX_TOKEN, OFFICER, TYP)


@pytest.mark.parametrize("typ", ["", "x" * (MAX_TYP + 1), "ü", "a\nb"])
def test_a_kind_that_would_not_be_read_is_not_written(typ: str) -> None:
    with pytest.raises(BadToken, match="typ-form"):
        sign(b"{}", OFFICER, typ)


def test_the_longest_kind_is_read() -> None:
    assert parse(sign(b"{}", OFFICER, "x" * MAX_TYP)).typ == "x" * MAX_TYP


@pytest.mark.parametrize(
    ("raw", "key", "flaw"),
    [
        pytest.param(GOOD, MALLORY.public, "key-mismatch", id="another key"),
        pytest.param(GOOD, CARD.public, "key-mismatch", id="a key of another type"),
        pytest.param(token(HEADER, secret=MALLORY), OFFICER.public, "signature", id="forged under his name"),
        pytest.param(with_header(kid=MALLORY.public.id), OFFICER.public, "key-mismatch", id="another's name"),
        pytest.param(with_header(alg="ES256"), OFFICER.public, "algorithm-refused", id="not the key's algorithm"),
        pytest.param(
            token({**HEADER, "kid": CARD.public.id}, secret=CARD), CARD.public, "algorithm-refused", id="nor the card's"
        ),
        pytest.param(GOOD_HEADER + b"." + GOOD_PAYLOAD + b".", OFFICER.public, "signature", id="no signature"),
        pytest.param(GOOD_HEADER + b".." + GOOD_SIGNATURE, OFFICER.public, "signature", id="no payload"),
        pytest.param(GOOD[:-2], OFFICER.public, "signature", id="short signature"),
        pytest.param(GOOD + b"AA", OFFICER.public, "signature", id="long signature"),
        pytest.param(
            GOOD_HEADER + b"." + b64url_encode(b'{"a":1}').encode() + b"." + GOOD_SIGNATURE,
            OFFICER.public,
            "signature",
            id="another payload",
        ),
        pytest.param(
            token({**HEADER, "typ": "x"}).split(b".")[0] + b"." + GOOD_PAYLOAD + b"." + GOOD_SIGNATURE,
            OFFICER.public,
            "signature",
            id="another kind, RFC 8725 §2.8",
        ),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_by_name(raw: bytes, key: PublicKey, flaw: str) -> None:
    with pytest.raises(BadSignature) as refusal:
        verify(parse(raw), key)
    assert refusal.value.flaw == flaw


def test_the_twin_of_an_es256_signature_is_refused() -> None:
    signed, _, segment = sign(b"{}", CARD, TYP).rpartition(b".")
    signature = b64url_decode(segment)
    high = (P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)
    twin = signed + b"." + b64url_encode(signature[:32] + high).encode()
    plain = PyJWS().decode(twin, openssl_key(CARD.public), algorithms=["ES256"])
    assert plain == b"{}"  # a valid signature everywhere else: two tokens that say the same
    with pytest.raises(BadSignature):
        verify(parse(twin), CARD.public)


def test_what_is_verified_is_what_the_bytes_say_and_not_what_was_read_before() -> None:
    lying = replace(parse(GOOD), payload=b'{"admin":true}')
    assert verify(lying, OFFICER.public).payload == b"{}"
    for lie in (replace(parse(GOOD), typ="rogatory-keyset+jwt"), replace(parse(GOOD), algorithm="EdDSA")):
        with pytest.raises(BadSignature):
            verify(lie, OFFICER.public)
    with pytest.raises(BadSignature, match="header-mismatch"):
        verify(replace(parse(GOOD), raw=with_header(crit=["b64"], b64=True)), OFFICER.public)


def test_a_refusal_carries_nothing_of_the_token_and_hides_no_cause_that_does() -> None:
    with pytest.raises(BadSignature) as refusal:
        verify(parse(token(HEADER, b"a secret", secret=MALLORY)), OFFICER.public)
    assert refusal.value.args == ("signature",)
    assert refusal.value.__suppress_context__


def test_a_refused_header_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(BadToken, match="header-member"):
            parse(with_header(jku="https://mallory.example"))


def test_pyjwt_gets_no_key_from_a_jwk() -> None:
    # PyJWT could build keys of its own from a header or a key set; through our algorithms it cannot.
    for forbidden in (_OurKeys.from_jwk, _OurKeys.to_jwk):
        with pytest.raises(jwt.InvalidKeyError):
            forbidden(OFFICER.public.jwk())


def test_segments_are_judged_strictly_by_pyjws_too() -> None:
    # `parse` is the first judge; PyJWS, which reads the token again, must not be laxer when it is handed one unparsed.
    lying = replace(parse(GOOD), raw=GOOD + b"==")
    with pytest.raises(BadSignature):
        verify(lying, OFFICER.public)
