"""What an operator does from his own machine: look at applications, confirm them, set an authority's standing.

A client of the HTTP API like any other: it never opens the store, believes nothing that the gateway says of an authority but what
its signed chain shows, and signs with the operator's own key. A standing is done only when the desk's signed acceptance is back.
"""

import asyncio
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self, final

from channels.http import Http
from crypto.errors import BadKey
from crypto.keyring import Keyring, read_passphrase
from crypto.keys import SecretKey, read_jwk, read_words, signing_secret
from crypto.strict import dumps
from protocol.authorities import Authority
from protocol.chains import Known, RegistryChain, Row
from protocol.ids import Digest, Instant, PartyId, digest_of, numeric, uuid7
from protocol.keyset import Keyset, read_keyset
from protocol.problems import Refused
from protocol.receipts import read_receipt
from protocol.sayings import Acceptance, Admission, Proof, Receipt, StandingSet
from protocol.statements import read, say
from protocol.terms import Closed, PlatformId, Role, Standing
from protocol.wire import Acceptances, AuthorityAnswer, AuthorityList, ReceiptAnswer, Statements

ACCEPTANCE: Final = "rogatory-acceptance+jwt"
LOOK_AGAIN: Final = timedelta(seconds=1)


class OperatorSettings(Closed):
    """`operator.toml`: who the operator is, where the gateway is, and which root is believed. Paths beside the file."""

    name: str
    platform: PlatformId
    gateway: str
    ring: str
    passphrase_file: str
    keyset: str
    root: str


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """An authority as its signed chain makes it, and in what state the gateway says that it is."""

    authority: Authority
    rows: tuple[Row, ...]


@final
class OperatorClient:
    """An operator at work. `now` reads the clock; it is handed in by the command line."""

    def __init__(
        self, settings: OperatorSettings, keyset: Keyset, secret: SecretKey, now: Callable[[], Instant]
    ) -> None:
        self.settings = settings
        self._keyset = keyset
        self._secret = secret
        self._now = now
        self._platform = PartyId(settings.platform)

    @classmethod
    def load(cls, folder: Path, now: Callable[[], Instant]) -> Self:
        """From the operator's folder. Raises CryptoError, Refused, OSError, ValidationError."""
        settings = OperatorSettings.model_validate(tomllib.loads((folder / "operator.toml").read_text()))
        root = read_jwk(json.loads((folder / settings.root).read_text()))
        keyset = read_keyset((folder / settings.keyset).read_bytes(), root, PartyId(settings.platform), now())
        ring = Keyring.open(folder / settings.ring, read_passphrase(folder / settings.passphrase_file))
        return cls(settings, keyset, signing_secret(ring.current(Role.OPERATOR).secret), now)

    async def authorities(self) -> list[AuthorityAnswer]:
        """All authorities as the gateway lists them: where to look, no more."""
        async with self._http() as http:
            found: list[AuthorityAnswer] = []
            after: str | None = None
            while True:
                query = {"after": after} if after else None
                page = AuthorityList.model_validate_json(await http.get_json("/v1/authorities", query=query))
                found += page.authorities
                after = page.after
                if after is None:
                    return found

    async def look(self, party: PartyId) -> Seen:
        """An authority, from its signed chain. Raises Refused when the chain does not hold."""
        async with self._http() as http:
            raw = await http.get_json(f"/v1/authorities/{party}/statements")
        rows = tuple(
            Row(row.receipt.encode(), None if row.statement is None else row.statement.encode())
            for row in Statements.model_validate_json(raw).rows
        )
        chain = RegistryChain.read(rows, self._keyset)
        if chain.authority is None or chain.authority.id != party:
            raise Refused("receipt-wrong", detail="The gateway gave another authority's chain.", reason="another chain")
        return Seen(chain.authority, rows)

    async def confirm(self, seen: Authority, typed: str, line: str) -> Receipt:
        """Confirm an application by the words that the operator heard. Raises Refused (`words-wrong`) before anything leaves."""
        try:
            words = read_words(typed)
        except BadKey:
            raise Refused(
                "words-wrong", detail="A word is not on the list. Ask for it again.", reason="unknown word"
            ) from None
        if words != seen.words:
            raise Refused("words-wrong", reason="words differ")
        told = {"authority": seen.id, "application": seen.application.digest, "words": " ".join(words), "line": line}
        return await self._posted(seen.id, say(Admission.model_validate(self._common() | told), self._secret))

    async def stand(self, party: PartyId, standing: Standing, why: str) -> tuple[Digest, Receipt]:
        """Suspend, revoke or restore. Done only when `heard` says so."""
        told = {"authority": party, "standing": standing, "why": why}
        raw = say(StandingSet.model_validate(self._common() | told), self._secret)
        return digest_of(raw), await self._posted(party, raw)

    async def heard(self, party: PartyId, of: Digest, patience: timedelta) -> bool:
        """Whether every desk's signed acceptance of a registry statement came back within `patience`."""
        until = self._now() + patience
        while True:
            async with self._http() as http:
                raw = await http.get_json(f"/v1/authorities/{party}/acceptances/{of}")
            found = Acceptances.model_validate_json(raw).acceptances
            heard = {entity for one in found if (entity := self._accepts(one.encode(), party, of)) is not None}
            if heard >= set(self._keyset.entities()):
                return True
            if self._now() >= until:
                return False
            await asyncio.sleep(LOOK_AGAIN.total_seconds())

    def _accepts(self, raw: bytes, party: PartyId, of: Digest) -> str | None:
        """The entity whose desk accepted that very statement, or None."""
        try:
            statement = read(raw, Known(self._keyset), self._now(), kinds=(ACCEPTANCE,))
        except Refused:
            return None
        said = statement.saying(Acceptance)
        return statement.holder.entity if (said.accepted, said.authority, said.of) == (True, party, of) else None

    async def _posted(self, party: PartyId, raw: bytes) -> Receipt:
        async with self._http() as http:
            body = dumps({"statement": raw.decode()})
            answer = ReceiptAnswer.model_validate_json(
                await http.post_json(f"/v1/authorities/{party}/statements", body)
            )
        receipt = read_receipt(answer.receipt.encode(), Known(self._keyset)).saying(Receipt)
        if receipt.of != digest_of(raw) or receipt.authority != party:
            raise Refused("receipt-wrong", reason="receipt of another statement")
        return receipt

    def _common(self) -> dict[str, object]:
        now = self._now()
        return {"iss": self._platform, "aud": self._platform, "iat": numeric(now), "jti": uuid7(now, os.urandom(10))}

    def _http(self) -> Http:
        return Http(self.settings.gateway, self._authorise)

    def _authorise(self, method: str, url: str) -> str | None:
        if method != "GET":
            return None
        proof = say(
            Proof.model_validate({**self._common(), "htm": method, "htu": url}), self._secret, role=Role.OPERATOR
        )
        return f"Proof {proof.decode()}"
