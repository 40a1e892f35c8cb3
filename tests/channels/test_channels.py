"""The values of `channels` and the way to an engine."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channels import BODY_MAX_BYTES, ChannelError, Entry, open_channel

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize("id_", [b"", bytes(15), bytes(17)])
def test_an_entrys_id_has_sixteen_bytes(id_: bytes) -> None:
    with pytest.raises(ChannelError, match=r"^entry-id$"):
        Entry(id_, b"")


def test_an_entrys_body_has_at_most_a_mebibyte() -> None:
    Entry(bytes(16), bytes(BODY_MAX_BYTES))
    with pytest.raises(ChannelError, match=r"^entry-size$"):
        Entry(bytes(16), bytes(BODY_MAX_BYTES + 1))


def test_an_error_carries_its_flaw() -> None:
    assert (ChannelError("busy").flaw, str(ChannelError("busy"))) == ("busy", "busy")


@pytest.mark.parametrize("slashes", ["sqlite://", "sqlite:///"])
async def test_a_sqlite_address_names_a_file(tmp_path: Path, slashes: str) -> None:
    file = tmp_path / "50 % off?#.db"  # nothing in the path is decoded
    channel = open_channel(f"{slashes}{file}", lambda: NOW)
    await channel.publish("a", [Entry(bytes(16), b"x")])
    await channel.close()
    assert file.is_file()
    again = open_channel(f"sqlite://{file}", lambda: NOW)
    (lease,) = await again.receive("a", limit=1, lease=timedelta(1), wait=timedelta(0))
    await again.close()
    assert lease.entry.body == b"x"


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("", "channel-scheme"),
        ("sqlite", "channel-scheme"),
        ("sqlite:/tmp/x", "channel-scheme"),
        ("SQLITE:///tmp/x", "channel-scheme"),
        ("kafka://host/x", "channel-scheme"),
        ("/var/x", "channel-scheme"),
        ("sqlite://", "channel-path"),
        ("sqlite:///", "channel-path"),
        ("sqlite://relative/x", "channel-path"),
        ("sqlite://:memory:", "channel-path"),
        ("sqlite:///tmp/\0x", "channel-path"),
    ],
)
def test_no_other_address_opens_anything(url: str, flaw: str) -> None:
    with pytest.raises(ChannelError, match=rf"^{flaw}$"):
        open_channel(url, lambda: NOW)
