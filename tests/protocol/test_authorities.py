"""The registry: who is admitted, by whom, and whose keys count when."""

from datetime import timedelta
from typing import Any

import pytest

from crypto.keys import Ed25519Secret, P256Secret
from crypto.sealing import generate_identity, recipient_of
from protocol import limits
from protocol.authorities import Registration, active, advance, chain_of, fold
from protocol.chains import RegistryChain, Row
from protocol.ids import Digest, Instant, digest_of
from protocol.problems import Refused
from protocol.receipts import Link
from protocol.statements import Statement, Step, read
from protocol.terms import Stage, Standing
from tests.actors import NOW, Chains, Mallory, Officer, Platform, claims_in, everything_said, jwk_of

PLATFORM = Platform()
ALICE, BOB = PLATFORM.alice, PLATFORM.bob
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)  # receipts count whole ones


@pytest.fixture
def officer() -> Officer:
    return Officer(PLATFORM)


@pytest.fixture
def chains() -> Chains:
    return Chains(PLATFORM)


def refusal(chains: Chains, raw: bytes, now: Instant | None = None) -> Refused:
    with pytest.raises(Refused) as found:
        chains.take(raw, now)
    return found.value


def steps_of(chains: Chains, officer: Officer) -> list[Step]:
    """The rows of an authority as steps, read one after the other."""
    steps: list[Step] = []
    for row in chains.registry_rows[officer.party]:
        assert row.statement is not None
        statement = chains.read(row.statement)
        steps.append(Step(Stage.TAKEN, NOW, statement.digest, statement))
    return steps


def states(chains: Chains, officer: Officer) -> Registration:
    return chains.authority(officer.party).state


# -- admission ------------------------------------------------------------------------------------------------------------


def test_an_authority_is_active_when_two_operators_have_confirmed_it(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    assert states(chains, officer) is Registration.PENDING
    chains.take(ALICE.admission(chains.authority(officer.party)))
    assert states(chains, officer) is Registration.PENDING
    chains.take(BOB.admission(chains.authority(officer.party)))
    authority = chains.authority(officer.party)
    assert authority.state is Registration.ACTIVE
    assert authority.operators == {"alice", "bob"}
    assert authority.sealing == (officer.recipient,)
    assert (authority.steps, authority.rekeyed) == (3, None)
    assert active(authority) is authority


def test_the_words_are_of_the_whole_application(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    words = chains.authority(officer.party).words
    other = Chains(PLATFORM)
    other.take(officer.application(name="Korean National Police Agency, Cyber Bureau "))
    assert len(words) == 10
    assert other.authority(officer.party).words != words


def test_words_may_be_typed_as_people_type_them(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    authority = chains.authority(officer.party)
    chains.take(ALICE.admission(authority, words=" - ".join(authority.words).upper()))
    assert chains.authority(officer.party).operators == {"alice"}


def test_one_operator_does_not_count_twice(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    chains.take(ALICE.admission(chains.authority(officer.party)))
    assert refusal(chains, ALICE.admission(chains.authority(officer.party))).code == "impossible"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"words": "abandon " * 10}, "words-wrong"),
        ({"words": "not words of the list"}, "words-wrong"),
        ({"words": "-"}, "words-wrong"),
        ({"application": "0" * 64}, "digest-mismatch"),
        ({"authority": "kr-nobody"}, "not-found"),
    ],
)
def test_an_admission_of_something_else_confirms_nothing(
    chains: Chains, officer: Officer, members: dict[str, Any], code: str
) -> None:
    chains.take(officer.application())
    assert refusal(chains, ALICE.admission(chains.authority(officer.party), **members)).code == code


