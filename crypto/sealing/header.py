"""The textual head of an age v1 file: its grammar and its MAC (C2SP age, "Header").

A header carries the file key, wrapped once a stanza for one recipient each. `read` takes exactly the grammar of the
specification and nothing near it, and costs little on the worst input: both its length and the number of its stanzas
are capped. It unwraps nothing: what a stanza means is its recipient kind's own business.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import SealingError

MAX_STANZAS: Final = 64  # ours: a reader tries every identity on every stanza
MAX_HEADER: Final = 128 * 1024  # bytes; ours: 64 post-quantum stanzas take 100 KB

FILE_KEY_SIZE: Final = 16  # bytes, as all below: C2SP age, "File key"
WRAPPED_KEY_SIZE: Final = FILE_KEY_SIZE + 16  # with the Poly1305 tag

_VERSION: Final = b"age-encryption.org/v1\n"
_COLUMNS: Final = 64
# "ABNF definition of file header", rule by rule.
_STANZA: Final = re.compile(rb"->((?: [!-~]+)+)\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63}\n)")
_END: Final = re.compile(rb"---( ([A-Za-z0-9+/]{43})\n)")


@final
@dataclass(frozen=True, slots=True)
class Stanza:
    """One wrapping of the file key. `kind` is the first argument, `arguments` are those after it."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes


@final
@dataclass(frozen=True, slots=True)
class Header:
    """A header whose form has been checked by `read`. Nothing in it is authentic before `verify`."""

    stanzas: tuple[Stanza, ...]
    covered: bytes  # what the MAC is over: all up to and including `---`
    mac: bytes
    length: int  # bytes; the payload begins there

    def verify(self, file_key: bytes) -> None:
        """Raises SealingError if the header is not the one that was written with this file key."""
        code = _mac(file_key, self.covered)
        try:
            code.verify(self.mac)
        except InvalidSignature:
            raise SealingError("header-altered") from None


def write(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """The header with its MAC. Raises SealingError if it would be one that `read` refuses for its size."""
    lines = [_VERSION]
    for stanza in stanzas:
        body = to_base64(stanza.body)
        # One line more when the last is full: the body ends with a line shorter than 64 columns, which may be empty.
        wrapped = [body[at : at + _COLUMNS] for at in range(0, len(body) + 1, _COLUMNS)]
        lines.append("\n".join((" ".join(("->", stanza.kind, *stanza.arguments)), *wrapped, "")).encode("ascii"))
    covered = b"".join([*lines, b"---"])
    written = b"".join((covered, b" ", to_base64(_mac(file_key, covered).finalize()).encode("ascii"), b"\n"))
    if len(stanzas) > MAX_STANZAS or len(written) > MAX_HEADER:
        raise SealingError("recipients-too-many")
    return written


def read(begin: bytes) -> Header:
    """The header at the beginning of `begin`, which may go on with payload. Raises SealingError if there is none.

    A passphrase stanza (`scrypt`) is refused here: nobody has agreed on a passphrase with anybody, and one stanza can
    ask for gigabytes of work.
    """
    if not begin.startswith(_VERSION):
        raise SealingError("not-sealed")
    at = len(_VERSION)
    stanzas: list[Stanza] = []
    while found := _STANZA.match(begin, at, MAX_HEADER):
        if len(stanzas) == MAX_STANZAS:
            raise SealingError("too-many-stanzas")
        stanzas.append(_stanza(found[1], found[2]))
        at = found.end()
    end = _END.match(begin, at, MAX_HEADER)
    if end is None or not stanzas:
        raise SealingError("header-malformed")
    return Header(tuple(stanzas), begin[: end.start(1)], from_base64(end[2]), end.end())


def to_base64(content: bytes) -> str:
    """Standard base64 without padding (C2SP age, "Conventions")."""
    return b2a_base64(content, newline=False).rstrip(b"=").decode("ascii")


def from_base64(text: bytes) -> bytes:
    """What `to_base64` was given. Raises SealingError on padding, foreign characters and every non-canonical form."""
    try:
        content = a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except Base64Error:
        raise SealingError("base64-malformed") from None
    if b2a_base64(content, newline=False).rstrip(b"=") != text:
        raise SealingError("base64-malformed")
    return content


def _stanza(arguments: bytes, body: bytes) -> Stanza:
    kind, *more = arguments.decode("ascii")[1:].split(" ")
    if kind == "scrypt":
        raise SealingError("passphrase-refused")
    return Stanza(kind, tuple(more), from_base64(body.replace(b"\n", b"")))


def _mac(file_key: bytes, covered: bytes) -> HMAC:
    key = HKDF(SHA256(), 32, salt=None, info=b"header").derive(file_key)
    code = HMAC(key, SHA256())
    code.update(covered)
    return code
