"""The people and machines of a test, each with real keys: a platform, its desk and people, an officer, and Mallory.

Everyone here signs what the real parties sign, by the same code. `Chains` is a gateway without wire and disk: it takes what was
said, and gives the rows that a real one would store. `Mallory` bends tokens; BENT lists what she can do, and how it is refused.
Import with `from tests.actors import Platform, Officer, Chains, Mallory, BENT`.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from crypto.keyring import Cost, Held, Keyring, SealingSecret, Secret, Status
from crypto.keys import (
    P256_ORDER,
    Ed25519Secret,
    P256Secret,
    PublicKey,
    SecretKey,
    X25519Key,
    X25519Secret,
    sealing_key_id,
)
from crypto.sealing import generate_identity, recipient_of, seal_bytes
from crypto.strict import b64url_decode, b64url_encode
from protocol import authorities, cases, receipts
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.ids import (
    CaseId,
    Digest,
    Instant,
    Jti,
    PartyId,
    case_id,
    digest_of,
    instant,
    numeric,
    parse_platform_id,
    uuid7,
)
from protocol.keyset import Keyset, read_keyset
from protocol.procedures.production import ProductionParticulars, Selector, Target
from protocol.procedures.shared import Officer as IssuingOfficer
from protocol.sayings import (
    Acceptance,
    Acknowledgement,
    Admission,
    Application,
    Approval,
    Cover,
    Decision,
    EcJwk,
    KeysetSaying,
    OkpJwk,
    PlatformKey,
    Proof,
    Rejection,
    Rekey,
    Request,
    SealedPart,
    StandingSet,
    Supplement,
    Withdrawal,
)
from protocol.statements import Statement, Step, read, say
from protocol.terms import AuthorityType, Category, Outcome, RequestKind, Role, Stage, Standing, Urgency, Withdrawn

NOW: Final = instant(1_795_000_000)  # 2026-11-18: after the framework's first day
DAY: Final = 86_400
PASSPHRASE: Final = b"correct horse battery staple"
L25519: Final = 2**252 + 27742317777372353535851937790883648493  # the order of Ed25519's group, RFC 8032 §5.1


def fresh_jti(now: Instant = NOW) -> Jti:
    return uuid7(now, os.urandom(10))


def jwk_of(key: PublicKey | X25519Key) -> OkpJwk | EcJwk:
    found: dict[str, Any] = dict(key.jwk())
    return EcJwk(**found) if found["kty"] == "EC" else OkpJwk(**found)


def part_of(sealed: bytes, recipients: Iterable[str]) -> SealedPart:
    """How a statement names a sealed file."""
    ids = tuple(sealing_key_id(recipient) for recipient in recipients)
    return SealedPart(sha256=digest_of(sealed), size=len(sealed), recipients=ids)


def claims_in(raw: bytes) -> dict[str, Any]:
    """The claims of a token, believed by nobody."""
    found: dict[str, Any] = json.loads(b64url_decode(raw.split(b".")[1]))
    return found


def typ_in(raw: bytes) -> str:
    """The kind that a token claims to be."""
    found: str = json.loads(b64url_decode(raw.split(b".")[0]))["typ"]
    return found


class Sent(NamedTuple):
    """What an officer or desk sends: the statement, and the sealed part that it names."""

    statement: bytes
    sealed: bytes


@dataclass
class Actor:
    """Someone with a signing key and a name."""

    platform: "Platform"
    name: str
    secret: SecretKey = field(default_factory=Ed25519Secret.generate)

    def common(self, now: Instant | None = None, **members: Any) -> dict[str, Any]:
        """The claims that every statement has, and more."""
        at = now or self.platform.now
        return {"iss": self.party, "aud": self.platform.id, "iat": numeric(at), "jti": fresh_jti(at)} | members

    @property
    def party(self) -> PartyId:
        return self.platform.id


class Operator(Actor):
    """One who confirms authorities, and sets their standing."""

    def admission(self, authority: Authority | RegistryChain, /, now: Instant | None = None, **members: Any) -> bytes:
        found = _authority(authority)
        told = {
            "authority": found.id,
            "application": found.application.digest,
            "words": " ".join(found.words),
            "line": "the ministry's directory, by phone",
        }
        return say(Admission(**self.common(now, **told) | members), self.secret)

    def standing(
        self,
        authority: PartyId,
        standing: Standing = Standing.SUSPENDED,
        now: Instant | None = None,
        why: str = "reported by the ministry",
    ) -> bytes:
        return say(StandingSet(**self.common(now, authority=authority, standing=standing, why=why)), self.secret)

    def proof(self, method: str, url: str, now: Instant | None = None) -> bytes:
        return say(Proof(**self.common(now, htm=method, htu=url)), self.secret, role=Role.OPERATOR)


class Reviewer(Actor):
    """One who approves drafts."""

    def approval(self, case: CaseId, draft: Digest, now: Instant | None = None) -> bytes:
        return say(Approval(**self.common(now, case=case, draft=draft)), self.secret)


@dataclass
class Desk(Actor):
    """The desk of one entity: what it signs, and the keys that open what is sent to it."""

    entity: str = "main"
    identity: str = field(default_factory=generate_identity, repr=False)
    queue: X25519Secret = field(default_factory=X25519Secret.generate)

    @property
    def recipient(self) -> str:
        return recipient_of(self.identity)

    def acceptance(self, case: Case, /, ground: str | None = None, now: Instant | None = None, **members: Any) -> bytes:
        told = {"aud": case.authority, "case": case.id, "of": case.request.digest}
        verdict = {"accepted": ground is None, "ground": ground}
        return say(Acceptance(**self.common(now, **told, **verdict) | members), self.secret)

    def registered(
        self, authority: PartyId, of: Digest, ground: str | None = None, now: Instant | None = None
    ) -> bytes:
        """The acceptance of a registry statement."""
        told = {"aud": authority, "authority": authority, "of": of, "accepted": ground is None, "ground": ground}
        return say(Acceptance(**self.common(now, **told)), self.secret)

    def decision(self, case: Case, outcome: Outcome, /, now: Instant | None = None, **members: Any) -> bytes:
        """A decision of any outcome, with the members that it needs; `members` replaces them."""
        told: dict[str, Any] = {"aud": case.authority, "case": case.id, "outcome": outcome}
        if outcome in {Outcome.DISCLOSED, Outcome.PARTLY_DISCLOSED}:
            told |= {"categories": case.asked.cover.categories, "disclosures": (an_answer(),), "accounts": 1}
        if outcome in {Outcome.REFUSED, Outcome.CLARIFICATION_NEEDED}:
            told["ground"] = "insufficient-information"
        if outcome is not Outcome.CLARIFICATION_NEEDED:
            told |= {"draft": "d" * 64, "approvals": ("a" * 64, "b" * 64)}
        return say(Decision(**self.common(now, **told) | members), self.secret)

    def proof(self, method: str, url: str, now: Instant | None = None) -> bytes:
        return say(Proof(**self.common(now, htm=method, htu=url)), self.secret, role=Role.DESK)


def an_answer(content: bytes = b"sealed records") -> SealedPart:
    """A disclosure as a decision names it; nobody need be able to open it."""
    return SealedPart(sha256=digest_of(content), size=len(content), recipients=("r" * 42 + "w",))


def _authority(found: Authority | RegistryChain) -> Authority:
    authority = found.authority if isinstance(found, RegistryChain) else found
    assert authority is not None
    return authority


class Platform:
    """A platform's keys, all of them, and the keyset that its root signed. `now` may be moved by the test."""

    def __init__(
        self,
        now: Instant = NOW,
        platform_id: str = "tg.example",
        entities: Sequence[str] = ("main",),
        *,
        post_quantum: bool = True,
    ) -> None:
        self.now = now
        self.id = parse_platform_id(platform_id)
        self.root = Ed25519Secret.generate()
        self.gateway = Ed25519Secret.generate()
        self.gateway_queue = X25519Secret.generate()
        self.desks = {one: Desk(self, "desk", entity=one, identity=generate_identity(post_quantum)) for one in entities}
        self.desk = self.desks[entities[0]]
        self.operators = {name: Operator(self, name) for name in ("alice", "bob")}
        self.reviewers = {name: Reviewer(self, name) for name in ("carol", "dave")}
        self.alice, self.bob = self.operators.values()
        self.carol, self.dave = self.reviewers.values()
        self.keys = self._keys()
        self.keyset_raw = self.sign_keyset()

    @property
    def keyset(self) -> Keyset:
        return read_keyset(self.keyset_raw, self.root.public, self.id, None)

    def sign_keyset(self, version: int = 1, keys: Iterable[PlatformKey] | None = None, **members: Any) -> bytes:
        """A keyset under the root; it does not become the platform's own until the test assigns it."""
        told: dict[str, Any] = {
            "iss": self.id,
            "aud": self.id,
            "iat": numeric(self.now),
            "jti": fresh_jti(self.now),
            "version": version,
            "until": numeric(self.now) + 400 * DAY,
            "keys": tuple(self.keys if keys is None else keys),
        }
        return say(KeysetSaying(**told | members), self.root)

    def key(self, role: Role, name: str, key: PublicKey | X25519Key | str, **members: Any) -> PlatformKey:
        """A row of the keyset, valid from an hour ago."""
        told = {"since": numeric(self.now) - 3600, "until": numeric(self.now) + 400 * DAY} | members
        shape: dict[str, Any] = {"recipient": key} if isinstance(key, str) else {"jwk": jwk_of(key)}
        return PlatformKey(role=role, name=name, **told, **shape)

    def _keys(self) -> tuple[PlatformKey, ...]:
        rows = [self.key(Role.GATEWAY, "gateway", self.gateway.public)]
        for entity, desk in self.desks.items():
            rows += [
                self.key(Role.GATEWAY_QUEUE, "gateway", self.gateway_queue.public, entity=entity),
                self.key(Role.DESK, "desk", desk.secret.public, entity=entity),
                self.key(Role.DESK_SEALING, "desk", desk.recipient, entity=entity),
                self.key(Role.DESK_QUEUE, "desk", desk.queue.public, entity=entity),
            ]
        rows += [self.key(Role.OPERATOR, name, one.secret.public) for name, one in self.operators.items()]
        rows += [self.key(Role.REVIEWER, name, one.secret.public) for name, one in self.reviewers.items()]
        return tuple(rows)

    def rejection(self, of: Digest, to: PartyId, code: str = "impossible", now: Instant | None = None) -> bytes:
        """The gateway's signed no."""
        at = now or self.now
        told: dict[str, Any] = {
            "iss": self.id,
            "aud": to,
            "iat": numeric(at),
            "jti": fresh_jti(at),
            "of": of,
            "code": code,
        }
        return say(Rejection(**told), self.gateway)

    def write(self, folder: Path, port: int = 8600) -> None:
        """The folder that `rogatory keys init` makes, with these very keys, and rings that open fast."""
        folder.chmod(0o700)
        url = f"http://127.0.0.1:{port}"
        public: dict[str, object] = {"keyset": "../public/keyset.jws", "root": "../public/root.jwk"}
        channel: dict[str, object] = {"channel": "sqlite:///../channel/queue.db", "data": "data"}
        deep = {name: f"../{path}" for name, path in public.items()}
        self._ring(folder / "root", "root", {Role.ROOT: self.root})
        for name in ("public", "channel"):
            (folder / name).mkdir(mode=0o700)
        (folder / "public/keyset.jws").write_bytes(self.keyset_raw)
        (folder / "public/root.jwk").write_text(json.dumps(self.root.public.jwk()))
        at = folder / "gateway"
        keys: dict[Role, Secret] = {Role.GATEWAY: self.gateway, Role.GATEWAY_QUEUE: self.gateway_queue}
        listens: dict[str, object] = {"host": "127.0.0.1", "port": port, "public_url": url}
        self._party(at, "gateway", keys, {"platform": self.id} | listens | public | channel)
        at, desk = folder / "desk", self.desk
        sealing = SealingSecret(desk.identity)
        opens: dict[Role, Secret] = {Role.DESK: desk.secret, Role.DESK_SEALING: sealing, Role.DESK_QUEUE: desk.queue}
        serves = {"platform": self.id, "entity": desk.entity, "gateway": url}
        self._party(at, "desk", opens, serves | public | channel | {"sources": "sources.toml"})
        for name, operator in self.operators.items():
            told = {"name": name, "platform": self.id, "gateway": url}
            self._party(folder / "operators" / name, name, {Role.OPERATOR: operator.secret}, told | deep, "operator")
        for name, reviewer in self.reviewers.items():
            told = {"name": name, "platform": self.id, "desk": "../../desk/desk.toml"}
            self._party(folder / "reviewers" / name, name, {Role.REVIEWER: reviewer.secret}, told, "reviewer")

    def _party(
        self,
        folder: Path,
        name: str,
        keys: Mapping[Role, Secret],
        settings: Mapping[str, object],
        toml: str | None = None,
    ) -> None:
        """A party's folder: its ring, its passphrase, its settings."""
        self._ring(folder, name, keys)
        told = dict(settings) | {"ring": f"{name}.ring", "passphrase_file": f"{name}.passphrase"}
        text = "".join(f"{member} = {json.dumps(value)}\n" for member, value in told.items())
        (folder / f"{toml or name}.toml").write_text(text)

    def _ring(self, folder: Path, name: str, keys: Mapping[Role, Secret]) -> None:
        made = numeric(self.now)
        held = [Held(role, 0, Status.CURRENT, made, secret) for role, secret in keys.items()]
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        Keyring.create(folder / f"{name}.ring", PASSPHRASE, held, cost=Cost.INTERACTIVE)
        passphrase = folder / f"{name}.passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_bytes(PASSPHRASE + b"\n")


