"""`rogatory gateway`: run the service, and what operators do with authorities.

`serve` is the process; everything under `authorities` is a client of the HTTP API, run on an operator's own machine with the
operator's own key. Nothing heavy is imported until a command runs.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.operators import OperatorClient, Seen

_AS = click.option(
    "--as",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The operator's folder: operator.toml, key ring, passphrase.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_WHY = click.option("--why", required=True, help="The reason; it stands in the signed statement.")
_WAIT = click.option("--wait", default=60, show_default=True, help="Seconds to wait for the desk's acceptance.")


def _now() -> datetime:
    return datetime.now(UTC)


@click.group()
def cli() -> None:
    """Run the service on the edge, and confirm authorities."""


@cli.command()
@click.option(
    "--config",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="gateway.toml; environment variables ROGATORY_GATEWAY_<FIELD> go over it.",
)
def serve(config: Path) -> None:
    """Serve until SIGTERM: finish what was accepted, then stop. Logs go to standard output, one JSON object a line.

    Example: rogatory gateway serve --config town/gateway/gateway.toml
    """
    from gateway.app import main  # noqa: PLC0415 (heavy, and needed by this command alone)
    from gateway.settings import load  # noqa: PLC0415

    main(load(config))


@cli.command()
@click.option(
    "--config",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="gateway.toml: `store` names the record.",
)
def migrate(config: Path) -> None:
    """Bring the record to the schema of this version. Stop the gateway first. Done again, it changes nothing.

    Example: rogatory gateway migrate --config town/gateway/gateway.toml
    """
    from gateway.settings import load  # noqa: PLC0415
    from gateway.store.migrations import migrated  # noqa: PLC0415

    settings = load(config)
    asyncio.run(migrated(settings.store))
    click.echo("The record has the schema of this version.")


@cli.group()
def authorities() -> None:
    """Who may ask: applications, confirmations, standing."""


@authorities.command("list")
@_AS
@_JSON
def list_(folder: Path, as_json: bool) -> None:
    """All authorities, and where each stands. Not the application's digest: the words to be heard follow from it.

    Example: rogatory gateway authorities list --as town/operators/alice
    """
    found = asyncio.run(_client(folder).authorities())
    if as_json:
        click.echo(json.dumps([one.model_dump(exclude={"application"}) for one in found]))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("authority", "state", "confirmations")
    for one in found:
        table.add_row(one.authority, one.state, str(one.confirmations))
    Console().print(table)


@authorities.command()
@click.argument("authority")
@_AS
@_JSON
def show(authority: str, folder: Path, as_json: bool) -> None:
    """What an authority said of itself, from its signed chain. Never shows the fingerprint words.

    Example: rogatory gateway authorities show kr-knpa-cyber --as town/operators/alice
    """
    told = _told(_seen(_client(folder), authority))
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, value in told.items():
        click.echo(f"{name + ':':<15}{value}")


@authorities.command()
@click.argument("authority")
@_AS
@click.option("--line", required=True, help="Over which second line you heard the words, and where its number stands.")
@click.option("--words", help="The words, where no terminal is at hand; else they are asked for.")
@_JSON
def confirm(authority: str, folder: Path, line: str, words: str | None, as_json: bool) -> None:
    """Confirm an application: type the ten words that you HEARD. They are never shown.

    Call the authority on a number from the official directory, not one that the application names. Let them read their
    words; read them the platform's root words in the same call.

    Example: rogatory gateway authorities confirm kr-knpa-cyber --line "ministry's directory" --as town/operators/alice
    """
    client = _client(folder)
    seen = _seen(client, authority)
    if words is None:
        for name, value in _told(seen).items():
            click.echo(f"{name + ':':<15}{value}", err=True)
        words = click.prompt("The ten words that you heard", err=True)
    receipt = asyncio.run(client.confirm(seen.authority, str(words), line))
    if as_json:
        click.echo(json.dumps({"authority": authority, "state": receipt.state, "seq": receipt.seq}))
        return
    click.echo(f"Confirmed. {authority} is {receipt.state} (receipt {receipt.seq} of its chain).")
    if receipt.state == "pending":
        click.echo("A second operator must confirm it too.")


@authorities.command()
@click.argument("authority")
@_AS
@_WHY
@_WAIT
def suspend(authority: str, folder: Path, why: str, wait: int) -> None:
    """Suspend an authority: it can ask nothing until it is restored.

    Example: rogatory gateway authorities suspend kr-knpa-cyber --why "mailbox hacked" --as town/operators/alice
    """
    _stand(folder, authority, "suspended", why, wait)


@authorities.command()
@click.argument("authority")
@_AS
@_WHY
@_WAIT
def revoke(authority: str, folder: Path, why: str, wait: int) -> None:
    """Revoke an authority, for ever. What it signed before stays verifiable.

    Example: rogatory gateway authorities revoke kr-knpa-cyber --why "dissolved" --as town/operators/alice
    """
    _stand(folder, authority, "revoked", why, wait)


@authorities.command()
@click.argument("authority")
@_AS
@_WHY
@_WAIT
def restore(authority: str, folder: Path, why: str, wait: int) -> None:
    """Restore a suspended authority.

    Example: rogatory gateway authorities restore kr-knpa-cyber --why "new keys confirmed" --as town/operators/alice
    """
    _stand(folder, authority, "active", why, wait)


def _client(folder: Path) -> "OperatorClient":
    from gateway.operators import OperatorClient  # noqa: PLC0415

    return OperatorClient.load(folder, _now)


def _seen(client: "OperatorClient", authority: str) -> "Seen":
    from protocol.ids import NotAnId, parse_authority_id  # noqa: PLC0415

    try:
        party = parse_authority_id(authority)
    except NotAnId:
        raise click.BadParameter("an authority's id, such as kr-knpa-cyber", param_hint="AUTHORITY") from None
    return asyncio.run(client.look(party))


def _told(seen: "Seen") -> dict[str, str]:
    from protocol.sayings import Application  # noqa: PLC0415

    said = seen.authority.application.saying(Application)
    return {
        "authority": seen.authority.id,
        "name": said.name,
        "country": said.country,
        "type": said.type.value,
        "state": seen.authority.state.value,
        "confirmed by": ", ".join(sorted(seen.authority.operators)) or "nobody",
        "own contact": said.contact,
        "signing keys": ", ".join(one.key.id for one in seen.authority.holders),
        "pinned root": said.root,
    }


def _stand(folder: Path, authority: str, wanted: str, why: str, wait: int) -> None:
    from protocol.ids import Digest, PartyId  # noqa: PLC0415
    from protocol.terms import Standing  # noqa: PLC0415

    client = _client(folder)
    party = _seen(client, authority).authority.id
    standing = Standing(wanted)

    async def done() -> tuple[Digest, bool]:
        digest, receipt = await client.stand(PartyId(party), standing, why)
        click.echo(f"{authority} is {receipt.state} at the gateway (receipt {receipt.seq} of its chain).")
        return digest, await client.heard(party, digest, timedelta(seconds=wait))

    digest, heard = asyncio.run(done())
    if not heard:
        raise click.ClickException(
            f"THE DESK HAS NOT ACCEPTED IT within {wait} s: requests of {authority} may still be worked. "
            f"Call the desk now, and name the statement {digest}."
        )
    click.echo("The desk has accepted it.")
