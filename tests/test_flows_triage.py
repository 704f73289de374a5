"""Triage: the first rule that fits sets what it names, with a note that says why."""

from __future__ import annotations

from blocks.rules import Condition
from flows.playbooks.triage import TriageRule, triage_incident
from tests.flowing import Told, in_store, store_url, told
from tests.mirrors import Bench

__all__ = ["in_store", "store_url", "told"]
MAIL = TriageRule([Condition("title", "contains", "mail")], "high", "ann")
REST = TriageRule([], "info")


async def test_the_first_rule_that_fits_decides_and_says_why(bench: Bench, told: Told, in_store: object) -> None:
    number = await bench.create(title="Odd mail", severity="low")
    state = await triage_incident.fn(number, [TriageRule([Condition("owner", "is", "bob")], "critical"), MAIL, REST])
    incident = await bench.incident(number)
    assert state.is_completed()
    assert (incident.severity, incident.owner) == ("high", "ann")
    (note,) = await bench.entries(number)
    assert (note.kind, note.tags) == ("note", ["triage"])
    assert note.text == "Triage: severity high (was low), owner ann (was empty), by rule 2: title contains mail"


async def test_done_again_it_changes_nothing(bench: Bench, told: Told, in_store: object) -> None:
    number = await bench.create(title="Odd mail")
    for _ in range(2):
        state = await triage_incident.fn(number, [MAIL])
    assert state.message == f"incident {number}: rule 1 fits, and it is so already"
    assert len(await bench.entries(number)) == 1


async def test_without_a_rule_that_fits_all_stays(bench: Bench, told: Told, in_store: object) -> None:
    number = await bench.create(title="Other", severity="low")
    state = await triage_incident.fn(number, [MAIL])
    assert state.message == f"incident {number}: no rule fits"
    assert (await bench.incident(number)).version == 1


async def test_what_it_did_is_in_the_audit(bench: Bench, told: Told, in_store: object) -> None:
    number = await bench.create(title="Other", severity="low")
    await triage_incident.fn(number, [REST])
    lines = [(line.actor, line.action) for line in await bench.history(number)]
    assert lines == [("bob", "created"), ("triage", "edited"), ("triage", "commented")]


async def test_its_rules_see_the_systems_own_fields(bench: Bench, told: Told, in_store: object) -> None:
    bench.mirror().add({"name": "one", "zone": "dmz"})
    await bench.cycle()
    await triage_incident.fn(1, [TriageRule([Condition("zone", "is", "dmz")], "critical")])
    assert (await bench.incident(1)).severity == "critical"


async def test_an_incident_that_is_not_there_fails_in_words(bench: Bench, told: Told, in_store: object) -> None:
    state = await triage_incident.fn(7, [REST])
    assert state.is_failed()
    assert "there is no incident 7" in str(state.message)
