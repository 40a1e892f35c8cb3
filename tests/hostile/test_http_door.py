"""Everything bad that can be sent to the gateway's door, a row each: with its code, and nothing is kept of it.

One real gateway on a loopback port serves the whole table. A row passes when the answer is one problem document with the code that
the row names, and the record, the outbox and the folder of blobs are what they were before.
"""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from crypto.keys import Ed25519Secret, P256Secret
from protocol import limits
from protocol.ids import CaseId, digest_of
from protocol.sayings import KINDS, Blob, Stage, Standing
from tests.actors import BENT, Bent, Chains, Mallory, Officer, Platform, claims_in
from tests.gateway.doorstep import URL, Doorstep, doorstep

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
POSTS = ("/v1/authorities", "/v1/authorities/kr-knpa-cyber/statements", "/v1/cases", "/v1/cases/{case}/statements")
TAKEN = {
    "/v1/authorities": {"application"},
    "/v1/authorities/kr-knpa-cyber/statements": {"rekey", "admission", "standing"},
    "/v1/cases": {"request"},
    "/v1/cases/{case}/statements": {"supplement", "withdrawal", "acknowledgement"},
}
# What a door that reads the body first says of a statement of no length, or of more than it takes.
AT_THE_DOOR = {
    "nothing": "invalid-member",
    "too large": "invalid-member",
    "100,000 levels of nesting": "too-large",
}


class Scene(NamedTuple):
    """A gateway that has two active authorities, one that waits, one that is suspended, and a case of the first."""

    gate: Doorstep
    officer: Officer
    p256: Officer
    stranger: Officer
    pending: Officer
    suspended: Officer
    case: CaseId


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with doorstep(tmp_path_factory.mktemp("gate"), Platform(post_quantum=False), burst=100_000) as gate:
        officer = await gate.admitted(Officer(gate.platform))
        p256 = await gate.admitted(Officer(gate.platform, "fr-parquet-paris", P256Secret.generate(), "FR"))
        stranger = await gate.admitted(Officer(gate.platform, "us-fbi", country="US"))
        suspended = await gate.admitted(Officer(gate.platform, "de-bka", country="DE"))
        standing = gate.platform.alice.standing(suspended.party, Standing.SUSPENDED)
        assert (await gate.post(f"/v1/authorities/{suspended.party}/statements", standing)).status == 201
        pending = Officer(gate.platform, "it-ros", country="IT")
        assert (await gate.post("/v1/authorities", pending.application())).status == 201
        case = await gate.opened(officer)
        yield Scene(gate, officer, p256, stranger, pending, suspended, case)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_is_kept(scene: Scene) -> AsyncIterator[None]:
    """Of no row of these tables, whatever it sent, is anything left."""
    before = await scene.gate.kept()
    yield
    assert await scene.gate.kept() == before


def body(statement: bytes | str, sealed: bytes | None = None, **members: Any) -> bytes:
    told: dict[str, Any] = {"statement": statement.decode() if isinstance(statement, bytes) else statement}
    if sealed is not None:
        told["sealed"] = base64.b64encode(sealed).decode()
    return json.dumps(told | members).encode()


# the token, and what it claims


@pytest.mark.parametrize("key", ["Ed25519", "ES256"])
@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
async def test_a_bent_request_is_refused(scene: Scene, bent: Bent, key: str) -> None:
    officer = scene.officer if key == "Ed25519" else scene.p256
    sent = officer.request()
    got = await scene.gate.post("/v1/cases", bent.bend(Mallory(officer.secret), sent.statement), sent.sealed)
    assert got.code == AT_THE_DOOR.get(bent.name, bent.code), got.body


