from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from desk.records import CaseRow, Duty, Release, SealedDraft, StoreError
from desk.store import Store
from protocol.chains import Row
from protocol.ids import CaseId, Digest, PartyId
from tests.actors import NOW

CASE = CaseId("01a00000-0000-8000-8000-000000000000")
OTHER = CaseId("01b00000-0000-8000-8000-000000000000")
A, B, C = (Digest(letter * 64) for letter in "abc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store.open(tmp_path / "data/desk.db")
    yield found
    found.close()


def case(of: CaseId = CASE, duty: Duty = Duty.LOOK_UP, urgency: str = "ordinary") -> CaseRow:
    return CaseRow(of, PartyId("kr-knpa"), "in_review", urgency, NOW, None, NOW, duty)


def test_what_is_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "data/desk.db"
    first = Store.open(path)
    first.add_row("chain", 1, Row(b"receipt", b"statement"), (A, B), NOW)
    first.put_case(case())
    first.put_keyset(b"keyset")
    second = Store.open(path)
    assert second.rows("chain") == [Row(b"receipt", b"statement")]
    assert second.receipt_digest("chain", 1) == A
    assert second.receipt_digest("chain", 2) is None
    assert second.case(CASE) == case()
    assert second.case(OTHER) is None
    assert second.keyset() == b"keyset"
    first.close()
    second.close()


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    store.add_row("chain", 1, Row(b"held"), (A, B), NOW)

    def fails() -> None:
        with store.transaction():
            store.put_case(case())
            store.add_row("chain", 1, Row(b"another"), (C, B), NOW)

    with pytest.raises(StoreError):
        fails()
    assert store.cases() == []
    with store.transaction():
        store.put_case(case())
    assert store.cases() == [case()]


def test_a_place_that_is_taken_stays_as_it_is(store: Store) -> None:
    store.add_row("chain", 1, Row(b"first"), (A, B), NOW)
    with pytest.raises(StoreError, match="not-written"):
        store.add_row("chain", 1, Row(b"second"), (C, B), NOW)
    assert store.rows("chain") == [Row(b"first")]


def test_other_threads_wait_for_a_transaction(store: Store) -> None:
    seen: list[list[CaseRow]] = []
    with store.transaction():
        thread = threading.Thread(target=lambda: seen.append(store.cases()))
        thread.start()
        store.put_case(case())
        thread.join(0.1)
        assert seen == []
    thread.join()
    assert seen == [[case()]]


def test_emergencies_are_looked_up_first_and_trouble_waits(store: Store) -> None:
    store.put_case(case())
    store.put_case(case(OTHER, urgency="emergency"))
    assert store.to_look_up(NOW, 9) == [OTHER, CASE]
    store.troubled(OTHER, "too-slow", NOW + timedelta(minutes=1))
    assert store.to_look_up(NOW, 9) == [CASE]
    assert store.to_look_up(NOW + timedelta(minutes=1), 9) == [OTHER, CASE]
    store.set_duty(OTHER, Duty.NONE)
    store.troubled(OTHER, "late", NOW)
    row = store.case(OTHER)
    assert row is not None
    assert (row.duty, row.trouble) == (Duty.NONE, None)


def test_approvals_count_for_the_present_draft_alone(store: Store) -> None:
    store.put_case(case())
    store.put_draft(CASE, SealedDraft(A, b"one"), NOW)
    store.add_approval(CASE, A, B, b"carol")
    store.add_approval(CASE, A, B, b"carol")
    assert store.to_release(NOW, 2, 9) == []
    store.add_approval(CASE, A, C, b"dave")
    assert store.to_release(NOW, 2, 9) == [CASE]
    store.put_draft(CASE, SealedDraft(B, b"two"), NOW)
    assert store.to_release(NOW, 2, 9) == []
    assert store.approvals(CASE, B) == []
    assert store.approvals(CASE, A) == [b"carol", b"dave"]
    store.drop_draft(CASE)
    assert store.draft(CASE) is None


def test_what_is_said_goes_out_in_order_until_it_is_answered(store: Store) -> None:
    store.accept(CASE, A, B, b"held", NOW, row=False)
    store.say(CASE, C, b"decided", NOW, decision=True, sealed=b"why")
    held, decided = store.owed(NOW, 9)
    assert (held.statement, held.awaits, held.decision) == (b"held", False, False)
    assert (decided.statement, decided.awaits, decided.sealed) == (b"decided", True, b"why")
    later = NOW + timedelta(minutes=1)
    for one in (held, decided):
        store.published(one, later)
    assert store.owed(NOW, 9) == []
    assert [one.digest for one in store.owed(later, 9)] == [C]
    assert store.awaiting(CASE)
    found = store.settled(C)
    assert found is not None
    assert found.attempts == 1
    assert store.settled(C) is None
    assert not store.awaiting(CASE)


def test_what_was_said_of_a_row_is_said_again_and_waits_for_nothing_new(store: Store) -> None:
    store.accept(CASE, A, B, b"accepted", NOW, row=True)
    assert store.accepted(CASE, A) == b"accepted"
    assert store.accepted(OTHER, A) is None
    (said,) = store.owed(NOW, 9)
    store.published(said, NOW + timedelta(hours=1))
    store.say_again(CASE, B, b"accepted", NOW)  # still waiting for its receipt
    (again,) = store.owed(NOW, 9)
    assert (again.awaits, again.id) == (True, said.id)
    store.settled(B)
    store.say_again(CASE, B, b"accepted", NOW)  # it had its receipt
    (once,) = store.owed(NOW, 9)
    assert not once.awaits


def test_a_withdrawn_case_s_decisions_are_unsaid_and_nothing_else(store: Store) -> None:
    store.accept(CASE, A, A, b"held", NOW, row=True)
    store.say(CASE, B, b"decided", NOW, decision=True)
    store.say(OTHER, C, b"decided too", NOW, decision=True)
    store.unsaid(CASE)
    assert [one.digest for one in store.owed(NOW, 9)] == [A, C]


def test_an_alarm_is_given_once_in_a_while(store: Store) -> None:
    store.say(CASE, A, b"decided", NOW, decision=True)
    hour, late = timedelta(hours=1), NOW + timedelta(minutes=20)
    assert store.unreceipted(NOW, NOW, hour) == []
    assert [one.digest for one in store.unreceipted(NOW + timedelta(seconds=1), late, hour)] == [A]
    assert store.unreceipted(late, late + timedelta(minutes=59), hour) == []
    assert len(store.unreceipted(late, late + hour, hour)) == 1


def test_a_release_is_kept_until_it_is_dropped(store: Store) -> None:
    release = Release(A, B, 7, ("one", "two"), "signer")
    assert store.release(CASE) is None
    store.put_release(CASE, release)
    assert store.release(CASE) == release
    assert store.released() == {B}
    store.drop_release(CASE)
    assert store.released() == frozenset()


def test_sealed_particulars_are_kept_by_their_digest(store: Store) -> None:
    store.add_sealed(A, CASE, b"sealed")
    store.add_sealed(A, CASE, b"other")
    assert store.sealed(A) == b"sealed"
    assert store.sealed(B) is None


def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "desk.db"
    store = Store.open(path)
    store.put_case(case())
    store.put_draft(CASE, SealedDraft(A, b"canary-1c8e"), NOW)
    store.drop_draft(CASE)
    store.close()  # the last connection folds the write-ahead log into the file
    assert b"canary-1c8e" not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "desk.db"
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (b"2",))
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="newer-schema"):
        Store.open(path)


def test_what_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "desk.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="unusable"):
        Store.open(tmp_path / "desk.db")
    with pytest.raises(StoreError, match="unusable"):
        Store.open(tmp_path / "desk.db" / "below")


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="not-read"):
        store.cases()
    with pytest.raises(StoreError, match="not-written"):
        store.put_keyset(b"")
