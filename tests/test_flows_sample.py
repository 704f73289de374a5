"""A sample shows what would become of a page's records, and stores nothing."""

from __future__ import annotations

from blocks.rules import Condition, Intake, PreRule, Rules, TypeRule
from blocks.store.tables import Incident, Link, Mirror, Parked, System
from flows.cycle import take_sample
from tasks.mirroring.sample import Outcome, sample
from tests.flowing import Told, in_store, store_url, told
from tests.mirrors import Bench

__all__ = ["in_store", "store_url", "told"]
INTAKE = Intake(
    filter=[Condition("severity", "at least", "low")],
    type_field="name",
    types=[TypeRule("phish", "phishing")],
    rules=[PreRule([Condition("title", "is", "noise")], "drop")],
)


async def outcomes(bench: Bench) -> dict[str, Outcome]:
    """Of each record, by its id."""
    one = bench.mirrors["a"]
    bench.clock.go(60)
    toy = one.toy.beside(one.world, "a", bench.meanwhile)
    return {row.remote_id: row for row in (await sample(bench.database, toy, INTAKE, Rules())).outcomes}


def seed(bench: Bench) -> None:
    """Records of every fate."""
    world = bench.mirror()
    for fields in (
        {"name": "phish", "level": "p1"},
        {"name": "noise", "level": "p1"},
        {"name": "small", "level": "p5"},
        {"name": "nul \0", "level": "p1"},
        {"name": "odd", "level": "p1", "state": "asleep"},
    ):
        world.add(fields)
    world.edit("5", state="unheard of")


async def test_each_record_is_shown_with_what_becomes_of_it(bench: Bench) -> None:
    seed(bench)
    found = await outcomes(bench)
    assert found["1"] == Outcome("1", "a new incident", "phishing", found["1"].fields)
    assert (found["1"].fields["title"], found["1"].fields["severity"]) == ("phish", "critical")
    assert found["2"].words == "dropped by a rule"
    assert found["3"].words == "left out by the filter"
    assert "NUL" in found["4"].words


async def test_nothing_is_stored(bench: Bench) -> None:
    seed(bench)
    await outcomes(bench)
    for table in (System, Mirror, Incident, Link, Parked):
        assert await bench.rows(table) == []


async def test_what_is_linked_already_is_told_apart(bench: Bench) -> None:
    seed(bench)
    await bench.cycle()
    assert (await outcomes(bench))["1"].words == "linked already: incident 1"


async def test_the_flow_leaves_a_report_with_the_values_in_no_map(bench: Bench, told: Told, in_store: object) -> None:
    seed(bench)
    bench.clock.go(60)
    one = bench.mirrors["a"]
    toy = one.toy.beside(one.world, "a", bench.meanwhile)
    state = await take_sample(toy, "a", intake=INTAKE, rules=Rules())
    ((key, report),) = told.artifacts
    assert state.message == "5 records read, nothing stored"
    assert key == "sample-a"
    assert "unheard of" in report
    assert told.events == []
