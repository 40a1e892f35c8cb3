"""Sources: the platform's databases, asked by named queries that its own people wrote.

One TOML file names a database (a SQLAlchemy URL) and, for each category of data and each way to name a target, one query. Values
are bound, never put into the text; the connection only reads; rows and time are limited, and what goes beyond a limit is an
error, never a shorter answer. No query here knows who asks, and nothing is judged.

    name = "accounts"
    url = "postgresql+psycopg://rogatory@db/accounts"

    [[queries]]
    category = "subscriber"
    by = "phone"
    account = "account"          # the column that counts accounts
    sql = "SELECT account, name FROM subscribers WHERE phone = :target"

A query may use `:target`, and `:since` and `:until` (Unix seconds; null where the request names no time; `until` is exclusive).
"""

import asyncio
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Self, final

from pydantic import Field, StringConstraints, model_validator
from sqlalchemy import Connection, Engine, Row, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from protocol.disclosure import Records
from protocol.procedures.production import Selector, Target
from protocol.procedures.shared import Span
from protocol.terms import Category, Closed

PARAMETERS: Final = frozenset({"target", "since", "until"})
ROWS: Final = 10_000  # ours: of one query and target; more is a question that was put too widely
SECONDS: Final = 30  # ours: of one query and target

Value = str | int | None


@final
class SourceError(Exception):
    """What a source could not do. `flaw` is a constant, safe to log; it never holds a value or a query."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of database is kept from writing, and which method of its driver's connection stops a query."""

    begin: tuple[str, ...]
    stop: str


# A database that is in no row is refused: we would not know how to keep it from writing.
DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "sqlite": Dialect(("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF"), "interrupt"),
        "postgresql": Dialect(("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",), "cancel"),
    }
)


