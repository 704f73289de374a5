"""The store's tables. Times are UTC and aware; JSON is text, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy
from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC on both sides; SQLite, which knows no zones, keeps it as text in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Refuse naive times, so that local time can never be written as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"a time without zone: {value.isoformat()}"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """SQLite gives naive times back: they are UTC."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Json(TypeDecorator[Any]):
    """JSON as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:  # noqa: ANN401  JSON is any value
        """None stays NULL."""
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:  # noqa: ANN401  JSON is any value
        """NULL is None."""
        return None if value is None else orjson.loads(value)


BIG = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; on SQLite an INTEGER, which alone can be the row id."""


class Table(SQLModel):
    """Base of all tables, with metadata of its own: Prefect's libraries bring SQLModel tables too."""

    metadata = MetaData()


class Setting(Table, table=True):
    """What the store knows of itself: its id, and values of the program."""

    __tablename__ = "setting"
    name: str = Field(primary_key=True)
    value: str


class Counter(Table, table=True):
    """Numbers drawn in blocks, inside the transaction that uses them."""

    __tablename__ = "counter"
    name: str = Field(primary_key=True)
    value: int = Field(sa_type=BIG)


class Incident(Table, table=True):
    """An incident of ours. `changed` tells when each field was last edited here, `custom` holds mapped further fields,
    `extra` what no map stands for."""

    __tablename__ = "incident"
    __table_args__ = (
        Index("incident_status", "status"),
        Index("incident_severity", "severity"),
        Index("incident_type", "type"),
        Index("incident_owner", "owner"),
        Index("incident_updated", "updated"),
    )
    id: int = Field(primary_key=True, sa_type=BIG)
    version: int = 1
    title: str | None = Field(default=None, sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    type: str | None = None
    status: str | None = None
    severity: str | None = None
    owner: str | None = None
    labels: list[str] | None = Field(default=None, sa_type=Json)
    close_reason: str | None = None
    close_notes: str | None = Field(default=None, sa_type=Text)
    custom: dict[str, Any] | None = Field(default=None, sa_type=Json)
    extra: dict[str, Any] | None = Field(default=None, sa_type=Json)
    changed: dict[str, str] | None = Field(default=None, sa_type=Json)
    occurred: datetime | None = Field(default=None, sa_type=UtcTime)
    created: datetime = Field(sa_type=UtcTime)
    updated: datetime = Field(sa_type=UtcTime)
    closed: datetime | None = Field(default=None, sa_type=UtcTime)


class Entry(Table, table=True):
    """A comment, note or file of an incident. `system_id` is where it came from, None: from here."""

    __tablename__ = "entry"
    __table_args__ = (Index("entry_incident", "incident_id", "id"),)
    id: int = Field(primary_key=True, sa_type=BIG)
    incident_id: int = Field(sa_type=BIG)
    system_id: int | None = None
    kind: str
    author: str = ""
    created: datetime = Field(sa_type=UtcTime)
    text: str = Field(default="", sa_type=Text)
    name: str = ""
    media_type: str = ""
    size: int = Field(default=0, sa_type=BIG)
    blob: str | None = None
    tags: list[str] | None = Field(default=None, sa_type=Json)


class Blob(Table, table=True):
    """A file's bytes, once each, by their SHA-256."""

    __tablename__ = "blob"
    sha256: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)


class Relation(Table, table=True):
    """Two incidents that belong together."""

    __tablename__ = "relation"
    incident_id: int = Field(primary_key=True, sa_type=BIG)
    other_id: int = Field(primary_key=True, sa_type=BIG)
    kind: str = Field(primary_key=True)


class System(Table, table=True):
    """An incident system, known by its fingerprint. `creates`: incidents of the store are offered to it. `rules` is a
    digest of the rules of its last cycle; `caught_up`: its first fetch is over."""

    __tablename__ = "system"
    id: int = Field(primary_key=True)
    fingerprint: str = Field(unique=True)
    kind: str
    creates: bool = False
    rules: str = ""
    cursor: str | None = None
    read_at: datetime | None = Field(default=None, sa_type=UtcTime)
    caught_up: bool = False
    created: datetime = Field(sa_type=UtcTime)


class Mirror(Table, table=True):
    """The name a person gave a mirror, bound to a system on first use."""

    __tablename__ = "mirror"
    name: str = Field(primary_key=True)
    system_id: int


