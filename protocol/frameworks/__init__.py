"""Legal frameworks: what a law lets be asked, how soon an answer is owed, and on which grounds it may be refused.

One TOML file a law, each rule with the article that it comes from. They are read once, strictly, when this package is first
asked; a file with an unknown member, or a rule without an article, stops the process. A new framework needs no code.
"""

import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Final, final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from protocol.deadlines import Deadline
from protocol.problems import Refused
from protocol.sayings import Cover
from protocol.terms import Category, Code, FrameworkId, RequestKind

_Article = Annotated[str, StringConstraints(min_length=3, max_length=80)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@final
class Ground(_Table):
    """A ground on which an answer may be refused or clarified: its article and the text that the authority reads."""

    article: _Article
    text: str


@final
class _Rule(_Table):
    """A length of time by an article: exactly one of days and hours."""

    article: _Article
    days: Annotated[int, Field(ge=1, le=400)] | None = None
    hours: Annotated[int, Field(ge=1, le=400)] | None = None

    def length(self) -> timedelta:
        if (self.days is None) == (self.hours is None):
            raise ValueError("exactly one of days and hours")
        return timedelta(days=self.days or 0, hours=self.hours or 0)


@final
class _Answer(_Table):
    """How soon the answer to one kind of request is owed."""

    ordinary: _Rule
    emergency: _Rule


@final
class Opened(_Table):
    """What one kind of request may ask for, and by which article."""

    article: _Article
    categories: tuple[Category, ...]
    answer: _Answer

    @property
    def deadline(self) -> Deadline:
        """The time for the answer."""
        rules = self.answer
        return Deadline(
            rules.ordinary.length(), rules.ordinary.article, rules.emergency.length(), rules.emergency.article
        )


@final
class Framework(_Table):
    """One law, as data."""

    id: FrameworkId
    title: str
    version: Annotated[int, Field(ge=1)]
    valid_from: date
    unsure: tuple[str, ...] = ()
    kinds: Mapping[RequestKind, Opened]
    grounds: Mapping[Code, Ground]

    def opened(self, kind: RequestKind) -> Opened:
        """The rules for a kind of request. Raises Refused (`kind-not-allowed`)."""
        found = self.kinds.get(kind)
        if found is None:
            raise Refused("kind-not-allowed", article=self.title, reason=f"{self.id} has no {kind}")
        return found


OURS: Final[Mapping[str, Ground]] = MappingProxyType(
    {
        "particulars-unreadable": Ground(
            article="ours: no law asks a desk to answer what it cannot read",
            text="The particulars could not be opened with the desk's keys. Seal them anew to a recipient of the keyset.",
        ),
        "particulars-foreign": Ground(
            article="ours: particulars repeat their own statement's issuer and id",
            text="The sealed particulars belong to another statement. Seal the particulars of this very request.",
        ),
        "particulars-malformed": Ground(
            article="ours: protocol/procedures says what particulars hold",
            text="The particulars opened, but are not of the documented form.",
        ),
    }
)


@cache
def frameworks() -> Mapping[str, Framework]:
    """All frameworks by id, as read from the files beside this module."""
    found: dict[str, Framework] = {}
    for file in sorted(resources.files(__package__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            one = loaded(file.read_text(encoding="utf-8"))
            found[one.id] = one
    return MappingProxyType(found)


def loaded(text: str) -> Framework:
    """One framework from its TOML. Raises ValueError on anything that is not of the closed vocabulary."""
    one = TypeAdapter(Framework).validate_python(tomllib.loads(text))
    for opened in one.kinds.values():
        _ = opened.deadline  # a rule with both or neither of days and hours stops here
    return one


def framework(name: str) -> Framework:
    """The framework of that id. Raises Refused (`framework-unknown`)."""
    found = frameworks().get(name)
    if found is None:
        raise Refused("framework-unknown", reason="framework unknown")
    return found


def admit(cover: Cover) -> Opened:
    """What the cover's framework opens for it. Raises Refused, naming the article."""
    law = framework(cover.framework)
    opened = law.opened(cover.kind)
    for category in cover.categories:
        if category not in opened.categories:
            raise Refused("category-not-allowed", article=opened.article, reason=f"{law.id} does not open {category}")
    return opened


def ground(law: str, code: str) -> Ground:
    """The ground of that code, of the law or ours. Raises Refused (`invalid-member`)."""
    found = OURS.get(code) or framework(law).grounds.get(code)
    if found is None:
        raise Refused("invalid-member", detail=f"{law} has no ground of that code.", reason="ground unknown")
    return found
