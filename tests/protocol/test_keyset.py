"""The keyset: what the pinned root signed, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from crypto.keys import Ed25519Secret, P256Secret, X25519Secret, sealing_key_id
from crypto.sealing import generate_identity, recipient_of
from crypto.strict import b64url_encode
from protocol.ids import PartyId, numeric
from protocol.keyset import Keyset, newer, read_keyset
from protocol.problems import Refused
from protocol.statements import say
from protocol.terms import Role
from tests.actors import BENT, DAY, NOW, Bent, Mallory, Officer, Platform, claims_in

PLATFORM = Platform(entities=("main", "eu"))
RAW = PLATFORM.keyset_raw
ROOT = PLATFORM.root.public


def refusal(raw: bytes, at: Any = NOW) -> Refused:
    with pytest.raises(Refused) as found:
        read_keyset(raw, ROOT, PLATFORM.id, at)
    return found.value


def with_keys(*keys: dict[str, Any]) -> bytes:
    """A keyset of the root that holds these keys, of which the models know only the form."""
    told = {"entity": "main", "name": "desk", "since": numeric(NOW), "until": numeric(NOW) + DAY}
    return Mallory(PLATFORM.root).claims(RAW, keys=[told | key for key in keys])


def test_who_pinned_the_root_knows_who_may_sign() -> None:
    keyset = PLATFORM.keyset
    assert (keyset.version, keyset.platform, keyset.statement.raw) == (1, PLATFORM.id, RAW)
    assert keyset.until == NOW + timedelta(days=400)
    holder = keyset.holder(PLATFORM.desks["eu"].secret.public.id)
    assert holder is not None
    assert (holder.party, holder.role, holder.name, holder.entity) == (PLATFORM.id, Role.DESK, "desk", "eu")
    assert keyset.holder(Officer(PLATFORM).secret.public.id) is None
    assert keyset.holder(ROOT.id) is None
    assert keyset.entities() == ("eu", "main")


def test_the_holders_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PLATFORM.keyset.holders["x"] = None  # type: ignore[index]


@pytest.mark.parametrize("bent", BENT, ids=lambda bent: bent.name)
def test_a_bent_keyset_is_refused(bent: Bent) -> None:
    assert refusal(bent.bend(Mallory(PLATFORM.root), RAW)).code == "keyset-wrong"


def test_a_keyset_of_another_root_is_refused() -> None:
    other = Platform()
    assert refusal(other.keyset_raw).code == "keyset-wrong"
    assert refusal(Mallory(other.root).header(RAW)).code == "keyset-wrong"


def test_a_keyset_signed_by_one_of_its_own_keys_is_refused() -> None:
    gateway = PLATFORM.gateway
    assert refusal(Mallory(gateway).header(RAW, kid=gateway.public.id)).code == "keyset-wrong"


def test_a_statement_of_another_kind_is_no_keyset() -> None:
    said = PLATFORM.alice.standing(PartyId("kr-knpa-cyber"))
    assert refusal(Mallory(PLATFORM.root).header(said, kid=ROOT.id)).code == "keyset-wrong"


def test_a_keyset_of_another_platform_is_refused() -> None:
    assert refusal(PLATFORM.sign_keyset(iss="other.example", aud="other.example")).code == "keyset-wrong"


def test_a_keyset_ends_but_not_for_a_case_file() -> None:
    end = NOW + timedelta(days=400)
    assert read_keyset(RAW, ROOT, PLATFORM.id, end - timedelta(seconds=1)).version == 1
    assert refusal(RAW, end).code == "keyset-wrong"
    assert read_keyset(RAW, ROOT, PLATFORM.id, None).until == end


SMALL = b64url_encode(b"\1" + bytes(31))
SIGNER = Ed25519Secret.generate().public.jwk()


@pytest.mark.parametrize(
    "keys",
    [
        [{"role": "gateway-signing", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": SMALL}}],
        [{"role": "gateway-queue", "jwk": {"kty": "OKP", "crv": "X25519", "x": SMALL}}],
        [{"role": "operator", "jwk": {"kty": "EC", "crv": "P-256", "x": SMALL, "y": SMALL}}],
        [{"role": "desk-sealing", "recipient": "age1" + "q" * 58}],
        [{"role": "operator", "jwk": SIGNER}, {"role": "operator", "name": "yan", "jwk": SIGNER}],
        [{"role": "operator", "jwk": SIGNER}, {"role": "gateway-signing", "jwk": SIGNER}],
    ],
    ids=[
        "small order",
        "queue key of low order",
        "off the curve",
        "no recipient",
        "one key, two operators",
        "two roles",
    ],
)
def test_a_keyset_with_an_unsound_or_doubled_key_is_refused_even_from_the_root(keys: list[dict[str, Any]]) -> None:
    refused = refusal(with_keys(*keys))
    assert (refused.code, "key" in refused.reason or "kid" in refused.reason) == ("keyset-wrong", True)
    assert "invalid-member" not in refused.reason  # its form was good


# -- what to seal to ------------------------------------------------------------------------------------------------------


def turned() -> Keyset:
    """A keyset in which the desk's keys overlap: the new from now, the old until an hour later."""
    at = numeric(NOW)
    rows = [
        PLATFORM.key(Role.DESK_SEALING, "desk", OLD, since=at - DAY, until=at + 3600),
        PLATFORM.key(Role.DESK_SEALING, "desk", NEW, since=at, until=at + DAY),
        PLATFORM.key(Role.DESK_SEALING, "desk", OTHER, entity="eu"),
        PLATFORM.key(Role.DESK_QUEUE, "desk", OLD_QUEUE.public, since=at - DAY, until=at + 3600),
        PLATFORM.key(Role.DESK_QUEUE, "desk", NEW_QUEUE.public, since=at, until=at + DAY),
    ]
    return read_keyset(PLATFORM.sign_keyset(keys=rows), ROOT, PLATFORM.id, NOW)


