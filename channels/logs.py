"""Logs by allow-list: one JSON object a line, and nothing in it that the event registry does not name.

The registry says which events there are and which fields each may carry. An event that is not in it is not written; a
field that is not its event's, or whose value is not small and flat, is left out and counted. So a target, a key, a
token or a body cannot get into a log by mistake. Of an exception its type's name and the lines that it passed are
written, never its message and never a local. The one clock here is the line's time stamp.

A line that cannot be written raises `OSError`: where the record is not kept, the work is not done.
"""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _text  # ASCII alone: what a terminal might obey is escaped
from pathlib import PurePath
from threading import Lock
from traceback import walk_tb
from typing import Final, TextIO, TypeAlias, final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

Value: TypeAlias = str | int | float | bool | None
"""What a field may hold. A text of more than 200 characters, or a number that JSON cannot hold, is left out."""

TEXT_MAX: Final = 200  # characters
INTEGER_MAX: Final = 2**63 - 1  # what readers of JSON lines can hold, and no 5,000 digits
FRAMES_MAX: Final = 32  # the innermost lines of a traceback

LIBRARY: Final = "library.warned"
"""What a library said by `logging` where nobody listens: field `library`, its logger's name; its text is not written."""

_OURS: Final = frozenset({"timestamp", "level", "event", "party", "dropped_fields", "error", "where"})


@final
@dataclass(frozen=True, slots=True)
class Dropped:
    """What was not written since `configure`, so that a mistake shows as a figure and not as a leak."""

    events: int
    fields: int


@final
class Log:
    """Writes events. `event` is a name of the registry, past tense and dotted; fields are what it allows there."""

    __slots__ = ()

    def info(self, event: str, /, **fields: Value) -> None:
        """What happened as it should."""
        _process.logger.info(event, fields=fields)

    def warning(self, event: str, /, **fields: Value) -> None:
        """What an operator should look at."""
        _process.logger.warning(event, fields=fields)

    def error(self, event: str, /, **fields: Value) -> None:
        """What failed."""
        _process.logger.error(event, fields=fields)

    def exception(self, event: str, error: BaseException, /, **fields: Value) -> None:
        """What failed, and the type of `error` and its way as `file:line`, outermost first."""
        _process.logger.error(event, fields=fields, error=error)


def configure(registry: Mapping[str, frozenset[str]], *, party: str, stream: TextIO) -> None:
    """Write the events of `registry` (name to allowed fields) as lines to `stream`. Once in a process, at its start.

    Also takes what libraries say by `logging` where no handler is set, which Python would print with its text.
    Raises `RuntimeError` when the registry uses a name that every line has.
    """
    if any(fields & _OURS for fields in registry.values()):
        raise RuntimeError("An event's field has the name of a member that every line has.")
    _process.start(registry, party, stream)
    logging.lastResort = _Library(logging.WARNING)


def get_log() -> Log:
    """A log, at any time: what it is told before `configure` is counted as dropped, and lost."""
    return Log()


def dropped() -> Dropped:
    """How many events and fields were not written since `configure`."""
    return Dropped(_process.events, _process.fields)


@final
@dataclass(frozen=True, slots=True)
class _Form:
    """How one event is written: what follows its level, and each allowed field's key, as JSON text made beforehand."""

    head: str
    keys: Mapping[str, str]

    @classmethod
    def of(cls, event: str, party: str, fields: frozenset[str]) -> "_Form":
        head = f'"event":{_text(event)},"party":{_text(party)}'
        return cls(head, {field: f",{_text(field)}:" for field in fields})


@final
class _Process:
    """What a process has one of: where lines go, which are allowed, and the count of what was not."""

    def __init__(self) -> None:
        self.events = self.fields = 0
        self._lock = Lock()
        self._forms: Mapping[str, _Form] = {}
        self._second = (0, "")
        self.logger = self._bound(structlog.ReturnLogger())

    def start(self, registry: Mapping[str, frozenset[str]], party: str, stream: TextIO) -> None:
        self.events = self.fields = 0
        self._forms = {event: _Form.of(event, party, fields) for event, fields in registry.items()}
        self.logger = self._bound(structlog.WriteLogger(stream))

    def _bound(self, target: structlog.ReturnLogger | structlog.WriteLogger) -> FilteringBoundLogger:
        bound: FilteringBoundLogger = structlog.wrap_logger(
            target,
            processors=[self._line],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            context_class=dict,
        ).bind()
        return bound

    def _line(self, _: object, level: str, said: EventDict) -> str:
        """The line of an event, with what the registry allows it.

        Check and rendering in one pass, over flat values and keys made beforehand: as fast as rendering alone elsewhere.
        """
        form = self._forms.get(said["event"])
        if form is None:
            self._count(events=1)
            raise structlog.DropEvent
        fields: Mapping[str, Value] = said["fields"]
        error: BaseException | None = said.get("error")
        parts = [f'{{"timestamp":"{self._now()}","level":"{level}",{form.head}']
        for name, value in fields.items():
            if (key := form.keys.get(name)) and (text := _value(value)):
                parts += key, text
        if left_out := len(fields) - len(parts) // 2:
            self._count(fields=left_out)
            parts.append(f',"dropped_fields":{left_out}')
        if error is not None:
            parts.append(f',"error":{_text(type(error).__name__)},"where":[{",".join(map(_text, _where(error)))}]')
        parts.append("}")
        return "".join(parts).replace("\x7f", "\\u007f")  # JSON lets DEL pass, and a terminal obeys it

    def _now(self) -> str:
        """UTC to the millisecond. The one clock of this package; a second's text is made once."""
        now = time.time()  # noqa: TID251 - a log line's time stamp is nobody's parameter
        second, text = self._second
        if second != int(now):
            second = int(now)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)
        return f"{text}.{int(now % 1 * 1000):03}Z"

    def _count(self, *, events: int = 0, fields: int = 0) -> None:
        with self._lock:
            self.events += events
            self.fields += fields


def _value(value: object) -> str | None:
    """A field's value as JSON, or None when it is not small and flat."""
    if isinstance(value, str):
        return _text(value) if len(value) <= TEXT_MAX else None
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value) if -INTEGER_MAX <= value <= INTEGER_MAX else None
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else None
    return None


def _where(error: BaseException) -> list[str]:
    """The way of an exception as `folder/file.py:line`: enough to find the place, no path of the machine."""
    way = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return [f"{'/'.join(PurePath(file).parts[-2:])}:{line}" for file, line in way[-FRAMES_MAX:]]


@final
class _Library(logging.Handler):
    """Stands in for Python's last resort, which prints messages and tracebacks with whatever is in them."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        write = _process.logger.error if record.levelno >= logging.ERROR else _process.logger.warning
        write(LIBRARY, fields={"library": record.name}, error=error)


_process: Final = _Process()
