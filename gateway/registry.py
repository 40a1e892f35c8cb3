"""The registry: authorities as their chains make them, held in memory, and whose key is whose.

The rule is `protocol.authorities`; the record is the store. This module keeps what was read, and hands keys to
`statements.read`. It is told of each new registry row before the row's receipt leaves.
"""

import re
from collections.abc import Iterable
from typing import Final, final

from crypto.keys import KeyId
from gateway.store import Store
from protocol.authorities import Authority, active
from protocol.chains import RegistryChain
from protocol.ids import AUTHORITY_PATTERN, PartyId
from protocol.keyset import Keyset
from protocol.problems import Refused
from protocol.sayings import SigningKeys
from protocol.statements import Holder, key_of

AUTHORITY: Final = re.compile(AUTHORITY_PATTERN, re.ASCII)


@final
class Registry:
    """All authorities, and the platform's own keys."""

    def __init__(self, keyset: Keyset) -> None:
        self.keyset = keyset
        self._chains: dict[PartyId, RegistryChain] = {}
        self._holders: dict[KeyId, Holder] = {}

    @property
    def platform(self) -> PartyId:
        """The platform that all statements are from or to."""
        return self.keyset.platform

    async def load(self, store: Store) -> None:
        """Read every chain from the store, everything checked. Raises Refused when one does not hold."""
        for party in await store.authorities():
            self.put(RegistryChain.read(await store.chain(party), self.keyset))

    def put(self, chain: RegistryChain) -> None:
        """The chain of an authority as it stands now."""
        authority = chain.authority
        if authority is None:
            raise RuntimeError("an empty registry chain")
        self._chains[authority.id] = chain
        self._holders.update({one.key.id: one for one in authority.holders})

    async def caught_up(self, chain: str, store: Store) -> None:
        """Read an authority's chain again when the store has more of it: another process's, or what seemed to have failed."""
        if AUTHORITY.fullmatch(chain) is None:
            return  # a case
        held = self._chains.get(PartyId(chain))
        rows = await store.chain(chain)
        if rows and (held is None or held.link.seq <= len(rows)):
            self.put(RegistryChain.read(rows, self.keyset))

    def chain(self, party: PartyId) -> RegistryChain:
        """The chain of an authority; an empty one when it never applied."""
        return self._chains.get(party, RegistryChain())

    def find(self, party: PartyId) -> Authority | None:
        """The authority of that id, or None."""
        return self.chain(party).authority

    def all(self) -> list[Authority]:
        """Every authority, by id."""
        return [chain.authority for _, chain in sorted(self._chains.items()) if chain.authority is not None]

    def holder(self, key: KeyId) -> Holder | None:
        """Whose key it is: the platform's or an authority's, past or present."""
        return self.keyset.holder(key) or self._holders.get(key)

    def admitted(self, party: PartyId) -> Authority:
        """The authority, if it may ask now. Raises Refused (`authority-not-active`)."""
        return active(self.find(party))

    def unclaimed(self, keys: SigningKeys, party: PartyId) -> None:
        """Refuse keys that another party holds or held: a key has one holder, for ever."""
        ids: Iterable[KeyId] = [key_of(jwk).id for jwk in keys]
        for key in ids:
            holder = self.holder(key)
            if holder is not None and holder.party != party:
                raise Refused("invalid-member", detail="Make a key pair of your own.", reason="key of another party")
