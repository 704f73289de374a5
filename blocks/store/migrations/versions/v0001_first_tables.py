"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make all tables."""
    _audit()
    _blob()
    _conflict()
    _counter()
    _entry()
    _entry_link()
    _incident()
    _intent()
    _link()
    _mirror()
    _parked()
    _plan()
    _plan_line()
    _relation()
    _setting()
    _system()


def downgrade() -> None:
    """Drop all tables."""
    for name in (
        "system",
        "setting",
        "relation",
        "plan_line",
        "plan",
        "parked",
        "mirror",
        "link",
        "intent",
        "incident",
        "entry_link",
        "entry",
        "counter",
        "conflict",
        "blob",
        "audit",
    ):
        op.drop_table(name)


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", BIG, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sqlmodel.AutoString(), nullable=False),
        sa.Column("run", sqlmodel.AutoString(), nullable=False),
        sa.Column("action", sqlmodel.AutoString(), nullable=False),
        sa.Column("incident_id", BIG, nullable=True),
        sa.Column("system_id", sa.Integer(), nullable=True),
        sa.Column("changes", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_at", "audit", ["at"], unique=False)
    op.create_index("audit_incident", "audit", ["incident_id", "id"], unique=False)


def _blob() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", sqlmodel.AutoString(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )


def _conflict() -> None:
    op.create_table(
        "conflict",
        sa.Column("link_id", BIG, nullable=False),
        sa.Column("field", sqlmodel.AutoString(), nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("incident_id", BIG, nullable=False),
        sa.Column("store_value", sa.Text(), nullable=True),
        sa.Column("system_value", sa.Text(), nullable=True),
        sa.Column("since", TIME, nullable=False),
        sa.Column("choice", sqlmodel.AutoString(), nullable=False),
        sa.Column("chosen_by", sqlmodel.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", "field"),
    )


def _counter() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("value", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _entry() -> None:
    op.create_table(
        "entry",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("incident_id", BIG, nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=True),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.Column("author", sqlmodel.AutoString(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("media_type", sqlmodel.AutoString(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("blob", sqlmodel.AutoString(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("entry_incident", "entry", ["incident_id", "id"], unique=False)


def _entry_link() -> None:
    op.create_table(
        "entry_link",
        sa.Column("link_id", BIG, nullable=False),
        sa.Column("remote_id", sqlmodel.AutoString(), nullable=False),
        sa.Column("entry_id", BIG, nullable=False),
        sa.PrimaryKeyConstraint("link_id", "remote_id"),
    )
    op.create_index(
        "entry_link_entry",
        "entry_link",
        ["link_id", "entry_id"],
        unique=True,
        sqlite_where=sa.text("entry_id > 0"),
        postgresql_where=sa.text("entry_id > 0"),
    )


def _incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("type", sqlmodel.AutoString(), nullable=True),
        sa.Column("status", sqlmodel.AutoString(), nullable=True),
        sa.Column("severity", sqlmodel.AutoString(), nullable=True),
        sa.Column("owner", sqlmodel.AutoString(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=True),
        sa.Column("close_reason", sqlmodel.AutoString(), nullable=True),
        sa.Column("close_notes", sa.Text(), nullable=True),
        sa.Column("custom", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("changed", sa.Text(), nullable=True),
        sa.Column("occurred", TIME, nullable=True),
        sa.Column("created", TIME, nullable=False),
        sa.Column("updated", TIME, nullable=False),
        sa.Column("closed", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_owner", "incident", ["owner"], unique=False)
    op.create_index("incident_severity", "incident", ["severity"], unique=False)
    op.create_index("incident_status", "incident", ["status"], unique=False)
    op.create_index("incident_type", "incident", ["type"], unique=False)
    op.create_index("incident_updated", "incident", ["updated"], unique=False)


def _intent() -> None:
    op.create_table(
        "intent",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("link_id", BIG, nullable=False),
        sa.Column("incident_id", BIG, nullable=False),
        sa.Column("verb", sqlmodel.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.Column("entry_id", BIG, nullable=True),
        sa.Column("key", sqlmodel.AutoString(), nullable=False),
        sa.Column("patch", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("ours", sa.Text(), nullable=True),
        sa.Column("plan_id", BIG, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("started", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("intent_link", "intent", ["link_id"], unique=False)
    op.create_index("intent_system", "intent", ["system_id", "id"], unique=False)


def _link() -> None:
    op.create_table(
        "link",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("incident_id", BIG, nullable=True),
        sa.Column("remote_id", sqlmodel.AutoString(), nullable=True),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("dirty", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=True),
        sa.Column("seen_version", sqlmodel.AutoString(), nullable=True),
        sa.Column("base_system", sa.Text(), nullable=True),
        sa.Column("base_store", sa.Text(), nullable=True),
        sa.Column("left_system", sa.Text(), nullable=True),
        sa.Column("streak", sa.Text(), nullable=True),
        sa.Column("missing_since", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("incident_id", "system_id", name="link_incident"),
        sa.UniqueConstraint("system_id", "remote_id", name="link_remote"),
    )
    op.create_index(
        "link_dirty",
        "link",
        ["system_id", "id"],
        unique=False,
        sqlite_where=sa.text("dirty = 1"),
        postgresql_where=sa.text("dirty = 1"),
    )


def _mirror() -> None:
    op.create_table(
        "mirror",
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _parked() -> None:
    op.create_table(
        "parked",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("remote_id", sqlmodel.AutoString(), nullable=False),
        sa.Column("link_id", BIG, nullable=True),
        sa.Column("incident_id", BIG, nullable=True),
        sa.Column("entry_id", BIG, nullable=True),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("parked_link", "parked", ["link_id"], unique=False)
    op.create_index("parked_open", "parked", ["system_id", "state"], unique=False)


def _plan() -> None:
    op.create_table(
        "plan",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run", sqlmodel.AutoString(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("deadline", TIME, nullable=True),
        sa.Column("decided_by", sqlmodel.AutoString(), nullable=False),
        sa.Column("decided_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("plan_state", "plan", ["system_id", "state"], unique=False)


def _plan_line() -> None:
    op.create_table(
        "plan_line",
        sa.Column("plan_id", BIG, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("system_id", sa.Integer(), nullable=False),
        sa.Column("link_id", BIG, nullable=False),
        sa.Column("incident_id", BIG, nullable=False),
        sa.Column("verb", sqlmodel.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.Column("entry_id", BIG, nullable=True),
        sa.Column("patch", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("ours", sa.Text(), nullable=True),
        sa.Column("state", sqlmodel.AutoString(), nullable=False),
        sa.Column("done_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("plan_id", "n"),
    )
    op.create_index("plan_line_done", "plan_line", ["system_id", "done_at"], unique=False)


def _relation() -> None:
    op.create_table(
        "relation",
        sa.Column("incident_id", BIG, nullable=False),
        sa.Column("other_id", BIG, nullable=False),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "other_id", "kind"),
    )


def _setting() -> None:
    op.create_table(
        "setting",
        sa.Column("name", sqlmodel.AutoString(), nullable=False),
        sa.Column("value", sqlmodel.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _system() -> None:
    op.create_table(
        "system",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sqlmodel.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.AutoString(), nullable=False),
        sa.Column("creates", sa.Boolean(), nullable=False),
        sa.Column("rules", sqlmodel.AutoString(), nullable=False),
        sa.Column("cursor", sqlmodel.AutoString(), nullable=True),
        sa.Column("read_at", TIME, nullable=True),
        sa.Column("caught_up", sa.Boolean(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("fingerprint"),
    )
