import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.door import Listener, border, calls, listener
from gateway.door.listener import Connections, site
from gateway.store import StoreError
from protocol.ids import digest_of
from protocol.problems import PROBLEMS
from tests.actors import Officer
from tests.gateway.doorstep import URL, Doorstep, doorstep


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Doorstep]:
    async with doorstep(tmp_path) as one:
        yield one


@pytest.fixture
async def officer(gate: Doorstep) -> Officer:
    return await gate.admitted(Officer(gate.platform))


def answers(came: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers in what came over a socket, in order."""
    found = []
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        length = int(fields.get("Content-Length", "0"))
        found.append((int(lines[0].split()[1]), fields, came[:length]))
        came = came[length:]
    return found


def code_in(body: bytes) -> str:
    return str(json.loads(body)["code"])


# answers and problems


async def test_every_answer_is_safe_for_browsers_and_names_no_versions(gate: Doorstep) -> None:
    for path in ("/v1", "/nothing"):
        told = (await gate.get(path)).headers
        assert told["X-Content-Type-Options"] == "nosniff"
        assert told["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert told["Referrer-Policy"] == "no-referrer"
        assert told["Strict-Transport-Security"].startswith("max-age=31536000")
        assert told["Server"] == "rogatory"
    assert (await gate.get("/v1")).headers["Cache-Control"] == "no-cache"
    assert (await gate.get("/v1/cases")).headers["Cache-Control"] == "no-store"


async def test_a_gateway_without_tls_asks_no_browser_for_it(tmp_path: Path) -> None:
    async with doorstep(tmp_path, public_url="http://127.0.0.1:8440") as gate:
        assert "Strict-Transport-Security" not in (await gate.get("/v1")).headers


async def test_an_address_without_that_method_names_those_it_has(gate: Doorstep) -> None:
    told = await gate.ask("DELETE", "/v1/cases")
    assert (told.code, told.headers["Allow"]) == ("method-not-allowed", "GET, POST")
    head = await gate.ask("HEAD", "/v1")
    assert (head.status, head.headers["Allow"], head.body) == (405, "GET", b"")
    assert (await gate.ask("OPTIONS", "/v1/cases")).code == "method-not-allowed"
    assert (await gate.ask("PROPFIND", "/v1")).code == "method-not-allowed"
    assert gate.lines[-1]["method"] == "other"


async def test_a_missing_proof_is_asked_for(gate: Doorstep) -> None:
    told = await gate.get("/v1/cases")
    assert (told.code, told.headers["WWW-Authenticate"]) == ("proof-missing", "Proof")


async def test_every_place_of_an_error_is_told(gate: Doorstep) -> None:
    told = await gate.send("/v1/cases", b'{"sealed": 7, "extra": 1}')
    assert told.code == "unknown-member"
    assert {one["pointer"] for one in told.told["errors"]} == {"/statement", "/sealed", "/extra"}


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 400),
        ("application/json; charset=utf-8", 400),
        ('Application/JSON;charset="UTF-8"', 400),
        ("text/plain", 415),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
async def test_a_statement_comes_as_json(gate: Doorstep, media: str, status: int) -> None:
    assert (await gate.send("/v1/cases", b"{", Content_Type=media)).status == status


async def test_a_failure_inside_is_told_without_content_and_logged_by_type_and_place(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a canary of content")

    monkeypatch.setattr(type(gate.gateway.intake), "case", broken)
    case = await gate.opened(officer)
    told = await gate.get(f"/v1/cases/{case}", officer)
    assert told.code == "internal"
    failed, served = gate.lines[-2:]
    assert (failed["event"], failed["error"], failed["request"]) == ("request.failed", "KeyError", served["request"])
    assert any(line.startswith("routes/cases.py:") for line in failed["where"])
    assert b"canary" not in told.body
    assert "canary" not in gate.written.getvalue()


async def test_a_store_that_fails_promises_nothing(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("not-read")

    monkeypatch.setattr(type(gate.gateway.store), "cases", broken)
    told = await gate.get("/v1/cases", officer)
    assert (told.code, told.headers["Retry-After"]) == ("not-durable", "1")
    assert gate.lines[-1]["reason"] == "not-read"


async def test_what_cannot_be_written_down_is_not_handed_out(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record, no receipt, no release."""
    content = b"sealed" * 1_000
    await gate.put(content, officer)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    sent = officer.request()
    monkeypatch.setattr(border, "_note", full)
    told = await gate.post("/v1/cases", *sent)
    assert told.code == "internal"
    assert b"receipt" not in told.body
    assert (await gate.get(f"/v1/blobs/{digest_of(content)}", officer)).code == "internal"
    monkeypatch.undo()
    assert (await gate.post("/v1/cases", *sent)).status == 200  # it was taken, and the receipt is there


async def test_a_request_leaves_one_wide_line(gate: Doorstep, officer: Officer) -> None:
    case = await gate.opened(officer)
    before = len(gate.lines)
    told = await gate.get(f"/v1/cases/{case}?steps=0", officer)
    (line,) = [line for line in gate.lines[before:] if line["event"] == "request.served"]
    assert line.pop("took_ms") >= 0
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "request.served",
        "party": "gateway",
        "request": told.headers["Request-Id"],
        "method": "GET",
        "route": "/v1/cases/{case}",
        "status": 200,
        "code": None,
        "reason": None,
        "authority": officer.party,
        "kid": officer.secret.public.id,
        "case": case,
        "bytes_in": 0,
        "peer": "127.0.0.1",
    }


