"""Wrong uses that the type checker must keep refusing. Nobody runs this file: `mypy tests/typing` reads it.

Each line that is wrong carries the ignore of the one error that it makes. When a misuse becomes legal, its ignore is unused,
and `warn_unused_ignores` fails the build.
"""

from crypto.keys import (
    Ed25519Key,
    Ed25519Secret,
    KeyId,
    X25519Key,
    X25519Secret,
    fingerprint_words,
    sealing_key_id,
)
from protocol import authorities, casefile, cases, keyset, receipts
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.deadlines import Deadline, due
from protocol.envelope import Envelope, pack
from protocol.frameworks import admit, framework
from protocol.ids import CaseId, Digest, Instant, Jti, PartyId, case_id, digest_of, instant, numeric, uuid7
from protocol.keyset import Keyset, read_keyset
from protocol.problems import Refused
from protocol.receipts import Link, following, linked_authority, linked_case, read_receipt, read_rejection
from protocol.sayings import Claims, Cover, Decision, Proof, Receipt, Request
from protocol.statements import Statement, Step, fresh, read, say
from protocol.terms import Role, Stage, Urgency
from protocol.wire import CaseAnswer


def bytes_are_no_statement(raw: bytes, keys: Known, now: Instant, case: Case, digest: Digest) -> None:
    """Before `read` there are bytes; what wants a Statement does not take them."""
    fresh(raw, now)  # type: ignore[arg-type]
    cases.chain_of(raw)  # type: ignore[arg-type]
    cases.stage_of(raw)  # type: ignore[arg-type]
    authorities.chain_of(raw)  # type: ignore[arg-type]
    receipts.stage_of(raw)  # type: ignore[arg-type]
    Step(Stage.TAKEN, now, digest, raw)  # type: ignore[arg-type]
    linked_case(Link(), case, raw, None)  # type: ignore[arg-type]
    Link.after(raw)  # type: ignore[arg-type]
    read(raw, keys, now).saying(Request).particulars.sha256.encode()
    read(raw.decode(), keys, now)  # type: ignore[arg-type]


def an_unverified_row_is_no_step(row: Row, before: Case | None, authority: Authority | None) -> None:
    """Rows hold bytes; they become steps by being read."""
    cases.advance(before, row)  # type: ignore[arg-type]
    authorities.advance(authority, row)  # type: ignore[arg-type]
    cases.fold([row])  # type: ignore[list-item]
    authorities.fold([row])  # type: ignore[list-item]


def a_statement_is_no_bytes(statement: Statement, keys: Known, chain: CaseChain, now: Instant) -> None:
    """What was read is not read again, nor does it stand where verbatim bytes are kept."""
    read(statement, keys, now)  # type: ignore[arg-type]
    Row(statement)  # type: ignore[arg-type]
    chain.then(statement, keys)  # type: ignore[arg-type]
    pack(Envelope(statement=statement))  # type: ignore[arg-type]
    read_receipt(statement, keys)  # type: ignore[arg-type]


def one_kind_of_id_is_not_another(
    party: PartyId, case: CaseId, digest: Digest, key: KeyId, text: str, ring: Keyset, keys: Known, raw: bytes
) -> None:
    """Ids are parsed or derived, and a text is none."""
    ids: CaseId = party  # type: ignore[assignment]
    ids = digest  # type: ignore[assignment]
    ids = text  # type: ignore[assignment]
    whom: PartyId = case  # type: ignore[assignment]
    whom = text  # type: ignore[assignment]
    named: Jti = case  # type: ignore[assignment]
    named = text  # type: ignore[assignment]
    made: Digest = text  # type: ignore[assignment]
    made = key  # type: ignore[assignment]
    ring.holder(text)  # type: ignore[arg-type]
    ring.holder(digest)  # type: ignore[arg-type]
    keys.holder(party)  # type: ignore[arg-type]
    case_id(1, text)  # type: ignore[arg-type]
    case_id(party, digest)  # type: ignore[arg-type]
    cases.opened_by(text, digest)  # type: ignore[arg-type]
    cases.opened_by(case, text)  # type: ignore[arg-type]
    cases.opened_by(digest, case)  # type: ignore[arg-type]
    read_rejection(raw, keys, text)  # type: ignore[arg-type]
    read_keyset(raw, key, party, None)  # type: ignore[arg-type]
    digest_of(text)  # type: ignore[arg-type]
    fingerprint_words(digest)  # type: ignore[arg-type]
    _ = (ids, whom, named, made)


