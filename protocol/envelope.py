"""What one queue entry holds, both ways: at most a statement, its receipt, and the sealed part beside it.

To the desk: every receipt of its cases and of the registry, with the statement that it certifies, or a rejection of what the
desk said. To the gateway: what the desk signed. The envelope is opaque to the channel, which boxes it; nothing in it is
believed before `statements.read` and `receipts` have looked.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, final

from crypto import strict
from crypto.errors import NotStrict
from protocol import limits
from protocol.problems import Place, Refused

_SEALED: Final = Place("/sealed", f"base64 in its one spelling (RFC 4648 §4), of at most {limits.SEALED} bytes")
MEMBERS: Final = frozenset({"statement", "receipt", "rejection", "sealed"})


@final
@dataclass(frozen=True, slots=True)
class Envelope:
    """One entry's content. Bytes that nobody has verified yet."""

    statement: bytes | None = None
    receipt: bytes | None = None
    rejection: bytes | None = None
    sealed: bytes | None = None


def pack(envelope: Envelope) -> bytes:
    """The envelope as strict JSON."""
    members: dict[str, str] = {}
    for name in ("statement", "receipt", "rejection"):
        token = getattr(envelope, name)
        if token is not None:
            members[name] = token.decode("ascii")
    if envelope.sealed is not None:
        members["sealed"] = base64.b64encode(envelope.sealed).decode("ascii")
    return strict.dumps(members)


def unpack(raw: bytes) -> Envelope:
    """The envelope in `raw`. Raises Refused (`not-json`, `unknown-member`, `invalid-member`)."""
    try:
        members = strict.loads_compact(raw, max_depth=1)
    except NotStrict as error:
        raise Refused("not-json", reason=f"envelope {error.flaw}") from None
    if not members or not MEMBERS.issuperset(members):
        raise Refused("unknown-member", reason="envelope member")
    texts = {name: _token(value) for name, value in members.items() if name != "sealed"}
    sealed = sealed_bytes(members["sealed"]) if "sealed" in members else None
    return Envelope(sealed=sealed, **texts)


def _token(value: object) -> bytes:
    if not isinstance(value, str) or not value.isascii() or len(value) > limits.STATEMENT:
        raise Refused("invalid-member", reason="envelope token")
    return value.encode("ascii")


def sealed_bytes(value: object) -> bytes:
    """The bytes of a `sealed` member, at the door and in a queue entry alike: canonical base64, at most 64 KiB.

    Raises Refused (`invalid-member`, `too-large`).
    """
    if not isinstance(value, str):
        raise Refused("invalid-member", places=(_SEALED,), reason="sealed is no text")
    if len(value) > limits.SEALED * 4 // 3 + 4:
        raise Refused("too-large", detail=f"A sealed part has at most {limits.SEALED} bytes.", reason="sealed too long")
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("invalid-member", places=(_SEALED,), reason="sealed not base64") from None
    if base64.b64encode(raw).decode("ascii") != value or len(raw) > limits.SEALED:
        raise Refused("invalid-member", places=(_SEALED,), reason="sealed not canonical, or too long")
    return raw
