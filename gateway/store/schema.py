"""The tables of the record, told once for every engine, in SQLAlchemy Core.

Migrations are judged by it, the SQLite file is made from it (`sqlite_script`), and PostgreSQL's quieter reads are compiled from
it. Nothing here talks to a database, and the embedded engine never imports it: SQLAlchemy alone costs more than its whole start.

Instants are whole seconds (RFC 7519 NumericDate), digests 32 raw bytes. Party ids and chains are plain ASCII, compared byte by
byte, so that both engines list alike; a case's id is a `uuid` where there is that type: half the size, and the same order.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from gateway.store.migrations import HEAD, VERSION_TABLE

Word: Final = Text().with_variant(Text(collation="C"), "postgresql")
CaseKey: Final = Text().with_variant(Uuid(as_uuid=False), "postgresql")
Whole: Final = BigInteger().with_variant(Integer, "sqlite")  # a STRICT table of SQLite knows INTEGER alone
Small: Final = SmallInteger().with_variant(Integer, "sqlite")
Flag: Final = Boolean().with_variant(Integer, "sqlite")

# As Alembic makes it.
_VERSION: Final = f"""CREATE TABLE {VERSION_TABLE} (
\tversion_num VARCHAR(32) NOT NULL,
\tCONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
)"""

metadata: Final = MetaData()

rows: Final = Table(
    "rows",
    metadata,
    Column("id", Whole, Identity(), primary_key=True),
    Column("chain", Word, nullable=False),
    Column("seq", Whole, nullable=False),
    Column("stage", Text, nullable=False),
    Column("at", Whole, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("issuer", Word),
    Column("jti", Word),
    Column("statement", LargeBinary),
    Column("sealed", LargeBinary),
    Column("receipt", LargeBinary, nullable=False),
    sqlite_strict=True,
)
Index("rows_place", rows.c.chain, rows.c.seq, unique=True)
_named = text("issuer IS NOT NULL")
Index("rows_name", rows.c.issuer, rows.c.jti, unique=True, sqlite_where=_named, postgresql_where=_named)

authorities: Final = Table(
    "authorities",
    metadata,
    Column("id", Word, primary_key=True),
    Column("state", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

cases: Final = Table(
    "cases",
    metadata,
    Column("id", CaseKey, primary_key=True),
    Column("authority", Word, nullable=False),
    Column("entity", Word, nullable=False),
    Column("state", Text, nullable=False),
    Column("received", Whole, nullable=False),
    Column("due", Whole),
    Column("overdue", Flag, nullable=False),
    Column("steps", Whole, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
Index("cases_authority", cases.c.authority, cases.c.id)
Index(
    "cases_due",
    cases.c.due,
    sqlite_where=text("due IS NOT NULL AND overdue = 0"),
    postgresql_where=text("due IS NOT NULL AND NOT overdue"),
)

sealed: Final = Table(
    "sealed",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("chain", Word, nullable=False),
    Column("content", LargeBinary, nullable=False),
    sqlite_strict=True,
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("size", Whole, nullable=False),
    Column("owner", Word, nullable=False),
    Column("at", Whole, nullable=False),
    Column("chain", Word),
    Column("entity", Word),
    Column("fetched", Whole),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
_of_a_case, _orphan = text("chain IS NOT NULL"), text("chain IS NULL")
Index("blobs_chain", blobs.c.chain, sqlite_where=_of_a_case, postgresql_where=_of_a_case)
Index("blobs_orphan", blobs.c.at, sqlite_where=_orphan, postgresql_where=_orphan)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("id", Whole, Identity(), primary_key=True),
    Column("entity", Word, nullable=False),
    Column("row", Whole),
    Column("chain", Word),
    Column("seq", Whole),
    Column("rejection", LargeBinary),
    Column("next", Whole, nullable=False),
    Column("attempts", Small, nullable=False),
    sqlite_strict=True,
    sqlite_autoincrement=True,  # an id is never used twice: what was sent is told by it
)
Index("outbox_next", outbox.c.entity, outbox.c.next, outbox.c.id)
Index("outbox_chain", outbox.c.entity, outbox.c.chain, outbox.c.seq)

acceptances: Final = Table(
    "acceptances",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("entity", Word, primary_key=True),
    Column("statement", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Word, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Whole, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


def sqlite_script() -> str:
    """The statements that make an empty SQLite file a record of today's schema; shipped as `migrations/sqlite.sql`."""
    dialect = sqlite.dialect()
    made: list[ExecutableDDLElement] = [CreateTable(table) for table in metadata.sorted_tables]
    made += [CreateIndex(index) for table in metadata.sorted_tables for index in sorted(table.indexes, key=_name)]
    statements = [str(one.compile(dialect=dialect)) for one in made]
    statements += [_VERSION, f"INSERT INTO {VERSION_TABLE} VALUES ('{HEAD}')"]  # noqa: S608 (constants)
    lines = ";\n".join(one.strip() for one in statements).splitlines()
    return (
        "\n".join(["-- Made by `sqlite_script` of gateway/store/schema.py.", *(line.rstrip() for line in lines)])
        + ";\n"
    )


def _name(index: Index) -> str:
    return str(index.name)
