from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.http import Http
from crypto.sealing import generate_identity, recipient_of, seal_bytes
from desk.attachments import fetched
from desk.blobs import Blobs, proofs
from protocol.ids import digest_of
from protocol.problems import Refused
from protocol.procedures.shared import Attachment
from protocol.sayings import Blob
from tests.actors import NOW
from tests.desks import House

ORDER = b"%PDF-1.7 the court's order, canary-5d20"
Fetch: TypeAlias = Callable[..., Awaitable[list[Path]]]


@pytest.fixture
async def fetch(house: House, tmp_path: Path) -> AsyncIterator[Fetch]:
    """Open the attachments of a case whose one sealed document is `sealed`, named as `told` says."""
    blobs: dict[str, bytes] = {}

    async def get(request: web.Request) -> web.Response:
        sealed = blobs[request.match_info["sha256"]]
        return web.Response(body=sealed, headers={"ETag": f'"{digest_of(sealed)}"'})

    async def fetch(sealed: bytes, *, named: bool = True, plain: bytes = ORDER) -> list[Path]:
        blobs[digest_of(sealed)] = sealed
        told: dict[str, Any] = {"name": "order.pdf", "type": "application/pdf", "sha256": digest_of(sealed)}
        attachment = Attachment(**told, plain_sha256=hashlib.sha256(plain).hexdigest())
        cover = {"blobs": (Blob(sha256=digest_of(sealed), size=len(sealed)),)} if named else {}
        await house.admitted()
        case = await house.request(particulars={"attachments": (attachment,)}, **cover)
        async with house.worker() as worker:
            await house.settle(worker)
        async with house.reviewing() as review, TestServer(app) as server:
            found = review.show(case, house.platform.carol.secret, house.now)
            base = str(server.make_url("")).rstrip("/")
            authorise = proofs(house.platform.id, lambda: house.platform.desk.secret, lambda: NOW, os.urandom)
            async with Http(base, authorise) as http:
                return await fetched(found, Blobs(http), [house.platform.desk.identity], tmp_path)

    app = web.Application()
    app.router.add_get("/v1/blobs/{sha256}", get)
    yield fetch
    assert not list(tmp_path.glob(".*"))  # nothing sealed and nothing half opened stays


def to_desk(house: House, plain: bytes = ORDER) -> bytes:
    return seal_bytes(plain, [house.platform.desk.recipient])


async def test_a_document_is_fetched_and_opened_into_the_reviewer_s_folder(house: House, fetch: Fetch) -> None:
    (path,) = await fetch(to_desk(house))
    assert (path.name, path.read_bytes()) == ("1-order.pdf", ORDER)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_document_that_no_statement_names_is_not_fetched(house: House, fetch: Fetch) -> None:
    with pytest.raises(Refused) as refused:
        await fetch(to_desk(house), named=False)
    assert refused.value.reason == "attachment unnamed"


async def test_a_document_other_than_the_one_named_is_not_kept(house: House, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        await fetch(to_desk(house, b"another order"))
    assert refused.value.reason == "attachment differs"
    assert not (tmp_path / "1-order.pdf").exists()


async def test_a_document_sealed_to_another_is_refused(fetch: Fetch) -> None:
    with pytest.raises(Refused) as refused:
        await fetch(seal_bytes(ORDER, [recipient_of(generate_identity())]))
    assert refused.value.code == "digest-mismatch"