@dataclass
class Officer(Actor):
    """An authority: what it signs, and the keys that open what is sent to it."""

    name: str = "kr-knpa-cyber"
    country: str = "KR"
    identity: str = field(default_factory=generate_identity, repr=False)

    @property
    def party(self) -> PartyId:
        return PartyId(self.name)

    @property
    def recipient(self) -> str:
        return recipient_of(self.identity)

    def application(self, now: Instant | None = None, **members: Any) -> bytes:
        told: dict[str, Any] = {
            "name": "Korean National Police Agency, Cyber Bureau",
            "country": self.country,
            "type": AuthorityType.POLICE,
            "signing": (jwk_of(self.secret.public),),
            "sealing": (self.recipient,),
            "contact": "the ministry's directory, page 12",
            "root": self.platform.root.public.id,
        }
        return say(Application(**self.common(now, **told) | members), self.secret)

    def particulars(self, jti: str, targets: Iterable[str] = ("@suspect",), **members: Any) -> ProductionParticulars:
        told: dict[str, Any] = {
            "iss": self.party,
            "jti": jti,
            "facts": "The account sold stolen cards.",
            "officer": IssuingOfficer(name="Kim Minji"),
            "targets": tuple(Target(by=Selector.ACCOUNT, value=value) for value in targets),
        }
        return ProductionParticulars(**told | members)

    def cover(self, **members: Any) -> Cover:
        told: dict[str, Any] = {
            "kind": RequestKind.PRODUCTION,
            "urgency": Urgency.ORDINARY,
            "framework": "eu.e-evidence",
            "basis": "Art. 5",
            "categories": (Category.SUBSCRIBER,),
            "subjects": 1,
        }
        return Cover(**told | members)

    def request(  # everything that tests have wished to vary
        self,
        *,
        targets: Sequence[str] = ("@suspect",),
        recipients: Sequence[str] | None = None,
        particulars: Mapping[str, Any] | None = None,
        plain: bytes | None = None,
        now: Instant | None = None,
        members: Mapping[str, Any] | None = None,
        **cover: Any,
    ) -> Sent:
        """A request and its sealed particulars. `plain` replaces these; `members` the claims; the rest is the cover's."""
        common = self.common(now, **members or {})
        covered = self.cover(**{"subjects": len(targets)} | cover)
        to = self._recipients(covered.entity, now) if recipients is None else recipients
        told = self.particulars(common["jti"], targets, **particulars or {})
        sealed = seal_bytes(told.model_dump_json(exclude_none=True).encode() if plain is None else plain, to)
        request = Request(**{"cover": covered, "particulars": part_of(sealed, to)} | common)
        return Sent(say(request, self.secret), sealed)

    def _recipients(self, entity: str, now: Instant | None) -> tuple[str, ...]:
        return self.platform.keyset.sealing(entity, now or self.platform.now)

    def supplement(
        self, case: CaseId, /, plain: bytes | None = None, now: Instant | None = None, **members: Any
    ) -> Sent:
        common = self.common(now, case=case)
        to = self._recipients("main", now)
        told = self.particulars(common["jti"]).model_dump_json(exclude_none=True).encode()
        sealed = seal_bytes(told if plain is None else plain, to)
        return Sent(say(Supplement(**common | {"particulars": part_of(sealed, to)} | members), self.secret), sealed)

    def withdrawal(self, case: CaseId, /, now: Instant | None = None, **members: Any) -> bytes:
        told = self.common(now, case=case, why=Withdrawn.MISTAKEN)
        return say(Withdrawal(**told | members), self.secret)

    def acknowledgement(
        self, case: Case, /, flaw: str | None = None, now: Instant | None = None, **members: Any
    ) -> bytes:
        decision = "0" * 64 if case.decision is None else case.decision.digest
        told = self.common(now, case=case.id, decision=decision, opened=flaw is None, flaw=flaw)
        return say(Acknowledgement(**told | members), self.secret)

    def rekey(
        self,
        new: SecretKey,
        identity: str | None = None,
        now: Instant | None = None,
        *,
        by: SecretKey | None = None,
        keep: Sequence[SecretKey] = (),
        **members: Any,
    ) -> bytes:
        """New keys, `keep` beside them; the inner statement is signed `by` the new one, unless said otherwise.

        The officer goes on with the old keys until the test assigns `secret` and `identity`.
        """
        told: dict[str, Any] = {
            "signing": tuple(jwk_of(one.public) for one in (new, *keep)),
            "sealing": (self.recipient if identity is None else recipient_of(identity),),
        }
        common = self.common(now, **told) | members
        inner = say(Rekey(**common), by or new).decode()
        return say(Rekey(**{"inner": inner} | common), self.secret)

    def proof(self, method: str, url: str, now: Instant | None = None) -> bytes:
        return say(Proof(**self.common(now, htm=method, htu=url)), self.secret, role=Role.AUTHORITY)


