"""A stage for the authority's tests: a real gateway, a proxy in front of it that can listen and bend, and a desk that speaks.

The proxy stands at the gateway's public address. `Stage.seen` holds what reached it; `Stage.bend` may change an answer, or break
the line by raising `Break`.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from authority.client import Client
from authority.keys import Keys
from authority.line import Line
from authority.requests import Order
from authority.settings import AuthoritySettings, Home, make
from channels.http import Http, Patience
from crypto.keyring import Cost
from crypto.sealing import seal_bytes
from gateway.app import Gateway, running
from gateway.intake import Ask
from gateway.relay import DESK_KINDS
from gateway.settings import load
from protocol.cases import Case
from protocol.disclosure import About, Records, files_of, write
from protocol.ids import numeric
from protocol.sayings import SealedPart
from protocol.terms import AuthorityType, Category, Outcome, Standing
from tests.actors import Mallory, Platform, part_of

QUICK = Patience(attempts=3, first=0.001, longest=0.002, ask=0.1)
AUTHORITY = "kr-knpa-cyber"
PASSPHRASE = b"an officer's own"
CANARY = "canary-9d1e7f"


class Break(Exception):
    """The line breaks here."""


@dataclass
class Answered:
    """What the gateway answered, for a bend to change."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes

    def receipt(self) -> bytes:
        return str(json.loads(self.body)["receipt"]).encode()

    def says(self, **members: Any) -> None:
        self.body = json.dumps(members).encode()


Bend = Callable[[Answered], None]


def clean(_: Answered) -> None:
    """Change nothing."""


