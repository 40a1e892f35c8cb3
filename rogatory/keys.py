"""A platform's keys: `keys init` makes them all with the folders of gateway, desk and people; `keys status` shows a keyset.

The root signs the keyset once, here; then its folder is taken offline. Every ring gets a passphrase of its own, in a file of
mode 0600 beside it: move both to the machine they belong to. The folder is made whole or not at all, and never overwritten.
"""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from crypto.keyring import Cost, Secret
    from crypto.keys import KeyId, PublicKey, X25519Key
    from protocol.ids import Instant
    from protocol.keyset import Keyset
    from protocol.sayings import PlatformKey
    from protocol.terms import Role

KEYS_FROM: Final = timedelta(seconds=60)  # before now: a reader's clock may lag
KEYS_FOR: Final = timedelta(days=400)  # ours: a year, and a month to turn them
KEYSET_FOR: Final = timedelta(days=90)  # ours: the root is fetched out of the safe four times a year
PASSPHRASE_BYTES: Final = 24
_OURS: Final = frozenset({"gateway", "desk", "root"})


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Which platform, which people, where the gateway answers."""

    platform: str
    operators: tuple[str, ...]
    reviewers: tuple[str, ...]
    entity: str
    gateway_url: str


@final
@dataclass(frozen=True, slots=True)
class Holding:
    """One holder: the folder for its ring, its name in it, its secrets by role."""

    folder: str
    name: str
    secrets: "Mapping[Role, Secret]"


def made(plan: Plan) -> tuple[Holding, ...]:
    """New keys for everybody, the root first."""
    from crypto.keyring import SealingSecret  # noqa: PLC0415 (heavy: only inside commands, here and below)
    from crypto.keys import Ed25519Secret, X25519Secret  # noqa: PLC0415
    from crypto.sealing import generate_identity  # noqa: PLC0415
    from protocol.terms import Role  # noqa: PLC0415

    gateway: dict[Role, Secret] = {Role.GATEWAY: Ed25519Secret.generate(), Role.GATEWAY_QUEUE: X25519Secret.generate()}
    desk: dict[Role, Secret] = {
        Role.DESK: Ed25519Secret.generate(),
        Role.DESK_SEALING: SealingSecret(generate_identity()),
        Role.DESK_QUEUE: X25519Secret.generate(),
    }
    people = [("operators", Role.OPERATOR, plan.operators), ("reviewers", Role.REVIEWER, plan.reviewers)]
    return (
        Holding("root", "root", {Role.ROOT: Ed25519Secret.generate()}),
        Holding("gateway", "gateway", gateway),
        Holding("desk", "desk", desk),
        *(
            Holding(f"{folder}/{name}", name, {role: Ed25519Secret.generate()})
            for folder, role, names in people
            for name in names
        ),
    )


def keyset_of(plan: Plan, holdings: Iterable[Holding], now: "Instant", version: int = 1) -> bytes:
    """The keyset of these holders, signed by the root among them."""
    from crypto.keyring import SealingSecret  # noqa: PLC0415
    from crypto.keys import Ed25519Secret  # noqa: PLC0415
    from protocol.ids import numeric, uuid7  # noqa: PLC0415
    from protocol.sayings import KeysetSaying  # noqa: PLC0415
    from protocol.statements import say  # noqa: PLC0415
    from protocol.terms import Role  # noqa: PLC0415

    root: Ed25519Secret | None = None
    rows: list[PlatformKey] = []
    for holding in holdings:
        for role, secret in holding.secrets.items():
            if role is Role.ROOT and isinstance(secret, Ed25519Secret):
                root = secret
                continue
            key = secret.recipient if isinstance(secret, SealingSecret) else secret.public
            rows.append(_row(role, holding.name, plan.entity, key, now))
    if root is None:
        raise RuntimeError("no root among the holders")
    said = KeysetSaying(
        iss=plan.platform,
        aud=plan.platform,
        iat=numeric(now),
        jti=uuid7(now, os.urandom(10)),
        version=version,
        until=numeric(now + KEYSET_FOR),
        keys=tuple(rows),
    )
    return say(said, root)


def _row(role: "Role", name: str, entity: str, key: "PublicKey | X25519Key | str", now: "Instant") -> "PlatformKey":
    from protocol.ids import numeric  # noqa: PLC0415
    from protocol.sayings import PlatformKey  # noqa: PLC0415

    shape = {"recipient": key} if isinstance(key, str) else {"jwk": dict(key.jwk())}
    spoken = {"role": role.value, "name": name, "entity": entity}
    valid = {"since": numeric(now - KEYS_FROM), "until": numeric(now + KEYS_FOR)}
    return PlatformKey.model_validate_json(json.dumps(spoken | valid | shape))


def make(folder: Path, plan: Plan, now: "Instant", cost: "Cost", told: Callable[[str], None]) -> "tuple[KeyId, Keyset]":
    """Make `folder` with everything in it. `told` hears of each key ring. Raises OSError if the folder is not empty."""
    from protocol.ids import parse_platform_id  # noqa: PLC0415
    from protocol.keyset import read_keyset  # noqa: PLC0415

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            17, "There is something already; it was left as it is. Choose an empty folder", str(folder)
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # mode 0700
    try:
        holdings = made(plan)
        root = _root_of(holdings)
        raw = keyset_of(plan, holdings, now)
        keyset = read_keyset(raw, root, parse_platform_id(plan.platform), now)  # what others will check, checked first
        _public(draft, raw, root)
        for holding in holdings:
            told(holding.folder)
            _ring(draft / holding.folder, holding, now, cost)
            _settings(draft / holding.folder, holding, plan)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return root.id, keyset


def _root_of(holdings: Sequence[Holding]) -> "PublicKey":
    from crypto.keys import Ed25519Secret  # noqa: PLC0415
    from protocol.terms import Role  # noqa: PLC0415

    secret = holdings[0].secrets[Role.ROOT]
    if not isinstance(secret, Ed25519Secret):
        raise TypeError("the root signs with Ed25519")
    return secret.public


def _public(folder: Path, keyset: bytes, root: "PublicKey") -> None:
    for name in ("public", "channel"):
        (folder / name).mkdir(mode=0o700)
    (folder / "public/keyset.jws").write_bytes(keyset)
    (folder / "public/root.jwk").write_text(json.dumps(root.jwk()) + "\n")


def _ring(folder: Path, holding: Holding, now: "Instant", cost: "Cost") -> None:
    from crypto.keyring import Held, Keyring, Status  # noqa: PLC0415
    from protocol.ids import numeric  # noqa: PLC0415

    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    passphrase = secrets.token_urlsafe(PASSPHRASE_BYTES).encode()
    held = [Held(role, 0, Status.CURRENT, numeric(now), secret) for role, secret in holding.secrets.items()]
    Keyring.create(folder / f"{holding.name}.ring", passphrase, held, cost=cost)
    file = folder / f"{holding.name}.passphrase"
    file.touch(mode=0o600)
    file.write_bytes(passphrase + b"\n")


def _settings(folder: Path, holding: Holding, plan: Plan) -> None:
    """The party's TOML. Every path in it is relative to its folder, so that the folder may be moved."""
    ring = {"ring": f"{holding.name}.ring", "passphrase_file": f"{holding.name}.passphrase"}
    flat = {"keyset": "../public/keyset.jws", "root": "../public/root.jwk"}
    queue = {"channel": "sqlite:///../channel/queue.db", "data": "data"}
    kind, _, person = holding.folder.partition("/")
    told: dict[str, str | int] = {"platform": plan.platform}
    match kind:
        case "root":
            return
        case "gateway":
            told |= _listens(plan.gateway_url)
            told |= flat | queue
        case "desk":
            told |= {"entity": plan.entity, "gateway": plan.gateway_url} | flat | queue | {"sources": "sources.toml"}
        case "operators":
            deep = {name: f"../{path}" for name, path in flat.items()}
            told |= {"name": person, "gateway": plan.gateway_url} | deep
        case _:
            told |= {"name": person, "desk": "../../desk/desk.toml"}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (told | ring).items())
    (folder / f"{kind.removesuffix('s')}.toml").write_text(text)


