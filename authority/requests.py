"""From what an officer writes, as TOML or flags, to what is signed: the cover in clear, the particulars and attachments sealed.

`Order` is the form that people fill in. `prepared` seals to the recipients of the desk's keyset, and puts into the statement the
digests of what it sealed. Nothing is sent here, and nothing in the clear is written to a disk.
"""

import hashlib
import json
import mimetypes
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, final

from pydantic import Field, StringConstraints

from authority.sent import Outbox
from crypto.keys import sealing_key_id
from crypto.sealing import seal, seal_bytes
from protocol import limits
from protocol.frameworks import admit
from protocol.ids import Digest, Jti, PartyId, digest_of
from protocol.problems import Place, Refused
from protocol.procedures.production import ProductionParticulars, Target
from protocol.procedures.shared import Attachment, Officer, Span
from protocol.sayings import Blob, Cover, SealedPart
from protocol.terms import Category, Closed, Entity, FrameworkId, NumericDate, RequestKind, Urgency

_OTHER_TYPE: Final = "application/octet-stream"


class Matter(Closed):
    """What the desk alone may know, as an officer writes it. `attachments` are paths, relative to the TOML file."""

    facts: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    officer: Officer
    validated_by: Officer | None = None
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=limits.SUBJECTS)]
    span: Span | None = None
    attachments: Annotated[tuple[str, ...], Field(max_length=limits.ATTACHMENTS)] = ()


class Order(Matter):
    """A whole request: the matter, and what the gateway may know."""

    kind: RequestKind = RequestKind.PRODUCTION
    urgency: Urgency = Urgency.ORDINARY
    framework: FrameworkId
    basis: str
    categories: tuple[Category, ...]
    entity: Entity = "main"
    reference: str | None = None
    confidential_until: NumericDate | None = None

    def cover(self, blobs: tuple[Blob, ...]) -> Cover:
        """The part in clear. Raises Refused where the law does not open what is asked."""
        cover = Cover(
            kind=self.kind,
            urgency=self.urgency,
            framework=self.framework,
            basis=self.basis,
            categories=self.categories,
            subjects=len(self.targets),
            entity=self.entity,
            reference=self.reference,
            confidential_until=self.confidential_until,
            blobs=blobs,
        )
        admit(cover)  # the gateway would say the same, later
        return cover


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """What was sealed, as a statement names it."""

    part: SealedPart
    sealed: bytes
    blobs: tuple[Blob, ...]


def order_of(members: Mapping[str, object], folder: Path) -> Order:
    """An order from what TOML or flags gave. Raises `pydantic.ValidationError`, which names places and no values."""
    return Order.model_validate_json(_json(_rooted(members, folder)))


def matter_of(members: Mapping[str, object], folder: Path) -> Matter:
    """The matter alone, for a supplement; what belongs to the cover, which stands, is left out."""
    mine = {
        name: value for name, value in members.items() if name not in set(Order.model_fields) - set(Matter.model_fields)
    }
    return Matter.model_validate_json(_json(_rooted(mine, folder)))


def members_in(file: Path) -> dict[str, object]:
    """The members of a TOML file. Times are TOML's own, with an offset. Raises OSError, `tomllib.TOMLDecodeError`."""
    with file.open("rb") as source:
        return tomllib.load(source)


def flagged(file: Path | None, flags: Mapping[str, object]) -> tuple[dict[str, object], Path]:
    """What the TOML file says, and over it the flags of the command line; and the folder that attachments are relative to.

    A flag of another form stays as it is, and does not fit the model.
    """
    members = {} if file is None else members_in(file)
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if "officer" in given:
        given["officer"] = {"name": given["officer"]}
    if "targets" in given:
        parts = [str(text).partition(":") for text in _all(given["targets"])]
        given["targets"] = [{"by": by, "value": value} for by, _, value in parts]
    if "attachments" in given:
        given["attachments"] = [str(Path(str(path)).absolute()) for path in _all(given["attachments"])]
    span = {name: _moment(given.pop(name)) for name in ("since", "until") if name in given}
    if span:
        given["span"] = span
    return members | given, Path() if file is None else file.parent


def prepared(
    matter: Matter,
    *,
    recipients: tuple[str, ...],
    authority: PartyId,
    jti: Jti,
    outbox: Outbox,
    told: Callable[[str], None],
) -> Prepared:
    """Seal the attachments, then the particulars that name them. `told` hears of each attachment. Raises Refused."""
    if not recipients:
        raise Refused("entity-unknown", reason="no sealing key for the entity")
    attachments, blobs = [], []
    for number, path in enumerate(map(Path, matter.attachments)):
        told(path.name)
        attachment, blob = _attached(path, recipients, outbox, f"/attachments/{number}")
        attachments.append(attachment)
        blobs.append(blob)
    particulars = ProductionParticulars(
        iss=authority,
        jti=jti,
        facts=matter.facts,
        officer=matter.officer,
        validated_by=matter.validated_by,
        attachments=tuple(attachments),
        targets=matter.targets,
        span=matter.span,
    )
    sealed = seal_bytes(particulars.model_dump_json(exclude_none=True).encode(), recipients)
    if len(sealed) > limits.SEALED:
        raise Refused("too-large", detail=f"Sealed particulars have at most {limits.SEALED} bytes; use an attachment.")
    part = SealedPart(sha256=digest_of(sealed), size=len(sealed), recipients=tuple(map(sealing_key_id, recipients)))
    return Prepared(part, sealed, tuple(blobs))


def _attached(path: Path, recipients: tuple[str, ...], outbox: Outbox, pointer: str) -> tuple[Attachment, Blob]:
    """Seal one document into the outbox."""
    draft = outbox.draft()
    try:
        with path.open("rb") as source:
            draft.touch(mode=0o600, exist_ok=False)
            with draft.open("wb") as sink:
                seal(source, sink, recipients)
            source.seek(0)
            plain = hashlib.file_digest(source, "sha256").hexdigest()
        with draft.open("rb") as sealed:
            digest = Digest(hashlib.file_digest(sealed, "sha256").hexdigest())
        size = draft.stat().st_size
        if size > limits.ATTACHMENT:
            raise Refused("too-large", places=(Place(pointer, f"at most {limits.ATTACHMENT} bytes when sealed"),))
        draft.replace(outbox.blob(digest))
    finally:
        draft.unlink(missing_ok=True)
    kind = mimetypes.guess_type(path.name)[0] or _OTHER_TYPE
    return Attachment(name=path.name, type=kind, sha256=digest, plain_sha256=plain), Blob(sha256=digest, size=size)


def _rooted(members: Mapping[str, object], folder: Path) -> dict[str, object]:
    found = dict(members)
    if isinstance(paths := found.get("attachments"), list):
        found["attachments"] = [str(folder / path) if isinstance(path, str) else path for path in paths]
    return found


def _json(members: Mapping[str, object]) -> str:
    """As JSON, where a time is its seconds; a time without an offset is nobody's, and stays a text that does not fit."""

    def other(value: object) -> object:
        return int(value.timestamp()) if isinstance(value, datetime) and value.tzinfo is not None else str(value)

    return json.dumps(members, default=other)


def _all(values: object) -> tuple[object, ...]:
    return values if isinstance(values, tuple) else ()


def _moment(text: object) -> object:
    """A time with its offset, from the command line (RFC 3339)."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return text
