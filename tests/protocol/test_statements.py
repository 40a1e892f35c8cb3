"""Statements: the one way from bytes to trust, and every bent token that must not find it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import NotStrict
from crypto.keys import Ed25519Secret, P256Secret, SecretKey
from crypto.strict import b64url_encode
from protocol import limits
from protocol.chains import Known
from protocol.ids import instant, numeric
from protocol.keyset import KEYSET_TYP
from protocol.problems import PROBLEMS, Place, Refused
from protocol.sayings import KINDS, Proof, Rekey, Request, SealedPart, Supplement, Withdrawal
from protocol.statements import fresh, inner_of, key_of, named, problem_of, read, say
from protocol.terms import Role, Withdrawn
from tests.actors import (
    BENT,
    DAY,
    NOW,
    Bent,
    Chains,
    Mallory,
    Officer,
    Platform,
    claims_in,
    everything_said,
    fresh_jti,
    jwk_of,
    typ_in,
)

PLATFORM = Platform()
SOFT = Officer(PLATFORM)
CARD = Officer(PLATFORM, "us-fbi", P256Secret.generate(), country="US")
CHAINS = Chains(PLATFORM)
for officer in (SOFT, CARD):
    CHAINS.admitted(officer)
SAID, KNOWN = everything_said(PLATFORM, SOFT)
STORED = [typ for typ in KINDS if typ != KEYSET_TYP]  # the keyset is read under the pinned root alone
SIGNERS: dict[Role, SecretKey] = {
    Role.ROOT: PLATFORM.root,
    Role.GATEWAY: PLATFORM.gateway,
    Role.DESK: PLATFORM.desk.secret,
    Role.OPERATOR: PLATFORM.alice.secret,
    Role.REVIEWER: PLATFORM.carol.secret,
    Role.AUTHORITY: SOFT.secret,
}


def refusal(raw: bytes, known: Known = KNOWN) -> Refused:
    with pytest.raises(Refused) as found:
        read(raw, known, NOW)
    return found.value


def forged(raw: bytes, secret: SecretKey) -> bytes:
    """The same claims and kind, under another key."""
    return Mallory(secret).header(raw, kid=secret.public.id, alg=secret.algorithm)


# -- what is good ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typ", STORED)
def test_what_the_right_one_signs_is_read_and_kept_byte_for_byte(typ: str) -> None:
    statement = read(SAID[typ], KNOWN, NOW)
    assert (statement.raw, statement.typ) == (SAID[typ], typ)
    assert statement.holder.role is KINDS[typ].role
    assert type(statement.said) is KINDS[typ].model
    assert statement.issuer == statement.said.iss == claims_in(SAID[typ])["iss"]
    assert statement.known_as == (statement.said.iss, statement.said.jti)


@pytest.mark.parametrize("typ", STORED)
def test_what_is_read_says_the_same_again(typ: str) -> None:
    statement = read(SAID[typ], KNOWN, NOW)
    role = statement.holder.role if isinstance(statement.said, Proof) else None
    again = say(statement.said, SIGNERS[statement.holder.role], role=role)
    assert (typ_in(again), claims_in(again)) == (typ, claims_in(SAID[typ]))


def test_the_older_name_of_the_algorithm_is_read_too() -> None:
    raw = Mallory(SOFT.secret).header(SAID["rogatory-request+jwt"], alg="EdDSA")
    assert read(raw, KNOWN, NOW).issuer == SOFT.party


def test_a_statement_is_taken_for_its_own_kind_alone() -> None:
    statement = read(SAID["rogatory-request+jwt"], KNOWN, NOW)
    assert statement.saying(Request) is statement.said
    with pytest.raises(TypeError):
        statement.saying(Supplement)


# -- what is bent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asking", [SOFT, CARD], ids=["Ed25519", "ES256"])
@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
def test_a_bent_request_is_refused_with_its_code(asking: Officer, bent: Bent) -> None:
    raw = bent.bend(Mallory(asking.secret), asking.request().statement)
    assert refusal(raw, CHAINS.known(asking.party)).code == bent.code


@pytest.mark.parametrize("typ", STORED)
def test_no_bent_statement_of_any_kind_is_read(typ: str) -> None:
    mallory = Mallory(SIGNERS[KINDS[typ].role])
    for bent in BENT:
        raw = bent.bend(mallory, SAID[typ])
        if bent.name == "aud is another platform" and not KINDS[typ].to_platform:
            assert refusal(raw).code == "wrong-audience"
        assert refusal(raw).code in PROBLEMS, bent.name


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(raw: bytes) -> None:
    assert refusal(raw).code in PROBLEMS


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_no_changed_byte_is_read(at: int, change: int) -> None:
    raw = bytearray(SAID["rogatory-request+jwt"])
    raw[at % len(raw)] ^= change
    assert refusal(bytes(raw)).code in PROBLEMS


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_no_claims_make_the_reader_stumble(value: object) -> None:
    raw = SAID["rogatory-request+jwt"]
    assert refusal(Mallory(SOFT.secret).claims(raw, cover=value)).code in PROBLEMS


def test_a_refusal_names_the_places_and_never_the_values() -> None:
    raw = Mallory(SOFT.secret).claims(SAID["rogatory-request+jwt"], iat="canary", jti=["canary"], aud="canary\n")
    refused = refusal(raw)
    assert [place.pointer for place in refused.places] == ["/aud", "/iat", "/jti"]
    assert "canary" not in repr((refused.detail, refused.reason, refused.places))


def test_a_refusal_names_thirty_two_places_at_most() -> None:
    raw = Mallory(SOFT.secret).claims(SAID["rogatory-request+jwt"], **{f"m{n}": n for n in range(100)})
    assert len(refusal(raw).places) == 32


# -- who may say what -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typ", STORED)
@pytest.mark.parametrize("role", SIGNERS)
def test_each_kind_has_one_role_that_may_sign_it(role: Role, typ: str) -> None:
    raw = forged(SAID[typ], SIGNERS[role])
    if role is KINDS[typ].role:
        assert read(raw, KNOWN, NOW).typ == typ
    elif typ == "rogatory-application+jwt" or role is Role.ROOT:  # the one presents its key, the other is in no keyset
        assert refusal(raw).code == "key-unknown"
    else:
        assert refusal(raw).code == "key-role"


@pytest.mark.parametrize("typ", STORED)
def test_no_statement_passes_for_another_kind(typ: str) -> None:
    for other, row in KINDS.items():
        if row.model is not KINDS[typ].model:
            raw = Mallory(SIGNERS[KINDS[typ].role]).header(SAID[typ], typ=other)
            assert refusal(raw).code != "signature-invalid"


def test_a_kind_that_is_not_asked_for_is_not_taken() -> None:
    with pytest.raises(Refused) as found:
        read(SAID["rogatory-request+jwt"], KNOWN, NOW, kinds=("rogatory-receipt+jwt",))
    assert found.value.code == "type-refused"


def test_the_keyset_is_no_statement_of_the_platform_s_ordinary_keys() -> None:
    assert refusal(SAID[KEYSET_TYP]).code == "key-unknown"


def test_what_another_authority_signs_is_its_own() -> None:
    raw = Mallory(CARD.secret).claims(CARD.request().statement, iss=SOFT.party)
    assert refusal(raw, CHAINS.known(CARD.party)).code == "wrong-issuer"
    assert refusal(raw, CHAINS.known(SOFT.party)).code == "key-unknown"


def test_the_desk_speaks_to_authorities_and_the_gateway_to_the_desk_too() -> None:
    of = KNOWN.authority.application.digest if KNOWN.authority is not None else None
    assert of is not None
    assert read(PLATFORM.rejection(of, PLATFORM.id), KNOWN, NOW).said.aud == PLATFORM.id
    mallory = Mallory(PLATFORM.gateway)
    raw = mallory.claims(SAID["rogatory-receipt+jwt"], aud="other.example")
    assert refusal(raw).code == "wrong-audience"


# -- when a key counts ----------------------------------------------------------------------------------------------------


def test_a_key_counts_from_its_first_second_until_before_its_last() -> None:
    key = PLATFORM.key(Role.GATEWAY, "gateway", PLATFORM.gateway.public)
    raw = SAID["rogatory-receipt+jwt"]
    assert read(raw, KNOWN, instant(key.since)).holder.role is Role.GATEWAY
    assert read(raw, KNOWN, instant(key.until) - timedelta(microseconds=1)).holder.role is Role.GATEWAY
    for at in (instant(key.since) - timedelta(microseconds=1), instant(key.until)):
        with pytest.raises(Refused) as found:
            read(raw, KNOWN, at)
        assert found.value.code == "key-not-active"


def test_who_signs_with_an_ended_key_learns_when_it_ended() -> None:
    with pytest.raises(Refused) as found:
        read(SAID["rogatory-receipt+jwt"], KNOWN, NOW + timedelta(days=500))
    assert "This one was valid until 2027-12-23T" in found.value.detail
    with pytest.raises(Refused) as found:
        read(SAID["rogatory-receipt+jwt"], KNOWN, NOW - timedelta(days=1))
    assert "until" not in found.value.detail


def test_a_receipt_is_read_at_its_own_time_when_no_other_dates_it() -> None:
    mallory, raw = Mallory(PLATFORM.gateway), SAID["rogatory-receipt+jwt"]
    assert read(raw, KNOWN, None).said.iat == numeric(NOW)
    for moved in (-DAY, 500 * DAY):
        with pytest.raises(Refused) as found:
            read(mallory.claims(raw, iat=numeric(NOW) + moved), KNOWN, None)
        assert found.value.code == "key-not-active"


def test_an_application_s_key_counts_from_when_it_is_read() -> None:
    raw = SAID["rogatory-application+jwt"]
    assert read(raw, KNOWN, NOW + timedelta(minutes=1)).holder.since == NOW + timedelta(minutes=1)
    assert read(raw, KNOWN, None).holder.since == NOW


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (limits.FRESH, "stale"),
        (limits.FRESH - timedelta(seconds=1), None),
        (timedelta(0), None),
        (-limits.LEEWAY, None),
        (-limits.LEEWAY - timedelta(seconds=1), "from-the-future"),
    ],
)
def test_a_statement_is_fresh_for_five_minutes(age: timedelta, code: str | None) -> None:
    statement = read(SAID["rogatory-request+jwt"], KNOWN, NOW)
    if code is None:
        fresh(statement, NOW + age)
        return
    with pytest.raises(Refused) as found:
        fresh(statement, NOW + age)
    assert found.value.code == code


def test_a_proof_is_fresh_for_a_minute() -> None:
    statement = read(SAID["rogatory-proof+jwt"], KNOWN, NOW)
    fresh(statement, NOW + limits.PROOF - timedelta(seconds=1), within=limits.PROOF)
    with pytest.raises(Refused):
        fresh(statement, NOW + limits.PROOF, within=limits.PROOF)


# -- applications and new keys --------------------------------------------------------------------------------------------


def test_an_application_proves_one_of_the_keys_that_it_presents() -> None:
    spare = Ed25519Secret.generate()
    both = Officer(PLATFORM, "kr-spo", spare).application(signing=(jwk_of(SOFT.secret.public), jwk_of(spare.public)))
    assert read(both, KNOWN, NOW).holder.key == spare.public


def test_an_application_s_country_is_that_of_its_id() -> None:
    refused = refusal(Officer(PLATFORM, "us-nypd", country="CA").application())
    assert (refused.code, refused.places) == ("invalid-member", (Place("/iss", "the country first"),))


def test_a_key_off_its_curve_is_not_presented() -> None:
    small = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(b"\1" + bytes(31))}
    raw = Mallory(SOFT.secret).claims(SAID["rogatory-application+jwt"], signing=[small])
    assert (refusal(raw).code, refusal(raw).reason) == ("invalid-member", "point-refused")


def test_a_queue_key_does_not_sign() -> None:
    with pytest.raises(Refused) as found:
        key_of(jwk_of(PLATFORM.gateway_queue.public))
    assert found.value.code == "invalid-member"


def a_rekey(**members: object) -> Rekey:
    new = Ed25519Secret.generate()
    said = read(SOFT.rekey(new), KNOWN, NOW).saying(Rekey)
    return said.model_copy(update=members)


def test_the_inner_statement_names_the_new_key_that_signed_it() -> None:
    new = P256Secret.generate()
    assert inner_of(read(SOFT.rekey(new), KNOWN, NOW).saying(Rekey)) == new.public.id


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"inner": None}, "missing-member"),
        ({"inner": SAID["rogatory-request+jwt"].decode()}, "type-refused"),
        ({"inner": "not.a.token"}, "token-form"),
        ({"inner": forged(SOFT.rekey(Ed25519Secret.generate()), SOFT.secret).decode()}, "key-unknown"),
        ({"jti": fresh_jti()}, "invalid-member"),
    ],
    ids=["none", "another kind", "no token", "by a key that is not presented", "other claims"],
)
def test_an_inner_statement_that_proves_nothing_is_refused(members: dict[str, object], code: str) -> None:
    with pytest.raises(Refused) as found:
        inner_of(a_rekey(**members))
    assert found.value.code == code


def test_an_inner_statement_with_a_broken_signature_is_refused() -> None:
    said = a_rekey()
    assert said.inner is not None
    with pytest.raises(Refused) as found:
        inner_of(said.model_copy(update={"inner": Mallory.flipped(said.inner.encode(), 2).decode()}))
    assert found.value.code == "signature-invalid"


# -- saying, naming -------------------------------------------------------------------------------------------------------


def test_a_proof_is_said_in_a_role_and_nothing_else_is() -> None:
    said = Proof(**SOFT.common(htm="GET", htu="https://gateway.example/v1"))
    kinds = {role: typ_in(say(said, SOFT.secret, role=role)) for role in (Role.AUTHORITY, Role.DESK, Role.OPERATOR)}
    assert sorted(kinds.values()) == ["rogatory-desk-proof+jwt", "rogatory-operator-proof+jwt", "rogatory-proof+jwt"]
    with pytest.raises(KeyError):
        say(said, SOFT.secret)
    with pytest.raises(KeyError):
        say(said, SOFT.secret, role=Role.GATEWAY)


def test_a_member_that_is_not_there_is_not_written() -> None:
    assert "webhook" not in claims_in(SAID["rogatory-application+jwt"])


def test_a_statement_is_named_by_its_issuer_and_id_before_anyone_believes_it() -> None:
    raw = Mallory(SOFT.secret).claims(SAID["rogatory-request+jwt"], iss="zz-mallory", jti="x")
    name = named(raw)
    assert (name.issuer, name.jti) == ("zz-mallory", "x")
    assert name.digest == named(raw).digest != named(SAID["rogatory-request+jwt"]).digest


@pytest.mark.parametrize(
    ("claims", "code", "pointers"),
    [
        (b"{}", "missing-member", ["/iss", "/jti"]),
        (b'{"iss":"kr-knpa"}', "missing-member", ["/jti"]),
        (b'{"iss":1,"jti":"x"}', "invalid-member", ["/jti", "/iss"]),
        (b'{"iss":"kr-knpa","jti":["x"]}', "invalid-member", ["/jti", "/iss"]),
        (b'{"jti":"x","jti":"y"}', "doubled-member", []),
        (b"[", "not-json", []),
    ],
)
def test_what_has_no_name_is_refused(claims: bytes, code: str, pointers: list[str]) -> None:
    with pytest.raises(Refused) as found:
        named(Mallory(SOFT.secret).payload(SAID["rogatory-request+jwt"], claims))
    assert found.value.code == code
    assert [place.pointer for place in found.value.places] == pointers


@pytest.mark.parametrize(
    ("flaw", "code"), [("doubled-member", "doubled-member"), ("not-utf8", "not-utf8"), ("surrogate", "not-json")]
)
def test_a_body_that_is_not_strict_is_told_why(flaw: str, code: str) -> None:
    refused = problem_of(NotStrict(flaw))
    assert (refused.code, refused.reason) == (code, f"body {flaw}")


def test_a_withdrawal_s_claims_are_its_members_and_no_more() -> None:
    said = Withdrawal(**SOFT.common(case="01a1ee56-5e00-8644-b836-edcc4521e310", why=Withdrawn.MISTAKEN))
    assert claims_in(say(said, SOFT.secret)).keys() == {"iss", "aud", "iat", "jti", "case", "why"}


def test_a_sealed_part_is_named_by_the_digest_of_what_was_sent() -> None:
    sent = SOFT.request()
    part = read(sent.statement, KNOWN, NOW).saying(Request).particulars
    assert isinstance(part, SealedPart)
    assert part.size == len(sent.sealed)