@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
async def test_a_bent_admission_is_refused(scene: Scene, bent: Bent) -> None:
    found = scene.gate.gateway.registry.find(scene.pending.party)
    assert found is not None
    alice = scene.gate.platform.alice
    raw = bent.bend(Mallory(alice.secret), alice.admission(found))
    got = await scene.gate.post(f"/v1/authorities/{scene.pending.party}/statements", raw)
    expected = {AT_THE_DOOR.get(bent.name, bent.code)}
    if bent.name == "a bit of the claims":  # here it falls on a quotation mark
        expected.add("not-json")
    assert got.code in expected, got.body


SIGNERS: dict[str, tuple[Callable[[Scene], Any], str]] = {
    "a key that nobody registered": (lambda _: Ed25519Secret.generate(), "key-unknown"),
    "another authority's key": (lambda scene: scene.stranger.secret, "wrong-issuer"),
    "the gateway's key": (lambda scene: scene.gate.platform.gateway, "key-role"),
    "the desk's key": (lambda scene: scene.gate.platform.desk.secret, "key-role"),
    "an operator's key": (lambda scene: scene.gate.platform.alice.secret, "key-role"),
    "a reviewer's key": (lambda scene: scene.gate.platform.carol.secret, "key-role"),
    "the root's key": (lambda scene: scene.gate.platform.root, "key-unknown"),
}


@pytest.mark.parametrize("name", SIGNERS)
async def test_a_request_under_a_key_of_somebody_else_is_refused(scene: Scene, name: str) -> None:
    choose, code = SIGNERS[name]
    forger = Officer(scene.gate.platform, scene.officer.name, choose(scene))
    assert (await scene.gate.post("/v1/cases", *forger.request())).code == code


async def test_a_foreign_kid_over_an_own_signature_is_refused(scene: Scene) -> None:
    sent = scene.stranger.request(members={"iss": scene.officer.party})
    raw = Mallory(scene.stranger.secret).header(sent.statement, kid=scene.officer.secret.public.id)
    assert (await scene.gate.post("/v1/cases", raw, sent.sealed)).code == "signature-invalid"


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(minutes=5), "stale"),
        (timedelta(days=900), "stale"),
        (-timedelta(seconds=61), "from-the-future"),
        (-timedelta(days=365 * 900), "from-the-future"),
    ],
)
async def test_a_request_of_another_time_is_refused(scene: Scene, age: timedelta, code: str) -> None:
    sent = scene.officer.request(now=scene.gate.clock.at)
    raw = Mallory(scene.officer.secret).claims(
        sent.statement, iat=claims_in(sent.statement)["iat"] - int(age.total_seconds())
    )
    assert (await scene.gate.post("/v1/cases", raw, sent.sealed)).code == code


async def test_a_used_jti_under_other_bytes_is_refused(scene: Scene) -> None:
    withdrawn = await first_request(scene)
    raw = Mallory(scene.officer.secret).claims(
        withdrawn, aud=scene.gate.platform.id, iat=claims_in(withdrawn)["iat"] + 1
    )
    assert (await scene.gate.post("/v1/cases", raw)).code == "jti-reused"


async def test_the_same_bytes_again_give_the_same_receipt_and_no_second_case(scene: Scene) -> None:
    raw = await first_request(scene)
    one, two = await scene.gate.post("/v1/cases", raw), await scene.gate.post("/v1/cases", raw)
    assert (one.status, one.body) == (200, two.body)


async def first_request(scene: Scene) -> bytes:
    rows = await scene.gate.gateway.store.chain(scene.case)
    assert rows[0].statement is not None
    return rows[0].statement


@pytest.mark.parametrize(
    ("path", "typ"),
    [(path, typ) for path in POSTS for typ in KINDS if typ[len("rogatory-") : -len("+jwt")] not in TAKEN[path]],
)
async def test_a_kind_is_taken_at_its_own_address_alone(scene: Scene, path: str, typ: str) -> None:
    raw = Mallory(scene.officer.secret).header(scene.officer.withdrawal(scene.case), typ=typ)
    assert (await scene.gate.post(path.format(case=scene.case), raw)).code == "type-refused"


