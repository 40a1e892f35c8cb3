"""Logs: what is written, and above all what is not."""

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import logs

CANARY = "canary-7f3a9c"
REGISTRY = {
    "statement.taken": frozenset({"case", "authority", "took_ms", "size", "emergency"}),
    "worker.failed": frozenset({"stage"}),
    logs.LIBRARY: frozenset({"library"}),
}


@pytest.fixture(autouse=True)
def last_resort() -> Iterator[None]:
    """Gives Python's own last resort back, and a log that nobody reads."""
    before = logging.lastResort
    yield
    logs.configure({}, party="test", stream=io.StringIO())
    logging.lastResort = before


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(REGISTRY, party="gateway", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(stream: io.StringIO) -> None:
    logs.get_log().info("statement.taken", case="c1", took_ms=3.25, size=878, emergency=False, authority=None)
    logs.get_log().warning("statement.taken", size=-(2**63) + 1)
    logs.get_log().error("statement.taken")
    assert stream.getvalue().endswith("}\n")
    first, second, third = lines(stream)
    written = datetime.fromisoformat(str(first.pop("timestamp")))
    assert timedelta(0) <= datetime.now(UTC) - written < timedelta(seconds=10)
    assert first == {
        "level": "info",
        "event": "statement.taken",
        "party": "gateway",
        "case": "c1",
        "took_ms": 3.25,
        "size": 878,
        "emergency": False,
        "authority": None,
    }
    assert (second["level"], second["size"]) == ("warning", -(2**63) + 1)
    assert third["level"] == "error"
    assert logs.Dropped(events=0, fields=0) == logs.dropped()


def test_the_time_stamp_is_utc_to_the_millisecond(stream: io.StringIO) -> None:
    for _ in range(3):
        logs.get_log().info("statement.taken")
    for line in lines(stream):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["timestamp"]))


def test_an_event_that_is_not_in_the_registry_is_counted_and_not_written(stream: io.StringIO) -> None:
    logs.get_log().info(CANARY, case="c1")
    logs.get_log().exception("statement.taken ", ValueError(CANARY))
    assert stream.getvalue() == ""
    assert logs.Dropped(events=2, fields=0) == logs.dropped()


def test_a_field_that_is_not_its_events_is_counted_and_not_written(stream: io.StringIO) -> None:
    logs.get_log().info("statement.taken", case="c1", target=CANARY, stage=CANARY)
    (line,) = lines(stream)
    assert CANARY not in stream.getvalue()
    assert (line["case"], line["dropped_fields"]) == ("c1", 2)
    assert logs.Dropped(events=0, fields=2) == logs.dropped()


@pytest.mark.parametrize(
    "name", ["timestamp", "level", "event", "party", "error", "exc_info", "self", "fields", "method_name"]
)
def test_no_field_takes_the_place_of_a_member_that_every_line_has(stream: io.StringIO, name: str) -> None:
    logs.get_log().info("statement.taken", **{name: CANARY})
    (line,) = lines(stream)
    assert CANARY not in stream.getvalue()
    assert line["dropped_fields"] == 1


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return CANARY


@pytest.mark.parametrize(
    "value",
    [
        "x" * 201,
        2**63,
        -(2**63),
        pytest.param(10**5000, id="5,000 digits"),
        float("nan"),
        float("inf"),
        -float("inf"),
        CANARY.encode(),
        [CANARY],
        {"a": CANARY},
        (CANARY,),
        ValueError(CANARY),
        Path(CANARY),
        object(),
        1 + 2j,
    ],
)
def test_a_value_that_is_not_small_and_flat_is_left_out(stream: io.StringIO, value: object) -> None:
    logs.get_log().info("statement.taken", size=value)  # type: ignore[arg-type]
    (line,) = lines(stream)
    assert "size" not in line
    assert line["dropped_fields"] == 1
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "written"),
    [("x" * 200, "x" * 200), ("", ""), (Colour.RED, "red"), (Number.ONE, 1), (Shouting("a"), "a"), (True, True)],
)
def test_values_are_written_as_what_they_are(stream: io.StringIO, value: logs.Value, written: logs.Value) -> None:
    logs.get_log().info("statement.taken", case=value)
    assert written == lines(stream)[0]["case"]


