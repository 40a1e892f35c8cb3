"""The one HTTP client: JSON both ways, files up and down as streams, resumed after a break, checked by digest.

It knows no statement and no key: who calls hands in `authorise`, which makes the Authorization header for a method and an
address, anew for every attempt. Everything that is sent here may be sent again (the same bytes get the same receipt), so what
breaks is tried again, a bounded number of times. It follows no redirect, sends no cookie, uses no proxy, reads no more than it
asked for, and lets no byte of a file count that does not fit the digest.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar, final

import aiohttp

from channels.parts import Part, digest_of_file, is_file_of
from crypto import strict
from crypto.errors import NotStrict

Authorise: TypeAlias = Callable[[str, str], str | None]  # method, address without query: the header's value
Progress: TypeAlias = Callable[[int, int], None]  # bytes done, bytes in all

JSON_BYTES: Final = 16 << 20  # ours: a thousand rows of a chain, with room to spare
PROBLEM_BYTES: Final = 256 << 10  # ours: a problem with its signed rejection is a hundredth of that
CHUNK: Final = 256 << 10
MOVED: Final = 64 << 10  # bytes that an attempt must have brought not to count as failed
DETAIL: Final = 500  # characters of a text by somebody else that are kept
SLOWEST: Final = 16 << 10  # bytes a second: an upload that is slower is broken off
_AGAIN: Final = frozenset({429, 502, 503, 504})
_PARTIAL, _RANGE_REFUSED, _FIRST_ERROR, _FIRST_REDIRECT = 206, 416, 400, 300

Result = TypeVar("Result")


@final
class Answered(OSError):
    """A refusal by status. `code` is the problem's (RFC 9457), "" if there was none; texts are the server's, cut and made plain."""

    def __init__(self, status: int, code: str, detail: str, problem: Mapping[str, object], wait: float = 0) -> None:
        super().__init__(f"The server answered {status}{f' ({code})' if code else ''}. {detail}".strip())
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = problem
        self.wait = wait  # seconds, as Retry-After said; 0 if it did not


@final
class Unreachable(OSError):
    """No answer, as often as was tried. `flaw` names the kind of break."""

    def __init__(self, base: str, flaw: str) -> None:
        super().__init__(
            f"No answer from {base} ({flaw}). Nothing is lost: check the address and the line, and try again."
        )
        self.flaw = flaw


@final
class BadAnswer(OSError):
    """An answer that is not of the form it must have. `flaw` is a short constant."""

    def __init__(self, base: str, flaw: str) -> None:
        super().__init__(f"The answer from {base} is not what it must be ({flaw}). It was not used.")
        self.flaw = flaw


@final
@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long: `attempts` in all, pauses and time-outs in seconds."""

    attempts: int = 5
    first: float = 0.2  # the first pause at the most; doubled each time
    longest: float = 5.0
    ask: float = 60.0  # a Retry-After above this is not waited for
    connect: float = 10.0
    read: float = 60.0

    def pause(self, failed: int) -> float:
        """The pause after so many failures: full jitter, so that clients which broke together do not come back together."""
        most = min(self.longest, self.first * 2.0 ** (failed - 1))
        return float(most * secrets.randbelow(1_001) / 1_000)


@final
class _Broken(Exception):
    """An attempt that may be made again; `final_error` is what to raise when there are no more."""

    def __init__(self, final_error: OSError, wait: float = 0) -> None:
        self.final_error = final_error
        self.wait = wait


