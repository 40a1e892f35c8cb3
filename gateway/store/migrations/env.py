"""Run by Alembic, once a migration, on the connection and inside the transaction that `migrated` hands in."""

from alembic import context

from gateway.store.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite can, too
)
context.run_migrations()
