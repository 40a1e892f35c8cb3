"""Intake: the one way by which anything enters the record.

`take` promises a statement a place on disk, or says why not; for requests, decisions, admissions and acknowledgements alike. The
door and the relay are its two callers. The promise is the receipt, made in the transaction that stores the statement, and
returned only when that transaction is durable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, final

from channels.logs import get_log
from crypto.keys import SecretKey
from gateway.commits import Commits
from gateway.registry import Registry
from gateway.store import CaseRow, Commit, Store
from gateway.store import Known as Stood
from protocol import authorities, cases, limits, receipts
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.ids import CaseId, Digest, Instant, PartyId, digest_of, numeric, uuid7
from protocol.problems import Place, Refused
from protocol.receipts import Link
from protocol.sayings import (
    KINDS,
    Acceptance,
    Application,
    Blob,
    Chain,
    Decision,
    Rejection,
    Rekey,
    Request,
    SealedPart,
    Supplement,
)
from protocol.statements import Statement, Step, fresh, named, read, say
from protocol.terms import Stage

log = get_log()
UNSWEPT: Final = limits.BLOB_ORPHAN - timedelta(minutes=5)  # ours: no commit takes that long
LONGEST_MEMBER: Final = 200  # characters of a rejection's `member`; the problem document has the whole
TRIES: Final = 16  # how often a place may be taken by another row of the chain before we say that we are busy
UNREJECTED: Final = frozenset(
    {"not-found", "overloaded", "not-durable", "stopping", "too-many", "stale", "from-the-future"}
)


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller takes: the kinds, the chain that its address names, and whether age is judged (the door alone does)."""

    kinds: frozenset[str]
    chain: str | None = None
    aged: bool = True