@final
class Http:
    """A client of one server. Use as `async with Http(base, authorise) as http`."""

    def __init__(self, base: str, authorise: Authorise, *, patience: Patience | None = None) -> None:
        self.base = base.rstrip("/")
        self._authorise = authorise
        self._patience = patience or Patience()
        self._open: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        patience = self._patience
        self._open = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect, sock_read=patience.read),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "rogatory"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.close()

    async def get_json(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """One strict JSON object. Raises Answered, Unreachable, BadAnswer, as all of these do."""

        async def _attempt() -> bytes:
            async with self._asked("GET", path, query=query, headers=headers) as answer:
                return await self._json(answer)

        return await self._tried(_attempt)

    async def post_json(self, path: str, body: bytes) -> bytes:
        """Send a JSON body; the answer as `get_json` gives it."""

        async def _attempt() -> bytes:
            headers = {"Content-Type": "application/json"}
            async with self._asked("POST", path, headers=headers, body=body) as answer:
                return await self._json(answer)

        return await self._tried(_attempt)

    async def put_file(self, path: str, file: Path, progress: Progress | None = None) -> bytes:
        """Send a file as it is; the answer as `get_json` gives it."""
        size = (await asyncio.to_thread(file.stat)).st_size

        async def _attempt() -> bytes:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            async with asyncio.timeout(self._patience.read + size / SLOWEST):
                async with self._asked("PUT", path, headers=headers, body=_sent(file, size, progress)) as answer:
                    return await self._json(answer)

        return await self._tried(_attempt)

    async def get_bytes(self, path: str, *, most: int) -> bytes:
        """A small file, in memory: at most `most` bytes."""

        async def _attempt() -> bytes:
            async with self._asked("GET", path) as answer:
                return await self._read(answer, most)

        return await self._tried(_attempt)

    async def get_file(self, path: str, to: Path, *, sha256: str, size: int, progress: Progress | None = None) -> None:
        """The file with that digest and size, at `to`: streamed, mode 0600, and there only when it is whole and right.

        What came before a break lies beside it as `.part` and is gone on with, now or by a later call (RFC 9110 §13.1.5).
        """
        if await asyncio.to_thread(is_file_of, to, sha256, size):
            return
        with Part(to.with_name(to.name + ".part")) as part:
            # What lies there from an earlier call may have been spoilt on our own disk: then once more, from the start.
            for _ in range(1 + (part.size > 0)):
                await self._filled(path, part, sha256, size, progress)
                if await asyncio.to_thread(digest_of_file, part.path) == sha256:
                    part.place(to)
                    return
                part.cut(0)
            raise BadAnswer(self.base, "digest")

    async def _filled(self, path: str, part: Part, sha256: str, size: int, progress: Progress | None) -> None:
        """Ask for what is missing, until all is there. What counts as a failure is an attempt that brought next to nothing."""
        failed = 0
        if part.size > size:
            part.cut(0)
        while part.size < size:
            before = part.size
            try:
                await self._continued(path, part, sha256, size, progress)
            except _Broken as broken:
                failed = 1 if part.size - before >= MOVED else failed + 1
                await self._wait(broken, failed)

    async def _continued(self, path: str, part: Part, sha256: str, size: int, progress: Progress | None) -> None:
        headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{sha256}"'} if part.size else {}
        try:
            async with self._asked("GET", path, headers=headers) as answer:
                if answer.status != _PARTIAL:
                    part.cut(0)  # all of it comes: another version lies there, or ranges are not known there
                elif answer.headers.get("Content-Range") != f"bytes {part.size}-{size - 1}/{size}":
                    raise BadAnswer(self.base, "range")
                async for chunk in answer.content.iter_chunked(CHUNK):
                    if part.size + len(chunk) > size:
                        part.cut(0)
                        raise BadAnswer(self.base, "too-long")
                    await asyncio.to_thread(part.write, chunk)
                    if progress is not None:
                        progress(part.size, size)
        except Answered as answered:
            if answered.status != _RANGE_REFUSED or not part.size:
                raise
            part.cut(0)
            raise _Broken(answered) from None
        if part.size < size:
            raise _Broken(BadAnswer(self.base, "too-short"))

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt: an answer below 300. A break is `_Broken`, while the answer is read too."""
        if self._open is None:
            raise RuntimeError("use `async with`")
        url = self.base + path

        async def authorised(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            # Here, and not in `headers`: aiohttp sends again by itself on a kept connection that broke, and a proof is
            # good once.
            if (authorisation := self._authorise(method, url)) is not None:
                request.headers["Authorization"] = authorisation
            return await send(request)

        try:
            async with self._open.request(
                method,
                url,
                params=query,
                headers=headers,
                data=body,
                allow_redirects=False,
                middlewares=(authorised,),
            ) as answer:
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise BadAnswer(self.base, "encoding")
                if answer.status >= _FIRST_ERROR:
                    await self._refuse(answer)
                if answer.status >= _FIRST_REDIRECT:
                    raise BadAnswer(self.base, "redirect")
                yield answer
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError):
            raise Unreachable(self.base, "tls") from None  # the same again would be the same again
        except aiohttp.InvalidURL:
            raise Unreachable(self.base, "address") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _Broken(Unreachable(self.base, _kind(error))) from None

    async def _refuse(self, answer: aiohttp.ClientResponse) -> None:
        """Raise what a status from 400 says; as `_Broken` if it may be otherwise in a moment."""
        raw = await self._read(answer, PROBLEM_BYTES)
        try:
            problem = strict.loads(raw)
        except NotStrict:
            problem = {}
        code, detail = (plain(problem.get(name)) for name in ("code", "detail"))
        wait = _seconds(answer.headers.get("Retry-After"))
        answered = Answered(answer.status, code, detail, problem, wait)
        if answer.status in _AGAIN and wait <= self._patience.ask:
            raise _Broken(answered, wait)
        raise answered

    async def _json(self, answer: aiohttp.ClientResponse) -> bytes:
        raw = await self._read(answer, JSON_BYTES)
        try:
            strict.loads(raw)
        except NotStrict as error:
            raise BadAnswer(self.base, error.flaw) from None
        return raw

    async def _read(self, answer: aiohttp.ClientResponse, most: int) -> bytes:
        """The whole body, if it is no longer than `most`; no more than that is ever held."""
        found = bytearray()
        async for chunk in answer.content.iter_chunked(CHUNK):
            found += chunk
            if len(found) > most:
                raise BadAnswer(self.base, "too-long")
        return bytes(found)

    async def _tried(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        failed = 0
        while True:
            try:
                return await attempt()
            except TimeoutError:
                broken = _Broken(Unreachable(self.base, "too-slow"))
            except _Broken as error:
                broken = error
            failed += 1
            await self._wait(broken, failed)

    async def _wait(self, broken: _Broken, failed: int) -> None:
        """Before the next attempt; raises when there were enough."""
        if failed >= self._patience.attempts:
            raise broken.final_error from None
        await asyncio.sleep(max(broken.wait, self._patience.pause(failed)))


async def _sent(file: Path, size: int, progress: Progress | None) -> AsyncIterator[bytes]:
    done = 0
    with file.open("rb") as source:
        while chunk := await asyncio.to_thread(source.read, CHUNK):
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done, size)


def plain(text: object) -> str:
    """A text by somebody else, fit for a terminal: printable characters alone, and not too many."""
    if not isinstance(text, str):
        return ""
    return "".join(letter for letter in text[:DETAIL] if letter.isprintable())


def _seconds(text: str | None) -> float:
    """Retry-After in its form of seconds (RFC 9110 §10.2.3); what is of another form says nothing."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 6 else 0.0  # noqa: PLR2004 (eleven days)


def _kind(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "too-slow"
        case aiohttp.ClientConnectorError():
            return "no-connection"
        case _:
            return "connection-lost"
