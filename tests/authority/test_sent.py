"""What was signed lies on disk until its receipt is there: files as they are, broken ones, and what is swept."""

import os
from pathlib import Path

import pytest

from authority.sent import Outbox, Owed, write
from protocol.ids import Digest, digest_of
from protocol.problems import Refused
from tests.actors import NOW, Officer, Platform, fresh_jti

PLATFORM = Platform(post_quantum=False)
OFFICER = Officer(PLATFORM)
TYP = "rogatory-request+jwt"


def an_owed(blobs: tuple[Digest, ...] = (), **members: str) -> Owed:
    sent = OFFICER.request(members=members)
    return Owed("/v1/cases", TYP, sent.statement, sent.sealed, blobs)


def test_what_is_kept_comes_back_as_it_was_oldest_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "sent")
    later, earlier = an_owed(), an_owed(jti=fresh_jti(NOW.replace(year=2025)))
    for owed in (later, earlier):
        outbox.keep(owed)
    assert Outbox(tmp_path / "sent").owed() == [earlier, later]
    assert {path.stat().st_mode & 0o777 for path in outbox.folder.glob("*.owed")} == {0o600}
    assert outbox.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="cut off"),
        pytest.param(b'{"path":"/v1/cases","typ":"rogatory-letter+jwt","statement":"a.b.c"}', id="unknown kind"),
        pytest.param(b'{"path":"//elsewhere","typ":"rogatory-request+jwt","statement":"a.b.c"}', id="another server"),
        pytest.param(b'{"path":"/v1/cases","typ":"rogatory-request+jwt","statement":"x"}', id="no token"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(tmp_path)
    (tmp_path / "1.owed").write_bytes(content)
    with pytest.raises(Refused):
        outbox.owed()


def test_a_blob_that_something_else_still_names_is_not_swept(tmp_path: Path) -> None:
    outbox, blob = Outbox(tmp_path), digest_of(b"sealed")
    outbox.blob(blob).write_bytes(b"sealed")
    one, two = an_owed((blob,)), an_owed((blob,))
    outbox.keep(one)
    outbox.keep(two)
    outbox.settle(one, OFFICER.party, 1, b"a receipt")
    assert outbox.blob(blob).exists()
    outbox.refuse(two, b"a rejection")
    assert not outbox.blob(blob).exists()
    assert outbox.receipts(OFFICER.party) == {1: b"a receipt"}
    assert outbox.owed() == []


def test_one_place_of_a_chain_has_one_receipt_for_ever(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for _ in range(2):
        outbox.remember(OFFICER.party, 3, b"one")
    with pytest.raises(Refused, match="receipt-wrong"):
        outbox.remember(OFFICER.party, 3, b"another")


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "f", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"
