"""The border: one request in, one answer or problem out.

Every request passes `Door.__call__`, and nothing else: its steps are numbered in `_served`. No statement is interpreted here; the
routes ask `intake`. This is the one place that turns `Refused` into RFC 9457 problems. Each request leaves one `request.served`
in the log before its answer leaves: where the record is not kept, nothing is handed out.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import BinaryIO, Final, final
from urllib.parse import urlsplit

from aiohttp import web

from channels.logs import get_log
from crypto import strict
from crypto.errors import NotStrict
from gateway.blobs import Pieces, in_thread
from gateway.door.calls import Answer, Asked, File, Parts, Route, Takes
from gateway.store import StoreError
from protocol import limits
from protocol.ids import numeric
from protocol.problems import Place, Refused
from protocol.statements import problem_of, validated
from protocol.terms import Role
from protocol.wire import ProblemAnswer, ProblemPlace, StatementBody

log = get_log()

SLICE: Final = limits.MIB  # bytes of a file sent at a time
SLICE_TIME: Final = 120.0  # seconds that a slice, or a whole small answer, may take to leave
LEFT: Final = 499  # in the log alone: the client left before its answer
AGAIN: Final[Mapping[str, int]] = {"too-many": 1, "overloaded": 1, "not-durable": 1, "stopping": 5}  # seconds to wait
SINGLE: Final = (  # a second one would let two readers of one request see two requests (RFC 9112 §11)
    "Authorization",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Expect",
    "Host",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Prefer",
    "Range",
    "Transfer-Encoding",
)
SAFE: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "rogatory",
    "X-Content-Type-Options": "nosniff",
}
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_PATH: Final = re.compile(
    r"/[A-Za-z0-9/._-]*", re.ASCII
)  # no address of ours needs an escape: what has one is not ours
_QUERY: Final = re.compile(r"(?:[a-z]+=[A-Za-z0-9-]*)(?:&[a-z]+=[A-Za-z0-9-]*)*", re.ASCII)
_JSON: Final = re.compile(r'application/json(?:\s*;\s*charset="?utf-8"?)?', re.IGNORECASE | re.ASCII)


@final
class Door:
    """Answers requests. `stop` makes it say that it is stopping; `drained` waits until nothing is under way."""

    def __init__(self, parts: Parts, routes: Iterable[Route]) -> None:
        self.parts = parts
        self.stopping = False
        self.open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._host = urlsplit(parts.settings.public_url).netloc
        self._safe = dict(SAFE)
        if parts.settings.public_url.startswith("https:"):
            self._safe["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
        self._paths: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            self._paths.setdefault(tuple(route.path.split("/")[1:]), {})[route.method] = route
        self._numbers = count(1)
        self._begun = f"{numeric(parts.now()):x}"

    def stop(self) -> None:
        """Take nothing new; what is under way goes on."""
        self.stopping = True

    async def drained(self) -> None:
        """Until no request is under way."""
        await self._idle.wait()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it while it is under way."""
        asked = Asked(
            id=f"{self._begun}-{next(self._numbers):x}",
            method=request.method if request.method in METHODS else "other",
            now=self.parts.now(),
            peer=request.remote or "",
            request=request,
            leaving=lambda: self.stopping,
        )
        self.open += 1
        self._idle.clear()
        try:
            return await self._answered(asked)
        finally:
            self.open -= 1
            if self.open == 0:
                self._idle.set()

    def unread(self, request: web.BaseRequest) -> web.StreamResponse:
        """What could not be parsed as HTTP: a problem like any other, then the connection ends."""
        now, peer = self.parts.now(), request.remote or ""
        asked = Asked(f"{self._begun}-{next(self._numbers):x}", "other", now, peer, request, lambda: self.stopping)
        refused = Refused("header-invalid", detail="This is not a request as RFC 9112 writes it.", reason="not HTTP")
        response = self._response(self._noted(asked, problem(refused), refused), asked)
        response.force_close()
        return response

    async def _answered(self, asked: Asked) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        started = clock()
        refused: Refused | None = None
        try:
            answer = await self._served(asked)
        except Refused as error:
            refused, answer = error, problem(error)
        except ConnectionError:
            _note(asked, LEFT, None, clock() - started)
            raise  # the client left: there is nobody to answer
        except StoreError as error:
            log.exception("request.failed", error, request=asked.id, reason=error.flaw)
            refused = Refused("not-durable", reason=error.flaw)
            answer = problem(refused)
        except Exception as error:  # the process's edge: logged, counted, answered
            log.exception("request.failed", error, request=asked.id)
            refused = Refused("internal", reason=type(error).__name__)
            answer = problem(refused)
        return await self._sent(self._noted(asked, answer, refused, clock() - started), asked)

    async def _served(self, asked: Asked) -> Answer:
        """1 framed?  2 known?  3 awake?  4 proven?  5 read.  6 done."""
        self._framed(asked)  # (1)
        route = self._known(asked)  # (2)
        self._awake(route)  # (3)
        if route.roles:  # (4)
            self._proven(asked, route)
        if route.takes is Takes.STATEMENT:  # (5)
            asked.body = await self._read(asked)
        answer = await route.does(asked)  # (6)
        if asked.party is not None:
            asked.headers |= self.parts.buckets.fields(asked.party, asked.now)
        return answer

    def _framed(self, asked: Asked) -> None:
        """Refuse what another reader on the way may have read as another request."""
        request = asked.request
        for name in SINGLE:
            if len(request.headers.getall(name, ())) > 1:
                raise Refused("header-invalid", reason=f"{name} doubled")
        if request.version not in {(1, 0), (1, 1)}:
            raise Refused("header-invalid", reason="another version of HTTP")
        if request.version == (1, 1) and "Host" not in request.headers:
            raise Refused("header-invalid", detail="Send a Host header.", reason="no Host")
        if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            raise Refused("header-invalid", reason="transfer coding")
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            raise Refused("header-invalid", reason="expectation")
        if "Content-Encoding" in request.headers:
            raise Refused("encoding-refused")
        target = request.raw_path
        if not target.startswith("/"):
            target = self._origin(target)
        asked.framed = True
        path, mark, query = target.partition("?")
        if _PATH.fullmatch(path) is None:
            raise Refused("not-found", reason="no path of ours")
        asked.path = path
        asked.query = _queried(query) if mark else {}

    def _origin(self, target: str) -> str:
        """The path of an absolute target, which must name us. RFC 9112 §3.2.2."""
        scheme, mark, rest = target.partition("://")
        host, slash, path = rest.partition("/")
        if scheme.lower() not in {"http", "https"} or not mark or host.lower() != self._host:
            raise Refused(
                "header-invalid", detail="The target must be a path.", reason="target of another form or host"
            )
        return slash + path

    def _known(self, asked: Asked) -> Route:
        segments = asked.path.split("/")[1:]
        for pattern, methods in self._paths.items():
            params = _matched(pattern, segments)
            if params is None:
                continue
            route = methods.get(asked.request.method)
            if route is None:
                asked.headers["Allow"] = ", ".join(sorted(methods))
                raise Refused("method-not-allowed")
            asked.route, asked.params = route, params
            _expected(asked, route)
            return route
        raise Refused("not-found", reason="no path of ours")

    def _awake(self, route: Route) -> None:
        if route.always:
            return
        if self.stopping:
            raise Refused("stopping")
        if self.open > self.parts.settings.in_flight:
            raise Refused("overloaded", reason="too many requests under way")

    def _proven(self, asked: Asked, route: Route) -> None:
        header = asked.request.headers.get("Authorization")
        proof = self.parts.proofs.check(header, asked.request.method, asked.path, asked.now, route.roles)
        asked.proof, asked.party = proof, proof.issuer
        if proof.holder.role is Role.AUTHORITY and route.active:
            self.parts.registry.admitted(proof.issuer)

    async def _read(self, asked: Asked) -> StatementBody:
        media = asked.request.headers.get("Content-Type", "")
        if _JSON.fullmatch(media) is None:
            raise Refused("media-type", reason="not application/json")
        raw = b"".join([chunk async for chunk in asked.chunks(limits.BODY)])
        try:
            strict.loads(raw, max_depth=limits.DEPTH)
        except NotStrict as error:
            raise problem_of(error) from None
        return validated(raw, StatementBody)

    def _noted(self, asked: Asked, answer: Answer, refused: Refused | None, took: float = 0.0) -> Answer:
        """Write the request's one line. What cannot be written down is not handed out."""
        try:
            _note(asked, answer.status, refused, took)
        except OSError:
            if isinstance(answer.body, File):
                answer.body.content.close()
            return problem(Refused("internal", reason="log not written"))
        return answer

    def _response(self, answer: Answer, asked: Asked) -> web.StreamResponse:
        """Status and header fields; the body too, when it is small."""
        cache = "no-cache" if asked.route is not None and asked.route.public else "no-store"
        headers = self._safe | {"Cache-Control": cache, "Request-Id": asked.id} | asked.headers | dict(answer.headers)
        headers["Content-Type"] = answer.media
        response: web.StreamResponse
        if isinstance(answer.body, File):
            response = web.StreamResponse(status=answer.status, headers=headers)
            response.content_length = answer.body.span.stop - answer.body.span.start
        else:
            body = answer.body if isinstance(answer.body, bytes) else answer.body.model_dump_json().encode()
            response = web.Response(status=answer.status, headers=headers, body=body)
        if self.stopping or not asked.framed or not asked.request.content.is_eof():
            response.force_close()  # RFC 9112 §6.3: what follows a doubtful request, or an unread body, is not read
        return response

    async def _sent(self, answer: Answer, asked: Asked) -> web.StreamResponse:
        """Let the answer leave. A reader who does not read is left."""
        response = self._response(answer, asked)
        try:
            if isinstance(answer.body, File):
                with answer.body.content:
                    await _sent_file(answer.body, response, asked.request)
                await self._told(answer.body, asked)
            else:
                async with asyncio.timeout(SLICE_TIME):
                    await response.prepare(asked.request)
                    await response.write_eof()
        except TimeoutError:
            raise _cut(asked) from None
        except (OSError, StoreError) as error:  # the answer has begun: what is cut short can be seen by its length
            if not isinstance(error, ConnectionError):
                log.exception("request.failed", error, request=asked.id)
            raise _cut(asked) from None
        return response

    async def _told(self, file: File, asked: Asked) -> None:
        """Say that the last byte left. The answer is out: what fails here is for the log alone."""
        try:
            if file.sent is not None:
                await file.sent()
        except (Refused, StoreError) as error:
            log.exception("request.failed", error, request=asked.id, authority=asked.party)