@given(st.text(max_size=200))
def test_any_text_stays_on_its_line_and_commands_no_terminal(text: str) -> None:
    stream = io.StringIO()
    logs.configure(REGISTRY, party="gateway", stream=stream)
    logs.get_log().info("statement.taken", case=text)
    line = stream.getvalue().removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()
    assert text == json.loads(line)["case"]


def fail(canary: str) -> None:
    inner = canary
    raise ValueError(inner)


def caught(canary: str) -> ValueError:
    try:
        fail(canary)
    except ValueError as error:
        return error
    raise AssertionError


def test_of_an_exception_its_type_and_way_are_written_and_nothing_it_says(stream: io.StringIO) -> None:
    logs.get_log().exception("worker.failed", caught(CANARY), stage="open", target=CANARY)
    (line,) = lines(stream)
    assert CANARY not in stream.getvalue()
    assert (line["level"], line["error"], line["stage"], line["dropped_fields"]) == ("error", "ValueError", "open", 1)
    start = fail.__code__.co_firstlineno
    where = line["where"]
    assert isinstance(where, list)
    assert f"channels/test_logs.py:{start + 2}" == where[-1]
    assert len(where) == 2


def test_a_deep_way_is_cut_to_its_innermost_lines(stream: io.StringIO) -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            fail(CANARY)
        dive(depth - 1)

    with pytest.raises(ValueError, match=CANARY) as raised:
        dive(100)
    logs.get_log().exception("worker.failed", raised.value)
    where = lines(stream)[0]["where"]
    assert isinstance(where, list)
    assert len(where) == 32
    assert f"channels/test_logs.py:{fail.__code__.co_firstlineno + 2}" == where[-1]


def test_an_exception_that_was_never_raised_has_no_way(stream: io.StringIO) -> None:
    logs.get_log().exception("worker.failed", KeyError(CANARY))
    (line,) = lines(stream)
    assert (line["error"], line["where"]) == ("KeyError", [])


def test_what_a_library_says_keeps_its_name_alone(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("some.library")
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers.clear()  # pytest's own, which a party's process does not have
    try:
        library.warning("body was %s", CANARY)
        library.error("failed", exc_info=caught(CANARY))
        library.info("request %s", CANARY)
    finally:
        root.handlers[:] = handlers
    assert [(line["level"], line["library"], line.get("error")) for line in lines(stream)] == [
        ("warning", "some.library", None),
        ("error", "some.library", "ValueError"),
    ]
    assert CANARY not in stream.getvalue() + "".join(capfd.readouterr())


def test_before_there_is_a_registry_everything_is_counted_and_nothing_written(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logs._process.__init__()  # as at the start of a process
    logs.get_log().info("statement.taken", case=CANARY)
    assert logs.Dropped(events=1, fields=0) == logs.dropped()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["timestamp", "level", "event", "party", "dropped_fields", "error", "where"])
def test_a_registry_cannot_take_the_name_of_a_member_that_every_line_has(name: str) -> None:
    with pytest.raises(RuntimeError):
        logs.configure({"a.b": frozenset({name})}, party="gateway", stream=io.StringIO())


def test_lines_of_many_threads_do_not_mix(stream: io.StringIO) -> None:
    def write() -> None:
        for _ in range(200):
            logs.get_log().info("statement.taken", case="c" * 150, target=1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 800
    assert logs.dropped().fields == 800


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError


def test_a_line_that_cannot_be_written_is_not_lost_in_silence() -> None:
    logs.configure(REGISTRY, party="gateway", stream=FullDisk())
    with pytest.raises(OSError, match=r"^$"):
        logs.get_log().info("statement.taken")
