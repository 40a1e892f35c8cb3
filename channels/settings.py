"""Settings of a party: a TOML file, over which environment variables go, read once. Paths in it are relative to it.

What may be set, and its defaults, is each party's own model; what both ends must agree on is in `protocol.limits`.
"""

from pathlib import Path
from typing import TypeVar

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

Settings = TypeVar("Settings", bound=BaseSettings)


def read(model: type[Settings], config: Path) -> tuple[Settings, Path]:
    """The settings in a file, and the folder that its paths are relative to.

    Raises `pydantic.ValidationError`, `OSError`, `tomllib.TOMLDecodeError`.
    """
    config.stat()  # pydantic-settings takes a missing file for an empty one

    class _FromFile(model):  # type: ignore[misc,valid-type]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (we read no .env file)
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (secrets are files of their own)
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """The file is below the environment."""
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config)

    found: Settings = _FromFile()
    return found, config.resolve().parent


def beside(url: str, folder: Path) -> str:
    """A URL of an engine, whose SQLite file may be named relative to the file of the settings."""
    scheme, _, path = url.partition(":///")
    return f"sqlite:///{(folder / path).resolve()}" if scheme == "sqlite" else url
