"""Implementations of age that are not ours, as functions: age's own JavaScript library, pyrage (Rust), the program age (Go).

What a machine lacks is skipped with its reason: `make test` installs what can be had.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # it ships no marker
import pytest

HERE = Path(__file__).parent


def ran(*command: str, given: bytes = b"") -> bytes:
    return subprocess.run(command, input=given, capture_output=True, check=True, cwd=HERE, timeout=60).stdout


def node(*arguments: str, given: bytes = b"") -> bytes:
    if shutil.which("node") is None:
        pytest.skip("node is not to be had on this machine")
    if not (HERE / "node_modules" / "age-encryption").is_dir():
        pytest.skip("tests/foreign/node_modules is not installed: npm ci --prefix tests/foreign")
    return ran("node", "age.mjs", *arguments, given=given)


def age(*arguments: str, given: bytes) -> bytes:
    if shutil.which("age") is None:
        pytest.skip("the age program is not to be had on this machine: scripts/install-age.sh")
    return ran("age", *arguments, given=given)


def js_seal(plain: bytes, recipient: str) -> bytes:
    return node("encrypt", recipient, given=plain)


def js_open(sealed: bytes, identity: str) -> bytes:
    return node("decrypt", identity, given=sealed)


def rust_seal(plain: bytes, recipient: str) -> bytes:
    return bytes(pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(recipient)]))


def rust_open(sealed: bytes, identity: str) -> bytes:
    return bytes(pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(identity)]))


def go_seal(plain: bytes, recipient: str) -> bytes:
    return age("--recipient", recipient, given=plain)


def go_open(sealed: bytes, identity: str) -> bytes:
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".txt") as key:
        key.write(identity)
        key.flush()
        return age("--decrypt", "--identity", key.name, given=sealed)