def test_nine_of_ten_words_confirm_nothing(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    authority = chains.authority(officer.party)
    for words in (authority.words[:9], (*authority.words, "abandon"), tuple(reversed(authority.words))):
        if words != authority.words:
            assert refusal(chains, ALICE.admission(authority, words=" ".join(words))).code == "words-wrong"


def test_the_words_of_another_application_confirm_nothing(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    other = Officer(PLATFORM, "kr-spo")
    chains.take(other.application())
    admission = ALICE.admission(chains.authority(officer.party), words=" ".join(chains.authority(other.party).words))
    assert refusal(chains, admission).code == "words-wrong"


def test_a_confirmed_authority_is_not_confirmed_again(chains: Chains, officer: Officer) -> None:
    authority = chains.admitted(officer)
    assert refusal(chains, ALICE.admission(authority)).code == "impossible"


def test_an_id_is_taken_once(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    assert refusal(chains, officer.application()).code == "authority-exists"
    assert refusal(chains, Officer(PLATFORM).application()).code == "authority-exists"


def test_a_chain_begins_with_an_application(chains: Chains, officer: Officer) -> None:
    step = Step(Stage.TAKEN, NOW, Digest("0" * 64), chains.read(ALICE.standing(officer.party)))
    for first in (step, Step(Stage.TAKEN, NOW, Digest("0" * 64))):
        with pytest.raises(Refused):
            advance(None, first)
    with pytest.raises(Refused) as found:
        fold([])
    assert found.value.code == "not-found"


@pytest.mark.parametrize(
    "sealing",
    [["age1" + "q" * 58], [recipient_of(generate_identity())[:-1] + "q"], ["age1pq1" + "q" * 1900]],
    ids=["bad checksum", "one character", "too short a key"],
)
def test_a_sealing_key_that_nobody_can_seal_to_is_refused_at_once(
    chains: Chains, officer: Officer, sealing: list[str]
) -> None:
    refused = refusal(chains, officer.application(sealing=tuple(sealing)))
    assert refused.code == "invalid-member"


# -- standing -------------------------------------------------------------------------------------------------------------

SUSPEND, REVOKE, RESTORE = Standing.SUSPENDED, Standing.REVOKED, Standing.ACTIVE
PENDING, ACTIVE, SUSPENDED, REVOKED = Registration


@pytest.mark.parametrize(
    ("before", "standing", "after"),
    [
        (PENDING, SUSPEND, SUSPENDED),
        (PENDING, REVOKE, REVOKED),
        (PENDING, RESTORE, None),
        (ACTIVE, SUSPEND, SUSPENDED),
        (ACTIVE, REVOKE, REVOKED),
        (ACTIVE, RESTORE, None),
        (SUSPENDED, SUSPEND, None),
        (SUSPENDED, REVOKE, REVOKED),
        (SUSPENDED, RESTORE, ACTIVE),
        (REVOKED, SUSPEND, None),
        (REVOKED, REVOKE, None),
        (REVOKED, RESTORE, None),
    ],
)
def test_what_an_operator_can_make_of_an_authority(
    chains: Chains, officer: Officer, before: Registration, standing: Standing, after: Registration | None
) -> None:
    chains.take(officer.application()) if before is PENDING else chains.admitted(officer)
    if before in {SUSPENDED, REVOKED}:
        chains.take(ALICE.standing(officer.party, Standing(before.value)))
    raw = BOB.standing(officer.party, standing)
    if after is None:
        assert refusal(chains, raw).code == "impossible"
        after = before
    else:
        chains.take(raw)
    authority = chains.authority(officer.party)
    assert authority.state is after
    if after is ACTIVE:
        assert active(authority) is authority
        return
    with pytest.raises(Refused) as found:
        active(authority)
    assert found.value.code == "authority-not-active"


def test_who_never_applied_is_not_active() -> None:
    with pytest.raises(Refused) as found:
        active(None)
    assert found.value.code == "authority-not-active"


def test_restoring_what_was_suspended_before_it_was_confirmed_confirms_nothing(
    chains: Chains, officer: Officer
) -> None:
    chains.take(officer.application())
    chains.take(ALICE.admission(chains.authority(officer.party)))
    chains.take(ALICE.standing(officer.party, SUSPEND))
    assert refusal(chains, BOB.admission(chains.authority(officer.party))).code == "impossible"
    chains.take(BOB.standing(officer.party, RESTORE))
    assert states(chains, officer) is PENDING
    chains.take(BOB.admission(chains.authority(officer.party)))
    assert states(chains, officer) is ACTIVE


# -- what a gateway in wrong hands might try ------------------------------------------------------------------------------


def test_a_restored_that_was_said_once_does_not_undo_a_later_suspension(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    chains.take(ALICE.standing(officer.party, SUSPEND))
    restored = ALICE.standing(officer.party, RESTORE)
    chains.take(restored)
    chains.take(ALICE.standing(officer.party, SUSPEND))
    assert refusal(chains, restored).code == "jti-reused"
    assert states(chains, officer) is SUSPENDED


def test_other_words_under_a_used_id_are_refused(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    raw = ALICE.standing(officer.party, SUSPEND)
    chains.take(raw)
    assert refusal(chains, Mallory(ALICE.secret).claims(raw, standing="revoked")).code == "jti-reused"


def test_what_was_said_of_one_authority_says_nothing_of_another(chains: Chains, officer: Officer) -> None:
    other = Officer(PLATFORM, "kr-spo")
    chains.admitted(other)
    chains.admitted(officer)
    chains.take(ALICE.standing(officer.party, SUSPEND))
    chains.take(ALICE.standing(other.party, SUSPEND))
    before = chains.authority(officer.party)
    foreign = [ALICE.standing(other.party, RESTORE), other.rekey(Ed25519Secret.generate())]
    for raw in foreign:
        statement = chains.read(raw)
        with pytest.raises(Refused) as found:
            advance(before, Step(Stage.TAKEN, NOW, statement.digest, statement))
        assert found.value.code == "not-found"


def test_a_row_of_one_registry_does_not_link_into_another(chains: Chains, officer: Officer) -> None:
    other = Officer(PLATFORM, "kr-spo")
    chains.take(officer.application())
    chains.take(other.application())
    row = chains.take(ALICE.standing(other.party, SUSPEND))
    with pytest.raises(Refused):
        chains.registry[officer.party].then(row, PLATFORM.keyset)


def test_an_authority_that_the_gateway_invents_is_not_confirmed(chains: Chains) -> None:
    invented = Officer(PLATFORM, "kr-invented", PLATFORM.gateway)
    chains.take(invented.application())
    admission = ALICE.admission(chains.authority(invented.party))
    forged = Mallory(PLATFORM.gateway).header(admission, kid=PLATFORM.gateway.public.id)
    assert refusal(chains, forged).code == "key-role"


def test_a_standing_is_an_operator_s_alone(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    raw = ALICE.standing(officer.party)
    for secret in (PLATFORM.gateway, PLATFORM.desk.secret, PLATFORM.carol.secret, officer.secret):
        assert refusal(chains, Mallory(secret).header(raw, kid=secret.public.id)).code == "key-role"


# -- new keys -------------------------------------------------------------------------------------------------------------


def turned(chains: Chains, officer: Officer, now: Instant, **rekey: Any) -> Ed25519Secret:
    """The officer with a new key."""
    new = Ed25519Secret.generate()
    chains.take(officer.rekey(new, now=now, **rekey), now)
    officer.secret = new
    return new


def test_new_keys_count_from_their_receipt_and_old_ones_until_then(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    old, identity = officer.secret, generate_identity()
    before, early = NOW + MINUTE, officer.request(now=NOW).statement
    late = officer.request(now=NOW + 3 * MINUTE).statement
    new = turned(chains, officer, NOW + 2 * MINUTE, identity=identity)
    authority = chains.authority(officer.party)
    assert authority.rekeyed == NOW + 2 * MINUTE
    assert authority.sealing == (recipient_of(identity),)
    assert authority.state is ACTIVE
    known = chains.known(officer.party)
    assert read(early, known, before).holder.key == old.public  # what was said before stays verifiable
    for at, raw in ((NOW + 2 * MINUTE + SECOND, late), (NOW + 3 * MINUTE, early)):
        with pytest.raises(Refused) as found:
            read(raw, known, at)
        assert found.value.code == "key-not-active"
    assert read(officer.request(now=NOW + 2 * MINUTE).statement, known, NOW + 2 * MINUTE).holder.key == new.public


def test_what_an_old_key_said_in_the_second_of_its_end_stays_verifiable(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    old, said = officer.secret, officer.request(now=NOW + MINUTE).statement
    turned(chains, officer, NOW + MINUTE)
    assert read(said, chains.known(officer.party), NOW + MINUTE).holder.key == old.public


def test_a_new_key_did_not_count_before(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    turned(chains, officer, NOW + 2 * MINUTE)
    with pytest.raises(Refused) as found:
        read(officer.request(now=NOW).statement, chains.known(officer.party), NOW + MINUTE)
    assert found.value.code == "key-not-active"


def test_a_key_that_is_kept_counts_on_from_its_first_day(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    old, card = officer.secret, P256Secret.generate()
    chains.take(officer.rekey(card, keep=(old,), now=NOW + MINUTE), NOW + MINUTE)
    holders = {one.key.id: one for one in chains.authority(officer.party).holders}
    assert (holders[old.public.id].since, holders[old.public.id].until) == (NOW, None)
    assert (holders[card.public.id].since, holders[card.public.id].until) == (NOW + MINUTE, None)


def test_the_sealing_key_alone_may_change(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    identity = generate_identity()
    chains.take(officer.rekey(officer.secret, identity))
    authority = chains.authority(officer.party)
    assert authority.sealing == (recipient_of(identity),)
    assert [one.until for one in authority.holders] == [None]


def test_a_retired_key_does_not_come_back(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    old = officer.secret
    turned(chains, officer, NOW + MINUTE)
    assert refusal(chains, officer.rekey(old), NOW + 2 * MINUTE).code == "invalid-member"
    newest = Ed25519Secret.generate()
    assert refusal(chains, officer.rekey(newest, keep=(old,)), NOW + 2 * MINUTE).code == "invalid-member"


def test_a_retired_key_does_not_sign_new_keys(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    thief = Officer(PLATFORM, officer.name, officer.secret)
    turned(chains, officer, NOW + MINUTE)
    assert refusal(chains, thief.rekey(Ed25519Secret.generate()), NOW + 2 * MINUTE).code == "key-not-active"


def test_old_keys_stay_ended_when_new_ones_follow(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    turned(chains, officer, NOW + MINUTE)
    turned(chains, officer, NOW + 2 * MINUTE)
    ends = sorted(one.until or NOW for one in chains.authority(officer.party).holders)
    assert ends == [NOW, NOW + MINUTE + SECOND, NOW + 2 * MINUTE + SECOND]


def test_a_new_key_is_proven_by_itself(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    stolen = Ed25519Secret.generate()  # whose public half alone is at hand
    unproven = officer.rekey(stolen, by=officer.secret, keep=(officer.secret,))
    assert (refusal(chains, unproven).code, refusal(chains, unproven).reason) == (
        "invalid-member",
        "inner by an old key",
    )
    assert refusal(chains, officer.rekey(stolen, by=officer.secret)).code == "key-unknown"


def test_the_inner_statement_is_none_by_itself(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    raw = officer.rekey(Ed25519Secret.generate())
    chains.take(raw)
    refused = refusal(chains, claims_in(raw)["inner"].encode())
    assert refused.code in {"jti-reused", "missing-member"}


def test_an_inner_statement_without_its_own_inner_is_refused(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    raw = Mallory(officer.secret).without(officer.rekey(Ed25519Secret.generate()), "inner")
    assert refusal(chains, raw).code == "missing-member"


def test_new_sealing_keys_are_sound_too(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    bad = officer.rekey(Ed25519Secret.generate(), sealing=("age1" + "q" * 58,))
    assert refusal(chains, bad).code == "invalid-member"


@pytest.mark.parametrize(("standing", "code"), [(None, "impossible"), (SUSPEND, "authority-not-active")])
def test_only_the_active_change_their_keys(
    chains: Chains, officer: Officer, standing: Standing | None, code: str
) -> None:
    chains.take(officer.application())
    if standing is not None:
        chains.take(ALICE.standing(officer.party, standing))
    assert refusal(chains, officer.rekey(Ed25519Secret.generate())).code == code


def test_two_keys_of_one_application_both_count(chains: Chains) -> None:
    spare = Ed25519Secret.generate()
    officer = Officer(PLATFORM)
    chains.take(officer.application(signing=(jwk_of(officer.secret.public), jwk_of(spare.public))))
    authority = chains.authority(officer.party)
    assert {one.key.id for one in authority.holders} == {officer.secret.public.id, spare.public.id}
    assert authority.holder(spare.public.id) is not None
    assert authority.holder(PLATFORM.gateway.public.id) is None


# -- the fold -------------------------------------------------------------------------------------------------------------


def test_the_rows_fold_to_the_same_authority_every_time(chains: Chains, officer: Officer) -> None:
    chains.admitted(officer)
    turned(chains, officer, NOW + MINUTE)
    chains.take(ALICE.standing(officer.party))
    again = RegistryChain.read(chains.registry_rows[officer.party], PLATFORM.keyset)
    assert again == chains.registry[officer.party]


def test_steps_fold_as_rows_do(chains: Chains, officer: Officer) -> None:
    authority = chains.admitted(officer)
    assert fold(steps_of(chains, officer)) == authority


def test_what_belongs_to_no_registry_is_refused(chains: Chains, officer: Officer) -> None:
    said, known = everything_said(PLATFORM, officer)
    for typ, raw in said.items():
        if typ == "rogatory-keyset+jwt":
            continue
        statement = read(raw, known, NOW)
        if typ.split("-")[1].split("+")[0] in {"application", "admission", "standing", "rekey"}:
            assert chain_of(statement) == officer.party
            continue
        with pytest.raises(Refused) as found:
            chain_of(statement)
        assert found.value.code == "type-refused"


def test_a_registry_row_has_a_statement(chains: Chains, officer: Officer) -> None:
    authority = chains.admitted(officer)
    with pytest.raises(Refused):
        advance(authority, Step(Stage.TAKEN, NOW, digest_of(b"")))
    row = chains.registry_rows[officer.party][0]
    with pytest.raises(Refused) as found:
        RegistryChain().then(Row(row.receipt), PLATFORM.keyset)
    assert found.value.code == "receipt-wrong"


def test_a_chain_has_an_end(chains: Chains, officer: Officer, monkeypatch: pytest.MonkeyPatch) -> None:
    chains.admitted(officer)
    monkeypatch.setattr(limits, "STATEMENTS", 4)
    chains.take(ALICE.standing(officer.party))
    assert refusal(chains, BOB.standing(officer.party, RESTORE)).code == "impossible"


def test_a_receipt_of_the_registry_promises_what_follows(chains: Chains, officer: Officer) -> None:
    chains.take(officer.application())
    chain = chains.registry[officer.party]
    raw = ALICE.standing(officer.party, SUSPEND)
    statement: Statement = chains.read(raw)
    step = Step(Stage.TAKEN, NOW, statement.digest, statement)
    after = advance(chain.authority, step)
    good = chains.receipt(chain.link, after, step)
    assert chain.then(Row(good, raw), PLATFORM.keyset).authority == after
    mallory = Mallory(PLATFORM.gateway)
    for members in (
        {"state": "active"},
        {"aud": "kr-spo"},
        {"authority": "kr-spo"},
        {"due": claims_in(good)["iat"] + 60},
        {"seq": 3},
        {"previous": "0" * 64},
        {"of": "0" * 64},
        {"stage": "handed"},
        {"iat": claims_in(good)["iat"] - 1},
    ):
        with pytest.raises(Refused) as found:
            chain.then(Row(mallory.claims(good, **members), raw), PLATFORM.keyset)
        assert found.value.code == "receipt-wrong", members


def test_the_first_link_is_where_a_chain_begins() -> None:
    assert (Link().seq, Link().previous) == (1, None)
