"""The integration cache, reports that wait for a person, and old plans found by their age."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables and the index."""
    op.create_table(
        "cache_item",
        sa.Column("integration", sqlmodel.AutoString(), nullable=False),
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("expires", TIME, nullable=True),
        sa.Column("size", BIG, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("integration", "name"),
    )
    op.create_index("cache_item_expires", "cache_item", ["expires"], unique=False)
    op.create_table(
        "report",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("run", sqlmodel.AutoString(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("deadline", TIME, nullable=False),
        sa.Column("decided_by", sqlmodel.AutoString(), nullable=False),
        sa.Column("decided_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("report_run", "report", ["run"], unique=False)
    op.create_index("report_state", "report", ["state", "deadline"], unique=False)
    op.create_index("plan_created", "plan", ["created"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("plan_created", "plan")
    op.drop_table("report")
    op.drop_table("cache_item")
