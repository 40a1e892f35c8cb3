"""The requester's command line, as typed: through the root command, in a thread, against a real gateway."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from authority.keys import Keys
from authority.settings import load
from crypto.sealing import seal_bytes
from protocol.cases import Case
from protocol.ids import CaseId
from protocol.terms import Outcome, Withdrawn
from rogatory.__main__ import main
from tests.authority.stage import AUTHORITY, CANARY, PASSPHRASE, Stage

FLAGS = ["--framework", "eu.e-evidence", "--basis", "Art. 5", "--category", "subscriber", "--officer", "Kim Minji"]
FACTS = ["--facts", "The account sold stolen cards.", "--target", "account:@x"]
UNKNOWN = "01a20c57-4680-8248-9ad8-d6f276400953"
TOML = f"""
framework = "eu.e-evidence"
basis = "Art. 5"
categories = ["subscriber"]
reference = "2026-1"
facts = "It sold stolen cards. {CANARY}"
targets = [{{ by = "account", value = "@{CANARY}" }}]
attachments = ["order.pdf"]
confidential_until = 2027-01-01T00:00:00Z
[officer]
name = "Kim Minji"
"""


class Typed:
    """What an officer types; `home` is the one of the stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.home = stage.folder / "officer"

    async def run(self, *words: str, code: int = 0, typed: str = "") -> Result:
        line = ["authority", *words, "--home", str(self.home)]
        done = await asyncio.to_thread(CliRunner().invoke, main, line, input=typed)
        assert done.exit_code == code, done.output + repr(done.exception)
        return done

    async def json(self, *words: str) -> dict[str, Any]:
        done = await self.run(*words, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    async def made(self, *extra: str, **members: str) -> Result:
        told = {
            "id": AUTHORITY,
            "name": "KNPA “Cyber”",
            "country": "KR",
            "type": "police",
            "contact": "+82 2 1",
            "gateway": self.stage.url,
            "platform": self.stage.platform.id,
            "root": self.stage.platform.root.public.id,
            "cost": "interactive",
        } | members
        return await self.run("init", *(word for name, value in told.items() for word in (f"--{name}", value)), *extra)

    async def admitted(self) -> None:
        await self.made()
        await self.run("apply")
        async with self.stage.client(load(self.home)) as client:
            for operator in self.stage.platform.operators.values():
                await self.stage.takes(operator.admission(await client.line.registry(), self.stage.now()))

    async def case(self, case: str) -> Case:
        async with self.stage.client(load(self.home)) as client:
            return (await client.line.case(CaseId(case)))[0]

    async def recipient(self) -> str:
        async with self.stage.client(load(self.home)) as client:
            return client.line.keys.recipient


@pytest.fixture
def typed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Typed:
    opened = Keys.open
    officer = Typed(stage)

    def either(path: Path, passphrase: bytes) -> Keys:
        """The stage's own client opens with its passphrase; the ring that was made by `init` has another."""
        file = path.with_name("authority.passphrase")
        return opened(path, file.read_bytes().strip() if passphrase == PASSPHRASE and file.exists() else passphrase)

    monkeypatch.setattr(Keys, "open", staticmethod(either))
    return officer


async def test_the_whole_way_as_typed(typed: Typed, tmp_path: Path) -> None:
    stage = typed.stage
    assert "The pinned root in words:" in (await typed.made()).stdout
    applied = await typed.run("apply")
    told = await typed.json("status")
    assert " ".join(told["words"]) in applied.stdout
    assert (told["state"], told["confirmed_by"]) == ("pending", [])
    assert "confirmed by nobody yet" in (await typed.run("status")).stdout
    async with stage.client(load(typed.home)) as client:
        for operator in stage.platform.operators.values():
            await stage.takes(operator.admission(await client.line.registry(), stage.now()))

    (tmp_path / "order.pdf").write_bytes(b"%PDF")
    (tmp_path / "order.toml").write_text(TOML)
    asked = await typed.json("request", "-f", str(tmp_path / "order.toml"), "--urgency", "emergency")
    case = asked["case"]
    assert (asked["state"], asked["receipt"]["seq"], asked["accepted"]) == ("received", 1, None)
    found = await typed.case(case)
    assert (found.asked.cover.urgency, found.asked.cover.reference) == ("emergency", "2026-1")
    assert "has not confirmed yet" in (await typed.run("status", case)).stdout
    assert (await typed.json("cases"))["cases"][0]["case"] == case
    assert f"{case}  received       due 2026" in (await typed.run("cases")).stdout
    assert "is received" in (await typed.run("wait", case, "--for", "1", code=3)).stdout

    await stage.accepts(found)
    await stage.answers(await typed.case(case), Outcome.CLARIFICATION_NEEDED)
    assert f"rogatory authority supplement {case}" in (await typed.run("wait", case)).stdout
    done = await typed.run(
        "supplement",
        case,
        "-f",
        str(tmp_path / "order.toml"),
        "--since",
        "2026-11-01T00:00:00Z",
        "--until",
        "2026-11-02T00:00:00+09:00",
    )
    assert "is in_review" in done.stdout

    found = await typed.case(case)
    await stage.discloses(found, stage.zipped(found), to=await typed.recipient())
    fetched = await typed.run("fetch", case)
    assert "Acknowledged." in fetched.stdout
    assert "subscriber-subscribers.csv" in fetched.stdout
    assert (await typed.json("fetch", case))["acknowledged"] is False

    file = tmp_path / "case.zip"
    exported = await typed.run("export", case, "-o", str(file))
    checked = await asyncio.to_thread(CliRunner().invoke, main, ["verify", str(file)])
    assert checked.exit_code == 0
    assert exported.stdout.splitlines()[:-1] == checked.stdout.splitlines()[: len(exported.stdout.splitlines()) - 1]
    assert (await typed.json("export", case, "-o", str(file)))["checked"]


async def test_a_refusal_with_a_ground_is_told_with_its_article_and_an_explanation_moves_no_cursor(
    typed: Typed,
) -> None:
    await typed.admitted()
    asked = await typed.json("request", *FLAGS, *FACTS)
    to = await typed.recipient()
    sealed = seal_bytes(b"Which\x1b[2J account?\nSay.", [to])
    await typed.stage.answers(await typed.case(asked["case"]), Outcome.REFUSED, sealed, to=to)
    told = (await typed.run("fetch", asked["case"])).stdout
    assert "insufficient-information (Art. 10(6))" in told
    assert "  Which[2J account?\n  Say." in told


async def test_withdrawing_acknowledging_and_turning_keys(typed: Typed) -> None:
    await typed.admitted()
    case = (await typed.json("request", *FLAGS, *FACTS))["case"]
    assert "There is no answer yet" in (await typed.run("acknowledge", case, code=1)).output
    await typed.stage.answers(await typed.case(case), Outcome.NO_DATA)
    assert "is in_review" in (await typed.run("acknowledge", case, "--flaw", "unreadable")).stdout
    assert "is withdrawn" in (await typed.run("withdraw", case, "--why", "mistaken")).stdout
    assert "Receipt 4" in (await typed.run("rekey")).stdout
    assert (await typed.json("rekey"))["receipt"]["seq"] == 5
    assert (await typed.run("cases")).stdout.startswith(case)


async def test_what_is_still_owed_goes_first_and_what_became_of_it_is_told(typed: Typed) -> None:
    await typed.admitted()
    assert "No cases." in (await typed.run("cases")).stdout
    case = (await typed.json("request", *FLAGS, *FACTS))["case"]
    async with typed.stage.client(load(typed.home)) as client:
        await client.line.registry()
        await client.line.service()
        typed.stage.down = True
        for _ in range(2):
            with pytest.raises(OSError, match="No answer"):
                await client.withdraw(CaseId(case), Withdrawn.MISTAKEN)
        typed.stage.down = False
    done = await typed.run("status", case)
    assert "Sent what was still owed: withdrawal." in done.stderr
    assert "was refused: impossible" in done.stderr
    assert "is withdrawn" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["request", *FLAGS, "--facts", "x", "--target", "@x"], "targets.0.by", id="target without a kind"),
        pytest.param(["request", *FLAGS], "facts: Field required", id="no facts"),
        pytest.param(["request", *FLAGS, *FACTS, "--since", "soon"], "span.since", id="no time"),
        pytest.param(["request", *FLAGS, *FACTS, "--since", "2026-11-01"], "span.since", id="a time without offset"),
        pytest.param(["status", UNKNOWN], "authority is pending", id="a case before the confirmation"),
    ],
)
async def test_what_does_not_fit_is_told_in_a_sentence_and_exit_code_1(
    typed: Typed, words: list[str], says: str
) -> None:
    await typed.made()
    await typed.run("apply")
    done = await typed.run(*words, code=1)
    assert says in done.stderr
    assert "Traceback" not in done.output