def _listens(address: str) -> dict[str, str | int]:
    """On this machine: where the address says; for any other address behind the proxy that answers there with TLS."""
    url = urlsplit(address)
    local = url.scheme == "http" and url.port is not None
    host, port = (url.hostname or "", url.port or 0) if local else ("127.0.0.1", 8440)
    return {"host": host, "port": port, "public_url": address}


@click.group()
def keys() -> None:
    """Make a platform's keys and folders; show a keyset."""


def _names(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:  # noqa: ARG001 (click's)
    """Comma-separated names, each once; two at least, since two people confirm and two approve."""
    import re  # noqa: PLC0415

    names = tuple(name.strip() for name in value.split(","))
    if not all(re.fullmatch(r"[a-z][a-z0-9-]{1,47}", name) for name in names):
        raise click.BadParameter("names are lower-case letters, digits and hyphens, such as alice,bob")
    if len(names) < 2 or len(set(names)) < len(names) or _OURS & set(names):  # noqa: PLR2004 (two people)
        raise click.BadParameter("name two different people at least")
    return names


def _url(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001 (click's)
    import re  # noqa: PLC0415

    if re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", value) is None:
        raise click.BadParameter("an address such as https://gateway.example, without a path")
    return value


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--platform", required=True, help="The platform's id: its domain.")
@click.option("--operators", required=True, callback=_names, help="Who confirms authorities: two names or more.")
@click.option("--reviewers", required=True, callback=_names, help="Who approves disclosures: two names or more.")
@click.option("--entity", default="main", show_default=True, help="The establishment that is addressed.")
@click.option("--gateway-url", default="http://127.0.0.1:8440", show_default=True, callback=_url)
@click.option("--cost", type=click.Choice(["interactive", "moderate"]), default="moderate", show_default=True,
              help="What opening a ring costs: 64 MiB, or 256 MiB and 0.4 s.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def init(  # the options of the command line
    folder: Path,
    platform: str,
    operators: tuple[str, ...],
    reviewers: tuple[str, ...],
    entity: str,
    gateway_url: str,
    cost: str,
    as_json: bool,
) -> None:
    """Make FOLDER with the keys of a platform: root, gateway, desk, operators, reviewers."""
    from rich.console import Console  # noqa: PLC0415

    from crypto.keyring import Cost  # noqa: PLC0415
    from protocol.ids import NotAnId, parse_platform_id  # noqa: PLC0415

    try:
        parse_platform_id(platform)
    except NotAnId:
        raise click.BadParameter(
            "the platform's domain in lower case, such as chat.example", param_hint="--platform"
        ) from None
    plan = Plan(platform, operators, reviewers, entity, gateway_url)
    with Console(stderr=True).status("Making keys") as status:

        def told(name: str) -> None:
            status.update(f"Making the key ring of {name}")

        root, keyset = make(folder.absolute(), plan, datetime.now(UTC), Cost[cost.upper()], told)
    words = _words(root)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "root": root, "words": words, "keyset": keyset.version}))
        return
    click.echo(f"""Made {folder}.

The platform's root key   {root}
in words                  {" ".join(words)}

Next:
  1. Take {folder}/root offline: it signs the next keyset, and nothing else. Every authority pins its id.
  2. Publish the root's id and words where authorities look for them; they are read out at each confirmation.
  3. Move operators/ and reviewers/ to their people's machines; change each passphrase file for one that they know.
  4. rogatory gateway serve --config {folder}/gateway/gateway.toml
  5. Name the data sources in {folder}/desk/sources.toml, then: rogatory desk work --config {folder}/desk/desk.toml""")