async def test_what_gateway_and_desk_sign_is_not_taken_at_the_door(scene: Scene) -> None:
    chains = Chains(scene.gate.platform)
    chains.admitted(scene.officer)
    case = chains.opened(scene.officer)
    receipt = chains.note(case.id, Stage.OVERDUE, now=scene.gate.clock.at + timedelta(days=11)).receipt
    desk = scene.gate.platform.desk
    for raw in (receipt, desk.acceptance(case), scene.gate.platform.keyset_raw, desk.proof("GET", URL + "/v1/cases")):
        for path in POSTS:
            assert (await scene.gate.post(path.format(case=scene.case), raw)).code == "type-refused"


# who may ask


async def test_an_authority_that_is_not_active_asks_nothing(scene: Scene) -> None:
    for officer in (scene.pending, scene.suspended):
        assert (await scene.gate.post("/v1/cases", *officer.request())).code == "authority-not-active"


async def test_an_authority_that_never_applied_asks_nothing(scene: Scene) -> None:
    nobody = Officer(scene.gate.platform, "xx-nobody", country="XX")
    assert (await scene.gate.post("/v1/cases", *nobody.request())).code == "key-unknown"


async def test_another_authoritys_case_does_not_exist(scene: Scene) -> None:
    path, stranger = f"/v1/cases/{scene.case}", scene.stranger
    for raw, sealed in (
        (stranger.withdrawal(scene.case), None),
        stranger.supplement(scene.case),
        (stranger.acknowledgement(await scene.gate.case(scene.case)), None),
    ):
        assert (await scene.gate.post(path + "/statements", raw, sealed)).code == "not-found"
    nowhere = CaseId("01a00000-0000-8000-8000-000000000000")
    other = await scene.gate.post(path + "/statements", stranger.withdrawal(scene.case))
    none = await scene.gate.post(f"/v1/cases/{nowhere}/statements", stranger.withdrawal(nowhere))
    assert other.body == none.body
    for below in ("", "/statements", "/file"):
        assert (await scene.gate.get(path + below, stranger)).code == "not-found"


async def test_a_statement_of_one_case_under_the_address_of_another_is_not_found(scene: Scene) -> None:
    other = CaseId("01a00000-0000-8000-8000-000000000000")
    withdrawal = scene.officer.withdrawal(scene.case)
    assert (await scene.gate.post(f"/v1/cases/{other}/statements", withdrawal)).code == "not-found"
    assert (await scene.gate.post(f"/v1/cases/{other}/statements", scene.officer.withdrawal(other))).code == "not-found"


REGISTRY: dict[str, tuple[Callable[[Scene], bytes], str]] = {
    "the authority confirms itself": (
        lambda s: Mallory(s.pending.secret).header(
            s.gate.platform.alice.admission(_found(s)), kid=s.pending.secret.public.id
        ),
        "key-role",
    ),
    "wrong words": (
        lambda s: s.gate.platform.alice.admission(_found(s), words="abandon " * 9 + "abandon"),
        "words-wrong",
    ),
    "no words": (lambda s: s.gate.platform.alice.admission(_found(s), words="x"), "words-wrong"),
    "another application": (
        lambda s: s.gate.platform.alice.admission(_found(s), application=digest_of(b"another")),
        "digest-mismatch",
    ),
    "a reviewer confirms": (
        lambda s: Mallory(s.gate.platform.carol.secret).header(
            s.gate.platform.alice.admission(_found(s)), kid=s.gate.platform.carol.secret.public.id
        ),
        "key-role",
    ),
    "restored without having been suspended": (
        lambda s: s.gate.platform.alice.standing(s.pending.party, Standing.ACTIVE),
        "impossible",
    ),
    "rekeyed before it was confirmed": (lambda s: s.pending.rekey(Ed25519Secret.generate()), "impossible"),
    "rekeyed by another": (
        lambda s: Mallory(s.stranger.secret).header(
            s.pending.rekey(Ed25519Secret.generate()), kid=s.stranger.secret.public.id
        ),
        "wrong-issuer",
    ),
}