OLD, NEW, OTHER = (recipient_of(generate_identity(post_quantum=False)) for _ in range(3))
OLD_QUEUE, NEW_QUEUE = X25519Secret.generate(), X25519Secret.generate()


@pytest.mark.parametrize(
    ("after", "recipients"),
    [
        (timedelta(seconds=-1), (OLD,)),
        (timedelta(0), (NEW, OLD)),
        (timedelta(seconds=3599), (NEW, OLD)),
        (timedelta(hours=1), (NEW,)),
        (timedelta(days=1), ()),
    ],
)
def test_particulars_are_sealed_to_what_counts_then_the_newest_first(
    after: timedelta, recipients: tuple[str, ...]
) -> None:
    assert turned().sealing("main", NOW + after) == recipients


def test_an_entity_has_its_own_sealing_keys_past_and_future() -> None:
    assert turned().sealing_ids("main") == {sealing_key_id(OLD), sealing_key_id(NEW)}
    assert turned().sealing_ids("eu") == {sealing_key_id(OTHER)}
    assert turned().sealing_ids("us") == frozenset()


def test_the_queue_key_is_the_newest_that_counts() -> None:
    assert turned().queue(Role.DESK_QUEUE, "main", NOW - timedelta(seconds=1)) == OLD_QUEUE.public
    assert turned().queue(Role.DESK_QUEUE, "main", NOW) == NEW_QUEUE.public


@pytest.mark.parametrize(
    ("role", "entity"), [(Role.DESK_QUEUE, "eu"), (Role.GATEWAY_QUEUE, "main"), (Role.DESK_SEALING, "main")]
)
def test_without_a_queue_key_nothing_is_sent(role: Role, entity: str) -> None:
    with pytest.raises(Refused) as found:
        turned().queue(role, entity, NOW)
    assert found.value.code == "keyset-wrong"


# -- versions -------------------------------------------------------------------------------------------------------------


def version(number: int, **members: Any) -> Keyset:
    return read_keyset(PLATFORM.sign_keyset(number, **members), ROOT, PLATFORM.id, NOW)


def test_the_version_only_rises() -> None:
    second = version(2)
    assert newer(None, second) is second
    third = version(3)
    assert newer(second, third) is third
    with pytest.raises(Refused) as found:
        newer(third, second)
    assert (found.value.code, found.value.reason) == ("keyset-wrong", "version 2 < 3")


def test_one_version_has_one_content() -> None:
    second = version(2)
    again = read_keyset(second.statement.raw, ROOT, PLATFORM.id, NOW)
    assert newer(second, again) is second
    with pytest.raises(Refused) as found:
        newer(second, version(2))
    assert found.value.code == "keyset-wrong"


def test_an_operator_s_smart_card_may_stand_in_the_keyset() -> None:
    card = P256Secret.generate()
    rows = [*PLATFORM.keys, PLATFORM.key(Role.OPERATOR, "erin", card.public)]
    keyset = read_keyset(PLATFORM.sign_keyset(keys=rows), ROOT, PLATFORM.id, NOW)
    holder = keyset.holder(card.public.id)
    assert holder is not None
    assert holder.key == card.public


def test_a_keyset_says_nothing_that_its_models_do_not_know() -> None:
    raw = Mallory(PLATFORM.root).claims(RAW, keys=[claims_in(RAW)["keys"][0] | {"secret": "x"}])
    assert refusal(raw).code == "keyset-wrong"


def test_a_keyset_is_said_as_it_is_read() -> None:
    assert say(PLATFORM.keyset.statement.said, PLATFORM.root) == RAW
