"""What a route is and what it sees: one request on its way in, and what may go out. Values, shared by the door and the routes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO, Final, final

from aiohttp import web
from pydantic import BaseModel

from gateway.blobs import Blobs, Pieces, too_large
from gateway.commits import Arrivals
from gateway.intake import Intake
from gateway.proofs import Buckets, Proofs
from gateway.ranges import Span
from gateway.registry import Registry
from gateway.settings import GatewaySettings
from gateway.store import Store
from protocol import limits
from protocol.ids import Instant, PartyId
from protocol.problems import Refused
from protocol.statements import Statement
from protocol.terms import Role
from protocol.wire import StatementBody

GRACE: Final = 5.0  # seconds that a body may take whatever its size
LEAST_RATE: Final = limits.KIB  # bytes a second that it must come with after that
STALL: Final = 20.0  # seconds without a byte


class Takes(Enum):
    """What the body of a request is."""

    NOTHING = "nothing"
    STATEMENT = "statement"
    OCTETS = "octets"


@final
@dataclass(frozen=True, slots=True)
class Parameter:
    """A member of the query: its name, the pattern of its value, and what it says."""

    name: str
    pattern: str
    says: str


@final
@dataclass(frozen=True, slots=True)
class File:
    """Bytes of an open file, or that come from afar. The door closes it; `sent` is awaited when the last of them has left."""

    content: BinaryIO | Pieces
    span: Span
    sent: Callable[[], Awaitable[None]] | None = None


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answers: a model, bytes, or a part of a file."""

    body: BaseModel | bytes | File
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


@final
@dataclass(slots=True)
class Asked:
    """One request on its way. `headers` go with the answer, whatever it is; the rest is for routes to read and log to note."""

    id: str
    method: str
    now: Instant
    peer: str
    request: web.BaseRequest
    leaving: Callable[[], bool]  # whether the gateway is stopping: long polls end
    framed: bool = False  # whether everybody reads the same request here
    path: str = ""
    route: "Route | None" = None
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    proof: Statement | None = None
    body: StatementBody | None = None
    headers: dict[str, str] = field(default_factory=dict)
    party: PartyId | None = None
    bytes_in: int = 0

    def proven(self) -> Statement:
        """The proof of a route that asks for one."""
        if self.proof is None:
            raise RuntimeError("this route asks for no proof")
        return self.proof

    def stated(self) -> StatementBody:
        """The body of a route that takes a statement."""
        if self.body is None:
            raise RuntimeError("this route takes no statement")
        return self.body

    def field(self, name: str) -> str | None:
        """A header of the request."""
        return self.request.headers.get(name)

    async def chunks(self, limit: int | None) -> AsyncIterator[bytes]:
        """The body as it comes, `limit` bytes at most. Raises Refused: `too-large`, `too-slow`, `header-invalid`."""
        length = self.request.content_length
        if limit is not None and length is not None and length > limit:
            raise too_large(limit)
        await self._continue()
        clock = asyncio.get_running_loop().time
        started = clock()
        while True:
            by = min(started + GRACE + self.bytes_in / LEAST_RATE, clock() + STALL)
            try:
                async with asyncio.timeout_at(by):
                    chunk = await self.request.content.readany()
            except TimeoutError:
                raise Refused("too-slow", reason=f"{self.bytes_in} bytes so far") from None
            except web.RequestPayloadError:
                raise Refused("header-invalid", detail="The body is not framed as its headers say.") from None
            if not chunk:
                return
            self.bytes_in += len(chunk)
            if limit is not None and self.bytes_in > limit:
                raise too_large(limit)
            yield chunk

    async def _continue(self) -> None:
        """Ask for the body only now that it is wanted. RFC 9110 §10.1.1."""
        if self.request.headers.get("Expect") is not None:
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0


@final
@dataclass(frozen=True, slots=True)
class Route:
    """One call of the API. The document of the API is made from these rows, and so cannot differ from what is served."""

    method: str
    path: str  # with {names} in place of segments
    summary: str
    does: Callable[[Asked], Awaitable[Answer]]
    answers: type[BaseModel] | str  # a model, or a media type
    statuses: tuple[int, ...] = (200,)
    roles: frozenset[Role] = (
        frozenset()
    )  # whose proof is asked for; none: a statement proves itself, or anyone may read
    active: bool = True  # whether an authority must be active to ask
    takes: Takes = Takes.NOTHING
    query: tuple[Parameter, ...] = ()
    headers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    always: bool = False  # answered even when the gateway is busy or stopping

    @property
    def public(self) -> bool:
        """Whether the answer is everybody's."""
        return self.method == "GET" and not self.roles


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes stand on; put together in `app`."""

    settings: GatewaySettings
    store: Store
    registry: Registry
    intake: Intake
    arrivals: Arrivals
    blobs: Blobs
    proofs: Proofs
    buckets: Buckets
    now: Callable[[], Instant]