@final
@dataclass(frozen=True, slots=True)
class Taken:
    """A promise kept: the receipt, whether the statement was new, and its chain."""

    receipt: bytes
    new: bool
    chain: str


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A row that is ready to be committed, and what the chain is after it."""

    commit: Commit
    registry: RegistryChain | None


@final
class Intake:
    """The heart. Holds the gateway's signing key, and nothing that opens anything."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        commits: Commits,
        secret: Callable[[], SecretKey],
        entropy: Callable[[int], bytes],
        spend: Callable[[PartyId, Instant], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._commits = commits
        self._secret = secret
        self._entropy = entropy
        self._spend = spend

    async def take(self, raw: bytes, sealed: bytes | None, now: Instant, ask: Ask) -> Taken:
        """Promise `raw` a place on disk, or say why not.  1 seen before?  2 signed?  3 admitted?  4 possible?  5 durable.

        Raises Refused; `refused.rejection` is signed when the sender was authenticated.
        """
        name = named(raw)
        old = await self._store.named(name.issuer, name.jti)
        if old is not None and old.digest == name.digest:  # (1) the same bytes, the same receipt
            return await self._again(old)
        statement = read(raw, self._registry, now, kinds=ask.kinds)  # (2)
        if old is not None:  # told to nobody but who signed both
            raise Refused("jti-reused", reason="jti under other bytes")
        if ask.aged:
            fresh(statement, now)
            if not isinstance(
                statement.said, Application
            ):  # anyone can send one in another's name: the door counts those
                self._spend(statement.issuer, now)
        try:
            return await self._taken(statement, sealed, now, ask)
        except Refused as refused:
            refused.rejection = self.rejection(statement, refused, now)
            raise

    async def _taken(self, statement: Statement, sealed: bytes | None, now: Instant, ask: Ask) -> Taken:
        chain = _chain_of(statement)
        if ask.chain is not None and ask.chain != chain:
            raise Refused("not-found", reason="the address names another chain")
        part = _part(statement, sealed)
        for _ in range(TRIES):
            try:
                prepared = await self._prepared(statement, chain, part, now)  # (3) (4)
            except Refused:  # maybe because the same bytes have come in on another connection meanwhile
                if (old := await self._meanwhile(statement)) is not None:
                    return old
                raise
            if await self._commits.add(prepared.commit):  # (5)
                if prepared.registry is not None:
                    self._registry.put(prepared.registry)
                _note(statement, prepared.commit)
                return Taken(prepared.commit.receipt, new=True, chain=chain)
            if (old := await self._meanwhile(statement)) is not None:
                return old
            await self._registry.caught_up(chain, self._store)
        raise Refused("overloaded", reason="chain too busy", wait=1)

    async def note(self, case_id: CaseId, stage: Stage, cause: Digest, now: Instant) -> bytes | None:
        """Give the receipt of a stage that no statement caused. None when the case has moved on and it is not due."""
        for _ in range(TRIES):
            chain = await self.case(case_id)
            if chain.case is None:
                return None
            step = Step(stage, chain.link.time(now), cause)
            try:
                after = cases.advance(chain.case, step)
            except Refused:
                return None
            receipt = self._receipt(chain.link, after, step, now)
            entities = (after.asked.cover.entity,)
            commit = Commit(
                case_id, chain.link.seq, stage, step.at, cause, receipt, case=_case_row(after), entities=entities
            )
            if await self._commits.add(commit):
                return receipt
        raise Refused("overloaded", reason="chain too busy", wait=1)

    async def retrieved(self, case_id: CaseId, blob: Digest, proof: Digest, now: Instant) -> None:
        """The authority fetched a blob to its last byte. When it was the last disclosure, the case is delivered."""
        fetched = await self._store.blob_fetched(case_id, blob, now)
        chain = await self.case(case_id)
        if chain.case is None or chain.case.state is not cases.State.ANSWERED:
            return
        if {Digest(one.sha256) for one in chain.case.disclosures} <= fetched:
            await self.note(case_id, Stage.RETRIEVED, proof, now)

    async def settle(self, statement: Statement, entity: str) -> None:
        """What a desk said that it holds. For a registry statement its word is kept, for the operator who waits for it."""
        said = statement.saying(Acceptance)
        chain = said.case or said.authority or ""
        if said.authority is not None:
            await self._store.accepted(entity, Digest(said.of), statement.raw)
        await self._store.settle(entity, chain, Digest(said.of))

    async def case(self, case_id: CaseId) -> CaseChain:
        """A case as it stands in the record, everything checked; an empty chain when there is none."""
        owner = await self._store.owner(case_id)
        if owner is None:
            return CaseChain()
        known = Known(self._registry.keyset, self._registry.find(owner))
        return CaseChain.read(await self._store.chain(case_id), known)

    def rejection(self, statement: Statement, refused: Refused, now: Instant) -> bytes | None:
        """A signed no to an authenticated statement; None for what is no judgement of it."""
        if refused.code in UNREJECTED:
            return None
        member = refused.places[0].pointer if refused.places else ""
        said = Rejection(
            iss=self._registry.platform,
            aud=statement.issuer,
            iat=numeric(now),
            jti=uuid7(now, self._entropy(10)),
            of=statement.digest,
            code=refused.code,
            article=refused.article or None,
            member=member if 0 < len(member) <= LONGEST_MEMBER and member.isprintable() else None,
        )
        return say(said, self._secret())

    async def _meanwhile(self, statement: Statement) -> Taken | None:
        """Whether the same statement was taken on another connection while this one was prepared."""
        old = await self._store.named(statement.issuer, statement.said.jti)
        if old is None:
            return None
        if old.digest != statement.digest:
            raise Refused("jti-reused", reason="jti under other bytes")
        return await self._again(old)

    async def _again(self, old: Stood) -> Taken:
        """The receipt that was given. A registry row that stands is applied, also when its commit once seemed to fail."""
        await self._registry.caught_up(old.chain, self._store)
        return Taken(old.receipt, new=False, chain=old.chain)

    async def _prepared(
        self, statement: Statement, chain: str, part: tuple[SealedPart, bytes] | None, now: Instant
    ) -> Prepared:
        if KINDS[statement.typ].chain is Chain.AUTHORITY:
            return self._registered(statement, PartyId(chain), now)
        return await self._cased(statement, CaseId(chain), part, now)

    def _registered(self, statement: Statement, party: PartyId, now: Instant) -> Prepared:
        if isinstance(statement.said, Application | Rekey):
            self._registry.unclaimed(statement.said.signing, party)
        before = self._registry.chain(party)
        step = Step(Stage.TAKEN, before.link.time(now), statement.digest, statement)
        after = authorities.advance(before.authority, step)
        receipt = self._receipt(before.link, after, step, now)
        commit = Commit(
            party,
            before.link.seq,
            step.stage,
            step.at,
            step.of,
            receipt,
            issuer=statement.issuer,
            jti=statement.said.jti,
            statement=statement.raw,
            state=after.state.value,
            entities=self._registry.keyset.entities(),
        )
        return Prepared(commit, before.then(Row(receipt, statement.raw), self._registry.keyset))

    async def _cased(
        self, statement: Statement, case_id: CaseId, part: tuple[SealedPart, bytes] | None, now: Instant
    ) -> Prepared:
        said = statement.said
        before = CaseChain()
        if isinstance(said, Request | Supplement):
            self._registry.admitted(statement.issuer)
        if not isinstance(said, Request):
            before = await self.case(case_id)
        step = Step(receipts.stage_of(statement), before.link.time(now), statement.digest, statement)
        after = cases.advance(before.case, step)
        if isinstance(said, Request | Supplement):
            self._sealed_to_desk(after, said.particulars)
        blobs = await self._blobs(statement, case_id, now)
        receipt = self._receipt(before.link, after, step, now)
        commit = Commit(
            case_id,
            before.link.seq,
            step.stage,
            step.at,
            step.of,
            receipt,
            issuer=statement.issuer,
            jti=said.jti,
            statement=statement.raw,
            sealed=None if part is None else (Digest(part[0].sha256), part[1]),
            case=_case_row(after),
            blobs=blobs,
            entities=(after.asked.cover.entity,),
        )
        return Prepared(commit, None)

    def _sealed_to_desk(self, case: Case, part: SealedPart) -> None:
        keyset, entity = self._registry.keyset, case.asked.cover.entity
        if entity not in keyset.entities():
            raise Refused("entity-unknown", reason="entity unknown")
        if not set(part.recipients) <= keyset.sealing_ids(entity):
            raise Refused("recipient-unknown", reason="sealed to no key of the desk")

    async def _blobs(self, statement: Statement, case: CaseId, now: Instant) -> tuple[Digest, ...]:
        """The blobs that a statement names: they must be here, be of the named size, and have come from its sender.

        One that the sweep may take in the next minutes, or that belongs to another case, is as one that is not here.
        """
        wanted = [(one.sha256, one.size) for one in _blobs_of(statement)]
        for number, (digest, size) in enumerate(wanted):
            found = await self._store.blob(Digest(digest))
            swept = found is not None and found.case is None and found.at <= now - UNSWEPT
            elsewhere = found is not None and found.case not in {None, case}
            if found is None or swept or elsewhere or found.size != size or found.owner != statement.issuer:
                raise Refused("blob-missing", places=(Place(f"/blobs/{number}", "a blob that you PUT before"),))
        return tuple(Digest(digest) for digest, _ in wanted)

    def _receipt(self, link: Link, after: Case | Authority, step: Step, now: Instant) -> bytes:
        said = receipts.following(
            link,
            after,
            step,
            platform=self._registry.platform,
            jti=uuid7(now, self._entropy(10)),
            salt=self._entropy(receipts.SALT),
        )
        secret = self._secret()
        holder = self._registry.keyset.holder(secret.public.id)
        if holder is None or not holder.valid(step.at):  # nobody would believe this receipt
            raise Refused("not-durable", reason="the gateway's signing key does not count now", wait=60)
        return say(said, secret)


def _chain_of(statement: Statement) -> str:
    if KINDS[statement.typ].chain is Chain.AUTHORITY:
        return authorities.chain_of(statement)
    return cases.chain_of(statement)


def _blobs_of(statement: Statement) -> tuple[SealedPart, ...] | tuple[Blob, ...]:
    match statement.said:
        case Request(cover=cover):
            return cover.blobs
        case Supplement(blobs=blobs):
            return blobs
        case Decision(disclosures=disclosures):
            return disclosures
        case _:
            return ()


def _part(statement: Statement, sealed: bytes | None) -> tuple[SealedPart, bytes] | None:
    """The sealed part beside a statement: there exactly when it is named, and the very bytes that were signed."""
    match statement.said:
        case Request(particulars=named_part) | Supplement(particulars=named_part):
            part: SealedPart | None = named_part
        case Decision(explanation=named_explanation):
            part = named_explanation
        case _:
            part = None
    if part is None:
        if sealed is not None:
            raise Refused("sealed-unexpected", reason="sealed part without a name")
        return None
    if sealed is None:
        raise Refused("sealed-missing", places=(Place("/sealed", "the sealed part in base64"),))
    if digest_of(sealed) != part.sha256 or len(sealed) != part.size:
        raise Refused("digest-mismatch", reason=f"sealed part is not the one signed ({len(sealed)} bytes)")
    return part, sealed


def _case_row(case: Case) -> CaseRow:
    return CaseRow(
        case=case.id,
        authority=case.authority,
        entity=case.asked.cover.entity,
        state=case.state.value,
        received=case.received,
        due=case.due,
        overdue=case.overdue,
        steps=case.steps,
    )


def _note(statement: Statement, commit: Commit) -> None:
    log.info(
        "statement.taken",
        case=commit.chain if commit.case is not None else None,
        authority=commit.case.authority if commit.case is not None else commit.chain,
        kind=statement.typ,
        stage=commit.stage.value,
        seq=commit.seq,
        digest=commit.of[:16],
        kid=statement.holder.key.id,
    )
