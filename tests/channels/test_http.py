"""The HTTP client against real servers on loopback: what breaks, lies, redirects, floods, and what is resumed."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from channels.http import CHUNK, JSON_BYTES, Answered, BadAnswer, Http, Patience, Unreachable

QUICK = Patience(attempts=3, first=0.001, longest=0.002, ask=0.5, connect=1, read=0.5)
CONTENT = os.urandom(5 * CHUNK + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A server that answers with `handler`, and remembers what it was asked."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.seen: list[web.Request] = []
        self.proofs: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.proofs.append(request.headers.get("Authorization", ""))
        return await self.handler(request)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[Server, Http]]:
    server = Server(handler)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{any:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    number = 0

    def authorise(method: str, url: str) -> str | None:
        nonlocal number
        number += 1
        return None if method == "POST" else f"Proof {number} {method} {url}"

    port = runner.addresses[0][1]
    try:
        async with Http(f"http://127.0.0.1:{port}", authorise, patience=QUICK) as http:
            yield server, http
    finally:
        await runner.cleanup()


def says(status: int = 200, body: bytes = b"{}", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """Each handler once; the last for ever."""
    left = list(handlers)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return handler


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def file(
    content: bytes = CONTENT, breaks_after: int | None = None, *, ranges: bool = True, etag: str = SHA256
) -> Handler:
    """A file with Range and If-Range as RFC 9110 has them, that hangs up after so many bytes of an answer."""

    async def handler(request: web.Request) -> web.StreamResponse:
        begin = 0
        asked = request.headers.get("Range", "")
        if ranges and asked and request.headers.get("If-Range") in {None, f'"{etag}"'}:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        part = content[begin:]
        answer = web.StreamResponse(status=206 if begin else 200, headers={"ETag": f'"{etag}"'})
        if begin:
            answer.headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        answer.content_length = len(part)
        await answer.prepare(request)
        await answer.write(part if breaks_after is None else part[:breaks_after])
        if breaks_after is not None and breaks_after < len(part):
            return await hangs_up(request)
        return answer

    return handler


async def test_a_json_object_comes_back_as_bytes_that_were_read_strictly() -> None:
    async with serving(says(body=b'{"a": 1}')) as (server, http):
        assert await http.get_json("/v1", query={"steps": "3"}, headers={"Prefer": "wait=1"}) == b'{"a": 1}'
        assert await http.post_json("/v1/cases", b'{"statement":"x"}') == b'{"a": 1}'
    get, post = server.seen
    assert (get.query["steps"], get.headers["Prefer"], get.headers["Accept-Encoding"]) == ("3", "wait=1", "identity")
    assert (post.content_type, server.proofs[1]) == ("application/json", "")
    assert server.proofs[0] == f"Proof 1 GET {http.base}/v1"  # the query is no part of what is proved


@pytest.mark.parametrize(
    ("handler", "flaw"),
    [
        pytest.param(says(body=b'{"a":1,"a":2}'), "doubled-member", id="doubled member"),
        pytest.param(says(body=b"[]"), "not-an-object", id="a list"),
        pytest.param(says(body=b'{"a":NaN}'), "not-a-number", id="NaN"),
        pytest.param(says(body=b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"), "too-deep", id="deep"),
        pytest.param(says(body=b'"' + b"x" * JSON_BYTES + b'"'), "too-long", id="huge"),
        pytest.param(says(body=b"\x1f\x8b", Content_Encoding="gzip"), "encoding", id="compressed"),
        pytest.param(says(302, b"", Location="http://127.0.0.2:1/elsewhere"), "redirect", id="redirect elsewhere"),
        pytest.param(says(307, b"", Location="/here"), "redirect", id="redirect here"),
    ],
)
async def test_an_answer_of_another_form_is_not_used(handler: Handler, flaw: str) -> None:
    async with serving(handler) as (server, http):
        with pytest.raises(BadAnswer) as caught:
            await http.get_json("/v1")
    assert caught.value.flaw == flaw
    assert "not used" in str(caught.value)
    assert len(server.seen) == 1


async def test_an_endless_answer_is_left_after_the_limit() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * CHUNK)

    async with serving(endless) as (_, http):
        with pytest.raises(BadAnswer, match="too-long"):
            await http.get_bytes("/v1/blobs/x", most=CHUNK)


async def test_a_problem_is_told_with_its_code_and_a_plain_text() -> None:
    body = json.dumps({"code": "stale", "detail": "Sign\u001b[31m anew.\n" + "x" * 1_000, "status": 422}).encode()
    async with serving(says(422, body, Content_Type="application/problem+json")) as (server, http):
        with pytest.raises(Answered) as caught:
            await http.post_json("/v1/cases", b"{}")
    told = caught.value
    assert (told.status, told.code, told.wait, len(server.seen)) == (422, "stale", 0, 1)
    assert told.detail.startswith("Sign[31m anew.xxx")
    assert len(told.detail) < 500
    assert told.problem["status"] == 422


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"code": 7, "detail": ["x"]}', b"\xff"])
async def test_a_refusal_without_a_readable_problem_is_told_by_its_status(body: bytes) -> None:
    async with serving(says(418, body)) as (_, http):
        with pytest.raises(Answered) as caught:
            await http.get_json("/v1")
    assert (caught.value.status, caught.value.code, caught.value.detail) == (418, "", "")
    assert str(caught.value) == "The server answered 418."


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_server_is_asked_again_after_a_pause_with_a_new_proof(status: int) -> None:
    busy = says(status, b"{}", Retry_After="0")
    async with serving(in_turn(busy, hangs_up, hangs_up, says(body=b'{"ok":true}'))) as (server, http):
        assert await http.get_json("/v1") == b'{"ok":true}'
    # The second was sent on a kept connection, and so the third by aiohttp itself: with a proof of its own too.
    assert [proof.split()[1] for proof in server.proofs] == ["1", "2", "3", "4"]


async def test_retry_after_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep
    patience = Patience(attempts=2, first=0.001)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    async with serving(in_turn(says(503, Retry_After="7"), says())) as (_, http):
        monkeypatch.setattr("channels.http.asyncio.sleep", sleep)
        async with Http(http.base, lambda _m, _u: None, patience=patience) as patient:
            await patient.get_json("/v1")
        monkeypatch.undo()
    assert 7.0 in slept


@pytest.mark.parametrize(("after", "asked"), [("3600", 1), ("soon", 3), ("99999999999", 3)])
async def test_a_retry_after_that_is_too_long_ends_the_attempts_and_a_foolish_one_says_nothing(
    after: str, asked: int
) -> None:
    async with serving(says(503, Retry_After=after)) as (server, http):
        with pytest.raises(Answered) as caught:
            await http.get_json("/v1")
    assert (caught.value.status, len(server.seen)) == (503, asked)


async def test_attempts_are_bounded() -> None:
    async with serving(hangs_up) as (server, http):
        with pytest.raises(Unreachable) as caught:
            await http.post_json("/v1/cases", b"{}")
    assert (caught.value.flaw, len(server.seen)) == ("connection-lost", 3)
    assert "Nothing is lost" in str(caught.value)


async def test_nobody_there_a_silent_server_and_a_server_without_tls_are_told_apart() -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with serving(silent) as (_, http):
        base = http.base
        with pytest.raises(Unreachable) as caught:
            await http.get_json("/v1")
        assert caught.value.flaw == "too-slow"
        async with Http(base.replace("http:", "https:"), lambda _m, _u: None, patience=QUICK) as tls:
            with pytest.raises(Unreachable) as caught:
                await tls.get_json("/v1")
            assert caught.value.flaw == "tls"
    async with Http(base, lambda _m, _u: None, patience=QUICK) as nobody:
        with pytest.raises(Unreachable) as caught:
            await nobody.get_json("/v1")
    assert caught.value.flaw == "no-connection"
    async with Http("http://[::1", lambda _m, _u: None, patience=QUICK) as nowhere:
        with pytest.raises(Unreachable) as caught:
            await nowhere.get_json("/v1")
    assert caught.value.flaw == "address"


async def test_a_client_that_was_not_entered_is_a_mistake_of_ours() -> None:
    client = Http("http://127.0.0.1:1", lambda _m, _u: None)
    with pytest.raises(RuntimeError):
        await client.get_json("/v1")
    await client.__aexit__(None, None, None)  # nothing to close


async def test_a_file_goes_up_whole_again_after_a_break(tmp_path: Path) -> None:
    got: list[bytes] = []

    async def takes(request: web.Request) -> web.StreamResponse:
        got.append(await request.read())
        return web.json_response({"sha256": hashlib.sha256(got[-1]).hexdigest(), "size": len(got[-1])})

    (tmp_path / "sealed").write_bytes(CONTENT)
    steps: list[tuple[int, int]] = []
    async with serving(in_turn(hangs_up, takes)) as (server, http):
        raw = await http.put_file("/v1/blobs/x", tmp_path / "sealed", lambda done, size: steps.append((done, size)))
    assert json.loads(raw)["sha256"] == SHA256
    assert got == [CONTENT]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    last = server.seen[-1]
    assert (last.content_type, last.content_length) == ("application/octet-stream", len(CONTENT))
    assert server.proofs[-1].startswith("Proof 2 PUT ")


async def test_an_upload_that_does_not_move_is_broken_off(tmp_path: Path) -> None:
    async def stuck(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    (tmp_path / "sealed").write_bytes(b"x")
    async with serving(stuck) as (server, http):
        with pytest.raises(Unreachable, match="too-slow"):
            await http.put_file("/v1/blobs/x", tmp_path / "sealed")
    assert len(server.seen) == 3


async def test_a_file_comes_down_whole_and_closed_to_others(tmp_path: Path) -> None:
    to = tmp_path / "disclosure.age"
    steps: list[tuple[int, int]] = []
    async with serving(file()) as (server, http):
        for _ in range(2):  # the second time it is there
            await http.get_file(
                "/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT), progress=lambda *at: steps.append(at)
            )
    assert to.read_bytes() == CONTENT
    assert to.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "disclosure.age.part").exists()
    assert (steps[-1], len(server.seen)) == ((len(CONTENT), len(CONTENT)), 1)


async def test_a_download_that_breaks_again_and_again_goes_on_where_it_stood(tmp_path: Path) -> None:
    to = tmp_path / "f"
    async with serving(file(breaks_after=CHUNK)) as (server, http):
        await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
    assert to.read_bytes() == CONTENT
    begins = [int(request.headers.get("Range", "bytes=0-")[6:-1]) for request in server.seen]
    assert begins == sorted(set(begins))
    assert len(begins) > QUICK.attempts  # more than the attempts allowed: each brought something
    assert {request.headers.get("If-Range") for request in server.seen[1:]} == {f'"{SHA256}"'}


async def test_a_line_that_brings_next_to_nothing_is_given_up_and_gone_on_with_later(tmp_path: Path) -> None:
    to = tmp_path / "f"
    async with serving(file(breaks_after=10)) as (server, http):
        with pytest.raises(Unreachable):
            await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
        assert len(server.seen) == 3
        server.handler = file()
        await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
        assert server.seen[-1].headers["Range"] == "bytes=30-"
    assert to.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(file(etag="0" * 64), id="another version"),
        pytest.param(file(ranges=False), id="no ranges"),
        pytest.param(in_turn(says(416), file()), id="range refused"),
    ],
)
async def test_a_part_that_cannot_be_gone_on_with_is_started_anew(tmp_path: Path, handler: Handler) -> None:
    to = tmp_path / "f"
    (tmp_path / "f.part").write_bytes(b"y" * 100)
    async with serving(handler) as (_, http):
        await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
    assert to.read_bytes() == CONTENT


@pytest.mark.parametrize("spoilt", [b"y" * 100, b"y" * len(CONTENT), b"y" * (len(CONTENT) + 1)])
async def test_a_part_that_was_spoilt_on_our_own_disk_is_fetched_once_more(tmp_path: Path, spoilt: bytes) -> None:
    to = tmp_path / "f"
    (tmp_path / "f.part").write_bytes(spoilt)
    async with serving(file()) as (_, http):
        await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
    assert to.read_bytes() == CONTENT


ALTERED = CONTENT[:-1] + bytes((CONTENT[-1] ^ 1,))


@pytest.mark.parametrize("lies_there", [b"", CONTENT[:100]])
@pytest.mark.parametrize(
    ("handler", "flaw"),
    [
        pytest.param(file(ALTERED), "digest", id="one bit altered"),
        pytest.param(file(CONTENT + b"x", ranges=False), "too-long", id="a byte more"),
        pytest.param(file(CONTENT[:-1], ranges=False), "too-short", id="a byte less"),
    ],
)
async def test_bytes_that_do_not_fit_the_digest_never_get_the_name(
    tmp_path: Path, handler: Handler, flaw: str, lies_there: bytes
) -> None:
    to = tmp_path / "f"
    (tmp_path / "f.part").write_bytes(lies_there)
    async with serving(handler) as (_, http):
        with pytest.raises(BadAnswer) as caught:
            await http.get_file("/v1/blobs/x", to, sha256=SHA256, size=len(CONTENT))
    assert caught.value.flaw == flaw
    assert not to.exists()


async def test_a_range_other_than_the_asked_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:100])
    async with serving(says(206, CONTENT[99:], Content_Range=f"bytes 99-{len(CONTENT) - 1}/{len(CONTENT)}")) as (
        _,
        http,
    ):
        with pytest.raises(BadAnswer, match="range"):
            await http.get_file("/v1/blobs/x", tmp_path / "f", sha256=SHA256, size=len(CONTENT))


async def test_what_is_not_there_is_told_as_it_is(tmp_path: Path) -> None:
    async with serving(says(404, b'{"code":"not-found","detail":"Check the address."}')) as (_, http):
        with pytest.raises(Answered, match="not-found"):
            await http.get_file("/v1/blobs/x", tmp_path / "f", sha256=SHA256, size=3)


async def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    async with serving(in_turn(file())) as (_, http):
        one = http.get_file("/v1/blobs/x", tmp_path / "f", sha256=SHA256, size=len(CONTENT))
        other = http.get_file("/v1/blobs/x", tmp_path / "f", sha256=SHA256, size=len(CONTENT))
        found = await asyncio.gather(one, other, return_exceptions=True)
    assert [type(result) for result in found if result is not None] == [BlockingIOError]
    assert (tmp_path / "f").read_bytes() == CONTENT
