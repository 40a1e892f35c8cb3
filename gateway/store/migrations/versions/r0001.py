"""The first schema: rows of chains, what stands of cases and authorities, sealed parts, blobs, the outbox, leases."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

_WORD: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_CASE: Final = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")
_WHOLE: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SMALL: Final = sa.SmallInteger().with_variant(sa.Integer, "sqlite")
_FLAG: Final = sa.Boolean().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """From nothing."""
    _record()
    _standing()
    _ciphertext()
    _sending()
    if op.get_context().dialect.name == "postgresql":
        _uncompressed()


def _record() -> None:
    op.create_table(
        "rows",
        sa.Column("id", _WHOLE, sa.Identity(), primary_key=True),
        sa.Column("chain", _WORD, nullable=False),
        sa.Column("seq", _WHOLE, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("at", _WHOLE, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("issuer", _WORD),
        sa.Column("jti", _WORD),
        sa.Column("statement", sa.LargeBinary),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("rows_place", "rows", ["chain", "seq"], unique=True)
    _index("rows_name", "rows", ["issuer", "jti"], "issuer IS NOT NULL", unique=True)


def _standing() -> None:
    op.create_table(
        "authorities",
        sa.Column("id", _WORD, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cases",
        sa.Column("id", _CASE, primary_key=True),
        sa.Column("authority", _WORD, nullable=False),
        sa.Column("entity", _WORD, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("received", _WHOLE, nullable=False),
        sa.Column("due", _WHOLE),
        sa.Column("overdue", _FLAG, nullable=False),
        sa.Column("steps", _WHOLE, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("cases_authority", "cases", ["authority", "id"])
    op.create_index(
        "cases_due",
        "cases",
        ["due"],
        sqlite_where=sa.text("due IS NOT NULL AND overdue = 0"),
        postgresql_where=sa.text("due IS NOT NULL AND NOT overdue"),
    )


def _ciphertext() -> None:
    op.create_table(
        "sealed",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("chain", _WORD, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("size", _WHOLE, nullable=False),
        sa.Column("owner", _WORD, nullable=False),
        sa.Column("at", _WHOLE, nullable=False),
        sa.Column("chain", _WORD),
        sa.Column("entity", _WORD),
        sa.Column("fetched", _WHOLE),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("blobs_chain", "blobs", ["chain"], "chain IS NOT NULL")
    _index("blobs_orphan", "blobs", ["at"], "chain IS NULL")


def _sending() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", _WHOLE, sa.Identity(), primary_key=True),
        sa.Column("entity", _WORD, nullable=False),
        sa.Column("row", _WHOLE),
        sa.Column("chain", _WORD),
        sa.Column("seq", _WHOLE),
        sa.Column("rejection", sa.LargeBinary),
        sa.Column("next", _WHOLE, nullable=False),
        sa.Column("attempts", _SMALL, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("outbox_next", "outbox", ["entity", "next", "id"])
    op.create_index("outbox_chain", "outbox", ["entity", "chain", "seq"])
    op.create_table(
        "acceptances",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("entity", _WORD, primary_key=True),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", _WHOLE, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _uncompressed() -> None:
    """Signatures and ciphertext do not shrink: without the server's attempts a group is kept in four fifths of the time."""
    op.execute("ALTER TABLE rows ALTER statement SET STORAGE EXTERNAL, ALTER receipt SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE sealed ALTER content SET STORAGE EXTERNAL")


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    """A partial index: the same condition on both engines."""
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
