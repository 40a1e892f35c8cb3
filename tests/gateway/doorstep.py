"""A whole gateway in this process, behind its real door on a loopback port, and callers who speak plain HTTP to it."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from channels.logs import configure
from gateway.app import Gateway, running
from gateway.intake import Ask
from gateway.settings import load
from protocol.cases import Case
from protocol.events import EVENTS
from protocol.ids import CaseId, Digest, Instant, digest_of
from protocol.terms import Outcome
from protocol.wire import StatementBody
from tests.actors import Desk, Officer, Operator, Platform, an_answer, part_of

URL = "https://gateway.tg.example"
FROM_DESK = Ask(frozenset({"rogatory-acceptance+jwt", "rogatory-decision+jwt"}), aged=False)
Reader = Officer | Operator | Desk


@dataclass
class StandingClock:
    """Tells the time that the test set; sleeps for real."""

    at: Instant

    def now(self) -> Instant:
        return self.at

    async def sleep(self, length: timedelta) -> None:
        await asyncio.sleep(length.total_seconds())


@dataclass(frozen=True)
class Got:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The problem's code; the document must be one as RFC 9457 and our own model say."""
        if self.status < 400:
            return None
        assert self.headers["Content-Type"] == "application/problem+json"
        told = self.told
        assert told["type"] == f"urn:rogatory:problem:{told['code']}"
        assert told["status"] == self.status
        return str(told["code"])


@dataclass
class Doorstep:
    """The gateway, the platform's people, and a session."""

    platform: Platform
    gateway: Gateway
    clock: StandingClock
    session: aiohttp.ClientSession
    folder: Path
    written: io.StringIO = field(repr=False)

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def forward(self, **length: float) -> None:
        self.clock.at = self.platform.now = self.clock.at + timedelta(**length)

    async def ask(self, method: str, path: str, by: Reader | None = None, **how: Any) -> Got:
        """One request; `by` proves it."""
        headers = dict(how.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = "Proof " + by.proof(method, URL + path.partition("?")[0]).decode()
        url = yarl.URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)  # as it is, tricks and all
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **how) as answer:
            return Got(answer.status, answer.headers.copy(), await answer.read())

    async def get(self, path: str, by: Reader | None = None, **headers: str) -> Got:
        return await self.ask("GET", path, by, headers={name.replace("_", "-"): one for name, one in headers.items()})

    async def post(self, path: str, statement: bytes, sealed: bytes | None = None) -> Got:
        spelt = None if sealed is None else base64.b64encode(sealed).decode()
        body = StatementBody.model_construct(statement=statement.decode("latin-1"), sealed=spelt)
        return await self.send(path, body.model_dump_json(exclude_none=True).encode())

    async def send(self, path: str, body: bytes, **headers: str) -> Got:
        told = {"Content-Type": "application/json"} | {name.replace("_", "-"): one for name, one in headers.items()}
        return await self.ask("POST", path, data=body, headers=told)

    async def put(self, body: bytes, by: Reader, digest: Digest | None = None) -> Got:
        path = f"/v1/blobs/{digest or digest_of(body)}"
        return await self.ask(
            "PUT", path, by, data=io.BytesIO(body), headers={"Content-Type": "application/octet-stream"}
        )

    async def wire(self, raw: bytes, *, patience: float = 5.0) -> bytes:
        """Bytes over a socket of their own, and all that comes back until the gateway closes, or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            came = b""
            async with asyncio.timeout(patience):
                while chunk := await reader.read(65_536):
                    came += chunk
        except TimeoutError:
            pass
        finally:
            writer.close()
        return came

    async def admitted(self, officer: Officer) -> Officer:
        assert (await self.post("/v1/authorities", officer.application())).status == 201
        found = self.gateway.registry.find(officer.party)
        assert found is not None
        for operator in (self.platform.alice, self.platform.bob):
            told = await self.post(f"/v1/authorities/{officer.party}/statements", operator.admission(found))
            assert told.status == 201
        return officer

    async def opened(self, officer: Officer, **cover: Any) -> CaseId:
        """The case that a request of the officer opens."""
        sent = officer.request(**cover)
        told = await self.post("/v1/cases", *sent)
        assert told.status == 201
        return CaseId(told.headers["Location"].rpartition("/")[2])

    async def case(self, of: CaseId) -> Case:
        found = (await self.gateway.intake.case(of)).case
        assert found is not None
        return found

    async def decided(self, case: CaseId, *disclosures: bytes, outcome: Outcome = Outcome.DISCLOSED) -> None:
        """The desk accepts, puts its disclosures, and decides."""
        desk = self.platform.desk
        accepted = desk.acceptance(await self.case(case))
        await self.gateway.intake.take(accepted, None, self.clock.now(), FROM_DESK)
        members: dict[str, Any] = {}
        if disclosures:
            members["disclosures"] = tuple(an_answer(one) for one in disclosures)
        for one in disclosures:
            assert (await self.put(one, desk)).status == 201
        explanation = b"sealed explanation of " + case.encode()
        members["explanation"] = part_of(explanation, [desk.recipient])
        decision = desk.decision(await self.case(case), outcome, **members)
        await self.gateway.intake.take(decision, explanation, self.clock.now(), FROM_DESK)

    async def kept(self) -> tuple[dict[str, int], int]:
        """All that the gateway keeps: rows of every table, and files of blobs."""
        files = [one for one in (self.folder / "gateway/data/blobs").rglob("*") if one.is_file()]
        return await self.gateway.store.counts(), len(files)


@asynccontextmanager
async def doorstep(folder: Path, platform: Platform | None = None, **settings: Any) -> AsyncIterator[Doorstep]:
    """Start a gateway in `folder`; `settings` replace those of the file."""
    platform = platform or Platform(post_quantum=False)
    if not (folder / "gateway").exists():
        platform.write(folder)
    written = io.StringIO()
    configure(EVENTS, party="gateway", stream=written)
    clock = StandingClock(platform.now)
    chosen = load(folder / "gateway/gateway.toml").model_copy(update={"port": 0, "public_url": URL} | settings)
    started: asyncio.Future[Gateway] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def life() -> None:
        try:
            async with running(chosen, clock) as gateway:  # type: ignore[arg-type]
                started.set_result(gateway)
                await leave.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    living = asyncio.create_task(life())
    gateway = await started
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
            yield Doorstep(platform, gateway, clock, session, folder, written)
    finally:
        leave.set()
        await living
