"""Triage: severity and owner by rules, for each new incident."""

from dataclasses import field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field
from pydantic.dataclasses import dataclass

from blocks.errors import LockstepError
from blocks.rules import Condition
from blocks.store import Database
from blocks.store.block import the_store
from blocks.store.incidents import Actor, Edit, NewEntry, get, insert_entries, write_edits
from blocks.store.tables import Incident
from tasks.decide.intake import Record, accepts


@dataclass(frozen=True)
class TriageRule:
    """The first rule whose conditions hold sets what it names."""

    when: Annotated[list[Condition], Field(description="All must hold for the incident. Empty: it always fits.")] = (
        field(default_factory=list)
    )
    severity: Annotated[
        Literal["", "info", "low", "medium", "high", "critical"], Field(description="Empty: as it is.")
    ] = ""
    owner: Annotated[str, Field(description="Who looks at it. Empty: as it is.")] = ""


@flow(name="triage_incident", flow_run_name="triage incident {incident_id}", persist_result=False)
async def triage_incident(
    incident_id: int,
    rules: list[TriageRule] = [],  # noqa: B006  never changed; a form's list
) -> State[Any]:
    """Set severity and owner of a new incident by rules, and note what was done and why.

    Args:
        incident_id: The incident's number in the store; the automation fills it in.
        rules: In order. The first whose conditions hold decides.
    """
    try:
        database = await the_store()
        words = await triage(database, incident_id, rules, Actor("triage", str(flow_run.id or "")), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"incident {incident_id}: {words}")


async def triage(database: Database, incident_id: int, rules: list[TriageRule], actor: Actor, now: datetime) -> str:
    """Apply the first rule that fits, in one commit with its note; answers what was done, in words.

    Done again it changes nothing. NotFound: there is no such incident.
    """
    incident = await get(database, incident_id)
    chosen = first(incident, rules)
    if chosen is None:
        return "no rule fits"
    number, rule = chosen
    patch = {name: value for name, value in wanted(rule).items() if getattr(incident, name) != value}
    if not patch:
        return f"rule {number} fits, and it is so already"
    words = explain(incident, number, rule, patch)
    async with database.begin("triage") as connection:
        await write_edits(database, connection, [Edit(incident_id, patch)], actor, now)
        note = NewEntry(incident_id, "note", now, actor.name, words, tags=("triage",))
        await insert_entries(database, connection, [note], actor, now)
    return words


def first(incident: Incident, rules: list[TriageRule]) -> tuple[int, TriageRule] | None:
    """The first rule that fits, with its number."""
    record = Record(incident.model_dump(), {**(incident.extra or {}), **(incident.custom or {})})
    return next(((n, rule) for n, rule in enumerate(rules, 1) if accepts(record, rule.when)), None)


def wanted(rule: TriageRule) -> dict[str, str]:
    """The fields that a rule sets."""
    return {name: value for name, value in (("severity", rule.severity), ("owner", rule.owner)) if value}


def explain(incident: Incident, number: int, rule: TriageRule, patch: dict[str, str]) -> str:
    """What was done, and why."""
    done = ", ".join(f"{name} {value} (was {getattr(incident, name) or 'empty'})" for name, value in patch.items())
    why = " and ".join(f"{c.field} {c.op} {c.value}".strip() for c in rule.when) or "it fits every incident"
    return f"Triage: {done}, by rule {number}: {why}"
