"""The client against a real gateway: what it believes, what it keeps, what it sends again, and what it never sends."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from authority.client import SETTLED
from channels.http import Answered as HttpAnswered
from channels.http import BadAnswer, Unreachable
from crypto.keys import Ed25519Secret
from protocol import limits
from protocol.authorities import Registration
from protocol.cases import State
from protocol.ids import CaseId
from protocol.problems import Refused
from protocol.terms import Outcome, Withdrawn
from tests.actors import Mallory
from tests.authority.stage import CANARY, Answered, Break, Stage

UNKNOWN = CaseId("01a20c57-4680-8248-9ad8-d6f276400953")


def posts(stage: Stage) -> list[str]:
    return [path for method, path in stage.seen if method == "POST"]


def owed(stage: Stage) -> list[Path]:
    return sorted(stage.folder.glob("kr-*/sent/*.owed"))


async def test_an_application_gives_the_words_to_be_read_out_and_stands_pending(stage: Stage) -> None:
    async with stage.client(stage.home()) as client:
        receipted, authority = await client.apply()
        assert (authority.state, receipted.promise.seq, len(authority.words)) == (Registration.PENDING, 1, 10)
        assert authority.application.digest == receipted.digest
        with pytest.raises(Refused, match="authority-not-active"):
            await client.request(stage.order())
    assert posts(stage) == ["/v1/authorities"]
    assert owed(stage) == []


async def test_a_request_opens_a_case_with_a_receipt_and_a_due_time(stage: Stage) -> None:
    async with stage.admitted() as client:
        receipted, case = await client.request(stage.order())
        assert (case.state, receipted.promise.case, case.request.digest) == (State.RECEIVED, case.id, receipted.digest)
        assert receipted.promise.due is not None
        assert [row.case for row in await client.line.cases()] == [case.id]
        await stage.accepts(case)
        receipted, case = await client.supplement(case.id, stage.order(facts="More."))
        assert (case.state, receipted.promise.seq) == (State.IN_REVIEW, 3)
        receipted, case = await client.withdraw(case.id, Withdrawn.MISTAKEN)
        assert (case.state, receipted.promise.seq) == (State.WITHDRAWN, 4)


async def test_what_the_law_does_not_open_is_refused_before_anything_is_sent(stage: Stage) -> None:
    async with stage.client(stage.home()) as client:
        with pytest.raises(Refused, match="framework-unknown"):
            await client.request(stage.order(framework="xx.unknown"))
    assert stage.seen == []


async def test_an_entity_without_a_desk_gets_nothing(stage: Stage) -> None:
    async with stage.admitted() as client:
        with pytest.raises(Refused, match="entity-unknown"):
            await client.request(stage.order(entity="eu"))
    assert posts(stage) == ["/v1/authorities"]


async def test_a_gateway_with_another_root_gets_not_one_statement(stage: Stage) -> None:
    async with stage.client(stage.home(root=Ed25519Secret.generate().public.id)) as client:
        with pytest.raises(Refused) as caught:
            await client.apply()
    assert (caught.value.code, stage.seen) == ("keyset-wrong", [("GET", "/v1")])
    assert stage.platform.root.public.id in caught.value.detail


async def test_a_gateway_of_another_platform_gets_not_one_statement(stage: Stage) -> None:
    async with stage.client(stage.home(platform="other.example")) as client:
        with pytest.raises(Refused, match="keyset-wrong"):
            await client.apply()
    assert stage.seen == [("GET", "/v1")]


async def test_a_keyset_by_another_hand_stops_everything(stage: Stage) -> None:
    other = Mallory(Ed25519Secret.generate()).claims(stage.platform.keyset_raw).decode()

    def swapped(answered: Answered) -> None:
        answered.says(**json.loads(answered.body) | {"keyset": other})

    stage.bend = swapped
    async with stage.client(stage.home()) as client:
        with pytest.raises(Refused, match="keyset-wrong"):
            await client.apply()
    assert stage.seen == [("GET", "/v1")]


async def test_an_older_keyset_than_the_one_seen_is_refused_and_the_newest_is_kept(stage: Stage) -> None:
    newer = stage.platform.sign_keyset(version=7).decode()
    home = stage.home()

    def renewed(answered: Answered) -> None:
        answered.says(**json.loads(answered.body) | {"keyset": newer})

    stage.bend = renewed
    for _ in range(2):
        async with stage.client(home) as client:
            assert (await client.line.service()).version == 7
    stage.bend = lambda _: None
    async with stage.client(home) as client:
        with pytest.raises(Refused, match="keyset-wrong"):
            await client.line.service()
    assert home.keyset.read_text() == newer


@pytest.mark.parametrize("when", ["before the gateway", "after the gateway"])
async def test_what_was_signed_is_kept_over_a_break_and_sent_again_as_it_was(stage: Stage, when: str) -> None:
    async with stage.admitted() as client:
        await client.line.registry()
        if when == "before the gateway":
            stage.down = True
        else:
            stage.bend = breaks
        with pytest.raises(Unreachable):
            await client.request(stage.order())
        kept = owed(stage)[0]
        assert kept.stat().st_mode & 0o777 == 0o600
        assert CANARY not in kept.read_text()
        statement = json.loads(kept.read_text())["statement"]
        stage.down, stage.bend = False, lambda _: None
    async with stage.client(client.line.home) as again:
        (resent,) = await again.resend()
        assert resent.receipted is not None
        assert await again.resend() == []
        case, _ = await again.line.case(CaseId(resent.receipted.promise.case or ""))
        assert case.request.raw.decode() == statement
        assert len(await again.line.cases()) == 1
    assert owed(stage) == []


def breaks(answered: Answered) -> None:
    """The gateway has it, and its answer is lost."""
    if answered.method == "POST":
        raise Break


async def test_attachments_go_first_and_are_kept_until_the_receipt(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "order.pdf").write_bytes(CANARY.encode() * 1_000)
    moved: list[tuple[int, int]] = []
    async with stage.admitted() as client:
        client.progress = lambda *at: moved.append(at)
        stage.bend = breaks
        with pytest.raises(Unreachable):
            await client.request(stage.order(attachments=[str(tmp_path / "order.pdf")]))
        stage.bend = lambda _: None
        (sealed,) = (client.line.outbox.folder / "blobs").iterdir()
        assert CANARY.encode() not in sealed.read_bytes()
        (resent,) = await client.resend()
        assert resent.receipted is not None
        case, _ = await client.line.case(CaseId(resent.receipted.promise.case or ""))
    (blob,) = case.asked.cover.blobs
    assert (blob.sha256 + ".age", moved[-1]) == (sealed.name, (blob.size, blob.size))
    assert list((client.line.outbox.folder / "blobs").iterdir()) == []


async def test_a_blob_that_is_refused_for_good_moves_its_statement_aside(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "order.pdf").write_bytes(b"x")

    def refuses(answered: Answered) -> None:
        if answered.method == "PUT":
            answered.status = 413
            answered.says(code="too-large", detail="Too large.")

    async with stage.admitted() as client:
        stage.bend = refuses
        with pytest.raises(Refused, match="too-large"):
            await client.request(stage.order(attachments=[str(tmp_path / "order.pdf")]))
    assert owed(stage) == []
    assert len(list((client.line.outbox.folder / "refused").iterdir())) == 1


async def test_a_blob_that_is_refused_for_now_leaves_its_statement_owed(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "order.pdf").write_bytes(b"x")

    def refuses(answered: Answered) -> None:
        if answered.method == "PUT":
            answered.status = 500
            answered.says(code="internal", detail="Later.")

    async with stage.admitted() as client:
        stage.bend = refuses
        with pytest.raises(Refused, match="internal"):
            await client.request(stage.order(attachments=[str(tmp_path / "order.pdf")]))
    assert len(owed(stage)) == 1


async def test_what_went_stale_unsent_is_said_anew_under_the_same_id(stage: Stage) -> None:
    async with stage.admitted() as client:
        await client.line.registry()
        stage.down, stage.shift = True, -timedelta(hours=1)
        with pytest.raises(Unreachable):
            await client.request(stage.order())
        old = json.loads(owed(stage)[0].read_text())["statement"]
        stage.down, stage.shift = False, timedelta(0)
        (resent,) = await client.resend()
        assert resent.receipted is not None
        case, _ = await client.line.case(CaseId(resent.receipted.promise.case or ""))
    assert case.request.raw.decode() != old
    assert posts(stage)[-2:] == ["/v1/cases", "/v1/cases"]


async def test_a_clock_that_is_wrong_is_told_and_not_tried_for_ever(stage: Stage) -> None:
    async with stage.client(stage.home()) as client:
        stage.shift = -timedelta(hours=1)
        with pytest.raises(Refused, match="stale"):
            await client.apply()
    assert (len(posts(stage)), owed(stage)) == (2, [])


async def test_a_refusal_is_told_with_its_place_and_its_signed_no_is_kept(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        await client.withdraw(case.id, Withdrawn.MISTAKEN)
        with pytest.raises(Refused) as caught:
            await client.withdraw(case.id, Withdrawn.MISTAKEN)
        refused = sorted(path.suffix for path in (client.line.outbox.folder / "refused").iterdir())
    assert (caught.value.code, refused) == ("impossible", [".jws", ".owed"])
    assert owed(stage) == []


async def test_a_no_that_somebody_else_signed_refuses_nothing(stage: Stage) -> None:
    def forged(answered: Answered) -> None:
        if answered.method == "POST":
            no = stage.platform.rejection("0" * 64, client.line.home.id, now=stage.now())  # type: ignore[arg-type]
            answered.status = 409
            answered.says(code="impossible", detail="No.", rejection=no.decode())

    async with stage.admitted() as client:
        stage.bend = forged
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.request(stage.order())
        assert len(owed(stage)) == 1
        stage.bend = lambda _: None
        (resent,) = await client.resend()
        assert resent.receipted is not None


async def test_one_refusal_among_what_is_owed_stops_nothing_else(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        stage.down = True
        for why in (Withdrawn.MISTAKEN, Withdrawn.REPLACED):
            with pytest.raises(Unreachable):
                await client.withdraw(case.id, why)
        stage.down = False
        first, second = await client.resend()
    assert first.receipted is not None
    assert isinstance(second.refused, Refused)
    assert (first.typ, second.refused.code) == ("rogatory-withdrawal+jwt", "impossible")


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_with_an_unknown_code_is_told_as_it_came(stage: Stage, status: int) -> None:
    def strange(answered: Answered) -> None:
        if answered.method == "POST":
            answered.status = status
            answered.says(code="we-invented-this", detail="No\u001b[2J.")

    async with stage.admitted() as client:
        stage.bend = strange
        with pytest.raises(HttpAnswered, match=r"we-invented-this\). No\[2J\."):
            await client.request(stage.order())
        assert len(owed(stage)) == (1 if status == 500 else 0)
        if status == 500:
            with pytest.raises(HttpAnswered):
                await client.resend()
        stage.down = False


async def test_an_unknown_refusal_of_what_is_owed_is_told_and_moved_aside(stage: Stage) -> None:
    async with stage.admitted() as client:
        await client.line.registry()
        stage.down = True
        with pytest.raises(Unreachable):
            await client.request(stage.order())
        stage.down = False

        def strange(answered: Answered) -> None:
            if answered.method == "POST":
                answered.status = 403
                answered.says(code="we-invented-this")

        stage.bend = strange
        (resent,) = await client.resend()
    assert isinstance(resent.refused, HttpAnswered)
    assert owed(stage) == []


async def test_a_page_of_some_proxy_decides_nothing(stage: Stage) -> None:
    def page(answered: Answered) -> None:
        if answered.method == "POST":
            answered.status = 403
            answered.body = b"<html>Forbidden</html>"

    async with stage.admitted() as client:
        stage.bend = page
        with pytest.raises(HttpAnswered):
            await client.request(stage.order())
        assert len(owed(stage)) == 1


LATE = int(limits.CLOCKS.total_seconds()) + 61


@pytest.mark.parametrize("seconds", [-LATE, LATE])
async def test_a_receipt_of_another_time_is_refused_and_says_why(stage: Stage, seconds: int) -> None:
    def elsewhen(answered: Answered) -> None:
        if answered.method == "POST":
            stage.forged(answered, iat=int(stage.now().timestamp()) + seconds)

    async with stage.admitted() as client:
        stage.bend = elsewhen
        with pytest.raises(Refused) as caught:
            await client.request(stage.order())
    assert caught.value.code == "receipt-wrong"
    assert "More than 5 minutes apart" in caught.value.detail
    assert len(owed(stage)) == 1  # no promise was given


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"of": "0" * 64}, id="of another statement"),
        pytest.param({"aud": "us-fbi"}, id="to another authority"),
        pytest.param({"case": UNKNOWN}, id="in another case"),
        pytest.param({"stage": "answered"}, id="of another stage"),
    ],
)
async def test_a_receipt_that_promises_something_else_is_refused(stage: Stage, claims: dict[str, str]) -> None:
    async with stage.admitted() as client:
        stage.bend = lambda answered: stage.forged(answered, **claims) if answered.method == "POST" else None
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.request(stage.order())
    assert len(owed(stage)) == 1


@pytest.mark.parametrize("role", ["desk", "mallory"])
async def test_a_receipt_by_another_key_is_refused(stage: Stage, role: str) -> None:
    secret = stage.platform.desk.secret if role == "desk" else Ed25519Secret.generate()

    def forged(answered: Answered) -> None:
        if answered.method == "POST":
            bent = Mallory(secret).header(answered.receipt(), kid=secret.public.id)
            answered.says(receipt=bent.decode())

    async with stage.admitted() as client:
        stage.bend = forged
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.request(stage.order())


@pytest.mark.parametrize("body", [b"{}", b'{"receipt": 7}', b'{"receipt": "x"}'])
async def test_an_answer_without_a_receipt_is_no_promise(stage: Stage, body: bytes) -> None:
    def empty(answered: Answered) -> None:
        if answered.method == "POST":
            answered.body = body

    async with stage.client(stage.home()) as client:
        stage.bend = empty
        with pytest.raises(BadAnswer, match="answer-form"):
            await client.apply()
    assert len(owed(stage)) == 1


async def test_a_receipt_that_is_not_in_the_rows_is_found_out(stage: Stage) -> None:
    async with stage.admitted() as client:
        stage.bend = lambda answered: (
            stage.forged(answered, salt="A" * 22) if answered.method == "POST" else None
        )  # as good a receipt as any, but of a second history
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.request(stage.order())


async def test_a_row_that_was_taken_back_is_found_out_later(stage: Stage) -> None:
    def shortened(answered: Answered) -> None:
        if answered.path.endswith("/statements") and "/cases/" in answered.path:
            answered.says(rows=json.loads(answered.body)["rows"][:1])

    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        await stage.accepts(case)
        await client.line.case(case.id)
        stage.bend = shortened
        with pytest.raises(Refused, match="receipt-wrong") as caught:
            await client.line.case(case.id)
    assert "Row 2 is gone" in caught.value.detail


async def test_rows_of_another_case_or_of_nobody_are_refused(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, one = await client.request(stage.order())
        _, other = await client.request(stage.order())
        rows = await client.line.http.get_json(f"/v1/cases/{other.id}/statements")

        def swapped(answered: Answered) -> None:
            if answered.path.endswith(f"{one.id}/statements"):
                answered.body = rows

        stage.bend = swapped
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.line.case(one.id)
        stage.bend = lambda answered: answered.says(rows=[])
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.line.case(one.id)
        client.line.forget()
        with pytest.raises(Refused, match="receipt-wrong"):
            await client.line.registry()
        stage.bend = lambda _: None
        with pytest.raises(Refused, match="not-found"):
            await client.line.case(UNKNOWN)
        with pytest.raises(Refused, match="not-found"):
            await client.line.changed(UNKNOWN, 1)
        with pytest.raises(Refused, match="not-found"):
            await client.export(UNKNOWN)


async def test_waiting_ends_when_the_desk_has_answered(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        assert (await client.wait(case.id, SETTLED, timedelta(seconds=0.2))).state is State.RECEIVED
        await stage.accepts(case)
        await stage.answers(case, Outcome.NO_DATA)
        found = await client.wait(case.id, SETTLED, timedelta(minutes=1))
        assert found.state is State.ANSWERED
        receipted, found = await client.acknowledge(found)
        assert (found.state, receipted.promise.state) == (State.CLOSED, "closed")


async def test_waiting_looks_again_at_each_step(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        polled: list[str] = []

        def steps(answered: Answered) -> None:
            if answered.path == f"/v1/cases/{case.id}":
                polled.append(answered.path)

        stage.bend = steps
        await stage.accepts(case)  # the caller knows one step, and there are two
        found = await client.wait(case.id, {State.IN_REVIEW}, timedelta(minutes=1))
        assert (found.state, polled) == (State.IN_REVIEW, [])
        await client.line.changed(case.id, 1)
        assert len(polled) == 1


async def test_nothing_can_be_acknowledged_before_there_is_an_answer(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        with pytest.raises(Refused, match="impossible"):
            await client.acknowledge(case)


async def test_new_keys_are_registered_and_used_and_the_old_ones_still_open(stage: Stage) -> None:
    async with stage.admitted() as client:
        old = client.line.keys.signing.public.id, client.line.keys.recipient
        _, authority = await client.rekey()
        assert client.line.keys.signing.public.id != old[0]
        assert authority.sealing == (client.line.keys.recipient,) != (old[1],)
        assert len(client.line.keys.identities) == 2
        _, case = await client.request(stage.order())
        assert case.request.holder.key.id == client.line.keys.signing.public.id


async def test_a_rekey_that_broke_and_went_stale_is_said_anew_with_the_same_new_keys(stage: Stage) -> None:
    async with stage.admitted() as client:
        await client.line.registry()
        stage.down, stage.shift = True, -timedelta(hours=1)
        with pytest.raises(Unreachable):
            await client.rekey()
        stage.down, stage.shift = False, timedelta(0)
        following, _ = client.line.keys.following(stage.now())
    async with stage.client(client.line.home) as again:
        (resent,) = await again.resend()
        assert resent.receipted is not None
        assert again.line.keys.signing.public.id == following.public.id
        authority = await again.line.registry()
        assert authority.rekeyed is not None


async def test_a_suspended_authority_sends_nothing(stage: Stage) -> None:
    async with stage.admitted() as client:
        await stage.suspends(client)
        client.line.forget()
        before = posts(stage)
        with pytest.raises(Refused, match="authority-not-active"):
            await client.request(stage.order())
    assert posts(stage) == before


async def test_the_case_file_is_verified_before_anybody_gets_it(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, case = await client.request(stage.order())
        _, other = await client.request(stage.order())
        raw, findings = await client.export(case.id)
        assert (findings.case.id, raw[:2]) == (case.id, b"PK")
        sound, _ = await client.export(other.id)

        def altered(answered: Answered) -> None:
            answered.body = answered.body[:500] + bytes((answered.body[500] ^ 1,)) + answered.body[501:]

        stage.bend = altered
        with pytest.raises(Refused, match="case-file-wrong"):
            await client.export(case.id)
        stage.bend = lambda answered: setattr(answered, "body", sound)
        with pytest.raises(Refused, match="case-file-wrong"):
            await client.export(case.id)
        stage.bend = lambda _: None
        home = client.line.home
        pinned = home.settings.model_copy(update={"root": "x" * 43})
        client.line.home = type(home)(home.folder, pinned)
        with pytest.raises(Refused, match="keyset-wrong"):
            await client.export(case.id)


async def test_many_cases_come_page_by_page(stage: Stage) -> None:
    async with stage.admitted() as client:
        _, one = await client.request(stage.order())
        _, two = await client.request(stage.order())
        seen: list[int] = []

        def paged(answered: Answered) -> None:
            if answered.path == "/v1/cases":
                rows = json.loads(answered.body)["cases"]
                seen.append(len(rows))
                if len(rows) == 2:
                    answered.says(cases=rows[:1], after=rows[0]["case"])

        stage.bend = paged
        assert [row.case for row in await client.line.cases()] == sorted([one.id, two.id])
    assert seen == [2, 1]


async def test_no_error_and_no_file_of_the_client_holds_what_was_asked(stage: Stage) -> None:
    def refuses(answered: Answered) -> None:
        if answered.method == "POST":
            answered.status = 422
            told = {"type": "about:blank", "title": "Wrong", "status": 422, "article": "Art. 1"}
            answered.says(
                code="invalid-member", detail="No.", errors=[{"pointer": "/x", "expected": "y\u001b"}], **told
            )

    async with stage.admitted() as client:
        stage.bend = refuses
        with pytest.raises(Refused) as caught:
            await client.request(stage.order())
    assert [(place.pointer, place.expected) for place in caught.value.places] == [("/x", "y")]
    assert caught.value.article == "Art. 1"
    assert CANARY not in repr(caught.value) + caught.value.detail + caught.value.reason
    kept = [path.read_bytes() for path in client.line.home.folder.rglob("*") if path.is_file()]
    assert not [raw for raw in kept if CANARY.encode() in raw]
