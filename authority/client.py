"""The authority's client: says, keeps, sends, and holds the gateway to its receipt.

Before a statement leaves, the gateway must have shown the pinned root (`line.service`). Every receipt must be the gateway's, of
what was signed, of about this time, and at its place in a chain whose every row is verified from its bytes. What was signed is kept
until then (`sent`), and every command sends first what is still owed.
"""

import asyncio
import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypedDict, final

from authority.keys import jwk
from authority.line import Line, refusal
from authority.requests import Matter, Order, Prepared, prepared
from authority.sent import Owed
from channels.http import Answered, Progress
from protocol import limits
from protocol.authorities import Authority, active
from protocol.casefile import Findings, verify
from protocol.cases import Case, State
from protocol.ids import CaseId, Digest, Instant, Jti, case_id, instant, numeric, written
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.receipts import read_receipt, read_rejection
from protocol.sayings import (
    KINDS,
    Acknowledgement,
    Application,
    Claims,
    Receipt,
    Rekey,
    Request,
    Supplement,
    Withdrawal,
)
from protocol.statements import Statement, say
from protocol.terms import Stage, Withdrawn
from protocol.wire import ReceiptAnswer, StatementBody

# Statuses of a refusal that the same bytes would get again: all that blame the sender, but for "too slow" and "too many".
_FOR_GOOD: Final = frozenset(range(400, 500)) - {408, 429}
SETTLED: Final = frozenset(State) - {State.RECEIVED, State.IN_REVIEW}  # states in which the desk has spoken
_NO_BLOB: Final = frozenset({"too-large", "digest-mismatch"})  # refusals of a blob that will not be otherwise tomorrow
_TYP_OF: Final = {row.model: typ for typ, row in KINDS.items()}


class _Common(TypedDict):
    iss: str
    aud: str
    iat: int
    jti: str


@final
@dataclass(frozen=True, slots=True)
class Receipted:
    """What was taken: what was said, the statement's digest, and its verified receipt."""

    said: Claims
    digest: Digest
    receipt: Statement

    @property
    def promise(self) -> Receipt:
        """What the receipt says."""
        return self.receipt.saying(Receipt)


@final
@dataclass(frozen=True, slots=True)
class Resent:
    """What became of a statement that was still owed: taken now, or refused."""

    typ: str
    receipted: Receipted | None
    refused: Refused | Answered | None


def _nothing(_name: str) -> None:
    """Nobody wants to hear of it."""


def _no_progress(_done: int, _size: int) -> None:
    """Nobody looks."""


