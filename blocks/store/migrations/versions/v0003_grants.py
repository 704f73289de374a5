"""The journal of OAuth grants."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "oauth_grant",
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("generation", BIG, nullable=False),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("held", sa.LargeBinary(), nullable=False),
        sa.Column("expires", TIME, nullable=True),
        sa.Column("ages", TIME, nullable=True),
        sa.Column("noted", sqlmodel.AutoString(), nullable=False),
        sa.Column("noted_until", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("told", sqlmodel.AutoString(), nullable=False),
        sa.Column("published", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("oauth_grant")
