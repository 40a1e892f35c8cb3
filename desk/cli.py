"""The desk's commands: the worker, and what reviewers do with a case.

A reviewer signs with his own key, out of his own folder; the desk's keys open for him what he must see. Each look into particulars
is logged beside the record before anything is shown. What others wrote is shown as text alone: no control character of theirs
reaches the terminal.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from crypto.keys import SecretKey
    from desk.app import Desk
    from desk.records import CaseRow
    from desk.review import Draft, Opened, Review
    from protocol.ids import CaseId, Instant

LOG: Final = "reviews.jsonl"

_AS = click.option(
    "--as", "home", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="The reviewer's folder.",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_TEXT = click.option("--text", default="", help="What the authority reads, sealed to it.  [default: the ground's own]")
_GROUND = click.option("--ground", required=True, help="A ground of the request's law; `show` lists them.")


_EXAMPLES: Final = """\b
Examples:
  rogatory desk sample demo/desk
  rogatory desk work --config demo/desk/desk.toml
  rogatory desk cases --as demo/reviewers/carol
  rogatory desk show CASE --as demo/reviewers/carol
  rogatory desk approve CASE --draft 3f9a1c07 --as demo/reviewers/carol
"""


@click.group(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Work requests inside the platform, and review them."""


@cli.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--once", is_flag=True, help="Do what there is to do, then end.")
def work(config: Path, *, once: bool) -> None:
    """Vet what the gateway sends, look up, and release what two reviewers approved. Ends on SIGTERM."""
    from desk.app import main  # noqa: PLC0415 (heavy: only inside commands, here and below)
    from desk.settings import load_desk  # noqa: PLC0415

    with _sentences():
        main(load_desk(config), once=once)


