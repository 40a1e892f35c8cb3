"""`rogatory verify CASEFILE`: check a case file with no network, and say line by line what was checked.

`protocol.casefile` does the work: every byte, signature, receipt, link, state and due time. What it cannot know is whether the root
key in the file is the platform's: that is what `--root` is for.
"""

import json
from pathlib import Path

import click


@click.command()
@click.argument("casefile", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--root", help="The id of the platform's root key, from a source that you trust.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(casefile: Path, root: str | None, as_json: bool) -> None:
    """Check CASEFILE: every byte, every signature, every receipt. Exit code 1, and the place, if anything is wrong."""
    from crypto.keys import fingerprint_words  # noqa: PLC0415 (heavy imports inside)
    from crypto.strict import b64url_decode  # noqa: PLC0415
    from protocol.casefile import MOST_BYTES  # noqa: PLC0415
    from protocol.casefile import verify as verified  # noqa: PLC0415

    with casefile.open("rb") as source:
        found = verified(source.read(MOST_BYTES + 1))
    if root is not None and found.root.id != root:
        raise click.ClickException(
            f"The file is sound in itself, but not under the root key that you named: {found.root.id} signed its keyset. "
            "It is not this platform's."
        )
    words = " ".join(fingerprint_words(b64url_decode(found.root.id)))
    if as_json:
        told = {
            "case": found.case.id,
            "state": found.case.state.value,
            "root": found.root.id,
            "root_words": words.split(),
        }
        click.echo(json.dumps(told | {"pinned": root is not None, "checked": list(found.lines)}))
        return
    click.echo("\n".join(found.lines))
    if root is None:
        click.echo(f"root: compare this key with the platform's own word:\n      {found.root.id}\n      {words}")
    else:
        click.echo("root: the one that you named")
    click.echo("Sound.")
