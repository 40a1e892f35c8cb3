import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from crypto.keys import Ed25519Secret, P256Secret
from crypto.strict import b64url_decode
from protocol import casefile, limits
from protocol.cases import State
from protocol.ids import CaseId, digest_of
from protocol.sayings import Blob, Request
from protocol.statements import claims, say
from protocol.terms import Outcome, Standing
from protocol.wire import AuthorityAnswer, CaseAnswer, CaseList, Health, ReceiptAnswer, ServiceAnswer, Statements
from tests.actors import Mallory, Officer, Platform, an_answer, part_of
from tests.gateway.doorstep import FROM_DESK, URL, Doorstep, doorstep

ATTACHMENT = b"sealed attachment " * 10
DISCLOSURE = b"sealed disclosure " * 200_000  # 3.6 MB


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Doorstep]:
    async with doorstep(tmp_path, Platform(entities=("main", "eu"), post_quantum=False)) as one:
        yield one


@pytest.fixture
async def officer(gate: Doorstep) -> Officer:
    return await gate.admitted(Officer(gate.platform))


@pytest.fixture
async def stranger(gate: Doorstep) -> Officer:
    return await gate.admitted(Officer(gate.platform, "us-fbi", country="US"))


def without_ids(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: one for name, one in headers.items() if name not in {"Request-Id", "Date", "RateLimit"}}


# what anyone may read


async def test_the_service_says_who_it_is(gate: Doorstep) -> None:
    told = ServiceAnswer.model_validate_json((await gate.get("/v1")).body)
    assert told.platform == "tg.example"
    assert told.entities == ("eu", "main")
    assert told.keyset.encode() == gate.platform.keyset_raw
    assert told.root.model_dump() == gate.platform.root.public.jwk()
    assert told.frameworks[0].id == "eu.e-evidence"
    assert told.limits.body == limits.BODY
    for link in told.links.values():
        assert (await gate.get(link)).status in {200, 401, 404, 405}


async def test_a_root_of_another_kind_of_key_is_told_too(tmp_path: Path) -> None:
    platform = Platform(post_quantum=False)
    platform.root = P256Secret.generate()  # type: ignore[assignment]
    platform.keyset_raw = platform.sign_keyset()
    async with doorstep(tmp_path, platform) as gate:
        assert ServiceAnswer.model_validate_json((await gate.get("/v1")).body).root.kty == "EC"


async def test_security_txt_names_a_contact_and_does_not_end_soon(gate: Doorstep) -> None:
    told = await gate.get("/.well-known/security.txt")
    assert told.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = dict(line.split(": ", 1) for line in told.body.decode().splitlines())
    assert lines["Contact"] == "mailto:security@invalid"
    assert lines["Expires"] == "2027-05-17T11:06:40Z"
    assert lines["Canonical"] == URL + "/.well-known/security.txt"


async def test_a_gateway_that_works_is_alive_and_ready(gate: Doorstep) -> None:
    for path in ("/healthz", "/readyz"):
        told = await gate.get(path)
        assert (told.status, Health.model_validate_json(told.body).status) == (200, "ok")


