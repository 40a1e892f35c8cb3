"""Deadlines: the few verbs that laws use. Rules come from `frameworks`, instants from receipts; no clock is read."""

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never, final

from protocol.ids import Instant
from protocol.terms import Urgency


@final
@dataclass(frozen=True, slots=True)
class Deadline:
    """How long an answer may take, and by which articles."""

    ordinary: timedelta
    ordinary_article: str
    emergency: timedelta
    emergency_article: str

    def length(self, urgency: Urgency) -> timedelta:
        """The time between the receipt and the answer."""
        match urgency:
            case Urgency.ORDINARY:
                return self.ordinary
            case Urgency.EMERGENCY:
                return self.emergency
            case _:
                assert_never(urgency)


def due(rule: Deadline, received: Instant, urgency: Urgency) -> Instant:
    """When the answer is owed to a request received then."""
    return received + rule.length(urgency)


def left(due_at: Instant, stopped: Instant) -> timedelta:
    """What is left of a clock that stops; nothing when it had run out."""
    return max(due_at - stopped, timedelta(0))


def resumed(remaining: timedelta, at: Instant) -> Instant:
    """When a clock that resumes at `at` runs out."""
    return at + remaining
