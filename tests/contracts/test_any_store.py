"""One suite for every store engine, on real servers; what one engine alone promises comes at its end."""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from gateway.store import CaseRow, Commit, Store, StoreError, open_store
from gateway.store.postgres import PostgresStore
from protocol.ids import CaseId, Digest, PartyId, case_id, digest_of, instant
from protocol.terms import Stage
from tests.servers import postgres

NOW = instant(1_795_000_000)
A = PartyId("kr-knpa-cyber")
B = PartyId("de-bka")
DESK = PartyId("tg.example")


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A record that nobody has used."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'gateway.db'}"
        return
    made = await postgres().fresh()
    yield made
    await postgres().drop(made)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    yield opened
    await opened.close()


on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
async def second(url: str, store: Store) -> AsyncIterator[Store]:
    """Another process on the same record."""
    opened = await open_store(url)
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
    assert await store.append([first, a_case(1, seq=2, **bare), a_case(1, seq=3, **bare)]) == [True] * 3  # type: ignore[arg-type]
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


async def test_a_blob_that_its_sender_puts_again_has_its_time_anew(store: Store) -> None:
    digest, later = a_digest("blob"), NOW + timedelta(hours=1)
    await store.blob_stored(digest, 10, A, NOW)
    await store.blob_stored(digest, 10, B, later)
    assert await store.orphans(later, 10) == [digest]
    await store.blob_stored(digest, 10, A, later)
    assert await store.orphans(later, 10) == []
    found = await store.blob(digest)
    assert found is not None
    assert (found.owner, found.at) == (A, later)


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
    assert await store.blob_fetched(case, a_digest("3"), NOW) == {one, two}


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


async def test_what_is_refused_takes_nobodys_name_or_place(store: Store) -> None:
    await store.append([a_case(1)])
    refused = a_case(1, jti="a name")
    assert await store.append([refused, a_case(2, jti="a name"), a_case(3, jti="a name")]) == [False, True, False]


async def test_what_is_refused_leaves_nothing_anywhere(store: Store) -> None:
    blob, part = a_digest("blob"), (a_digest("part"), b"part")
    await store.blob_stored(blob, 1, A, NOW)
    await store.append([a_case(1)])
    before = await store.counts()
    moved = replace(a_case(1).case, state="closed", steps=9)  # type: ignore[type-var]
    refused = a_case(
        1, jti="another", case=moved, blobs=(blob,), sealed=part, state="suspended", entities=("main", "eu")
    )
    assert await store.append([refused]) == [False]
    assert await store.counts() == before
    assert [(one.state, one.steps) for one in await store.cases(A, None, 9)] == [("received", 1)]
    assert await store.sealed(part[0]) is None
    named = await store.blob(blob)
    assert named is not None
    assert named.case is None


async def test_of_two_rows_of_a_case_in_one_group_the_later_says_how_it_stands(store: Store) -> None:
    first, second = a_case(1), a_case(1, seq=2, due=7)
    assert await store.append([first, second]) == [True, True]
    assert await store.cases(A, None, 9) == [second.case]
    assert [row.receipt for row in await store.owed("main", NOW, 9)] == [b"receipt 1", b"receipt 2"]


async def test_of_two_rows_of_a_registry_in_one_group_the_later_says_how_it_stands(store: Store) -> None:
    second = replace(_registry(A), seq=2, jti="second", of=a_digest("second"), state="admitted")
    assert await store.append([_registry(A), second]) == [True, True]
    assert (await store.counts())["authorities"] == 1


async def test_of_two_cases_that_name_one_blob_in_one_group_the_first_has_it(store: Store) -> None:
    digest = a_digest("blob")
    await store.blob_stored(digest, 1, A, NOW)
    await store.append([a_case(1, blobs=(digest,)), a_case(2, blobs=(digest,))])
    found = await store.blob(digest)
    assert found is not None
    assert found.case == a_case(1).chain


async def test_a_sealed_part_that_two_statements_name_is_kept_once(store: Store) -> None:
    part = (a_digest("part"), b"the same bytes")
    await store.append([a_case(1, sealed=part), a_case(2, sealed=part)])
    assert await store.sealed(part[0]) == (part[1], a_case(1).chain)
    assert [row.sealed for row in await store.owed("main", NOW, 9)] == [part[1]] * 2


