"""The platform's public keys, as its offline root signed them: who may sign what, and what to seal to.

A `Keyset` is made by `read_keyset` alone, so that it is always one that the pinned root signed. Keeping the highest version
seen, and refusing a lower one, is `newer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

from crypto.errors import BadKey, SealingError
from crypto.keys import KeyId, PublicKey, X25519Key, read_jwk, read_queue_jwk, sealing_key_id
from crypto.sealing import parse_recipient
from protocol.ids import Instant, PartyId, instant
from protocol.problems import Refused
from protocol.sayings import KeysetSaying, PlatformKey
from protocol.statements import Holder, Statement, read
from protocol.terms import Role

KEYSET_TYP: Final = "rogatory-keyset+jwt"


@final
@dataclass(frozen=True, slots=True)
class _Root:
    """The keys that `read` may use for a keyset: the pinned root and no other."""

    platform: PartyId
    root: PublicKey

    def holder(self, key: KeyId) -> Holder | None:
        if key != self.root.id:
            return None
        return Holder(self.platform, Role.ROOT, "root", self.root, instant(0))


@final
@dataclass(frozen=True, slots=True)
class Keyset:
    """A keyset that the root signed. Lookups take the instant for which the answer shall hold."""

    statement: Statement
    platform: PartyId
    version: int
    until: Instant
    holders: Mapping[KeyId, Holder]
    keys: tuple[PlatformKey, ...]
    sealed_to: Mapping[str, frozenset[KeyId]]  # by entity; worked out once, since every request is checked against it

    def holder(self, key: KeyId) -> Holder | None:
        """Whose signing key this is, or None."""
        return self.holders.get(key)

    def sealing(self, entity: str, at: Instant) -> tuple[str, ...]:
        """The age recipients of an entity's desk, newest first: what particulars are sealed to."""
        return tuple(key.recipient for key in self._valid(Role.DESK_SEALING, entity, at) if key.recipient is not None)

    def sealing_ids(self, entity: str) -> frozenset[KeyId]:
        """The ids of all sealing keys that an entity's desk ever had in this keyset."""
        return self.sealed_to.get(entity, frozenset())

    def queue(self, role: Role, entity: str, at: Instant) -> X25519Key:
        """The queue key of the gateway or of an entity's desk that is valid at `at`, the newest first."""
        for key in self._valid(role, entity, at):
            if key.jwk is not None:
                return read_queue_jwk(key.jwk.model_dump())
        raise Refused("keyset-wrong", detail="The keyset has no valid queue key.", reason=f"no {role} for {entity}")

    def entities(self) -> tuple[str, ...]:
        """The establishments that have a desk."""
        return tuple(self.sealed_to)

    def _valid(self, role: Role, entity: str, at: Instant) -> list[PlatformKey]:
        found = [
            key
            for key in self.keys
            if key.role is role and key.entity == entity and instant(key.since) <= at < instant(key.until)
        ]
        return sorted(found, key=lambda key: key.since, reverse=True)


def read_keyset(raw: bytes, root: PublicKey, platform: PartyId, at: Instant | None) -> Keyset:
    """The keyset in `raw`, signed by `root` and not past its end at `at`. Raises Refused (`keyset-wrong`).

    None asks for no end: for a case file, whose keyset may have ended long ago.
    """
    try:
        statement = read(raw, _Root(platform, root), None, kinds=(KEYSET_TYP,))
    except Refused as refused:
        raise Refused("keyset-wrong", reason=f"keyset: {refused.reason}") from None
    said = statement.saying(KeysetSaying)
    if at is not None and instant(said.until) <= at:
        raise Refused("keyset-wrong", detail="The keyset has ended; fetch the newest.", reason="keyset ended")
    try:
        holders = _holders(said, platform)
    except (BadKey, SealingError) as error:
        raise Refused("keyset-wrong", reason=f"a key of the keyset: {error.flaw}") from None
    return Keyset(statement, platform, said.version, instant(said.until), holders, said.keys, _sealed_to(said))


def newer(held: Keyset | None, found: Keyset) -> Keyset:
    """The one of two keysets to hold: the version only rises, and one version has one content."""
    if held is None or found.version > held.version:
        return found
    if found.version < held.version:
        raise Refused(
            "keyset-wrong", detail="An older keyset was served.", reason=f"version {found.version} < {held.version}"
        )
    if found.statement.digest != held.statement.digest:
        raise Refused("keyset-wrong", detail="Two keysets of one version.", reason=f"version {found.version} twice")
    return held


def _sealed_to(said: KeysetSaying) -> Mapping[str, frozenset[KeyId]]:
    """For each entity that has a desk, in the order of their names, the ids of its sealing keys."""
    found: dict[str, set[KeyId]] = {}
    for row in said.keys:
        if row.recipient is not None:  # the sealing keys, and no others, are recipients
            found.setdefault(row.entity, set()).add(sealing_key_id(row.recipient))
    return MappingProxyType({entity: frozenset(found[entity]) for entity in sorted(found)})


def _holders(said: KeysetSaying, platform: PartyId) -> Mapping[KeyId, Holder]:
    """The signing keys by their ids; every key, of whatever use, must be sound."""
    holders: dict[KeyId, Holder] = {}
    for row in said.keys:
        if row.recipient is not None:
            parse_recipient(row.recipient)
        if row.jwk is None:
            continue
        if row.role in {Role.GATEWAY_QUEUE, Role.DESK_QUEUE}:
            read_queue_jwk(row.jwk.model_dump())
            continue
        key = read_jwk(row.jwk.model_dump())
        if key.id in holders:
            raise Refused("keyset-wrong", detail="One key stands in two rows.", reason=f"kid {key.id} twice")
        holders[key.id] = Holder(platform, row.role, row.name, key, instant(row.since), instant(row.until), row.entity)
    return MappingProxyType(holders)
