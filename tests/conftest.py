"""What holds for every test: what the report tells of the machine, how often long tests repeat, how Hypothesis searches.

Sockets reach loopback alone and every warning is an error: pyproject.toml says so. Files belong under `tmp_path`.
"""

from __future__ import annotations

import platform
import sqlite3
import ssl
from importlib.metadata import version

import hypothesis
import pytest
from cryptography.hazmat.backends.openssl import backend as openssl

FEW_ROUNDS = 3
LONGEST_NAME = 40
HOUSE = "house"

# Derandomised, so that a run that turns red means a change of ours; `make proof` searches anew each time.
# No deadlines: a shared machine stalls now and then.
hypothesis.settings.register_profile(
    HOUSE,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "explore",
    hypothesis.settings.get_profile(HOUSE),
    derandomize=False,
    max_examples=10_000,
)
hypothesis.settings.load_profile(HOUSE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rounds",
        type=int,
        metavar="N",
        help=f"run only the tests that repeat, N times over (else {FEW_ROUNDS} times, among all the others)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--rounds`, keep the tests that ask for the fixture of that name."""
    if config.getoption("--rounds") is None:
        return
    repeating = [item for item in items if "rounds" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in repeating])
    items[:] = repeating


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keys and digests that are made anew each time give no names: two workers must collect the same tests."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_NAME else None


def pytest_report_header() -> list[str]:
    """The versions that a report of ours can depend on and pytest does not name itself."""
    libraries = ["aiohttp", "cryptography", "pydantic", "PyJWT", "PyNaCl", "redis", "SQLAlchemy", "structlog", "uvloop"]
    return [
        f"machine: {platform.platform()}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}",
        f"in cryptography: {openssl.openssl_version_text()}",
        "libraries: " + ", ".join(f"{name} {version(name)}" for name in libraries),
    ]


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How often a test that looks for rare faults repeats: a few times daily, as often as `--rounds` says for a proof."""
    asked = pytestconfig.getoption("--rounds")
    return FEW_ROUNDS if asked is None else asked
