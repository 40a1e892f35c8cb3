"""An authority's home: who it is, which platform it asks, which root key it pinned, and where its things lie.

`authority.toml` in a folder of mode 0700; environment variables go over it. What stands here is the authority's own word: the
gateway is believed nothing of it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, final

from pydantic import StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from authority.keys import Keys
from channels.settings import read
from crypto.keyring import Cost
from protocol.ids import Instant, PartyId, parse_platform_id
from protocol.terms import AuthorityId, AuthorityType, Country, KeyIdText, PlatformId

TOML: Final = "authority.toml"
# In the clear to this machine alone: who asks, and when, is nobody's business on the way.
_GATEWAY: Final = r"^(https://[a-z0-9.-]+|http://(127\.0\.0\.1|localhost|\[::1\]))(:[0-9]{1,5})?$"


class AuthoritySettings(BaseSettings):
    """The settings of one authority at one platform. Environment: `ROGATORY_AUTHORITY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ROGATORY_AUTHORITY_", extra="forbid", frozen=True)

    id: AuthorityId
    name: str
    country: Country
    type: AuthorityType
    contact: str  # the second line, as it is told to the platform
    gateway: Annotated[str, StringConstraints(pattern=_GATEWAY)]
    platform: PlatformId
    root: KeyIdText  # the platform's root key, pinned


@final
@dataclass(frozen=True, slots=True)
class Home:
    """The folder of an authority, and what its settings say."""

    folder: Path
    settings: AuthoritySettings

    @property
    def id(self) -> PartyId:
        """The authority."""
        return PartyId(self.settings.id)

    @property
    def platform(self) -> PartyId:
        """The platform that is asked."""
        return parse_platform_id(self.settings.platform)

    @property
    def keyset(self) -> Path:
        """The newest keyset that was seen."""
        return self.folder / "keyset.jws"

    @property
    def sent(self) -> Path:
        """What was signed, and the receipts."""
        return self.folder / "sent"

    @property
    def received(self) -> Path:
        """What was fetched and opened."""
        return self.folder / "received"

    @property
    def ring(self) -> Path:
        """The authority's keys."""
        return self.folder / "authority.ring"

    @property
    def passphrase(self) -> Path:
        """The file with the ring's passphrase. It need not be there: then somebody is asked."""
        return self.folder / "authority.passphrase"


def load(folder: Path) -> Home:
    """The home in a folder. Raises `pydantic.ValidationError`, `OSError`, `tomllib.TOMLDecodeError`."""
    config = folder / TOML
    if not config.is_file():
        raise FileNotFoundError(2, "There is no authority.toml; `rogatory authority init` makes it", str(folder))

    found, _ = read(AuthoritySettings, config)
    return Home(folder, found)


def make(
    folder: Path, settings: AuthoritySettings, passphrase: bytes, now: Instant, cost: Cost = Cost.MODERATE
) -> Home:
    """A new home with new keys. Raises KeyringError (`exists`)."""
    home = Home(folder, settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Keys.make(home.ring, passphrase, now, cost)
    told = settings.model_dump(mode="json")
    (folder / TOML).write_text(
        "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in told.items())
    )
    return home
