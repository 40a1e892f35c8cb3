"""The line to Redis servers: an address, a client of bounded size, scripts by name, and errors as constants.

For `channels.redis` alone, which knows what is kept there; this room knows how one gets there: a single server, a master that
Sentinel names, or a Cluster, in the clear or by TLS, as a named user. It connects when it is used and again whenever it must. A
password lies in a file, is read when a connection is made, and is shown nowhere.
"""

import asyncio
import hashlib
import math
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypedDict, cast, final
from urllib.parse import parse_qsl

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    ClusterError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import TimeoutError as NoAnswer

from channels import ChannelError
from crypto.errors import KeyringError
from crypto.keyring import read_passphrase

MAX_DEPTH: Final = 100_000  # ours: entries of one stream; 300 MB at 3 KB each
TIMEOUT: Final = 5.0  # seconds for one answer
CONNECT_TIMEOUT: Final = 2.0  # seconds

Row: TypeAlias = tuple[bytes, bytes, int]  # place in the stream, id and body, deliveries
_Client: TypeAlias = "Redis | RedisCluster"


@final
@dataclass(frozen=True, slots=True)
class Script:
    """What the server runs. The server knows it by its SHA-1, which is a name here and protects nothing."""

    text: str

    @property
    def name(self) -> str:
        """What the server knows it by: the SHA-1 of its text (`EVALSHA`)."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class Address:
    """Where the servers are and how one gets in. Made by `parse`; it names the password's file and never the password."""

    kind: str  # `redis`, `redis+sentinel` or `redis+cluster`
    hosts: tuple[tuple[str, int], ...]
    user: str | None
    database: int
    service: str  # the master's name, with Sentinel
    tls: bool
    files: dict[str, Path]  # of the options that name files, those that were given
    depth: int

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read an address. Raises `ChannelError`: `channel-address`, `channel-option`, `channel-path`, `password-in-address`.

        `redis://[user@]host[:port][/database]`, `redis+sentinel://[user@]host[:port],…/service` (the hosts are the
        sentinels), `redis+cluster://[user@]host[:port],…`; with `rediss` for TLS. Options: `password_file`, and
        `sentinel_password_file`; with TLS `ca_file` (else the system's authorities), `cert_file` and `key_file` (who we
        are); `depth`, the most entries of one stream. Files are named by absolute paths, nothing in them is encoded but
        as a URL's query is.
        """
        scheme, _, rest = url.partition("://")
        found = _REST.fullmatch(rest)
        if found is None:
            raise ChannelError("channel-address")
        user, hosts, path, query = found.groups()
        if user is not None and ":" in user:
            raise ChannelError("password-in-address")
        if user is not None and _WORD.fullmatch(user) is None:
            raise ChannelError("channel-address")
        tls = scheme.startswith("rediss")
        kind = "redis" + scheme.removeprefix("rediss" if tls else "redis")
        files, depth = _options(query or "", tls=tls)
        return cls(
            kind=kind,
            hosts=_hosts(hosts, kind),
            user=user,
            database=_database(path) if kind == "redis" else 0,
            service=_service(kind, path),
            tls=tls,
            files=files,
            depth=depth,
        )


_REST: Final = re.compile(r"(?:([^@/?#]+)@)?([^@/?#]+)(?:/([^/?#]*))?(?:\?([^#]*))?", re.ASCII)
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PLAIN_FILES: Final = frozenset({"password_file", "sentinel_password_file"})
_TLS_FILES: Final = frozenset({"ca_file", "cert_file", "key_file"})
_PORTS: Final = range(1, 65_536)


def _hosts(text: str, kind: str) -> tuple[tuple[str, int], ...]:
    port = 26_379 if kind == "redis+sentinel" else 6_379
    found = [_HOST.fullmatch(one) for one in text.split(",")]
    hosts = tuple((one[1].strip("[]"), int(one[2] or port)) for one in found if one is not None)
    if (
        len(hosts) < len(found)
        or (len(hosts) > 1 and kind == "redis")
        or any(number not in _PORTS for _, number in hosts)
    ):
        raise ChannelError("channel-address")
    return hosts


def _database(path: str | None) -> int:
    if path and not (path.isascii() and path.isdigit() and len(path) <= len("9999")):
        raise ChannelError("channel-address")
    return int(path or 0)


def _service(kind: str, path: str | None) -> str:
    """The master's name: Sentinel must have one, and a Cluster has neither names nor databases."""
    if kind == "redis":
        return ""
    if (kind == "redis+sentinel") != (_WORD.fullmatch(path or "") is not None) or (kind == "redis+cluster" and path):
        raise ChannelError("channel-address")
    return path or ""


