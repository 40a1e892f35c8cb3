"""Signatures and keys made to pass where they should not, and the published vectors that tell good from bad.

The hostile Ed25519 cases are built here, with the curve in twenty lines, in the manner of the C2SP CCTV set: points of
small order, points with a part of small order, second spellings of points and of scalars, as key and within the signature.
Each forgery is first shown to fulfil an equation by which some verifiers go; none may pass by ours.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from crypto.errors import BadKey, BadSignature
from crypto.keys import P256_ORDER, P25519, Ed25519Key, Ed25519Secret, P256Key, X25519Key, read_jwk
from crypto.signing import parse, sign, verify
from crypto.strict import b64url_decode, b64url_encode

MESSAGE: Final = b"Disclose @suspect."

# -- edwards25519 in affine coordinates, RFC 8032 §5.1 --------------------------------------------------------------------

P: Final = P25519
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
ROOT: Final = pow(2, (P - 1) // 4, P)  # of -1


class Point(NamedTuple):
    x: int
    y: int

    def plus(self, other: "Point") -> "Point":
        cross = D * self.x * other.x * self.y * other.y
        x = (self.x * other.y + self.y * other.x) * pow(1 + cross, -1, P)
        y = (self.y * other.y + self.x * other.x) * pow(1 - cross, -1, P)
        return Point(x % P, y % P)

    def times(self, scalar: int) -> "Point":
        total, power = NEUTRAL, self
        while scalar:
            total = total.plus(power) if scalar & 1 else total
            power, scalar = power.plus(power), scalar >> 1
        return total


NEUTRAL: Final = Point(0, 1)


def spell(point: Point) -> bytes:
    return (point.y | (point.x & 1) << 255).to_bytes(32, "little")


def read(spelt: bytes) -> Point | None:
    """A point, read as the laxest verifiers do: y modulo p, and a sign for x = 0 is ignored. None if there is no such x."""
    sign_, y = divmod(int.from_bytes(spelt, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    if x * x % P != square:
        return None
    return Point(x if x & 1 == sign_ else -x % P, y % P)


def base() -> Point:
    found = read((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert found is not None
    return found


def order_eight() -> Point:
    """A point of order 8: the part outside the main subgroup of the first point that has one."""
    candidates = (read(y.to_bytes(32, "little")) for y in range(2, 99))
    torsions = (point.times(L) for point in candidates if point is not None)
    return next(point for point in torsions if point.times(4) != NEUTRAL)


def second_spellings() -> Iterator[bytes]:
    """Every spelling of a point with y not below p, or with a sign for x = 0. RFC 8032 §5.1.3 refuses them."""
    for y in range(P, 2**255):
        for spelt in (y.to_bytes(32, "little"), (y | 1 << 255).to_bytes(32, "little")):
            if read(spelt) is not None:
                yield spelt
    yield (1 | 1 << 255).to_bytes(32, "little")
    yield (P - 1 | 1 << 255).to_bytes(32, "little")


B: Final = base()
SMALL: Final = [order_eight().times(count) for count in range(8)]
NOT_CANONICAL: Final = list(second_spellings())
HONEST: Final = Ed25519Secret.from_bytes(hashlib.sha256(b"honest").digest())


def secret_scalar(secret: Ed25519Secret) -> int:
    digest = bytearray(hashlib.sha512(secret.to_bytes()).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def fulfils(key: bytes, message: bytes, signature: bytes, cofactor: int = 1) -> bool:
    """Whether [S]B = R + [k]A, as lax verifiers see it, times `cofactor`. RFC 8032 §5.1.7 allows 1 and 8."""
    r, a, s = read(signature[:32]), read(key), int.from_bytes(signature[32:], "little")
    assert r is not None
    assert a is not None
    return B.times(s * cofactor) == r.plus(a.times(challenge(signature[:32], key, message))).times(cofactor)


def signed_with(nonce: int, torsion: Point) -> bytes:
    """What the honest holder could sign on purpose: R with a part of small order, S to fit."""
    r = spell(B.times(nonce).plus(torsion))
    s = (nonce + challenge(r, HONEST.public.point, MESSAGE) * secret_scalar(HONEST)) % L
    return r + s.to_bytes(32, "little")


def test_the_curve_of_these_tests_is_the_one_of_the_library() -> None:
    assert spell(B.times(secret_scalar(HONEST))) == HONEST.public.point
    assert fulfils(HONEST.public.point, MESSAGE, HONEST.sign(MESSAGE))
    HONEST.public.verify(MESSAGE, signed_with(7, NEUTRAL))
    assert len(set(SMALL)) == 8
    assert len(NOT_CANONICAL) == 26


@pytest.mark.parametrize("order", range(8))
def test_a_key_of_small_order_is_refused(order: int) -> None:
    with pytest.raises(BadKey, match="point-refused"):
        Ed25519Key(spell(SMALL[order]))
    with pytest.raises(BadKey, match="point-refused"):
        read_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(spell(SMALL[order]))})


def test_such_a_key_would_have_one_signature_for_every_message() -> None:
    # Why the test above matters: by the letter of the equation, this signs whatever anyone likes.
    signature = spell(B) + (1).to_bytes(32, "little")
    for message in (b"Disclose @suspect.", b"Disclose @everyone.", b""):
        assert fulfils(spell(NEUTRAL), message, signature)


@pytest.mark.parametrize("order", range(1, 8))
def test_a_key_with_a_part_of_small_order_is_refused(order: int) -> None:
    mixed = B.times(secret_scalar(HONEST)).plus(SMALL[order])
    with pytest.raises(BadKey, match="point-refused"):
        Ed25519Key(spell(mixed))


@pytest.mark.parametrize("spelt", NOT_CANONICAL, ids=bytes.hex)
def test_a_second_spelling_of_a_point_is_no_key(spelt: bytes) -> None:
    with pytest.raises(BadKey, match="point-refused"):
        Ed25519Key(spelt)


@pytest.mark.parametrize("y", [2, 7, 8])
def test_a_point_off_the_curve_is_no_key(y: int) -> None:
    spelt = y.to_bytes(32, "little")
    assert read(spelt) is None
    with pytest.raises(BadKey, match="point-refused"):
        Ed25519Key(spelt)


@pytest.mark.parametrize("order", range(8))
def test_a_signature_whose_r_is_of_small_order_is_refused(order: int) -> None:
    signature = signed_with(0, SMALL[order])
    assert fulfils(HONEST.public.point, MESSAGE, signature, cofactor=8)
    with pytest.raises(BadSignature, match="signature"):
        HONEST.public.verify(MESSAGE, signature)


@pytest.mark.parametrize("order", range(1, 8))
def test_a_signature_whose_r_has_a_part_of_small_order_is_refused(order: int) -> None:
    # Verifiers that multiply by the cofactor take it and others do not: what is evidence must not depend on that.
    signature = signed_with(7, SMALL[order])
    assert fulfils(HONEST.public.point, MESSAGE, signature, cofactor=8)
    with pytest.raises(BadSignature, match="signature"):
        HONEST.public.verify(MESSAGE, signature)


@pytest.mark.parametrize("spelt", [s for s in NOT_CANONICAL if read(s) in SMALL], ids=bytes.hex)
def test_a_second_spelling_of_r_is_refused(spelt: bytes) -> None:
    s = challenge(spelt, HONEST.public.point, MESSAGE) * secret_scalar(HONEST) % L
    signature = spelt + s.to_bytes(32, "little")
    assert fulfils(HONEST.public.point, MESSAGE, signature, cofactor=8)
    with pytest.raises(BadSignature, match="signature"):
        HONEST.public.verify(MESSAGE, signature)


@pytest.mark.parametrize("times", range(1, 16))
def test_s_and_the_order_once_or_more_is_a_second_spelling_and_refused(times: int) -> None:
    signature = HONEST.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "little") + times * L
    bent = signature[:32] + s.to_bytes(32, "little")
    assert fulfils(HONEST.public.point, MESSAGE, bent)
    with pytest.raises(BadSignature, match="signature"):
        HONEST.public.verify(MESSAGE, bent)


def test_a_token_with_s_and_the_order_is_refused() -> None:
    signed, _, segment = sign(b"{}", HONEST, "x").rpartition(b".")
    signature = b64url_decode(segment)
    s = int.from_bytes(signature[32:], "little") + L
    bent = signed + b"." + b64url_encode(signature[:32] + s.to_bytes(32, "little")).encode()
    assert fulfils(HONEST.public.point, signed, b64url_decode(bent.rpartition(b".")[2]))
    with pytest.raises(BadSignature):
        verify(parse(bent), HONEST.public)


# -- X25519 ---------------------------------------------------------------------------------------------------------------


def low_orders() -> Iterator[int]:
    """The u coordinates of the points of small order, on the curve and on its twist: RFC 7748 §6.1, §7."""
    yield 1
    for point in SMALL:
        if point != NEUTRAL:
            yield (1 + point.y) * pow(1 - point.y, -1, P) % P
    yield P - 1  # on the twist


@pytest.mark.parametrize("u", sorted(set(low_orders())))
@pytest.mark.parametrize("more", [0, P, 2**255], ids=["as it is", "and p", "and the unused bit"])
def test_a_queue_key_of_small_order_is_refused_however_it_is_spelt(u: int, more: int) -> None:
    if u + more < 2**256:
        with pytest.raises(BadKey, match="point-refused"):
            X25519Key((u + more).to_bytes(32, "little"))


@pytest.mark.parametrize("u", [P + 9, 2**255 + 9, 2**256 - 1])
def test_a_second_spelling_of_a_good_queue_key_is_refused(u: int) -> None:
    X25519Key((9).to_bytes(32, "little"))
    with pytest.raises(BadKey, match="point-refused"):
        X25519Key(u.to_bytes(32, "little"))


# -- ES256 ----------------------------------------------------------------------------------------------------------------

CARD: Final = ec.derive_private_key(7, ec.SECP256R1())
CARD_POINT: Final = CARD.public_key().public_numbers()
CARD_KEY: Final = P256Key(CARD_POINT.x.to_bytes(32), CARD_POINT.y.to_bytes(32))
# RFC 7515 A.3: the standard's own example of ES256 happens to have a high s.
RFC7515_KEY: Final = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_SIGNED: Final = (
    b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC7515_SIGNATURE: Final = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


def pair(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


@pytest.mark.parametrize(
    ("signature", "flaw"),
    [
        pytest.param(pair(0, 0), "signature-form", id="zeroes, CVE-2022-21449"),
        pytest.param(pair(0, 1), "signature-form", id="r zero"),
        pytest.param(pair(1, 0), "signature-form", id="s zero"),
        pytest.param(pair(P256_ORDER, 1), "signature-form", id="r the order"),
        pytest.param(pair(1, P256_ORDER), "signature-form", id="s the order"),
        pytest.param(pair(2**256 - 1, 2**256 - 1), "signature-form", id="ones"),
        pytest.param(pair(1, P256_ORDER - 1), "high-s", id="s high"),
        pytest.param(pair(1, P256_ORDER // 2 + 1), "high-s", id="s just high"),
        pytest.param(pair(1, P256_ORDER // 2), "signature", id="s just low, of no message"),
        pytest.param(pair(1, 1), "signature", id="one and one"),
        pytest.param(CARD.sign(MESSAGE, ec.ECDSA(SHA256())), "signature-form", id="DER"),
        pytest.param(encode_dss_signature(1, 1).ljust(64, b"\x00"), "signature-form", id="DER, filled up"),
    ],
)
def test_a_bent_es256_signature_is_refused_by_name(signature: bytes, flaw: str) -> None:
    with pytest.raises(BadSignature) as refusal:
        CARD_KEY.verify(MESSAGE, signature)
    assert refusal.value.flaw == flaw


def test_of_the_two_signatures_of_rfc_7515_the_low_one_is_taken() -> None:
    key, signature = read_jwk(RFC7515_KEY), b64url_decode(RFC7515_SIGNATURE)
    with pytest.raises(BadSignature, match="high-s"):
        key.verify(RFC7515_SIGNED, signature)
    key.verify(RFC7515_SIGNED, signature[:32] + (P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32))


# -- published vectors ----------------------------------------------------------------------------------------------------


def vectors(name: str) -> str:
    with cryptography_vectors.open_vector_file(f"asymmetric/{name}", "r") as file:
        return str(file.read())


def fips(name: str, section: str) -> Iterator[dict[str, str]]:
    """The records of one section of a NIST response file: `Name = value` lines with blank lines between."""
    body = re.split(r"^\[(.+)\]$", vectors(f"ECDSA/FIPS_186-3/{name}.rsp"), flags=re.MULTILINE)
    for block in dict(zip(body[1::2], body[2::2], strict=True))[section].strip().split("\n\n"):
        yield dict(line.split(" = ") for line in block.strip().splitlines())


def test_every_ed25519_vector_of_the_curves_authors_is_signed_and_verified_alike() -> None:
    lines = vectors("Ed25519/sign.input").splitlines()
    for line in lines:
        seed_and_key, key, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        secret = Ed25519Secret.from_bytes(seed_and_key[:32])
        assert secret.public.point == key
        assert secret.sign(message) == signed[:64]
        Ed25519Key(key).verify(message, signed[:64])
    assert len(lines) == 1024


def number(hexadecimal: str) -> bytes:
    """At least 32 bytes; NIST's numbers out of range have more."""
    return bytes.fromhex(hexadecimal.zfill(max(64, len(hexadecimal) + len(hexadecimal) % 2)))