# framing


@pytest.mark.parametrize("name", [name for name in border.SINGLE if name not in {"Content-Length", "Host"}])
async def test_a_doubled_header_is_refused(gate: Doorstep, name: str) -> None:
    value = "chunked" if name == "Transfer-Encoding" else "x"
    head = f"POST /v1/cases HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n{name}: {value}\r\nConnection: close\r\n\r\n"
    ((status, _, body),) = answers(await gate.wire(head.encode() + b"0\r\n\r\n"))
    assert (status, code_in(body)) == (400, "header-invalid")


async def test_a_target_that_names_us_is_taken_and_any_other_is_not(gate: Doorstep) -> None:
    host = URL.removeprefix("https://")
    for target, status in {
        f"http://{host}/healthz": 200,
        f"https://{host.upper()}/healthz": 200,
        "http://evil.example/healthz": 400,
        f"http://{host}@evil.example/healthz": 400,
        f"http://user@{host}/healthz": 400,
        f"ftp://{host}/healthz": 400,
        f"http://{host}": 404,
    }.items():
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ((got, _, body),) = answers(await gate.wire(head.encode()))
        assert got == status, target
        if got != 200:
            assert code_in(body) in {"header-invalid", "not-found"}


async def test_a_call_without_a_body_takes_none(gate: Doorstep) -> None:
    assert (await gate.ask("GET", "/v1", data=b"x")).code == "too-large"
    head = b"GET /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert answers(await gate.wire(head))[0][0] == 200


async def test_a_body_is_asked_for_only_when_it_is_wanted(gate: Doorstep, officer: Officer) -> None:
    proof = officer.proof("PUT", f"{URL}/v1/blobs/{digest_of(b'abc')}").decode()
    head = (
        f"PUT /v1/blobs/{digest_of(b'abc')} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        "Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n"
    )
    refused = await gate.wire(head.encode() + b"\r\n")
    assert [status for status, _, _ in answers(refused)] == [401]
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode() + f"Authorization: Proof {proof}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
    writer.close()


async def test_another_expectation_is_refused(gate: Doorstep) -> None:
    head = b"GET /v1 HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nConnection: close\r\n\r\n"
    assert code_in(answers(await gate.wire(head))[0][2]) == "header-invalid"


# time and number


async def test_a_slow_body_is_left(gate: Doorstep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "GRACE", 0.2)
    head = b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    ((status, fields, body),) = answers(await gate.wire(head))
    assert (status, code_in(body), fields["Connection"]) == (408, "too-slow", "close")


async def test_a_body_that_stalls_is_left_however_fast_it_began(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "STALL", 0.2)
    before = await gate.kept()
    path = f"/v1/blobs/{digest_of(b'abc')}"
    proof = officer.proof("PUT", URL + path).decode()
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 10000000\r\n"
        f"Authorization: Proof {proof}\r\n\r\n"
    )
    ((status, _, body),) = answers(await gate.wire(head.encode() + b"x" * 1_000_000))
    assert (status, code_in(body)) == (408, "too-slow")
    assert await gate.kept() == before


