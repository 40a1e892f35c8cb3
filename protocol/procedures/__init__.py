"""Procedures: what is particular to one kind of request. One module a kind, one row a kind in PROCEDURES.

A procedure names the model of the particulars and the outcomes that its requests may have. What all kinds share, the life of a
case, is `protocol.cases`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocol.procedures import production
from protocol.procedures.shared import Procedure
from protocol.terms import RequestKind

PROCEDURES: Final[Mapping[RequestKind, Procedure]] = MappingProxyType({RequestKind.PRODUCTION: production.PROCEDURE})
