"""The two front doors: the programs themselves read the files, and what they understood is what the gateway relies on."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from protocol import limits
from tests.docker.dockerfile import DOCKER, ROOT

GATEWAYS = {"rogatory-gateway-1:8440", "rogatory-gateway-2:8440"}
TOLD = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded"}


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not on this machine; Debian's package has it")
    return found


def caddy(tmp_path: Path, verb: str) -> str:
    environment = dict(os.environ) | {"ROGATORY_DOMAIN": "requests.chat.example", "HOME": str(tmp_path)}
    command = [program("caddy"), verb, "--adapter", "caddyfile", "--config", str(DOCKER / "Caddyfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parts(found: Any, name: str) -> list[dict[str, Any]]:
    """Every handler of that name, wherever it stands."""
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    own = [found] if isinstance(found, dict) and found.get("handler") == name else []
    return own + [one for value in inside for one in parts(value, name)]


def test_caddy_takes_it(tmp_path: Path) -> None:
    caddy(tmp_path, "validate")


def test_caddy_asks_each_gateway_whether_it_is_ready_and_tells_it_nothing_of_callers(tmp_path: Path) -> None:
    told = json.loads(caddy(tmp_path, "adapt"))
    proxies = parts(told, "reverse_proxy")
    assert len(proxies) == 2
    for one in proxies:
        assert {up["dial"] for up in one["upstreams"]} == GATEWAYS
        assert one["health_checks"]["active"]["uri"] == "/readyz"
        assert one["health_checks"]["active"]["expect_status"] == 200
        assert set(one["headers"]["request"]["delete"]) == TOLD
        assert one["flush_interval"] == -1
        assert "buffer_requests" not in one
        assert one["transport"]["keep_alive"] == {"enabled": False}
    (server,) = told["apps"]["http"]["servers"].values()
    assert server["read_header_timeout"] == 10 * 10**9
    assert "trusted_proxies" not in server
    assert told["admin"] == {"disabled": True}


def test_caddys_limit_of_a_body_is_above_the_protocols(tmp_path: Path) -> None:
    bodies = sorted(one["max_size"] for one in parts(json.loads(caddy(tmp_path, "adapt")), "request_body"))
    assert bodies[0] == 4 * limits.BODY
    assert bodies[1] > limits.ATTACHMENT


def test_nginx_takes_it(tmp_path: Path) -> None:
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made = [
        program("openssl"),
        "req",
        "-x509",
        *curve,
        "-nodes",
        "-subj",
        "/CN=test",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(made, check=True, capture_output=True)
    text = (DOCKER / "nginx.conf").read_text()
    text = re.sub(r"(?<= )/(tmp|run/secrets)/", f"{tmp_path}/", text)
    text = re.sub(r"rogatory-gateway-(\d)", r"127.0.0.\1", text)  # names are looked up, and there are none here
    config = tmp_path / "nginx.conf"
    config.write_text(text)
    done = subprocess.run([program("nginx"), "-t", "-c", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nginx_promises_what_caddy_promises() -> None:
    text = (DOCKER / "nginx.conf").read_text()
    assert set(re.findall(r"server (rogatory\S+)", text)) == GATEWAYS
    assert {name.title() for name in re.findall(r'proxy_set_header (\S+) "";', text)} == {one.title() for one in TOLD}
    blobs = text.partition("location /v1/blobs/")[2]
    assert "proxy_request_buffering off;" in blobs
    assert "non_idempotent" not in blobs
    assert f"client_max_body_size {4 * limits.BODY // limits.MIB}m;" in text


def test_the_ingress_has_nginxs_bounds() -> None:
    manifests = (ROOT / "docker/kubernetes/ingress.yaml").read_text()
    assert f"proxy-body-size: {4 * limits.BODY // limits.MIB}m" in manifests
    assert 'proxy-request-buffering: "off"' in manifests.partition("gateway-blobs")[2]


# Both in front of two gateways that say what came to them.


class Gateway(ThreadingHTTPServer):
    """Says which request headers and how much of a body came; `/readyz` says what `state` is."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.state = 200
        self.came: list[dict[str, str]] = []
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self._answer(self.server.state if self.path == "/readyz" else 200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def _answer(self, status: int) -> None:
        if self.path != "/readyz":
            self.server.came.append({name.title(): value for name, value in self.headers.items()})
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what came is kept."""


def asked(port: int, path: str, body: bytes | None = None) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    said = dict.fromkeys(TOLD, "203.0.113.7") | {"Host": "requests.chat.example", "Authorization": "Proof x"}
    try:
        connection.request("GET" if body is None else "POST", path, body, said)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def sends_bodies_again() -> bool:
    """Whether this Caddy makes a request with a body to another gateway when the first could not be dialled (2.11.2)."""
    said = subprocess.run([program("caddy"), "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return found is not None and tuple(map(int, found.groups())) >= (2, 11, 2)


@contextmanager
def front(name: str, gateways: list[Gateway], folder: Path) -> Iterator[int]:
    """The proxy in the clear, on a port of loopback; all else is as in its file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / "proxy.conf"
    text = (DOCKER / ("Caddyfile" if name == "caddy" else "nginx.conf")).read_text()
    for number, one in enumerate(gateways, 1):
        text = text.replace(f"rogatory-gateway-{number}:8440", f"127.0.0.1:{one.server_port}")
    if name == "caddy":
        command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
        text = text.replace("{$ROGATORY_DOMAIN}", f"http://requests.chat.example:{port}")
    else:
        command = [program("nginx"), "-c", str(file), "-g", "daemon off;"]
        text = re.sub(r"(?<= )/tmp/", f"{folder}/", text)
        text = re.sub(r"    server \{\n        listen 80;.*?\n    \}\n", "", text, flags=re.DOTALL)
        text = re.sub(r"\n *ssl_[^\n]*", "", text).replace("listen 443 ssl http2", f"listen 127.0.0.1:{port}")
    file.write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + 15
        while asked(port, "/v1") != 200:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ends, (folder / "log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("name", ["caddy", "nginx"])
def test_a_proxy_bounds_bodies_hides_what_callers_say_of_themselves_and_leaves_out_who_left(
    name: str, tmp_path: Path
) -> None:
    gateways = [Gateway(), Gateway()]
    with front(name, gateways, tmp_path) as port:
        answers = [asked(port, "/v1/cases", b"x" * 2 * limits.BODY) for _ in range(4)]
        assert answers == [200] * 4  # what is a little too large is the gateway's to refuse
        assert asked(port, "/v1/cases", b"x" * 8 * limits.BODY) in {0, 413, 502}
        before = [len(one.came) for one in gateways]
        assert [asked(port, "/v1") for _ in range(4)] == [200] * 4
        # What was broken off counts against no gateway: both are asked again.
        assert all(len(one.came) > count for one, count in zip(gateways, before, strict=True))
        assert asked(port, f"/v1/blobs/{'a' * 64}", b"x" * (limits.BODY * 4)) == 200
        for one in gateways:
            assert one.came
            for headers in one.came:
                assert not {told.title() for told in TOLD} & headers.keys()
                assert headers["Host"] == "requests.chat.example"
                assert headers["Authorization"] == "Proof x"
        gateways[0].shutdown()
        gateways[0].server_close()  # refuses connections, as a gateway that was told to stop
        body = None if name == "caddy" and not sends_bodies_again() else b"{}"
        assert [asked(port, "/v1/cases", body) for _ in range(8)] == [200] * 8
    gateways[1].shutdown()
    gateways[1].server_close()


def test_caddy_asks_no_gateway_that_says_it_is_stopping(tmp_path: Path) -> None:
    gateways = [Gateway(), Gateway()]
    with front("caddy", gateways, tmp_path) as port:
        gateways[0].state = 503
        time.sleep(3)  # `health_interval` is 2 s
        before = len(gateways[0].came)
        assert [asked(port, "/v1") for _ in range(6)] == [200] * 6
        assert len(gateways[0].came) == before
    for one in gateways:
        one.shutdown()
        one.server_close()