class Chains:
    """A gateway without wire and disk: takes what is said, and keeps the rows. Raises Refused like the real one."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.registry: dict[str, RegistryChain] = {}
        self.registry_rows: dict[str, list[Row]] = {}
        self.cases: dict[str, CaseChain] = {}
        self.case_rows: dict[str, list[Row]] = {}

    def authority(self, of: PartyId) -> Authority:
        return _authority(self.registry[of])

    def case(self, of: CaseId) -> Case:
        found = self.cases[of].case
        assert found is not None
        return found

    def known(self, authority: str) -> Known:
        """The platform's keys, and those of an authority if it has applied."""
        return Known(self.platform.keyset, self.registry.get(authority, RegistryChain()).authority)

    def admitted(self, officer: Officer, now: Instant | None = None) -> Authority:
        """The officer's authority, applied and confirmed by both operators."""
        self.take(officer.application(now), now)
        for operator in (self.platform.alice, self.platform.bob):
            self.take(operator.admission(self.authority(officer.party), now), now)
        return self.authority(officer.party)

    def opened(self, officer: Officer, now: Instant | None = None, **request: Any) -> Case:
        """A case that a request of the officer opens."""
        raw = officer.request(now=now, **request).statement
        self.take(raw, now)
        iat = claims_in(raw)["iat"]
        return self.case(case_id(iat, digest_of(raw)))

    def read(self, raw: bytes, now: Instant | None = None) -> Statement:
        """What was said, under the keys of whoever it concerns."""
        said = claims_in(raw)
        party = said["iss"] if said["iss"] != self.platform.id else said.get("authority", said["aud"])
        return read(raw, self.known(party), now or self.platform.now)

    def take(self, raw: bytes, now: Instant | None = None) -> Row:
        """Take a statement into the chain where it belongs; give the row."""
        at = now or self.platform.now
        statement = self.read(raw, at)
        if statement.typ in {f"rogatory-{kind}+jwt" for kind in ("application", "admission", "standing", "rekey")}:
            return self._register(statement, at)
        return self._take(cases.chain_of(statement), statement, statement.digest, at)

    def note(self, case: CaseId, stage: Stage, of: Digest | None = None, now: Instant | None = None) -> Row:
        """Add a row that no statement caused: retrieved, or overdue."""
        at = now or self.platform.now
        return self._take(case, None, of or digest_of(stage.encode()), at, stage)

    def _register(self, statement: Statement, at: Instant) -> Row:
        party = claims_in(statement.raw).get("authority", statement.issuer)
        chain = self.registry.get(party, RegistryChain())
        step = Step(Stage.TAKEN, chain.link.time(at), statement.digest, statement)
        after = authorities.advance(chain.authority, step)
        row = Row(self.receipt(chain.link, after, step), statement.raw)
        self.registry[party] = chain.then(row, self.platform.keyset)
        self.registry_rows.setdefault(party, []).append(row)
        return row

    def _take(
        self, case: CaseId, statement: Statement | None, of: Digest, at: Instant, stage: Stage | None = None
    ) -> Row:
        chain = self.cases.get(case, CaseChain())
        stage = receipts.stage_of(statement) if statement is not None else stage or Stage.TAKEN
        step = Step(stage, chain.link.time(at), of, statement)
        after = cases.advance(chain.case, step)
        row = Row(self.receipt(chain.link, after, step), None if statement is None else statement.raw)
        self.cases[case] = chain.then(row, self.known(after.authority))
        self.case_rows.setdefault(case, []).append(row)
        return row

    def receipt(
        self, link: receipts.Link, after: Case | Authority, step: Step, secret: SecretKey | None = None
    ) -> bytes:
        """The receipt of a step; `secret` signs it in the gateway's place."""
        jti, salt = fresh_jti(step.at), os.urandom(receipts.SALT)
        said = receipts.following(link, after, step, platform=self.platform.id, jti=jti, salt=salt)
        return say(said, secret or self.platform.gateway)


