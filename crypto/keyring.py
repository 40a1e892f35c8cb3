"""The key ring: all private keys of one holder at rest, in one file that opens whole or not at all.

The holder is the gateway, the desk, an operator, a reviewer, an authority or the root. The file is one SecretBox under a
key that Argon2id makes of a passphrase; it is mode 0600 in a folder of mode 0700, and is replaced at once or not at all,
under a serial number that only rises. No key is in a name, an error or a `repr`. This is the one module of the package
that touches a disk. It cannot see that somebody put back an older file, and does not say which key may do what
(`protocol` does).

    line 1: JSON: format, kdf, ops, memory (bytes), salt, serial
    line 2: base64url: nonce (24) | SecretBox of line 1, a line feed, and JSON with the keys

Both lines end in a line feed, so that whatever is cut off shows; line 1 stands inside the box again, so that whatever is
changed shows.
"""

import errno
import fcntl
import hmac
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Final, NoReturn, Self, SupportsIndex, TypeAlias, final

import nacl.exceptions
import nacl.utils
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto.errors import CryptoError, KeyringError, NotStrict
from crypto.keys import Ed25519Secret, KeyId, P256Secret, X25519Secret, sealing_key_id
from crypto.sealing import recipient_of
from crypto.strict import b64url_decode, b64url_encode, dumps, loads_compact

FORMAT: Final = "rogatory-keyring/1"
FILE_MAX_BYTES: Final = 1 << 20  # ours: some thousand keys
EPOCH_MAX: Final = 10**9  # ours; and `made` may have the fifteen digits that every JSON reader keeps
MADE_MAX: Final = 10**15 - 1

_OTHERS: Final = 0o077  # the mode bits of group and others
_ROLE: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_ALTERED: Final = "wrong-passphrase-or-altered"
_FORM: Final = "keyring-form"


class Status(StrEnum):
    """Where a key is in its life. Each role has at most one that is current."""

    NEXT = "next"  # announced, not yet used; opens what hasty senders made to it
    CURRENT = "current"
    PREVIOUS = "previous"  # signs nothing more; still opens
    RETIRED = "retired"  # kept so that old files can be read on purpose, by nobody's default


class Cost(Enum):
    """What opening a ring costs, and what a guess at its passphrase does: Argon2id passes and bytes. libsodium's names."""

    INTERACTIVE = (argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE)  # 64 MiB
    MODERATE = (argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)  # 256 MiB, 0.4 s


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealingSecret:
    """An age identity (`AGE-SECRET-KEY-…`), with its recipient and its name. Raises `SealingError`."""

    identity: str
    recipient: str = field(init=False)
    id: KeyId = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipient", recipient_of(self.identity))
        object.__setattr__(self, "id", sealing_key_id(self.recipient))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The identity whose text in ASCII `raw` is."""
        return cls(raw.decode("ascii", "replace"))

    def to_bytes(self) -> bytes:
        """The identity's text in ASCII: for the key ring, which seals it."""
        return self.identity.encode("ascii")

    def __repr__(self) -> str:
        return f"SealingSecret({self.id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealingSecret) and hmac.compare_digest(self.to_bytes(), other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("A secret key is neither pickled nor copied.")


Secret: TypeAlias = Ed25519Secret | P256Secret | X25519Secret | SealingSecret

