"""Production: the authority asks for a user's data. Reg. (EU) 2023/1543 Art. 5, and the like in other laws."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from protocol import limits
from protocol.procedures.shared import Particulars, Procedure, Span
from protocol.terms import Closed, Outcome


class Selector(StrEnum):
    """By what a target is named."""

    ACCOUNT = "account"
    PHONE = "phone"
    EMAIL = "email"
    IP = "ip"


class Target(Closed):
    """One user or connection that is asked about."""

    by: Selector
    value: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,254}$")]


class ProductionParticulars(Particulars):
    """The targets, and the time for which data are asked."""

    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=limits.SUBJECTS)]
    span: Span | None = None


PROCEDURE: Final = Procedure(
    particulars=ProductionParticulars,
    outcomes=frozenset(
        {
            Outcome.DISCLOSED,
            Outcome.PARTLY_DISCLOSED,
            Outcome.NO_DATA,
            Outcome.REFUSED,
            Outcome.CLARIFICATION_NEEDED,
        }
    ),
)