def everything_said(platform: Platform, officer: Officer) -> tuple[dict[str, bytes], Known]:
    """One statement of every kind, by its `typ`, each signed by the one who may; and the keys that read them."""
    chains = Chains(platform)
    chains.admitted(officer)
    case = chains.opened(officer)
    rows, registry = chains.case_rows[case.id], chains.registry_rows[officer.party]
    url = "https://gateway.example/v1/cases"
    said = [
        *(row.statement for row in (*registry[:2], *rows) if row.statement is not None),
        platform.alice.standing(officer.party),
        officer.rekey(Ed25519Secret.generate()),
        officer.supplement(case.id).statement,
        officer.withdrawal(case.id),
        officer.acknowledgement(case),
        platform.desk.acceptance(case),
        platform.desk.decision(case, Outcome.DISCLOSED),
        platform.carol.approval(case.id, Digest("d" * 64)),
        rows[0].receipt,
        platform.rejection(case.request.digest, officer.party),
        platform.keyset_raw,
        *(one.proof("GET", url) for one in (officer, platform.desk, platform.alice)),
    ]
    return {typ_in(raw): raw for raw in said}, chains.known(officer.party)


class Mallory:
    """Bends tokens. With a key she signs whatever she likes under it; without, she changes what others signed."""

    def __init__(self, secret: SecretKey) -> None:
        self.secret = secret

    def signed(self, header: bytes, payload: bytes) -> bytes:
        """Any two texts as a token that verifies, as far as its form lets it."""
        message = f"{b64url_encode(header)}.{b64url_encode(payload)}".encode()
        return message + b"." + b64url_encode(self.secret.sign(message)).encode()

    def header(self, raw: bytes, **members: Any) -> bytes:
        """Header members added or replaced; None takes one out."""
        found = json.loads(b64url_decode(raw.split(b".")[0])) | members
        return self.header_text(raw, _json({name: value for name, value in found.items() if value is not None}))

    def header_text(self, raw: bytes, text: bytes) -> bytes:
        return self.signed(text, b64url_decode(raw.split(b".")[1]))

    def claims(self, raw: bytes, **members: Any) -> bytes:
        """Claims added or replaced."""
        return self.payload(raw, _json(claims_in(raw) | members))

    def claim(self, raw: bytes, name: str, text: str) -> bytes:
        """A claim replaced by a text that need not be JSON."""
        found = claims_in(raw) | {name: "?here?"}
        return self.payload(raw, _json(found).replace(b'"?here?"', text.encode("utf-8", "surrogatepass")))

    def without(self, raw: bytes, name: str) -> bytes:
        return self.payload(raw, _json({one: value for one, value in claims_in(raw).items() if one != name}))

    def doubled(self, raw: bytes, name: str, value: object) -> bytes:
        """A claim twice: first another value, then the one that was signed."""
        text = b64url_decode(raw.split(b".")[1])
        return self.payload(raw, b"{" + _json({name: value})[1:-1] + b"," + text[1:])

    def payload(self, raw: bytes, text: bytes) -> bytes:
        return self.signed(b64url_decode(raw.split(b".")[0]), text)

    def hmac(self, raw: bytes) -> bytes:
        """HS256 with the public key as the secret. RFC 8725 §2.1."""
        head, body, _ = raw.split(b".")
        found = json.loads(b64url_decode(head)) | {"alg": "HS256"}
        message = b64url_encode(_json(found)).encode() + b"." + body
        mac = hmac.digest(_json(self.secret.public.jwk()), message, hashlib.sha256)
        return message + b"." + b64url_encode(mac).encode()

    def unsigned(self, raw: bytes) -> bytes:
        """`alg` none, and no signature. RFC 8725 §2.1."""
        return self.header(raw, alg="none").rsplit(b".", 1)[0] + b"."

    def malleable(self, raw: bytes) -> bytes:
        """The signature's other form: s + L for Ed25519, n - s for ES256."""
        head, body, signature = raw.split(b".")
        spelt = b64url_decode(signature)
        if isinstance(self.secret, P256Secret):
            other = (P256_ORDER - int.from_bytes(spelt[32:])).to_bytes(32)
        else:
            other = (int.from_bytes(spelt[32:], "little") + L25519).to_bytes(32, "little")
        return b".".join((head, body, b64url_encode(spelt[:32] + other).encode()))

    @staticmethod
    def flipped(raw: bytes, segment: int, at: int = 5) -> bytes:
        """One bit of what a segment spells changed: 0 header, 1 claims, 2 signature."""
        parts = raw.split(b".")
        spelt = bytearray(b64url_decode(parts[segment]))
        spelt[at] ^= 1
        parts[segment] = b64url_encode(bytes(spelt)).encode()
        return b".".join(parts)

    @staticmethod
    def respelt(raw: bytes) -> bytes:
        """The last character of the signature with stray bits: the same bytes for a lax reader."""
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return raw[:-1] + bytes((alphabet[alphabet.index(raw[-1]) + 1],))


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True).encode()


