"""The key ring: what is kept comes back whole or not at all, and nothing leaks on the way."""

import base64
import copy
import json
import os
import pickle
import resource
import stat
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto import keyring
from crypto.errors import KeyringError, SealingError
from crypto.keyring import FILE_MAX_BYTES, Cost, Held, Keyring, SealingSecret, Status, read_passphrase
from crypto.keys import Ed25519Secret, P256Secret, X25519Secret, sealing_key_id
from crypto.sealing import generate_identity, recipient_of
from crypto.strict import b64url_decode, b64url_encode

PASSPHRASE = b"canary correct horse battery staple"


def held(role: str = "gateway-signing", epoch: int = 1, status: Status = Status.CURRENT) -> Held:
    return Held(role, epoch, status, 1_795_000_000, Ed25519Secret.generate())


KEYS = (
    Held("gateway-signing", 1, Status.CURRENT, 0, Ed25519Secret(b"canary-ed25519-canary-ed25519-ca")),
    Held("authority-signing", 2, Status.PREVIOUS, 1_795_000_000, P256Secret(b"canary-p256-canary-p256-canary-p")),
    Held("desk-queue", 3, Status.NEXT, 10**15 - 1, X25519Secret(b"canary-x25519-canary-x25519-cana")),
    Held("desk-sealing", 10**9, Status.CURRENT, 1, SealingSecret(generate_identity())),
    Held("desk-sealing", 0, Status.RETIRED, 1, SealingSecret(generate_identity(post_quantum=False))),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "desk.ring"


def create(file: Path, *keys: Held) -> Keyring:
    return Keyring.create(file, PASSPHRASE, keys, cost=Cost.INTERACTIVE)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a ring that holds KEYS."""
    file = tmp_path_factory.mktemp("sample") / "desk.ring"
    create(file, *KEYS)
    return file.read_bytes()


def put(file: Path, raw: bytes) -> Path:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(0o600)
    file.write_bytes(raw)
    return file


def refused(file: Path, passphrase: bytes = PASSPHRASE) -> str:
    with pytest.raises(KeyringError) as raised:
        Keyring.open(file, passphrase)
    return raised.value.flaw


def test_all_kinds_of_keys_come_back_as_they_were(file: Path) -> None:
    made = create(file, *KEYS)
    opened = Keyring.open(file, PASSPHRASE)
    assert opened.held == made.held == KEYS
    assert (file, 1) == (opened.path, opened.serial)


def test_an_empty_ring_is_a_ring(file: Path) -> None:
    create(file)
    assert Keyring.open(file, PASSPHRASE).held == ()


def test_the_cost_is_moderate_when_nothing_is_said(file: Path) -> None:
    Keyring.create(file, PASSPHRASE, [])
    header = json.loads(file.read_bytes().splitlines()[0])
    assert (header["ops"], header["memory"]) == (3, 256 << 20)
    assert Keyring.open(file, PASSPHRASE).held == ()


def test_only_its_owner_may_read_the_file_and_its_folder(file: Path) -> None:
    old = os.umask(0)
    try:
        create(file, *KEYS).replace([])
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_a_foreign_reader_finds_what_the_format_says(sample: bytes) -> None:
    line, body, rest = sample.split(b"\n")
    header = json.loads(line)
    assert rest == b""
    assert set(header) == {"format", "kdf", "ops", "memory", "salt", "serial"}
    assert (header["format"], header["kdf"], header["serial"]) == ("rogatory-keyring/1", "argon2id", 1)
    salt = base64.urlsafe_b64decode(header["salt"] + "==")
    key = argon2id.kdf(32, PASSPHRASE, salt, header["ops"], header["memory"])
    inner = SecretBox(key).decrypt(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    repeated, keys = inner.split(b"\n")
    assert repeated == line
    first = json.loads(keys)["keys"][0]
    assert first == {
        "role": "gateway-signing",
        "epoch": 1,
        "status": "current",
        "made": 0,
        "kind": "ed25519",
        "secret": base64.urlsafe_b64encode(KEYS[0].secret.to_bytes()).decode().rstrip("="),
    }


def test_two_rings_of_one_passphrase_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = (create(tmp_path / name / "ring", *KEYS) for name in "ab")
    first, second = (json.loads(ring.path.read_bytes().splitlines()[0]) for ring in (one, other))
    assert first["salt"] != second["salt"]
    assert one.path.read_bytes().splitlines()[1] != other.path.read_bytes().splitlines()[1]


@pytest.mark.parametrize("passphrase", [b"", b"wrong", PASSPHRASE + b"\n", PASSPHRASE[:-1], PASSPHRASE + b"\0"])
def test_another_passphrase_opens_nothing(tmp_path: Path, sample: bytes, passphrase: bytes) -> None:
    assert refused(put(tmp_path / "ring", sample), passphrase) == "wrong-passphrase-or-altered"


def test_an_empty_passphrase_protects_nothing(file: Path) -> None:
    with pytest.raises(KeyringError, match=r"^passphrase-empty$"):
        Keyring.create(file, b"", KEYS, cost=Cost.INTERACTIVE)
    assert not file.parent.exists()


def test_a_ring_that_is_there_is_not_overwritten(file: Path) -> None:
    create(file, *KEYS)
    before = file.read_bytes()
    with pytest.raises(KeyringError, match=r"^exists$"):
        create(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_every_proper_beginning_of_a_ring_is_truncated(tmp_path: Path, sample: bytes) -> None:
    for end in range(len(sample)):
        assert refused(put(tmp_path / "ring", sample[:end])) == "truncated"


@pytest.mark.parametrize("tail", [b"\n", b"x", b"x\n"])
def test_nothing_may_follow(tmp_path: Path, sample: bytes, tail: bytes) -> None:
    assert refused(put(tmp_path / "ring", sample + tail)) in {"wrong-passphrase-or-altered", "truncated"}


def derived(sample: bytes) -> bytes:
    header = json.loads(sample.splitlines()[0])
    return argon2id.kdf(32, PASSPHRASE, b64url_decode(header["salt"]), header["ops"], header["memory"])


def test_no_bit_of_the_ring_can_be_changed(sample: bytes) -> None:
    """Every bit: of the form outside, then with the true key, since Argon2id for each would take an hour."""
    key = derived(sample)
    line, body = keyring._lines(sample)
    assert keyring._unsealed(line, body, key) == KEYS
    for place in range(8 * len(sample)):
        bent = bytearray(sample)
        bent[place // 8] ^= 1 << place % 8
        with pytest.raises(KeyringError):
            keyring._unsealed(*keyring._lines(bytes(bent)), key)


Bend = Callable[[bytes, int, int, bytes], bytes]
BENDS: dict[str, Bend] = {
    "changed": lambda raw, at, _, new: raw[:at] + new + raw[at + len(new) :],
    "cut out": lambda raw, at, length, _: raw[:at] + raw[at + length :],
    "put in": lambda raw, at, _, new: raw[:at] + new + raw[at:],
    "doubled": lambda raw, at, length, _: raw[: at + length] + raw[at:],
    "swapped": lambda raw, at, _, __: raw[at:] + raw[:at],
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bend=st.sampled_from(sorted(BENDS)), at=st.integers(0, 2000), length=st.integers(0, 60), new=st.binary(max_size=40)
)
def test_from_any_spoilt_ring_all_keys_open_or_none(
    tmp_path: Path, sample: bytes, bend: str, at: int, length: int, new: bytes
) -> None:
    spoilt = BENDS[bend](sample, at, length, new)
    file = put(tmp_path / "ring", spoilt)
    if spoilt == sample:
        assert Keyring.open(file, PASSPHRASE).held == KEYS
    else:
        refused(file)


@given(raw=st.binary(max_size=300))
def test_whatever_lies_there_is_refused_in_our_words(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert refused(put(tmp_path_factory.getbasetemp() / "ring", raw)) in {
        "truncated",
        "keyring-form",
        "wrong-passphrase-or-altered",
    }


HEADER = {
    "format": "rogatory-keyring/1",
    "kdf": "argon2id",
    "ops": 2,
    "memory": 64 << 20,
    "salt": "A" * 22,
    "serial": 1,
}


def written(header: object) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        pytest.param(written(HEADER | {"ops": 1}), "cost-refused", id="fewer passes"),
        pytest.param(written(HEADER | {"memory": (64 << 20) - 1}), "cost-refused", id="less memory"),
        pytest.param(written(HEADER | {"ops": 5}), "cost-refused", id="more passes"),
        pytest.param(written(HEADER | {"memory": (1 << 30) + 1}), "cost-refused", id="more memory"),
        pytest.param(written(HEADER | {"ops": 10**14, "memory": 10**14}), "cost-refused", id="a bomb"),
        pytest.param(written(HEADER | {"ops": -2}), "cost-refused", id="negative"),
        pytest.param(written(HEADER | {"ops": True}), "cost-refused", id="true"),
        pytest.param(written(HEADER | {"ops": "2"}), "keyring-form", id="text for a number"),
        pytest.param(written(HEADER | {"ops": 2.0}), "keyring-form", id="float"),
        pytest.param(written(HEADER | {"salt": "A" * 21}), "keyring-form", id="half a byte of salt"),
        pytest.param(written(HEADER | {"salt": "A" * 20}), "keyring-form", id="short salt"),
        pytest.param(written(HEADER | {"salt": ""}), "keyring-form", id="no salt"),
        pytest.param(written(HEADER | {"salt": "A" * 21 + "B"}), "keyring-form", id="salt spelt otherwise"),
        pytest.param(written(HEADER | {"format": "rogatory-keyring/2"}), "keyring-form", id="later format"),
        pytest.param(written(HEADER | {"kdf": "scrypt"}), "keyring-form", id="other kdf"),
        pytest.param(written(HEADER | {"extra": 1}), "keyring-form", id="unknown member"),
        pytest.param(written({k: v for k, v in HEADER.items() if k != "ops"}), "keyring-form", id="missing member"),
        pytest.param(written(dict(reversed(HEADER.items()))), "keyring-form", id="other order"),
        pytest.param(json.dumps(HEADER).encode(), "keyring-form", id="white space"),
        pytest.param(written(HEADER)[:-1] + b',"ops":2}', "keyring-form", id="doubled member"),
        pytest.param(written([HEADER]), "keyring-form", id="list"),
        pytest.param(b"[" * 100_000, "keyring-form", id="deep"),
        pytest.param(b"\xff", "keyring-form", id="not UTF-8"),
        pytest.param(b"", "keyring-form", id="empty"),
    ],
)
def test_a_header_is_refused_before_anything_is_spent_on_it(tmp_path: Path, line: bytes, flaw: str) -> None:
    assert refused(put(tmp_path / "ring", line + b"\nAAAA\n")) == flaw


@pytest.mark.parametrize("body", [b"", b"A", b"AAAA", b"A" * 32, b"A" * 54, b"=", b"+/", b"\xff" * 40])
def test_a_body_that_is_no_box_is_altered(tmp_path: Path, body: bytes) -> None:
    assert refused(put(tmp_path / "ring", written(HEADER) + b"\n" + body + b"\n")) == "wrong-passphrase-or-altered"


KEY = {"role": "a", "epoch": 1, "status": "current", "made": 1, "kind": "ed25519", "secret": "A" * 43}


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([KEY | {"kind": "rsa"}], id="unknown kind"),
        pytest.param([KEY | {"status": "young"}], id="unknown status"),
        pytest.param([KEY | {"epoch": -1}], id="negative epoch"),
        pytest.param([KEY | {"epoch": "1"}], id="text for a number"),
        pytest.param([KEY | {"role": "A"}], id="no role's name"),
        pytest.param([KEY | {"secret": "A" * 42}], id="short key"),
        pytest.param([KEY | {"secret": "="}], id="no base64url"),
        pytest.param([KEY | {"kind": "sealing"}], id="no age identity"),
        pytest.param([KEY | {"kind": "sealing", "secret": "_" * 43}], id="not ASCII"),
        pytest.param([KEY | {"kind": "p256"}], id="scalar of zero"),
        pytest.param([KEY | {"note": ""}], id="unknown member"),
        pytest.param([{k: v for k, v in KEY.items() if k != "made"}], id="missing member"),
        pytest.param([KEY, []], id="one good, one no key"),
        pytest.param({"a": KEY}, id="no list"),
    ],
)
def test_authentic_keys_of_another_form_open_nothing(keys: object) -> None:
    line, key = written(HEADER), bytes(32)
    body = b64url_encode(SecretBox(key).encrypt(line + b"\n" + written({"keys": keys}))).encode()
    with pytest.raises(KeyringError, match=r"^keyring-form$"):
        keyring._unsealed(line, body, key)


@pytest.mark.parametrize("inner", [b"", written(HEADER), written(HEADER) + b"\n", written(HEADER) + b"\n{"])
def test_an_authentic_box_without_keys_opens_nothing(inner: bytes) -> None:
    line, key = written(HEADER), bytes(32)
    with pytest.raises(KeyringError):
        keyring._unsealed(line, b64url_encode(SecretBox(key).encrypt(inner)).encode(), key)


def test_a_box_under_another_header_is_altered() -> None:
    line, key = written(HEADER), bytes(32)
    other = written(HEADER | {"serial": 2})
    body = b64url_encode(SecretBox(key).encrypt(other + b"\n" + written({"keys": []}))).encode()
    assert keyring._unsealed(other, body, key) == ()
    with pytest.raises(KeyringError, match=r"^wrong-passphrase-or-altered$"):
        keyring._unsealed(line, body, key)


def group_may_read(file: Path) -> None:
    file.chmod(0o640)


def others_may_write(file: Path) -> None:
    file.chmod(0o602)


def open_folder(file: Path) -> None:
    file.parent.chmod(0o750)


def link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to(file.with_name("real"))


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def gone(file: Path) -> None:
    file.unlink()


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def no_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()


def huge(file: Path) -> None:
    file.write_bytes(bytes(FILE_MAX_BYTES + 1))


PLACES = [
    (group_may_read, "mode-too-open"),
    (others_may_write, "mode-too-open"),
    (link, "symbolic-link"),
    (dangling, "symbolic-link"),
    (gone, "no-such-file"),
    (folder, "not-a-file"),
    (pipe, "not-a-file"),
    (no_folder, "no-such-file"),
    (huge, "too-long"),
]


@pytest.mark.parametrize(("place", "flaw"), [*PLACES, (open_folder, "mode-too-open")])
def test_a_file_that_is_not_ours_alone_is_not_read(
    file: Path, sample: bytes, place: Callable[[Path], None], flaw: str
) -> None:
    place(put(file, sample))
    assert refused(file) == flaw


def test_no_ring_is_made_in_a_folder_that_is_open_to_others(file: Path) -> None:
    file.parent.mkdir(0o755)
    file.parent.chmod(0o755)
    with pytest.raises(KeyringError, match=r"^mode-too-open$"):
        create(file, *KEYS)
    assert list(file.parent.iterdir()) == []


def test_a_disk_that_refuses_is_told_without_names(file: Path) -> None:
    with pytest.raises(KeyringError, match=r"^disk$"):
        create(file.with_name("x" * 300), *KEYS)


def test_replacing_raises_the_serial_and_keeps_the_passphrase(file: Path) -> None:
    first = create(file, *KEYS)
    second = first.replace(KEYS[:2])
    third = second.replace(KEYS[2:])
    opened = Keyring.open(file, PASSPHRASE)
    assert [ring.serial for ring in (first, second, third, opened)] == [1, 2, 3, 3]
    assert opened.held == third.held == KEYS[2:]
    assert second.held == KEYS[:2]
    assert list(file.parent.iterdir()) == [file]


def test_a_ring_that_was_replaced_meanwhile_is_not_written_over(file: Path) -> None:
    old = create(file, *KEYS)
    Keyring.open(file, PASSPHRASE).replace(KEYS[:1])
    with pytest.raises(KeyringError, match=r"^replaced-meanwhile$"):
        old.replace([])
    assert Keyring.open(file, PASSPHRASE).held == KEYS[:1]


def test_a_write_that_fails_leaves_the_old_ring_and_no_draft(file: Path) -> None:
    ring = create(file, *KEYS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # Python ignores SIGXFSZ, so that write says EFBIG
    try:
        with pytest.raises(KeyringError, match=r"^disk$"):
            ring.replace(KEYS[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Keyring.open(file, PASSPHRASE).held == KEYS
    assert list(file.parent.iterdir()) == [file]


def test_a_ring_has_a_largest_size(file: Path) -> None:
    ring = create(file)
    secret = Ed25519Secret.generate()
    with pytest.raises(KeyringError, match=r"^too-long$"):
        ring.replace(Held("a", epoch, Status.RETIRED, 0, secret) for epoch in range(8000))
    assert Keyring.open(file, PASSPHRASE).held == ()


REPLACER = """
    import sys
    from pathlib import Path
    from crypto.errors import KeyringError
    from crypto.keyring import Held, Keyring, Status
    from crypto.keys import Ed25519Secret

    ring = Keyring.open(Path(sys.argv[1]), sys.stdin.buffer.read())
    print("open", flush=True)
    for epoch in range(100_000):
        ring = ring.replace([Held("a", epoch, Status.CURRENT, 0, Ed25519Secret.generate())])
        print(ring.serial, flush=True)
"""


def test_a_killed_replacement_leaves_a_whole_ring(file: Path, rounds: int) -> None:
    ring = create(file)
    for turn in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(REPLACER), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(PASSPHRASE)
            process.stdin.close()
            told = [process.stdout.readline() for _ in range(3 + turn * 7 % 11)]
            process.kill()
            told += process.stdout.readlines()
        ring = Keyring.open(file, PASSPHRASE)
        assert ring.serial in {int(told[-1]), int(told[-1]) + 1}
        assert ring.current("a") in ring.held
    ring.replace([])
    assert list(file.parent.iterdir()) == [file]  # the drafts of the killed are gone


def test_a_machine_without_memory_says_so(file: Path) -> None:
    create(file)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), hard))
    try:
        flaw = refused(file)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert flaw == "too-little-memory"


def test_the_current_key_is_the_one_in_use(file: Path) -> None:
    now, before, other = held(epoch=2), held(epoch=1, status=Status.PREVIOUS), held("desk-signing")
    ring = create(file, before, now, other)
    assert ring.current("gateway-signing") is now
    assert ring.current("desk-signing") is other
    for role in ("desk-sealing", ""):
        with pytest.raises(KeyringError, match=r"^no-such-key$"):
            ring.current(role)


def test_a_role_whose_keys_are_past_or_to_come_has_no_current_one(file: Path) -> None:
    ring = create(file, *(held(epoch=n, status=s) for n, s in enumerate(Status) if s is not Status.CURRENT))
    with pytest.raises(KeyringError, match=r"^no-such-key$"):
        ring.current("gateway-signing")


def test_whatever_is_not_retired_may_open_the_current_first(file: Path) -> None:
    retired, previous, now, following = (
        held(epoch=epoch, status=status)
        for epoch, status in enumerate((Status.RETIRED, Status.PREVIOUS, Status.CURRENT, Status.NEXT))
    )
    ring = create(file, retired, previous, now, following, held("desk-signing"))
    assert ring.openers("gateway-signing") == (now, following, previous)
    assert ring.openers("desk-sealing") == ()


@pytest.mark.parametrize(
    ("keys", "flaw"),
    [
        ((held(epoch=1), held(epoch=2)), "two-current"),
        ((held(epoch=1), held(epoch=1, status=Status.RETIRED)), "doubled-epoch"),
    ],
)
def test_a_role_has_one_current_key_and_an_epoch_one_key(file: Path, keys: tuple[Held, ...], flaw: str) -> None:
    with pytest.raises(KeyringError, match=rf"^{flaw}$"):
        create(file, *keys)
    ring = create(file)
    with pytest.raises(KeyringError, match=rf"^{flaw}$"):
        ring.replace(keys)
    assert Keyring.open(file, PASSPHRASE).held == ()


@pytest.mark.parametrize(
    ("role", "epoch", "made"),
    [("", 1, 1), ("Desk", 1, 1), ("a b", 1, 1), ("a" * 65, 1, 1), ("a", -1, 1), ("a", 10**9 + 1, 1), ("a", 1, -1)],
)
def test_a_key_has_a_role_an_epoch_and_a_time(role: str, epoch: int, made: int) -> None:
    with pytest.raises(KeyringError, match=r"^held-form$"):
        Held(role, epoch, Status.CURRENT, made, KEYS[0].secret)


@pytest.mark.parametrize("post_quantum", [True, False])
def test_a_sealing_secret_knows_its_recipient_and_its_name(post_quantum: bool) -> None:
    identity = generate_identity(post_quantum=post_quantum)
    secret = SealingSecret(identity)
    assert secret.recipient == recipient_of(identity)
    assert secret.id == sealing_key_id(secret.recipient)
    assert SealingSecret.from_bytes(secret.to_bytes()) == secret
    assert hash(SealingSecret(identity)) == hash(secret)
    assert secret not in {SealingSecret(generate_identity()), identity}


@pytest.mark.parametrize("identity", ["", "AGE-SECRET-KEY-1", "age1xyz", "é"])
def test_what_is_no_identity_is_no_sealing_secret(identity: str) -> None:
    with pytest.raises(SealingError):
        SealingSecret(identity)


def spellings(secret: bytes) -> list[str]:
    return [secret.decode("latin-1"), secret.hex(), base64.b64encode(secret)[:-3].decode(), b64url_encode(secret)]


def test_nothing_prints_a_key_or_a_passphrase(file: Path, sample: bytes) -> None:
    ring = create(file, *KEYS)
    printed = [repr(ring), str(ring), repr(KEYS), f"{KEYS[3].secret}", repr(ring.openers("desk-sealing"))]
    for raw, mode in ((sample[:-9], 0o600), (sample, 0o600), (sample, 0o644)):
        put(file, raw).chmod(mode)
        acts: tuple[Callable[[], Keyring], ...] = (
            lambda: Keyring.open(file, PASSPHRASE + b"x"),
            lambda: ring.replace([*KEYS, *KEYS]),
        )
        for act in acts:
            with pytest.raises(KeyringError) as raised:
                act()
            printed += [repr(raised.value), *traceback.format_exception(raised.value)]
    text = "".join(printed)
    assert "canary" not in text
    for secret in (PASSPHRASE, ring._key, *(one.secret.to_bytes() for one in KEYS)):
        assert not [spelling for spelling in spellings(secret) if spelling in text]
    assert repr(ring) == f"Keyring({str(file)!r}, serial=1, keys=5)"
    assert repr(KEYS[3].secret) == f"SealingSecret({sealing_key_id(recipient_of(KEYS[3].secret.to_bytes().decode()))})"


def test_the_file_shows_no_key(sample: bytes) -> None:
    for secret in (PASSPHRASE, *(one.secret.to_bytes() for one in KEYS)):
        assert not [spelling for spelling in spellings(secret) if spelling.encode("latin-1") in sample]


def test_neither_ring_nor_sealing_secret_is_pickled_or_copied(file: Path) -> None:
    ring = create(file, *KEYS)
    for value in (ring, KEYS[3].secret, KEYS[3]):
        with pytest.raises(TypeError):
            pickle.dumps(value)
    for value in (ring, KEYS[3].secret):
        with pytest.raises(TypeError):
            copy.copy(value)


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [(b"x", b"x"), (b"x\n", b"x"), (b"x\n\n", b"x\n"), (b" x \r\n", b" x \r"), (b"\0", b"\0")],
)
def test_a_passphrase_is_the_file_but_for_one_line_feed(tmp_path: Path, content: bytes, passphrase: bytes) -> None:
    assert read_passphrase(put(tmp_path / "passphrase", content)) == passphrase


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_no_passphrase(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KeyringError, match=r"^passphrase-empty$"):
        read_passphrase(put(tmp_path / "passphrase", content))


@pytest.mark.parametrize(("place", "flaw"), PLACES)
def test_a_passphrase_that_is_not_ours_alone_is_not_read(file: Path, place: Callable[[Path], None], flaw: str) -> None:
    place(put(file, b"x"))
    with pytest.raises(KeyringError, match=rf"^{flaw}$"):
        read_passphrase(file)
