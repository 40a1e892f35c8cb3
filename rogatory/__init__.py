"""The entrance: the root command, and what belongs to no single party (keys, verification, the demo). Nobody imports it."""

from typing import Final

VERSION: Final = "0.1.0"  # as in pyproject.toml