class Link(Table, table=True):
    """An incident in the store and one in a system that are the same.

    `remote_id` None: offered to the system, not created there yet. `incident_id` None: a record that a rule dropped.
    `dirty`: 0 agrees, 1 to be decided, 2 decided and waiting for a person. `seen` and `base_system` hold the system's
    keys and values (`base_system` None: as `seen`), `base_store` our names and values; what reconcile found to have
    drifted holds `tasks.decide.merge.NEVER` in both. `left_system` tells when each
    field of the system was last seen to change, `streak` how often we wrote it without a person's edit between.
    """

    __tablename__ = "link"
    __table_args__ = (
        UniqueConstraint("system_id", "remote_id", name="link_remote"),
        UniqueConstraint("incident_id", "system_id", name="link_incident"),
        Index(
            "link_dirty",
            "system_id",
            "id",
            sqlite_where=text("dirty = 1"),
            postgresql_where=text("dirty = 1"),
        ),
    )
    id: int = Field(primary_key=True, sa_type=BIG)
    system_id: int
    incident_id: int | None = Field(default=None, sa_type=BIG)
    remote_id: str | None = None
    state: str = "linked"
    dirty: int = 0
    seen: dict[str, Any] | None = Field(default=None, sa_type=Json)
    seen_version: str | None = None
    base_system: dict[str, Any] | None = Field(default=None, sa_type=Json)
    base_store: dict[str, Any] | None = Field(default=None, sa_type=Json)
    left_system: dict[str, str] | None = Field(default=None, sa_type=Json)
    streak: dict[str, int] | None = Field(default=None, sa_type=Json)
    missing_since: datetime | None = Field(default=None, sa_type=UtcTime)
    error: str | None = Field(default=None, sa_type=Text)


class EntryLink(Table, table=True):
    """An entry in the store and one in a system that are the same. `entry_id` 0: known there, no entry here (a
    description that travels as a message, a kind of entry that does not come in)."""

    __tablename__ = "entry_link"
    __table_args__ = (
        Index(
            "entry_link_entry",
            "link_id",
            "entry_id",
            unique=True,
            sqlite_where=text("entry_id > 0"),
            postgresql_where=text("entry_id > 0"),
        ),
    )
    link_id: int = Field(primary_key=True, sa_type=BIG)
    remote_id: str = Field(primary_key=True)
    entry_id: int = Field(sa_type=BIG)


class Plan(Table, table=True):
    """A list of writes, whole before the first is sent. State: applying, done, held (the brake), approved, rejected,
    expired."""

    __tablename__ = "plan"
    __table_args__ = (Index("plan_state", "system_id", "state"), Index("plan_created", "created"))
    id: int = Field(primary_key=True, sa_type=BIG)
    system_id: int
    state: str
    reason: str = Field(default="", sa_type=Text)
    run: str = ""
    created: datetime = Field(sa_type=UtcTime)
    deadline: datetime | None = Field(default=None, sa_type=UtcTime)
    decided_by: str = ""
    decided_why: str = Field(default="", sa_type=Text)


class PlanLine(Table, table=True):
    """One write of a plan. `verb`: create, update, entry, store, gone. `patch` is what is written (their keys for the
    system, ours for the store), `before` what stood there, `ours` our values that the patch carries out."""

    __tablename__ = "plan_line"
    __table_args__ = (Index("plan_line_done", "system_id", "done_at"),)
    plan_id: int = Field(primary_key=True, sa_type=BIG)
    n: int = Field(primary_key=True)
    system_id: int
    link_id: int = Field(sa_type=BIG)
    incident_id: int = Field(sa_type=BIG)
    verb: str
    kind: str
    entry_id: int | None = Field(default=None, sa_type=BIG)
    patch: dict[str, Any] | None = Field(default=None, sa_type=Json)
    before: dict[str, Any] | None = Field(default=None, sa_type=Json)
    ours: dict[str, Any] | None = Field(default=None, sa_type=Json)
    state: str = "planned"
    done_at: datetime | None = Field(default=None, sa_type=UtcTime)


class Intent(Table, table=True):
    """A write that is about to be sent, with its decided values; it stays until its answer is recorded."""

    __tablename__ = "intent"
    __table_args__ = (Index("intent_link", "link_id"), Index("intent_system", "system_id", "id"))
    id: int = Field(primary_key=True, sa_type=BIG)
    system_id: int
    link_id: int = Field(sa_type=BIG)
    incident_id: int = Field(sa_type=BIG)
    verb: str
    kind: str
    entry_id: int | None = Field(default=None, sa_type=BIG)
    key: str = ""
    patch: dict[str, Any] | None = Field(default=None, sa_type=Json)
    before: dict[str, Any] | None = Field(default=None, sa_type=Json)
    ours: dict[str, Any] | None = Field(default=None, sa_type=Json)
    plan_id: int = Field(sa_type=BIG)
    n: int
    started: datetime = Field(sa_type=UtcTime)


