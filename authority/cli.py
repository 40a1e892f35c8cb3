"""`rogatory authority …`: the requester's command line over `authority.client`.

Every command that speaks to the gateway sends first what is still owed. Each has `--json`. What was refused becomes a sentence and
exit code 1 at the root command. Heavy imports stand inside the commands, so that help answers at once.
"""

import asyncio
import getpass
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import click

from authority.options import COVER, MATTER, with_all

if TYPE_CHECKING:
    from authority.client import Client, Receipted
    from authority.settings import Home
    from protocol.cases import Case
    from protocol.ids import CaseId

HOME: Final = Path("~/.rogatory/authority")
Told: TypeAlias = tuple[dict[str, object], str]  # for --json, and for people
Work: TypeAlias = "Callable[[Client], Awaitable[tuple[dict[str, object], str]]]"
Command = TypeVar("Command", bound=Callable[..., None])

_home = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOME,
    show_default=True,
    callback=lambda _ctx, _param, value: value.expanduser(),
    help="The authority's folder.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def cli() -> None:
    """Ask a platform: apply, request, wait, fetch and open, acknowledge."""


def _common(command: Command) -> Command:
    return _home(_json(command))


def _now() -> datetime:
    return datetime.now(UTC)


def _case(ctx: click.Context, param: click.Parameter, value: str | None) -> "CaseId | None":  # noqa: ARG001 (click's)
    from protocol.ids import NotAnId, parse_case_id  # noqa: PLC0415 (heavy imports inside, here and below)

    try:
        return None if value is None else parse_case_id(value)
    except NotAnId:
        raise click.BadParameter("a case id, as `cases` lists them") from None


_case_argument = click.argument("case", callback=_case)


def _run(home: Path, as_json: bool, work: Work) -> None:
    """Open the keys, send what is owed, do the work, print what came of it."""

    async def whole() -> Told:
        async with _client(home) as client:
            for resent in await client.resend():
                _say_resent(resent.typ, resent.refused)
            return await work(client)

    members, text = asyncio.run(whole())
    click.echo(json.dumps(members, ensure_ascii=False) if as_json else text)


def _say_resent(typ: str, refused: Exception | None) -> None:
    kind = typ.removeprefix("rogatory-").removesuffix("+jwt")
    if refused is None:
        click.echo(f"Sent what was still owed: {kind}.", err=True)
    else:
        detail = getattr(refused, "detail", str(refused))
        click.echo(f"What was still owed ({kind}) was refused: {refused}. {detail}", err=True)


@asynccontextmanager
async def _client(folder: Path) -> "AsyncIterator[Client]":
    from authority.client import Client  # noqa: PLC0415
    from authority.keys import Keys  # noqa: PLC0415
    from authority.line import Line  # noqa: PLC0415
    from authority.progress import Bar  # noqa: PLC0415
    from authority.settings import load  # noqa: PLC0415

    home = load(folder)
    keys = await asyncio.to_thread(Keys.open, home.ring, _passphrase(home))
    with Bar() as bar:
        async with Client(Line(home, keys, _now, os.urandom), progress=bar.at, told=bar.about) as client:
            yield client


def _passphrase(home: "Home") -> bytes:
    """From the file beside the ring, or from whoever sits there; never from an argument or a variable."""
    from crypto.keyring import read_passphrase  # noqa: PLC0415

    if home.passphrase.exists() or not _somebody_is_there():
        return read_passphrase(home.passphrase)
    return getpass.getpass("Passphrase of the key ring: ").encode()


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


@cli.command()
@click.option("--id", "name_id", required=True, help="Country first: kr-knpa-cyber.")
@click.option("--name", required=True, help="The authority's full name.")
@click.option("--country", required=True, help="ISO 3166-1: KR.")
@click.option("--type", "kind", required=True, type=click.Choice(["police", "prosecutor", "court", "regulator"]))
@click.option("--contact", required=True, help="How to call you: a second line.")
@click.option("--gateway", required=True, help="The gateway's address: https://gateway.example.")
@click.option("--platform", required=True, help="The platform's id: its domain.")
@click.option("--root", required=True, help="The id of the platform's root key, from a source that you trust.")
@click.option("--ask-passphrase", is_flag=True, help="Ask for a passphrase, instead of making one in a file.")
@click.option("--cost", type=click.Choice(["interactive", "moderate"]), default="moderate", show_default=True,
              help="What opening the ring costs: 64 MiB, or 256 MiB and 0.4 s.")  # fmt: skip