async def test_a_group_of_nothing_is_nothing(store: Store) -> None:
    assert await store.append([]) == []


async def test_a_large_group_is_one_commit(store: Store) -> None:
    group = [a_case(number, entities=("main", "eu")) for number in range(600)]
    group[300] = replace(group[300], jti=group[0].jti)
    kept = await store.append(group)
    assert [number for number, stands in enumerate(kept) if not stands] == [300]
    assert (await store.counts())["outbox"] == 599 * 2
    assert [row.statement for row in await store.owed("eu", NOW, 700)] == [
        one.statement for one in group if one is not group[300]
    ]


async def test_a_name_that_nobody_can_have_is_nobodys(store: Store) -> None:
    await store.append([a_case(1)])
    for issuer, jti in ((A, "\0"), ("\0", "x"), (A, ""), (A, "x" * 100_000), (A, "'; DROP TABLE rows --")):
        assert await store.named(issuer, jti) is None


async def test_what_was_never_sent_comes_before_what_is_sent_again(store: Store) -> None:
    await store.append([a_case(1), a_case(2), a_case(3)])
    rows = await store.owed("main", NOW, 2)
    assert [row.statement for row in rows] == [b"statement 1 1", b"statement 2 1"]
    await store.published(rows, {row.id: NOW for row in rows})
    assert [row.statement for row in await store.owed("main", NOW, 1)] == [b"statement 3 1"]
    assert [row.statement for row in await store.owed("main", NOW, 3)] == [
        b"statement 1 1",
        b"statement 2 1",
        b"statement 3 1",
    ]


async def test_what_takes_a_settled_rows_place_was_not_sent_with_it(store: Store) -> None:
    await store.append([a_case(1)])
    rows = await store.owed("main", NOW, 9)
    await store.settle("main", a_case(1).chain, a_case(1).of)
    await store.append([a_case(2)])
    await store.published(rows, {row.id: NOW + timedelta(hours=1) for row in rows})
    (row,) = await store.owed("main", NOW, 9)
    assert (row.statement, row.attempts) == (b"statement 2 1", 0)


async def test_a_failing_write_promises_nothing_and_the_next_one_works(store: Store) -> None:
    with pytest.raises(StoreError) as error:
        await store.append([a_case(1), a_case(2, entities=(object(),))])
    assert error.value.flaw == "not-written"
    assert await store.chain(a_case(1).chain) == []
    assert await store.append([a_case(1)]) == [True]


async def test_a_closed_store_reads_and_writes_nothing(url: str) -> None:
    store = await open_store(url)
    await store.owed("main", NOW, 9)
    await store.close()
    with pytest.raises(StoreError):
        await store.chain("x")
    with pytest.raises(StoreError):
        await store.owner(CaseId(a_case(1).chain))
    with pytest.raises(StoreError):
        await store.append([a_case(1)])


async def test_what_was_kept_is_there_after_a_new_start(url: str) -> None:
    store = await open_store(url)
    await store.append([a_case(1)])
    await store.close()
    store = await open_store(url)
    assert len(await store.chain(a_case(1).chain)) == len(await store.owed("main", NOW, 9)) == 1
    await store.close()


async def test_of_two_processes_that_take_one_place_one_has_it(store: Store, second: Store) -> None:
    for number in range(20):
        mine, theirs = a_case(number, jti=f"mine {number}"), a_case(number, jti=f"theirs {number}")
        kept = await asyncio.gather(store.append([mine]), second.append([theirs]))
        assert sorted(kept) == [[False], [True]]
    assert (await store.counts())["rows"] == (await store.counts())["outbox"] == 20


