"""Procedures: what the sealed particulars of a request hold."""

import json
from typing import Any

import pytest

from protocol import limits
from protocol.problems import Refused
from protocol.procedures import PROCEDURES
from protocol.procedures.production import PROCEDURE, ProductionParticulars
from protocol.statements import claims
from protocol.terms import Outcome, RequestKind
from tests.actors import Officer, Platform, fresh_jti

OFFICER = Officer(Platform())
GOOD: dict[str, Any] = json.loads(OFFICER.particulars(fresh_jti()).model_dump_json(exclude_none=True))
DOCUMENT = {"name": "order.pdf", "type": "application/pdf", "sha256": "0" * 64, "plain_sha256": "1" * 64}
TARGET = GOOD["targets"][0]


def read(**members: Any) -> ProductionParticulars:
    told = {name: value for name, value in (GOOD | members).items() if value is not ...}
    raw = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    found = claims(raw, ProductionParticulars)  # type: ignore[type-var]
    assert isinstance(found, ProductionParticulars)
    return found


def test_every_kind_of_request_has_a_procedure() -> None:
    assert PROCEDURES.keys() == set(RequestKind)
    assert PROCEDURES[RequestKind.PRODUCTION] is PROCEDURE
    assert PROCEDURE.outcomes == set(Outcome)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"span": {"since": 1_795_000_000, "until": 1_795_000_001}},
        {"attachments": [DOCUMENT, DOCUMENT | {"name": "영장.pdf"}]},
        {"validated_by": {"name": "Judge Park", "rank": "Seoul Central", "mail": "p@court.example", "phone": "+82 2"}},
        {"targets": [TARGET | {"by": by, "value": "x"} for by in ("account", "phone", "email", "ip")]},
        {"facts": "Two\nlines of them."},
    ],
)
def test_what_an_officer_may_tell_the_desk(members: dict[str, Any]) -> None:
    particulars = read(**members)
    assert particulars.iss == OFFICER.party
    assert particulars.targets


@pytest.mark.parametrize(
    "members",
    [
        {"iss": ...},
        {"jti": ...},
        {"iss": "tg.example"},
        {"jti": ""},
        {"facts": ""},
        {"facts": "x" * 20_001},
        {"officer": ...},
        {"officer": {"name": ""}},
        {"officer": {"name": "Kim", "badge": 7}},
        {"targets": []},
        {"targets": [TARGET | {"by": "face"}]},
        {"targets": [TARGET | {"value": ""}]},
        {"targets": [TARGET | {"value": "a\nb"}]},
        {"targets": [TARGET | {"value": "x" * 255}]},
        {"targets": [TARGET] * (limits.SUBJECTS + 1)},
        {"span": {"since": 1_795_000_000, "until": 1_795_000_000}},
        {"span": {"since": 1_795_000_001, "until": 1_795_000_000}},
        {"span": {"since": 1_795_000_000}},
        {"attachments": [DOCUMENT | {"name": "../../etc/passwd"}]},
        {"attachments": [DOCUMENT | {"name": "a\\b"}]},
        {"attachments": [DOCUMENT | {"name": "a\0"}]},
        {"attachments": [DOCUMENT | {"type": "pdf"}]},
        {"attachments": [DOCUMENT] * (limits.ATTACHMENTS + 1)},
        {"extra": 1},
    ],
)
def test_what_is_no_particulars_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        read(**members)
