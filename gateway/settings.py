"""What an operator of the gateway may choose: one TOML file, over which environment variables go. Parsed once, in `app`.

Paths in the file are relative to the file. Every field has a good default, but for those that only the operator knows.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from channels.settings import beside, read
from protocol.terms import PlatformId


class GatewaySettings(BaseSettings):
    """The gateway's settings. Environment: `ROGATORY_GATEWAY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ROGATORY_GATEWAY_", extra="forbid", frozen=True)

    platform: PlatformId
    ring: Path
    passphrase_file: Path
    keyset: Path
    root: Path  # the root's public key, as JWK
    channel: str
    data: Path = Path("data")
    store: str = ""  # the record's URL; nothing: a SQLite file in `data`
    blobs: str = ""  # where ciphertext lies; nothing: a folder in `data`
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8440
    public_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+$")] = "http://127.0.0.1:8440"
    contact: Annotated[str, StringConstraints(pattern=r"^(mailto:|https://|tel:)\S+$")] = "mailto:security@invalid"
    drain: timedelta = timedelta(seconds=20)  # how long a stop waits for what was accepted
    connections_per_address: Annotated[int, Field(ge=1)] = 256
    in_flight: Annotated[int, Field(ge=1)] = 2_048  # requests at once
    requests_per_minute: Annotated[int, Field(ge=1)] = 6_000  # of one party
    burst: Annotated[int, Field(ge=1)] = 600


def load(config: Path) -> GatewaySettings:
    """The settings in a TOML file. Raises `pydantic.ValidationError`, `OSError`, `tomllib.TOMLDecodeError`."""
    found, folder = read(GatewaySettings, config)
    paths = {name: folder / getattr(found, name) for name in ("ring", "passphrase_file", "keyset", "root", "data")}
    store = found.store or f"sqlite:///{paths['data'] / 'gateway.db'}"
    blobs = found.blobs or f"file://{paths['data'].resolve() / 'blobs'}"
    urls = {"channel": beside(found.channel, folder), "store": beside(store, folder), "blobs": blobs}
    return found.model_copy(update=paths | urls)
