"""Statements: the one way from bytes to trust.

`read` is the only maker of `Statement`: whoever holds one knows that its form is strict, that its signature fits a key which was
valid at the instant that `read` was given, and that the key's holder and role may say such a thing. `read` judges no age
(`fresh`, asked at the HTTP door alone), no order (`cases`, `authorities`) and no law (`frameworks`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, TypeVar, final

from pydantic import ValidationError

from crypto import signing, strict
from crypto.errors import BadKey, BadSignature, BadToken, NotStrict, SealingError
from crypto.keys import KeyId, PublicKey, SecretKey, read_jwk
from crypto.sealing import parse_recipient
from protocol import limits
from protocol.ids import Digest, Instant, NotAnId, PartyId, digest_of, instant, parse_authority_id, written
from protocol.problems import Place, Refused
from protocol.sayings import KINDS, Application, Claims, EcJwk, OkpJwk, Proof, Rekey, SealingKeys
from protocol.terms import Closed, Role, Stage

_TYP_OF: Final[Mapping[type[Claims], str]] = {row.model: typ for typ, row in KINDS.items() if row.model is not Proof}
_PROOFS: Final = {
    Role.AUTHORITY: "rogatory-proof+jwt",
    Role.DESK: "rogatory-desk-proof+jwt",
    Role.OPERATOR: "rogatory-operator-proof+jwt",
}
Said = TypeVar("Said", bound=Claims)
Model = TypeVar("Model", bound=Closed)


@final
@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key it is: a party, one role, the holder's name, and the time for which it counts. `until` is exclusive.

    `entity` is the establishment that a platform's key serves; an authority's key serves none.
    """

    party: PartyId
    role: Role
    name: str
    key: PublicKey
    since: Instant
    until: Instant | None = None
    entity: str | None = None

    def valid(self, at: Instant) -> bool:
        """Whether the key counted at `at`."""
        return self.since <= at and (self.until is None or at < self.until)


class Keys(Protocol):
    """Where `read` looks a key up: the keyset, the registered authorities, or both."""

    @property
    def platform(self) -> PartyId:
        """The platform that all statements are from or to."""
        ...

    def holder(self, key: KeyId) -> Holder | None:
        """The holder of a key that is or was registered, or None."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Statement:
    """A statement whose form and signature `read` has checked. Only `read` makes one."""

    raw: bytes  # the compact JWS as received, kept verbatim
    digest: Digest  # SHA-256 of raw
    typ: str
    holder: Holder  # who signed
    said: Claims  # the kind's own model

    @property
    def issuer(self) -> PartyId:
        """The party that signed; equal to `said.iss`."""
        return self.holder.party

    @property
    def known_as(self) -> tuple[PartyId, str]:
        """Issuer and `jti`: what a chain takes once, for ever, whatever else the bytes are."""
        return self.holder.party, self.said.jti

    def dated(self, at: Instant) -> None:
        """Refuse the statement in a row of that time if its key did not count then.

        A row's time is not always the one that `read` was given: after a clock was set back, rows go on from the last.
        """
        _valid(self.holder, at)

    def saying(self, model: type[Said]) -> Said:
        """What was said, as `model`. The kind must have been looked at before."""
        if not isinstance(self.said, model):
            raise TypeError(f"{self.typ} is no {model.__name__}")
        return self.said


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One row of a chain, as its receipt fixed it: the stage, when, and the statement if there was one."""

    stage: Stage
    at: Instant  # the receipt's time
    of: Digest  # the statement's digest, or that of what caused the stage
    statement: Statement | None = None


def say(said: Claims, secret: SecretKey, *, role: Role | None = None) -> bytes:
    """`said` as a compact JWS under `secret`. `role` is needed for a proof alone, which several roles may sign."""
    typ = _PROOFS[role] if role is not None else _TYP_OF[type(said)]
    payload = strict.dumps(said.model_dump(mode="json", exclude_none=True))
    return signing.sign(payload, secret, typ)


