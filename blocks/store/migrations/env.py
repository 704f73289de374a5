"""Alembic's entry: runs within the connection, and the transaction, that it is given."""

from __future__ import annotations

from alembic import context

from blocks.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    # SQLite changes most tables only by copying them.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