async def test_a_gateway_without_disk_or_store_says_why_it_is_not_ready(
    gate: Doorstep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.blobs.RESERVE", 1 << 60)
    await gate.gateway.store.close()
    told = await gate.get("/readyz")
    assert told.status == 503
    assert Health.model_validate_json(told.body).reasons == ("store", "disk")
    assert (await gate.get("/healthz")).status == 200


# authorities


async def test_an_application_is_taken_once_and_seen_by_its_sender_and_the_operators(gate: Doorstep) -> None:
    officer = Officer(gate.platform)
    raw = officer.application()
    first = await gate.post("/v1/authorities", raw)
    assert (first.status, first.headers["Location"]) == (201, f"/v1/authorities/{officer.party}")
    again = await gate.post("/v1/authorities", raw)
    assert (again.status, again.body) == (200, first.body)
    ReceiptAnswer.model_validate_json(first.body)
    for reader in (officer, gate.platform.alice):
        told = AuthorityAnswer.model_validate_json((await gate.get(first.headers["Location"], reader)).body)
        assert (told.state, told.confirmations, told.application) == ("pending", 0, digest_of(raw))


async def test_an_authority_sees_its_registration_in_every_state_and_no_case_when_it_is_not_active(
    gate: Doorstep, officer: Officer
) -> None:
    case = await gate.opened(officer)
    told = await gate.post(f"/v1/authorities/{officer.party}/statements", gate.platform.alice.standing(officer.party))
    assert told.status == 201
    mine = f"/v1/authorities/{officer.party}"
    assert (await gate.get(mine, officer)).told["state"] == "suspended"
    assert len(Statements.model_validate_json((await gate.get(mine + "/statements", officer)).body).rows) == 4
    for path in ("/v1/cases", f"/v1/cases/{case}", f"/v1/cases/{case}/statements", f"/v1/cases/{case}/file"):
        assert (await gate.get(path, officer)).code == "authority-not-active"
    assert (await gate.put(ATTACHMENT, officer)).code == "authority-not-active"
    restored = gate.platform.bob.standing(officer.party, Standing.ACTIVE)
    assert (await gate.post(mine + "/statements", restored)).status == 201
    assert (await gate.get(f"/v1/cases/{case}", officer)).status == 200


async def test_another_authority_is_as_one_that_does_not_exist(
    gate: Doorstep, officer: Officer, stranger: Officer
) -> None:
    for below in ("", "/statements"):
        other = await gate.get(f"/v1/authorities/{officer.party}{below}", stranger)
        none = await gate.get(f"/v1/authorities/kr-nobody{below}", stranger)
        assert other.code == none.code == "not-found"
        assert other.body == none.body
        assert without_ids(other.headers) == without_ids(none.headers)


async def test_a_rekeyed_authority_reads_with_its_new_key_alone(gate: Doorstep, officer: Officer) -> None:
    gate.forward(seconds=1)
    new = Ed25519Secret.generate()
    rekey = officer.rekey(new)
    assert (await gate.post(f"/v1/authorities/{officer.party}/statements", rekey)).status == 201
    gate.forward(seconds=1)
    assert (await gate.get("/v1/cases", officer)).code == "key-not-active"
    officer.secret = new
    assert (await gate.get("/v1/cases", officer)).status == 200


async def test_a_registry_statement_under_another_address_is_not_found(
    gate: Doorstep, officer: Officer, stranger: Officer
) -> None:
    standing = gate.platform.alice.standing(officer.party)
    assert (await gate.post(f"/v1/authorities/{stranger.party}/statements", standing)).code == "not-found"
    assert (await gate.post("/v1/authorities", standing)).code == "type-refused"
    assert (await gate.post("/v1/cases", officer.application())).code == "type-refused"


async def test_an_operator_sees_what_the_desks_said_of_a_standing(gate: Doorstep, officer: Officer) -> None:
    standing = gate.platform.alice.standing(officer.party)
    await gate.post(f"/v1/authorities/{officer.party}/statements", standing)
    path = f"/v1/authorities/{officer.party}/acceptances/{digest_of(standing)}"
    assert (await gate.get(path, gate.platform.bob)).told == {"acceptances": []}
    said = gate.platform.desk.registered(officer.party, digest_of(standing))
    await gate.gateway.store.accepted("main", digest_of(standing), said)
    assert (await gate.get(path, gate.platform.bob)).told == {"acceptances": [said.decode()]}
    assert (await gate.get(path, officer)).code == "type-refused"
    assert (await gate.get(path[:-1], gate.platform.bob)).code == "not-found"


async def test_applications_from_one_address_are_counted(gate: Doorstep) -> None:
    codes = [(await gate.send("/v1/authorities", b'{"statement":"x"}')).code for _ in range(31)]
    assert codes == ["token-form"] * 30 + ["too-many"]


# cases


async def test_a_request_opens_a_case_that_its_authority_alone_sees(
    gate: Doorstep, officer: Officer, stranger: Officer
) -> None:
    sent = officer.request(reference="KR-2026/7")
    first = await gate.post("/v1/cases", *sent)
    again = await gate.post("/v1/cases", *sent)
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    where = first.headers["Location"]
    assert first.headers["RateLimit"].startswith('"party";r=')
    told = CaseAnswer.model_validate_json((await gate.get(where, officer)).body)
    assert (told.state, told.steps, told.overdue, told.accepted) == ("received", 1, False, None)
    for below in ("", "/statements", "/file"):
        other = await gate.get(where + below, stranger)
        none = await gate.get(f"/v1/cases/00000000-0000-8000-8000-000000000000{below}", stranger)
        assert other.code == none.code == "not-found"
        assert other.body == none.body
        assert without_ids(other.headers) == without_ids(none.headers)
    withdrawal = stranger.withdrawal(CaseId(told.case))
    assert (await gate.post(where + "/statements", withdrawal)).code == "not-found"


async def test_cases_are_listed_by_cursor_oldest_first(gate: Doorstep, officer: Officer, stranger: Officer) -> None:
    mine = []
    for _ in range(5):
        mine.append(await gate.opened(officer))
        gate.forward(seconds=1)
    await gate.opened(stranger)
    pages, after = [], ""
    while not pages or pages[-1].after is not None:
        pages.append(CaseList.model_validate_json((await gate.get(f"/v1/cases?limit=2{after}", officer)).body))
        after = f"&after={pages[-1].after}"
    assert [one.case for page in pages for one in page.cases] == mine
    assert [len(page.cases) for page in pages] == [2, 2, 1]
    assert len((await gate.get("/v1/cases?limit=5", officer)).told["cases"]) == 5
    assert (await gate.get("/v1/cases?limit=5", officer)).told["after"] is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid-member"),
        ("limit=201", "invalid-member"),
        ("limit=", "invalid-member"),
        ("limit=-1", "invalid-member"),
        ("after=x", "invalid-member"),
        ("after=00000000-0000-4000-8000-000000000000", "invalid-member"),
        ("before=1", "unknown-member"),
        ("limit=1&limit=2", "doubled-member"),
        ("limit", "invalid-member"),
        ("limit=%31", "invalid-member"),
        ("&", "invalid-member"),
    ],
)
async def test_a_query_is_read_strictly(gate: Doorstep, officer: Officer, query: str, code: str) -> None:
    assert (await gate.get(f"/v1/cases?{query}", officer)).code == code