def read(raw: bytes, keys: Keys, at: Instant | None, *, kinds: Iterable[str] = KINDS.keys()) -> Statement:
    """The statement in `raw`, checked: form, kind, key valid at `at`, signature, claims, and who may say it.

    `at` is now at the door, and the receipt's time for all that is stored, queued or in a case file. None means the
    statement's own time: for receipts, which no other receipt dates, and whose reader compares the time with his own.
    Raises Refused: 400 for form, 401 for keys and signature, 403 for roles, 422 for claims.
    """
    token = _parsed(raw)
    row = KINDS.get(token.typ)
    if row is None or token.typ not in kinds:
        raise Refused("type-refused", reason="typ not taken here")
    if row.model is Application:
        return _presented(token, keys.platform, at)
    holder = keys.holder(token.key_id)
    if holder is None:
        raise Refused("key-unknown", reason=f"kid {token.key_id} unknown")
    if holder.role is not row.role:
        raise Refused("key-role", reason=f"{holder.role} key on {token.typ}")
    verified = _verified(token, holder.key)
    if at is not None:
        _valid(holder, at)
    said = claims(verified.payload, row.model)
    if at is None:
        _valid(holder, instant(said.iat))
    if said.iss != holder.party:
        raise Refused("wrong-issuer", reason=f"iss is not the holder {holder.party}")
    _addressed(said, keys.platform, to_platform=row.to_platform)
    return Statement(raw, digest_of(raw), token.typ, holder, said)


@final
@dataclass(frozen=True, slots=True)
class Name:
    """What a statement calls itself. Believed by nobody: it serves to find the same bytes again, and for nothing else."""

    issuer: str
    jti: str
    digest: Digest


def named(raw: bytes) -> Name:
    """The name of a statement that nobody has verified yet. Raises Refused (400, 422) for its form."""
    token = _parsed(raw)
    try:
        said = strict.loads_compact(token.payload, max_depth=limits.DEPTH)
    except NotStrict as error:
        raise Refused(_STRICT.get(error.flaw, "not-json"), reason=f"claims {error.flaw}") from None
    issuer, jti = said.get("iss"), said.get("jti")
    missing = [Place(f"/{name}", "a text") for name, found in (("iss", issuer), ("jti", jti)) if found is None]
    if missing:
        raise Refused("missing-member", places=tuple(missing), reason="no name")
    if not isinstance(issuer, str) or not isinstance(jti, str):
        raise Refused(
            "invalid-member",
            places=(Place("/jti", "a UUIDv7"), Place("/iss", "a party's id")),
            reason="name is no text",
        )
    return Name(issuer, jti, digest_of(raw))


def fresh(statement: Statement, now: Instant, *, within: timedelta = limits.FRESH) -> None:
    """Refuse what is older than five minutes (a proof: `within`) or from the future.

    Asked at the HTTP door alone, after the replay look-up.
    """
    signed = instant(statement.said.iat)
    if signed > now + limits.LEEWAY:
        raise Refused("from-the-future", reason=f"iat ahead by {int((signed - now).total_seconds())} s")
    if signed <= now - within:
        raise Refused("stale", reason=f"iat {int((now - signed).total_seconds())} s ago")


def _valid(holder: Holder, at: Instant) -> None:
    if holder.valid(at):
        return
    ended = holder.until is not None and at >= holder.until
    until = f" This one was valid until {written(holder.until)}." if ended and holder.until is not None else ""
    raise Refused(
        "key-not-active",
        detail="Sign with the key that is valid now." + until,
        reason=f"kid {holder.key.id} not valid",
    )


def key_of(jwk: OkpJwk | EcJwk) -> PublicKey:
    """The signing key in a claim, its point checked. Raises Refused."""
    try:
        return read_jwk(jwk.model_dump())
    except BadKey as error:
        raise Refused(
            "invalid-member", detail="A key is not on its curve, or is of small order.", reason=error.flaw
        ) from None


def sound_recipients(texts: SealingKeys) -> SealingKeys:
    """The age recipients in a claim, each of which can be sealed to. Raises Refused."""
    try:
        for text in texts:
            parse_recipient(text)
    except SealingError as error:
        raise Refused("invalid-member", detail="A sealing key is no age recipient.", reason=error.flaw) from None
    return texts


def inner_of(rekey: Rekey) -> KeyId:
    """The key that signed the inner statement of a `rekey`: the same claims, by one of the keys that it presents."""
    if rekey.inner is None:
        raise Refused("missing-member", places=(Place("/inner", "the same claims, signed by a new key"),))
    token = _parsed(rekey.inner.encode())
    if token.typ != _TYP_OF[Rekey]:
        raise Refused("type-refused", reason="inner typ")
    verified, key = _self_signed(token, rekey.signing)
    inner = claims(verified.payload, Rekey)
    if inner != rekey.model_copy(update={"inner": None}):
        raise Refused(
            "invalid-member",
            places=(Place("/inner", "the same claims as the outer statement"),),
            reason="inner differs",
        )
    return key.id


