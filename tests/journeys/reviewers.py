"""Two reviewers who approve whatever draft they find, from a process of their own, as the command line does."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from desk.app import Desk, open_desk
from desk.records import Duty
from desk.review import Review
from desk.settings import load_desk
from protocol.problems import Refused
from tests.journeys.town import Town, now


@contextmanager
def at_the_desk(town: Town) -> Iterator[tuple[Desk, Review]]:
    desk = open_desk(load_desk(town.folder / "desk/desk.toml"), now())
    try:
        keys = desk.keys
        yield desk, Review(desk.store, desk.keyset, keys.identities, keys.recipient, os.urandom)
    finally:
        desk.store.close()


def approve_what_waits(desk: Desk, review: Review, town: Town) -> int:
    """Both reviewers approve every draft that waits. Returns how many."""
    done = 0
    for row in desk.store.cases():
        if row.duty is not Duty.REVIEW:
            continue
        for reviewer in town.platform.reviewers.values():
            try:
                opened = review.show(row.case, reviewer.secret, now())
                if opened.draft is not None and reviewer.name not in {one.holder.name for one in opened.approvals}:
                    review.approve(row.case, opened.draft.digest, reviewer.secret, now(), despite_flags=True)
                    done += 1
            except Refused:
                continue  # released or withdrawn meanwhile
    return done


def luck(below: float) -> float:
    """A random number of seconds below that."""
    return secrets.randbelow(int(below * 1000)) / 1000