_KINDS: Final[Mapping[str, type[Ed25519Secret] | type[P256Secret] | type[X25519Secret] | type[SealingSecret]]] = {
    "ed25519": Ed25519Secret,
    "p256": P256Secret,
    "x25519": X25519Secret,
    "sealing": SealingSecret,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


@final
@dataclass(frozen=True, slots=True)
class Held:
    """One key and its place: `role` as in the keyset (`[a-z0-9-]`), `epoch` from 0, `made` in Unix seconds."""

    role: str
    epoch: int
    status: Status
    made: int
    secret: Secret

    def __post_init__(self) -> None:
        if not (_ROLE.fullmatch(self.role) and 0 <= self.epoch <= EPOCH_MAX and 0 <= self.made <= MADE_MAX):
            raise KeyringError("held-form")


@final
@dataclass(frozen=True, slots=True)
class _Header:
    """The first line: how the key is made of the passphrase, and which of the ring's writings this is."""

    serial: int
    ops: int
    memory: int
    salt: bytes

    def line(self) -> bytes:
        own = {"ops": self.ops, "memory": self.memory, "salt": b64url_encode(self.salt), "serial": self.serial}
        return dumps({"format": FORMAT, "kdf": "argon2id"} | own)

    @classmethod
    def read(cls, line: bytes) -> Self:
        """The header in `line`, which must be as `line()` writes it and ask for no foolish cost."""
        try:
            match loads_compact(line):
                case {"ops": int(ops), "memory": int(memory), "salt": str(salt), "serial": int(serial)}:
                    header = cls(serial, ops, memory, b64url_decode(salt))
                case _:
                    raise KeyringError(_FORM)
        except NotStrict:
            raise KeyringError(_FORM) from None
        if header.line() != line or len(header.salt) != argon2id.SALTBYTES:
            raise KeyringError(_FORM)
        # Before anything is authenticated: neither a guess made cheap nor a machine without memory left.
        if not (
            argon2id.OPSLIMIT_INTERACTIVE <= header.ops <= argon2id.OPSLIMIT_SENSITIVE
            and argon2id.MEMLIMIT_INTERACTIVE <= header.memory <= argon2id.MEMLIMIT_SENSITIVE
        ):
            raise KeyringError("cost-refused")
        return header


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Keyring:
    """An open key ring: a value. `replace` gives the next one; this one then no longer speaks for the file."""

    path: Path
    held: tuple[Held, ...]
    _header: _Header
    _key: bytes

    @classmethod
    def create(cls, path: Path, passphrase: bytes, held: Iterable[Held], *, cost: Cost = Cost.MODERATE) -> Self:
        """Make the file, and its folder when it is not there. Raises `KeyringError` (`exists`, `mode-too-open`, …)."""
        if not passphrase:
            raise KeyringError("passphrase-empty")
        header = _Header(1, *cost.value, nacl.utils.random(argon2id.SALTBYTES))
        ring = cls(path, _checked(held), header, _derive(passphrase, header))
        raw = _sealed(header, ring.held, ring._key)
        with _translated(), _folder(path, make=True):
            _write(path, raw, os.link)
        return ring

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> Self:
        """All keys of the file, or `KeyringError`.

        `no-such-file`, `symbolic-link`, `not-a-file`, `mode-too-open`, `too-long`, `truncated`, `keyring-form`,
        `cost-refused`, `too-little-memory`, or `wrong-passphrase-or-altered`, two things that nobody can tell apart.
        """
        with _translated(), _folder(path, make=False):
            raw = _read(path)
        line, body = _lines(raw)
        header = _Header.read(line)
        key = _derive(passphrase, header)
        return cls(path, _unsealed(line, body, key), header, key)

    @property
    def serial(self) -> int:
        """Which writing of the file this is, from 1."""
        return self._header.serial

    def current(self, role: str) -> Held:
        """The key to use in `role` now, or `KeyringError` (`no-such-key`)."""
        for one in self.held:
            if one.role == role and one.status is Status.CURRENT:
                return one
        raise KeyringError("no-such-key")

    def openers(self, role: str) -> tuple[Held, ...]:
        """Every key of `role` that may still open something: all but the retired, the current first, then the newer."""
        mine = (one for one in self.held if one.role == role and one.status is not Status.RETIRED)
        return tuple(sorted(mine, key=lambda one: (one.status is not Status.CURRENT, -one.epoch)))

    def replace(self, held: Iterable[Held]) -> Self:
        """Write `held` in the place of what the file holds, under the same passphrase and the next serial.

        After a crash the file is the old one or the new one. `replaced-meanwhile` says that it is no longer the file
        that this ring was read from: open it again.
        """
        header = _Header(self.serial + 1, self._header.ops, self._header.memory, self._header.salt)
        ring = type(self)(self.path, _checked(held), header, self._key)
        raw = _sealed(header, ring.held, self._key)
        with _translated(), _folder(self.path, make=False):
            if _lines(_read(self.path))[0] != self._header.line():
                raise KeyringError("replaced-meanwhile")
            _write(self.path, raw, os.replace)
        return ring

    def __repr__(self) -> str:
        return f"Keyring({str(self.path)!r}, serial={self.serial}, keys={len(self.held)})"

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("A key ring is neither pickled nor copied.")


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file of mode 0600, without the one line feed at its end. Raises `KeyringError`."""
    with _translated():
        passphrase = _read(path).removesuffix(b"\n")
    if not passphrase:
        raise KeyringError("passphrase-empty")
    return passphrase


def _derive(passphrase: bytes, header: _Header) -> bytes:
    try:
        return argon2id.kdf(SecretBox.KEY_SIZE, passphrase, header.salt, header.ops, header.memory)
    except nacl.exceptions.RuntimeError:
        raise KeyringError("too-little-memory") from None


def _checked(held: Iterable[Held]) -> tuple[Held, ...]:
    """`held`, if no epoch of a role is there twice, and of no role two keys are current."""
    kept = tuple(held)
    if len({(one.role, one.epoch) for one in kept}) < len(kept):
        raise KeyringError("doubled-epoch")
    if any(count > 1 for count in Counter(one.role for one in kept if one.status is Status.CURRENT).values()):
        raise KeyringError("two-current")
    return kept


def _lines(raw: bytes) -> tuple[bytes, bytes]:
    """The file's two lines. Every proper beginning of a file has fewer line feeds than the file."""
    match raw.split(b"\n"):
        case [line, body, b""]:
            return line, body
        case [] | [_] | [_, _]:
            raise KeyringError("truncated")
        case _:
            raise KeyringError(_ALTERED)


def _sealed(header: _Header, held: Iterable[Held], key: bytes) -> bytes:
    """The file's bytes."""
    keys = [
        {
            "role": one.role,
            "epoch": one.epoch,
            "status": one.status,
            "made": one.made,
            "kind": _NAMES[type(one.secret)],
            "secret": b64url_encode(one.secret.to_bytes()),
        }
        for one in held
    ]
    line = header.line()
    box = SecretBox(key).encrypt(line + b"\n" + dumps({"keys": keys}))
    raw = line + b"\n" + b64url_encode(box).encode() + b"\n"
    if len(raw) > FILE_MAX_BYTES:
        raise KeyringError("too-long")
    return raw


def _unsealed(line: bytes, body: bytes, key: bytes) -> tuple[Held, ...]:
    """What the box holds, if it opens and repeats the header."""
    try:
        inner = SecretBox(key).decrypt(b64url_decode(body))
    except (NotStrict, nacl.exceptions.CryptoError):
        raise KeyringError(_ALTERED) from None
    repeated, _, keys = inner.partition(b"\n")
    if repeated != line:
        raise KeyringError(_ALTERED)
    try:
        match loads_compact(keys):
            case {"keys": list(members)}:
                return _checked(map(_held, members))
            case _:
                raise KeyringError(_FORM)
    except NotStrict:
        raise KeyringError(_FORM) from None


def _held(member: object) -> Held:
    """One key as the box holds it. It was authenticated; yet another version may have written it."""
    match member:
        case {
            "role": str(role),
            "epoch": int(epoch),
            "status": str(status),
            "made": int(made),
            "kind": str(kind),
            "secret": str(secret),
            **rest,
        } if not rest:
            try:
                return Held(role, epoch, Status(status), made, _KINDS[kind].from_bytes(b64url_decode(secret)))
            except (ValueError, KeyError, CryptoError):
                raise KeyringError(_FORM) from None
        case _:
            raise KeyringError(_FORM)


@contextmanager
def _translated() -> Iterator[None]:
    """What the disk refuses becomes `KeyringError`, without names or texts."""
    try:
        yield
    except OSError as error:
        flaw = {
            errno.ENOENT: "no-such-file",
            errno.ENOTDIR: "no-such-file",
            errno.EEXIST: "exists",
            errno.ELOOP: "symbolic-link",
        }.get(error.errno or 0, "disk")
        raise KeyringError(flaw) from None


@contextmanager
def _folder(path: Path, *, make: bool) -> Iterator[None]:
    """The folder of `path`, closed to others, held by this process alone, and on the disk when the block has ended."""
    if make:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.fstat(folder).st_mode & _OTHERS:
            raise KeyringError("mode-too-open")
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    """The whole of a plain file that nobody else can read. Without waiting, should it be a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyringError("not-a-file")
        if found.st_mode & _OTHERS:
            raise KeyringError("mode-too-open")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > FILE_MAX_BYTES:
        raise KeyringError("too-long")
    return raw


def _write(path: Path, raw: bytes, place: Callable[[Path, Path], None]) -> None:
    """Write a draft beside `path`, sync it, and `place` it: there is never half a file under that name."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # of a process that was killed: the folder is locked, so nobody is at it now
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
        place(draft, path)
    finally:
        draft.unlink(missing_ok=True)
