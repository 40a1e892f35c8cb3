"""Queue boxes: what opens, what does not, and what a foreign reader sees."""

import hashlib
import math
import pickle

import nacl.public
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_box_seal, crypto_box_seal_open

from crypto import boxes
from crypto.boxes import HEADER_BYTES, PAIR_BOXES, PLAIN_MAX, Receiver, Sender, padme
from crypto.errors import BoxError
from crypto.keys import X25519Key, X25519Secret
from crypto.strict import b64url_decode

CHANNEL, ENTRY = "requests.eu", bytes(range(16))
DESK = X25519Secret(bytes(range(1, 33)))
PLACE = hashlib.sha256(b"requests.eu\0" + ENTRY).digest()


def box(plain: bytes, sender: Sender | None = None, key: X25519Key = DESK.public, hour: int = 1) -> bytes:
    return (sender or Sender()).box(plain, key, channel=CHANNEL, entry_id=ENTRY, hour=hour)


def unbox(boxed: bytes, channel: str = CHANNEL, entry: bytes = ENTRY) -> bytes:
    return Receiver([DESK]).unbox(boxed, channel=channel, entry_id=entry)


def forge(inner: bytes, ephemeral: nacl.public.PrivateKey | None = None) -> bytes:
    """What anybody can make who has libsodium and the receiver's public key."""
    ephemeral = ephemeral or nacl.public.PrivateKey.generate()
    boxed = nacl.public.Box(ephemeral, nacl.public.PublicKey(DESK.public.point)).encrypt(inner)
    return b"\x01" + b64url_decode(DESK.public.id) + bytes(ephemeral.public_key) + bytes(boxed)


@given(st.binary(max_size=5000))
def test_what_is_boxed_opens_to_the_same_bytes(plain: bytes) -> None:
    assert plain == unbox(box(plain))


@pytest.mark.parametrize("size", [0, 1, PLAIN_MAX])
def test_the_smallest_and_the_largest_open(size: int) -> None:
    assert bytes(size) == unbox(box(bytes(size)))


def test_what_is_larger_is_refused() -> None:
    with pytest.raises(BoxError, match=r"^too-long$"):
        box(bytes(PLAIN_MAX + 1))


def test_a_foreign_reader_finds_what_the_format_says() -> None:
    boxed = box(b"content")
    version, key_id, ephemeral, rest = boxed[:1], boxed[1:33], boxed[33:65], boxed[65:]
    assert version == b"\x01"
    assert b64url_decode(DESK.public.id) == key_id
    foreign = nacl.public.Box(nacl.public.PrivateKey(DESK.to_bytes()), nacl.public.PublicKey(ephemeral))
    inner = foreign.decrypt(rest)
    assert PLACE + (7).to_bytes(4) + b"content" + bytes(len(inner) - 43) == inner
    assert padme(43) == len(inner)


def test_what_a_foreign_sender_makes_by_the_format_opens() -> None:
    inner = PLACE + (7).to_bytes(4) + b"content"
    assert unbox(forge(inner.ljust(padme(43), b"\0"))) == b"content"


def test_a_sealed_box_of_libsodium_is_not_taken_for_one_of_ours() -> None:
    sealed = crypto_box_seal(b"content", DESK.public.point)
    assert crypto_box_seal_open(sealed, DESK.public.point, DESK.to_bytes()) == b"content"
    with pytest.raises(BoxError, match=r"^box-form$"):
        unbox(sealed)


@pytest.mark.parametrize(
    ("inner", "flaw"),
    [
        pytest.param(b"", "box-form", id="empty"),
        pytest.param(PLACE + bytes(3), "box-form", id="no length"),
        pytest.param(bytes(36), "moved", id="no place"),
        pytest.param(PLACE + (1).to_bytes(4), "box-form", id="shorter than it says"),
        pytest.param(PLACE + b"\xff" * 4 + bytes(100), "box-form", id="far shorter than it says"),
        pytest.param(PLACE + bytes(4) + bytes(4), "box-form", id="no padding of Padmé's"),
        pytest.param(PLACE + (7).to_bytes(4) + b"content", "box-form", id="unpadded"),
        pytest.param(PLACE + (7).to_bytes(4) + b"content" + b"\1", "box-form", id="padding that is not zero"),
    ],
)
def test_one_content_has_one_form(inner: bytes, flaw: str) -> None:
    with pytest.raises(BoxError, match=rf"^{flaw}$"):
        unbox(forge(inner))


def test_an_entry_of_zero_padding_must_be_all_zero_to_its_end() -> None:
    inner = (PLACE + (7).to_bytes(4) + b"content").ljust(padme(43), b"\0")
    assert len(inner) == 44
    with pytest.raises(BoxError, match=r"^box-form$"):
        unbox(forge(inner[:-1] + b"\1"))


@pytest.mark.parametrize("channel", ["requests.us", "", "requests.eu\0", "requests.e"])
def test_a_box_does_not_open_on_another_channel(channel: str) -> None:
    with pytest.raises(BoxError, match=r"^moved$"):
        unbox(box(b"content"), channel=channel)


@pytest.mark.parametrize("entry", [bytes(16), b"", ENTRY + b"\0", ENTRY[:15]])
def test_a_box_does_not_open_under_another_entry(entry: bytes) -> None:
    with pytest.raises(BoxError, match=r"^moved$"):
        unbox(box(b"content"), entry=entry)


