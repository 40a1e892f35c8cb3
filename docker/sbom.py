"""What the image's environment holds, as a CycloneDX 1.6 document on standard output: names, versions, licences, hashes.

    python sbom.py requirements/runtime.txt

The hashes are the lock's: those of the files that pip accepted. The same environment gives the same bytes: no time and no
serial number stands in it. The base image is not described here; the builder's own attestation (`--sbom=true`) does that.
"""

import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
OURS: Final = "rogatory"


def name_of(text: str) -> str:
    """The one form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def locked(text: str) -> dict[str, list[str]]:
    """The SHA-256 of every file that a lock accepts, by the distribution's name."""
    found: dict[str, list[str]] = {}
    hashes: list[str] = []
    for line in text.splitlines():
        if (pinned := PINNED.match(line)) is not None:
            hashes = found[name_of(pinned[1])] = []
        hashes += HASH.findall(line)
    return found


def component(one: Distribution, lock: Mapping[str, list[str]]) -> dict[str, object]:
    """One distribution. Raises LookupError when it is not ours and the lock does not know it."""
    name, licence = name_of(one.name), one.metadata["License-Expression"]
    told: dict[str, object] = {
        "type": "application" if name == OURS else "library",
        "bom-ref": f"pkg:pypi/{name}@{one.version}",
        "name": name,
        "version": one.version,
        "purl": f"pkg:pypi/{name}@{one.version}",
    }
    if licence:
        told["licenses"] = [{"expression": licence}]
    if name != OURS:
        # One file of these was installed: which one depends on the machine that the image was built for.
        told["properties"] = [{"name": "rogatory:lock:sha256", "value": value} for value in lock[name]]
    return told


def document(found: Iterator[Distribution], lock: Mapping[str, list[str]]) -> dict[str, object]:
    """The whole document. Raises LookupError when our own distribution is not there."""
    every = {name_of(one.name): component(one, lock) for one in found}
    ours = every.pop(OURS)
    python = {"type": "platform", "name": "python", "version": platform.python_version(), "bom-ref": "python"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours},
        "components": [python, *(every[name] for name in sorted(every))],
    }


if __name__ == "__main__":
    json.dump(document(iter(distributions()), locked(Path(sys.argv[1]).read_text())), sys.stdout, indent=1)