class Query(Closed):
    """One question: of which category, for targets named in which way, and which column counts accounts."""

    category: Category
    by: Selector
    account: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
    sql: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _reads_with_bound_values(self) -> Self:
        if not self.sql.lstrip().lower().startswith(("select ", "select\n", "with ", "with\n")):
            raise ValueError("a query begins with SELECT or WITH")
        if ";" in self.sql:
            raise ValueError("a query is one statement, without a semicolon")
        if "target" not in self.parameters or not self.parameters <= PARAMETERS:
            raise ValueError("a query uses :target, and besides it :since and :until alone")
        return self

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the values that it binds."""
        return frozenset(text(self.sql).compile().params)


class SourceFile(Closed):
    """What the TOML file says."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
    url: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    rows: Annotated[int, Field(ge=1, le=10_000_000)] = ROWS
    seconds: Annotated[int, Field(ge=1, le=3_600)] = SECONDS
    queries: Annotated[tuple[Query, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_query_for_each_question(self) -> Self:
        if len({(one.category, one.by) for one in self.queries}) < len(self.queries):
            raise ValueError("one query for each category and way to name a target")
        return self


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds for some targets: the records of one category, and the accounts that they are of."""

    records: Records
    accounts: frozenset[str]


@final
class SqlSource:
    """A database and its queries. Made by `read`."""

    def __init__(self, file: SourceFile, engine: Engine, dialect: Dialect) -> None:
        self.name = file.name
        self._file = file
        self._engine = engine
        self._dialect = dialect
        self._queries = {(one.category, one.by): one for one in file.queries}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The source that a TOML file names; a relative SQLite path is relative to the file.

        Raises `pydantic.ValidationError`, `tomllib.TOMLDecodeError`, `OSError`, and SourceError
        (`url-form`, `no-such-driver`, `dialect-unknown`).
        """
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        told["queries"] = _queries(told.get("queries"))
        file = SourceFile.model_validate(told)
        try:
            url = make_url(file.url)
            if url.get_backend_name() == "sqlite" and url.database:
                found = (path.resolve().parent / url.database).resolve()
                url = url.set(database=f"file:{found}").update_query_dict({"mode": "ro", "uri": "true"})
            # No pool: a look-up is rare, and a connection that was interrupted is not used again.
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        except ModuleNotFoundError:
            raise SourceError("no-such-driver") from None
        except SQLAlchemyError:
            raise SourceError("url-form") from None
        dialect = DIALECTS.get(engine.dialect.name)
        if dialect is None:
            raise SourceError("dialect-unknown")
        _read_only(engine, dialect)
        return cls(file, engine, dialect)

    def answers(self, category: Category, targets: Sequence[Target]) -> bool:
        """Whether the category has a query for each way in which `targets` are named."""
        return all((category, target.by) in self._queries for target in targets)

    async def find(self, category: Category, targets: Sequence[Target], span: Span | None) -> Found:
        """What is held for `targets`; rows that two of them share come once. Raises SourceError.

        `no-query` when the source does not `answer`; `too-many-rows`, `too-slow`,
        `columns-differ`, `account-missing`, `failed`.
        """
        return await asyncio.to_thread(self._find, category, tuple(dict.fromkeys(targets)), span)

    def _find(self, category: Category, targets: Sequence[Target], span: Span | None) -> Found:
        rows: dict[tuple[Value, ...], None] = {}
        accounts: set[str] = set()
        columns: tuple[str, ...] | None = None
        try:
            with self._engine.connect() as connection:
                for target in targets:
                    query = self._queries.get((category, target.by))
                    if query is None:
                        raise SourceError("no-query")
                    named, found = self._asked(connection, query, target, span)
                    if columns not in (None, named):
                        raise SourceError("columns-differ")
                    columns = named
                    rows.update(dict.fromkeys(found))
                    accounts.update(_accounts(query, named, found))
        except SQLAlchemyError:  # its text may hold values
            raise SourceError("failed") from None
        return Found(Records(category, self.name, columns or (), tuple(rows)), frozenset(accounts))

    def _asked(
        self, connection: Connection, query: Query, target: Target, span: Span | None
    ) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        since, until = (None, None) if span is None else (span.since, span.until)
        values = {"target": target.value, "since": since, "until": until}
        bound = {name: values[name] for name in query.parameters}
        with _within(self._file.seconds, self._stopper(connection)) as late:
            try:
                result = connection.execute(text(query.sql), bound)
                found = result.fetchmany(self._file.rows + 1)
            except SQLAlchemyError:
                if late.is_set():
                    raise SourceError("too-slow") from None
                raise
        if len(found) > self._file.rows:
            raise SourceError("too-many-rows")
        return tuple(result.keys()), [_texts(row) for row in found]

    def _stopper(self, connection: Connection) -> Callable[[], None]:
        """What ends the query that runs on a connection, from another thread."""
        driver = connection.connection.driver_connection
        stop: Callable[[], None] = getattr(driver, self._dialect.stop)
        return stop


def _queries(told: object) -> object:
    """TOML has lists of tables, and texts for what the model has as enumerations; anything else is the model's to refuse."""
    if not isinstance(told, list):
        return told
    return tuple(_query(one) for one in told)


def _query(told: object) -> object:
    if not isinstance(told, dict):
        return told
    enums: dict[str, type[Category | Selector]] = {"category": Category, "by": Selector}
    return {name: _member(enums[name], value) if name in enums else value for name, value in told.items()}


def _member(enum: type[Category | Selector], value: object) -> object:
    return next((one for one in enum if one == value), value)


def _read_only(engine: Engine, dialect: Dialect) -> None:
    @event.listens_for(engine, "connect")
    def _begin(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # (PEP 249, which has no type)
        for statement in dialect.begin:
            cursor.execute(statement)
        cursor.close()


@contextmanager
def _within(seconds: int, stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Call `stop` when the block takes longer; the event says that it was called."""
    late = threading.Event()

    def end() -> None:
        late.set()
        stop()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()  # never may it stop the query after this one


def _texts(row: Row[tuple[object, ...]]) -> tuple[Value, ...]:
    return tuple(_value(value) for value in row)


def _value(value: object) -> Value:
    """A value as a record holds it: whole numbers and nothing stay; all else is text, bytes in hex."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _accounts(query: Query, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]) -> Iterator[str]:
    if query.account not in columns:
        raise SourceError("account-missing")
    place = columns.index(query.account)
    return (str(row[place]) for row in rows if row[place] is not None)
