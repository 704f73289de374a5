"""What a person sets in a form: directions, policies, filters, limits. Frozen, so that form and decision share them."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

Direction = Literal["both", "in", "out", "off"]
Policy = Literal["newest", "store", "system", "ask"]


@dataclass(frozen=True)
class Rule:
    """How one field travels, and who wins when both sides changed it."""

    direction: Annotated[
        Direction, Field(description="in: system to store. out: store to system. both, or off: not at all.")
    ] = "both"
    policy: Annotated[
        Policy,
        Field(description="Both sides changed it: the newest edit wins, the store, the system, or ask a person."),
    ] = "newest"


@dataclass(frozen=True)
class Travel:
    """Which entries travel."""

    direction: Annotated[
        Direction, Field(description="in: system to store. out: store to system. both, or off: not at all.")
    ] = "both"
    tags: Annotated[
        list[str],
        Field(description="Only entries with one of these tags go out. Empty: all of them."),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class CustomField:
    """A field of the system that none of ours stands for."""

    ours: Annotated[str, Field(description="Name in the store.", pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    theirs: Annotated[str, Field(description="The system's own key.", min_length=1)]
    rule: Rule = field(default_factory=Rule)


@dataclass(frozen=True)
class ValueMap:
    """One value of a field, ours and theirs. Added to the connector's own table, before it."""

    field: Annotated[Literal["status", "severity", "owner", "close_reason"], Field(description="Our field.")]
    theirs: Annotated[str, Field(description="The system's value.")]
    ours: Annotated[str, Field(description="Our value.")]


@dataclass(frozen=True)
class Rules:
    """How incidents travel, field by field."""

    direction: Annotated[Direction, Field(description="For the whole mirror: only what this and the field allow.")] = (
        "both"
    )
    title: Annotated[Rule, Field(title="Title")] = field(default_factory=Rule)
    description: Annotated[Rule, Field(title="Description")] = field(default_factory=Rule)
    status: Annotated[Rule, Field(title="Status")] = field(default_factory=Rule)
    severity: Annotated[Rule, Field(title="Severity")] = field(default_factory=Rule)
    owner: Annotated[Rule, Field(title="Owner")] = field(default_factory=Rule)
    labels: Annotated[Rule, Field(title="Labels")] = field(default_factory=Rule)
    close_reason: Annotated[Rule, Field(title="Close reason")] = field(default_factory=Rule)
    close_notes: Annotated[Rule, Field(title="Close notes")] = field(default_factory=Rule)
    comments: Annotated[Travel, Field(title="Comments")] = field(default_factory=Travel)
    files: Annotated[Travel, Field(title="Files")] = field(default_factory=Travel)
    custom: Annotated[list[CustomField], Field(description="Further fields of the system.")] = field(
        default_factory=list
    )
    create: Annotated[
        bool, Field(description="Incidents of the store that the system does not have are created there.")
    ] = False
    gone: Annotated[
        Literal["keep", "close", "unlink"],
        Field(description="An incident that vanished from the system: keep ours, close it, or only unlink it."),
    ] = "keep"


@dataclass(frozen=True)
class Condition:
    """One condition over our fields. All of a list must hold."""

    field: Annotated[str, Field(description="Our field, or the system's own key.", min_length=1)]
    op: Annotated[
        Literal["is", "is not", "contains", "at least", "is empty", "is not empty"],
        Field(description="How to compare. 'at least' knows the order of severities."),
    ] = "is"
    value: Annotated[str, Field(description="What to compare with.")] = ""


@dataclass(frozen=True)
class TypeRule:
    """One line of the classifier."""

    value: Annotated[str, Field(description="Value of the classifier's field.")]
    type: Annotated[str, Field(description="The incident's type.", min_length=1)]


@dataclass(frozen=True)
class PreRule:
    """One pre-processing rule. The first whose conditions hold decides what becomes of a new record."""

    when: Annotated[list[Condition], Field(description="All must hold for the new record.")]
    action: Annotated[
        Literal["drop", "drop and update", "relate", "relate and close"],
        Field(description="drop: not stored. drop and update: an open incident takes it in. relate: stored, related."),
    ]
    same: Annotated[
        list[str],
        Field(description="Fields in which an open incident must equal the new record to be the one meant."),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Intake:
    """Which incidents become ours, and as what."""

    first_fetch_days: Annotated[int, Field(description="How far a first fetch reaches back, in days.", ge=0)] = 3
    first_fetch_from: Annotated[
        str, Field(description="Or from this time, as 2026-11-01T00:00:00Z. Empty: by days.")
    ] = ""
    look_back_minutes: Annotated[
        int, Field(description="Each cycle reads this much again. It can never make a duplicate.", ge=0, le=43200)
    ] = 0
    filter: Annotated[
        list[Condition], Field(description="Only incidents that meet all of these are linked. Empty: all.")
    ] = field(default_factory=list)
    query: Annotated[str, Field(description="Or the system's own query language, asked once a page.")] = ""
    type_field: Annotated[str, Field(description="Field that tells the type: ours, or the system's key.")] = ""
    types: Annotated[list[TypeRule], Field(description="Value to type, in order.")] = field(default_factory=list)
    default_type: Annotated[str, Field(description="Type when none of them fits.")] = "incident"
    values: Annotated[list[ValueMap], Field(description="Values beyond the connector's own table.")] = field(
        default_factory=list
    )
    rules: Annotated[list[PreRule], Field(description="Pre-processing, in order: the first that fits.")] = field(
        default_factory=list
    )


@dataclass(frozen=True)
class Limits:
    """The brake: more than this within a plan and the last 24 hours, and a person must agree."""

    creates: Annotated[int, Field(description="Incidents created in the system.", ge=0)] = 500
    closes: Annotated[int, Field(description="Incidents closed, on either side.", ge=0)] = 100
    updates: Annotated[int, Field(description="All other writes to the system.", ge=0)] = 5000
    unlinks: Annotated[int, Field(description="Links given up because the incident is gone.", ge=0)] = 20
    drifts: Annotated[
        int,
        Field(
            description="Writes, on either side, where both differ though neither was changed, as after a changed map.",
            ge=0,
        ),
    ] = 100
    approval_hours: Annotated[int, Field(description="How long a stopped plan may wait.", ge=1, le=720)] = 72
