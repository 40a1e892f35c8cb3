"""The image, without a container: its build stage run in a folder, then the whole of compose.yml on this machine.

What Docker would do is done by hand: files are laid where the containers find them, secrets by the script and with the modes
it gave them, servers start with the very arguments and settings, and the parties run from a tree that nobody may write.
Redis speaks TLS, both servers know their users, and both are reached by the addresses in the settings. One thing is left out:
the wheel's PostgreSQL is built without TLS, so that its line is in the clear here, and its settings for TLS are not met.
"""

import asyncio
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from tests.docker.dockerfile import DOCKER, built
from tests.redis_servers import needs_whole, program
from tests.servers import USER, _reachable, _wheel

COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
PATIENCE = 60.0  # seconds
ROOT_USER = os.geteuid() == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it holds; fail with the log when the process ends, or takes too long."""
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Host:
    """The containers' files in one folder, and how a path or an address of theirs is written here."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.folder = folder
        self.secrets = secrets
        self.ports = {"postgres": free_port(), "redis": free_port(), "gateway": free_port()}

    def home(self, service: str) -> Path:
        return self.folder / service

    def here(self, service: str, text: str) -> str:
        """The text of a container, for a process of this machine."""
        for place in (
            "/run/secrets",
            "/run/keys",
            "/etc/rogatory",
            "/etc/redis",
            "/etc/postgresql",
            "/var/lib/rogatory",
        ):
            text = text.replace(place, f"{self.home(service)}{place}")
        for name, port in (("postgres", "5432"), ("redis", "6379")):
            text = text.replace(f"{name}:{port}", f"localhost:{self.ports[name]}")
        text = text.replace("sslmode=verify-full", "sslmode=disable").replace("hostssl ", "host ")  # see above
        text = text.replace("tls-port 6379", f"tls-port {self.ports['redis']}\nbind 127.0.0.1")
        return text.replace("\ndir /data", f"\ndir {self.home(service)}/data")

    def lay(self, service: str) -> None:
        """What compose mounts into a container: secrets as they are, files and folders from the repository or the secrets."""
        told = COMPOSE["services"][service]
        for name in told["secrets"]:
            self._file(COMPOSE["secrets"][name]["file"], self.home(service) / f"run/secrets/{name}", service)
        for one in told["volumes"]:
            source, place = str(one).split(":")[:2]
            if source.startswith("./") and source != "./sources":
                self._file(source, self.home(service) / place.lstrip("/"), service)
        for place in ("var/lib/rogatory", "data", "tmp"):
            (self.home(service) / place).mkdir(parents=True, exist_ok=True)

    def _file(self, source: str, place: Path, service: str) -> None:
        inside = source.removeprefix("./secrets/")
        found = self.secrets / inside if inside != source else DOCKER / source
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, place, dirs_exist_ok=True)
        elif inside != source:
            shutil.copy2(found, place)
        else:
            place.write_text(self.here(service, found.read_text()))


def snapshot(tree: Path) -> dict[str, tuple[int, int]]:
    return {str(one): (one.lstat().st_size, one.lstat().st_mtime_ns) for one in sorted(tree.rglob("*"))}


