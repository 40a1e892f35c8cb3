"""Opening against a real gateway: what is right is opened and acknowledged; whatever is wrong is told to the desk too."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from authority.client import Client
from authority.opening import fetch
from channels.http import Answered as HttpAnswered
from channels.http import Unreachable
from crypto.sealing import generate_identity, recipient_of, seal_bytes
from protocol.cases import Case, State
from protocol.problems import Refused
from protocol.sayings import Acknowledgement
from protocol.terms import Category, Outcome, Withdrawn
from tests.actors import claims_in
from tests.authority.stage import CANARY, Answered, Break, Stage

ELSE = recipient_of(generate_identity(post_quantum=False))


async def a_case(stage: Stage, client: Client, **order: Any) -> Case:
    _, case = await client.request(stage.order(**order))
    await stage.accepts(case)
    return case


async def last_acknowledgement(client: Client, case: Case) -> dict[str, Any]:
    rows = json.loads(await client.line.http.get_json(f"/v1/cases/{case.id}/statements"))["rows"]
    found = claims_in(rows[-1]["statement"].encode())
    Acknowledgement.model_validate_json(json.dumps(found))
    return found


async def test_a_disclosure_is_opened_compared_and_acknowledged_and_the_case_is_closed(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)
        opened = await fetch(client, case.id)
        assert (opened.case.state, opened.acknowledged, opened.explanation) == (State.CLOSED, True, None)
        folder = client.line.home.received / case.id
        assert [path.name for path in opened.files] == [
            "about.json",
            "subscriber-subscribers.csv",
            "subscriber-subscribers.json",
        ]
        assert {path.parent for path in opened.files} == {folder}
        assert CANARY in opened.files[1].read_text()
        assert {path.stat().st_mode & 0o777 for path in opened.files} == {0o600}
        assert (folder.stat().st_mode | folder.parent.stat().st_mode) & 0o777 == 0o700
        assert len(list(folder.iterdir())) == 4  # with the ciphertext; nothing else is left
        again = await fetch(client, case.id)
        assert (again.acknowledged, again.files) == (False, opened.files)


async def test_several_disclosures_have_a_folder_each(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        one, two = stage.zipped(case), stage.zipped(case, made=1_795_000_001)
        await stage.discloses(case, one, two, to=client.line.keys.recipient)
        opened = await fetch(client, case.id)
    assert {path.parent.name for path in opened.files} == {"1", "2"}
    assert len(opened.about) == 2


async def test_a_broken_download_goes_on_by_a_later_call(stage: Stage) -> None:
    def breaks(answered: Answered) -> None:
        if "/blobs/" in answered.path and answered.method == "GET":
            raise Break

    async with stage.admitted() as client:
        case = await a_case(stage, client)
        (part,) = await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)
        stage.bend = breaks
        with pytest.raises(Unreachable):
            await fetch(client, case.id)
        stage.bend = lambda _: None
        half = client.line.home.received / case.id / f"{part.sha256}.age.part"
        half.write_bytes(b"")
        opened = await fetch(client, case.id)
    assert opened.case.state is State.CLOSED
    assert not half.exists()


async def test_an_answer_without_data_is_acknowledged_with_its_explanation(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        sealed = seal_bytes(f"Nobody of that name. {CANARY}".encode(), [client.line.keys.recipient])
        await stage.answers(case, Outcome.NO_DATA, sealed, to=client.line.keys.recipient)
        opened = await fetch(client, case.id)
    assert (opened.case.state, opened.files) == (State.CLOSED, ())
    assert opened.explanation == f"Nobody of that name. {CANARY}"


async def test_a_question_is_read_and_not_acknowledged(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.answers(case, Outcome.CLARIFICATION_NEEDED)
        opened = await fetch(client, case.id)
        assert (opened.case.state, opened.acknowledged) == (State.CLARIFICATION, False)
        _, found = await client.supplement(case.id, stage.order())
        assert found.state is State.IN_REVIEW


async def test_there_is_nothing_to_fetch_before_an_answer_or_after_a_withdrawal(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        with pytest.raises(Refused, match="impossible"):
            await fetch(client, case.id)
        await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)
        await client.withdraw(case.id, Withdrawn.MISTAKEN)
        with pytest.raises(Refused, match="impossible"):
            await fetch(client, case.id)


def slipped(raw: bytes, name: str, content: bytes) -> bytes:
    """The ZIP with one more entry."""
    sink = BytesIO(raw)
    with ZipFile(sink, "a") as archive:
        archive.writestr(name, content)
    return sink.getvalue()


Plain = Callable[[Stage, Case], bytes]
OTHER = {
    "platform": "other.example",
    "requester": "us-fbi",
    "case": "01a20c57-4680-8248-9ad8-d6f276400953",
    "request": "0" * 64,
    "desk": "x" * 43,
    "draft": "e" * 64,
    "asked": (Category.SUBSCRIBER, Category.CONTENT),
    "granted": (Category.CONTENT,),
}


@pytest.mark.parametrize(
    ("plain", "flaw"),
    [
        *(
            pytest.param(lambda s, c, n=name, v=value: s.zipped(c, **{n: v}), "about-differs", id=f"another {name}")
            for name, value in OTHER.items()
        ),
        pytest.param(lambda _s, _c: b"no zip", "disclosure-form", id="no ZIP"),
        pytest.param(lambda s, c: slipped(s.zipped(c), "../../x", b"y"), "disclosure-form", id="a path"),
        pytest.param(
            lambda s, c: slipped(s.zipped(c), "about.json", b"{}"),
            "disclosure-form",
            id="a second about.json",
            marks=pytest.mark.filterwarnings("ignore:Duplicate name"),
        ),
    ],
)
async def test_what_is_not_what_the_decision_says_is_not_used_and_the_desk_is_told(
    stage: Stage, plain: Plain, flaw: str
) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.discloses(case, plain(stage, case), to=client.line.keys.recipient)
        with pytest.raises(Refused) as caught:
            await fetch(client, case.id)
        assert (caught.value.code, flaw in caught.value.detail) == ("disclosure-wrong", True)
        told = await last_acknowledgement(client, case)
        assert (told["opened"], told["flaw"]) == (False, flaw)
        found, _ = await client.line.case(case.id)
        assert found.state is State.IN_REVIEW  # an answer is owed again
        left = [path for path in (client.line.home.received / case.id).rglob("*") if path.suffix != ".age"]
        assert left == []
        assert CANARY not in caught.value.detail + caught.value.reason


async def test_what_is_sealed_to_somebody_else_is_told(stage: Stage) -> None:
    async with stage.admitted() as client:
        mine = client.line.keys.recipient
        for to, named in ((ELSE, None), (ELSE, mine)):  # as the decision says, and against its word
            case = await a_case(stage, client)
            await stage.discloses(case, stage.zipped(case), to=to, named=named)
            with pytest.raises(Refused, match="disclosure-wrong"):
                await fetch(client, case.id)
            assert (await last_acknowledgement(client, case))["flaw"] == "not-for-us"


async def test_an_altered_ciphertext_is_never_opened(stage: Stage) -> None:
    def altered(answered: Answered) -> None:
        if "/blobs/" in answered.path and answered.method == "GET":
            answered.body = answered.body[:-1] + bytes((answered.body[-1] ^ 1,))

    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)
        stage.bend = altered
        with pytest.raises(Refused, match="disclosure-wrong"):
            await fetch(client, case.id)
        stage.bend = lambda _: None
        assert (await last_acknowledgement(client, case))["flaw"] == "ciphertext-digest"


async def test_a_spoilt_range_or_a_refusal_is_no_flaw_of_the_disclosure(stage: Stage) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)

        def gone(answered: Answered) -> None:
            if "/blobs/" in answered.path:
                answered.status = 404
                answered.says(code="not-found", detail="Check.")

        stage.bend = gone
        with pytest.raises(Refused, match="not-found"):
            await fetch(client, case.id)

        def strange(answered: Answered) -> None:
            if "/blobs/" in answered.path:
                answered.status = 302

        stage.bend = strange
        with pytest.raises(OSError, match="redirect"):
            await fetch(client, case.id)

        def unknown(answered: Answered) -> None:
            if "/blobs/" in answered.path:
                answered.status = 451
                answered.says()

        stage.bend = unknown
        with pytest.raises(HttpAnswered):
            await fetch(client, case.id)
        stage.bend = lambda _: None
        assert (await fetch(client, case.id)).case.state is State.CLOSED


@pytest.mark.parametrize(
    ("content", "to", "named", "flaw"),
    [
        pytest.param(b"\xff", "mine", "mine", "explanation-form", id="no text"),
        pytest.param(b"x", "else", "mine", "not-for-us", id="sealed to another"),
        pytest.param(b"x", "else", "else", "not-for-us", id="for another, as it says"),
    ],
)
async def test_an_explanation_that_cannot_be_read_is_told(
    stage: Stage, content: bytes, to: str, named: str, flaw: str
) -> None:
    async with stage.admitted() as client:
        recipients = {"mine": client.line.keys.recipient, "else": ELSE}
        case = await a_case(stage, client)
        sealed = seal_bytes(content, [recipients[to]])
        await stage.answers(case, Outcome.NO_DATA, sealed, to=recipients[named])
        with pytest.raises(Refused, match="disclosure-wrong"):
            await fetch(client, case.id)
        assert (await last_acknowledgement(client, case))["flaw"] == flaw


async def test_an_explanation_with_another_digest_is_told_and_a_question_is_not_acknowledged(stage: Stage) -> None:
    def altered(answered: Answered) -> None:
        if "/blobs/" in answered.path:
            answered.body += b"x"

    async with stage.admitted() as client:
        case = await a_case(stage, client)
        sealed = seal_bytes(b"Which one?", [client.line.keys.recipient])
        await stage.answers(case, Outcome.CLARIFICATION_NEEDED, sealed, to=client.line.keys.recipient)
        stage.bend = altered
        with pytest.raises(Refused, match="disclosure-wrong") as caught:
            await fetch(client, case.id)
        found, _ = await client.line.case(case.id)
    assert "explanation-digest" in caught.value.detail
    assert found.state is State.CLARIFICATION


async def test_a_draft_from_a_killed_call_does_not_stop_the_next(stage: Stage, tmp_path: Path) -> None:
    async with stage.admitted() as client:
        case = await a_case(stage, client)
        await stage.discloses(case, stage.zipped(case), to=client.line.keys.recipient)
        folder = client.line.home.received / case.id
        folder.mkdir(mode=0o700, parents=True)
        (folder / ".opening-killed").mkdir()
        (folder / "about.json").write_text("old")
        opened = await fetch(client, case.id)
        assert '"platform"' in opened.files[0].read_text()
