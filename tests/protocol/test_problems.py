"""The table of problems: whole, plain, and no code outside of it."""

import ast
import re
from pathlib import Path

import pytest

from protocol.problems import PROBLEMS, Place, Refused

ROOT = Path(__file__).parents[2]
PARTIES = ("protocol", "gateway", "desk", "authority", "rogatory")


def _strings(node: ast.expr) -> list[str]:
    """Every text that an expression may come to."""
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def codes_used() -> dict[str, str]:
    """Each code that is written out where Refused is made, and where."""
    found: dict[str, str] = {}
    for party in PARTIES:
        for file in sorted((ROOT / party).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] == "Refused" and node.args:
                    found |= dict.fromkeys(_strings(node.args[0]), f"{file.relative_to(ROOT)}:{node.lineno}")
    return found


def test_every_code_that_is_used_stands_in_the_table() -> None:
    used = codes_used()
    assert len(used) > 20
    assert {code: where for code, where in used.items() if code not in PROBLEMS} == {}


def test_every_row_has_a_status_a_title_and_says_what_to_do() -> None:
    for code, row in PROBLEMS.items():
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code)
        assert 400 <= row.status < 600, code
        assert not row.title.endswith("."), code
        assert row.help.endswith((".", "?")), code


def test_a_refusal_has_two_texts_and_the_caller_sees_one() -> None:
    refused = Refused("stale", detail="Sign it anew.", reason="iat 400 s ago")
    assert (refused.detail, refused.reason, refused.row.status) == ("Sign it anew.", "iat 400 s ago", 422)
    assert str(refused) == "stale"


def test_a_refusal_without_texts_takes_those_of_the_table() -> None:
    refused = Refused("not-found")
    assert (refused.detail, refused.reason) == (PROBLEMS["not-found"].help, "not-found")
    assert (refused.places, refused.article, refused.wait) == ((), "", 0)


def test_a_refusal_can_say_where_by_which_law_and_when_again() -> None:
    place = Place("/cover/categories/0", "a category")
    refused = Refused("too-many", places=(place,), article="Art. 5", wait=7)
    assert (refused.places, refused.article, refused.wait) == ((place,), "Art. 5", 7)


def test_a_code_that_is_in_no_row_is_a_mistake_of_ours() -> None:
    with pytest.raises(RuntimeError):
        Refused("no-such-code")
