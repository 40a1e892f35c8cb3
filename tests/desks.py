"""A desk between a real channel and a gateway that is `Chains`: what the worker says is taken there, and its rows come back."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from channels import Channel, DeadLetter, open_channel
from channels.sealed import Incoming, Outgoing
from crypto.boxes import Receiver, Sender
from desk import app
from desk.app import Desk
from desk.review import Review
from desk.settings import DeskSettings
from desk.store import Store
from desk.worker import Worker
from protocol.cases import Case
from protocol.chains import Row
from protocol.envelope import Envelope, pack, unpack
from protocol.ids import CaseId, Digest, Instant, case_id, digest_of
from protocol.problems import Refused
from tests.actors import NOW, Chains, Officer, Platform, Sent, claims_in

TARGET = "@user00007"
SQL = """
CREATE TABLE subscribers (account TEXT, phone TEXT, name TEXT);
INSERT INTO subscribers VALUES ('@user00007', '+12025550107', 'canary-7f3a Sami'), ('@user00008', '+12025550107', 'Lin');
CREATE TABLE addresses (account TEXT, at INTEGER, ip TEXT);
INSERT INTO addresses VALUES ('@user00007', 1790000000, '192.0.2.7'), ('@user00007', 1795000000, '2001:db8::7');
"""
SOURCES = """
name = "accounts"
url = "sqlite:///accounts.db"

[[queries]]
category = "subscriber"
by = "account"
account = "account"
sql = "SELECT account, phone, name FROM subscribers WHERE account = :target"

[[queries]]
category = "identification"
by = "account"
account = "account"
sql = "SELECT account, at, ip FROM addresses WHERE account = :target AND (:since IS NULL OR at >= :since)"
"""


class Killed(BaseException):
    """The process ends here."""


@dataclass
class House:
    """A desk, its line, and the gateway's side of it."""

    platform: Platform
    folder: Path
    settings: DeskSettings
    logged: io.StringIO
    chains: Chains = field(init=False)
    officer: Officer = field(init=False)
    now: Instant = NOW
    put: dict[str, bytes] = field(default_factory=dict)  # what reached the gateway's blobs
    said: list[Envelope] = field(default_factory=list)  # what the desk said, in order
    put_fails: int = 0
    put_kills: bool = False

    def __post_init__(self) -> None:
        self.chains = Chains(self.platform)
        self.officer = Officer(self.platform)
        self.channel: Channel = open_channel(self.settings.channel, lambda: self.now)
        self.outgoing = Outgoing(
            self.channel,
            "requests.main",
            Sender(),
            lambda: self.platform.desk.queue.public,
            lambda: self.now,
            os.urandom,
        )
        receiver = Receiver([self.platform.gateway_queue])
        self.incoming = Incoming(self.channel, "decisions.main", receiver, lambda _lease, _flaw: None)

    # the gateway's side

    async def send(self, *envelopes: Envelope) -> None:
        await self.outgoing.send([pack(one) for one in envelopes])

    async def send_rows(self, *rows: Row) -> None:
        await self.send(*(Envelope(statement=one.statement, receipt=one.receipt) for one in rows))

    async def admitted(self) -> None:
        """The officer's authority is admitted, and the desk is told."""
        self.chains.admitted(self.officer, self.now)
        await self.send_rows(*self.chains.registry_rows[self.officer.party])

    async def taken(self, sent: Sent) -> CaseId:
        """The gateway takes a request or supplement, and sends it on."""
        row = self.chains.take(sent.statement, self.now)
        await self.send(Envelope(statement=row.statement, receipt=row.receipt, sealed=sent.sealed))
        claims = claims_in(sent.statement)
        return CaseId(claims.get("case") or case_id(claims["iat"], digest_of(sent.statement)))

    async def request(self, **told: Any) -> CaseId:
        asked: dict[str, Any] = {"targets": (TARGET,), "now": self.now}
        return await self.taken(self.officer.request(**asked | told))

    async def take(self, raw: bytes) -> None:
        """The gateway takes a statement without a sealed part, and sends it on."""
        await self.send_rows(self.chains.take(raw, self.now))

    async def hear(self) -> list[Envelope]:
        """What the desk says, taken by the gateway; its receipts or rejections go back."""
        heard: list[Envelope] = []
        for opened in await self.incoming.receive(100, timedelta(seconds=30), timedelta(0)):
            envelope = unpack(opened.plain)
            await self.incoming.ack([opened])
            heard.append(envelope)
            await self._answer(envelope)
        self.said += heard
        return heard

    async def _answer(self, envelope: Envelope) -> None:
        assert envelope.statement is not None
        claims = claims_in(envelope.statement)
        of_a_row = "of" in claims and ("case" not in claims or self._request(claims["case"]) != claims["of"])
        if of_a_row:
            return  # what the desk holds: no row of a case
        try:
            row = self.chains.take(envelope.statement, self.now)
        except Refused as refused:
            rejection = self.platform.rejection(digest_of(envelope.statement), self.platform.id, refused.code)
            await self.send(Envelope(rejection=rejection))
        else:
            await self.send(Envelope(statement=row.statement, receipt=row.receipt, sealed=envelope.sealed))

    def _request(self, case: str) -> Digest:
        return self.chains.case(CaseId(case)).request.digest

    async def settle(self, worker: Worker) -> None:
        """Both sides work until neither has anything left to say."""
        await worker.work_until_idle()
        while await self.hear():
            await worker.work_until_idle()

    async def dead(self) -> list[DeadLetter]:
        return await self.channel.dead("requests.main", 100)

    def case(self, case: CaseId) -> Case:
        return self.chains.case(case)

    # the desk's side

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        async with app.opened(self.settings, lambda: self.now, self._put) as worker:
            yield worker

    async def _put(self, path: Path, sha256: Digest) -> None:
        if self.put_fails:
            self.put_fails -= 1
            raise OSError("the gateway is away")
        content = await asyncio.to_thread(path.read_bytes)
        assert digest_of(content) == sha256
        self.put[sha256] = content
        if self.put_kills:
            raise Killed

    @asynccontextmanager
    async def reviewing(self) -> AsyncIterator[Review]:
        desk = app.open_desk(self.settings, self.now)
        try:
            yield self.review(desk)
        finally:
            desk.store.close()

    def review(self, desk: Desk) -> Review:
        keys = desk.keys
        return Review(desk.store, desk.keyset, keys.identities, keys.recipient, os.urandom)

    async def approve(self, case: CaseId, *names: str, **told: Any) -> Digest:
        """The named reviewers look at the draft and approve it."""
        async with self.reviewing() as review:
            found = None
            for name in names:
                secret = self.platform.reviewers[name].secret
                found = review.show(case, secret, self.now).draft
                assert found is not None
                review.approve(case, found.digest, secret, self.now, **told)
            assert found is not None
            return found.digest

    def store(self) -> Store:
        return Store.open(self.settings.database)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.logged.getvalue().splitlines()]
        return [one for one in found if name in (None, one["event"])]

    async def close(self) -> None:
        await self.channel.close()