@cli.command()
@_AS
@_JSON
def cases(home: Path, *, as_json: bool) -> None:
    """List the cases: where each stands, what is owed, and when."""
    with _desk(home) as (desk, _, _):
        rows = [_row(row) for row in desk.store.cases()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("case", "authority", "state", "urgency", "owed", "due", "trouble", title="Cases")
    for one in rows:
        table.add_row(
            *(_plain(one[name]) for name in ("case", "authority", "state", "urgency", "owed", "due", "trouble"))
        )
    _print(table)


@cli.command()
@click.argument("case")
@_AS
@_JSON
def show(case: str, home: Path, *, as_json: bool) -> None:
    """Open particulars and draft of a case. Who looked is logged."""
    with _desk(home) as (desk, secret, now):
        found = _review(desk).show(_case(case), secret, now)
    told = _shown(found)
    if as_json:
        click.echo(json.dumps(told, indent=2))  # in ASCII: what a terminal might obey is escaped
        return
    _print(*_tables(told))


@cli.command()
@click.argument("case")
@click.option("--output", "-o", "folder", type=click.Path(file_okay=False, path_type=Path), required=True)
@_AS
@_JSON
def attachments(case: str, folder: Path, home: Path, *, as_json: bool) -> None:
    """Fetch and open the documents that came with a request into a folder. Who looked is logged."""
    import asyncio  # noqa: PLC0415
    from secrets import token_bytes  # noqa: PLC0415

    from channels.http import Http  # noqa: PLC0415
    from desk.attachments import fetched  # noqa: PLC0415
    from desk.blobs import Blobs, proofs  # noqa: PLC0415

    with _desk(home) as (desk, secret, now):
        found = _review(desk).show(_case(case), secret, now)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clock = partial(datetime.now, UTC)
        authorise = proofs(desk.keyset.platform, desk.signing, clock, token_bytes)

        async def fetch() -> list[Path]:
            async with Http(desk.settings.gateway, authorise) as http:
                return await fetched(found, Blobs(http), desk.keys.identities, folder)

        paths = [str(path) for path in asyncio.run(fetch())]
    click.echo(json.dumps({"files": paths}) if as_json else "\n".join(paths) or "No documents came with it.")


@cli.command()
@click.argument("case")
@click.option(
    "--draft", prompt="The draft's digest, its first characters as `show` printed them", help="8 or more characters."
)
@click.option("--despite-flags", is_flag=True, help="Approve a draft that is flagged, after having looked into it.")
@_AS
@_JSON
def approve(case: str, draft: str, home: Path, *, despite_flags: bool, as_json: bool) -> None:
    """Sign that this draft may leave. It leaves when two different reviewers have signed the same one."""
    with _desk(home) as (desk, secret, now):
        found, count = _review(desk).approve(_case(case), draft, secret, now, despite_flags=despite_flags)
    _drafted(found, count, as_json=as_json)


@cli.command()
@click.argument("case")
@_GROUND
@_TEXT
@_AS
@_JSON
def refuse(case: str, ground: str, text: str, home: Path, *, as_json: bool) -> None:
    """Draft a refusal on a ground of the law, and approve it; a second reviewer must too."""
    with _desk(home) as (desk, secret, now):
        found = _review(desk).refuse(_case(case), ground, text, secret, now)
    _drafted(found, 1, as_json=as_json)


@cli.command()
@click.argument("case")
@_GROUND
@_TEXT
@_AS
@_JSON
def clarify(case: str, ground: str, text: str, home: Path, *, as_json: bool) -> None:
    """Draft a question to the authority, and approve it; a second reviewer must too. The clock stands until it answers."""
    with _desk(home) as (desk, secret, now):
        found = _review(desk).clarify(_case(case), ground, text, secret, now)
    _drafted(found, 1, as_json=as_json)


@cli.command()
@click.argument("case")
@click.option(
    "--withhold", multiple=True, required=True, metavar="CATEGORY", help="A category to leave out; again for more."
)
@_TEXT
@_AS
@_JSON
def narrow(case: str, withhold: tuple[str, ...], text: str, home: Path, *, as_json: bool) -> None:
    """Draft an answer with fewer categories, and approve it; a second reviewer must too."""
    from protocol.terms import Category  # noqa: PLC0415

    unknown = [one for one in withhold if one not in set(Category)]
    if unknown:
        raise click.BadParameter(f"one of {', '.join(Category)}", param_hint="--withhold")
    with _desk(home) as (desk, secret, now):
        found = _review(desk).narrow(_case(case), [Category(one) for one in withhold], text, secret, now)
    _drafted(found, 1, as_json=as_json)


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def sample(folder: Path) -> None:
    """Make a database of 10,000 invented subscribers in FOLDER, and the sources.toml that asks it."""
    from desk.sample import SUBSCRIBERS, make  # noqa: PLC0415

    database, sources = make(folder)
    click.echo(f"{database}: {SUBSCRIBERS:,} invented subscribers. {sources}: the queries.")


@contextmanager
def _sentences() -> Iterator[None]:
    """What store and source refuse, in a sentence; the entrance knows all others."""
    from desk.records import StoreError  # noqa: PLC0415
    from desk.sources import SourceError  # noqa: PLC0415

    try:
        yield
    except StoreError as error:
        raise click.ClickException(f"The desk's record cannot be used: {error.flaw}.") from None
    except SourceError as error:
        raise click.ClickException(
            f"The sources cannot be used: {error.flaw}. See `url` in the sources' file."
        ) from None


@contextmanager
def _desk(home: Path) -> "Iterator[tuple[Desk, SecretKey, Instant]]":
    """The desk that a reviewer's folder names, his key, and the time."""
    from channels.logs import configure  # noqa: PLC0415
    from crypto.keyring import Keyring, read_passphrase  # noqa: PLC0415
    from crypto.keys import signing_secret  # noqa: PLC0415
    from desk.app import open_desk  # noqa: PLC0415
    from desk.settings import load_desk, load_reviewer  # noqa: PLC0415
    from protocol.events import EVENTS  # noqa: PLC0415
    from protocol.terms import Role  # noqa: PLC0415

    now = datetime.now(UTC)
    with _sentences():
        reviewer = load_reviewer(home)
        settings = load_desk(reviewer.desk)
        if reviewer.passphrase_file.exists():
            passphrase = read_passphrase(reviewer.passphrase_file)
        else:
            passphrase = click.prompt(f"Passphrase of {reviewer.ring}", hide_input=True, err=True).encode()
        secret = signing_secret(Keyring.open(reviewer.ring, passphrase).current(Role.REVIEWER).secret)
        desk = open_desk(settings, now)
        try:
            with os.fdopen(os.open(settings.data / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as stream:
                configure(EVENTS, party="desk", stream=stream)
                yield desk, secret, now
        finally:
            desk.store.close()


def _review(desk: "Desk") -> "Review":
    from secrets import token_bytes  # noqa: PLC0415

    from desk.review import Review  # noqa: PLC0415

    keys = desk.keys
    return Review(desk.store, desk.keyset, keys.identities, keys.recipient, token_bytes)


def _case(text: str) -> "CaseId":
    from protocol.ids import NotAnId, parse_case_id  # noqa: PLC0415

    try:
        return parse_case_id(text.lower())
    except NotAnId:
        raise click.BadParameter("a case's id, as `cases` prints it", param_hint="CASE") from None


def _row(row: "CaseRow") -> dict[str, str]:
    from protocol.ids import written  # noqa: PLC0415

    return {
        "case": row.case,
        "authority": row.authority,
        "state": row.state,
        "urgency": row.urgency,
        "received": written(row.received),
        "due": "" if row.due is None else written(row.due),
        "first_seen": written(row.seen),
        "owed": row.duty.value,
        "trouble": row.trouble or "",
    }


def _shown(found: "Opened") -> dict[str, Any]:
    from desk.review import grounds  # noqa: PLC0415
    from desk.vetting import flags_of  # noqa: PLC0415
    from protocol.ids import written  # noqa: PLC0415

    case, draft = found.file.case, found.draft
    return {
        "case": case.id,
        "authority": case.authority,
        "state": case.state.value,
        "received": written(case.received),
        "due": None if case.due is None else written(case.due),
        "first_seen": written(found.file.seen),
        "flags": list(flags_of(found.file, found.subjects)),
        "trouble": found.trouble,
        "cover": case.asked.cover.model_dump(mode="json", exclude_none=True),
        "particulars": found.particulars.model_dump(mode="json", exclude_none=True),
        "draft": None if draft is None else {"digest": draft.digest} | draft.model_dump(mode="json"),
        "approved_by": [one.holder.name for one in found.approvals],
        "grounds": grounds(found.file),
    }


def _tables(told: dict[str, Any]) -> list[object]:
    """Case, particulars, draft and records, for a terminal."""
    from rich.table import Table  # noqa: PLC0415

    def pairs(title: str, found: dict[str, Any], leave: Sequence[str] = ()) -> object:
        table = Table("", "", title=title, show_header=False, title_justify="left")
        for name, value in found.items():
            if name not in leave and value not in (None, "", [], ()):
                table.add_row(_plain(name), _plain(value))
        return table

    tables = [
        pairs(f"Case {told['case']}", told, ("cover", "particulars", "draft", "grounds", "case")),
        pairs("Cover", told["cover"]),
        pairs("Particulars (sealed to this desk; not to be copied)", told["particulars"], ("iss", "jti")),
        pairs("Grounds of this law", told["grounds"]),
    ]
    draft = told["draft"]
    if draft is None:
        return tables
    tables.append(pairs(f"Draft {draft['digest']}", draft, ("records", "salt", "digest", "case")))
    for one in draft["records"]:
        table = Table(title=f"{one['category']}: {len(one['rows'])} rows", title_justify="left")
        for column in one["columns"]:
            table.add_column(_plain(column))
        for row in one["rows"]:
            table.add_row(*map(_plain, row))
        tables.append(table)
    return tables


def _plain(value: object) -> Any:
    """A value as text that commands no terminal: nothing of it is markup, and nothing of it a control character."""
    from rich.text import Text  # noqa: PLC0415

    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return Text("".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text))


def _drafted(draft: "Draft", count: int, *, as_json: bool) -> None:
    told = {"case": draft.case, "draft": draft.digest, "outcome": draft.outcome.value, "approvals": count}
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    missing = "It may leave now." if count > 1 else "A second reviewer must approve the same draft."
    click.echo(f"Draft {draft.digest[:16]}… ({draft.outcome.value}): {count} approved. {missing}")


def _print(*found: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    for one in found:
        console.print(one)
