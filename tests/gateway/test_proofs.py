from datetime import timedelta

import pytest

from gateway import proofs
from gateway.proofs import Buckets, Proofs
from protocol.ids import PartyId, numeric
from protocol.problems import Refused
from protocol.terms import Role
from tests.actors import BENT, NOW, Bent, Chains, Mallory, Officer, Platform

URL = "https://gateway.tg.example"
READERS = (Role.AUTHORITY, Role.OPERATOR)
PARTY = PartyId("kr-knpa-cyber")


@pytest.fixture
def chains() -> Chains:
    return Chains(Platform(post_quantum=False))


@pytest.fixture
def officer(chains: Chains) -> Officer:
    officer = Officer(chains.platform)
    chains.admitted(officer)
    return officer


@pytest.fixture
def checker(chains: Chains, officer: Officer) -> Proofs:
    return Proofs(chains.known(officer.party), URL, NOW, Buckets(per_minute=6_000, burst=600))


def said(raw: bytes, scheme: str = "Proof") -> str:
    return f"{scheme} {raw.decode('latin-1')}"


def refusal(
    checker: Proofs, header: str | None, method: str = "GET", path: str = "/v1/cases", **how: object
) -> Refused:
    with pytest.raises(Refused) as refused:
        checker.check(header, method, path, how.get("now", NOW), READERS)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize("scheme", ["Proof", "proof", "PROOF"])
def test_a_proof_says_who_reads(checker: Proofs, officer: Officer, scheme: str) -> None:
    proof = checker.check(said(officer.proof("GET", URL + "/v1/cases"), scheme), "GET", "/v1/cases", NOW, READERS)
    assert proof.issuer == officer.party


def test_an_operator_proves_as_an_operator(checker: Proofs, chains: Chains) -> None:
    proof = checker.check(said(chains.platform.alice.proof("PUT", URL + "/x")), "PUT", "/x", NOW, READERS)
    assert (proof.holder.role, proof.holder.name) == (Role.OPERATOR, "alice")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "proof-missing"),
        ("", "proof-invalid"),
        ("Proof", "proof-invalid"),
        ("Proof ", "proof-invalid"),
        ("Bearer a.b.c", "proof-invalid"),
        ("Proof a.b.c, Proof a.b.c", "proof-invalid"),
        ("Proof  a.b.c", "proof-invalid"),
        ("Proof a.b.c\n", "proof-invalid"),
        ("Proof a.b.c=", "proof-invalid"),
        ("Proof a.b.c", "token-form"),
    ],
)
def test_what_is_no_proof_is_refused(checker: Proofs, header: str | None, code: str) -> None:
    assert refusal(checker, header).code == code


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("PUT", URL + "/v1/cases"),
        ("GET", URL + "/v1/cases/"),
        ("GET", URL + "/v1/Cases"),
        ("GET", "http://gateway.tg.example/v1/cases"),
        ("GET", "https://gateway.tg.example.evil/v1/cases"),
        ("GET", "https://gateway.tg.example:443/v1/cases"),
    ],
)
def test_a_proof_of_another_request_is_refused(checker: Proofs, officer: Officer, method: str, url: str) -> None:
    assert refusal(checker, said(officer.proof(method, url))).code == "proof-invalid"


def test_a_proof_is_good_once(checker: Proofs, officer: Officer) -> None:
    header = said(officer.proof("GET", URL + "/v1/cases"))
    checker.check(header, "GET", "/v1/cases", NOW, READERS)
    for later in (0, 30, 59):
        assert refusal(checker, header, now=NOW + timedelta(seconds=later)).code == "proof-reused"


def test_a_used_proof_from_the_future_is_remembered_as_long_as_it_is_good(checker: Proofs, officer: Officer) -> None:
    header = said(officer.proof("GET", URL + "/v1/cases", NOW + timedelta(seconds=60)))
    checker.check(header, "GET", "/v1/cases", NOW, READERS)
    for second in range(1, 120):
        assert refusal(checker, header, now=NOW + timedelta(seconds=second)).code == "proof-reused", second
    assert refusal(checker, header, now=NOW + timedelta(seconds=120)).code == "stale"


def test_proofs_are_forgotten_when_nobody_can_use_them(checker: Proofs, officer: Officer) -> None:
    for step in (0, 120, 240, 900):
        at = NOW + timedelta(seconds=step)
        checker.check(said(officer.proof("GET", URL + "/v1/cases", at)), "GET", "/v1/cases", at, READERS)
    assert len(checker._used) == 1
    assert checker._before == set()


