"""Deadlines: the verbs that laws use, in whole instants."""

from datetime import timedelta

import pytest

from protocol.deadlines import Deadline, due, left, resumed
from protocol.ids import instant
from protocol.terms import Urgency

RULE = Deadline(timedelta(days=10), "Art. 10(3)", timedelta(hours=8), "Art. 10(4)")
NOON = instant(1_795_000_000)


@pytest.mark.parametrize(
    ("urgency", "length"), [(Urgency.ORDINARY, timedelta(days=10)), (Urgency.EMERGENCY, timedelta(hours=8))]
)
def test_an_answer_is_owed_so_long_after_the_receipt(urgency: Urgency, length: timedelta) -> None:
    assert due(RULE, NOON, urgency) == NOON + length


def test_a_clock_that_stops_keeps_what_was_left_and_goes_on_with_it() -> None:
    stopped = NOON + timedelta(days=4)
    remaining = left(due(RULE, NOON, Urgency.ORDINARY), stopped)
    assert remaining == timedelta(days=6)
    assert resumed(remaining, NOON + timedelta(days=30)) == NOON + timedelta(days=36)


def test_a_clock_that_had_run_out_has_nothing_left() -> None:
    assert left(NOON, NOON + timedelta(seconds=1)) == timedelta(0)
    assert left(NOON, NOON) == timedelta(0)
