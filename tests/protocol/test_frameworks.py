"""Frameworks: law as data, in a closed vocabulary, each rule with its article."""

from datetime import date, timedelta

import pytest

from protocol.frameworks import OURS, admit, framework, frameworks, ground, loaded
from protocol.problems import Refused
from protocol.terms import Category, RequestKind, Urgency
from tests.actors import Officer, Platform

GOOD = """
id = "xx.test"
title = "A law"
version = 1
valid_from = 2026-01-01
[kinds.production]
article = "Art. 1"
categories = ["subscriber"]
[kinds.production.answer]
ordinary = { days = 3, article = "Art. 2" }
emergency = { hours = 2, article = "Art. 3" }
[grounds.too-vague]
article = "Art. 4"
text = "Too vague."
"""


@pytest.fixture
def officer() -> Officer:
    return Officer(Platform())


def test_e_evidence_is_what_the_regulation_says() -> None:
    """Reg. (EU) 2023/1543 Art. 5, 10(3), 10(4); applied since 18 August 2026."""
    law = framework("eu.e-evidence")
    opened = law.opened(RequestKind.PRODUCTION)
    assert law.valid_from == date(2026, 8, 18)
    assert set(opened.categories) == set(Category)
    assert opened.deadline.length(Urgency.ORDINARY) == timedelta(days=10)
    assert opened.deadline.length(Urgency.EMERGENCY) == timedelta(hours=8)
    assert (opened.deadline.ordinary_article, opened.deadline.emergency_article) == ("Art. 10(3)", "Art. 10(4)")


def test_every_rule_names_its_article_and_every_ground_its_text() -> None:
    assert frameworks().keys() >= {"eu.e-evidence"}
    for name, law in frameworks().items():
        assert law.id == name
        for opened in law.kinds.values():
            assert all("Art." in one for one in (opened.article, opened.deadline.ordinary_article))
        for one in (*law.grounds.values(), *OURS.values()):
            assert one.article
            assert one.text.endswith(".")
        assert not law.grounds.keys() & OURS.keys()


def test_the_laws_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        frameworks()["x"] = framework("eu.e-evidence")  # type: ignore[index]


def test_a_law_is_read() -> None:
    law = loaded(GOOD)
    assert law.opened(RequestKind.PRODUCTION).deadline.length(Urgency.EMERGENCY) == timedelta(hours=2)
    assert law.grounds["too-vague"].article == "Art. 4"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id = "xx.test"', 'id = "XX"'),
        ('id = "xx.test"', ""),
        ('title = "A law"', ""),
        ("version = 1", "version = 0"),
        ("valid_from = 2026-01-01", 'valid_from = "soon"'),
        ("version = 1", "version = 1\nextra = 1"),
        ('article = "Art. 1"', ""),
        ('article = "Art. 1"', 'article = ""'),
        ('article = "Art. 1"', 'article = "Art. 1"\nextra = 1'),
        ('categories = ["subscriber"]', 'categories = ["everything"]'),
        ("[kinds.production]", "[kinds.extradition]"),
        ("[kinds.production.answer]", "[kinds.production.reply]"),
        ('days = 3, article = "Art. 2"', "days = 3"),
        ("days = 3", "days = 3, hours = 2"),
        ("days = 3, ", ""),
        ("days = 3", "days = 0"),
        ("days = 3", "days = 401"),
        ("days = 3", "days = -1"),
        ("hours = 2", "minutes = 2"),
        ("emergency", "urgent"),
        ('article = "Art. 4"\n', ""),
        ('text = "Too vague."', ""),
        ("[grounds.too-vague]", "[grounds.Too_Vague]"),
        ("version = 1", "version = 1\nversion = 2"),
        ("version = 1", "version = "),
    ],
)
def test_a_law_with_a_rule_that_is_none_stops_the_process(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=r".+"):
        loaded(GOOD.replace(old, new, 1))


def test_what_the_law_opens_is_admitted(officer: Officer) -> None:
    assert admit(officer.cover(categories=tuple(Category))).article == "Art. 5"


def test_a_law_that_is_not_ours_admits_nothing(officer: Officer) -> None:
    with pytest.raises(Refused) as found:
        admit(officer.cover(framework="us.sca"))
    assert found.value.code == "framework-unknown"


def test_a_category_that_the_law_does_not_open_is_refused_by_its_article(
    officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.frameworks.frameworks", lambda: {"xx.test": loaded(GOOD)})
    assert admit(officer.cover(framework="xx.test")).article == "Art. 1"
    with pytest.raises(Refused) as found:
        admit(officer.cover(framework="xx.test", categories=(Category.SUBSCRIBER, Category.CONTENT)))
    assert (found.value.code, found.value.article) == ("category-not-allowed", "Art. 1")


def test_a_kind_that_the_law_does_not_know_is_refused() -> None:
    law = loaded(GOOD).model_copy(update={"kinds": {}})
    with pytest.raises(Refused) as found:
        law.opened(RequestKind.PRODUCTION)
    assert (found.value.code, found.value.article) == ("kind-not-allowed", "A law")


def test_a_ground_is_the_law_s_or_ours() -> None:
    assert ground("eu.e-evidence", "impossible").article == "Art. 10(7)"
    assert ground("eu.e-evidence", "particulars-unreadable").article.startswith("ours:")
    with pytest.raises(Refused) as found:
        ground("eu.e-evidence", "too-vague")
    assert found.value.code == "invalid-member"
