"""Triage: severity and owner by rules, for each new incident."""

from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field
from pydantic.dataclasses import dataclass

from blocks.errors import LockstepError
from blocks.rules import Condition
from blocks.store.incidents import Actor, add_comment, edit, get
from flows.cycle import the_store
from tasks.decide.intake import Record, accepts


@dataclass(frozen=True)
class TriageRule:
    """The first rule whose conditions hold sets what it names."""

    when: Annotated[list[Condition], Field(description="All must hold for the incident. Empty: it always fits.")]
    severity: Annotated[str, Field(description="info, low, medium, high or critical. Empty: as it is.")] = ""
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
        incident = (await get(database, incident_id)).model_dump()
        record = Record(incident, {**(incident["extra"] or {}), **(incident["custom"] or {})})
        number = next((n for n, rule in enumerate(rules, 1) if accepts(record, rule.when)), None)
        if number is None:
            return Completed(message=f"incident {incident_id}: no rule fits")
        rule = rules[number - 1]
        patch = {name: value for name, value in (("severity", rule.severity), ("owner", rule.owner)) if value}
        actor, now = Actor("triage", str(flow_run.id or "")), datetime.now(UTC)
        words = f"Triage, rule {number}: " + (", ".join(f"{k} {v}" for k, v in patch.items()) or "nothing to set")
        await edit(database, incident_id, patch, actor, now)
        await add_comment(database, incident_id, words, actor, now, kind="note", tags=("triage",))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"incident {incident_id}: {words}")