def claims(payload: bytes, model: type[Said]) -> Said:
    """The claims in a payload, strict and closed, each error with its place."""
    try:
        strict.loads_compact(payload, max_depth=limits.DEPTH)
    except NotStrict as error:
        raise Refused(_STRICT.get(error.flaw, "not-json"), reason=f"claims {error.flaw}") from None
    return validated(payload, model)


def validated(payload: bytes, model: type[Model]) -> Model:
    """`payload`, which was read strictly before, as `model`. Raises Refused with the place of every error."""
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise misfit(error) from None


def misfit(error: ValidationError) -> Refused:
    """What pydantic found, as a problem: every place, what was expected there, and never the value."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = tuple(Place("/" + "/".join(str(part) for part in one["loc"]), one["msg"]) for one in found[:32])
    kinds = {one["type"] for one in found}
    code = "invalid-member"
    if "extra_forbidden" in kinds:
        code = "unknown-member"
    elif kinds == {"missing"}:
        code = "missing-member"
    return Refused(code, detail="See `errors`.", places=places, reason=" ".join(sorted(kinds))[:120])


_STRICT: Final[Mapping[str, str]] = {
    "doubled-member": "doubled-member",
    "too-deep": "too-deep",
    "number-too-long": "number-refused",
    "not-integer": "number-refused",
    "not-a-number": "number-refused",
    "not-utf8": "not-utf8",
}
_HEADER: Final[Mapping[str, str]] = {
    "algorithm-refused": "algorithm-refused",
    "header-member": "header-refused",
    "doubled-member": "doubled-member",
    "key-id-form": "key-unknown",
}


def problem_of(error: NotStrict) -> Refused:
    """A body that is not strict JSON, as a problem."""
    return Refused(_STRICT.get(error.flaw, "not-json"), reason=f"body {error.flaw}")


def _parsed(raw: bytes) -> signing.Unverified:
    if len(raw) > limits.STATEMENT:
        raise Refused(
            "too-large", detail=f"A statement has at most {limits.STATEMENT} bytes.", reason="statement too long"
        )
    try:
        return signing.parse(raw)
    except (BadToken, NotStrict, BadKey) as error:
        raise Refused(_HEADER.get(error.flaw, "token-form"), reason=f"token {error.flaw}") from None


def _verified(token: signing.Unverified, key: PublicKey) -> signing.Verified:
    try:
        return signing.verify(token, key)
    except BadSignature as error:
        code = "algorithm-refused" if error.flaw == "algorithm-refused" else "signature-invalid"
        raise Refused(code, reason=error.flaw) from None


def _self_signed(token: signing.Unverified, presented: Iterable[OkpJwk | EcJwk]) -> tuple[signing.Verified, PublicKey]:
    """Verify under the one of the presented keys that the header names. All of them must be sound."""
    keys = {key.id: key for key in map(key_of, presented)}
    if token.key_id not in keys:
        raise Refused(
            "key-unknown", detail="Sign with one of the keys that you present.", reason="kid not among the presented"
        )
    return _verified(token, keys[token.key_id]), keys[token.key_id]


def _presented(token: signing.Unverified, platform: PartyId, at: Instant | None) -> Statement:
    """An application: the one kind that is read against the key it presents itself."""
    said = claims(token.payload, Application)
    _, key = _self_signed(token, said.signing)
    if not said.iss.startswith(said.country.lower() + "-"):
        raise Refused("invalid-member", places=(Place("/iss", "the country first"),), reason="iss and country differ")
    _addressed(said, platform, to_platform=True)
    since = instant(said.iat) if at is None else at
    holder = Holder(PartyId(said.iss), Role.AUTHORITY, said.iss, key, since)
    return Statement(token.raw, digest_of(token.raw), token.typ, holder, said)


def _addressed(said: Claims, platform: PartyId, *, to_platform: bool) -> None:
    if to_platform:
        if said.aud != platform:
            raise Refused("wrong-audience", reason="aud is not the platform")
        return
    try:
        parse_authority_id(said.aud)
    except NotAnId:
        if said.aud == platform and said.iss == platform:
            return  # a rejection of what the desk said is addressed to the platform's own desk
        raise Refused("wrong-audience", reason="aud is no authority") from None