async def test_a_case_that_is_no_case_id_is_a_mistake_in_typing(typed: Typed) -> None:
    assert "a case id" in (await typed.run("fetch", "../etc", code=2)).stderr


async def test_a_home_that_is_not_there_or_is_there_already_is_told(typed: Typed) -> None:
    assert "rogatory authority init" in (await typed.run("status", code=1)).stderr
    await typed.made()
    with pytest.raises(AssertionError, match="There is a key ring already"):
        await typed.made()


@pytest.mark.parametrize("gateway", ["http://gateway.example", "https://a.example/path", "ftp://127.0.0.1"])
async def test_an_address_in_the_clear_is_refused(typed: Typed, gateway: str) -> None:
    with pytest.raises(AssertionError, match="gateway: String should match"):
        await typed.made(gateway=gateway)


async def test_a_passphrase_is_asked_for_where_no_file_has_it(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str] = ["one", "another"]
    monkeypatch.setattr("authority.cli.getpass.getpass", lambda _prompt: answers.pop(0))
    with pytest.raises(AssertionError, match="The two differ"):
        await typed.made("--ask-passphrase")
    answers[:] = ["secret", "secret"]
    told = json.loads((await typed.made("--ask-passphrase", "--json")).stdout)
    assert told["authority"] == AUTHORITY
    assert not (typed.home / "authority.passphrase").exists()
    assert "passphrase file is not there" in (await typed.run("apply", code=1)).stderr  # nobody sits there
    answers[:] = ["secret"]
    monkeypatch.setattr("authority.cli._somebody_is_there", lambda: True)
    await typed.run("apply")
    assert answers == []
