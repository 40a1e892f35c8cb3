"""A sample database: 10,000 invented subscribers, made by a seeded script, and the queries that a desk asks of it.

The same seed makes the same content, whatever Python runs it (SHA-256 in counter mode is the source of luck). Nobody in it
exists: addresses are of the ranges for documentation (RFC 5737, RFC 3849), telephone numbers of the North American range for
fiction (555-01xx), mail addresses of `example` domains (RFC 2606).
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar, final

SEED: Final = b"rogatory sample 1"
SUBSCRIBERS: Final = 10_000
SINCE: Final = 1_767_225_600  # 2026-01-01
UNTIL: Final = 1_798_761_600  # 2027-01-01
DATABASE: Final = "subscribers.db"
SOURCES: Final = "sources.toml"

_FIRST_NAMES: Final = (
    "Ada Alma Amir Ana Aoi Boris Chloe Dana Dora Emil Eva Finn Hana Ida Ivan Jan Joon Kai Lea Lin Mara Mila Mina Nora Noa Omar "
    "Pia Rosa Sami Siri Tara Theo Tomas Uma Vera Wim Yara Yuki Zoe Zora"
)
_LAST_NAMES: Final = (
    "Abara Berg Costa Diaz Eberle Farkas Gallo Haddad Ito Jansen Kim Lindt Moreau Novak Okafor Petit Quist Rossi Sato Tamm Ueda "
    "Varga Weiss Xu Yilmaz Zaki"
)
_AREA: Final = (202, 212, 303, 312, 404, 415, 503, 512, 602, 617, 702, 713, 808, 907, 913)
_NETS: Final = ("192.0.2.", "198.51.100.", "203.0.113.")
_AGENTS: Final = ("android", "ios", "web", "desktop")

_SCHEMA: Final = """
CREATE TABLE subscribers (
  account TEXT PRIMARY KEY, phone TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL, registered INTEGER NOT NULL,
  status TEXT NOT NULL
) STRICT;
CREATE INDEX subscribers_phone ON subscribers (phone);
CREATE INDEX subscribers_email ON subscribers (email);
CREATE TABLE addresses (account TEXT NOT NULL, at INTEGER NOT NULL, ip TEXT NOT NULL, port INTEGER NOT NULL, agent TEXT NOT NULL)
  STRICT;
CREATE INDEX addresses_account ON addresses (account, at);
CREATE INDEX addresses_ip ON addresses (ip, at);
CREATE TABLE messages (account TEXT NOT NULL, at INTEGER NOT NULL, peer TEXT NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE INDEX messages_account ON messages (account, at);
"""

_SPAN: Final = "(:since IS NULL OR {0}.at >= :since) AND (:until IS NULL OR {0}.at < :until)"
_SUBSCRIBER: Final = "SELECT s.account, s.phone, s.email, s.name, s.registered, s.status FROM subscribers s"
_IDENTIFICATION: Final = "SELECT a.account, a.at, a.ip, a.port, a.agent FROM addresses a"
_TRAFFIC: Final = "SELECT m.account, m.at, m.peer, m.bytes FROM messages m"
_JOINED: Final = " JOIN subscribers s ON s.account = {0}.account"
_WHERE: Final = {"account": "s.account = :target", "phone": "s.phone = :target", "email": "s.email = :target"}

Item = TypeVar("Item")


@final
class _Luck:
    """Numbers that depend on the seed alone."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._block = 0
        self._numbers: Iterator[int] = iter(())

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1. (The tiny bias of a remainder is of no account for invented people.)"""
        number = next(self._numbers, None)
        if number is None:
            digest = hashlib.sha256(self._seed + self._block.to_bytes(8)).digest()
            self._block += 1
            self._numbers = iter([int.from_bytes(digest[start : start + 4]) for start in range(0, 32, 4)])
            return self.below(limit)
        return number % limit

    def of(self, items: Sequence[Item]) -> Item:
        """One of `items`."""
        return items[self.below(len(items))]


def make(folder: Path) -> tuple[Path, Path]:
    """Write the database and its `sources.toml` into `folder`; both must not be there. Gives their paths."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database, sources = folder / DATABASE, folder / SOURCES
    for path in (database, sources):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(database)
    try:
        connection.executescript(_SCHEMA)
        _fill(connection, _Luck(SEED))
        connection.commit()
    finally:
        connection.close()
    sources.write_text(toml(), encoding="utf-8")
    return database, sources


def _fill(connection: sqlite3.Connection, luck: _Luck) -> None:
    firsts, lasts = _FIRST_NAMES.split(), _LAST_NAMES.split()
    accounts = [f"@user{number:05}" for number in range(SUBSCRIBERS)]
    for number, account in enumerate(accounts):
        first, last = luck.of(firsts), luck.of(lasts)
        registered = SINCE - luck.below(3 * 365 * 86_400)
        connection.execute(
            "INSERT INTO subscribers VALUES (?, ?, ?, ?, ?, ?)",
            (
                account,
                _phone(number),
                f"{first}.{last}.{number}@mail.example".lower(),
                f"{first} {last}",
                registered,
                "closed" if luck.below(20) == 0 else "open",
            ),
        )
        times = sorted(SINCE + luck.below(UNTIL - SINCE) for _ in range(1 + luck.below(4)))
        connection.executemany(
            "INSERT INTO addresses VALUES (?, ?, ?, ?, ?)",
            [(account, at, _ip(luck), 1024 + luck.below(64_512), luck.of(_AGENTS)) for at in times],
        )
        connection.executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?)",
            [(account, at + 60, luck.of(accounts), 40 + luck.below(4_000)) for at in times],
        )


def _phone(number: int) -> str:
    """Ten thousand subscribers share 1,500 numbers of the range for fiction: one number may give several accounts."""
    area, line = divmod(number % (len(_AREA) * 100), 100)
    return f"+1{_AREA[area]}55501{line:02}"


def _ip(luck: _Luck) -> str:
    if luck.below(4) == 0:
        return f"2001:db8:{luck.below(0x10000):x}:{luck.below(0x10000):x}::{1 + luck.below(0xFFFE):x}"
    return f"{luck.of(_NETS)}{1 + luck.below(254)}"


def toml() -> str:
    """The queries of the sample: subscriber, identification (the log of addresses) and traffic."""
    parts = [
        "# What this desk may ask of which database. Values are bound (:target, :since, :until), never put into the text.\n",
        f'name = "subscribers"\nurl = "sqlite:///{DATABASE}"\n',
    ]
    for by, where in _WHERE.items():
        parts.append(_query("subscriber", by, f"{_SUBSCRIBER} WHERE {where} ORDER BY s.account"))
        for category, select, table in (("identification", _IDENTIFICATION, "a"), ("traffic", _TRAFFIC, "m")):
            sql = f"{select}{_JOINED.format(table)} WHERE {where} AND {_SPAN.format(table)} ORDER BY {table}.at"
            parts.append(_query(category, by, sql))
    at_ip = f"a.ip = :target AND {_SPAN.format('a')}"
    users = f"{_SUBSCRIBER} WHERE s.account IN (SELECT a.account FROM addresses a WHERE {at_ip}) ORDER BY s.account"  # noqa: S608 (constants)
    parts.append(_query("subscriber", "ip", users))
    parts.append(_query("identification", "ip", f"{_IDENTIFICATION} WHERE {at_ip} ORDER BY a.at"))
    return "\n".join(parts)


def _query(category: str, by: str, sql: str) -> str:
    return f'[[queries]]\ncategory = "{category}"\nby = "{by}"\naccount = "account"\nsql = "{sql}"\n'