def _options(query: str, *, tls: bool) -> tuple[dict[str, Path], int]:
    given = parse_qsl(query, keep_blank_values=True)
    options = dict(given)
    if len(options) < len(given):
        raise ChannelError("channel-option")
    depth = options.pop("depth", str(MAX_DEPTH))
    if options.keys() - _PLAIN_FILES - (_TLS_FILES if tls else frozenset()):
        raise ChannelError("channel-option")
    if not (depth.isascii() and depth.isdigit() and 1 <= int(depth) < 1 << 32):
        raise ChannelError("channel-option")
    if ("cert_file" in options) != ("key_file" in options):
        raise ChannelError("channel-option")
    if any(not path.startswith("/") or "\0" in path for path in options.values()):
        raise ChannelError("channel-path")
    return {name: Path(path) for name, path in options.items()}, int(depth)


@final
class Line:
    """One client and its connections: at most `most` calls at once, so that the client's pool is never asked for more.

    A call that broke is made `retries` times more; every call of ours may be.
    """

    def __init__(self, address: Address, most: int, *, retries: int) -> None:
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._closed = False
        self._client, self._sentinel = _connect(address, most, retries)

    def check(self) -> None:
        """Raise `ChannelError` (`closed`) after `close`."""
        if self._closed:
            raise ChannelError("closed")

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | int | bytes) -> object:
        """What `script` returns. A server that does not know it yet is told it."""
        try:
            return await self._call("EVALSHA", script.name, len(keys), *keys, *arguments)
        except _ScriptUnknown:
            return await self._call("EVAL", script.text, len(keys), *keys, *arguments)

    async def command(self, *words: str | int) -> object:
        """What one command returns."""
        return await self._call(*words)

    async def next(self, key: str, group: str, limit: int, wait: float) -> list[Row]:
        """What is new in the stream at `key`, as soon as there is any; nothing after `wait` seconds, or without a group.

        `group` is also the consumer's name. What is given here is lent from now on.
        """
        block = max(1, math.ceil(wait * 1000))  # milliseconds; 0 would be for ever
        reading = ("GROUP", group, group, "COUNT", limit, "BLOCK", block)
        try:
            streams = await self._call("XREADGROUP", *reading, "STREAMS", key, ">")
        except _GroupLost:
            return []
        found = cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", streams or [])
        return [(place, next(iter(fields.values())), 1) for _, entries in found for place, fields in entries]

    async def close(self) -> None:
        """Wait for what is under way; then let go."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._most):
            await self._free.acquire()
        await self._client.aclose()
        if isinstance(self._client, RedisCluster):
            # The client passes over its nodes when it was about to ask anew who they are.
            await asyncio.gather(
                *(self._client.nodes_manager.aclose(nodes) for nodes in ("nodes_cache", "startup_nodes"))
            )
        if self._sentinel is not None:
            await self._sentinel.aclose()
        for _ in range(self._most):  # who waited for a turn shall hear that there is none
            self._free.release()

    async def _call(self, *words: str | int | bytes) -> object:
        async with self._free:
            self.check()
            try:
                with _translated():
                    return cast("object", await self._client.execute_command(*words))
            except ChannelError as error:
                if error.flaw == "unreachable" and isinstance(self._client, Redis):
                    # Perhaps a master that is none any more, whose connections are whole: ask anew who it is.
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                raise


@final
class _ScriptUnknown(Exception):
    """The server was started anew, or another has taken over."""


@final
class _GroupLost(Exception):
    """The stream or its group went away while one waited for it."""


@final
class _Password(CredentialProvider):
    """User and password for each new connection, from the file: a password that was changed there needs no restart."""

    def __init__(self, user: str | None, file: Path) -> None:
        self._user = user
        self._file = file
        self.get_credentials()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """For the client."""
        password = read_passphrase(self._file).decode(errors="surrogateescape")
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """For the client."""
        return self.get_credentials()


@final
class _Settings(TypedDict, total=False):
    """Of the many settings of the client, those that are ours."""

    socket_timeout: float
    socket_connect_timeout: float
    max_connections: int
    protocol: int
    driver_info: None
    retry: Retry
    credential_provider: CredentialProvider
    ssl: bool
    ssl_ca_certs: str | None
    ssl_certfile: str | None
    ssl_keyfile: str | None
    ssl_min_version: ssl.TLSVersion


def _connect(address: Address, most: int, retries: int) -> tuple[_Client, Sentinel | None]:
    settings = _settings(address, most, retries)
    if "password_file" in address.files:
        with _translated():
            settings["credential_provider"] = _Password(address.user, address.files["password_file"])
    match address.kind:
        case "redis+cluster":
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            # A slot that nobody serves shall not stop the streams of the others.
            return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **settings), None
        case "redis+sentinel":
            asking = _settings(address, 1, 0)
            if "sentinel_password_file" in address.files:
                with _translated():
                    asking["credential_provider"] = _Password(None, address.files["sentinel_password_file"])
            sentinel = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
            return cast("Redis", sentinel.master_for(address.service, **settings)), sentinel
        case _:
            host, port = address.hosts[0]
            return Redis(host=host, port=port, db=address.database, **settings), None


def _settings(address: Address, most: int, retries: int) -> _Settings:
    settings = _Settings(
        socket_timeout=TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        max_connections=most,
        protocol=2,  # understood by every server, and no message comes that was not asked for
        driver_info=None,  # the server need not know who we are beyond the user's name
        retry=Retry(NoBackoff(), retries),
    )
    if address.tls:
        named = {name: str(path) for name, path in address.files.items()}
        settings["ssl"] = True
        settings["ssl_ca_certs"] = named.get("ca_file")
        settings["ssl_certfile"] = named.get("cert_file")
        settings["ssl_keyfile"] = named.get("key_file")
        settings["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
    return settings


# The client has classes for some errors, and leaves out their code then; a script's errors have the code somewhere in the text.
_CLASSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLCertVerificationError, "certificate"),
    (AuthenticationError, "refused"),
    (AuthenticationWrongNumberOfArgsError, "refused"),
    (NoPermissionError, "refused"),
    (OutOfMemoryError, "full"),
    (ReadOnlyError, "unreachable"),
    (ClusterError, "unreachable"),
)
_CODES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"NOPERM|NOAUTH|WRONGPASS|can't run this command|can't access"), "refused"),
    (re.compile(r"\bOOM\b"), "full"),
    (re.compile(r"MISCONF"), "disk"),
    (re.compile(r"READONLY|LOADING|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|BUSY|UNKILLABLE"), "unreachable"),
)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the client become `ChannelError` with a constant."""
    try:
        yield
    except NoScriptError as error:
        raise _ScriptUnknown from error
    except KeyringError as error:
        raise ChannelError(error.flaw) from None
    except (RedisError, RedisClusterException, OSError) as error:
        if isinstance(error, ResponseError) and str(error).startswith(("NOGROUP", "UNBLOCKED")):
            raise _GroupLost from error
        raise ChannelError(_flaw(error)) from error


def _flaw(error: Exception) -> str:
    """The constant for `error`, or for what it was made of."""
    chain, last = [error], error
    while isinstance(last := last.__cause__ or last.__context__, Exception):  # type: ignore[assignment]
        chain.append(last)
    for one in chain:
        for kind, flaw in _CLASSES:
            if isinstance(one, kind):
                return flaw
        if isinstance(one, ResponseError):
            for code, flaw in _CODES:
                if code.search(str(one)):
                    return flaw
    return (
        "unreachable" if isinstance(error, BrokenConnection | NoAnswer | RedisClusterException | OSError) else "engine"
    )