@contextmanager
def postgres(host: Host, folder: Path) -> Iterator[None]:
    """PostgreSQL as compose starts it: the same arguments, rules, and first script."""
    home = host.home("postgres")
    folder.mkdir()
    programs = _reachable(_wheel(), folder) / "bin"
    user = USER if ROOT_USER else None
    if ROOT_USER:
        owner = pwd.getpwnam(USER)
        for one in (folder, home, *home.rglob("*")):
            os.chown(one, owner.pw_uid, owner.pw_gid)
    secret = home / "run/secrets/postgres_superuser"
    data = folder / "record"
    words = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    made = [programs / "initdb", "-D", data, "--username=postgres", f"--pwfile={secret}", "--no-sync", *words]
    done = subprocess.run(made, check=False, capture_output=True, text=True, user=user, cwd=folder)
    assert done.returncode == 0, done.stderr
    arguments = [host.here("postgres", one) for one in COMPOSE["services"]["postgres"]["command"][1:]]
    arguments = [one for one in arguments if not one.startswith("-cssl")]  # see above
    place = ["-D", data, "-k", folder, "-p", str(host.ports["postgres"]), "-c", "listen_addresses=127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([programs / "postgres", *place, *arguments], stderr=log, user=user, cwd=folder)
    try:
        asking = [programs / "pg_isready", "--quiet", "-h", folder, "-p", str(host.ports["postgres"])]
        until(lambda: subprocess.run(asking, check=False, user=user).returncode == 0, server, folder / "log")
        script = home / "docker-entrypoint-initdb.d/init.sql"
        asked = [
            programs / "psql",
            "-q",
            "-U",
            "postgres",
            "-h",
            folder,
            "-p",
            str(host.ports["postgres"]),
            "-f",
            script,
        ]
        environment = {"PGPASSWORD": secret.read_text().strip(), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            asked, check=False, capture_output=True, text=True, user=user, cwd=folder, env=environment
        )
        assert done.returncode == 0, done.stderr
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


@contextmanager
def redis(host: Host) -> Iterator[None]:
    """Redis as compose starts it."""
    path = host.folder / "redis.log"
    with path.open("w") as log:
        server = subprocess.Popen([program(), host.home("redis") / "etc/redis/redis.conf"], stdout=log, stderr=log)
    try:
        until(lambda: listens(host.ports["redis"]), server, path)
        yield
    finally:
        server.terminate()
        server.wait(30)


class Image:
    """`docker run`, as far as this machine can: the environment that the image sets, and nothing of ours."""

    def __init__(self, opt: Path) -> None:
        self.opt = opt

    def environment(self, **more: str) -> dict[str, str]:
        image = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        return {"PATH": f"{self.opt}/venv/bin:/usr/bin:/bin", "HOME": "/nonexistent", **image, **more}

    def start(self, *words: str | Path, cwd: Path, log: Path, **more: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            command = [self.opt / "venv/bin/rogatory", *words]
            return subprocess.Popen(command, cwd=cwd, env=self.environment(**more), stdout=output, stderr=output)

    def run(self, *words: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [self.opt / "venv/bin/rogatory", *words]
        env = self.environment(**more)
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    def ready(self, port: int) -> bool:
        """The image's own health check."""
        command = [self.opt / "venv/bin/python", "-IS", self.opt / "ready.py", str(port)]
        return subprocess.run(command, env=self.environment(), check=False, timeout=10).returncode == 0


async def refused_to_drop(host: Host) -> str:
    """What the record says when the gateway's own user wants a table gone."""
    settings = tomllib.loads(host.here("gateway", (DOCKER / "config/gateway.toml").read_text()))
    connection = await asyncpg.connect(settings["store"])
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
            await connection.execute("DROP TABLE rows")
        return str(caught.value)
    finally:
        await connection.close()


def laid_out(image: Image, folder: Path) -> Path:
    """Keys by the command line, and from them what compose mounts, by the script."""
    people = ("--operators", "alice,bob", "--reviewers", "carol,dave", "--cost", "interactive")
    made = image.run("keys", "init", "town", "--platform", "chat.example", *people, cwd=folder)
    assert made.returncode == 0, made.stderr
    script = [DOCKER / "make-secrets.sh", folder / "town", folder / "secrets"]
    laid = subprocess.run(script, capture_output=True, text=True, check=False)
    assert laid.returncode == 0, laid.stderr
    assert not list((folder / "secrets").rglob("ca.key"))
    return folder / "secrets"


def migrate(image: Image, host: Host) -> None:
    """The record gets today's schema from its owner; the gateway's own user may not take a table away."""
    url = host.here("migrate", COMPOSE["services"]["migrate"]["environment"]["ROGATORY_GATEWAY_STORE"])
    config = host.home("migrate") / "etc/rogatory/gateway.toml"
    done = image.run("gateway", "migrate", "--config", config, cwd=host.folder, ROGATORY_GATEWAY_STORE=url)
    assert done.returncode == 0, done.stderr
    assert "owner" in asyncio.run(refused_to_drop(host))


def serve_and_work(image: Image, host: Host, stack: ExitStack) -> None:
    """Gateway and desk start, meet the queue without a failure in their logs, and end in order when told to."""
    port, folder = host.ports["gateway"], host.folder
    logs = [folder / "gateway.log", folder / "desk.log"]
    config = host.home("gateway") / "etc/rogatory/gateway.toml"
    serve = ("gateway", "serve", "--config", config)
    served = image.start(*serve, cwd=folder, log=logs[0], ROGATORY_GATEWAY_PORT=str(port))
    stack.callback(end, served)
    assert not image.ready(host.ports["redis"])  # what is no gateway is not ready
    until(lambda: image.ready(port), served, logs[0])

    sample = image.run("desk", "sample", host.home("desk") / "etc/rogatory/sources", cwd=folder)
    assert sample.returncode == 0, sample.stderr
    config = host.home("desk") / "etc/rogatory/desk.toml"
    worked = image.start("desk", "work", "--config", config, cwd=folder, log=logs[1])
    stack.callback(end, worked)
    until(lambda: "desk.started" in logs[1].read_text(), worked, logs[1])

    time.sleep(2)  # a few rounds of their loops
    for process, log in zip((served, worked), logs, strict=True):
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
        assert {json.loads(line)["level"] for line in log.read_text().splitlines()} == {"info"}, log.read_text()


@pytest.mark.timeout(600)
def test_the_image_is_built_and_serves_all_that_compose_describes(tmp_path: Path) -> None:
    needs_whole()
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine, and makes the certificates of the lines inside")
    opt = built(tmp_path / "image")
    image = Image(opt)
    for one in opt.rglob("*"):
        if not one.is_symlink():
            one.chmod(one.stat().st_mode & ~0o222)
    before = snapshot(opt)
    assert "gateway" in image.run("--help", cwd=tmp_path).stdout
    names = {one["name"] for one in json.loads((opt / "sbom.cdx.json").read_text())["components"]}
    assert names >= {"aiohttp", "cryptography", "pynacl"}
    assert not names & {"hatchling", "pip", "pytest"}

    secrets = laid_out(image, tmp_path)
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rogatory-", dir="/tmp")))
        short.chmod(0o711)  # PostgreSQL runs as another user
        host = Host(short, secrets)
        for service in ("postgres", "redis", "migrate", "gateway", "desk"):
            host.lay(service)
        stack.enter_context(postgres(host, short / "pg"))
        stack.enter_context(redis(host))
        migrate(image, host)
        serve_and_work(image, host, stack)
    assert snapshot(opt) == before


def test_the_secrets_are_laid_out_for_one_reader_each_and_never_over_others(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine, and makes the certificates of the lines inside")
    town, target = tmp_path / "town", tmp_path / "secrets"
    for name in ("public/keyset.jws", "public/root.jwk", "gateway/gateway.ring", "gateway/gateway.passphrase"):
        (town / name).parent.mkdir(parents=True, exist_ok=True)
        (town / name).write_text(name)
    script = [DOCKER / "make-secrets.sh", town, target]
    missing = subprocess.run(script, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "rogatory keys init" in missing.stderr
    assert not target.exists()

    for name in ("desk/desk.ring", "desk/desk.passphrase"):
        (town / name).parent.mkdir(parents=True, exist_ok=True)
        (town / name).write_text(name)
    subprocess.run(script, capture_output=True, check=True)
    wanted = {one["file"].removeprefix("./secrets/") for one in COMPOSE["secrets"].values()}
    assert all((target / name).stat().st_mode & 0o777 == 0o400 for name in wanted)
    acl = (target / "redis/users.acl").read_text()
    for party in ("gateway", "desk"):
        password = (target / party / "redis").read_text().strip()
        assert password not in acl
        assert f"user {party} on #{hashlib.sha256(password.encode()).hexdigest()} " in acl
    for party in ("gateway", "desk"):
        assert (target / party / "keys").stat().st_mode & 0o777 == 0o700
        assert (target / party / f"keys/{party}.ring").stat().st_mode & 0o777 == 0o400
    if ROOT_USER:
        assert {(target / party / "keys").stat().st_uid for party in ("gateway", "desk")} == {10001}
        assert (target / "redis/users.acl").stat().st_uid == 999
    kept = (target / "gateway/redis").read_text()
    assert subprocess.run(script, capture_output=True, check=False).returncode == 1
    assert (target / "gateway/redis").read_text() == kept