async def test_a_lease_has_one_holder_among_many_processes(store: Store, second: Store) -> None:
    asked = [one.lease("clock", f"{number}", NOW, timedelta(1)) for number in range(10) for one in (store, second)]
    assert len({number // 2 for number, held in enumerate(await asyncio.gather(*asked)) if held}) == 1


# PostgreSQL


@on_postgresql
async def test_groups_that_wait_for_each_other_are_both_kept(store: Store, second: Store) -> None:
    """Each has the other's first row as its last: the server rolls one back, which is then run again."""
    for number in range(0, 20, 2):
        one, two = a_case(number), a_case(number + 1)
        filling = [a_case(100 * number + 1_000 + more) for more in range(40)]
        kept = await asyncio.gather(store.append([one, *filling[:20], two]), second.append([two, *filling[20:], one]))
        assert sorted([kept[0][0] + kept[1][-1], kept[0][-1] + kept[1][0]]) == [1, 1]
    assert (await store.counts())["rows"] == 20 + 400


@on_postgresql
async def test_of_two_processes_that_serve_the_last_blobs_one_sees_both(store: Store, second: Store) -> None:
    for number in range(10):
        one, two, case = a_digest(f"1 {number}"), a_digest(f"2 {number}"), CaseId(a_case(number).chain)
        for digest in (one, two):
            await store.blob_stored(digest, 1, DESK, NOW)
        await store.append([a_case(number, blobs=(one, two))])
        seen = await asyncio.gather(store.blob_fetched(case, one, NOW), second.blob_fetched(case, two, NOW))
        assert {one, two} in seen


@on_postgresql
async def test_an_outbox_is_given_to_one_process_and_to_the_next_when_that_one_stops(url: str) -> None:
    one, two = await open_store(url), await open_store(url)
    await one.append([a_case(1)])
    assert len(await one.owed("main", NOW, 9)) == len(await one.owed("main", NOW, 9)) == 1
    assert await two.owed("main", NOW, 9) == []
    await one.close()
    assert len(await two.owed("main", NOW, 9)) == 1
    await two.close()


@on_postgresql
async def test_an_outbox_of_a_process_that_died_is_given_to_another_when_its_lease_is_over(
    url: str, store: Store, second: Store
) -> None:
    await store.append([a_case(1)])
    assert len(await store.owed("main", NOW, 9)) == 1
    await asked(url, "UPDATE leases SET until = 0")
    assert len(await second.owed("main", NOW, 9)) == 1
    await asked(url, "UPDATE leases SET until = until + 1")
    held = await asked(url, "SELECT holder, until - extract(epoch FROM now()) FROM leases WHERE name = 'outbox main'")
    assert isinstance(second, PostgresStore)
    assert [(row[0] == second._holder, 10 < row[1] <= 16) for row in held] == [(True, True)]


@on_postgresql
async def test_the_server_keeps_what_it_says_that_it_keeps(url: str, store: Store) -> None:
    assert isinstance(store, PostgresStore)
    query = "SELECT current_setting('synchronous_commit'), current_setting('statement_timeout')"
    assert [tuple(row) for row in await store._read(query)] == [("on", "10s")]


async def test_many_names_asked_for_at_once_are_each_answered(store: Store) -> None:
    await store.append([a_case(number) for number in range(0, 100, 2)])
    names = [f"jti-{A}-{number}-1" for number in range(100)]
    found = await asyncio.gather(*(store.named(A, name) for name in names))
    assert [None if one is None else one.chain for one in found] == [
        None if number % 2 else a_case(number).chain for number in range(100)
    ]


async def test_those_who_ask_and_leave_take_no_answer_with_them(store: Store) -> None:
    await store.append([a_case(1)])
    asking = [asyncio.create_task(store.named(A, f"jti-{A}-1-1")) for _ in range(10)]
    await asyncio.sleep(0)
    asking[0].cancel()  # on PostgreSQL the one who puts the question
    await asyncio.sleep(0)
    asking[3].cancel()
    found = await asyncio.gather(*asking[4:])
    assert {one is not None and one.chain == a_case(1).chain for one in found} == {True}
    await asyncio.gather(*asking, return_exceptions=True)


@on_postgresql
async def test_a_server_that_syncs_nothing_is_refused(url: str) -> None:
    try:
        await asked(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
        with pytest.raises(StoreError) as error:
            await open_store(url)
        assert error.value.flaw == "not-durable"
    finally:
        await asked(url, "ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")


@on_postgresql
async def test_what_another_holds_too_long_is_not_waited_for(url: str, store: Store, second: Store) -> None:
    blocker = await asyncpg.connect(url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE rows IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError) as error:
            await store.append([a_case(1)])
    await blocker.close()
    assert error.value.flaw == "not-written"
    assert await store.append([a_case(1)]) == [True]


@on_postgresql
async def test_more_calls_than_connections_wait_their_turn(url: str) -> None:
    store = await open_store(url, connections=1)
    await store.append([a_case(number) for number in range(50)])
    found = await asyncio.gather(*(store.chain(a_case(number).chain) for number in range(50)))
    assert [len(rows) for rows in found] == [1] * 50
    (busy,) = await asked(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rogatory-gateway'")
    assert busy[0] == 2, "one that reads and one that writes"
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@/none?host=/nowhere",
        "postgresql://postgres@127.0.0.1:1/none",
        "postgresql://postgres@127.0.0.1:port/none",
        "postgresql://postgres@127.0.0.1/none?sslmode=nonsense",
    ],
)
async def test_a_server_that_is_not_there_is_no_store(url: str) -> None:
    with pytest.raises(StoreError) as error:
        await open_store(url)
    assert error.value.flaw == "unusable"


@on_postgresql
async def test_a_server_killed_under_appends_loses_nothing_and_doubles_nothing(url: str, rounds: int) -> None:
    store, server, luck = await open_store(url), postgres(), random.Random(7)
    kept: set[str] = set()
    tried: dict[str, Commit] = {}
    found: set[str] = set()
    try:
        for number in range(rounds):
            load = [asyncio.create_task(appending(store, tried, kept, number, one)) for one in range(4)]
            await asyncio.sleep(0.05 + luck.random() / 5)
            await asyncio.to_thread(server.kill)
            before = len(kept)
            with pytest.raises(StoreError):
                await asyncio.wait_for(store.append([a_case(999_999)]), 1)
            asking = (store.named(A, f"{one}") for one in range(5))
            assert {type(one) for one in await asyncio.gather(*asking, return_exceptions=True)} == {StoreError}
            await asyncio.to_thread(server.start)
            while len(kept) == before:  # the store finds the server again by itself
                await asyncio.sleep(0.01)
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
            found = {row[0] for row in await asked(url, "SELECT chain FROM rows")}
            assert kept <= found <= set(tried)
        again = await store.append([*tried.values()])  # as clients do that were answered 503
        assert [
            one.chain for one, stands in zip(tried.values(), again, strict=True) if stands and one.chain in found
        ] == []
        counts = await store.counts()
        assert counts["rows"] == counts["cases"] == counts["outbox"] == len(tried)
        assert len(kept) > 0
    finally:
        await store.close()


@on_postgresql
async def test_a_store_closes_while_its_server_is_away(url: str) -> None:
    store = await open_store(url)
    await store.owed("main", NOW, 9)
    postgres().kill()
    try:
        await asyncio.wait_for(store.close(), 1)
    finally:
        postgres().start()


async def appending(store: Store, tried: dict[str, Commit], kept: set[str], number: int, one: int) -> None:
    """Group after group; what the store returned for is told."""
    for turn in range(10_000):
        group = [a_case(number * 1_000_000 + one * 100_000 + turn * 8 + more + 1) for more in range(8)]
        tried.update({commit.chain: commit for commit in group})
        with suppress(StoreError):
            stands = await store.append(group)
            kept.update(commit.chain for commit, stood in zip(group, stands, strict=True) if stood)
        await asyncio.sleep(0.001)


async def asked(url: str, *queries: str) -> list[asyncpg.Record]:
    """Said to the server by somebody else; the answer to the last."""
    connection = await asyncpg.connect(url)
    try:
        found: list[asyncpg.Record] = []
        for query in queries:
            found = await connection.fetch(query)
        return found
    finally:
        await connection.close()


# SQLite


@on_sqlite
async def test_sqlite_files_are_their_owners_alone(url: str, store: Store, tmp_path: Path) -> None:
    await store.append([a_case(1)])
    modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208
    assert modes == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError) as refused:
        await open_store(f"sqlite://{tmp_path / 'gateway.db'}")
    assert refused.value.flaw == "unusable"


async def test_a_file_without_a_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as other:
        other.execute("CREATE TABLE rows (of_something_else TEXT)")
    with pytest.raises(StoreError) as refused:
        await open_store(f"sqlite://{tmp_path / 'gateway.db'}")
    assert refused.value.flaw == "not-migrated"