def _cut(asked: Asked) -> ConnectionResetError:
    """End the connection in the middle of an answer."""
    if asked.request.transport is not None:
        asked.request.transport.abort()
    return ConnectionResetError()


async def _sent_file(file: File, response: web.StreamResponse, request: web.BaseRequest) -> None:
    """Slice by slice, so that each has its own time."""
    await response.prepare(request)
    if isinstance(file.content, Pieces):
        async for piece in file.content:
            async with asyncio.timeout(SLICE_TIME):
                await response.write(piece)
    else:
        for start in range(file.span.start, file.span.stop, SLICE):
            async with asyncio.timeout(SLICE_TIME):
                await _sent_slice(file.content, start, min(SLICE, file.span.stop - start), response, request)
    await response.write_eof()


async def _sent_slice(
    content: BinaryIO, start: int, size: int, response: web.StreamResponse, request: web.BaseRequest
) -> None:
    """By the kernel's sendfile, where the loop has it: uvloop has not."""
    if request.transport is None:
        raise ConnectionResetError
    try:
        await asyncio.get_running_loop().sendfile(request.transport, content, start, size)
    except NotImplementedError:
        await response.write(await in_thread(os.pread, content.fileno(), size, start))


def _matched(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    params: dict[str, str] = {}
    for want, got in zip(pattern, segments, strict=True):
        if want.startswith("{"):
            params[want[1:-1]] = got
        elif want != got:
            return None
    return params


def _queried(query: str) -> dict[str, str]:
    if _QUERY.fullmatch(query) is None:
        raise Refused("invalid-member", places=(Place("?", "name=value&name=value"),), reason="bad query")
    pairs = [one.partition("=")[::2] for one in query.split("&")]
    if len(dict(pairs)) != len(pairs):
        raise Refused("doubled-member", places=(Place("?", "each parameter once"),), reason="doubled parameter")
    return dict(pairs)


def _expected(asked: Asked, route: Route) -> None:
    """Refuse parameters and a body that the route does not take."""
    known = {one.name: one for one in route.query}
    unknown = tuple(Place(f"?{name}", "no such parameter") for name in sorted(asked.query.keys() - known.keys()))
    if unknown:
        raise Refused("unknown-member", places=unknown, reason="unknown parameter")
    for name, value in asked.query.items():
        if re.fullmatch(known[name].pattern, value, re.ASCII) is None:
            raise Refused("invalid-member", places=(Place(f"?{name}", known[name].says),), reason="bad parameter")
    if route.takes is Takes.NOTHING and asked.request.can_read_body:
        raise Refused("too-large", detail="This call takes no body.", reason="body without use")


def problem(refused: Refused) -> Answer:
    """A refusal as an RFC 9457 document, with the header fields that belong to its status."""
    row, headers = refused.row, {}
    wait = refused.wait or AGAIN.get(refused.code, 0)
    if wait:
        headers["Retry-After"] = str(wait)
    if row.status == 401:  # noqa: PLR2004 (RFC 9110 §15.5.2)
        headers["WWW-Authenticate"] = "Proof"
    said = ProblemAnswer(
        type=f"urn:rogatory:problem:{refused.code}",
        title=row.title,
        status=row.status,
        code=refused.code,
        detail=refused.detail,
        article=refused.article or None,
        errors=tuple(ProblemPlace(pointer=one.pointer, expected=one.expected) for one in refused.places),
        rejection=None if refused.rejection is None else refused.rejection.decode(),
    )
    body = said.model_dump_json(exclude_none=True).encode()
    return Answer(body, row.status, headers, "application/problem+json")


def _note(asked: Asked, status: int, refused: Refused | None, took: float) -> None:
    holder = None if asked.proof is None else asked.proof.holder
    log.info(
        "request.served",
        request=asked.id,
        method=asked.method,
        route=None if asked.route is None else asked.route.path,
        status=status,
        code=None if refused is None else refused.code,
        reason=None if refused is None else refused.reason,
        authority=asked.party,
        kid=None if holder is None else holder.key.id,
        case=asked.params.get("case"),
        took_ms=round(took * 1000, 3),
        bytes_in=asked.bytes_in,
        peer=asked.peer,
    )
