"""The one console command, `rogatory`: a group for each party, imported only when it is called.

So `rogatory --help` costs nothing that it does not show. It is also the one place where what a check, a key ring, a channel or
the disk refused becomes a sentence and exit code 1: no command prints a traceback for what the world did.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

import click

from rogatory import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name: where the command is, and its line in the help.
COMMANDS: Final = MappingProxyType(
    {
        "authority": ("authority.cli:cli", "Ask a platform: apply, request, fetch, open."),
        "gateway": ("gateway.cli:cli", "Run the service on the edge, and confirm authorities."),
        "desk": ("desk.cli:cli", "Work requests inside the platform, and review them."),
        "keys": ("rogatory.keys:keys", "Make a platform's keys and folders; show a keyset."),
        "verify": ("rogatory.verify:verify", "Check a case file, with no network."),
        "demo": ("rogatory.demo:demo", "The whole way of a request, on this machine."),
    }
)
_EPILOG: Final = (
    'Completion: eval "$(_ROGATORY_COMPLETE=bash_source rogatory)"; for other shells: zsh_source, fish_source.'
)


@final
class Entrance(click.Group):
    """The root group. Knows its commands by name and line, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's)
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{module}:{name} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's)
        """The table, without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """The names that begin so, without importing them."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (only when completing)

        names = [CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)]
        return names or super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; say in a sentence what the world refused."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # a process's edge: what the world did is told, all else goes on as it is
            from rogatory.sentences import sentence  # noqa: PLC0415 (only when something went wrong)

            told = sentence(error)
            if told is None:
                raise
            raise click.ClickException(told) from None


@click.group(cls=Entrance, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="rogatory")
def main() -> None:
    """Rogatory: every request from an authority to a platform signed, confirmed, answered, sealed and counted."""


if __name__ == "__main__":
    main(prog_name="rogatory")