async def test_a_long_poll_ends_with_the_next_step(gate: Doorstep, officer: Officer) -> None:
    case = await gate.opened(officer)
    waiting = asyncio.create_task(gate.get(f"/v1/cases/{case}?steps=1", officer, Prefer="respond-async, wait=20"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert (await gate.post(f"/v1/cases/{case}/statements", officer.withdrawal(case))).status == 201
    told = await asyncio.wait_for(waiting, 2)
    assert (told.told["state"], told.told["steps"]) == ("withdrawn", 2)
    assert told.headers["Preference-Applied"] == "wait=20"


async def test_a_long_poll_answers_at_once_who_knows_less_and_in_time_who_knows_all(
    gate: Doorstep, officer: Officer
) -> None:
    case = await gate.opened(officer)
    async with asyncio.timeout(2):
        assert (await gate.get(f"/v1/cases/{case}?steps=0", officer, Prefer="wait=30")).told["steps"] == 1
        assert (await gate.get(f"/v1/cases/{case}", officer, Prefer="wait=1")).told["steps"] == 1
        assert "Preference-Applied" not in (await gate.get(f"/v1/cases/{case}", officer, Prefer="wait=x")).headers


async def test_long_polls_take_no_more_than_half_of_the_places(tmp_path: Path) -> None:
    async with doorstep(tmp_path, in_flight=4) as gate:
        officer = await gate.admitted(Officer(gate.platform))
        case = await gate.opened(officer)
        path = f"/v1/cases/{case}"
        waiting = [asyncio.create_task(gate.get(path, officer, Prefer="wait=20")) for _ in range(2)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(1):
            assert (await gate.get(path, officer, Prefer="wait=20")).status == 200
        await gate.post(path + "/statements", officer.withdrawal(case))
        for one in waiting:
            assert (await one).told["state"] == "withdrawn"


async def test_a_case_is_given_out_verbatim_and_as_a_file_that_verifies(gate: Doorstep, officer: Officer) -> None:
    sent = officer.request()
    case = CaseId((await gate.post("/v1/cases", *sent)).headers["Location"].rpartition("/")[2])
    await gate.decided(case, DISCLOSURE)
    rows = Statements.model_validate_json((await gate.get(f"/v1/cases/{case}/statements", officer)).body).rows
    assert [row.seq for row in rows] == [1, 2, 3]
    assert rows[0].statement == sent.statement.decode()
    told = await gate.get(f"/v1/cases/{case}/file", officer)
    assert told.headers["Content-Type"] == "application/zip"
    assert told.headers["Content-Disposition"] == f'attachment; filename="case-{case}.zip"'
    found = casefile.verify(told.body, root=gate.platform.root.public)
    assert (found.case.id, found.case.state) == (case, State.ANSWERED)
    with zipfile.ZipFile(io.BytesIO(told.body)) as archive:
        assert archive.read(f"sealed/{digest_of(sent.sealed)}.age") == sent.sealed


@pytest.mark.parametrize("sealed", ["not base64", "AAA", "AAAA\n", "AA==AAAA", "AB==", "_-_-", "é", ""])
async def test_a_sealed_part_has_one_spelling(gate: Doorstep, officer: Officer, sealed: str) -> None:
    statement = officer.request().statement.decode()
    told = await gate.ask("POST", "/v1/cases", json={"statement": statement, "sealed": sealed})
    assert (told.code, told.told["errors"][0]["pointer"]) == ("invalid-member", "/sealed")


@pytest.mark.parametrize("beyond", [0, 1, 2, 3])
async def test_a_sealed_part_is_no_longer_than_a_queue_entry_can_carry(
    gate: Doorstep, officer: Officer, beyond: int
) -> None:
    """Base64 comes in groups of three bytes: a bound on its length alone let up to three bytes pass that no desk takes."""
    sealed = bytes(limits.SEALED + beyond)
    part = part_of(sealed, [gate.platform.desk.recipient])
    honest = claims(b64url_decode(officer.request().statement.split(b".")[1]), Request)
    told = await gate.post("/v1/cases", say(honest.model_copy(update={"particulars": part}), officer.secret), sealed)
    assert (told.status, told.code) == ((422, "invalid-member") if beyond else (201, None))


async def test_a_refusal_of_a_known_sender_is_signed(gate: Doorstep, officer: Officer) -> None:
    sent = officer.request(entity="eu", recipients=[gate.platform.desk.recipient])
    told = (await gate.post("/v1/cases", *sent)).told
    assert told["code"] == "recipient-unknown"
    assert told["rejection"].count(".") == 2
    assert "rejection" not in (await gate.post("/v1/cases", Mallory.flipped(sent.statement, 2), sent.sealed)).told


# blobs


async def test_an_attachment_is_put_named_and_read_by_its_sender_and_its_desk(
    gate: Doorstep, officer: Officer, stranger: Officer
) -> None:
    path = f"/v1/blobs/{digest_of(ATTACHMENT)}"
    first = await gate.put(ATTACHMENT, officer)
    assert (first.status, first.told) == (201, {"sha256": digest_of(ATTACHMENT), "size": len(ATTACHMENT)})
    assert (await gate.put(ATTACHMENT, officer)).status == 200
    assert (await gate.get(path, officer)).body == ATTACHMENT
    for other in (stranger, gate.platform.desk, gate.platform.desks["eu"]):
        assert (await gate.get(path, other)).code == "not-found"
    blobs = (Blob(sha256=digest_of(ATTACHMENT), size=len(ATTACHMENT)),)
    await gate.opened(officer, blobs=blobs)
    assert (await gate.get(path, gate.platform.desk)).body == ATTACHMENT
    for other in (stranger, gate.platform.desks["eu"]):
        assert (await gate.get(path, other)).code == "not-found"
    assert (await gate.get(path, gate.platform.alice)).code == "type-refused"


async def test_a_blob_that_another_sent_is_not_told_of(gate: Doorstep, officer: Officer, stranger: Officer) -> None:
    """Who has the bytes gets the answer that he would get anyway; who has not learns nothing."""
    await gate.put(ATTACHMENT, officer)
    assert (await gate.put(b"guess", stranger, digest_of(ATTACHMENT))).code == "digest-mismatch"
    assert (await gate.put(b"guess", stranger, digest_of(b"nothing"))).code == "digest-mismatch"
    assert (await gate.put(ATTACHMENT, stranger)).status == 201
    assert (await gate.get(f"/v1/blobs/{digest_of(ATTACHMENT)}", stranger)).code == "not-found"


async def test_a_blob_that_the_disk_lost_can_be_put_again(gate: Doorstep, officer: Officer) -> None:
    await gate.put(ATTACHMENT, officer)
    await gate.gateway.blobs.remove(digest_of(ATTACHMENT))
    assert (await gate.get(f"/v1/blobs/{digest_of(ATTACHMENT)}", officer)).code == "internal"
    assert (await gate.put(ATTACHMENT, officer)).status == 200
    assert (await gate.get(f"/v1/blobs/{digest_of(ATTACHMENT)}", officer)).body == ATTACHMENT


async def test_an_attachment_has_a_limit_and_a_disclosure_none(
    gate: Doorstep, officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routes.blobs.MOST", {"authority": 100, "desk-signing": None})
    before = await gate.kept()
    assert (await gate.put(b"x" * 101, officer)).code == "too-large"

    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(101):
            yield b"x"

    path = f"/v1/blobs/{digest_of(b'x' * 101)}"
    told = await gate.ask("PUT", path, officer, data=chunked(), headers={"Content-Type": "application/octet-stream"})
    assert told.code == "too-large"
    assert await gate.kept() == before
    assert (await gate.put(b"x" * 101, gate.platform.desk)).status == 201


async def test_a_blob_of_another_digest_or_type_leaves_nothing(gate: Doorstep, officer: Officer) -> None:
    before = await gate.kept()
    assert (await gate.put(ATTACHMENT, officer, digest_of(b"another"))).code == "digest-mismatch"
    assert (await gate.put(b"", officer)).code == "digest-mismatch"
    path = f"/v1/blobs/{digest_of(ATTACHMENT)}"
    told = await gate.ask("PUT", path, officer, data=ATTACHMENT, headers={"Content-Type": "text/plain"})
    assert told.code == "media-type"
    assert (await gate.put(ATTACHMENT, gate.platform.alice)).code == "type-refused"
    assert await gate.kept() == before


async def test_a_disclosure_is_fetched_in_parts_and_its_last_byte_delivers_the_case(
    gate: Doorstep, officer: Officer, stranger: Officer
) -> None:
    case = await gate.opened(officer)
    await gate.decided(case, DISCLOSURE)
    digest, path = digest_of(DISCLOSURE), f"/v1/blobs/{digest_of(DISCLOSURE)}"
    assert (await gate.get(path, stranger)).code == "not-found"
    assert (await gate.get(path, gate.platform.desks["eu"])).code == "not-found"
    first = await gate.get(path, officer, Range="bytes=0-999999")
    assert (first.status, len(first.body)) == (206, 1_000_000)
    assert first.headers["ETag"] == f'"{digest}"'
    assert first.headers["Content-Range"] == f"bytes 0-999999/{len(DISCLOSURE)}"
    assert first.headers["Content-Disposition"] == f'attachment; filename="{digest}.age"'
    assert first.headers["Cache-Control"] == "no-store"
    assert (await gate.case(case)).state is State.ANSWERED
    assert (await gate.get(path, gate.platform.desk)).body == DISCLOSURE  # the desk's own look delivers nothing
    assert (await gate.case(case)).state is State.ANSWERED
    rest = await gate.get(path, officer, Range="bytes=1000000-", If_Range=first.headers["ETag"])
    assert first.body + rest.body == DISCLOSURE
    async with asyncio.timeout(5):
        while (await gate.case(case)).state is not State.DELIVERED:
            await asyncio.sleep(0.01)
    spliced = await gate.get(path, officer, Range="bytes=1000000-", If_Range='"another version"')
    assert (spliced.status, spliced.body) == (200, DISCLOSURE)


async def test_conditions_are_judged_by_the_digest(gate: Doorstep, officer: Officer) -> None:
    await gate.put(ATTACHMENT, officer)
    path, tag = f"/v1/blobs/{digest_of(ATTACHMENT)}", f'"{digest_of(ATTACHMENT)}"'
    assert (await gate.get(path, officer, If_Match='"other"')).code == "precondition-failed"
    held = await gate.get(path, officer, If_None_Match=tag)
    assert (held.status, held.body, held.headers["ETag"]) == (304, b"", tag)
    beyond = await gate.get(path, officer, Range="bytes=100000-")
    assert (beyond.code, beyond.headers["Content-Range"]) == ("range-refused", f"bytes */{len(ATTACHMENT)}")


async def test_sealed_parts_are_read_like_blobs(gate: Doorstep, officer: Officer, stranger: Officer) -> None:
    case = await gate.opened(officer)
    await gate.decided(case, outcome=Outcome.NO_DATA)
    decided = (await gate.case(case)).decided
    assert decided is not None
    assert decided.explanation is not None
    path = f"/v1/blobs/{decided.explanation.sha256}"
    whole = await gate.get(path, officer)
    assert digest_of(whole.body) == decided.explanation.sha256
    part = await gate.get(path, officer, Range="bytes=3-5")
    assert (part.status, part.body) == (206, whole.body[3:6])
    assert (await gate.get(path, officer, If_None_Match=f'"{decided.explanation.sha256}"')).status == 304
    assert (await gate.get(path, gate.platform.desk)).status == 200
    for other in (stranger, gate.platform.desks["eu"]):
        assert (await gate.get(path, other)).code == "not-found"


async def test_the_disclosures_of_a_superseded_decision_are_gone(gate: Doorstep, officer: Officer) -> None:
    case = await gate.opened(officer)
    await gate.decided(case, DISCLOSURE)
    path = f"/v1/blobs/{digest_of(DISCLOSURE)}"
    assert (await gate.get(path, officer, Range="bytes=0-1")).status == 206
    failed = officer.acknowledgement(await gate.case(case), "not-opened")
    assert (await gate.post(f"/v1/cases/{case}/statements", failed)).status == 201
    better = b"sealed anew"
    assert (await gate.put(better, gate.platform.desk)).status == 201
    members = {"disclosures": (an_answer(better),)}
    decision = gate.platform.desk.decision(await gate.case(case), Outcome.DISCLOSED, **members)
    await gate.gateway.intake.take(decision, None, gate.clock.now(), FROM_DESK)
    assert (await gate.get(path, officer)).code == "not-found"
    assert (await gate.get(f"/v1/blobs/{digest_of(better)}", officer)).body == better


@pytest.mark.parametrize(
    "path",
    [
        "/v1/blobs/" + "A" * 64,
        "/v1/blobs/" + "0" * 63,
        "/v1/blobs/..%2f..%2fgateway.db",
        "/v1/blobs/../gateway.db",
        "/v1/cases/../cases",
        "/v1/cases/..%2f",
        "/v1/cases/x",
        "/v1/cases/",
        "//v1/cases",
        "/v1/cases/%2e%2e/cases",
        "/v1/cases;x=1",
        "/v1/authorities/KR-KNPA",
        "/v1/authorities/kr-knpa-cyber%00",
        "/v1/authorities/kr-knpa-cyber\\",
        "/V1/cases",
    ],
)
async def test_an_id_with_tricks_is_not_found(gate: Doorstep, officer: Officer, path: str) -> None:
    proof = officer.proof("GET", URL + path)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Proof {proof.decode()}\r\nConnection: close\r\n\r\n"
    came = await gate.wire(head.encode())
    assert came.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"not-found"' in came


async def test_operators_list_the_authorities_page_by_page(
    gate: Doorstep, officer: Officer, stranger: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routes.authorities.PAGE", 1)
    first = (await gate.get("/v1/authorities", gate.platform.alice)).told
    assert ([one["authority"] for one in first["authorities"]], first["after"]) == ([officer.party], officer.party)
    last = (await gate.get(f"/v1/authorities?after={first['after']}", gate.platform.alice)).told
    assert ([one["authority"] for one in last["authorities"]], last["after"]) == ([stranger.party], None)
    assert (await gate.get("/v1/authorities", officer)).code == "type-refused"
