"""What the desk's operator, and a reviewer, may choose: parsed once, from a TOML file and the environment.

Every field that has a safe default has it. Paths are relative to the file. What both ends must agree on is `protocol.limits`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from channels.settings import beside, read
from protocol.terms import Code, Entity, PlatformId


class DeskSettings(BaseSettings):
    """The desk's settings. Environment: `ROGATORY_DESK_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ROGATORY_DESK_", extra="forbid", frozen=True)

    platform: PlatformId
    entity: Entity = "main"  # the establishment whose requests come here
    gateway: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+$")]
    ring: Path
    passphrase_file: Path
    keyset: Path
    root: Path  # the root's public key, as JWK
    channel: str
    sources: Path  # what may be asked of which database
    data: Path = Path("data")
    unreceipted: timedelta = timedelta(minutes=15)  # how long the gateway's receipt may stay away before the alarm

    @property
    def database(self) -> Path:
        """Where the desk's record lies; worker and reviewers share it."""
        return self.data / "desk.db"


class ReviewerSettings(BaseSettings):
    """A reviewer's settings. Environment: `ROGATORY_REVIEWER_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ROGATORY_REVIEWER_", extra="forbid", frozen=True)

    name: Code
    platform: PlatformId
    desk: Path  # the desk's settings
    ring: Path
    passphrase_file: Path


def load_desk(config: Path) -> DeskSettings:
    """The desk's settings. Raises `pydantic.ValidationError`, `OSError`, `tomllib.TOMLDecodeError`."""
    found, folder = read(DeskSettings, config)
    names = ("ring", "passphrase_file", "keyset", "root", "sources", "data")
    paths = {name: folder / getattr(found, name) for name in names}
    return found.model_copy(update={**paths, "channel": beside(found.channel, folder)})


def load_reviewer(home: Path) -> ReviewerSettings:
    """The settings in a reviewer's folder. Raises as `load_desk` does."""
    found, folder = read(ReviewerSettings, home / "reviewer.toml")
    return found.model_copy(
        update={name: folder / getattr(found, name) for name in ("desk", "ring", "passphrase_file")}
    )