def _found(scene: Scene) -> Any:
    return scene.gate.gateway.registry.find(scene.pending.party)


@pytest.mark.parametrize("name", REGISTRY)
async def test_a_registry_statement_that_may_not_be_is_refused(scene: Scene, name: str) -> None:
    make, code = REGISTRY[name]
    got = await scene.gate.post(f"/v1/authorities/{scene.pending.party}/statements", make(scene))
    assert got.code == code, got.body


async def test_a_rekey_that_does_not_prove_the_new_key_is_refused(scene: Scene) -> None:
    forged = scene.officer.rekey(Ed25519Secret.generate(), by=scene.officer.secret)
    path = f"/v1/authorities/{scene.officer.party}/statements"
    assert (await scene.gate.post(path, forged)).code == "key-unknown"
    bare = scene.officer.rekey(Ed25519Secret.generate(), inner=None)
    assert (await scene.gate.post(path, bare)).code == "missing-member"


SMALL_ORDER = (  # the eight points of small order, and their non-canonical spellings (RFC 8032 §5.1.3)
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point[:4] + "…" + point[-2:])
async def test_a_key_of_small_order_or_of_another_spelling_cannot_apply(scene: Scene, point: str) -> None:
    scene.gate.forward(minutes=1)  # applications are counted by address
    x = base64.urlsafe_b64encode(bytes.fromhex(point)).rstrip(b"=").decode()
    applicant = Officer(scene.gate.platform, "xx-mallory", country="XX")
    bad = {"kty": "OKP", "crv": "Ed25519", "x": x}
    good = applicant.secret.public.jwk()
    for keys in ([bad], [good, bad], [bad, good]):
        raw = Mallory(applicant.secret).claims(applicant.application(), signing=keys)
        assert (await scene.gate.post("/v1/authorities", raw)).code == "invalid-member"


APPLICATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "country of another": ({"country": "US"}, "invalid-member"),
    "country in small letters": ({"country": "xx"}, "invalid-member"),
    "no key": ({"signing": []}, "invalid-member"),
    "no sealing key": ({"sealing": []}, "invalid-member"),
    "a private member in the key": (
        {"signing": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "d": "A" * 43}]},
        "unknown-member",
    ),
    "an RSA key": ({"signing": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}, "unknown-member"),
    "a point off the curve": (
        {"signing": [{"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}]},
        "invalid-member",
    ),
    "the platform's id": ({"iss": "tg.example"}, "invalid-member"),
    "a control character in the name": ({"name": "Police\u0000"}, "invalid-member"),
    "a line separator in the name": ({"name": "Police\u2028"}, "invalid-member"),
    "a webhook without TLS": ({"webhook": "http://127.0.0.1/"}, "invalid-member"),
    "a file as webhook": ({"webhook": "file:///etc/passwd"}, "invalid-member"),
}


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_a_bent_application_is_refused(scene: Scene, name: str) -> None:
    scene.gate.forward(minutes=1)
    members, code = APPLICATIONS[name]
    applicant = Officer(scene.gate.platform, "xx-mallory", country="XX")
    raw = Mallory(applicant.secret).claims(applicant.application(), **members)
    assert (await scene.gate.post("/v1/authorities", raw)).code == code


async def test_nobody_applies_under_a_taken_name_or_with_a_taken_key(scene: Scene) -> None:
    thief = Officer(scene.gate.platform, scene.officer.name)
    assert (await scene.gate.post("/v1/authorities", thief.application())).code == "authority-exists"
    twin = Officer(scene.gate.platform, "kr-twin", scene.officer.secret)
    assert (await scene.gate.post("/v1/authorities", twin.application())).code == "invalid-member"


# the law, and what comes beside a statement

COVERS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown framework": ({"framework": "xx.nothing"}, "framework-unknown"),
    "unknown entity": ({"entity": "moon"}, "entity-unknown"),
    "sealed to nobody of ours": ({"recipients": ["age1" + "q" * 58]}, "recipient-unknown"),
    "a blob that is not here": ({"blobs": (Blob(sha256="0" * 64, size=3),)}, "blob-missing"),
}


@pytest.mark.parametrize("name", COVERS)
async def test_a_request_outside_of_what_is_open_is_refused(scene: Scene, name: str) -> None:
    how, code = COVERS[name]
    if "recipients" in how:
        how = {"recipients": [scene.stranger.recipient]}
    elif "entity" in how:
        how = how | {"recipients": [scene.gate.platform.desk.recipient]}
    assert (await scene.gate.post("/v1/cases", *scene.officer.request(**how))).code == code


async def test_the_sealed_part_is_the_one_that_was_signed(scene: Scene) -> None:
    sent = scene.officer.request()
    flipped = bytes((*sent.sealed[:-1], sent.sealed[-1] ^ 1))
    for sealed, code in (
        (None, "sealed-missing"),
        (flipped, "digest-mismatch"),
        (sent.sealed + b"\n", "digest-mismatch"),
        (scene.stranger.request().sealed, "digest-mismatch"),
    ):
        assert (await scene.gate.post("/v1/cases", sent.statement, sealed)).code == code
    withdrawal = scene.officer.withdrawal(scene.case)
    path = f"/v1/cases/{scene.case}/statements"
    assert (await scene.gate.post(path, withdrawal, b"sealed")).code == "sealed-unexpected"


# the body

DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not-json"),
    "no JSON": (b"statement=x", "not-json"),
    "a list": (b"[]", "not-json"),
    "a text": (b'"x"', "not-json"),
    "two objects": (b"{}{}", "not-json"),
    "a comment": (b'{"statement":"x"/**/}', "not-json"),
    "a trailing comma": (b'{"statement":"x",}', "not-json"),
    "not UTF-8": (b'{"statement":"\xff"}', "not-utf8"),
    "UTF-16": ('{"statement":"x"}'.encode("utf-16"), "not-utf8"),
    "a byte order mark": (b'\xef\xbb\xbf{"statement":"x"}', "not-json"),
    "a lone surrogate": (b'{"statement":"\\ud800"}', "not-json"),
    "a surrogate in raw bytes": (b'{"statement":"\xed\xa0\x80"}', "not-utf8"),
    "doubled member": (b'{"statement":"x","statement":"y"}', "doubled-member"),
    "doubled by an escape": (b'{"statement":"x","\\u0073tatement":"y"}', "doubled-member"),
    "100,000 levels": (DEEP, "too-deep"),
    "100,000 levels in a member": (b'{"statement":' + DEEP + b"}", "too-deep"),
    "40,000 objects": (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "too-deep"),
    "an integer of 5,000 digits": (b'{"statement":' + b"1" * 5_000 + b"}", "number-refused"),
    "NaN": (b'{"statement":NaN}', "number-refused"),
    "infinity": (b'{"statement":-Infinity}', "number-refused"),
    "a fraction": (b'{"statement":1.5}', "number-refused"),
    "no statement": (b"{}", "missing-member"),
    "a number as statement": (b'{"statement":7}', "invalid-member"),
    "null as statement": (b'{"statement":null}', "invalid-member"),
    "an unknown member": (b'{"statement":"x","role":"operator"}', "unknown-member"),
    "a prototype": (b'{"statement":"x","__proto__":{}}', "unknown-member"),
    "a letter beyond ASCII in the statement": ('{"statement":"é.é.é"}'.encode(), "token-form"),
    "over the limit": (b'{"statement":"' + b"x" * limits.BODY + b'"}', "too-large"),
}


