"""Chains: the rows of a case or of a registry, read from bytes one after the other.

Gateway, desk, authority and case file read their chains here, so that nobody trusts a row that he has not checked himself: the
receipt under a gateway key of its time, the statement under its signer's key of that time, and that both fit what came before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, final

from crypto.keys import KeyId
from protocol.authorities import Authority
from protocol.cases import Case
from protocol.ids import PartyId, instant
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.receipts import Link, linked_authority, linked_case, read_receipt
from protocol.statements import Holder, Statement, read

_NOBODY: Final[Mapping[KeyId, Holder]] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row of a chain as bytes: the receipt, and the statement if one caused it."""

    receipt: bytes
    statement: bytes | None = None


@final
@dataclass(frozen=True, slots=True)
class Known:
    """The keys of the platform, and of one authority if there is one yet."""

    keyset: Keyset
    authority: Authority | None = None

    @property
    def platform(self) -> PartyId:
        """The platform that all statements are from or to."""
        return self.keyset.platform

    def holder(self, key: KeyId) -> Holder | None:
        """The holder of a key, or None."""
        found = self.keyset.holder(key)
        return self.authority.holder(key) if found is None and self.authority is not None else found


@final
@dataclass(frozen=True, slots=True)
class RegistryChain:
    """An authority as its chain makes it, and where the next row goes."""

    authority: Authority | None = None
    link: Link = field(default_factory=Link)

    def then(self, row: Row, keyset: Keyset) -> "RegistryChain":
        """The chain after one more row, everything checked. Raises Refused."""
        if row.statement is None:
            raise Refused("receipt-wrong", reason="a registry row without a statement")
        known = Known(keyset, self.authority)
        receipt = read_receipt(row.receipt, known)
        statement = read(row.statement, known, instant(receipt.said.iat))
        return RegistryChain(linked_authority(self.link, self.authority, receipt, statement), Link.after(receipt))

    @staticmethod
    def read(rows: Iterable[Row], keyset: Keyset) -> "RegistryChain":
        """The chain of these rows. Raises Refused at the first that is wrong."""
        chain = RegistryChain()
        for row in rows:
            chain = chain.then(row, keyset)
        return chain


@final
@dataclass(frozen=True, slots=True)
class CaseChain:
    """A case as its chain makes it, where the next row goes, and the last receipt."""

    case: Case | None = None
    link: Link = field(default_factory=Link)
    receipt: Statement | None = None

    def then(self, row: Row, known: Known) -> "CaseChain":
        """The chain after one more row, everything checked. Raises Refused."""
        receipt = read_receipt(row.receipt, known)
        statement = None if row.statement is None else read(row.statement, known, instant(receipt.said.iat))
        case = linked_case(self.link, self.case, receipt, statement)
        return CaseChain(case, Link.after(receipt), receipt)

    @staticmethod
    def read(rows: Iterable[Row], known: Known) -> "CaseChain":
        """The chain of these rows. Raises Refused at the first that is wrong."""
        chain = CaseChain()
        for row in rows:
            chain = chain.then(row, known)
        return chain
