from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.http import Answered, Http, Patience
from desk.blobs import Blobs, proofs
from protocol.chains import Known
from protocol.ids import digest_of
from protocol.sayings import Proof
from protocol.statements import read
from tests.actors import NOW, Platform

SEALED = b"age-encryption.org/v1\n" + b"x" * 100_000


class Seen(NamedTuple):
    path: str
    authorisation: str
    body: bytes


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[str, list[Seen]]]:
    """A server that notes what comes; a gateway's own judgement is tested with the gateway."""
    seen: list[Seen] = []

    async def put(request: web.Request) -> web.Response:
        seen.append(Seen(request.path, request.headers["Authorization"], await request.read()))
        if len(seen) == 1:
            return web.json_response({"code": "overloaded"}, status=503)
        return web.json_response({"sha256": digest_of(SEALED), "size": len(SEALED)}, status=201)

    app = web.Application(client_max_size=1 << 20)
    app.router.add_put("/v1/blobs/{sha256}", put)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), seen


async def test_a_sealed_file_goes_up_under_its_digest_with_a_proof_for_each_attempt(
    gateway: tuple[str, list[Seen]], tmp_path: Path
) -> None:
    base, seen = gateway
    platform = Platform()
    path = tmp_path / "sealed.age"
    path.write_bytes(SEALED)
    authorise = proofs(platform.id, lambda: platform.desk.secret, lambda: NOW, os.urandom)
    async with Http(base, authorise, patience=Patience(attempts=3, first=0.01)) as http:
        await Blobs(http).put(path, digest_of(SEALED))
    assert [one.path for one in seen] == [f"/v1/blobs/{digest_of(SEALED)}"] * 2
    assert [one.body for one in seen] == [SEALED] * 2
    jtis = set()
    for one in seen:
        scheme, _, raw = one.authorisation.partition(" ")
        assert scheme == "Proof"
        statement = read(raw.encode(), Known(platform.keyset), NOW, kinds=("rogatory-desk-proof+jwt",))
        said = statement.saying(Proof)
        assert (said.htm, said.htu) == ("PUT", base + one.path)
        jtis.add(said.jti)
    assert len(jtis) == 2


async def test_a_gateway_that_stays_away_is_an_error_with_a_sentence(
    gateway: tuple[str, list[Seen]], tmp_path: Path
) -> None:
    path = tmp_path / "sealed.age"
    path.write_bytes(SEALED)
    platform = Platform()
    authorise = proofs(platform.id, lambda: platform.desk.secret, lambda: NOW, os.urandom)
    async with Http(gateway[0], authorise, patience=Patience(attempts=1)) as http:
        with pytest.raises(Answered, match="503"):
            await Blobs(http).put(path, digest_of(SEALED))


def test_a_proof_is_for_reading_and_bringing_alone() -> None:
    platform = Platform()
    authorise = proofs(platform.id, lambda: platform.desk.secret, lambda: NOW, os.urandom)
    with pytest.raises(RuntimeError):
        authorise("DELETE", "https://gateway.tg.example/v1/blobs/0")