@pytest.mark.parametrize("path", ["/v1/cases", "/v1/authorities"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_not_strict_json_of_the_form_is_refused(scene: Scene, path: str, name: str) -> None:
    scene.gate.forward(seconds=2)
    raw, code = BODIES[name]
    assert (await scene.gate.send(path, raw)).code == code


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity", "x"])
async def test_an_encoded_body_is_refused(scene: Scene, coding: str) -> None:
    sent = scene.officer.request()
    for raw in (gzip.compress(body(*sent)), gzip.compress(b"0" * 100_000_000, 9)):
        assert (await scene.gate.send("/v1/cases", raw, Content_Encoding=coding)).code == "encoding-refused"


async def test_a_body_over_the_limit_is_refused_in_chunks_too(scene: Scene) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limits.BODY // 1_000 + 1):
            yield b" " * 1_000

    got = await scene.gate.ask("POST", "/v1/cases", data=chunks(), headers={"Content-Type": JSON})
    assert got.code == "too-large"


# proofs


async def test_a_proof_of_another_request_reads_nothing(scene: Scene) -> None:
    path = f"/v1/cases/{scene.case}"
    mine = scene.officer
    for proof, code in (
        (mine.proof("GET", URL + "/v1/cases"), "proof-invalid"),
        (mine.proof("PUT", URL + path), "proof-invalid"),
        (mine.proof("GET", "https://evil.example" + path), "proof-invalid"),
        (mine.proof("GET", URL + path, scene.gate.clock.at - timedelta(seconds=60)), "stale"),
        (mine.request().statement, "type-refused"),
        (Mallory.flipped(mine.proof("GET", URL + path), 2), "signature-invalid"),
        (Mallory(mine.secret).unsigned(mine.proof("GET", URL + path)), "algorithm-refused"),
        (scene.gate.platform.alice.proof("GET", URL + path), "type-refused"),
    ):
        got = await scene.gate.ask("GET", path, headers={"Authorization": "Proof " + proof.decode()})
        assert got.code == code
    once = {"Authorization": "Proof " + mine.proof("GET", URL + path).decode()}
    assert (await scene.gate.ask("GET", path, headers=once)).status == 200
    assert (await scene.gate.ask("GET", path, headers=once)).code == "proof-reused"


# the wire


def smuggled(scene: Scene) -> bytes:
    """A whole good request, to be hidden in another's body: were it seen, a case would be there."""
    told = body(*scene.officer.request())
    head = f"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {len(told)}\r\n\r\n"
    return head.encode() + told


def post(*fields: str, target: str = "/v1/cases", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join((f"POST {target} {version}", "Host: x", f"Content-Type: {JSON}", *fields, "", "")).encode()


def chunked(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"


WIRE: dict[str, Callable[[bytes], bytes]] = {
    "length and chunked": lambda hidden: (
        post("Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden
    ),
    "chunked and length": lambda hidden: (
        post("Transfer-Encoding: chunked", "Content-Length: 4") + b"0\r\n\r\n" + hidden
    ),
    "two lengths": lambda hidden: post("Content-Length: 0", f"Content-Length: {len(hidden)}") + hidden,
    "two equal lengths": lambda hidden: post("Content-Length: 2", "Content-Length: 2") + b"{}" + hidden,
    "a list of lengths": lambda hidden: post("Content-Length: 2, 2") + b"{}" + hidden,
    "a signed length": lambda hidden: post("Content-Length: +2") + b"{}" + hidden,
    "a negative length": lambda hidden: post("Content-Length: -2") + hidden,
    "a hex length": lambda hidden: post("Content-Length: 0x2") + b"{}" + hidden,
    "a length that runs over": lambda hidden: post(f"Content-Length: {2**64 + 2}") + b"{}" + hidden,
    "two codings": lambda hidden: (
        post("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked(b"{}") + hidden
    ),
    "chunked twice": lambda hidden: post("Transfer-Encoding: chunked, chunked") + chunked(b"{}") + hidden,
    "another coding": lambda hidden: post("Transfer-Encoding: xchunked") + chunked(b"{}") + hidden,
    "identity": lambda hidden: post("Transfer-Encoding: identity") + chunked(b"{}") + hidden,
    "gzip and chunked": lambda hidden: (
        post("Transfer-Encoding: gzip, chunked") + chunked(gzip.compress(b"{}")) + hidden
    ),
    "space before the colon": lambda hidden: post("Transfer-Encoding : chunked") + chunked(b"{}") + hidden,
    "a folded field": lambda hidden: post("Transfer-Encoding:", " chunked") + chunked(b"{}") + hidden,
    "a bare line feed": lambda hidden: post("Content-Length: 2\nTransfer-Encoding: chunked") + chunked(b"{}") + hidden,
    "a bad chunk size": lambda hidden: post("Transfer-Encoding: chunked") + b"2x\r\n{}\r\n0\r\n\r\n" + hidden,
    "a chunk size that runs over": lambda hidden: (
        post("Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n{}\r\n" + hidden
    ),
    "a negative chunk size": lambda hidden: post("Transfer-Encoding: chunked") + b"-2\r\n{}\r\n0\r\n\r\n" + hidden,
    "two hosts": lambda hidden: post("Host: y", "Content-Length: 2") + b"{}" + hidden,
    "an absolute target of another host": lambda hidden: (
        post("Content-Length: 2", target="http://evil.example/v1/cases") + b"{}" + hidden
    ),
    "chunked in HTTP/1.0": lambda hidden: (
        post("Transfer-Encoding: chunked", version="HTTP/1.0") + chunked(b"{}") + hidden
    ),
}


@pytest.mark.parametrize("name", WIRE)
async def test_a_request_that_two_readers_would_read_differently_hides_nothing(scene: Scene, name: str) -> None:
    """One answer at most is a refusal of the outer request; the hidden one opens no case (see `nothing_is_kept`)."""
    came = await scene.gate.wire(WIRE[name](smuggled(scene)), patience=0.6)
    assert came.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), came[:200]
    assert b" 201 " not in came
    assert b"application/problem+json" in came
    assert b"text/plain" not in came


async def test_a_get_with_a_body_hides_nothing(scene: Scene) -> None:
    hidden = smuggled(scene)
    head = f"GET /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n".encode()
    came = await scene.gate.wire(head + hidden, patience=0.6)
    assert came.startswith(b"HTTP/1.1 413 ")
    assert came.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_is_cut_is_kept_by_nobody(scene: Scene) -> None:
    told = body(*scene.officer.request())
    reader_gone = post(f"Content-Length: {len(told) + 1}") + told
    await scene.gate.wire(reader_gone, patience=0.2)
    await scene.gate.wire(post("Transfer-Encoding: chunked") + f"{len(told) + 9:x}\r\n".encode() + told, patience=0.2)


TRICKS = (
    "/v1/cases/../../etc/passwd",
    "/v1/cases/..%2f..%2fetc%2fpasswd",
    "/v1/cases/%00",
    "/v1/cases/{case}%00",
    "/v1/cases/{case}/",
    "/v1/cases/{case}/../{case}",
    "/v1/cases/{case};x",
    "/v1//cases/{case}",
    "/v1/cases/{case}.json",
    "/v1/cases/{case}%20",
    "/v1/cases/'%20OR%201=1",
    "/v1/blobs/../../gateway.db",
    "/v1/blobs/..%5c..%5cgateway.db",
    "/v1/authorities/kr-knpa-cyber/../us-fbi",
    "/.well-known/../v1",
    "/openapi.json/..",
)


@pytest.mark.parametrize("path", TRICKS)
async def test_an_address_with_tricks_is_not_found(scene: Scene, path: str) -> None:
    asked = path.format(case=scene.case)
    assert (await scene.gate.get(asked, scene.officer)).code == "not-found"
    assert (await scene.gate.ask("PUT", asked, scene.officer, data=b"x")).code in {"not-found", "method-not-allowed"}