Bending: TypeAlias = Callable[[Mallory, bytes], bytes]


class Bent(NamedTuple):
    """One thing that Mallory does to a statement that was good, and the code that refuses it."""

    name: str
    bend: Bending
    code: str


def _headers() -> Iterable[Bent]:
    for name, value in {
        "crit": ["b64"],
        "jku": "https://mallory.example/keys",
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
        "x5u": "https://mallory.example/cert",
        "x5c": ["MIIB"],
        "b64": False,
        "cty": "JWT",
    }.items():
        yield Bent(f"header member {name}", lambda m, raw, n=name, v=value: m.header(raw, **{n: v}), "header-refused")  # type: ignore[misc]
    for alg in ("RS256", "HS512", "ES384", "PS256", "ed25519", "", "None", 7):
        yield Bent(f"alg {alg!r}", lambda m, raw, a=alg: m.header(raw, alg=a), "algorithm-refused")  # type: ignore[misc]


def _times() -> Iterable[Bent]:
    for name, text, code in (
        ("negative", "-1", "invalid-member"),
        ("zero", "0", "invalid-member"),
        ("before us", "1699999999", "invalid-member"),
        ("past the year 9999", "253402300800", "invalid-member"),
        ("huge", "999999999999999", "invalid-member"),
        ("too long", "1" * 5_000, "number-refused"),
        ("a fraction", "1795000000.5", "number-refused"),
        ("an exponent", "1e9", "number-refused"),
        ("not a number", "NaN", "number-refused"),
        ("infinite", "Infinity", "number-refused"),
        ("minus zero", "-0", "number-refused"),
        ("a string", '"1795000000"', "invalid-member"),
        ("true", "true", "invalid-member"),
        ("null", "null", "invalid-member"),
    ):
        yield Bent(f"iat {name}", lambda m, raw, t=text: m.claim(raw, "iat", t), code)  # type: ignore[misc]


