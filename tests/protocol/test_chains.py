"""Chains: rows from bytes, each checked under the keys of its time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from crypto.keys import Ed25519Secret
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.problems import Refused
from protocol.terms import Outcome, Role
from tests.actors import NOW, Chains, Mallory, Officer, Platform

MINUTE = timedelta(minutes=1)


def told() -> tuple[Chains, Officer]:
    chains = Chains(Platform())
    officer = Officer(chains.platform)
    chains.admitted(officer)
    return chains, officer


def test_a_chain_of_no_rows_is_empty() -> None:
    chains, officer = told()
    assert RegistryChain.read([], chains.platform.keyset) == RegistryChain()
    assert CaseChain.read([], chains.known(officer.party)) == CaseChain()


def test_rows_are_read_as_they_were_taken() -> None:
    chains, officer = told()
    case = chains.opened(officer)
    chains.take(chains.platform.desk.acceptance(case))
    rows = chains.case_rows[case.id]
    chain = CaseChain.read(rows, chains.known(officer.party))
    assert chain == chains.cases[case.id]
    assert chain.receipt is not None
    assert chain.receipt.raw == rows[-1].receipt


def test_every_row_is_read_under_the_keys_of_its_time() -> None:
    """A case outlives the keys of everyone who spoke in it."""
    chains, officer = told()
    platform = chains.platform
    case = chains.opened(officer)
    new = Ed25519Secret.generate()
    chains.take(officer.rekey(new, now=NOW + MINUTE), NOW + MINUTE)
    officer.secret = new
    chains.take(platform.desk.acceptance(case), NOW + 2 * MINUTE)
    chains.take(officer.supplement(case.id, now=NOW + 3 * MINUTE).statement, NOW + 3 * MINUTE)
    known = chains.known(officer.party)
    chain = CaseChain.read(chains.case_rows[case.id], known)
    assert chain.case is not None
    signers = {chain.case.request.holder.key.id, new.public.id}
    assert len(signers) == 2


def test_keys_of_the_platform_come_before_those_of_an_authority() -> None:
    """An authority that presents the gateway's key among its own does not become the gateway, nor the gateway it."""
    chains, officer = told()
    gateway = chains.platform.gateway.public
    authority = chains.authority(officer.party)
    claimed = replace(authority, holders=(replace(authority.holders[0], key=gateway), *authority.holders))
    found = Known(chains.platform.keyset, claimed).holder(gateway.id)
    assert found is not None
    assert (found.role, found.party) == (Role.GATEWAY, chains.platform.id)


def test_a_key_that_nobody_holds_is_nobody_s() -> None:
    chains, officer = told()
    assert Known(chains.platform.keyset).holder(officer.secret.public.id) is None
    assert chains.known(officer.party).holder(Ed25519Secret.generate().public.id) is None
    assert chains.known(officer.party).platform == chains.platform.id


def test_a_case_is_read_under_the_keys_of_its_own_authority() -> None:
    chains, officer = told()
    other = Officer(chains.platform, "kr-spo")
    chains.admitted(other)
    case = chains.opened(officer)
    with pytest.raises(Refused) as found:
        CaseChain.read(chains.case_rows[case.id], chains.known(other.party))
    assert found.value.code == "key-unknown"


def test_a_decision_by_the_gateway_and_a_receipt_by_the_desk_are_refused() -> None:
    chains, officer = told()
    platform = chains.platform
    case = chains.opened(officer)
    decision = platform.desk.decision(case, Outcome.NO_DATA)
    forged = Mallory(platform.gateway).header(decision, kid=platform.gateway.public.id)
    with pytest.raises(Refused) as found:
        chains.take(forged)
    assert found.value.code == "key-role"
    row = chains.take(decision)
    desk = Mallory(platform.desk.secret)
    receipt = desk.header(row.receipt, kid=platform.desk.secret.public.id)
    chain = CaseChain.read(chains.case_rows[case.id][:1], chains.known(officer.party))
    with pytest.raises(Refused) as found:
        chain.then(Row(receipt, decision), chains.known(officer.party))
    assert (found.value.code, found.value.reason) == (
        "receipt-wrong",
        "receipt: desk-signing key on rogatory-receipt+jwt",
    )


def test_swapping_the_sealing_key_in_an_application_makes_it_another_one() -> None:
    """The gateway hands the desk an application with a key of its own: the admissions are of the true one."""
    chains, officer = told()
    swapped = officer.application(sealing=(chains.platform.desk.recipient,))  # as if the gateway held the officer's key
    rows = [Row(b"", swapped), *chains.registry_rows[officer.party][1:]]
    fresh = Chains(chains.platform)
    fresh.take(swapped)
    for row in rows[1:]:
        assert row.statement is not None
        with pytest.raises(Refused) as found:
            fresh.take(row.statement)
        assert found.value.code == "digest-mismatch"
