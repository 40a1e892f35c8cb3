"""Authorities: applying, where an application stands, and the registry statements of operators and of the authority itself."""

from typing import Final, final

from gateway.door import Answer, Asked, Parameter, Parts, Route, Takes
from gateway.intake import Ask
from gateway.proofs import Buckets
from gateway.routes.shared import FORM, READING, receipt, segment, take, verbatim
from protocol.authorities import Authority
from protocol.ids import AUTHORITY_PATTERN, PartyId, parse_authority_id, parse_digest
from protocol.problems import Refused
from protocol.terms import Role
from protocol.wire import Acceptances, AuthorityAnswer, AuthorityList, ReceiptAnswer, Statements

APPLYING: Final = Ask(frozenset({"rogatory-application+jwt"}))
REGISTRY: Final = frozenset({"rogatory-rekey+jwt", "rogatory-admission+jwt", "rogatory-standing+jwt"})
READERS: Final = frozenset({Role.AUTHORITY, Role.OPERATOR})
PER_MINUTE: Final = 30  # ours: applications from one address; nobody applies often
BURST: Final = 30
PAGE: Final = 100
AFTER: Final = Parameter("after", AUTHORITY_PATTERN, "the authority that the last page ended with")


def routes(parts: Parts) -> tuple[Route, ...]:
    """The calls below /v1/authorities."""
    calls = _Calls(parts)
    return (
        Route(
            "POST",
            "/v1/authorities",
            "Apply: an authority presents itself and its keys",
            calls.apply,
            ReceiptAnswer,
            statuses=(201, 200),
            takes=Takes.STATEMENT,
            problems=(*FORM, "authority-exists"),
        ),
        Route(
            "GET",
            "/v1/authorities",
            "All authorities by id, by cursor, for operators",
            calls.listed,
            AuthorityList,
            roles=frozenset({Role.OPERATOR}),
            query=(AFTER,),
            problems=READING,
        ),
        Route(
            "GET",
            "/v1/authorities/{authority}",
            "Where an application stands",
            calls.show,
            AuthorityAnswer,
            roles=READERS,
            active=False,
            problems=READING,
        ),
        Route(
            "GET",
            "/v1/authorities/{authority}/statements",
            "The registry statements of an authority, verbatim, with their receipts",
            calls.statements,
            Statements,
            roles=READERS,
            active=False,
            problems=READING,
        ),
        Route(
            "POST",
            "/v1/authorities/{authority}/statements",
            "A rekey by the authority; an admission or a standing by an operator",
            calls.register,
            ReceiptAnswer,
            statuses=(201, 200),
            takes=Takes.STATEMENT,
            problems=(*FORM, "authority-not-active", "digest-mismatch", "words-wrong"),
        ),
        Route(
            "GET",
            "/v1/authorities/{authority}/acceptances/{statement}",
            "What the desks said of a registry statement",
            calls.acceptances,
            Acceptances,
            roles=frozenset({Role.OPERATOR}),
            problems=READING,
        ),
    )


@final
class _Calls:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._applying = Buckets(per_minute=PER_MINUTE, burst=BURST)

    async def apply(self, asked: Asked) -> Answer:
        """Who applies is nobody yet: what is counted is the address."""
        self._applying.spend(PartyId(asked.peer), asked.now)
        taken = await take(self._parts, asked, APPLYING)
        return receipt(taken, f"/v1/authorities/{taken.chain}")

    async def listed(self, asked: Asked) -> Answer:
        after = asked.query.get("after", "")
        found = [one for one in self._parts.registry.all() if one.id > after]
        page = tuple(AuthorityAnswer.of(one) for one in found[:PAGE])
        return Answer(AuthorityList(authorities=page, after=page[-1].authority if len(found) > PAGE else None))

    async def show(self, asked: Asked) -> Answer:
        return Answer(AuthorityAnswer.of(self._seen(asked)))

    async def statements(self, asked: Asked) -> Answer:
        return verbatim(await self._parts.store.chain(self._seen(asked).id))

    async def register(self, asked: Asked) -> Answer:
        party = segment(asked, "authority", parse_authority_id)
        taken = await take(self._parts, asked, Ask(REGISTRY, party))
        return receipt(taken, f"/v1/authorities/{party}/statements")

    async def acceptances(self, asked: Asked) -> Answer:
        self._seen(asked)
        of = segment(asked, "statement", parse_digest)
        said = await self._parts.store.acceptances(of)
        return Answer(Acceptances(acceptances=tuple(one.decode() for one in said)))

    def _seen(self, asked: Asked) -> Authority:
        """The authority that the path names, if the reader may see it: itself, or an operator."""
        party = segment(asked, "authority", parse_authority_id)
        proof = asked.proven()
        found = self._parts.registry.find(party)
        if found is None or (proof.holder.role is Role.AUTHORITY and proof.issuer != party):
            raise Refused("not-found", reason="no such authority, or another one's")
        return found
