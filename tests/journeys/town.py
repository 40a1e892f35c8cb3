"""A town: gateway and desk as processes of their own, real keys on a real disk, and people who talk to them over HTTP."""

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from protocol.authorities import Authority
from protocol.chains import RegistryChain, Row
from protocol.ids import Instant
from tests.actors import Officer, Operator, Platform

PATIENCE = 30.0  # seconds until a process must have started, or something must have happened


def now() -> Instant:
    return datetime.now(UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rogatory(*words: str | Path, home: Path | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    command = [sys.executable, "-m", "rogatory", *map(str, words)]
    environment = dict(os.environ) | ({"HOME": str(home)} if home else {})
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment, **how)


@dataclass
class Town:
    """The folder of a platform, its processes, and a session to speak to the gateway with."""

    folder: Path
    session: aiohttp.ClientSession
    platform: Platform = field(default_factory=lambda: Platform(now()))
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    engines: Mapping[str, str] = field(
        default_factory=dict
    )  # `store` and `channel`, where they are not the embedded ones

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lay_out(self) -> None:
        """Keys, settings, and the desk's database of invented subscribers."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.platform.write(self.folder, self.port)
        for party, names in (("gateway", ("store", "channel")), ("desk", ("channel",))):
            config = self.folder / party / f"{party}.toml"
            lines = [one for one in config.read_text().splitlines() if one.partition(" = ")[0] not in self.engines]
            lines += [f"{name} = {json.dumps(self.engines[name])}" for name in names if name in self.engines]
            config.write_text("\n".join(lines) + "\n")
        sample = rogatory("desk", "sample", self.folder / "desk")
        assert sample.returncode == 0, sample.stderr

    async def start(self, party: str) -> None:
        """Start `gateway` or `desk`, logs beside its settings, and wait until it serves."""
        verb = {"gateway": "serve", "desk": "work"}[party]
        home = self.folder / party
        with (home / f"{party}.log").open("ab") as log, (home / f"{party}.err").open("ab") as errors:
            self.processes[party] = subprocess.Popen(
                [sys.executable, "-m", "rogatory", party, verb, "--config", str(home / f"{party}.toml")],
                stdout=log,
                stderr=errors,
                cwd=home,
            )
        if party == "gateway":
            await self.until(self.ready, "the gateway is ready")

    async def ready(self) -> bool:
        """Whether the gateway says that it is ready."""
        assert self.processes["gateway"].poll() is None, (self.folder / "gateway/gateway.err").read_text()
        try:
            async with self.session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def until(self, holds: Any, what: str, patience: float = PATIENCE) -> None:
        """Wait until `holds()` is true."""
        try:
            async with asyncio.timeout(patience):
                while not await holds():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            errors = "".join(one.read_text()[-2000:] for one in self.folder.glob("*/*.err"))
            raise AssertionError(f"not in {patience} s: {what}\n{errors}") from None

    def kill(self, party: str) -> None:
        """`kill -9`, at once."""
        process = self.processes.pop(party)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, party: str) -> int:
        """SIGTERM, and wait for the orderly end."""
        process = self.processes.pop(party)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)

    def end(self) -> None:
        for party in list(self.processes):
            try:
                self.stop(party)
            except subprocess.TimeoutExpired:
                self.kill(party)

    # people

    async def post(self, path: str, statement: bytes, sealed: bytes | None = None) -> tuple[int, dict[str, Any]]:
        body = {"statement": statement.decode()}
        if sealed is not None:
            body["sealed"] = base64.b64encode(sealed).decode()
        async with self.session.post(self.url + path, json=body) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return answer.status, found

    async def get(self, who: Officer | Operator, path: str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        proof = who.proof("GET", self.url + path.partition("?")[0], now=now()).decode()
        async with self.session.get(self.url + path, headers={"Authorization": f"Proof {proof}"} | headers) as answer:
            if answer.content_type.endswith("json"):
                return answer.status, await answer.json(content_type=None), answer.headers
            return answer.status, await answer.read(), answer.headers

    async def authority(self, officer: Officer) -> Authority:
        """The authority as its chain at the gateway makes it."""
        status, found, _ = await self.get(officer, f"/v1/authorities/{officer.party}/statements")
        assert status == 200, found
        rows = [Row(row["receipt"].encode(), row["statement"].encode()) for row in found["rows"]]
        chain = RegistryChain.read(rows, self.platform.keyset)
        assert chain.authority is not None
        return chain.authority

    async def admit(self, officer: Officer) -> Officer:
        """Apply, and be confirmed by both operators."""
        status, found = await self.post("/v1/authorities", officer.application(now()))
        assert status in {200, 201}, found
        for operator in self.platform.operators.values():
            raw = operator.admission(await self.authority(officer), now())
            status, found = await self.post(f"/v1/authorities/{officer.party}/statements", raw)
            assert status in {200, 201}, found
        return officer


def canaries_in(folder: Path, canaries: list[bytes], *, but: tuple[str, ...] = ()) -> list[str]:
    """Files below `folder` that hold one of the canaries, raw or in base64, hex or UTF-16, and which."""
    spelt = {form: name for canary in canaries for name, form in _spellings(canary)}
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part in file.parts for part in but):
            content = file.read_bytes()
            found += [f"{file.relative_to(folder)}: {name}" for form, name in spelt.items() if form in content]
    return found


def _spellings(canary: bytes) -> list[tuple[str, bytes]]:
    text = canary.decode()
    forms = [("raw", canary), ("hex", canary.hex().encode()), ("HEX", canary.hex().upper().encode())]
    forms += [(f"utf-16-{end}", text.encode(f"utf-16-{end}")) for end in ("le", "be")]
    for shift in range(3):  # base64 of the canary at each of the three places in a longer text
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            coded = encode(b"\0" * shift + canary)
            forms.append((f"{name}+{shift}", coded[(4 if shift else 0) : len(coded) // 4 * 4 - 4]))
    return forms


def copied(town: Town, to: Path) -> Path:
    """The town's folder as it is now, for a look at what lies on disk."""
    shutil.copytree(town.folder, to)
    return to
