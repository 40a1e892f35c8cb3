"""An outbox id is never used twice: else what comes into a settled row's place counts as sent with it, and waits a minute.

PostgreSQL's identity columns never did; SQLite gives the highest id again once its row is gone, but with AUTOINCREMENT.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

_COLUMNS: Final = 'id, entity, "row", chain, seq, rejection, next, attempts'


def upgrade() -> None:
    """The table anew, with the ids it had: SQLite cannot change a key in place."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.drop_index("outbox_next", "outbox")
    op.drop_index("outbox_chain", "outbox")
    op.rename_table("outbox", "outbox_before")
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("row", sa.Integer),
        sa.Column("chain", sa.Text),
        sa.Column("seq", sa.Integer),
        sa.Column("rejection", sa.LargeBinary),
        sa.Column("next", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO outbox ({_COLUMNS}) SELECT {_COLUMNS} FROM outbox_before")  # noqa: S608 (constants)
    op.drop_table("outbox_before")
    op.create_index("outbox_next", "outbox", ["entity", "next", "id"])
    op.create_index("outbox_chain", "outbox", ["entity", "chain", "seq"])
