"""Proofs on reads, and how much one party may ask: who reads is who signed this very request, once.

A proof (after RFC 9449) names method and address, is good for a minute, and for one use. What was used is remembered in this
process alone: a proof that was signed before the process began is refused, since nobody knows whether it was used. Whether the
authority behind a proof is active is the route's question; whose key it is, `statements.read`'s.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final, final

from crypto.keys import KeyId
from protocol import limits
from protocol.ids import Instant, PartyId, instant
from protocol.problems import Refused
from protocol.sayings import KINDS, Proof
from protocol.statements import Keys, Statement, fresh, read
from protocol.terms import Role

KIND_OF: Final[Mapping[Role, str]] = MappingProxyType(
    {row.role: typ for typ, row in KINDS.items() if row.model is Proof}
)
WINDOW: Final = 2 * limits.PROOF  # a proof from the future by the leeway is good for no longer than this
MOST_USED: Final = 200_000  # ours: used proofs of one window, some 60 MB
MOST_PARTIES: Final = 10_000  # ours: buckets kept; the one unused for longest gives way
_HEADER: Final = re.compile(r"proof ([A-Za-z0-9_.-]+)", re.IGNORECASE | re.ASCII)  # RFC 9110 §11.4


@final
@dataclass(frozen=True, slots=True)
class _Bucket:
    tokens: float
    at: Instant


@final
class Buckets:
    """A token bucket for each party: it holds `burst` tokens, and `per_minute` come back."""

    def __init__(self, *, per_minute: int, burst: int) -> None:
        self._rate = per_minute / 60
        self._burst = burst
        self._held: dict[str, _Bucket] = {}

    def spend(self, party: PartyId, now: Instant) -> None:
        """Take one token. Raises Refused (`too-many`) with the seconds until there is one."""
        tokens = self._tokens(party, now)
        if tokens < 1:
            raise Refused("too-many", reason=f"bucket of {party} empty", wait=math.ceil((1 - tokens) / self._rate))
        self._held.pop(party, None)
        self._held[party] = _Bucket(tokens - 1, now)
        if len(self._held) > MOST_PARTIES:
            self._held.pop(next(iter(self._held)))  # unused for longest: the one that is fullest by now

    def fields(self, party: PartyId, now: Instant) -> dict[str, str]:
        """What the party is told in its answers. draft-ietf-httpapi-ratelimit-headers-10 §3, §4."""
        tokens = self._tokens(party, now)
        full = math.ceil((self._burst - tokens) / self._rate)
        window = max(1, math.ceil(self._burst / self._rate))
        return {
            "RateLimit-Policy": f'"party";q={self._burst};w={window}',
            "RateLimit": f'"party";r={int(tokens)};t={full}',
        }

    def _tokens(self, party: PartyId, now: Instant) -> float:
        held = self._held.get(party)
        if held is None:
            return float(self._burst)
        passed = max(0.0, (now - held.at).total_seconds())  # a clock set back gives nothing, and takes nothing
        return min(float(self._burst), held.tokens + passed * self._rate)


@final
class Proofs:
    """Checks proofs against the registered keys, and remembers which were used."""

    def __init__(self, keys: Keys, public_url: str, started: Instant, buckets: Buckets) -> None:
        self._keys = keys
        self._url = public_url
        self._started = started.replace(microsecond=started.microsecond // 1000 * 1000)
        self._buckets = buckets
        self._used: set[tuple[KeyId, str]] = set()
        self._before: set[tuple[KeyId, str]] = set()
        self._turned = started

    def check(self, header: str | None, method: str, path: str, now: Instant, roles: Collection[Role]) -> Statement:
        """The proof in an `Authorization` header: by one of `roles`, for this method and path, fresh, unused.

        Raises Refused: 401 for what proves nothing, 422 for age, 429 past the party's rate, 503 for what was signed before
        the process began (a new proof will do).
        """
        statement = read(_token(header), self._keys, now, kinds=[KIND_OF[role] for role in roles])
        fresh(statement, now, within=limits.PROOF)
        said = statement.saying(Proof)
        if said.htm != method or said.htu != self._url + path:
            raise Refused("proof-invalid", reason="htm or htu is another")
        if _signed(said) < self._started:
            detail = "The gateway has just started. Make a new proof."
            raise Refused("overloaded", detail=detail, reason="proof older than the process", wait=1)
        self._turn(now)
        name = (statement.holder.key.id, said.jti)
        if name in self._used or name in self._before:
            raise Refused("proof-reused", reason="proof used before")
        if len(self._used) >= MOST_USED:
            raise Refused("overloaded", reason="too many proofs in one window", wait=int(WINDOW.total_seconds()))
        self._buckets.spend(statement.issuer, now)
        self._used.add(name)
        return statement

    def _turn(self, now: Instant) -> None:
        """Forget what nobody can use again: two generations, each a window long."""
        if now - self._turned >= WINDOW:
            idle = now - self._turned >= 2 * WINDOW
            self._before = set() if idle else self._used
            self._used = set()
            self._turned = now


def _signed(said: Proof) -> Instant:
    """When a proof was signed, to the millisecond that its UUIDv7 tells, if that is within its second (RFC 9562 §5.7)."""
    told = int(said.jti[:8] + said.jti[9:13], 16)
    return instant(said.iat) + timedelta(milliseconds=told % 1000 if told // 1000 == said.iat else 0)


def _token(header: str | None) -> bytes:
    if header is None:
        raise Refused("proof-missing")
    found = _HEADER.fullmatch(header)
    if found is None:
        raise Refused("proof-invalid", detail="Send `Authorization: Proof <JWS>`.", reason="another scheme or form")
    return found[1].encode()
