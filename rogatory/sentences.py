"""What the world refused, in a sentence with what to do next: for the terminal, which the root command writes to.

A sentence names files, flaws, codes and places, never content. What is no error of the world has none, and is raised again.
"""

import tomllib
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from channels import ChannelError
from crypto.errors import CryptoError
from gateway.store import StoreError
from protocol.problems import Refused

_FLAWS: Final[Mapping[str, str]] = {
    "wrong-passphrase-or-altered": "The passphrase is wrong, or the key ring was altered. Try again, or restore it from a backup.",
    "mode-too-open": "A secret file or its folder can be read by others. Close it: chmod 700 the folder, chmod 600 the file.",
    "no-such-file": "A key ring or passphrase file is not there. Check the path in the settings.",
    "symbolic-link": "A key ring or passphrase file is a symbolic link. Name the file itself.",
    "not-a-file": "A key ring or passphrase is not a plain file.",
    "exists": "There is a key ring already. It was left as it is; choose another folder.",
    "passphrase-empty": "The passphrase is empty.",
    "too-little-memory": "There is too little free memory to open the key ring (it needs 256 MiB).",
    "truncated": "The key ring was cut off. Restore it from a backup.",
    "replaced-meanwhile": "Another process replaced the key ring meanwhile. Try again.",
    "no-such-key": "The key ring has no current key of the kind needed here. Is it the right ring?",
    "not-for-us": "The file is not sealed to any key of this key ring.",
    "unknown-word": "A word is not on the list of fingerprint words. Ask for it again, letter by letter.",
    "busy": "The queue is busy. Try again.",
}


def sentence(error: Exception) -> str | None:
    """What to tell, or None if `error` is not the world's."""
    match error:
        case Refused():
            return _refused(error)
        case CryptoError() | ChannelError() | StoreError():
            return _FLAWS.get(error.flaw, f"{type(error).__name__}: {error.flaw}.")
        case ValidationError():
            return _misfits(error)
        case tomllib.TOMLDecodeError():
            return f"A TOML file cannot be read: {error}."
        case OSError():
            return _system(error)
        case _:
            return None


def _refused(refused: Refused) -> str:
    lines = [f"{refused.row.title} ({refused.code}). {refused.detail}"]
    if refused.article:
        lines.append(f"  law: {refused.article}")
    lines += [f"  {place.pointer}: {place.expected}" for place in refused.places]
    return "\n".join(lines)


def _misfits(error: ValidationError) -> str:
    """Which settings or fields do not fit; never their values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = [f"  {'.'.join(str(part) for part in one['loc']) or error.title}: {one['msg']}" for one in found]
    return "\n".join([f"{error.title} is not as it must be:", *places])


def _system(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return what if error.filename is None else f"{error.filename}: {what}"
