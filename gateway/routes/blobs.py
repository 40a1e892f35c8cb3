"""Blobs: sealed attachments and disclosures, put once, and read by those whose cases name them. Sealed parts are read here too.

What a reader may not see is 404, the same as what does not exist. Nothing here is opened.
"""

from collections.abc import Awaitable, Callable
from typing import Final, final

from crypto.keys import KeyId
from gateway.blobs import Tally
from gateway.door import Answer, Asked, File, Parts, Route, Takes
from gateway.ranges import Span, etag, select
from gateway.routes.shared import READING, segment
from gateway.store import BlobRow
from protocol import limits
from protocol.cases import Case
from protocol.ids import CaseId, Digest, digest_of, parse_digest
from protocol.problems import Refused
from protocol.statements import Statement, key_of
from protocol.terms import Role
from protocol.wire import BlobAnswer

SIDES: Final = frozenset({Role.AUTHORITY, Role.DESK})
MOST: Final = {Role.AUTHORITY: limits.ATTACHMENT, Role.DESK: None}  # bytes; a disclosure is as long as it is
OCTETS: Final = "application/octet-stream"


def routes(parts: Parts) -> tuple[Route, ...]:
    """The calls below /v1/blobs."""
    calls = _Calls(parts)
    return (
        Route(
            "PUT",
            "/v1/blobs/{sha256}",
            "A sealed attachment (from an authority) or a disclosure (from the desk)",
            calls.put,
            BlobAnswer,
            statuses=(201, 200),
            roles=SIDES,
            takes=Takes.OCTETS,
            problems=(
                *READING,
                "authority-not-active",
                "too-slow",
                "encoding-refused",
                "media-type",
                "digest-mismatch",
            ),
        ),
        Route(
            "GET",
            "/v1/blobs/{sha256}",
            "A blob or sealed part that a case of the reader names; resumable",
            calls.get,
            OCTETS,
            statuses=(200, 206, 304),
            roles=SIDES,
            headers=("Range", "If-Range", "If-Match", "If-None-Match"),
            problems=(*READING, "authority-not-active", "precondition-failed", "range-refused"),
        ),
    )


@final
class _Calls:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._entity_of = _entities(parts)

    async def put(self, asked: Asked) -> Answer:
        """The body is hashed even when the blob is here: who has not the bytes learns nothing from asking."""
        digest = segment(asked, "sha256", parse_digest)
        if asked.field("Content-Type") != OCTETS:
            raise Refused("media-type", reason=f"not {OCTETS}")
        sender = asked.proven()
        found = await self._parts.store.blob(digest)
        if found is not None and await self._parts.blobs.holds(digest):
            return await self._again(asked, found, sender)
        most, length = MOST[sender.holder.role], asked.request.content_length
        async with self._parts.blobs.arriving(digest, most, length) as arriving:
            async for chunk in asked.chunks(most):
                await arriving.write(chunk)
            size = await arriving.keep()
            await self._parts.store.blob_stored(digest, size, sender.issuer, self._parts.now())
        return _stored(digest, size, new=found is None)

    async def _again(self, asked: Asked, found: BlobRow, sender: Statement) -> Answer:
        """The same bytes again. Whether another sent them first is not told."""
        most = MOST[sender.holder.role]
        tally = Tally(found.digest, most)
        async for chunk in asked.chunks(most):
            tally.count(chunk)
            tally.hash(chunk)
        tally.check()
        await self._parts.store.blob_stored(
            found.digest, tally.size, sender.issuer, self._parts.now()
        )  # its time begins anew
        return _stored(found.digest, tally.size, new=found.owner != sender.issuer)

    async def get(self, asked: Asked) -> Answer:
        digest = segment(asked, "sha256", parse_digest)
        reader = asked.proven()
        found = await self._parts.store.blob(digest)
        if found is not None:
            case = None if found.case is None else (await self._parts.intake.case(found.case)).case
            if not self._sees_blob(reader, found, case):
                raise _hidden()
            fetched = self._fetched(reader, digest, case)
            return await self._file(asked, digest, found.size, fetched)
        sealed = await self._parts.store.sealed(digest)
        if sealed is None or not self._sees_case(reader, (await self._parts.intake.case(sealed[1])).case):
            raise _hidden()
        span = _span(asked, digest, len(sealed[0]))
        return _answer(digest, span, b"" if span is None else sealed[0][span.start : span.stop])

    async def _file(
        self, asked: Asked, digest: Digest, size: int, fetched: Callable[[], Awaitable[None]] | None
    ) -> Answer:
        span = _span(asked, digest, size)
        if span is None:
            return _answer(digest, None, b"")
        content = await self._parts.blobs.open(digest, span.start, span.stop)
        return _answer(digest, span, File(content, span, fetched if span.last else None))

    def _sees_blob(self, reader: Statement, found: BlobRow, case: Case | None) -> bool:
        """An authority: what it sent, and what a decision that counts gives it. A desk: what its entity's cases name."""
        if reader.holder.role is Role.DESK:
            return found.entity is not None and found.entity == self._entity_of.get(reader.holder.key.id)
        given = case is not None and found.digest in {one.sha256 for one in case.disclosures}
        return found.owner == reader.issuer or (given and self._sees_case(reader, case))

    def _sees_case(self, reader: Statement, case: Case | None) -> bool:
        if case is None:
            return False
        if reader.holder.role is Role.DESK:
            return case.asked.cover.entity == self._entity_of.get(reader.holder.key.id)
        return case.authority == reader.issuer

    def _fetched(self, reader: Statement, digest: Digest, case: Case | None) -> Callable[[], Awaitable[None]] | None:
        """What is to be done when an authority has got the last byte of a disclosure: the proof is its cause."""
        if reader.holder.role is not Role.AUTHORITY or case is None or case.authority != reader.issuer:
            return None
        if digest not in {one.sha256 for one in case.disclosures}:
            return None

        async def fetched() -> None:
            await self._parts.intake.retrieved(CaseId(case.id), digest, digest_of(reader.raw), self._parts.now())

        return fetched


def _hidden() -> Refused:
    return Refused("not-found", reason="no such blob, or not the reader's")


def _stored(digest: Digest, size: int, *, new: bool) -> Answer:
    return Answer(BlobAnswer(sha256=digest, size=size), 201 if new else 200, {"Location": f"/v1/blobs/{digest}"})


def _span(asked: Asked, digest: Digest, size: int) -> Span | None:
    """What the conditions and the range of the request come to; the fields that any answer to them has."""
    asked.headers |= {"ETag": etag(digest), "Accept-Ranges": "bytes"}
    try:
        return select(asked.request.headers, digest, size)
    except Refused as refused:
        if refused.code == "range-refused":
            asked.headers["Content-Range"] = f"bytes */{size}"  # RFC 9110 §15.5.17
        raise


def _answer(digest: Digest, span: Span | None, body: bytes | File) -> Answer:
    if span is None:
        return Answer(body, 304, media=OCTETS)
    headers = {"Content-Disposition": f'attachment; filename="{digest}.age"'}
    if span.partial:
        headers["Content-Range"] = span.content_range
    return Answer(body, 206 if span.partial else 200, headers, OCTETS)


def _entities(parts: Parts) -> dict[KeyId, str]:
    """Which entity's desk a key is of."""
    rows = parts.registry.keyset.keys
    return {key_of(row.jwk).id: row.entity for row in rows if row.role is Role.DESK and row.jwk is not None}
