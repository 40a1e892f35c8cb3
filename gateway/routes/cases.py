"""Cases: requests and what follows them, and what their own authority may read. What is another's does not exist."""

import asyncio
import re
from typing import Final, final

from crypto.keys import PublicKey
from gateway.door import Answer, Asked, Parameter, Parts, Route, Takes
from gateway.intake import Ask
from gateway.routes.shared import FORM, READING, receipt, segment, take, verbatim
from protocol import casefile
from protocol.cases import Case
from protocol.ids import UUID8_PATTERN, CaseId, Digest, numeric, parse_case_id
from protocol.problems import Refused
from protocol.terms import Role
from protocol.wire import CaseAnswer, CaseList, CaseRow, ReceiptAnswer, Statements

ASKING: Final = Ask(frozenset({"rogatory-request+jwt"}))
FOLLOWING: Final = frozenset({"rogatory-supplement+jwt", "rogatory-withdrawal+jwt", "rogatory-acknowledgement+jwt"})
OWNER: Final = frozenset({Role.AUTHORITY})
PAGE: Final = 50
MOST: Final = 200
LONGEST_WAIT: Final = 30.0  # seconds of a long poll
LOOK: Final = 1.0  # seconds after which a long poll sees whether the gateway is stopping
LAW: Final = (
    "authority-not-active",
    "framework-unknown",
    "kind-not-allowed",
    "category-not-allowed",
    "entity-unknown",
    "recipient-unknown",
    "sealed-missing",
    "sealed-unexpected",
    "digest-mismatch",
    "blob-missing",
)
_WAIT: Final = re.compile(r"(?:^|.*[,;]\s*)wait=(\d{1,6})(?:\s*[,;].*)?", re.ASCII)  # RFC 7240 §4.3


def routes(parts: Parts, root: PublicKey) -> tuple[Route, ...]:
    """The calls below /v1/cases."""
    calls = _Calls(parts, root)
    readable = (*READING, "authority-not-active")
    return (
        Route(
            "POST",
            "/v1/cases",
            "A request; opens a case",
            calls.ask,
            ReceiptAnswer,
            statuses=(201, 200),
            takes=Takes.STATEMENT,
            problems=(*FORM, *LAW),
        ),
        Route(
            "GET",
            "/v1/cases",
            "Own cases, oldest first, by cursor",
            calls.all,
            CaseList,
            roles=OWNER,
            query=(
                Parameter("after", UUID8_PATTERN, "the case id that the last page ended with"),
                Parameter("limit", r"[1-9]\d?|1\d\d|200", "1 to 200 cases"),
            ),
            problems=readable,
        ),
        Route(
            "GET",
            "/v1/cases/{case}",
            "State, deadline and answer of a case. With `Prefer: wait=30` it waits for a step",
            calls.show,
            CaseAnswer,
            roles=OWNER,
            query=(Parameter("steps", r"\d{1,6}", "how many steps the caller knows"),),
            headers=("Prefer",),
            problems=readable,
        ),
        Route(
            "GET",
            "/v1/cases/{case}/statements",
            "The statements of a case, verbatim, with their receipts",
            calls.statements,
            Statements,
            roles=OWNER,
            problems=readable,
        ),
        Route(
            "POST",
            "/v1/cases/{case}/statements",
            "A supplement, a withdrawal or an acknowledgement",
            calls.follow,
            ReceiptAnswer,
            statuses=(201, 200),
            takes=Takes.STATEMENT,
            problems=(*FORM, *LAW),
        ),
        Route(
            "GET",
            "/v1/cases/{case}/file",
            "The case file: everything said, to be verified offline",
            calls.file,
            "application/zip",
            roles=OWNER,
            problems=readable,
        ),
    )


