from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.keys import Ed25519Secret, sealing_key_id
from crypto.sealing import generate_identity, recipient_of, unseal_bytes
from desk.disclosures import recipients_of
from desk.records import Release
from protocol.authorities import Authority
from protocol.cases import State
from protocol.ids import CaseId, Digest
from protocol.problems import Refused
from tests.actors import Officer
from tests.desks import House


async def approved(house: House) -> CaseId:
    """A case whose draft may leave, and a desk that does not run."""
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
    await house.approve(case, "carol", "dave")
    return case


def folder(house: House) -> Path:
    return house.settings.data / "disclosures"


async def test_two_workers_release_once_with_the_same_bytes(house: House) -> None:
    case = await approved(house)
    async with house.worker() as one, house.worker() as other:
        found = await asyncio.gather(one.release(), other.release())
        await house.settle(one)
    assert sum(found) == 1
    decided = house.case(case).decided
    assert decided is not None
    assert list(house.put) == [decided.disclosures[0].sha256]
    assert house.events("decision.rejected") == []


async def test_what_was_sealed_to_keys_that_ended_meanwhile_is_sealed_anew(house: House) -> None:
    case = await approved(house)
    async with house.worker() as worker:
        house.put_fails = 1
        await worker.release()
        (old,) = folder(house).glob("*.age")
        secret, identity = Ed25519Secret.generate(), generate_identity()
        house.now += timedelta(minutes=2)
        await house.take(house.officer.rekey(secret, identity, now=house.now))
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    (part,) = decided.disclosures
    assert part.recipients == (sealing_key_id(recipient_of(identity)),)
    assert part.sha256 not in old.name
    assert unseal_bytes(house.put[part.sha256], [identity])
    assert not list(folder(house).iterdir())


async def test_what_another_desk_key_was_to_sign_is_sealed_anew_and_a_lost_file_too(house: House) -> None:
    """about.json names the key that signs the decision."""
    case = await approved(house)
    store = house.store()
    draft = store.draft(case)
    assert draft is not None
    ids = (sealing_key_id(house.officer.recipient),)
    signer = house.platform.desk.secret.public.id
    for bent in (
        Release(draft.digest, Digest("0" * 64), 7, ids, "another key"),
        Release(draft.digest, Digest("0" * 64), 7, ids, signer),  # no such file
        Release(Digest("0" * 64), Digest("0" * 64), 7, ids, signer),
    ):
        store.put_release(case, bent)
        async with house.worker() as worker:
            house.put_fails = 1
            await worker.release()
        made = store.release(case)
        assert made is not None
        assert (made.signer, made.draft) == (signer, draft.digest)
        assert (folder(house) / f"{made.sha256}.age").stat().st_size == made.size
        store.troubled(case, "again", house.now)
    store.close()


async def test_a_withdrawal_while_bytes_travel_leaves_nothing_signed(house: House) -> None:
    case = await approved(house)
    async with house.worker() as worker:
        house.chains.take(house.officer.withdrawal(case))
        await house.send_rows(house.chains.case_rows[case][-1])
        put = house._put

        async def slow(path: Path, sha256: Digest) -> None:
            await put(path, sha256)
            await worker.receive(timedelta(0))

        worker._disclosures._put = slow
        assert await worker.release() == 0
        await house.settle(worker)
    assert house.case(case).state is State.WITHDRAWN
    assert house.case(case).decided is None
    assert not list(folder(house).iterdir())


async def test_what_is_not_approved_or_not_there_is_not_released(house: House) -> None:
    await house.admitted()
    case = await house.request()
    async with house.worker() as worker:
        await house.settle(worker)
        await house.approve(case, "carol")
        for one in (case, CaseId("01a00000-0000-8000-8000-000000000000")):
            with pytest.raises(Refused):
                await worker._disclosures.release(one, house.now)
    assert house.put == {}


async def test_a_draft_exchanged_while_bytes_travel_is_not_what_is_signed(house: House) -> None:
    case = await approved(house)
    async with house.worker() as worker:
        put = house._put

        async def slow(path: Path, sha256: Digest) -> None:
            await put(path, sha256)
            async with house.reviewing() as review:
                new = review.refuse(case, "impossible", "", house.platform.carol.secret, house.now)
                review.approve(case, new.digest, house.platform.dave.secret, house.now)

        worker._disclosures._put = slow
        assert await worker.release() == 0
        house.now += timedelta(minutes=2)
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert decided.disclosures == ()


async def test_a_half_sealed_file_of_a_crash_is_removed_at_the_next_start(house: House) -> None:
    await approved(house)
    folder(house).mkdir(exist_ok=True)
    left = folder(house) / ".0011223344556677.part"
    left.write_bytes(b"half")
    async with house.worker():
        assert not left.exists()


async def test_sweeping_an_empty_desk_removes_nothing(house: House) -> None:
    async with house.worker() as worker:
        assert worker._disclosures.sweep() == 0


def authority(house: House, *sealing: str) -> Authority:
    officer = Officer(house.platform)
    house.chains.take(officer.application(sealing=sealing))
    return house.chains.authority(officer.party)


def test_all_keys_of_one_kind_are_sealed_to_and_of_two_kinds_the_post_quantum_ones(house: House) -> None:
    strong = [recipient_of(generate_identity()) for _ in range(2)]
    old = [recipient_of(generate_identity(post_quantum=False)) for _ in range(2)]
    assert recipients_of(authority(house, *old)) == tuple(old)
    house.chains.registry.clear()
    assert recipients_of(authority(house, *strong)) == tuple(strong)
    house.chains.registry.clear()
    assert recipients_of(authority(house, old[0], *strong)) == tuple(strong)


async def test_an_authority_with_an_x25519_key_opens_its_disclosure(house: House) -> None:
    house.officer.identity = generate_identity(post_quantum=False)
    case = await approved(house)
    async with house.worker() as worker:
        await house.settle(worker)
    decided = house.case(case).decided
    assert decided is not None
    assert unseal_bytes(house.put[decided.disclosures[0].sha256], [house.officer.identity]).startswith(b"PK")


async def test_a_disk_that_is_full_releases_nothing_and_leaves_nothing(house: House) -> None:
    case = await approved(house)
    folder(house).mkdir(exist_ok=True)
    folder(house).rmdir()
    folder(house).write_bytes(b"")  # no folder can be made here
    async with house.worker() as worker:
        assert await worker.release() == 0
    store = house.store()
    row = store.case(case)
    store.close()
    assert row is not None
    assert row.trouble == "gateway-or-disk"