def is_key(x: bytes, y: bytes) -> bool:
    try:
        P256Key(x, y)
    except BadKey:
        return False
    return True


def test_every_p256_key_of_nist_is_judged_alike() -> None:
    judged = [
        (record["Result"][0], is_key(number(record["Qx"]), number(record["Qy"]))) for record in fips("PKV", "P-256")
    ]
    assert set(judged) == {("P", True), ("F", False)}


def test_a_second_spelling_of_a_p256_coordinate_is_no_key() -> None:
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x02" + (5).to_bytes(32)).public_numbers()
    assert is_key(point.x.to_bytes(32), point.y.to_bytes(32))
    assert not is_key((point.x + prime).to_bytes(32), point.y.to_bytes(32))


def test_every_p256_signature_of_nist_is_judged_alike() -> None:
    judged = set()
    for record in fips("SigVer", "P-256,SHA-256"):
        message, x, y, r, s = (number(record[name]) for name in ("Msg", "Qx", "Qy", "R", "S"))
        low = min(int.from_bytes(s), P256_ORDER - int.from_bytes(s)).to_bytes(32)
        try:
            P256Key(x, y).verify(message, r + low)
            judged.add((record["Result"][0], True))
        except (BadKey, BadSignature):
            judged.add((record["Result"][0], False))
    assert judged == {("P", True), ("F", False)}


def test_rfc_8037_appendix_a_is_signed_and_verified_alike() -> None:
    secret = Ed25519Secret.from_bytes(b64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = b64url_decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
    assert secret.public.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert secret.sign(signed) == signature
    secret.public.verify(signed, signature)
