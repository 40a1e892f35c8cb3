"""The registry of log events: nothing in it can carry what must not be logged."""

import ast
import re
from pathlib import Path

from protocol.events import EVENTS

ROOT = Path(__file__).parents[2]
# What a field may never be named: content, secrets, persons. Names like these would invite what they say.
NEVER = re.compile(
    r"target|name|value|fact|body|token|statement|sealed|plain|particular|secret|passphrase|cookie|authori[sz]ation"
    r"|address|mail|phone|words|contact|proof|jws|url|path|query|header"
)


def test_no_field_invites_what_must_not_be_logged() -> None:
    fields = frozenset().union(*EVENTS.values())
    assert [field for field in sorted(fields) if NEVER.search(field)] == []


def test_events_are_named_for_what_happened() -> None:
    assert [name for name in EVENTS if not re.fullmatch(r"[a-z]+\.[a-z]+", name)] == []
    assert all(re.fullmatch(r"[a-z_]+", field) for fields in EVENTS.values() for field in fields)


def test_the_registry_cannot_be_changed() -> None:
    assert not hasattr(EVENTS, "__setitem__")


def test_every_event_that_is_logged_stands_in_the_registry_with_its_fields() -> None:
    logged = 0
    wrong = []
    for file in (file for party in ("gateway", "desk") for file in sorted((ROOT / party).rglob("*.py"))):
        for call in (node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) not in {"log.info", "log.warning", "log.error"}:
                continue
            if not call.args or not isinstance(call.args[0], ast.Constant):
                continue
            logged += 1
            fields = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
            name = str(call.args[0].value)
            if not fields <= EVENTS.get(name, frozenset()) or name not in EVENTS:
                wrong.append((file.name, call.lineno, name, sorted(fields - EVENTS.get(name, frozenset()))))
    assert logged > 0
    assert wrong == []
