"""The authority's client: says, sends, and believes nothing that it has not checked.

Before a statement leaves, the gateway must have shown the pinned root and a keyset under it that is no older than the newest seen
(`Client.service`). Every receipt must be the gateway's, of what was signed, of about this time, and stand at its place in a
chain whose every row is verified here from its bytes. What was signed is kept until then (`authority.sent`).
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, final

from pydantic import ValidationError

from authority import requests
from authority.requests import Matter, Order
from authority.sent import Outbox, Owed, write
from authority.settings import SEALING, SIGNING, Home
from channels.http import Answered, BadAnswer, Http, Patience, Progress
from crypto.keyring import Held, Keyring, SealingSecret, Status
from crypto.keys import Ed25519Secret, P256Secret, SecretKey
from crypto.sealing import generate_identity
from protocol import limits
from protocol.authorities import Authority, active
from protocol.cases import Case, chain_of
from protocol.chains import CaseChain, Known, RegistryChain, Row
from protocol.ids import CaseId, Digest, Instant, Jti, PartyId, instant, numeric, uuid7, written
from protocol.keyset import Keyset, newer, read_keyset
from protocol.problems import PROBLEMS, Place, Refused
from protocol.receipts import read_receipt, read_rejection
from protocol.sayings import (
    KINDS,
    Acknowledgement,
    Application,
    Blob,
    Chain,
    Claims,
    EcJwk,
    Jwk,
    OkpJwk,
    Proof,
    Receipt,
    Rekey,
    Request,
    Role,
    SealedPart,
    Supplement,
    Withdrawal,
    Withdrawn,
)
from protocol.statements import Statement, key_of, read, say
from protocol.wire import Answer, CaseAnswer, CaseList, CaseRow, ReceiptAnswer, ServiceAnswer, StatementBody, Statements
from protocol.wire import ProblemAnswer

LONG_POLL: Final = 30  # seconds
CASE_FILE: Final = 64 * limits.MIB  # what `protocol.casefile` reads at most
_FOR_GOOD: Final = range(400, 500)  # statuses of a refusal that the same bytes would get again …
_NOT_FOR_GOOD: Final = frozenset({408, 429})  # … but for these
Model = TypeVar("Model", bound=Answer)
"""placeholder"""