async def test_a_client_who_leaves_in_his_body_leaves_a_line_and_nothing_else(gate: Doorstep, officer: Officer) -> None:
    before = await gate.kept()
    path = f"/v1/blobs/{digest_of(b'abc')}"
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 10000\r\n"
        f"Authorization: Proof {officer.proof('PUT', URL + path).decode()}\r\n\r\nabc"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    await asyncio.sleep(0.1)
    writer.transport.abort()
    async with asyncio.timeout(2):
        while gate.lines[-1].get("status") != border.LEFT:
            await asyncio.sleep(0.01)
    assert await gate.kept() == before


async def test_a_client_who_leaves_stops_no_commit(gate: Doorstep, officer: Officer) -> None:
    sent = officer.request()
    body = json.dumps({"statement": sent.statement.decode(), "sealed": base64.b64encode(sent.sealed).decode()})
    head = (
        f"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode() + body.encode())
    await writer.drain()
    await asyncio.sleep(0)
    writer.transport.abort()
    async with asyncio.timeout(2):
        while (await gate.gateway.store.counts())["cases"] == 0:
            await asyncio.sleep(0.01)
    assert (await gate.post("/v1/cases", *sent)).status == 200


async def test_past_its_places_the_gateway_is_busy_but_alive(tmp_path: Path) -> None:
    async with doorstep(tmp_path, in_flight=1) as gate:
        head = b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(head)
        await asyncio.sleep(0.1)
        told = await gate.get("/v1")
        assert (told.code, told.headers["Retry-After"]) == ("overloaded", "1")
        assert (await gate.get("/healthz")).status == 200
        writer.close()
        await asyncio.sleep(0.1)
        assert (await gate.get("/v1")).status == 200


async def test_a_party_that_asks_too_much_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with doorstep(tmp_path, requests_per_minute=60, burst=5) as gate:
        officer = await gate.admitted(Officer(gate.platform))
        told = [await gate.get("/v1/cases", officer) for _ in range(6)]
        assert told[0].headers["RateLimit-Policy"] == '"party";q=5;w=5'
        assert [one.code for one in told][-1] == "too-many"
        assert told[-1].headers["Retry-After"] == "1"
        gate.forward(seconds=1)
        assert (await gate.get("/v1/cases", officer)).status == 200


async def test_a_reader_who_does_not_read_is_left(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"y" * 20_000_000
    await gate.put(content, officer)
    monkeypatch.setattr(border, "SLICE_TIME", 0.3)
    path = f"/v1/blobs/{digest_of(content)}"
    proof = officer.proof("GET", URL + path).decode()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", gate.port))
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Proof {proof}\r\n\r\n".encode())
        await asyncio.sleep(0.1)
        assert gate.gateway.listener._door.open == 1
        async with asyncio.timeout(3):
            await gate.gateway.listener._door.drained()


async def test_a_pipeline_is_answered_in_order(gate: Doorstep) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert [status for status, _, _ in answers(await gate.wire(one * 40 + last))] == [200] * 40 + [404]


# connections


async def test_a_head_that_does_not_come_whole_is_not_waited_for(gate: Doorstep) -> None:
    """Half-open, or a byte now and then: a connection has twenty seconds for a whole head (here less)."""
    door = gate.gateway.listener._door
    assert listener.IDLE == 20.0
    second = Listener(door, door.parts.settings, idle=0.4)
    await second.start()
    started = asyncio.get_running_loop().time()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", second.port)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", second.port)
        writer.write(b"GET /v1 HTTP/1.1\r\nHost: ")
        while not reader.at_eof() and reader.exception() is None:
            assert asyncio.get_running_loop().time() - started < 1.5
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert await asyncio.wait_for(idle_reader.read(), 1.5) == b""
        for one in (writer, idle_writer):
            one.close()
    finally:
        await second.stop()


async def test_one_address_holds_no_more_than_its_connections(tmp_path: Path) -> None:
    async with doorstep(tmp_path, connections_per_address=3) as gate:
        held = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(3)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        for _, one in (*held, (reader, writer)):
            one.close()
        await asyncio.sleep(0.1)
        assert (await gate.get("/healthz")).status == 200


def test_connections_are_counted_by_address_and_forgotten() -> None:
    held = Connections(2)
    assert [held.take("a"), held.take("a"), held.take("a"), held.take("b")] == [True, True, False, True]
    held.give("a")
    assert held.take("a")
    for _ in range(2):
        held.give("a")
    assert dict(held._held) == {"b": 1}


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.7", 1, 0, 0), "::ffff:192.0.2.7"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_caller_is_an_address_or_an_ipv6_site(peer: object, address: str) -> None:
    assert site(peer) in {address, address.replace("::ffff:192.0.2.7", "::ffff:c000:207")}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="TLS"),
        pytest.param(b"hello\r\n\r\n", id="no HTTP"),
        pytest.param(b"BREW /v1 HTTP/1.1\r\nHost: x\r\n\r\n", id="no method"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", id="no colon"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", id="space before the colon"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", id="folded"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", id="a zero byte"),
        pytest.param(b"GET /v1 HTTP/2.0\r\nHost: x\r\n\r\n", id="another version"),
        pytest.param(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="long target"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 10_000 + b"\r\n\r\n", id="long field"),
        pytest.param(b"GET /v1 HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", id="many fields"),
        pytest.param(b"GET /v1 HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", id="CONNECT"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", id="asterisk"),
    ],
)
async def test_what_is_no_request_gets_a_problem_document(gate: Doorstep, raw: bytes) -> None:
    found = answers(await gate.wire(raw, patience=0.5))
    status, fields, body = found[0]
    assert status == 400
    assert fields["Content-Type"] == "application/problem+json"
    assert code_in(body) == "header-invalid"
    assert gate.lines[-1]["code"] == "header-invalid"