@pytest.mark.parametrize(("age", "code"), [(60, "stale"), (3_600, "stale"), (-61, "from-the-future")])
def test_a_proof_is_good_for_a_minute(checker: Proofs, officer: Officer, age: int, code: str) -> None:
    signed = NOW + timedelta(seconds=3_600 - age)
    header = said(officer.proof("GET", URL + "/v1/cases", signed))
    assert refusal(checker, header, now=NOW + timedelta(seconds=3_600)).code == code


def test_a_proof_from_before_the_process_is_refused_until_a_new_one_is_made(chains: Chains, officer: Officer) -> None:
    started = NOW + timedelta(seconds=10, milliseconds=500)
    checker = Proofs(chains.known(officer.party), URL, started, Buckets(per_minute=60, burst=10))
    before = said(officer.proof("GET", URL + "/v1/cases", started - timedelta(milliseconds=1)))
    refused = refusal(checker, before, now=started)
    assert (refused.code, refused.wait) == ("overloaded", 1)
    after = said(officer.proof("GET", URL + "/v1/cases", started))
    assert checker.check(after, "GET", "/v1/cases", started, READERS).issuer == officer.party


def test_a_jti_that_tells_another_time_than_iat_makes_no_proof_younger(chains: Chains, officer: Officer) -> None:
    started = NOW + timedelta(milliseconds=500)
    checker = Proofs(chains.known(officer.party), URL, started, Buckets(per_minute=60, burst=10))
    later = officer.proof("GET", URL + "/v1/cases", NOW + timedelta(seconds=5, milliseconds=900))
    bent = Mallory(officer.secret).claims(later, iat=numeric(NOW))
    assert refusal(checker, said(bent), now=started).code == "overloaded"


def test_the_memory_of_used_proofs_is_bounded(
    checker: Proofs, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "MOST_USED", 2)
    for _ in range(2):
        checker.check(said(officer.proof("GET", URL + "/v1/cases")), "GET", "/v1/cases", NOW, READERS)
    refused = refusal(checker, said(officer.proof("GET", URL + "/v1/cases")))
    assert (refused.code, refused.wait) == ("overloaded", 120)


def test_a_proof_of_a_role_that_does_not_read_here_is_refused(checker: Proofs, chains: Chains) -> None:
    assert refusal(checker, said(chains.platform.desk.proof("GET", URL + "/v1/cases"))).code == "type-refused"


def test_a_request_is_no_proof(checker: Proofs, officer: Officer) -> None:
    assert refusal(checker, said(officer.request().statement)).code == "type-refused"


@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
def test_a_bent_proof_is_refused_like_any_statement(checker: Proofs, officer: Officer, bent: Bent) -> None:
    raw = bent.bend(Mallory(officer.secret), officer.proof("GET", URL + "/v1/cases"))
    assert refusal(checker, said(raw)).code in {bent.code, "proof-invalid"}


# token buckets


def test_a_party_may_ask_in_bursts_and_then_at_its_rate() -> None:
    buckets = Buckets(per_minute=60, burst=3)
    for _ in range(3):
        buckets.spend(PARTY, NOW)
    with pytest.raises(Refused) as refused:
        buckets.spend(PARTY, NOW)
    assert (refused.value.code, refused.value.wait) == ("too-many", 1)
    buckets.spend(PartyId("us-fbi"), NOW)
    buckets.spend(PARTY, NOW + timedelta(seconds=1))
    with pytest.raises(Refused):
        buckets.spend(PARTY, NOW + timedelta(seconds=1))


def test_the_wait_is_until_a_token_is_there() -> None:
    buckets = Buckets(per_minute=2, burst=1)
    buckets.spend(PARTY, NOW)
    with pytest.raises(Refused) as refused:
        buckets.spend(PARTY, NOW)
    assert refused.value.wait == 30
    buckets.spend(PARTY, NOW + timedelta(seconds=30))


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    buckets = Buckets(per_minute=60, burst=2)
    buckets.spend(PARTY, NOW)
    buckets.spend(PARTY, NOW - timedelta(hours=1))
    with pytest.raises(Refused):
        buckets.spend(PARTY, NOW - timedelta(hours=1))


def test_what_is_left_is_told_in_the_answer() -> None:
    buckets = Buckets(per_minute=6_000, burst=600)
    assert buckets.fields(PARTY, NOW) == {"RateLimit-Policy": '"party";q=600;w=6', "RateLimit": '"party";r=600;t=0'}
    for _ in range(150):
        buckets.spend(PARTY, NOW)
    assert buckets.fields(PARTY, NOW)["RateLimit"] == '"party";r=450;t=2'


def test_buckets_are_bounded_and_the_one_unused_for_longest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "MOST_PARTIES", 2)
    buckets = Buckets(per_minute=60, burst=10)
    for party in ("aa-one", "bb-two", "aa-one", "cc-three"):
        buckets.spend(PartyId(party), NOW)
    assert list(buckets._held) == ["aa-one", "cc-three"]