@final
class _Calls:
    def __init__(self, parts: Parts, root: PublicKey) -> None:
        self._parts = parts
        self._root = root
        self._waiting = 0

    async def ask(self, asked: Asked) -> Answer:
        taken = await take(self._parts, asked, ASKING)
        case = CaseId(taken.chain)
        asked.party = await self._parts.store.owner(case)
        return receipt(taken, f"/v1/cases/{case}")

    async def follow(self, asked: Asked) -> Answer:
        case = segment(asked, "case", parse_case_id)
        taken = await take(self._parts, asked, Ask(FOLLOWING, case))
        asked.party = await self._parts.store.owner(case)
        return receipt(taken, f"/v1/cases/{case}/statements")

    async def all(self, asked: Asked) -> Answer:
        """One row more than asked for is read, to know whether there is another page."""
        limit = int(asked.query.get("limit", PAGE))
        after = asked.query.get("after")
        cursor = None if after is None else parse_case_id(after)
        found = await self._parts.store.cases(asked.proven().issuer, cursor, limit + 1)
        page = tuple(
            CaseRow(
                case=row.case,
                state=row.state,
                received=numeric(row.received),
                due=None if row.due is None else numeric(row.due),
            )
            for row in found[:limit]
        )
        return Answer(CaseList(cases=page, after=found[limit - 1].case if len(found) > limit else None))

    async def show(self, asked: Asked) -> Answer:
        case = await self._own(asked)
        wait = _wait(asked.field("Prefer"))
        if wait is None:
            return Answer(CaseAnswer.of(case))
        known = int(asked.query.get("steps", case.steps))
        if case.steps <= known:
            case = await self._changed(case, known, wait, asked)
        return Answer(CaseAnswer.of(case), headers={"Preference-Applied": f"wait={int(wait)}"})

    async def statements(self, asked: Asked) -> Answer:
        return verbatim(await self._parts.store.chain(await self._owned(asked)))

    async def file(self, asked: Asked) -> Answer:
        case = await self._own(asked)
        store, registry = self._parts.store, self._parts.registry
        sealed: dict[Digest, bytes] = {}
        for part in case.sealed:
            if (found := await store.sealed(Digest(part.sha256))) is not None:
                sealed[Digest(part.sha256)] = found[0]
        parts = casefile.Parts(
            platform=registry.platform,
            root=self._root,
            keyset=registry.keyset.statement.raw,
            authority=await store.chain(case.authority),
            case=await store.chain(case.id),
            sealed=sealed,
        )
        raw = await asyncio.to_thread(casefile.write, parts)
        name = {"Content-Disposition": f'attachment; filename="case-{case.id}.zip"'}
        return Answer(raw, headers=name, media="application/zip")

    async def _owned(self, asked: Asked) -> CaseId:
        """The case that the path names, if it is the reader's."""
        case = segment(asked, "case", parse_case_id)
        if await self._parts.store.owner(case) != asked.proven().issuer:
            raise Refused("not-found", reason="no such case, or another authority's")
        return case

    async def _own(self, asked: Asked) -> Case:
        found = (await self._parts.intake.case(await self._owned(asked))).case
        if found is None:
            raise RuntimeError("a case of the index without rows")
        return found

    async def _changed(self, case: Case, known: int, wait: float, asked: Asked) -> Case:
        """Wait for a row after the ones known. Half of the places are for calls that do not wait."""
        if self._waiting >= self._parts.settings.in_flight // 2:
            return case
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        self._waiting += 1
        try:
            while (left := until - clock()) > 0 and not asked.leaving():
                await self._parts.arrivals.wait(case.id, min(left, LOOK))
                if len(await self._parts.store.chain(case.id)) > known:
                    break
        finally:
            self._waiting -= 1
        return await self._own(asked)


def _wait(prefer: str | None) -> float | None:
    """How long the caller is ready to wait, at most half a minute. What is not understood is ignored (RFC 7240 §2)."""
    found = None if prefer is None else _WAIT.fullmatch(prefer)
    return None if found is None else min(float(found[1]), LONGEST_WAIT)
