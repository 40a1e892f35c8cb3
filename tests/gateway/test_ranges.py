import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ranges import Span, etag, select
from protocol.ids import digest_of
from protocol.problems import Refused

DIGEST = digest_of(b"the file")
TAG = etag(DIGEST)
SIZE = 1_000


def whole() -> Span:
    return Span(0, SIZE, SIZE, partial=False)


def part(start: int, stop: int) -> Span:
    return Span(start, stop, SIZE, partial=True)


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", part(0, 1)),
        ("bytes=0-", part(0, SIZE)),
        ("bytes=10-19", part(10, 20)),
        ("bytes=990-5000", part(990, SIZE)),
        ("bytes=-1", part(999, SIZE)),
        ("bytes=-5000", part(0, SIZE)),
        # what is no single range is as if it were not there: RFC 9110 §14.2
        ("bytes=0-1,5-6", whole()),
        ("bytes=5-2", whole()),
        ("bytes=-", whole()),
        ("bytes=a-b", whole()),
        ("bytes 0-1", whole()),
        ("octets=0-1", whole()),
        ("bytes=0x1-2", whole()),
        ("bytes=1-2 ", whole()),
        ("bytes=" + "9" * 5_000 + "-", whole()),
        ("bytes=\u0661-\u0662", whole()),
    ],
)
def test_a_range_gives_a_part(asked: str, span: Span) -> None:
    assert select({"Range": asked}, DIGEST, SIZE) == span


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_beyond_the_file_is_refused_with_its_size(asked: str) -> None:
    with pytest.raises(Refused) as refused:
        select({"Range": asked}, DIGEST, SIZE)
    assert refused.value.code == "range-refused"
    assert "1000" in refused.value.detail


@pytest.mark.parametrize(
    ("if_range", "span"),
    [
        (TAG, part(10, SIZE)),
        (f"W/{TAG}", whole()),
        ('"another"', whole()),
        (DIGEST, whole()),
        ("Wed, 21 Oct 2026 07:28:00 GMT", whole()),
        ("*", whole()),
        ("", whole()),
    ],
)
def test_a_range_is_given_only_of_the_version_that_the_caller_has(if_range: str, span: Span) -> None:
    assert select({"Range": "bytes=10-", "If-Range": if_range}, DIGEST, SIZE) == span


@pytest.mark.parametrize("field", [TAG, "*", f'"a", {TAG}', f'W/"a",{TAG} ,"b"'])
def test_if_match_lets_the_version_pass(field: str) -> None:
    assert select({"If-Match": field}, DIGEST, SIZE) == whole()


@pytest.mark.parametrize("field", ['"a"', f"W/{TAG}", DIGEST, "", f"{TAG}{TAG}"])
def test_if_match_refuses_another_version(field: str) -> None:
    with pytest.raises(Refused) as refused:
        select({"If-Match": field, "If-None-Match": TAG}, DIGEST, SIZE)
    assert refused.value.code == "precondition-failed"


@pytest.mark.parametrize("field", [TAG, "*", f"W/{TAG}", f'"a", {TAG}'])
def test_if_none_match_gives_nothing_to_who_has_it(field: str) -> None:
    assert select({"If-None-Match": field, "Range": "bytes=0-1"}, DIGEST, SIZE) is None


def test_if_none_match_gives_it_to_who_has_another() -> None:
    assert select({"If-None-Match": '"another"'}, DIGEST, SIZE) == whole()


@given(st.text(max_size=40), st.integers(1, 10**12))
def test_any_range_gives_bytes_of_the_file_or_is_refused(asked: str, size: int) -> None:
    try:
        span = select({"Range": "bytes=" + asked}, DIGEST, size)
    except Refused:
        return
    assert span is not None
    assert 0 <= span.start < span.stop <= size == span.size


def test_a_part_tells_where_it_lies() -> None:
    assert part(10, 20).content_range == "bytes 10-19/1000"
    assert (part(10, 20).last, part(10, SIZE).last) == (False, True)
