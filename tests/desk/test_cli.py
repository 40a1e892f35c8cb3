from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from channels.logs import configure
from desk.cli import cli
from protocol.cases import State
from protocol.events import EVENTS
from protocol.ids import CaseId, instant, numeric
from protocol.problems import Refused
from tests.actors import PASSPHRASE
from tests.desks import TARGET, House

Run = Callable[..., Result]


@pytest.fixture
def run(house: House, tmp_path: Path) -> Run:
    """The desk's commands as a reviewer types them, on a copy of the platform's folder."""
    town = tmp_path / "town"
    for name in ("public", "desk", "reviewers"):
        shutil.copytree(house.folder / name, town / name)
    desk = town / "desk/desk.toml"
    lines = [line for line in desk.read_text().splitlines() if not line.startswith(("data", "channel"))]
    lines += [f'data = "{house.settings.data}"', f'channel = "{house.settings.channel}"']
    desk.write_text("\n".join(lines))

    def run(*args: str, by: str | None = "carol", **told: Any) -> Result:
        home = () if by is None else ("--as", str(town / "reviewers" / by))
        try:
            return CliRunner().invoke(cli, [*args, *home], **told)
        finally:  # a command is a process of its own, and its log ends with it
            configure(EVENTS, party="desk", stream=house.logged)

    return run


@pytest.fixture
async def case(house: House) -> CaseId:
    """A case with a draft. The commands read the machine's clock, so the actors do too."""
    house.platform.now = house.now = instant(numeric(datetime.now(UTC)))
    await house.admitted()
    found = await house.request(particulars={"facts": "Sold \x1b[31mcards\x1b[0m [bold]twice[/bold]."})
    async with house.worker() as worker:
        await house.settle(worker)
    return found


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def test_the_list_of_cases(run: Run, case: CaseId) -> None:
    (row,) = told(run("cases", "--json"))
    assert (row["case"], row["owed"], row["state"], row["trouble"]) == (case, "review", "in_review", "")
    plain = run("cases", env={"COLUMNS": "200"})
    assert plain.exit_code == 0
    assert case in plain.output


def test_a_case_is_shown_and_the_look_is_on_record(run: Run, case: CaseId, house: House) -> None:
    found = told(run("show", case, "--json"))
    assert found["particulars"]["targets"] == [{"by": "account", "value": TARGET}]
    assert found["draft"]["records"][0]["rows"] == [["@user00007", "+12025550107", "canary-7f3a Sami"]]
    assert "impossible" in found["grounds"]
    log = house.settings.data / "reviews.jsonl"
    (event,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (event["event"], event["reviewer"], event["case"]) == ("particulars.opened", "carol", case)
    assert log.stat().st_mode & 0o777 == 0o600
    assert TARGET not in log.read_text()


def test_what_an_authority_wrote_commands_no_terminal(run: Run, case: CaseId) -> None:
    shown = run("show", case.upper(), env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "\x1b" not in shown.output
    assert "[bold]twice[/bold]" in shown.output
    assert "canary-7f3a Sami" in shown.output
    assert "\x1b" not in run("show", case, "--json").output


async def test_two_reviewers_approve_and_it_leaves(run: Run, case: CaseId, house: House) -> None:
    digest = told(run("show", case, "--json"))["draft"]["digest"]
    assert told(run("approve", case, "--draft", digest[:12], "--json"))["approvals"] == 1
    typed = run("approve", case, by="dave", input=f"{digest[:8]}\n")
    assert "2 approved. It may leave now." in typed.output
    async with house.worker() as worker:
        await house.settle(worker)
    assert house.case(case).state is State.ANSWERED
    assert told(run("show", case, "--json"))["draft"] is None
    assert run("show", case).exit_code == 0


def test_what_review_refuses_reaches_the_entrance(run: Run, case: CaseId) -> None:
    again = run("approve", case, "--draft", "0" * 64)
    assert isinstance(again.exception, Refused)


@pytest.mark.parametrize("command", ["refuse", "clarify"])
async def test_a_refusal_or_question_is_drafted(run: Run, case: CaseId, house: House, command: str) -> None:
    done = run(command, case, "--ground", "impossible", "--text", "Gone since May.")
    assert "1 approved. A second reviewer must approve the same draft." in done.output
    found = told(run("show", case, "--json"))
    assert found["draft"]["explanation"] == "Gone since May."
    assert found["approved_by"] == ["carol"]


async def test_categories_are_narrowed(run: Run, house: House) -> None:
    from protocol.terms import Category  # noqa: PLC0415

    house.platform.now = house.now = instant(numeric(datetime.now(UTC)))
    await house.admitted()
    case = await house.request(categories=(Category.SUBSCRIBER, Category.IDENTIFICATION))
    async with house.worker() as worker:
        await house.settle(worker)
    done = told(run("narrow", case, "--withhold", "identification", "--json"))
    assert (done["outcome"], done["approvals"]) == ("partly_disclosed", 1)
    assert run("narrow", case, "--withhold", "everything").exit_code == 2


def test_a_name_that_is_no_case_s_is_said_so(run: Run) -> None:
    done = run("show", "../../etc/passwd")
    assert done.exit_code == 2
    assert "as `cases` prints it" in done.output


def test_a_passphrase_that_is_in_no_file_is_asked_for(run: Run, case: CaseId, tmp_path: Path) -> None:
    (tmp_path / "town/reviewers/carol/carol.passphrase").unlink()
    assert told(run("cases", "--json", input=PASSPHRASE.decode() + "\n"))[0]["case"] == case


def test_a_record_that_cannot_be_used_is_a_sentence(run: Run, house: House) -> None:
    house.settings.data.mkdir()
    house.settings.database.write_bytes(b"no database" * 100)
    done = run("cases")
    assert done.exit_code == 1
    assert "The desk's record cannot be used: unusable." in done.output


def test_sources_that_cannot_be_used_are_a_sentence(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "town/desk/sources.toml"
    path.write_text(path.read_text().replace("sqlite:///accounts.db", "nonsense"))
    done = run("work", "--once", "--config", str(tmp_path / "town/desk/desk.toml"), by=None)
    assert done.exit_code == 1
    assert "url-form" in done.output


def test_a_sample_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["sample", str(tmp_path / "desk")])
    assert done.exit_code == 0
    assert "10,000 invented subscribers" in done.output
    assert sorted(path.name for path in (tmp_path / "desk").iterdir()) == ["sources.toml", "subscribers.db"]
