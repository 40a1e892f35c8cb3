"""The two front doors: the programs themselves read the files, and what they understood is what the gateway relies on."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
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


def test_caddys_limit_of_a_body_is_the_protocols(tmp_path: Path) -> None:
    bodies = sorted(one["max_size"] for one in parts(json.loads(caddy(tmp_path, "adapt")), "request_body"))
    assert bodies[0] == limits.BODY
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
    assert f"client_max_body_size {limits.BODY // limits.KIB}k;" in text


def test_the_ingress_has_nginxs_bounds() -> None:
    manifests = (ROOT / "docker/kubernetes/ingress.yaml").read_text()
    assert f"proxy-body-size: {limits.BODY // limits.KIB}k" in manifests
    assert 'proxy-request-buffering: "off"' in manifests.partition("gateway-blobs")[2]
