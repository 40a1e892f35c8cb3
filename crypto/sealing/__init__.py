"""Sealing: age v1 files (C2SP age) for particulars, attachments and disclosures.

`seal` and `unseal` stream, `seal_bytes` and `unseal_bytes` hold; keys are age's own text forms. A sealed file is kept from
all but its recipients, and any cut, swap, tail or altered bit in it is found. It does NOT say who sealed it: a signed
statement does, by the digest of the ciphertext.

Every bad input raises SealingError with a constant `flaw`; an OSError of source or sink passes as itself. When `unseal`
raises anything, what it wrote is not the file: a sink that can seek is cut back to where it stood, and the reader of any
other must discard what came (`unseal_bytes` gives the whole or nothing).

A further recipient kind is one module and one row in RECIPIENTS.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from secrets import token_bytes
from types import MappingProxyType
from typing import Final, Protocol, final, runtime_checkable

from crypto.errors import SealingError
from crypto.sealing import bech32, header, mlkem768x25519, stream, x25519
from crypto.sealing.header import FILE_KEY_SIZE, MAX_HEADER, MAX_STANZAS, Stanza
from crypto.sealing.stream import Reader, Sink, Source

__all__ = [
    "MAX_HEADER",
    "MAX_STANZAS",
    "RECIPIENTS",
    "Identity",
    "Kind",
    "Recipient",
    "Sink",
    "Source",
    "check_header",
    "generate_identity",
    "parse_identity",
    "parse_recipient",
    "recipient_of",
    "seal",
    "seal_bytes",
    "unseal",
    "unseal_bytes",
]

_SECRET_SIZE: Final = 32  # bytes, in both kinds


class Recipient(Protocol):
    """Whom a file is sealed to; public. Made by `parse_recipient`."""

    @property
    def text(self) -> str:
        """The form that age itself reads and writes, `age1…`."""
        ...

    @property
    def post_quantum(self) -> bool:
        """Whether what is sealed to it stays closed before a quantum computer."""
        ...

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key, readable to this recipient alone."""
        ...


class Identity(Protocol):
    """Who can open a file; secret, though its repr is not. Made by `parse_identity`."""

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        ...

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is another's."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of recipient: how its texts begin, and what makes of their bytes the object, or raises SealingError."""

    recipient_prefix: str
    recipient: Callable[[bytes], Recipient]
    identity_prefix: str
    identity: Callable[[bytes], Identity]


# By stanza type.
RECIPIENTS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        mlkem768x25519.KIND: Kind(
            mlkem768x25519.RECIPIENT_PREFIX,
            mlkem768x25519.MLKEM768X25519Recipient.of,
            mlkem768x25519.IDENTITY_PREFIX,
            mlkem768x25519.MLKEM768X25519Identity.of,
        ),
        x25519.KIND: Kind(
            x25519.RECIPIENT_PREFIX,
            x25519.X25519Recipient.of,
            x25519.IDENTITY_PREFIX,
            x25519.X25519Identity.of,
        ),
    },
)


def generate_identity(post_quantum: bool = True) -> str:
    """A new secret: `AGE-SECRET-KEY-PQ-1…`, or `AGE-SECRET-KEY-1…`, which programs before age 1.3 read too."""
    kind = RECIPIENTS[mlkem768x25519.KIND if post_quantum else x25519.KIND]
    return bech32.encode(kind.identity_prefix, token_bytes(_SECRET_SIZE))


def recipient_of(identity: str) -> str:
    """The recipient, `age1pq1…` or `age1…`, that files for `identity` are sealed to. Raises SealingError."""
    return parse_identity(identity).recipient.text


@lru_cache(maxsize=1024)  # public values alone; a post-quantum one takes half a millisecond to read
def parse_recipient(text: str) -> Recipient:
    """`age1pq1…` or `age1…`, strictly as age writes it. Raises SealingError."""
    prefix, content = bech32.decode(text)
    for kind in RECIPIENTS.values():
        if prefix == kind.recipient_prefix:
            return kind.recipient(content)
    raise SealingError("recipient-unknown")