# stopping


async def test_a_stop_finishes_what_was_accepted_and_takes_nothing_new(gate: Doorstep, officer: Officer) -> None:
    case = await gate.opened(officer)
    sent = officer.request()
    body = json.dumps({"statement": sent.statement.decode(), "sealed": base64.b64encode(sent.sealed).decode()})
    head = (
        f"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode() + body[:100].encode())
    polling = asyncio.create_task(gate.get(f"/v1/cases/{case}", officer, Prefer="wait=30"))
    idle = await asyncio.open_connection("127.0.0.1", gate.port)
    await asyncio.sleep(0.1)
    port = gate.port
    stopping = asyncio.create_task(gate.gateway.listener.stop())
    await asyncio.sleep(0.05)
    idle[1].write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    ready = answers(await idle[0].read())[0]
    assert (ready[0], json.loads(ready[2])["status"], ready[1]["Connection"]) == (503, "stopping", "close")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.write(body[100:].encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
    assert (await asyncio.wait_for(polling, 3)).told["steps"] == 1
    await asyncio.wait_for(stopping, 3)
    for one in (writer, idle[1]):
        one.close()


async def test_a_new_request_to_a_stopping_gateway_is_told_to_come_again(gate: Doorstep) -> None:
    gate.gateway.listener._door.stop()
    told = await gate.get("/v1")
    assert (told.code, told.headers["Retry-After"]) == ("stopping", "5")
    assert (await gate.get("/healthz")).status == 200


async def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with doorstep(tmp_path, drain=timedelta(seconds=0.3)) as gate:
        head = b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(head)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(4):
            await gate.gateway.listener.stop()
        writer.close()


async def test_a_listener_that_never_started_stops_at_once(gate: Doorstep) -> None:
    door: Any = gate.gateway.listener._door
    never = Listener(door, door.parts.settings)
    await never.stop()
    with pytest.raises(RuntimeError):
        _ = never.port


async def test_a_disclosure_that_cannot_be_noted_was_given_all_the_same(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("not-written")

    case = await gate.opened(officer)
    await gate.decided(case, b"sealed")
    monkeypatch.setattr(type(gate.gateway.store), "blob_fetched", broken)
    assert (await gate.get(f"/v1/blobs/{digest_of(b'sealed')}", officer)).body == b"sealed"
    async with asyncio.timeout(2):
        while not any(line["event"] == "request.failed" for line in gate.lines):
            await asyncio.sleep(0.01)
    monkeypatch.undo()
    assert (await gate.get(f"/v1/blobs/{digest_of(b'sealed')}", officer)).body == b"sealed"
    async with asyncio.timeout(2):
        while (await gate.case(case)).steps == 3:
            await asyncio.sleep(0.01)
    rows = await gate.gateway.store.chain(case)
    assert len(rows) == 4
    assert rows[-1].statement is None


def test_every_code_that_the_door_waits_for_is_in_the_table() -> None:
    assert set(border.AGAIN) <= set(PROBLEMS)
