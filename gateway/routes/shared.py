"""What the routes share: statements taken into a chain, chains given out, and segments of paths that become ids."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from gateway.door import Answer, Asked, Parts
from gateway.intake import Ask, Taken
from protocol.chains import Row
from protocol.envelope import sealed_bytes
from protocol.ids import NotAnId
from protocol.problems import Place, Refused
from protocol.wire import ChainRow, ReceiptAnswer, StatementBody, Statements

Id = TypeVar("Id")

FORM: Final = (  # what a statement can be refused for before it is understood
    "not-json",
    "not-utf8",
    "doubled-member",
    "too-deep",
    "number-refused",
    "unknown-member",
    "missing-member",
    "invalid-member",
    "too-slow",
    "encoding-refused",
    "media-type",
    "token-form",
    "header-refused",
    "algorithm-refused",
    "type-refused",
    "key-unknown",
    "key-not-active",
    "key-role",
    "signature-invalid",
    "wrong-issuer",
    "wrong-audience",
    "stale",
    "from-the-future",
    "jti-reused",
    "impossible",
    "not-durable",
)
READING: Final = (  # what a proof can be refused for
    "proof-missing",
    "proof-invalid",
    "proof-reused",
    "token-form",
    "header-refused",
    "algorithm-refused",
    "type-refused",
    "key-unknown",
    "key-not-active",
    "signature-invalid",
    "invalid-member",
    "wrong-audience",
    "stale",
    "from-the-future",
)


def segment(asked: Asked, name: str, parse: Callable[[str], Id]) -> Id:
    """A segment of the path as the id that it must be. What is no id is as what does not exist."""
    try:
        return parse(asked.params[name])
    except NotAnId:
        raise Refused("not-found", reason=f"{name} is no id") from None


async def take(parts: Parts, asked: Asked, ask: Ask) -> Taken:
    """Let intake take the body, at the time when all of it was here. A client that leaves does not stop it."""
    body = asked.stated()
    return await asyncio.shield(parts.intake.take(body.statement.encode(), _sealed(body), parts.now(), ask))


def receipt(taken: Taken, location: str) -> Answer:
    """201 for what is new, 200 for the same bytes again: the receipt is the same."""
    headers: Mapping[str, str] = {"Location": location}
    return Answer(ReceiptAnswer(receipt=taken.receipt.decode()), 201 if taken.new else 200, headers)


def verbatim(rows: Iterable[Row]) -> Answer:
    """The rows of a chain as they were signed."""
    said = tuple(
        ChainRow(
            seq=number,
            receipt=row.receipt.decode(),
            statement=None if row.statement is None else row.statement.decode(),
        )
        for number, row in enumerate(rows, 1)
    )
    return Answer(Statements(rows=said))


def _sealed(body: StatementBody) -> bytes | None:
    """The sealed part, if there is one; an empty one is none that anybody sealed."""
    if body.sealed is None:
        return None
    if not body.sealed:
        raise Refused("invalid-member", places=(Place("/sealed", "a sealed part"),), reason="sealed is empty")
    return sealed_bytes(body.sealed)