def parse_identity(text: str) -> Identity:
    """`AGE-SECRET-KEY-PQ-1…` or `AGE-SECRET-KEY-1…`, strictly as age writes it. Raises SealingError.

    Who opens much keeps the identity: reading it each time costs as much as opening does. None is remembered here.
    """
    prefix, content = bech32.decode(text)
    for kind in RECIPIENTS.values():
        if prefix == kind.identity_prefix:
            return kind.identity(content)
    raise SealingError("identity-unknown")


def seal(source: Source, sink: Sink, recipients: Sequence[str | Recipient]) -> None:
    """Seal all of `source` into `sink`, for each of `recipients`, in flat memory.

    Raises SealingError if a recipient is malformed, if there is none, if they are too many, and if post-quantum ones are
    mixed with others: the file would be no stronger than its weakest stanza (C2SP age, "MLKEM768-X25519").
    """
    file_key = token_bytes(FILE_KEY_SIZE)
    stream.write_all(sink, memoryview(_header_for(recipients, file_key)))
    stream.encrypt(file_key, Reader(source), sink)


def unseal(source: Source, sink: Sink, identities: Sequence[str | Identity]) -> None:
    """Open all of `source` into `sink`, in flat memory, with whichever of `identities` it was sealed to.

    Only authentic bytes are written, but that they are the whole is known at the end: on any error `sink` is cut back if
    it can seek, and else has to be discarded. Raises SealingError.
    """
    with _cut_back_on_error(sink):
        _unseal(source, sink, identities)


def seal_bytes(plain: bytes, recipients: Sequence[str | Recipient]) -> bytes:
    """`seal` for what fits into memory.

    >>> identity = generate_identity()
    >>> unseal_bytes(seal_bytes(b"particulars", [recipient_of(identity)]), [identity])
    b'particulars'
    """
    sink = BytesIO()
    seal(BytesIO(plain), sink, recipients)
    return sink.getvalue()


def unseal_bytes(sealed: bytes, identities: Sequence[str | Identity]) -> bytes:
    """`unseal` for what fits into memory: the whole, or SealingError."""
    sink = BytesIO()  # is dropped on an error
    _unseal(BytesIO(sealed), sink, identities)
    return sink.getvalue()


def check_header(sealed: bytes) -> None:
    """Raises SealingError unless `sealed` begins as an age file does. Form alone: no key is needed, nothing is authentic."""
    header.read(sealed)


def _header_for(recipients: Sequence[str | Recipient], file_key: bytes) -> bytes:
    if not recipients:
        raise SealingError("recipients-missing")
    if len(recipients) > MAX_STANZAS:
        raise SealingError("recipients-too-many")
    parsed = [parse_recipient(recipient) if isinstance(recipient, str) else recipient for recipient in recipients]
    if len({recipient.post_quantum for recipient in parsed}) > 1:
        raise SealingError("mixed-recipients")
    return header.write([recipient.wrap(file_key) for recipient in parsed], file_key)


def _unseal(source: Source, sink: Sink, identities: Sequence[str | Identity]) -> None:
    reader = Reader(source)
    begin = reader.take(MAX_HEADER)
    head = header.read(begin)
    file_key = _file_key(head.stanzas, [_identity(identity) for identity in identities])
    head.verify(file_key)
    reader.put_back(begin[head.length :])
    stream.decrypt(file_key, reader, sink)


def _identity(identity: str | Identity) -> Identity:
    return parse_identity(identity) if isinstance(identity, str) else identity


def _file_key(stanzas: Sequence[Stanza], identities: Sequence[Identity]) -> bytes:
    for identity in identities:
        for stanza in stanzas:
            if (file_key := identity.unwrap(stanza)) is not None:
                return file_key
    raise SealingError("not-for-us")


@runtime_checkable
class _Seekable(Protocol):
    def seekable(self) -> bool: ...
    def tell(self) -> int: ...
    def seek(self, offset: int, /) -> int: ...
    def truncate(self) -> int: ...


@contextmanager
def _cut_back_on_error(sink: Sink) -> Iterator[None]:
    """Take back what was written to `sink` when the block raises; a sink that cannot seek is left as it is."""
    if not isinstance(sink, _Seekable) or not sink.seekable():
        yield
        return
    mark = sink.tell()
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the block's error is the one to hear of
            sink.seek(mark)
            sink.truncate()
        raise
