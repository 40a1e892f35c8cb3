"""What may be said: closed models, each rule by what breaks it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crypto.keys import Ed25519Secret, X25519Secret
from protocol import limits, sayings, terms
from protocol.ids import NotAnId, parse_authority_id, parse_case_id, parse_digest, parse_jti, parse_platform_id
from protocol.sayings import KINDS, Chain
from protocol.terms import Closed, Role
from tests.actors import NOW, Officer, Platform, claims_in, everything_said

PLATFORM = Platform()
SAID, _ = everything_said(PLATFORM, Officer(PLATFORM))
RECIPIENT = PLATFORM.desk.recipient
ED = Ed25519Secret.generate().public.jwk()
X = X25519Secret.generate().public.jwk()
D0, D1 = "0" * 64, "1" * 64
K0, K1 = "A" * 43, "B" * 42 + "A"
PART = {"sha256": D0, "size": 1, "recipients": [K0]}
KEY = {"role": "gateway-signing", "name": "gateway", "since": 1_795_000_000, "until": 1_795_000_001, "jwk": ED}


def with_claims(kind: str, **members: Any) -> dict[str, Any]:
    """The claims of a good statement of a kind, some of them replaced; `...` takes a member out."""
    found = claims_in(SAID[f"rogatory-{kind}+jwt"]) | members
    return {name: value for name, value in found.items() if value is not ...}


def fits(kind: str, **members: Any) -> bool:
    model = KINDS[f"rogatory-{kind}+jwt"].model
    try:
        TypeAdapter(model).validate_json(TypeAdapter(dict[str, Any]).dump_json(with_claims(kind, **members)))
    except ValidationError:
        return False
    return True


DISCLOSED: dict[str, Any] = with_claims("decision")
NO_DATA = {"outcome": "no_data", "disclosures": ..., "categories": ..., "accounts": 0}
REFUSED = NO_DATA | {"outcome": "refused", "ground": "impossible"}
UNCLEAR = NO_DATA | {"outcome": "clarification_needed", "ground": "impossible"}


@pytest.mark.parametrize("typ", KINDS)
def test_a_good_statement_of_each_kind_fits_its_model(typ: str) -> None:
    assert fits(typ.removeprefix("rogatory-").removesuffix("+jwt"))


@pytest.mark.parametrize("typ", KINDS)
def test_every_model_is_closed_strict_and_frozen(typ: str) -> None:
    kind = typ.removeprefix("rogatory-").removesuffix("+jwt")
    assert not fits(kind, extra=1)
    assert not fits(kind, iat=str(claims_in(SAID[typ])["iat"]))
    said = KINDS[typ].model.model_validate_json(TypeAdapter(dict[str, Any]).dump_json(claims_in(SAID[typ])))
    with pytest.raises(ValidationError):
        said.iat = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("decision", {}),
        ("decision", {"outcome": "partly_disclosed"}),
        ("decision", NO_DATA),
        ("decision", REFUSED),
        ("decision", REFUSED | {"explanation": PART}),
        ("decision", UNCLEAR),
        ("decision", UNCLEAR | {"draft": ..., "approvals": ...}),
        ("decision", {"approvals": [D0, D1, "2" * 64]}),
        ("decision", {"disclosures": [PART, PART | {"sha256": D1}]}),
        ("acceptance", {"accepted": False, "ground": "particulars-unreadable"}),
        ("acknowledgement", {"opened": False, "flaw": "digest"}),
        ("application", {"webhook": "https://police.example/news?x=1"}),
        ("application", {"contact": "경찰청 사이버수사국 +82 2 3150 0000"}),
        ("request", {"cover": claims_in(SAID["rogatory-request+jwt"])["cover"] | {"reference": "2026/11-7_a.b"}}),
    ],
)
def test_what_agrees_is_said(kind: str, members: dict[str, Any]) -> None:
    assert fits(kind, **members)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        # a disclosure needs two approvals of one draft, and to name what it discloses
        ("decision", {"approvals": [D0]}),
        ("decision", {"approvals": [D0, D0]}),
        ("decision", {"approvals": [D0, D1, D0]}),
        ("decision", {"approvals": []}),
        ("decision", {"approvals": ...}),
        ("decision", {"draft": ...}),
        ("decision", {"draft": ..., "approvals": ...}),
        ("decision", {"approvals": [str(n) * 64 for n in range(9)]}),
        ("decision", {"disclosures": []}),
        ("decision", {"categories": []}),
        ("decision", {"categories": ["subscriber", "subscriber"]}),
        ("decision", {"categories": ["everything"]}),
        ("decision", {"disclosures": [PART, PART]}),
        ("decision", {"disclosures": [PART, PART | {"size": 2}]}),
        ("decision", {"ground": "impossible"}),
        ("decision", {"accounts": -1}),
        ("decision", NO_DATA | {"accounts": 1}),
        ("decision", NO_DATA | {"disclosures": [PART]}),
        ("decision", NO_DATA | {"categories": ["subscriber"]}),
        ("decision", NO_DATA | {"ground": "impossible"}),
        ("decision", NO_DATA | {"draft": ..., "approvals": ...}),
        ("decision", REFUSED | {"draft": ..., "approvals": ...}),
        ("decision", REFUSED | {"ground": ...}),
        ("decision", UNCLEAR | {"ground": ...}),
        ("decision", UNCLEAR | {"draft": ...}),
        ("decision", {"case": ...}),
        # one chain, and a reason for a no
        ("acceptance", {"authority": "kr-knpa-cyber"}),
        ("acceptance", {"case": ...}),
        ("acceptance", {"accepted": False}),
        ("acceptance", {"ground": "particulars-unreadable"}),
        ("acceptance", {"accepted": 1}),
        ("acknowledgement", {"opened": False}),
        ("acknowledgement", {"flaw": "digest"}),
        ("acknowledgement", {"opened": "true"}),
        ("receipt", {"authority": "kr-knpa-cyber"}),
        ("receipt", {"case": ...}),
        ("receipt", {"previous": D0}),
        ("receipt", {"seq": 2}),
        ("receipt", {"seq": 0}),
        ("receipt", {"salt": "A" * 21}),
        ("receipt", {"state": "In_review"}),
        ("receipt", {"stage": "forgotten"}),
        # keys and recipients
        ("application", {"signing": []}),
        ("application", {"signing": [ED, ED]}),
        ("application", {"signing": [ED | {"d": "A" * 43}]}),
        ("application", {"signing": [ED | {"crv": "Ed448"}]}),
        ("application", {"signing": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
        ("application", {"signing": [{"kty": "oct", "k": "A" * 43}]}),
        ("application", {"sealing": []}),
        ("application", {"sealing": [RECIPIENT, RECIPIENT]}),
        ("application", {"sealing": ["AGE-SECRET-KEY-1" + "A" * 58]}),
        ("application", {"sealing": ["ssh-ed25519 " + "A" * 58]}),
        ("application", {"root": "A" * 42}),
        ("application", {"country": "kr"}),
        ("application", {"type": "spy"}),
        ("application", {"name": "two\nlines"}),
        ("application", {"name": "a\u2028b"}),
        ("application", {"name": ""}),
        ("application", {"name": "x" * 121}),
        ("application", {"webhook": "http://police.example/"}),
        ("application", {"webhook": "https://police.example/\n"}),
        ("application", {"iss": "kr-knpa-cyber\n"}),
        ("application", {"iss": "tg.example"}),
        ("rekey", {"inner": "a.b"}),
        ("rekey", {"inner": "a.b.c\n"}),
        ("request", {"particulars": PART | {"recipients": []}}),
        ("request", {"particulars": PART | {"recipients": [K0, K0]}}),
        ("request", {"particulars": PART | {"recipients": [K0] * 9}}),
        ("request", {"particulars": PART | {"size": 0}}),
        ("request", {"particulars": PART | {"sha256": D0 + "\n"}}),
        ("request", {"particulars": PART | {"sha256": "A" * 64}}),
        ("supplement", {"blobs": [{"sha256": D0, "size": 1}, {"sha256": D0, "size": 2}]}),
        ("supplement", {"blobs": [{"sha256": D0, "size": limits.ATTACHMENT + 1}]}),
        ("supplement", {"case": "01A1EE56-5E00-8644-B836-EDCC4521E310"}),
        ("withdrawal", {"why": "because"}),
        ("standing", {"standing": "forgiven"}),
        ("proof", {"htm": "POST"}),
        ("proof", {"htu": "https://gateway.example/v1?x"}),
        ("proof", {"htu": "https://gateway.example/v1#x"}),
        ("proof", {"htu": "ftp://gateway.example/v1"}),
        ("keyset", {"keys": []}),
        ("keyset", {"version": 0}),
    ],
)
def test_what_disagrees_is_not_said(kind: str, members: dict[str, Any]) -> None:
    assert not fits(kind, **members)


@pytest.mark.parametrize(
    "cover",
    [
        {"kind": "extradition"},
        {"urgency": "very"},
        {"categories": []},
        {"categories": ["subscriber", "subscriber"]},
        {"subjects": 0},
        {"subjects": limits.SUBJECTS + 1},
        {"framework": "eu.e-evidence\n"},
        {"framework": "../../etc"},
        {"basis": ""},
        {"entity": "EU"},
        {"reference": "../x y"},
        {"reference": "x\n"},
        {"confidential_until": 0},
        {"blobs": [{"sha256": D0, "size": 1}] * 2},
        {"blobs": [{"sha256": f"{n:064}", "size": 1} for n in range(limits.ATTACHMENTS + 1)]},
        {"particulars": {}},
    ],
)
def test_a_cover_says_what_the_gateway_needs_and_no_more(cover: dict[str, Any]) -> None:
    assert not fits("request", cover=claims_in(SAID["rogatory-request+jwt"])["cover"] | cover)


@pytest.mark.parametrize(
    ("members", "fit"),
    [
        ({}, True),
        ({"role": "gateway-queue", "jwk": X}, True),
        ({"role": "desk-queue", "jwk": X, "entity": "eu"}, True),
        ({"role": "desk-sealing", "jwk": ..., "recipient": RECIPIENT}, True),
        ({"role": "gateway-queue"}, False),
        ({"jwk": X}, False),
        ({"role": "operator", "jwk": X}, False),
        ({"role": "desk-sealing"}, False),
        ({"role": "desk-sealing", "jwk": X}, False),
        ({"role": "desk-sealing", "recipient": RECIPIENT}, False),
        ({"jwk": ..., "recipient": RECIPIENT}, False),
        ({"jwk": ...}, False),
        ({"role": "authority"}, False),
        ({"role": "root"}, False),
        ({"role": "janitor"}, False),
        ({"until": 1_795_000_000}, False),
        ({"name": "Alice"}, False),
    ],
)
def test_a_key_has_the_form_of_its_role(members: dict[str, Any], fit: bool) -> None:
    key = {name: value for name, value in (KEY | members).items() if value is not ...}
    assert fits("keyset", keys=[key]) is fit


@pytest.mark.parametrize(
    ("alias", "good"),
    [
        (terms.AuthorityId, "kr-knpa-cyber"),
        (terms.PlatformId, "tg.example"),
        (terms.Party, "tg.example"),
        (terms.CaseText, "01a1ee56-5e00-8644-b836-edcc4521e310"),
        (terms.JtiText, "01a1ee56-5e00-7644-b836-edcc4521e310"),
        (terms.DigestText, D0),
        (terms.KeyIdText, K0),
        (terms.Country, "KR"),
        (terms.Entity, "main"),
        (terms.FrameworkId, "eu.e-evidence"),
        (terms.Code, "particulars-unreadable"),
        (terms.Coordinate, K0),
        (terms.Recipient, RECIPIENT),
        (terms.Url, "https://police.example/news"),
        (terms.Salt, "A" * 22),
        (terms.CompactJws, "a.b.c"),
    ],
)
def test_no_text_of_ours_takes_anything_before_or_after_it(alias: Any, good: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(alias)
    assert adapter.validate_python(good, strict=True) == good
    for bad in (good + "\n", "\n" + good, good + "\r\n", good + " ", good + "\0", "", good + "\n" + good):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad, strict=True)


@given(st.text(alphabet="abkr019-.\n", max_size=40))
def test_models_and_parsers_take_the_same_authorities(text: str) -> None:
    _agree(terms.AuthorityId, parse_authority_id, text)


@given(st.text(alphabet="0123456789abcdef", min_size=8, max_size=8), st.sampled_from("78a"), st.sampled_from("089ab"))
def test_models_and_parsers_take_the_same_uuids_and_digests(part: str, version: str, variant: str) -> None:
    uuid = f"{part}-{part[:4]}-{version}{part[:3]}-{variant}{part[:3]}-{part}{part[:4]}"
    _agree(terms.CaseText, parse_case_id, uuid)
    _agree(terms.JtiText, parse_jti, uuid)
    _agree(terms.DigestText, parse_digest, part * 8)


def _agree(alias: Any, parse: Any, text: str) -> None:
    try:
        TypeAdapter(alias).validate_python(text)
        fits_model = True
    except ValidationError:
        fits_model = False
    try:
        parse(text)
        fits_parser = True
    except NotAnId:
        fits_parser = False
    assert fits_model is fits_parser


def test_no_party_is_both_an_authority_and_a_platform() -> None:
    with pytest.raises(NotAnId):
        parse_platform_id("kr-knpa-cyber")
    with pytest.raises(NotAnId):
        parse_authority_id("tg.example")


def test_every_kind_has_a_model_of_its_own_but_the_proofs() -> None:
    models = [row.model for row in KINDS.values() if row.model is not sayings.Proof]
    assert len(set(models)) == len(models) == len(KINDS) - 3
    assert all(issubclass(row.model, Closed) for row in KINDS.values())


def test_what_has_a_role_in_the_design_has_it_here() -> None:
    assert {typ for typ, row in KINDS.items() if row.role is Role.GATEWAY} == {
        "rogatory-receipt+jwt",
        "rogatory-rejection+jwt",
    }
    assert {typ for typ, row in KINDS.items() if row.role is Role.DESK and row.chain is Chain.CASE} == {
        "rogatory-acceptance+jwt",
        "rogatory-decision+jwt",
    }


def test_a_model_s_error_does_not_show_what_was_sent() -> None:
    with pytest.raises(ValidationError) as found:
        sayings.Withdrawal.model_validate({"why": "canary"})
    assert "canary" not in str(found.value)


def test_time_in_statements_is_the_time_of_the_tests() -> None:
    assert claims_in(SAID["rogatory-request+jwt"])["iat"] == int(NOW.timestamp())
