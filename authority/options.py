"""Options by which an officer says what is asked: the cover, which the gateway reads, and the matter, which the desk alone does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., None])

MATTER: Final = [
    click.option("--file", "-f", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A TOML file."),
    click.option("--facts", help="What happened."),
    click.option("--officer", help="The issuing officer's name."),
    click.option(
        "--target", "targets", multiple=True, help="account:NAME, phone:+82…, email:…, ip:…; may be repeated."
    ),
    click.option("--since", help="Begin of the time that is asked about: 2026-11-01T00:00:00Z."),
    click.option("--until", help="Its end, exclusive."),
    click.option(
        "--attach",
        "attachments",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="A document; may be repeated.",
    ),
]
COVER: Final = [
    click.option("--framework", help="The law: eu.e-evidence."),
    click.option("--basis", help="Its article: Art. 5."),
    click.option("--category", "categories", multiple=True, help="subscriber, identification, traffic, content."),
    click.option("--urgency", type=click.Choice(["ordinary", "emergency"])),
    click.option("--entity", help="The establishment that is addressed."),
    click.option("--reference", help="Your own file number. The gateway can read it."),
]


def with_all(rows: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, in this order in its help."""

    def with_options(command: Command) -> Command:
        for option in reversed(rows):
            command = option(command)
        return command

    return with_options