def test_a_box_for_another_key_is_not_ours() -> None:
    with pytest.raises(BoxError, match=r"^not-our-key$"):
        unbox(box(b"content", key=X25519Secret.generate().public))


def test_another_keys_name_on_our_box_opens_nothing() -> None:
    other = X25519Secret.generate()
    boxed = box(b"content")
    with pytest.raises(BoxError, match=r"^altered$"):
        Receiver([DESK, other]).unbox(
            boxed[:1] + b64url_decode(other.public.id) + boxed[33:], channel=CHANNEL, entry_id=ENTRY
        )


def test_a_receiver_opens_with_every_key_that_it_has() -> None:
    other = X25519Secret.generate()
    receiver = Receiver([DESK, other])
    for key in (DESK, other):
        assert receiver.unbox(box(b"x", key=key.public), channel=CHANNEL, entry_id=ENTRY) == b"x"


def test_a_receiver_without_keys_opens_nothing() -> None:
    with pytest.raises(BoxError, match=r"^not-our-key$"):
        Receiver([]).unbox(box(b"x"), channel=CHANNEL, entry_id=ENTRY)


def test_no_bit_of_a_box_can_be_changed() -> None:
    boxed = box(b"content")
    for place in range(8 * len(boxed)):
        bent = bytearray(boxed)
        bent[place // 8] ^= 1 << place % 8
        with pytest.raises(BoxError):
            unbox(bytes(bent))


def test_no_beginning_of_a_box_and_nothing_longer_opens() -> None:
    boxed = box(b"content")
    for end in range(len(boxed)):
        with pytest.raises(BoxError):
            unbox(boxed[:end])
    with pytest.raises(BoxError):
        unbox(boxed + b"\0")


@given(st.binary(max_size=400))
def test_whatever_comes_is_opened_or_refused(raw: bytes) -> None:
    with pytest.raises(BoxError):
        unbox(raw)
    with pytest.raises(BoxError):
        unbox(b"\x01" + b64url_decode(DESK.public.id) + raw)


@pytest.mark.parametrize(
    "point",
    [bytes(32), b"\1" + bytes(31), (2**255 - 20).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little")],
    ids=["0", "1", "-1", "p"],
)
def test_an_ephemeral_key_of_low_order_gives_no_key_that_anybody_knows(point: bytes) -> None:
    boxed = box(b"content")
    with pytest.raises(BoxError, match=r"^altered$"):
        unbox(boxed[:33] + point + boxed[65:])


def ephemeral(boxed: bytes) -> bytes:
    return boxed[33:65]


def test_a_sender_keeps_its_pair_for_the_hour_and_every_sender_has_its_own() -> None:
    one, other = Sender(), Sender()
    first, second, third, back = (box(b"", one, hour=hour) for hour in (1, 1, 2, 1))
    assert ephemeral(first) == ephemeral(second)
    assert len({ephemeral(one) for one in (first, third, back, box(b"", other))}) == 4


def test_a_pair_makes_only_so_many_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAIR_BOXES <= 2**32
    monkeypatch.setattr(boxes, "PAIR_BOXES", 3)
    sender = Sender()
    keys = [ephemeral(box(b"", sender)) for _ in range(7)]
    assert [1 + sorted(set(keys), key=keys.index).index(key) for key in keys] == [1, 1, 1, 2, 2, 2, 3]


def test_no_nonce_comes_twice_and_equal_contents_look_different() -> None:
    sender = Sender()
    made = [box(b"same", sender) for _ in range(200)]
    assert 200 == len({one[65:HEADER_BYTES] for one in made}) == len({one[HEADER_BYTES:] for one in made})


def test_a_receiver_remembers_a_bounded_number_of_senders() -> None:
    receiver = Receiver([DESK])
    for _ in range(boxes.CACHE + 10):
        assert receiver.unbox(box(b"x"), channel=CHANNEL, entry_id=ENTRY) == b"x"
    (shared,) = receiver._shared.values()
    assert shared.cache_info().currsize == boxes.CACHE  # type: ignore[attr-defined]


def test_neither_end_prints_or_pickles_a_key() -> None:
    sender, receiver = Sender(), Receiver([DESK])
    box(b"x", sender)
    for end in (sender, receiver):
        assert DESK.to_bytes().hex() not in repr(end)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(end)


@given(st.integers(0, 2**40))
def test_padme_never_shrinks_and_costs_at_most_twelve_percent(length: int) -> None:
    padded = padme(length)
    assert length <= padded
    assert padded <= length * 1.12 or padded <= length + 1
    assert padded == padme(padded)


@given(st.integers(2, 2**40))
def test_padme_is_what_the_paper_says(length: int) -> None:
    """The paper's algorithm in its own variables, with logarithms."""
    e = math.floor(math.log2(length))
    s = math.floor(math.log2(e)) + 1 if e else 0
    mask = 2 ** max(e - s, 0) - 1
    assert (length + mask) & ~mask == padme(length)


def test_padme_leaves_few_sizes() -> None:
    assert [padme(length) for length in range(11)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 10]
    assert len({padme(length) for length in range(1, 2**20)}) < 2**9
