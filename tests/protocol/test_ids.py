"""Ids: one form each, strictly parsed; derived ones fall in order of time."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ids

A_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
A_CASE = "01a1ee56-5e00-8644-b836-edcc4521e310"
A_JTI = "01a1ee56-5e00-7644-b836-edcc4521e310"
SECONDS = st.integers(ids.EARLIEST, 2**48 // 1000 - 1)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (ids.parse_authority_id, "kr-knpa-cyber"),
        (ids.parse_authority_id, "us-fbi"),
        (ids.parse_authority_id, "de-1-2-3-4"),
        (ids.parse_platform_id, "tg.example"),
        (ids.parse_platform_id, "a-b.c1.example"),
        (ids.parse_case_id, A_CASE),
        (ids.parse_jti, A_JTI),
        (ids.parse_digest, A_DIGEST),
    ],
)
def test_a_good_id_comes_back_as_it_is(parse: Callable[[str], str], text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize(
    "bend", ["{}\n", "\n{}", " {}", "{} ", "{}\0", "../{}", "{}/..", "{}%00", "", "{} {}", "\u0131{}"]
)
@pytest.mark.parametrize(
    ("parse", "good"),
    [
        (ids.parse_authority_id, "kr-knpa-cyber-a-b"),
        (ids.parse_platform_id, "tg.example"),
        (ids.parse_case_id, A_CASE),
        (ids.parse_jti, A_JTI),
        (ids.parse_digest, A_DIGEST),
    ],
)
def test_what_is_put_round_an_id_makes_it_none(parse: Callable[[str], str], good: str, bend: str) -> None:
    with pytest.raises(ids.NotAnId) as found:
        parse(bend.format(good, good))
    assert good not in str(found.value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (ids.parse_authority_id, "kr"),
        (ids.parse_authority_id, "kr-"),
        (ids.parse_authority_id, "KR-knpa"),
        (ids.parse_authority_id, "kor-knpa"),
        (ids.parse_authority_id, "kr--knpa"),
        (ids.parse_authority_id, "kr-a-b-c-d-e"),
        (ids.parse_authority_id, "kr-" + "a" * 25),
        (ids.parse_authority_id, "k\u0433-knpa"),
        (ids.parse_authority_id, "kr-\u0661"),
        (ids.parse_platform_id, "example"),
        (ids.parse_platform_id, "TG.example"),
        (ids.parse_platform_id, "-tg.example"),
        (ids.parse_platform_id, "tg-.example"),
        (ids.parse_platform_id, "tg..example"),
        (ids.parse_platform_id, "tg.example."),
        (ids.parse_platform_id, "a." * 60 + "example"),
        (ids.parse_platform_id, "a" * 64 + ".example"),
        (ids.parse_case_id, A_CASE.upper()),
        (ids.parse_case_id, A_JTI),
        (ids.parse_case_id, A_CASE.replace("-", "")),
        (ids.parse_case_id, "{" + A_CASE + "}"),
        (ids.parse_jti, A_CASE),
        (ids.parse_jti, "01a1ee56-5e00-7644-c836-edcc4521e310"),
        (ids.parse_digest, A_DIGEST.upper()),
        (ids.parse_digest, A_DIGEST[:-1]),
        (ids.parse_digest, A_DIGEST[:-1] + "g"),
    ],
)
def test_what_only_resembles_an_id_is_none(parse: Callable[[str], str], text: str) -> None:
    with pytest.raises(ids.NotAnId):
        parse(text)


def test_a_digest_is_the_one_that_sha256sum_prints() -> None:
    assert ids.digest_of(b"test") == A_DIGEST


@given(SECONDS, DIGESTS)
def test_a_case_id_is_a_version_8_uuid_of_the_time_and_the_digest(iat: int, digest: str) -> None:
    case = ids.case_id(iat, ids.Digest(digest))
    found = UUID(ids.parse_case_id(case))
    assert (found.version, found.variant) == (8, RFC_4122)
    assert found.int >> 80 == iat * 1000
    assert found.int & (2**62 - 1) == int(digest[:20], 16) & (2**62 - 1)


@given(SECONDS, SECONDS, DIGESTS, DIGESTS)
def test_case_ids_sort_by_time(early: int, late: int, one: str, other: str) -> None:
    if early < late:
        assert ids.case_id(early, ids.Digest(one)) < ids.case_id(late, ids.Digest(other))


@given(st.datetimes(datetime(2024, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)), st.binary(min_size=10))  # noqa: DTZ001
def test_a_jti_is_a_version_7_uuid_of_the_time(now: datetime, entropy: bytes) -> None:
    found = UUID(ids.parse_jti(ids.uuid7(now, entropy)))
    assert (found.version, found.variant) == (7, RFC_4122)
    assert found.int >> 80 == int(now.timestamp() * 1000)


def test_a_jti_uses_all_the_luck_that_fits() -> None:
    nothing, everything = (ids.uuid7(ids.instant(1_800_000_000), one * 10) for one in (b"\0", b"\xff"))
    assert (UUID(nothing).int ^ UUID(everything).int).bit_count() == 74


def test_a_jti_is_not_made_of_too_little_luck() -> None:
    with pytest.raises(RuntimeError):
        ids.uuid7(ids.instant(1_800_000_000), bytes(9))


@given(st.integers(ids.EARLIEST, ids.LATEST))
def test_an_instant_is_its_number_and_its_text(seconds: int) -> None:
    at = ids.instant(seconds)
    assert (at.tzinfo, ids.numeric(at)) == (UTC, seconds)
    assert datetime.fromisoformat(ids.written(at)) == at


def test_a_fraction_of_a_second_is_cut_off() -> None:
    at = ids.instant(1_800_000_000).replace(microsecond=999_999)
    assert (ids.numeric(at), ids.written(at)) == (1_800_000_000, "2027-01-15T08:00:00Z")
