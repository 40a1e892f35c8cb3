"""The gateway put together: settings to keys, store, channel, loops and listener; started and stopped from top to bottom.

The one place of this party that reads a clock and makes randomness. A loop that dies stops the process: what was promised is in
the record, and the next process goes on from there.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TextIO, final

from channels import Channel, Lease, open_channel
from channels.logs import configure, get_log
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from crypto.errors import CryptoError
from crypto.keyring import Keyring, read_passphrase
from crypto.keys import SecretKey, X25519Secret, read_jwk, signing_secret
from gateway.blobs import Blobs, open_blobs
from gateway.clock import Ticker
from gateway.commits import Arrivals, Commits
from gateway.door import Listener, Parts
from gateway.intake import Intake
from gateway.proofs import Buckets, Proofs
from gateway.registry import Registry
from gateway.relay import Relay
from gateway.routes import build
from gateway.settings import GatewaySettings
from gateway.store import Store, open_store
from protocol.events import EVENTS
from protocol.ids import Instant, PartyId
from protocol.keyset import Keyset, read_keyset
from protocol.terms import Role

log = get_log()


@final
class SystemClock:
    """The time of this machine."""

    def now(self) -> Instant:
        """UTC."""
        return datetime.now(UTC)

    async def sleep(self, length: timedelta) -> None:
        """Wait that long."""
        await asyncio.sleep(length.total_seconds())


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """The gateway's secrets and the public keys that it holds as given by the root."""

    ring: Keyring
    keyset: Keyset

    def signing(self) -> SecretKey:
        """The key that receipts are signed with now."""
        return signing_secret(self.ring.current(Role.GATEWAY).secret)

    def boxes(self) -> list[X25519Secret]:
        """The keys that open what the desks send."""
        held = [one.secret for one in self.ring.openers(Role.GATEWAY_QUEUE)]
        return [secret for secret in held if isinstance(secret, X25519Secret)]


def load_keys(settings: GatewaySettings, now: Instant) -> Keys:
    """Open the key ring, and read the keyset under the pinned root. Raises CryptoError, Refused, OSError."""
    root = read_jwk(json.loads(settings.root.read_text()))
    keyset = read_keyset(settings.keyset.read_bytes(), root, PartyId(settings.platform), now)
    ring = Keyring.open(settings.ring, read_passphrase(settings.passphrase_file))
    keys = Keys(ring, keyset)
    if (holder := keyset.holder(keys.signing().public.id)) is None or not holder.valid(now):
        raise CryptoError("signing-key-not-in-keyset")
    return keys


@final
@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway, for `serve` and for tests that look inside."""

    store: Store
    registry: Registry
    intake: Intake
    commits: Commits
    relays: tuple[Relay, ...]
    ticker: Ticker
    listener: Listener
    blobs: Blobs

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port


@asynccontextmanager
async def running(settings: GatewaySettings, clock: SystemClock | None = None) -> AsyncIterator[Gateway]:
    """Start everything, in order; at the end finish what was accepted, and stop in the opposite order."""
    clock = clock or SystemClock()
    keys = await asyncio.to_thread(load_keys, settings, clock.now())
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await open_store(settings.store)
    channel = open_channel(settings.channel, clock.now)
    try:
        gateway = await _built(settings, keys, store, channel, clock)
        async with asyncio.TaskGroup() as loops:
            tasks = [
                loops.create_task(gateway.commits.run(), name="commits"),
                *(loops.create_task(relay.publishing(), name="relay-out") for relay in gateway.relays),
                *(loops.create_task(relay.receiving(), name="relay-in") for relay in gateway.relays),
                loops.create_task(gateway.ticker.ticking(), name="clock"),
            ]
            await gateway.listener.start()
            log.info("gateway.started", platform=settings.platform, port=gateway.port, keyset=keys.keyset.version)
            try:
                yield gateway
            finally:
                await gateway.listener.stop()
                for task in tasks[1:]:
                    task.cancel()
                await gateway.commits.drained()
                tasks[0].cancel()
    finally:
        await channel.close()
        await store.close()
        log.info("gateway.stopped")


async def _built(settings: GatewaySettings, keys: Keys, store: Store, channel: Channel, clock: SystemClock) -> Gateway:
    registry = Registry(keys.keyset)
    await registry.load(store)
    arrivals = Arrivals()
    commits = Commits(store, arrivals)
    buckets = Buckets(per_minute=settings.requests_per_minute, burst=settings.burst)
    intake = Intake(store, registry, commits, keys.signing, secrets.token_bytes, buckets.spend)
    blobs = open_blobs(settings.blobs)
    relays = tuple(_relay(entity, keys, store, intake, registry, channel, clock) for entity in keys.keyset.entities())
    parts = Parts(
        settings=settings,
        store=store,
        registry=registry,
        intake=intake,
        arrivals=arrivals,
        blobs=blobs,
        proofs=Proofs(registry, settings.public_url, clock.now(), buckets),
        buckets=buckets,
        now=clock.now,
    )
    ticker = Ticker(store, intake, blobs, clock, holder=f"{os.getpid()}-{secrets.token_hex(4)}")
    return Gateway(store, registry, intake, commits, relays, ticker, Listener(build(parts), settings), blobs)


def _relay(
    entity: str,
    keys: Keys,
    store: Store,
    intake: Intake,
    registry: Registry,
    channel: Channel,
    clock: SystemClock,
) -> Relay:
    outgoing = Outgoing(
        channel,
        f"requests.{entity}",
        Sender(),
        lambda: keys.keyset.queue(Role.DESK_QUEUE, entity, clock.now()),
        clock.now,
        secrets.token_bytes,
    )
    incoming = Incoming(channel, f"decisions.{entity}", Receiver(keys.boxes()), _dead)
    return Relay(entity, store, intake, registry, outgoing, incoming, clock)


def _dead(lease: Lease, flaw: str) -> None:
    log.error("entry.dead", stream=lease.stream, entry=lease.entry.id.hex(), reason=flaw, deliveries=lease.deliveries)


async def serve(settings: GatewaySettings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()
        log.info("gateway.stopping", signal="term")


def main(settings: GatewaySettings, stream: TextIO = sys.stdout) -> None:
    """The process: logs to `stream`, one JSON object a line."""
    configure(EVENTS, party="gateway", stream=stream)
    os.umask(0o077)
    asyncio.run(serve(settings))
