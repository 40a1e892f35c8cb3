"""The line to the gateway: proofs on what is read, and nothing of an answer believed that was not signed.

`Line.service` comes first: it compares the root that the gateway shows with the one that was pinned, and keeps the newest keyset; a
gateway without the pinned root gets nothing from us. `Line.registry` and `Line.case` read whole chains from their bytes, and
compare them with every receipt that was seen before, so that no row can be changed or taken back.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar, final

from pydantic import ValidationError

from authority.keys import Keys
from authority.sent import Outbox, write
from authority.settings import Home
from channels.http import Answered, BadAnswer, Http, Patience, plain
from protocol import limits
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.ids import CaseId, Instant, Jti, numeric, uuid7
from protocol.keyset import Keyset, newer, read_keyset
from protocol.problems import PROBLEMS, Place, Refused
from protocol.sayings import Proof
from protocol.statements import Statement, key_of, say
from protocol.terms import Role
from protocol.wire import Answer, CaseAnswer, CaseList, CaseRow, ProblemAnswer, ServiceAnswer, Statements

LONG_POLL: Final = 30  # seconds
CASE_FILE: Final = 64 * limits.MIB  # what `protocol.casefile` reads at most
Model = TypeVar("Model", bound=Answer)


@final
class Line:
    """One authority's line to one gateway. Use inside `async with line.http`."""

    def __init__(
        self,
        home: Home,
        keys: Keys,
        now: Callable[[], Instant],
        entropy: Callable[[int], bytes],
        patience: Patience | None = None,
    ) -> None:
        self.home = home
        self.keys = keys
        self.now = now
        self.outbox = Outbox(home.sent)
        self.http = Http(home.settings.gateway, self._proof, patience=patience)
        self._entropy = entropy
        self._keyset: Keyset | None = None
        self._authority: Authority | None = None

    def jti(self) -> Jti:
        """A new statement's id."""
        return uuid7(self.now(), self._entropy(10))

    def forget(self) -> None:
        """The authority's registry is to be read again: something was said in it."""
        self._authority = None

    async def service(self) -> Keyset:
        """The platform's keyset, under the pinned root and no older than the newest seen. Raises Refused (`keyset-wrong`)."""
        if self._keyset is not None:
            return self._keyset
        settings = self.home.settings
        answer = self.read(await self.http.get_json("/v1"), ServiceAnswer)
        root = key_of(answer.root)
        if root.id != settings.root or answer.platform != settings.platform:
            raise Refused(
                "keyset-wrong",
                detail=f"The gateway shows the root key {root.id} of {answer.platform}, and you pinned {settings.root} of "
                f"{settings.platform}. Nothing was sent. Call the platform over the second line.",
                reason="another root",
            )
        now, file = self.now(), self.home.keyset
        found = read_keyset(answer.keyset.encode(), root, self.home.platform, now)
        held = read_keyset(file.read_bytes(), root, self.home.platform, None) if file.exists() else None
        self._keyset = newer(held, found)
        if held is None or held.version < found.version:
            write(file, found.statement.raw)
        return self._keyset

    async def registry(self) -> Authority:
        """The authority itself, as its verified registry chain makes it."""
        if self._authority is None:
            keyset = await self.service()
            rows = await self._rows(f"/v1/authorities/{self.home.id}/statements")
            chain = RegistryChain.read(rows, keyset)
            if chain.authority is None or chain.authority.id != self.home.id:
                raise Refused("receipt-wrong", reason="registry of another authority")
            self._compared(self.home.id, rows)
            self._authority = chain.authority
        return self._authority

    async def case(self, case: CaseId) -> tuple[Case, Statement]:
        """A case as its verified chain makes it, and its last receipt."""
        known = Known(await self.service(), await self.registry())
        rows = await self._rows(f"/v1/cases/{case}/statements")
        chain = CaseChain.read(rows, known)
        if chain.case is None or chain.receipt is None or (chain.case.id, chain.case.authority) != (case, self.home.id):
            raise Refused("receipt-wrong", reason="rows of another case")
        self._compared(case, rows)
        return chain.case, chain.receipt

    async def cases(self) -> list[CaseRow]:
        """All own cases, oldest first, as the gateway lists them: a table of contents, which nobody signed."""
        found: list[CaseRow] = []
        after: str | None = None
        while True:
            query = {"limit": "200"} | ({} if after is None else {"after": after})
            page = self.read(await self._got("/v1/cases", query), CaseList)
            found += page.cases
            if page.after is None or page.after == after:
                return found
            after = page.after

    async def changed(self, case: CaseId, steps: int) -> None:
        """Return when the case has more than so many steps, or after half a minute."""
        path = f"/v1/cases/{case}"
        headers = {"Prefer": f"wait={LONG_POLL}"}
        try:
            self.read(await self.http.get_json(path, query={"steps": str(steps)}, headers=headers), CaseAnswer)
        except Answered as answered:
            raise refusal(answered) from None

    async def file(self, case: CaseId) -> bytes:
        """The case file, of which nothing is believed yet."""
        return await self.small(f"/v1/cases/{case}/file", CASE_FILE)

    async def small(self, path: str, most: int) -> bytes:
        """A small file."""
        try:
            return await self.http.get_bytes(path, most=most)
        except Answered as answered:
            raise refusal(answered) from None

    def read(self, raw: bytes, model: type[Model]) -> Model:
        """An answer as its model. Raises BadAnswer."""
        try:
            return model.model_validate_json(raw)
        except ValidationError:
            raise BadAnswer(self.http.base, "answer-form") from None

    async def _got(self, path: str, query: dict[str, str] | None = None) -> bytes:
        try:
            return await self.http.get_json(path, query=query)
        except Answered as answered:
            raise refusal(answered) from None

    async def _rows(self, path: str) -> list[Row]:
        answer = self.read(await self._got(path), Statements)
        return [
            Row(row.receipt.encode(), None if row.statement is None else row.statement.encode()) for row in answer.rows
        ]

    def _compared(self, chain: str, rows: list[Row]) -> None:
        """Every receipt that was ever seen stands where it stood; the last one is remembered."""
        for seq, receipt in self.outbox.receipts(chain).items():
            if seq > len(rows) or rows[seq - 1].receipt != receipt:
                raise Refused(
                    "receipt-wrong",
                    detail=f"Row {seq} is gone or another one than was receipted. The receipt is in {self.outbox.folder}.",
                    reason=f"receipt {seq} not among the rows",
                )
        self.outbox.remember(chain, len(rows), rows[-1].receipt)

    def _proof(self, method: str, url: str) -> str | None:
        """A proof for what is read or put; what is posted is signed itself, and GET /v1 is for anyone."""
        if method == "POST" or url == self.http.base + "/v1":
            return None
        now = self.now()
        said = {"iss": self.home.id, "aud": self.home.platform, "iat": numeric(now), "jti": self.jti(), "htm": method}
        proof = Proof.model_validate(said | {"htu": url})
        return "Proof " + say(proof, self.keys.signing, role=Role.AUTHORITY).decode()


def refusal(answered: Answered) -> Refused | Answered:
    """What the gateway refused, if its code is one of ours; else what it answered."""
    if answered.code not in PROBLEMS:
        return answered
    try:
        told = ProblemAnswer.model_validate(answered.problem)
    except ValidationError:
        return Refused(answered.code, detail=answered.detail)
    return Refused(
        answered.code,
        detail=answered.detail,
        places=tuple(_places(told)),
        article=plain(told.article),
        wait=int(answered.wait),
    )


def _places(told: ProblemAnswer) -> Iterable[Place]:
    return (Place(plain(one.pointer), plain(one.expected)) for one in told.errors[:32])