class Conflict(Table, table=True):
    """Both sides left the base, differently, and a person decides. `choice`: store or system, once picked."""

    __tablename__ = "conflict"
    link_id: int = Field(primary_key=True, sa_type=BIG)
    field: str = Field(primary_key=True)
    system_id: int
    incident_id: int = Field(sa_type=BIG)
    store_value: Any = Field(default=None, nullable=True, sa_type=Json)
    system_value: Any = Field(default=None, nullable=True, sa_type=Json)
    since: datetime = Field(sa_type=UtcTime)
    choice: str = ""
    chosen_by: str = ""


class Parked(Table, table=True):
    """What could not be read or applied, with its error, replayable. `kind`: record, update, create, entry, content,
    unsettled, rejected. State: open, asked (to be read again by the next cycle), replayed, dropped."""

    __tablename__ = "parked"
    __table_args__ = (Index("parked_open", "system_id", "state"), Index("parked_link", "link_id"))
    id: int = Field(primary_key=True, sa_type=BIG)
    system_id: int
    kind: str
    state: str = "open"
    remote_id: str = ""
    link_id: int | None = Field(default=None, sa_type=BIG)
    incident_id: int | None = Field(default=None, sa_type=BIG)
    entry_id: int | None = Field(default=None, sa_type=BIG)
    payload: Any = Field(default=None, nullable=True, sa_type=Json)
    error: str = Field(default="", sa_type=Text)
    created: datetime = Field(sa_type=UtcTime)


class Audit(Table, table=True):
    """Who changed what, from what to what, in which run. `changes`: field → [from, to]."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_incident", "incident_id", "id"), Index("audit_at", "at"))
    id: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    at: datetime = Field(sa_type=UtcTime)
    actor: str
    run: str = ""
    action: str
    incident_id: int | None = Field(default=None, sa_type=BIG)
    system_id: int | None = None
    changes: dict[str, Any] | None = Field(default=None, sa_type=Json)


class CacheItem(Table, table=True):
    """A value that an integration keeps between runs. `value` is encrypted, `size` is of what it holds, in bytes;
    `version` is drawn anew with each write, so that none comes twice. `expires` None: it stays."""

    __tablename__ = "cache_item"
    __table_args__ = (Index("cache_item_expires", "expires"),)
    integration: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    version: int = Field(sa_type=BIG)
    expires: datetime | None = Field(default=None, sa_type=UtcTime)
    size: int = Field(sa_type=BIG)
    value: bytes = Field(sa_type=LargeBinary)


class Report(Table, table=True):
    """A report that waits for a person, whose files the cache keeps until then. Its number is of the same sequence as a
    plan's. State: waiting, approved (being published), published, rejected, expired. `facts` is what its preview shows,
    `target` the folder that it goes to."""

    __tablename__ = "report"
    __table_args__ = (Index("report_state", "state", "deadline"), Index("report_run", "run"))
    id: int = Field(primary_key=True, sa_type=BIG)
    state: str
    title: str = Field(sa_type=Text)
    target: str = Field(sa_type=Text)
    facts: dict[str, Any] | None = Field(default=None, sa_type=Json)
    run: str = ""
    created: datetime = Field(sa_type=UtcTime)
    deadline: datetime = Field(sa_type=UtcTime)
    decided_by: str = ""
    decided_why: str = Field(default="", sa_type=Text)


class Grant(Table, table=True):
    """What is held of an OAuth grant, by its block as type/name. `held` is encrypted: the tokens and whose they are.
    State: new, granted, lost (an answer was lost), ended (revoked there, or too old), revoked (here). `noted`: which
    refresh token is being presented; `noted_until`: when that request can no longer arrive. `ages`: when the refresh
    token dies of age. `told`: what a person was told of it last. `published`: the generation that the token's block in
    Prefect is known to have."""

    __tablename__ = "oauth_grant"
    name: str = Field(primary_key=True)
    generation: int = Field(sa_type=BIG)
    state: str
    held: bytes = Field(sa_type=LargeBinary)
    expires: datetime | None = Field(default=None, sa_type=UtcTime)
    ages: datetime | None = Field(default=None, sa_type=UtcTime)
    noted: str = ""
    noted_until: datetime | None = Field(default=None, sa_type=UtcTime)
    error: str = Field(default="", sa_type=Text)
    told: str = ""
    published: int = Field(default=0, sa_type=BIG)


def table_of(model: type[Table]) -> sqlalchemy.Table:
    """The SQLAlchemy table of a model."""
    return Table.metadata.tables[str(model.__tablename__)]