@_common
def init(
    *,
    name_id: str,
    name: str,
    country: str,
    kind: str,
    contact: str,
    gateway: str,
    platform: str,
    root: str,
    ask_passphrase: bool,
    cost: str,
    home: Path,
    as_json: bool,
) -> None:
    """Make the authority's folder and keys. Nothing is sent."""
    from authority.settings import AuthoritySettings, make  # noqa: PLC0415
    from authority.telling import root_words  # noqa: PLC0415
    from crypto.keyring import Cost  # noqa: PLC0415
    from protocol.terms import AuthorityType  # noqa: PLC0415

    settings = AuthoritySettings(
        id=name_id,
        name=name,
        country=country,
        type=AuthorityType(kind),
        contact=contact,
        gateway=gateway,
        platform=platform,
        root=root,
    )
    passphrase = _new_passphrase() if ask_passphrase else secrets.token_urlsafe(24).encode()
    made = make(home, settings, passphrase, _now(), Cost[cost.upper()])
    if not ask_passphrase:
        made.passphrase.touch(mode=0o600)
        made.passphrase.write_bytes(passphrase + b"\n")
    members = {"home": str(made.folder), "authority": name_id, "root": root, "root_words": root_words(root).split()}
    text = f"Made {made.folder} for {name_id}.\nThe pinned root in words: {root_words(root)}\nNext: rogatory authority apply"
    click.echo(json.dumps(members, ensure_ascii=False) if as_json else text)


def _new_passphrase() -> bytes:
    first = getpass.getpass("New passphrase: ")
    if first != getpass.getpass("Once more: ") or not first:
        raise click.ClickException("The two differ, or are empty. Nothing was made.")
    return first.encode()


@cli.command()
@_common
def apply(home: Path, as_json: bool) -> None:
    """Present the authority and its keys to the platform."""

    async def work(client: "Client") -> Told:
        from authority import telling  # noqa: PLC0415

        receipted, authority = await client.apply()
        root = client.line.home.settings.root
        return telling.applied_members(receipted, authority, root), telling.applied_text(receipted, authority, root)

    _run(home, as_json, work)


@cli.command()
@click.argument("case", callback=_case, required=False)
@_common
def status(case: "CaseId | None", home: Path, as_json: bool) -> None:
    """Where a case stands, or, without CASE, where the application stands. Everything is verified from what was signed."""

    async def work(client: "Client") -> Told:
        from authority import telling  # noqa: PLC0415

        if case is None:
            authority = await client.line.registry()
            return telling.authority_members(authority), telling.authority_text(authority)
        found, _ = await client.line.case(case)
        return telling.case_members(found), telling.case_text(found)

    _run(home, as_json, work)


@cli.command()
@_common
def cases(home: Path, as_json: bool) -> None:
    """All own cases, oldest first."""

    async def work(client: "Client") -> Told:
        from protocol.ids import instant, written  # noqa: PLC0415

        await client.line.service()
        rows = await client.line.cases()
        lines = [
            f"{row.case}  {row.state:<13}  {'' if row.due is None else 'due ' + written(instant(row.due))}".rstrip()
            for row in rows
        ]
        members: dict[str, object] = {"cases": [row.model_dump(mode="json") for row in rows]}
        return members, "\n".join(lines) or "No cases."

    _run(home, as_json, work)


@cli.command()
@with_all([*COVER, *MATTER])
@_common
def request(file: Path | None, home: Path, as_json: bool, **flags: object) -> None:
    """Ask for data: a TOML file, flags, or both (flags win). Facts and targets are sealed to the platform's desk."""
    from authority.requests import flagged, order_of  # noqa: PLC0415

    order = order_of(*flagged(file, flags))

    _on_case(home, as_json, lambda client: client.request(order))


