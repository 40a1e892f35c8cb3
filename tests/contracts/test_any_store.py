"""One suite for every store engine."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.store import CaseRow, Commit, Store, StoreError
from gateway.store.sqlite import SqliteStore
from protocol.ids import CaseId, Digest, PartyId, case_id, digest_of, instant
from protocol.sayings import Stage

NOW = instant(1_795_000_000)
A = PartyId("kr-knpa-cyber")
B = PartyId("de-bka")
DESK = PartyId("tg.example")


@pytest.fixture(params=["sqlite"])
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "gateway.db")
    yield opened
    await opened.close()


def a_digest(text: str) -> Digest:
    return digest_of(text.encode())


def a_case(number: int, *, authority: PartyId = A, seq: int = 1, due: int | None = 100, **members: object) -> Commit:
    of = a_digest(f"{authority} request {number} {seq}")
    case = case_id(1_795_000_000 + number, a_digest(f"{authority} {number}"))
    row = CaseRow(
        case, authority, "main", "received", NOW, None if due is None else NOW + timedelta(seconds=due), False, seq
    )
    told: dict[str, object] = {
        "issuer": authority,
        "jti": f"jti-{authority}-{number}-{seq}",
        "statement": f"statement {number} {seq}".encode(),
        "case": row,
        "entities": ("main",),
    }
    return Commit(case, seq, Stage.TAKEN, NOW, of, b"receipt %d" % seq, **(told | members))  # type: ignore[arg-type]


async def test_what_append_returned_for_is_found_again(store: Store) -> None:
    commit = a_case(1)
    assert await store.append([commit]) == [True]
    assert [(row.receipt, row.statement) for row in await store.chain(commit.chain)] == [
        (b"receipt 1", b"statement 1 1")
    ]
    found = await store.named(A, "jti-kr-knpa-cyber-1-1")
    assert found is not None
    assert (found.digest, found.chain, found.receipt) == (commit.of, commit.chain, b"receipt 1")
    assert await store.owner(CaseId(commit.chain)) == A


async def test_a_place_that_is_taken_is_refused_and_leaves_nothing(store: Store) -> None:
    first, second = a_case(1), a_case(1, jti="another")
    assert await store.append([first, second]) == [True, False]
    before = await store.counts()
    assert await store.append([second]) == [False]
    assert await store.counts() == before


async def test_a_name_that_is_taken_is_refused_and_the_rest_of_the_group_stands(store: Store) -> None:
    one, twice, other = a_case(1), a_case(2, jti="jti-kr-knpa-cyber-1-1"), a_case(3)
    assert await store.append([one, twice, other]) == [True, False, True]
    assert await store.chain(twice.chain) == []
    assert len(await store.chain(other.chain)) == 1


async def test_the_same_jti_of_two_authorities_is_two_statements(store: Store) -> None:
    assert await store.append([a_case(1, jti="same"), a_case(1, authority=B, jti="same")]) == [True, True]


async def test_stages_without_a_statement_share_no_name(store: Store) -> None:
    first = a_case(1)
    bare = {"issuer": None, "jti": None, "statement": None}
    assert await store.append([first, a_case(1, seq=2, **bare), a_case(1, seq=3, **bare)]) == [True] * 3
    assert [row.statement is None for row in await store.chain(first.chain)] == [False, True, True]


async def test_cases_are_listed_by_cursor_oldest_first_and_only_ones_own(store: Store) -> None:
    mine = [a_case(number) for number in range(7)]
    await store.append([*mine, a_case(3, authority=B)])
    page = await store.cases(A, None, 3)
    assert [row.case for row in page] == [one.chain for one in mine[:3]]
    rest = await store.cases(A, page[-1].case, 100)
    assert [row.case for row in rest] == [one.chain for one in mine[3:]]
    assert await store.cases(A, rest[-1].case, 100) == []


async def test_a_sealed_part_is_kept_with_its_statement_and_goes_into_the_outbox_with_it(store: Store) -> None:
    sealed = (a_digest("sealed"), os.urandom(100))
    await store.append([a_case(1, sealed=sealed)])
    assert await store.sealed(sealed[0]) == (sealed[1], a_case(1).chain)
    assert await store.sealed(a_digest("none")) is None
    (owed,) = await store.owed("main", NOW, 10)
    assert (owed.receipt, owed.statement, owed.sealed, owed.rejection) == (
        b"receipt 1",
        b"statement 1 1",
        sealed[1],
        None,
    )


async def test_what_is_owed_comes_again_until_the_desk_has_it(store: Store) -> None:
    one = a_case(1)
    await store.append([one, a_case(1, seq=2), a_case(2)])
    rows = await store.owed("main", NOW, 10)
    assert len(rows) == 3
    await store.published(rows, {row.id: NOW + timedelta(minutes=1) for row in rows})
    assert await store.owed("main", NOW, 10) == []
    again = await store.owed("main", NOW + timedelta(minutes=1), 10)
    assert [(row.receipt, row.attempts) for row in again] == [(row.receipt, 1) for row in rows]
    assert await store.settle("main", one.chain, a_case(1, seq=2).of)
    assert len(await store.owed("main", NOW + timedelta(hours=1), 10)) == 1
    assert not await store.settle("main", one.chain, a_digest("unknown"))
    assert not await store.settle("main", "no such chain", one.of)


async def test_a_desk_settles_up_to_a_row_and_not_beyond(store: Store) -> None:
    one = a_case(1)
    await store.append([one, a_case(1, seq=2)])
    assert await store.settle("main", one.chain, one.of)
    (left,) = await store.owed("main", NOW, 10)
    assert left.receipt == b"receipt 2"


async def test_each_entity_has_its_own_outbox(store: Store) -> None:
    await store.append([a_case(1, entities=("main", "eu"))])
    assert len(await store.owed("main", NOW, 10)) == len(await store.owed("eu", NOW, 10)) == 1
    await store.settle("eu", a_case(1).chain, a_case(1).of)
    assert (len(await store.owed("main", NOW, 10)), len(await store.owed("eu", NOW, 10))) == (1, 0)


async def test_a_rejection_is_published_once(store: Store) -> None:
    await store.reject("main", b"a rejection")
    (row,) = await store.owed("main", NOW, 10)
    assert (row.rejection, row.receipt) == (b"a rejection", None)
    await store.published([row], {row.id: NOW})
    assert await store.owed("main", NOW + timedelta(days=1), 10) == []


async def test_a_blob_belongs_to_its_first_sender_until_a_statement_names_it(store: Store) -> None:
    digest = a_digest("blob")
    assert await store.blob(digest) is None
    await store.blob_stored(digest, 10, DESK, NOW)
    await store.blob_stored(digest, 10, A, NOW)
    found = await store.blob(digest)
    assert found is not None
    assert (found.size, found.owner, found.case) == (10, DESK, None)
    await store.append([a_case(1, blobs=(digest,))])
    found = await store.blob(digest)
    assert found is not None
    assert (found.case, found.entity) == (a_case(1).chain, "main")


async def test_only_what_no_statement_names_is_an_orphan(store: Store) -> None:
    named, orphan = a_digest("named"), a_digest("orphan")
    for digest in (named, orphan):
        await store.blob_stored(digest, 1, A, NOW)
    await store.append([a_case(1, blobs=(named,))])
    assert await store.orphans(NOW, 10) == []
    later = NOW + timedelta(seconds=1)
    assert await store.orphans(later, 10) == [orphan]
    await store.forget_blobs([named, orphan])
    assert await store.blob(named) is not None
    assert await store.blob(orphan) is None


async def test_fetched_blobs_of_a_case_add_up(store: Store) -> None:
    one, two, case = a_digest("1"), a_digest("2"), CaseId(a_case(1).chain)
    for digest in (one, two):
        await store.blob_stored(digest, 1, DESK, NOW)
    await store.append([a_case(1, blobs=(one, two))])
    assert await store.blob_fetched(case, one, NOW) == {one}
    assert await store.blob_fetched(case, one, NOW) == {one}
    assert await store.blob_fetched(case, two, NOW) == {one, two}
    assert await store.blob_fetched(CaseId("another"), two, NOW) == frozenset()


async def test_what_desks_said_of_a_registry_statement_is_kept_once_a_desk(store: Store) -> None:
    of = a_digest("standing")
    await store.accepted("main", of, b"first")
    await store.accepted("main", of, b"second")
    await store.accepted("eu", of, b"eu")
    assert sorted(await store.acceptances(of)) == [b"eu", b"second"]


async def test_overdue_cases_are_found_longest_first_and_once(store: Store) -> None:
    await store.append([a_case(1, due=30), a_case(2, due=10), a_case(3, due=None), a_case(4, due=99)])
    found = await store.overdue(NOW + timedelta(seconds=30), 10)
    assert [row.case for row in found] == [a_case(2).chain, a_case(1).chain]
    noticed = found[0]
    row = CaseRow(noticed.case, A, "main", "received", NOW, noticed.due, True, 2)
    await store.append([a_case(2, seq=2, issuer=None, jti=None, case=row)])
    assert [one.case for one in await store.overdue(NOW + timedelta(seconds=30), 10)] == [a_case(1).chain]


async def test_a_lease_has_one_holder_until_it_runs_out(store: Store) -> None:
    length = timedelta(seconds=30)
    assert await store.lease("clock", "one", NOW, length)
    assert not await store.lease("clock", "two", NOW, length)
    assert await store.lease("clock", "one", NOW + timedelta(seconds=20), length)
    assert not await store.lease("clock", "two", NOW + timedelta(seconds=40), length)
    assert await store.lease("clock", "two", NOW + timedelta(seconds=50), length)
    assert await store.lease("sequencer", "one", NOW, length)


async def test_authorities_are_those_that_applied(store: Store) -> None:
    for party in (A, B):
        await store.append([_registry(party)])
    assert await store.authorities() == [B, A]


def _registry(party: PartyId) -> Commit:
    return Commit(
        party,
        1,
        Stage.TAKEN,
        NOW,
        a_digest(party),
        b"receipt",
        party,
        "jti",
        b"application",
        state="pending",
        entities=("main",),
    )


async def test_sqlite_files_are_their_owners_alone(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "gateway.db")
    await store.append([a_case(1)])
    modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208
    await store.close()
    assert modes == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "gateway.db")
    await store._write(lambda writer: writer.execute("UPDATE meta SET value = '99'"))
    await store.close()
    with pytest.raises(StoreError) as refused:
        await SqliteStore.open(tmp_path / "gateway.db")
    assert refused.value.flaw == "newer-schema"


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError) as refused:
        await SqliteStore.open(tmp_path / "gateway.db")
    assert refused.value.flaw == "unusable"


async def test_a_failing_write_promises_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "gateway.db")
    with pytest.raises(StoreError):
        await store.append([a_case(1), a_case(2, entities=(object(),))])
    assert await store.chain(a_case(1).chain) == []
    assert await store.append([a_case(1)]) == [True]
    await store.close()


async def test_a_closed_store_reads_nothing(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "gateway.db")
    await store.close()
    with pytest.raises(StoreError):
        await store.chain("x")
    with pytest.raises(StoreError):
        await store.owner(CaseId("x"))