def _other_algorithm(mallory: Mallory) -> str:
    return "Ed25519" if isinstance(mallory.secret, P256Secret) else "ES256"


def _doubled_alg(raw: bytes) -> bytes:
    return b'{"alg":"none",' + b64url_decode(raw.split(b".")[0])[1:]


def _spaced(raw: bytes, segment: int) -> bytes:
    return b64url_decode(raw.split(b".")[segment]).replace(b":", b": ", 1)


def _escaped(raw: bytes) -> bytes:
    r"""A second `iss`, whose name is spelt with an escape: `\u0069ss`."""
    return b'{"\\u0069ss":"us-fbi",' + b64url_decode(raw.split(b".")[1])[1:]


def _slashed(mallory: Mallory, raw: bytes) -> bytes:
    """The signature in base64's other alphabet, tried until it differs."""
    for number in range(100):
        found = mallory.claims(raw, iat=claims_in(raw)["iat"] + number)
        head, body, signature = found.split(b".")
        other = base64.b64encode(b64url_decode(signature)).rstrip(b"=")
        if other != signature:
            return b".".join((head, body, other))
    raise AssertionError("a hundred signatures without - and _")


# The codes are those of `statements.read`; a door that reads more strictly first may answer with one of its own.
BENT: Final[tuple[Bent, ...]] = (
    # the token
    Bent("nothing", lambda _m, _raw: b"", "token-form"),
    Bent("two segments", lambda _, raw: raw.rsplit(b".", 1)[0], "token-form"),
    Bent("four segments", lambda _, raw: raw + b".AA", "token-form"),
    Bent("padded signature", lambda _, raw: raw + b"==", "token-form"),
    Bent("padded claims", lambda _, raw: raw.replace(b".", b"=.", 2), "token-form"),
    Bent("trailing line feed", lambda _, raw: raw + b"\n", "token-form"),
    Bent("leading space", lambda _, raw: b" " + raw, "token-form"),
    Bent("space within", lambda _, raw: raw.replace(b".", b". ", 1), "token-form"),
    Bent("a byte beyond ASCII", lambda _, raw: raw + b"\xff", "token-form"),
    Bent("stray bits", lambda _, raw: Mallory.respelt(raw), "token-form"),
    Bent("standard base64", _slashed, "token-form"),
    Bent("too large", lambda m, raw: m.claims(raw, padding="x" * 65_536), "too-large"),
    # the header
    Bent("alg none", lambda m, raw: m.unsigned(raw), "algorithm-refused"),
    Bent("HS256 with the public key as secret", lambda m, raw: m.hmac(raw), "algorithm-refused"),
    Bent("no alg", lambda m, raw: m.header(raw, alg=None), "algorithm-refused"),
    *_headers(),
    Bent("another key's algorithm", lambda m, raw: m.header(raw, alg=_other_algorithm(m)), "algorithm-refused"),
    Bent("doubled alg", lambda m, raw: m.header_text(raw, _doubled_alg(raw)), "doubled-member"),
    Bent("space in the header", lambda m, raw: m.header_text(raw, _spaced(raw, 0)), "token-form"),
    Bent("header is no object", lambda m, raw: m.header_text(raw, b'["alg"]'), "token-form"),
    Bent("header is not UTF-8", lambda m, raw: m.header_text(raw, b'{"alg":"\xff"}'), "token-form"),
    Bent("no kid", lambda m, raw: m.header(raw, kid=None), "header-refused"),
    Bent("kid is a number", lambda m, raw: m.header(raw, kid=7), "key-unknown"),
    Bent("kid of another form", lambda m, raw: m.header(raw, kid="key-1"), "key-unknown"),
    Bent("kid is a path", lambda m, raw: m.header(raw, kid="../../../dev/null"), "key-unknown"),
    Bent("kid unknown", lambda m, raw: m.header(raw, kid=b64url_encode(bytes(32))), "key-unknown"),
    Bent("no typ", lambda m, raw: m.header(raw, typ=None), "header-refused"),
    Bent("typ is a list", lambda m, raw: m.header(raw, typ=["JWT"]), "token-form"),
    Bent("typ JWT", lambda m, raw: m.header(raw, typ="JWT"), "type-refused"),
    Bent("typ in capitals", lambda m, raw: m.header(raw, typ=typ_in(raw).upper()), "type-refused"),
    Bent("typ in full", lambda m, raw: m.header(raw, typ="application/" + typ_in(raw)), "type-refused"),
    # the signature
    Bent("a bit of the claims", lambda _, raw: Mallory.flipped(raw, 1, 20), "signature-invalid"),
    Bent("a bit of the signature", lambda _, raw: Mallory.flipped(raw, 2), "signature-invalid"),
    Bent("the signature's other form", lambda m, raw: m.malleable(raw), "signature-invalid"),
    Bent("no signature", lambda _, raw: raw.rsplit(b".", 1)[0] + b".", "signature-invalid"),
    Bent("half a signature", lambda _, raw: raw[:-46], "signature-invalid"),
    Bent("a signature of zeros", lambda _, raw: raw.rsplit(b".", 1)[0] + b"." + b"A" * 86, "signature-invalid"),
    # the claims
    Bent("claims are not JSON", lambda m, raw: m.payload(raw, b"{"), "not-json"),
    Bent("claims are a list", lambda m, raw: m.payload(raw, b"[]"), "not-json"),
    Bent("claims are not UTF-8", lambda m, raw: m.payload(raw, b'{"iss":"\xff"}'), "not-utf8"),
    Bent("claims with a byte order mark", lambda m, raw: m.payload(raw, b"\xef\xbb\xbf{}"), "not-json"),
    Bent("space in the claims", lambda m, raw: m.payload(raw, _spaced(raw, 1)), "not-json"),
    Bent("doubled iss", lambda m, raw: m.doubled(raw, "iss", "us-fbi"), "doubled-member"),
    Bent("doubled aud", lambda m, raw: m.doubled(raw, "aud", "other.example"), "doubled-member"),
    Bent("doubled by an escape", lambda m, raw: m.payload(raw, _escaped(raw)), "doubled-member"),
    Bent("lone surrogate", lambda m, raw: m.claim(raw, "iss", '"\\ud800"'), "not-json"),
    Bent("lone surrogate in raw bytes", lambda m, raw: m.claim(raw, "iss", '"\ud800"'), "not-utf8"),
    Bent("10,000 levels of nesting", lambda m, raw: m.claim(raw, "iss", "[" * 10_000 + "]" * 10_000), "too-deep"),
    Bent("100,000 levels of nesting", lambda m, raw: m.claim(raw, "iss", "[" * 100_000 + "]" * 100_000), "too-large"),
    Bent("unknown member", lambda m, raw: m.claims(raw, admin=True), "unknown-member"),
    Bent("exp", lambda m, raw: m.claims(raw, exp=253_402_300_799), "unknown-member"),
    Bent("missing iat", lambda m, raw: m.without(raw, "iat"), "missing-member"),
    Bent("missing aud", lambda m, raw: m.without(raw, "aud"), "missing-member"),
    *_times(),
    Bent("empty jti", lambda m, raw: m.claims(raw, jti=""), "invalid-member"),
    Bent("jti in capitals", lambda m, raw: m.claims(raw, jti=claims_in(raw)["jti"].upper()), "invalid-member"),
    Bent("jti with a line feed", lambda m, raw: m.claims(raw, jti=claims_in(raw)["jti"] + "\n"), "invalid-member"),
    Bent("jti is a UUIDv4", lambda m, raw: m.claims(raw, jti="9b2d7b4c-1111-4222-8333-444455556666"), "invalid-member"),
    Bent("jti is a number", lambda m, raw: m.claims(raw, jti=7), "invalid-member"),
    Bent("aud is a list", lambda m, raw: m.claims(raw, aud=[claims_in(raw)["aud"]]), "invalid-member"),
    Bent("aud is another platform", lambda m, raw: m.claims(raw, aud="other.example"), "wrong-audience"),
    Bent("aud with a dot", lambda m, raw: m.claims(raw, aud=claims_in(raw)["aud"] + "."), "wrong-audience"),
    Bent("aud with a line feed", lambda m, raw: m.claims(raw, aud=claims_in(raw)["aud"] + "\n"), "invalid-member"),
    Bent("iss is another party", lambda m, raw: m.claims(raw, iss="zz-mallory"), "wrong-issuer"),
    Bent("iss with a line feed", lambda m, raw: m.claims(raw, iss=claims_in(raw)["iss"] + "\n"), "invalid-member"),
)
