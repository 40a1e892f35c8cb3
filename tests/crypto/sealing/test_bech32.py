"""Bech32: what BIP 173 lists as right and wrong, and nothing that `encode` would not write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import SealingError
from crypto.sealing import bech32

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"  # C2SP age


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "a12uel5l",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        "?1ezyfcl",
    ],
)
def test_the_valid_strings_of_bip_173_read_and_are_written_alike(text: str) -> None:
    assert bech32.encode(*bech32.decode(text)) == text


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("\x201nwldj5", "bech32-form"),
        ("\x7f1axkwrx", "bech32-form"),
        ("\x801eym55h", "bech32-form"),
        ("pzry9x0s0muk", "bech32-form"),  # no separator
        ("1pzry9x0s0muk", "bech32-form"),  # no prefix
        ("x1b4n0q5v", "bech32-form"),  # a letter outside the alphabet
        ("li1dgmt3", "bech32-form"),  # checksum too short
        ("de1lg7wt\xff", "bech32-form"),
        ("A1G7SGD8", "bech32-checksum"),  # over the upper-case prefix
        ("10a06t8", "bech32-form"),
        ("1qzzfhee", "bech32-form"),
        ("", "bech32-form"),
        (" " + RECIPIENT, "bech32-form"),
        (RECIPIENT + " ", "bech32-form"),
        (RECIPIENT + "\n", "bech32-form"),
        (RECIPIENT[:-1], "bech32-checksum"),
        (RECIPIENT + "q", "bech32-checksum"),
        (RECIPIENT[:-1] + "J", "bech32-mixed-case"),
        ("A" + RECIPIENT[1:], "bech32-mixed-case"),
        ("age1\N{KELVIN SIGN}" + RECIPIENT[5:], "bech32-form"),  # its lower case is a `k`
        (RECIPIENT.upper().replace("K", "\N{KELVIN SIGN}"), "bech32-form"),
        ("\udcff" + RECIPIENT, "bech32-form"),
        ("q" * (bech32.MAX_LENGTH + 1), "bech32-too-long"),
    ],
)
def test_what_is_not_bech32_is_refused(text: str, flaw: str) -> None:
    with pytest.raises(SealingError) as error:
        bech32.decode(text)
    assert error.value.flaw == flaw


@pytest.mark.parametrize("letters", ["q", "qqq", "qqqqqq", "qp", "qqqqqqqqp"])
def test_padding_that_is_long_or_not_zero_is_refused(letters: str) -> None:
    register = bech32._register(b"age", letters.encode() + b"qqqqqq") ^ 1
    checksum = "".join(LETTERS[register >> shift & 31] for shift in range(25, -1, -5))
    with pytest.raises(SealingError) as error:
        bech32.decode(f"age1{letters}{checksum}")
    assert error.value.flaw == "bech32-padding"


@given(
    st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1).map(str.lower),
    st.binary(max_size=1300),
    st.booleans(),
)
def test_what_is_written_reads_as_it_was(prefix: str, content: bytes, upper: bool) -> None:
    written = bech32.encode(prefix.upper() if upper else prefix, content)
    assert bech32.decode(written)[1] == content
    assert bech32.decode(written)[0].lower() == prefix


@given(st.data(), st.binary(min_size=1, max_size=1216))
def test_every_changed_letter_is_found(data: st.DataObject, content: bytes) -> None:
    written = bech32.encode("age1pq", content)
    at = data.draw(st.integers(len("age1pq1"), len(written) - 1))
    letter = data.draw(st.sampled_from(LETTERS).filter(lambda other: other != written[at]))
    with pytest.raises(SealingError) as error:
        bech32.decode(written[:at] + letter + written[at + 1 :])
    assert error.value.flaw == "bech32-checksum"


@given(st.text(max_size=100))
def test_any_text_reads_or_is_refused(text: str) -> None:
    try:
        prefix, content = bech32.decode(text)
    except SealingError:
        return
    assert bech32.encode(prefix, content) == (text if prefix.isupper() else text.lower())
