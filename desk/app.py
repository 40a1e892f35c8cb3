"""The desk put together: settings to keys, store, channel, source and loops; started and stopped from top to bottom.

The one place of this party, beside its command line, that reads a clock and makes randomness. A loop whose step fails goes on; a
loop that dies stops the process, and the next one goes on from what stands in the store.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO, final

from channels import Channel, Lease, open_channel
from channels.http import Http
from channels.logs import configure, get_log
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from crypto.errors import CryptoError
from crypto.keyring import Keyring, SealingSecret, read_passphrase
from crypto.keys import SecretKey, X25519Secret, read_jwk, signing_secret
from desk.blobs import Blobs, proofs
from desk.disclosures import PART, Disclosures, Put
from desk.filing import Filing
from desk.settings import DeskSettings
from desk.sources import SqlSource
from desk.store import Store
from desk.worker import Keys, Worker
from protocol.events import EVENTS
from protocol.ids import Instant, PartyId
from protocol.keyset import Keyset, newer, read_keyset
from protocol.terms import Role

log = get_log()


def system_now() -> Instant:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


@final
@dataclass(frozen=True, slots=True)
class Desk:
    """An open desk: its record, its keys, and the newest keyset it has seen. For the worker and the reviewers' commands."""

    settings: DeskSettings
    store: Store
    ring: Keyring
    keyset: Keyset

    def signing(self) -> SecretKey:
        """The key that acceptances and decisions are signed with now."""
        return signing_secret(self.ring.current(Role.DESK).secret)

    @property
    def keys(self) -> Keys:
        """What opens particulars and drafts: all keys that still may, the current one first."""
        held = [one.secret for one in self.ring.openers(Role.DESK_SEALING)]
        identities = [secret.identity for secret in held if isinstance(secret, SealingSecret)]
        current = self.ring.current(Role.DESK_SEALING).secret
        if not isinstance(current, SealingSecret):
            raise TypeError("the ring holds another kind of key for sealing")
        return Keys(self.keyset, identities, current.recipient)

    def boxes(self) -> list[X25519Secret]:
        """The keys that open what the gateway sends."""
        held = [one.secret for one in self.ring.openers(Role.DESK_QUEUE)]
        return [secret for secret in held if isinstance(secret, X25519Secret)]


def open_desk(settings: DeskSettings, now: Instant) -> Desk:
    """Open key ring and record; take the keyset under the pinned root, never an older one than was held before.

    Raises CryptoError, Refused, StoreError, OSError.
    """
    root = read_jwk(json.loads(settings.root.read_text()))
    platform = PartyId(settings.platform)
    found = read_keyset(settings.keyset.read_bytes(), root, platform, now)
    ring = Keyring.open(settings.ring, read_passphrase(settings.passphrase_file))
    store = Store.open(settings.database)
    try:
        with store.transaction():
            held = store.keyset()
            keyset = newer(None if held is None else read_keyset(held, root, platform, None), found)
            if held != keyset.statement.raw:
                store.put_keyset(keyset.statement.raw)
        desk = Desk(settings, store, ring, keyset)
        holder = keyset.holder(desk.signing().public.id)
        if holder is None or holder.role is not Role.DESK or not holder.valid(now):
            raise CryptoError("signing-key-not-in-keyset")
    except BaseException:
        store.close()
        raise
    return desk


@asynccontextmanager
async def opened(
    settings: DeskSettings, now: Callable[[], Instant] = system_now, put: Put | None = None
) -> AsyncIterator[Worker]:
    """A worker, ready to run; at the end everything is closed in the opposite order. `put` stands in for the gateway's blobs."""
    source = SqlSource.read(settings.sources)
    desk = await asyncio.to_thread(open_desk, settings, now())
    for path in (settings.data / "disclosures").glob(f".*{PART}"):
        path.unlink(missing_ok=True)  # what a crash left half sealed
    channel = open_channel(settings.channel, now)
    try:
        authorise = proofs(desk.keyset.platform, desk.signing, now, secrets.token_bytes)
        async with Http(settings.gateway, authorise) as http:
            log.info("desk.started", platform=settings.platform, entity=settings.entity, keyset=desk.keyset.version)
            yield _worker(desk, source, channel, put or Blobs(http).put, now)
    finally:
        await channel.close()
        desk.store.close()
        log.info("desk.stopped")


def _worker(desk: Desk, source: SqlSource, channel: Channel, put: Put, now: Callable[[], Instant]) -> Worker:
    settings, keys, entropy = desk.settings, desk.keys, secrets.token_bytes
    entity = settings.entity
    incoming = Incoming(channel, f"requests.{entity}", Receiver(desk.boxes()), _dead)
    outgoing = Outgoing(
        channel,
        f"decisions.{entity}",
        Sender(),
        lambda: desk.keyset.queue(Role.GATEWAY_QUEUE, entity, now()),
        now,
        entropy,
    )
    filing = Filing(desk.store, desk.keyset, entity, keys.identities, desk.signing, entropy)
    folder = settings.data / "disclosures"
    disclosures = Disclosures(desk.store, desk.keyset, keys.identities, desk.signing, folder, put, entropy)
    return Worker(
        desk.store,
        keys,
        filing,
        source,
        disclosures,
        (incoming, outgoing),
        now=now,
        entropy=entropy,
        unreceipted=settings.unreceipted,
    )


def _dead(lease: Lease, flaw: str) -> None:
    log.error("entry.dead", stream=lease.stream, entry=lease.entry.id.hex(), reason=flaw, deliveries=lease.deliveries)


async def work(settings: DeskSettings, *, once: bool = False) -> None:
    """Run until SIGTERM or SIGINT, or, `once`, until there is nothing left to do."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with opened(settings) as worker:
        if once:
            await worker.work_until_idle()
            return
        async with asyncio.TaskGroup() as tasks:
            for one in worker.loops():
                tasks.create_task(worker.run(one, stop), name=one.name)


def main(settings: DeskSettings, stream: TextIO = sys.stdout, *, once: bool = False) -> None:
    """The process: logs to `stream`, one JSON object a line."""
    configure(EVENTS, party="desk", stream=stream)
    os.umask(0o077)
    asyncio.run(work(settings, once=once))