@dataclass
class Stage:
    """Everything that a test of the client may look at or move."""

    platform: Platform
    gateway: Gateway
    url: str
    folder: Path
    seen: list[tuple[str, str]] = field(default_factory=list)
    bend: Bend = clean
    down: bool = False
    shift: timedelta = timedelta(0)  # of the authority's clock

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def home(self, name: str = AUTHORITY, **settings: str) -> Home:
        told = {
            "id": name,
            "name": "Korean National Police Agency",
            "country": name[:2].upper(),
            "contact": "the ministry's directory",
            "gateway": self.url,
            "platform": self.platform.id,
            "root": self.platform.root.public.id,
        } | settings
        found = AuthoritySettings(type=AuthorityType.POLICE, **told)  # type: ignore[arg-type]
        return make(self.folder / name, found, PASSPHRASE, self.now(), Cost.INTERACTIVE)

    @asynccontextmanager
    async def client(self, home: Home) -> AsyncIterator[Client]:
        keys = Keys.open(home.ring, PASSPHRASE)
        async with Client(Line(home, keys, self.now, os.urandom, QUICK)) as client:
            yield client

    @asynccontextmanager
    async def admitted(self, **settings: str) -> AsyncIterator[Client]:
        """A client of an authority that applied and was confirmed by both operators."""
        async with self.client(self.home(**settings)) as client:
            await client.apply()
            for operator in self.platform.operators.values():
                await self.takes(operator.admission(await client.line.registry(), self.now()))
            client.line.forget()
            yield client

    async def takes(self, raw: bytes, sealed: bytes | None = None) -> None:
        """The gateway takes what an operator or the desk says."""
        kinds = DESK_KINDS | {"rogatory-admission+jwt", "rogatory-standing+jwt"}
        await self.gateway.intake.take(raw, sealed, datetime.now(UTC), Ask(frozenset(kinds), aged=False))

    async def suspends(self, client: Client) -> None:
        await self.takes(self.platform.alice.standing(client.line.home.id, Standing.SUSPENDED, self.now()))

    async def accepts(self, case: Case) -> None:
        await self.takes(self.platform.desk.acceptance(case, now=self.now()))

    async def answers(
        self, case: Case, outcome: Outcome, explanation: bytes | None = None, *, to: str = "", **members: Any
    ) -> None:
        """A decision without disclosures; `explanation` is sealed already, and the decision says `to` whom."""
        if explanation is not None:
            members["explanation"] = part_of(explanation, [to])
        await self.takes(self.platform.desk.decision(case, outcome, self.now(), **members), explanation)

    def about(self, case: Case, /, **members: Any) -> tuple[About, list[bytes]]:
        """What the desk says inside a disclosure, and the files."""
        records = Records(Category.SUBSCRIBER, "subscribers", ("account", "name"), ((f"@{CANARY}", "Kim"),))
        files = files_of([records])
        told: dict[str, Any] = {
            "platform": self.platform.id,
            "requester": case.authority,
            "case": case.id,
            "request": case.request.digest,
            "desk": self.platform.desk.secret.public.id,
            "draft": "d" * 64,
            "asked": case.asked.cover.categories,
            "granted": case.asked.cover.categories,
            "made": numeric(self.now()),
            "files": tuple(part for part, _ in files),
        }
        return About(**told | members), [content for _, content in files]

    def zipped(self, case: Case, /, **members: Any) -> bytes:
        about, contents = self.about(case, **members)
        sink = BytesIO()
        write(sink, about, contents)
        return sink.getvalue()

    async def discloses(
        self, case: Case, *plain: bytes, to: str, named: str | None = None, **members: Any
    ) -> tuple[SealedPart, ...]:
        """Seal, bring to the gateway, decide. `named` is the recipient that the decision names, if not `to`."""
        parts = []
        for one in plain:
            sealed = seal_bytes(one, [to])
            await self._puts(sealed)
            parts.append(part_of(sealed, [named or to]))
        told = {"disclosures": tuple(parts), "categories": case.asked.cover.categories} | members
        await self.takes(self.platform.desk.decision(case, Outcome.DISCLOSED, self.now(), **told))
        return tuple(parts)

    async def _puts(self, sealed: bytes) -> None:
        def proof(method: str, url: str) -> str:
            return "Proof " + self.platform.desk.proof(method, url).decode()

        self.platform.now = self.now()
        path = self.folder / hashlib.sha256(sealed).hexdigest()
        path.write_bytes(sealed)
        async with Http(self.url, proof) as http:
            await http.put_file(f"/v1/blobs/{path.name}", path)

    def order(self, **members: Any) -> Order:
        told: dict[str, Any] = {
            "framework": "eu.e-evidence",
            "basis": "Art. 5",
            "categories": ["subscriber"],
            "facts": f"The account sold stolen cards. {CANARY}",
            "officer": {"name": "Kim Minji"},
            "targets": [{"by": "account", "value": f"@{CANARY}"}],
        }
        return Order.model_validate_json(json.dumps(told | members))

    def forged(self, answered: Answered, **claims: Any) -> None:
        """The receipt in an answer with other claims, signed by the gateway itself."""
        answered.says(receipt=Mallory(self.platform.gateway).claims(answered.receipt(), **claims).decode())


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Proxy and gateway, on ports that are free."""
    stage: Stage | None = None
    target = ""

    async def forward(request: web.Request) -> web.StreamResponse:
        assert stage is not None
        stage.seen.append((request.method, request.path))
        if stage.down:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        passed = {name: request.headers[name] for name in request.headers if name not in {"Host", "Connection"}}
        passed["Host"] = stage.url.removeprefix("http://")
        body = await request.read()
        url = f"{target}{request.path_qs}"
        async with session.request(request.method, url, headers=passed, data=body or None) as found:
            headers = {
                name: found.headers[name]
                for name in ("Content-Type", "ETag", "Content-Range", "Retry-After")
                if name in found.headers
            }
            answered = Answered(request.method, request.path, found.status, headers, await found.read())
        try:
            stage.bend(answered)
        except Break:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=answered.status, headers=answered.headers, body=answered.body)

    await asyncio.to_thread(folder.chmod, 0o700)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{any:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        platform = Platform(now=datetime.now(UTC), post_quantum=False)
        town = folder / "town"
        town.mkdir(mode=0o700)
        platform.write(town)
        settings = load(town / "gateway/gateway.toml").model_copy(update={"port": 0, "public_url": url})
        gateway = await stack.enter_async_context(running(settings))
        target = f"http://127.0.0.1:{gateway.port}"
        stage = Stage(platform, gateway, url, folder)
        yield stage