@cli.command()
@_case_argument
@with_all(MATTER)
@_common
def supplement(case: "CaseId", file: Path | None, home: Path, as_json: bool, **flags: object) -> None:
    """Send new particulars for a case, in the place of the old ones: the answer to a clarification."""
    from authority.requests import flagged, matter_of  # noqa: PLC0415

    matter = matter_of(*flagged(file, flags))
    _on_case(home, as_json, lambda client: client.supplement(case, matter))


@cli.command()
@_case_argument
@click.option("--why", type=click.Choice(["no_longer_needed", "mistaken", "replaced"]), required=True)
@_common
def withdraw(case: "CaseId", why: str, home: Path, as_json: bool) -> None:
    """Take a request back."""
    from protocol.terms import Withdrawn  # noqa: PLC0415

    _on_case(home, as_json, lambda client: client.withdraw(case, Withdrawn(why)))


@cli.command()
@_case_argument
@click.option("--flaw", help="What was wrong, as a short code; without it the answer was opened and is right.")
@_common
def acknowledge(case: "CaseId", flaw: str | None, home: Path, as_json: bool) -> None:
    """Say that the answer was opened, or what was wrong with it. `fetch` does so by itself."""

    async def said(client: "Client") -> "tuple[Receipted, Case]":
        found, _ = await client.line.case(case)
        return await client.acknowledge(found, flaw)

    _on_case(home, as_json, said)


def _on_case(home: Path, as_json: bool, said: "Callable[[Client], Awaitable[tuple[Receipted, Case]]]") -> None:
    async def work(client: "Client") -> Told:
        from authority import telling  # noqa: PLC0415

        receipted, found = await said(client)
        members = telling.case_members(found) | telling.receipt_members(receipted)
        return members, f"{telling.receipt_text(receipted)}\n{telling.case_text(found)}"

    _run(home, as_json, work)


@cli.command()
@_case_argument
@click.option(
    "--for", "seconds", type=click.IntRange(1), default=86_400, show_default=True, help="Seconds at the most."
)
@_common
def wait(case: "CaseId", seconds: int, home: Path, as_json: bool) -> None:
    """Wait until the desk has answered. Exit code 3 if it has not by then."""
    answered = False

    async def work(client: "Client") -> Told:
        from authority import telling  # noqa: PLC0415
        from authority.client import SETTLED  # noqa: PLC0415

        nonlocal answered
        found = await client.wait(case, SETTLED, timedelta(seconds=seconds))
        answered = found.state in SETTLED
        return telling.case_members(found), telling.case_text(found)

    _run(home, as_json, work)
    if not answered:
        raise SystemExit(3)


@cli.command()
@_case_argument
@_common
def fetch(case: "CaseId", home: Path, as_json: bool) -> None:
    """Fetch the answer, open it, compare it with the signed decision, acknowledge it. Goes on after a break."""

    async def work(client: "Client") -> Told:
        from authority import opening, telling  # noqa: PLC0415

        opened = await opening.fetch(client, case)
        return telling.opened_members(opened), telling.opened_text(opened)

    _run(home, as_json, work)


@cli.command()
@_common
def rekey(home: Path, as_json: bool) -> None:
    """Make new keys and register them. The old ones go on opening what was sealed to them."""

    async def work(client: "Client") -> Told:
        from authority import telling  # noqa: PLC0415

        receipted, authority = await client.rekey()
        members = telling.authority_members(authority) | telling.receipt_members(receipted)
        return members, telling.receipt_text(receipted)

    _run(home, as_json, work)


@cli.command()
@_case_argument
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True)
@_common
def export(case: "CaseId", output: Path, home: Path, as_json: bool) -> None:
    """Get the case file, and verify it at once: only a sound one is written."""
    output = output.absolute()

    async def work(client: "Client") -> Told:
        from authority.sent import write  # noqa: PLC0415

        raw, findings = await client.export(case)
        await asyncio.to_thread(write, output, raw)
        members: dict[str, object] = {"file": str(output), "case": case, "checked": list(findings.lines)}
        return members, "\n".join([*findings.lines, f"Written to {output}."])

    _run(home, as_json, work)