def time_is_an_instant(
    raw: bytes, keys: Known, statement: Statement, cover: Cover, ring: Keyset, rule: Deadline, entropy: bytes
) -> None:
    """Seconds and texts are no instants, and no clock is read in their place."""
    read(raw, keys, 1_795_000_000)  # type: ignore[arg-type]
    read(raw, keys)  # type: ignore[call-arg]
    fresh(statement)  # type: ignore[call-arg]
    fresh(statement, "2026-11-18")  # type: ignore[arg-type]
    due(rule, 1_795_000_000, cover.urgency)  # type: ignore[arg-type]
    due(rule, instant(0), "emergency")  # type: ignore[arg-type]
    ring.sealing("main")  # type: ignore[call-arg]
    uuid7(entropy, entropy)  # type: ignore[arg-type]
    numeric(1_795_000_000)  # type: ignore[arg-type]


def a_key_has_one_use(
    signing: Ed25519Secret,
    queue: X25519Secret,
    public: Ed25519Key,
    box: X25519Key,
    said: Claims,
    raw: bytes,
    at: Instant,
) -> None:
    """A queue key does not sign, a public key does not either, and no recipient is a key."""
    say(said, queue)  # type: ignore[arg-type]
    say(said, public)  # type: ignore[arg-type]
    say(raw, signing)  # type: ignore[arg-type]
    say(said, signing, role="desk-signing")  # type: ignore[arg-type]
    queue.sign(raw)  # type: ignore[attr-defined]
    box.verify(raw, raw)  # type: ignore[attr-defined]
    read_keyset(raw, box, PartyId("tg.example"), at)  # type: ignore[arg-type]
    read_keyset(raw, signing, PartyId("tg.example"), at)  # type: ignore[arg-type]
    sealing_key_id(box)  # type: ignore[arg-type]
    casefile.verify(raw, root=public.id)  # type: ignore[arg-type]


def what_was_said_is_asked_for_by_its_model(statement: Statement) -> None:
    """A request's members are not read from a receipt, nor any from `Claims`."""
    statement.said.cover  # type: ignore[attr-defined]  # noqa: B018
    statement.saying(Receipt).cover  # type: ignore[attr-defined]  # noqa: B018
    statement.saying(Cover)  # type: ignore[type-var]
    decision: Decision = statement.saying(Request)  # type: ignore[assignment]
    decision.accounts = 7  # type: ignore[misc]
    statement.digest = Digest("0" * 64)  # type: ignore[misc]


def values_do_not_change(case: Case, authority: Authority, ring: Keyset, row: Row, known: Known) -> None:
    """State is computed, never assigned."""
    case.state = cases.State.CLOSED  # type: ignore[misc]
    authority.state = authorities.Registration.ACTIVE  # type: ignore[misc]
    ring.version = 1  # type: ignore[misc]
    row.statement = None  # type: ignore[misc]
    known.authority = None  # type: ignore[misc]
    authority.operators.add("mallory")  # type: ignore[attr-defined]


def an_authority_is_no_case(
    case: Case, authority: Authority, step: Step, receipt: Statement, keys: Known, ring: Keyset, row: Row, jti: Jti
) -> None:
    """Chains of the one kind are not continued with the other's."""
    cases.advance(authority, step)  # type: ignore[arg-type]
    authorities.advance(case, step)  # type: ignore[arg-type]
    authorities.active(case)  # type: ignore[arg-type]
    linked_case(Link(), authority, receipt, None)  # type: ignore[arg-type]
    linked_authority(Link(), case, receipt, receipt)  # type: ignore[arg-type]
    linked_authority(Link(), authority, receipt, None)  # type: ignore[arg-type]
    RegistryChain().then(row, keys)  # type: ignore[arg-type]
    CaseChain().then(row, ring)  # type: ignore[arg-type]
    following(Link(), case.asked, step, platform=keys.platform, jti=jti, salt=b"")  # type: ignore[arg-type]
    CaseAnswer.of(authority)  # type: ignore[arg-type]
    keyset.newer(keys, ring)  # type: ignore[arg-type]


def the_law_takes_covers(request: Request, proof: Proof, urgency: Urgency) -> None:
    """A whole request is not admitted, and a framework is asked for by its name."""
    admit(request)  # type: ignore[arg-type]
    admit(proof)  # type: ignore[arg-type]
    framework(urgency.value).opened("production")  # type: ignore[arg-type]
    raise Refused("stale", places=("/iat",))  # type: ignore[arg-type]


def a_role_is_one_of_ours(ring: Keyset, at: Instant) -> None:
    """Roles are no texts."""
    ring.queue("desk-queue", "main", at)  # type: ignore[arg-type]
    ring.queue(Role.DESK_QUEUE, None, at)  # type: ignore[arg-type]
