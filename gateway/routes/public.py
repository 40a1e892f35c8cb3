"""What anyone may read: who this is, whether it is alive and ready, the document of the API, and whom to tell of a hole."""

from datetime import timedelta
from typing import Final, final

from crypto.keys import PublicKey
from gateway.door import Answer, Asked, Parts, Route
from gateway.store import StoreError
from protocol.frameworks import frameworks
from protocol.ids import PartyId, written
from protocol.sayings import EcJwk, Jwk, OkpJwk
from protocol.wire import FrameworkAnswer, Health, Limits, ServiceAnswer

EXPIRES: Final = timedelta(days=180)  # RFC 9116 §2.5.5 recommends less than a year
NOBODY: Final = PartyId("none")


def routes(parts: Parts, root: PublicKey) -> tuple[Route, ...]:
    """The calls that ask for no proof and take no statement."""
    calls = _Calls(parts, root)
    return (
        Route(
            "GET",
            "/v1",
            "Who this is, and what a client must know before it signs",
            calls.service,
            ServiceAnswer,
        ),
        Route("GET", "/healthz", "Whether the process answers", calls.alive, Health, always=True),
        Route(
            "GET",
            "/readyz",
            "Whether it can do its work now; 503 with the reasons when not",
            calls.ready,
            Health,
            statuses=(200, 503),
            always=True,
        ),
        Route(
            "GET",
            "/.well-known/security.txt",
            "Whom to tell of a vulnerability (RFC 9116)",
            calls.security,
            "text/plain; charset=utf-8",
        ),
    )


def described(document: bytes) -> Route:
    """The call that answers the document of the API."""

    async def describe(_: Asked) -> Answer:
        return Answer(document)

    return Route("GET", "/openapi.json", "This document (OpenAPI 3.1)", describe, "application/json")


@final
class _Calls:
    def __init__(self, parts: Parts, root: PublicKey) -> None:
        self._parts = parts
        self._service = _service(parts, root).model_dump_json().encode()

    async def service(self, _: Asked) -> Answer:
        return Answer(self._service)

    async def alive(self, _: Asked) -> Answer:
        return Answer(Health(status="ok"))

    async def ready(self, asked: Asked) -> Answer:
        """The queue is not among the reasons: what it loses or keeps waiting, the outbox holds."""
        if asked.leaving():
            return Answer(Health(status="stopping"), 503)
        reasons = []
        try:
            await self._parts.store.cases(NOBODY, None, 1)
        except StoreError:
            reasons.append("store")
        if not self._parts.blobs.roomy():
            reasons.append("disk")
        if reasons:
            return Answer(Health(status="not-ready", reasons=tuple(reasons)), 503)
        return Answer(Health(status="ok"))

    async def security(self, asked: Asked) -> Answer:
        settings = self._parts.settings
        lines = (
            f"Contact: {settings.contact}",
            f"Expires: {written(asked.now + EXPIRES)}",
            "Preferred-Languages: en",
            f"Canonical: {settings.public_url}/.well-known/security.txt",
        )
        return Answer("".join(line + "\n" for line in lines).encode(), media="text/plain; charset=utf-8")


def _service(parts: Parts, root: PublicKey) -> ServiceAnswer:
    keyset = parts.registry.keyset
    return ServiceAnswer(
        platform=keyset.platform,
        entities=keyset.entities(),
        frameworks=tuple(
            FrameworkAnswer(
                id=one.id,
                title=one.title,
                version=one.version,
                kinds={kind: opened.categories for kind, opened in one.kinds.items()},
            )
            for one in frameworks().values()
        ),
        root=_jwk(root),
        keyset=keyset.statement.raw.decode(),
        limits=Limits(),
        links={
            "authorities": "/v1/authorities",
            "cases": "/v1/cases",
            "blobs": "/v1/blobs",
            "openapi": "/openapi.json",
            "security": "/.well-known/security.txt",
        },
    )


def _jwk(key: PublicKey) -> Jwk:
    found = key.jwk()
    return EcJwk.model_validate(found) if found["kty"] == "EC" else OkpJwk.model_validate(found)
