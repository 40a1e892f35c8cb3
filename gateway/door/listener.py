"""The listener: sockets, and what may be held open on them.

aiohttp's own parser and connection, told what it does not do by itself: a head that does not come, a caller who takes every
connection, an answer that nobody reads, and text that is not HTTP, which is answered by a problem like all else. Stopping is in
order: no new connection, no new request, what is under way finished, then closed.
"""

import asyncio
import logging
import socket
from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, final

from aiohttp import web

from gateway.door.border import Door
from gateway.settings import GatewaySettings
from protocol.ids import Digest

IDLE: Final = 20.0  # seconds from a connection's begin, or its last answer, until a whole request head must be there
UNREAD: Final = 60_000  # milliseconds that what was sent may stay unacknowledged (RFC 5482)
LINGER: Final = 2.0  # seconds for a client to read why its body was not wanted
SITE: Final = 64  # bits of an IPv6 address that one site has to itself
BACKLOG: Final = 1_024

_quiet = logging.getLogger("rogatory.http")  # aiohttp's own notes quote what was sent: ours go through `channels.logs`
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@final
class Connections:
    """How many each address holds."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """One more for that address; False when it has its share."""
        if self._held[address] >= self._most:
            return False
        self._held[address] += 1
        return True

    def give(self, address: str) -> None:
        """One less."""
        self._held[address] -= 1
        if self._held[address] <= 0:
            del self._held[address]


@final
class _Connection(web.RequestHandler):
    __slots__ = ("_address", "_connections", "_door")

    def __init__(self, manager: "_Server", **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._door = manager.door
        self._connections = manager.held
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = site(transport.get_extra_info("peername"))
        if not self._connections.take(address):
            transport.close()
            return
        self._address = address
        bound = transport.get_extra_info("socket")
        if bound is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._address:
            self._connections.give(self._address)
            self._address = ""
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (aiohttp's; quotes what was sent)
    ) -> web.StreamResponse:
        """What is no HTTP. Errors of requests never come here, since the door answers them all; a client's leaving does."""
        if status != 400 or request.writer.output_size > 0:  # noqa: PLR2004 (the parser's one status)
            raise ConnectionResetError from exc
        return self._door.unread(request)


@final
class _Server(web.Server):
    def __init__(self, door: Door, held: Connections, **options: Any) -> None:
        super().__init__(door, **options)
        self.door = door
        self.held = held

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, **self._kwargs)


@final
class Listener:
    """Listens for a door. `start`, then `stop`, which may be said again."""

    def __init__(self, door: Door, settings: GatewaySettings, *, idle: float = IDLE) -> None:
        self._door = door
        self._settings = settings
        self._idle = idle
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._site is None:
            raise RuntimeError("not listening")
        return self._site.port

    async def start(self) -> None:
        """Clear what a crash left of blobs, then take connections. Raises OSError when the address is taken."""
        parts = self._door.parts

        async def recorded(digest: Digest) -> bool:
            return await parts.store.blob(digest) is not None

        await parts.blobs.recover(recorded)
        server = _Server(
            self._door,
            Connections(self._settings.connections_per_address),
            keepalive_timeout=self._idle,
            lingering_time=LINGER,
            auto_decompress=False,
            access_log=None,
            logger=_quiet,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1)  # after `drained`, nothing is left to wait for
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=BACKLOG)
        await self._site.start()

    async def stop(self) -> None:
        """Not ready, no new connection, no new request; finish what was accepted within `drain`; close."""
        runner, place = self._runner, self._site
        self._runner = self._site = None
        if runner is None or place is None:
            return
        self._door.stop()
        await place.stop()
        try:
            async with asyncio.timeout(self._settings.drain.total_seconds()):
                await self._door.drained()
        except TimeoutError:
            pass  # what hangs is cut: nothing was promised to it
        await runner.cleanup()


def site(peer: object) -> str:
    """Who is counted as one caller: an IPv4 address, or the /64 of an IPv6 one."""
    if not isinstance(peer, tuple) or not peer:
        return ""
    address = ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> (128 - SITE) << (128 - SITE))}/{SITE}"
    return str(address)
