"""A sample: one page, and what would become of each record. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select

from blocks.contracts import IncidentSystem
from blocks.model import Fields, Page
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.audit import Actor
from blocks.store.links import SYSTEM, known
from tasks.decide.merge import ways
from tasks.mirroring.admit import Admission, admit, read
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.pull import first_fetch

SIZE = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would become of one record: in words, its type and our fields."""

    remote_id: str
    words: str
    type: str = ""
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """A page's outcomes, and the values that are in no map."""

    outcomes: list[Outcome]
    notes: list[str]


async def sample(database: Database, system: IncidentSystem, intake: Intake, rules: Rules) -> Sample:
    """Read the page that a first fetch begins with, and run the intake over it."""
    m = await _unregistered(database, system, intake, rules)
    page = await anext(system.changes(system.start(first_fetch(intake, m.now())), SIZE), Page([], ""))
    async with database.read() as connection:
        links = await known(connection, m.system_id, [incident.id for incident in page.incidents])
    admission = await admit(m, [incident for incident in page.incidents if incident.id not in links])
    had = [Outcome(id, f"linked already: incident {link.incident_id}") for id, link in links.items()]
    return Sample([*had, *_outcomes(m, page, admission, set(links))], m.tally.notes)


def _outcomes(m: Mirroring, page: Page, admission: Admission, linked: set[str]) -> Iterator[Outcome]:
    new = {one.incident.id: one for one in admission.new}
    dropped = {incident.id: why for incident, why in admission.dropped}
    parked = {str(row["remote_id"]): str(row["error"]) for row in admission.parked}
    for incident in page.incidents:
        if incident.id in linked:
            continue
        fields = read(m, incident).ours
        if incident.id in new:
            one = new[incident.id]
            related = f", related to {admission.name(one.relates)}" if one.relates is not None else ""
            yield Outcome(
                incident.id,
                f"a new incident{related}{', closed' if one.closed else ''}",
                str(one.row.fields["type"]),
                fields,
            )
        else:
            why = dropped.get(incident.id) or parked.get(incident.id) or "left out by the filter"
            yield Outcome(incident.id, why, fields=fields)
    for bad in page.bad:
        yield Outcome(bad.id, f"parked: {bad.error}")


async def _unregistered(database: Database, system: IncidentSystem, intake: Intake, rules: Rules) -> Mirroring:
    """A mirroring that no table knows."""
    async with database.read() as connection:
        query = select(SYSTEM.c.id).where(SYSTEM.c.fingerprint == system.fingerprint())
        system_id = (await connection.execute(query)).scalar() or 0
    fields = system.fields.extended(intake.values, rules.custom)
    able = system.capabilities
    return Mirroring(
        database, system, system_id, rules, intake, Limits(), Actor("sample"), fields, ways(fields, rules, able), able
    )
