from __future__ import annotations

import hashlib
import ipaddress
import re
import sqlite3
from pathlib import Path

import pytest

from desk.sample import SUBSCRIBERS, make
from desk.sources import SqlSource
from protocol.procedures.production import Selector, Target
from protocol.procedures.shared import Span
from protocol.terms import Category

CONTENT = "646689bb125412e9bb041b5b780c775ab98bbfe21bc553ea51c14bd955fc65b9"
DOCUMENTATION = [
    ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make(tmp_path_factory.mktemp("sample") / "desk")


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_the_same_seed_makes_the_same_content(made: tuple[Path, Path]) -> None:
    digest = hashlib.sha256()
    for table in ("subscribers", "addresses", "messages"):
        for row in rows(made[0], f"SELECT * FROM {table} ORDER BY rowid"):  # noqa: S608
            digest.update(repr(row).encode())
    assert digest.hexdigest() == CONTENT


def test_nobody_in_it_can_exist(made: tuple[Path, Path]) -> None:
    people = rows(made[0], "SELECT account, phone, email FROM subscribers")
    assert len(people) == SUBSCRIBERS
    for account, phone, email in people:
        assert re.fullmatch(r"@user\d{5}", str(account))
        assert re.fullmatch(r"\+1\d{3}55501\d\d", str(phone))
        assert str(email).endswith("@mail.example")
    for (ip,) in rows(made[0], "SELECT DISTINCT ip FROM addresses"):
        found = ipaddress.ip_address(str(ip))
        assert any(found in net for net in DOCUMENTATION)


async def test_its_queries_answer_every_category_that_it_has(made: tuple[Path, Path]) -> None:
    source = SqlSource.read(made[1])
    (account, phone, email, ip) = rows(
        made[0],
        "SELECT s.account, s.phone, s.email, a.ip FROM subscribers s JOIN addresses a USING (account) LIMIT 1",
    )[0]
    names = {Selector.ACCOUNT: account, Selector.PHONE: phone, Selector.EMAIL: email, Selector.IP: ip}
    for by, value in names.items():
        for category in (Category.SUBSCRIBER, Category.IDENTIFICATION, Category.TRAFFIC):
            target = Target(by=by, value=str(value))
            if (by, category) == (Selector.IP, Category.TRAFFIC):
                assert not source.answers(category, [target])
                continue
            found = await source.find(category, [target], None)
            assert found.records.rows
            assert account in found.accounts
            if category is not Category.SUBSCRIBER:
                none = await source.find(category, [target], Span(since=1_700_000_000, until=1_700_000_001))
                assert none.records.rows == ()


def test_it_is_ours_alone_and_never_written_over(made: tuple[Path, Path]) -> None:
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    assert made[0].parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileExistsError):
        make(made[0].parent)
