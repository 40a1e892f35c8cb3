"""The registry of log events: each name with the fields that it may carry, for gateway and desk alike.

What stands in no row is not written (`channels.logs` drops and counts it). No row has a field for a target, a name, a key, a
token or a body: what is not here cannot get into a log even by mistake. An error's type and way are `channels.logs`' own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_REQUEST: Final = frozenset(
    {
        "request",
        "method",
        "route",
        "status",
        "code",
        "reason",
        "authority",
        "kid",
        "case",
        "took_ms",
        "bytes_in",
        "peer",
    }
)
_CHAIN: Final = frozenset({"case", "authority", "kind", "stage", "seq", "digest", "reason", "code", "kid"})
_LOOP: Final = frozenset({"loop", "entries", "reason"})

EVENTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # the gateway
        "gateway.started": frozenset({"platform", "port", "version", "keyset"}),
        "gateway.stopping": frozenset({"signal"}),
        "gateway.stopped": frozenset({"open_requests"}),
        "request.served": _REQUEST,
        "request.failed": _REQUEST,
        "statement.taken": _CHAIN,
        "statement.refused": _CHAIN,
        "case.overdue": _CHAIN,
        "disclosure.retrieved": _CHAIN | {"bytes"},
        "relay.published": frozenset({"entries", "stream"}),
        "relay.refused": _CHAIN | {"entry"},
        "entry.dead": frozenset({"stream", "entry", "reason", "deliveries"}),
        "blobs.swept": frozenset({"entries"}),
        "loop.failed": _LOOP,
        "library.warned": frozenset({"library"}),
        # the desk
        "desk.started": frozenset({"platform", "entity", "version", "keyset"}),
        "desk.stopped": frozenset(),
        "entry.vetted": _CHAIN | {"entry"},
        "entry.refused": _CHAIN | {"entry"},
        "receipt.late": _CHAIN | {"seconds"},
        "draft.prepared": _CHAIN | {"draft", "accounts"},
        "draft.approved": _CHAIN | {"draft", "reviewer"},
        "decision.signed": _CHAIN | {"outcome", "draft"},
        "decision.unreceipted": _CHAIN | {"seconds"},
        "decision.rejected": _CHAIN,
        "decision.foreign": _CHAIN,  # under the desk's key, and not the desk's: alarm
        "case.troubled": _CHAIN | {"loop"},
        "particulars.opened": _CHAIN | {"reviewer"},
    }
)