@final
class Client:
    """One authority at one gateway. Use as `async with Client(line) as client`."""

    def __init__(
        self, line: Line, *, progress: Progress = _no_progress, told: Callable[[str], None] = _nothing
    ) -> None:
        self.line = line
        self.progress = progress
        self.told = told

    async def __aenter__(self) -> Self:
        await self.line.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.line.http.__aexit__(kind, error, trace)

    # --- what is said

    async def apply(self) -> tuple[Receipted, Authority]:
        """Present the authority and its keys. The answer has the words to be read out over the second line."""
        home, keys = self.line.home, self.line.keys
        said = Application(
            **self._common(self.line.jti()),
            name=home.settings.name,
            country=home.settings.country,
            type=home.settings.type,
            signing=(jwk(keys.signing.public),),
            sealing=(keys.recipient,),
            contact=home.settings.contact,
            root=home.settings.root,
        )
        receipted = await self._said("/v1/authorities", said)
        return receipted, await self.line.registry()

    async def request(self, order: Order) -> tuple[Receipted, Case]:
        """Open a case. Raises Refused, also where the law does not open what is asked, before anything is sent."""
        order.cover(())
        keyset = await self._ready()
        jti = self.line.jti()
        sealed = await self._prepared(order, keyset, order.entity, jti)
        said = Request(**self._common(jti), cover=order.cover(sealed.blobs), particulars=sealed.part)
        receipted = await self._said("/v1/cases", said, sealed)
        case, _ = await self.line.case(CaseId(receipted.promise.case or ""))
        return receipted, case

    async def supplement(self, case: CaseId, matter: Matter) -> tuple[Receipted, Case]:
        """More for a case: new particulars, which replace what was sealed before."""
        keyset = await self._ready()
        found, _ = await self.line.case(case)
        jti = self.line.jti()
        sealed = await self._prepared(matter, keyset, found.asked.cover.entity, jti)
        said = Supplement(**self._common(jti), case=case, particulars=sealed.part, blobs=sealed.blobs)
        return await self._on(case, said, sealed)

    async def withdraw(self, case: CaseId, why: Withdrawn) -> tuple[Receipted, Case]:
        """Take a request back."""
        return await self._on(case, Withdrawal(**self._common(self.line.jti()), case=case, why=why))

    async def acknowledge(self, case: Case, flaw: str | None = None) -> tuple[Receipted, Case]:
        """The answer was opened and is what the decision says; or `flaw` says why not."""
        if case.decision is None:
            raise Refused("impossible", detail="There is no answer yet.", reason="nothing to acknowledge")
        common = self._common(self.line.jti())
        decision = case.decision.digest
        said = Acknowledgement(**common, case=case.id, decision=decision, opened=flaw is None, flaw=flaw)
        return await self._on(case.id, said)

    async def rekey(self) -> tuple[Receipted, Authority]:
        """New keys for signing and sealing; the old ones go on opening what was sealed to them."""
        await self._ready()
        keys = self.line.keys
        signing, recipient = keys.following(self.line.now())
        said = Rekey(**self._common(self.line.jti()), signing=(jwk(signing.public),), sealing=(recipient,))
        whole = said.model_copy(update={"inner": say(said, signing).decode()})
        receipted = await self._said(f"/v1/authorities/{self.line.home.id}/statements", whole)
        return receipted, await self.line.registry()

    async def wait(self, case: CaseId, until: Collection[State], patience: timedelta) -> Case:
        """The case as soon as it is in one of the states, or after that time as it is then."""
        clock = asyncio.get_running_loop().time
        end = clock() + patience.total_seconds()
        while True:
            found, _ = await self.line.case(case)
            left = end - clock()
            if found.state in until or left <= 0:
                return found
            try:
                async with asyncio.timeout(left):
                    await self.line.changed(case, found.steps)
            except TimeoutError:
                continue

    async def export(self, case: CaseId) -> tuple[bytes, Findings]:
        """The case file, if it is sound, of this case, and under the pinned root. Raises Refused."""
        raw = await self.line.file(case)
        findings = await asyncio.to_thread(verify, raw)
        if findings.root.id != self.line.home.settings.root:
            raise Refused("keyset-wrong", detail="The case file is under another root key than the one you pinned.")
        if findings.case.id != case or findings.authority.id != self.line.home.id:
            raise Refused("case-file-wrong", detail="This is the file of another case.", reason="another case")
        return raw, findings

    # --- how it is sent

    async def resend(self) -> list[Resent]:
        """Send what has no receipt yet. What is refused is told, and stops nothing else. Raises Unreachable."""
        done: list[Resent] = []
        for owed in self.line.outbox.owed():
            await self.line.service()
            try:
                receipted = await self._delivered(owed)
                if receipted.promise.case is None:
                    await self.line.registry()
                else:
                    await self.line.case(CaseId(receipted.promise.case))
            except Refused as refused:
                done.append(Resent(owed.typ, None, refused))
            except Answered as answered:
                if answered.status not in _FOR_GOOD:
                    raise
                done.append(Resent(owed.typ, None, answered))
            else:
                done.append(Resent(owed.typ, receipted, None))
        return done

    async def _ready(self) -> Keyset:
        """The keyset, when the authority may ask now."""
        keyset = await self.line.service()
        active(await self.line.registry())
        return keyset

    async def _prepared(self, matter: Matter, keyset: Keyset, entity: str, jti: Jti) -> Prepared:
        recipients = keyset.sealing(entity, self.line.now())
        return await asyncio.to_thread(
            prepared,
            matter,
            recipients=recipients,
            authority=self.line.home.id,
            jti=jti,
            outbox=self.line.outbox,
            told=self.told,
        )

    def _common(self, jti: Jti) -> _Common:
        home = self.line.home
        return {"iss": home.id, "aud": home.platform, "iat": numeric(self.line.now()), "jti": jti}

    async def _on(self, case: CaseId, said: Claims, sealed: Prepared | None = None) -> tuple[Receipted, Case]:
        receipted = await self._said(f"/v1/cases/{case}/statements", said, sealed)
        found, _ = await self.line.case(case)
        return receipted, found

    async def _said(self, path: str, said: Claims, sealed: Prepared | None = None) -> Receipted:
        """Sign, keep, send, and check the receipt."""
        await self.line.service()
        blobs = () if sealed is None else tuple(Digest(blob.sha256) for blob in sealed.blobs)
        part = None if sealed is None else sealed.sealed
        owed = Owed(path, _TYP_OF[type(said)], say(said, self.line.keys.signing), part, blobs)
        self.line.outbox.keep(owed)
        return await self._delivered(owed)

    async def _delivered(self, owed: Owed, *, again: bool = True) -> Receipted:
        """Send it. What is stale was never taken: the same is said anew, once, under the same `jti`."""
        for blob in owed.blobs:
            self.told(f"{blob[:16]}….age")
            await self._put(owed, blob)
        sealed = None if owed.sealed is None else base64.b64encode(owed.sealed).decode()
        body = StatementBody(statement=owed.statement.decode(), sealed=sealed)
        try:
            raw = await self.line.http.post_json(owed.path, body.model_dump_json(exclude_none=True).encode())
        except Answered as answered:
            if answered.code == "stale" and again:
                anew = self._anew(owed)
                self.line.outbox.keep(anew)
                return await self._delivered(anew, again=False)
            raise await self._refused(owed, answered) from None
        receipted = self._receipted(
            owed, self.line.read(raw, ReceiptAnswer).receipt.encode(), await self.line.service()
        )
        if isinstance(receipted.said, Rekey):
            self.line.keys.turn()
        promise = receipted.promise
        self.line.outbox.settle(owed, promise.case or promise.authority or "", promise.seq, receipted.receipt.raw)
        if promise.case is None:
            self.line.forget()
        return receipted

    async def _put(self, owed: Owed, blob: Digest) -> None:
        try:
            await self.line.http.put_file(f"/v1/blobs/{blob}", self.line.outbox.blob(blob), self.progress)
        except Answered as answered:
            if answered.code in _NO_BLOB:
                self.line.outbox.refuse(owed, None)
            raise refusal(answered) from None

    def _anew(self, owed: Owed) -> Owed:
        """The same, said now."""
        keys, now = self.line.keys, self.line.now()
        said = owed.said.model_copy(update={"iat": numeric(now)})
        if isinstance(said, Rekey):
            inner = said.model_copy(update={"inner": None})
            said = inner.model_copy(update={"inner": say(inner, keys.following(now)[0]).decode()})
        return replace(owed, statement=say(said, keys.signing))

    def _receipted(self, owed: Owed, raw: bytes, keyset: Keyset) -> Receipted:
        """The receipt, if it is the gateway's, of this statement, in its chain, and of about this time."""
        receipt = read_receipt(raw, keyset)
        promise = receipt.saying(Receipt)
        said = owed.said
        if promise.of != owed.digest or promise.aud != self.line.home.id or promise.stage is not Stage.TAKEN:
            raise Refused("receipt-wrong", reason="receipt of another statement")
        if (promise.case, promise.authority) != self._chain(owed, said):
            raise Refused("receipt-wrong", reason="receipt of another chain")
        self._timely(instant(promise.iat), instant(said.iat))
        return Receipted(said, owed.digest, receipt)

    def _chain(self, owed: Owed, said: Claims) -> tuple[str | None, str | None]:
        match said:
            case Request():
                return case_id(said.iat, owed.digest), None
            case Supplement() | Withdrawal() | Acknowledgement():
                return said.case, None
            case _:
                return None, self.line.home.id

    def _timely(self, promised: Instant, signed: Instant) -> None:
        """The door takes what is fresh alone: a receipt is of the minutes after signing, also one that comes late."""
        now = self.line.now()
        if signed - limits.CLOCKS <= promised <= min(now, signed + limits.FRESH) + limits.CLOCKS:
            return
        raise Refused(
            "receipt-wrong",
            detail=f"The receipt is dated {written(promised)}; it was signed on {written(signed)}, and your clock says "
            f"{written(now)}. More than {int(limits.CLOCKS.total_seconds()) // 60} minutes apart: check your clock; "
            "if it is right, the gateway's is not. Keep the receipt, and call the platform over the second line.",
            reason="receipt's time",
        )

    async def _refused(self, owed: Owed, answered: Answered) -> Refused | Answered:
        """What to raise. A refusal for good moves the statement aside, with the gateway's signed no if it gave one."""
        told = refusal(answered)
        if (
            answered.status not in _FOR_GOOD or not answered.code
        ):  # a page of some proxy, which has no code, decides nothing
            return told
        rejection = answered.problem.get("rejection")
        signed = rejection.encode() if isinstance(rejection, str) else None
        if signed is not None:
            read_rejection(signed, await self.line.service(), owed.digest)
        self.line.outbox.refuse(owed, signed)
        return told