def _words(root: "KeyId") -> list[str]:
    from crypto.keys import fingerprint_words  # noqa: PLC0415
    from crypto.strict import b64url_decode  # noqa: PLC0415

    return list(fingerprint_words(b64url_decode(root)))


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--words", "in_words", is_flag=True, help="Print its words too, as they are read out over a second line.")
def root(folder: Path, in_words: bool) -> None:
    """The id of the platform's root key, from its public FOLDER. It is what an authority pins.

    Example: rogatory keys root town/public
    """
    from crypto.keys import read_jwk  # noqa: PLC0415

    found = read_jwk(json.loads((folder / "root.jwk").read_text())).id
    click.echo(found)
    if in_words:
        click.echo(" ".join(_words(found)))


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def status(folder: Path, as_json: bool) -> None:
    """Show the keyset in FOLDER/public: which key has which role, for how long."""
    from crypto.keys import read_jwk  # noqa: PLC0415
    from crypto.strict import loads  # noqa: PLC0415
    from protocol.ids import instant, parse_platform_id, written  # noqa: PLC0415
    from protocol.keyset import read_keyset  # noqa: PLC0415
    from protocol.statements import named  # noqa: PLC0415

    now = datetime.now(UTC)
    root = read_jwk(loads((folder / "public/root.jwk").read_bytes()))
    raw = (folder / "public/keyset.jws").read_bytes()
    keyset = read_keyset(raw, root, parse_platform_id(named(raw).issuer), None)
    rows = [
        {
            "role": row.role.value,
            "entity": row.entity,
            "name": row.name,
            "key": _id_of(row),
            "until": written(instant(row.until)),
            "state": _state(row, now),
        }
        for row in keyset.keys
    ]
    whole = {"platform": keyset.platform, "root": root.id, "version": keyset.version, "until": written(keyset.until)}
    if as_json:
        click.echo(json.dumps(whole | {"words": _words(root.id), "ended": keyset.until <= now, "keys": rows}))
        return
    ended = " (ENDED: sign a new one)" if keyset.until <= now else ""
    click.echo(f"{keyset.platform}, keyset {keyset.version}, until {written(keyset.until)}{ended}")
    click.echo(f"root {root.id}\n     {' '.join(_words(root.id))}")
    _table(rows)


def _id_of(row: "PlatformKey") -> str:
    from crypto.keys import read_jwk, read_queue_jwk, sealing_key_id  # noqa: PLC0415

    if row.jwk is None:
        return sealing_key_id(row.recipient or "")
    jwk = row.jwk.model_dump()
    return read_queue_jwk(jwk).id if jwk["crv"] == "X25519" else read_jwk(jwk).id


def _state(row: "PlatformKey", now: "Instant") -> str:
    from protocol.ids import instant  # noqa: PLC0415

    if now < instant(row.since):
        return "not yet"
    return "valid" if now < instant(row.until) else "ended"


def _table(rows: Sequence[Mapping[str, str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
