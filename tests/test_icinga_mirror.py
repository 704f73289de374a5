"""A mirror of Icinga: what travels, what comes back, and what can only be waited for."""

from __future__ import annotations

import pytest

from blocks.errors import Unavailable
from blocks.model import Value
from blocks.rules import Rules
from blocks.store.tables import Incident
from tasks.mirroring.cycle import cycle
from tasks.mirroring.findings import Findings
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconcile import reconcile
from tests.fakes.icinga import LOGIN
from tests.icinga_world import SERVICE, fake, hard, person, system, world
from tests.mirrors import Bench, bench
from tests.test_icinga import FakeWorld, Person

__all__ = ["bench", "fake", "person", "system", "world"]


class Mirrored:
    """One mirror of the fake, its clock that of the bench."""

    def __init__(self, bench: Bench, world: FakeWorld) -> None:
        self.bench, self.world = bench, world
        world.fake.core.clock = lambda: bench.clock().timestamp()

    async def cycle(self) -> Mirroring:
        self.bench.clock.go(60)
        self.world.fake.sent.clear()
        async with self.world.system() as system:
            mirror = await Mirroring.open(
                self.bench.database, system, "icinga", rules=Rules(), run="run", now=self.bench.clock
            )
            await cycle(mirror)
        return mirror

    async def reconcile(self) -> Findings:
        self.bench.clock.go(60)
        self.world.fake.calls.clear()
        async with self.world.system() as system:
            return await reconcile(
                await Mirroring.open(self.bench.database, system, "icinga", now=self.bench.clock), dry=False
            )

    async def edit(self, **fields: Value) -> None:
        self.bench.clock.go(1)
        await self.bench.edit(1, **fields)

    async def status(self, number: int = 1) -> str:
        incident = await self.bench.incident(number)
        return str(incident.status)

    @property
    def acted(self) -> list[str]:
        """Actions of ours since the last cycle began."""
        sent = self.world.fake.sent
        return [path for path, body in sent if path.startswith("actions/") and body.get("author") == LOGIN]


async def test_an_acknowledgement_goes_there_and_back_without_echo(
    bench: Bench, world: FakeWorld, person: Person
) -> None:
    at = Mirrored(bench, world)
    await hard(person, "CRITICAL", "refused")
    await at.cycle()
    incident = await bench.incident(1)
    assert (incident.title, incident.status, incident.severity) == ("Log-in on Web 01", "new", "high")
    assert incident.description == "refused"
    await at.edit(status="active")
    await at.cycle()
    assert at.acted == ["actions/acknowledge-problem"]
    for _ in range(2):
        await at.cycle()
        assert at.acted == []
    assert await bench.entries(1) == []
    await person.set(SERVICE, "unhandled")
    await at.cycle()
    assert await at.status() == "new"


async def test_comments_go_both_ways_once(bench: Bench, world: FakeWorld, person: Person) -> None:
    at = Mirrored(bench, world)
    await hard(person, "CRITICAL")
    await at.cycle()
    await bench.comment(1, "from the store")
    await person.act("add-comment", SERVICE, comment="from Icinga")
    for _ in range(3):
        await at.cycle()
    assert sorted(one["text"] for one in world.fake.core.comments.values()) == ["from Icinga", "from the store"]
    assert sorted(one.text for one in await bench.entries(1)) == ["from Icinga", "from the store"]


async def test_a_comment_whose_answer_was_lost_goes_once(bench: Bench, world: FakeWorld, person: Person) -> None:
    at = Mirrored(bench, world)
    await hard(person, "CRITICAL")
    await at.cycle()
    await bench.comment(1, "from the store")
    world.fake.faults.plan("lose", "POST", "actions/add-comment")
    with pytest.raises(Unavailable):
        await at.cycle()
    for _ in range(3):
        await at.cycle()
    assert [one["text"] for one in world.fake.core.comments.values()] == ["from the store"]
    assert [one.text for one in await bench.entries(1)] == ["from the store"]


async def test_what_is_closed_here_stays_closed_and_is_parked_nowhere_while_the_problem_goes_on(
    bench: Bench, world: FakeWorld, person: Person
) -> None:
    at = Mirrored(bench, world)
    await hard(person, "CRITICAL")
    await at.cycle()
    await at.edit(status="closed")
    mirror = await at.cycle()
    assert at.acted == []
    assert any("status" in note and "closed" in note for note in mirror.tally.notes), "it is said that it cannot travel"
    await at.cycle()
    assert (await at.status(), await bench.parked(), at.acted) == ("closed", [], [])
    await person.check(SERVICE, "OK")
    await at.cycle()
    assert (await at.status(), await bench.parked()) == ("closed", []), "both mean the same now"
    await hard(person, "CRITICAL")
    await at.cycle()
    assert [await at.status(1), await at.status(2)] == ["closed", "new"]


async def test_a_recovery_resolves_and_keeps_severity_and_description(
    bench: Bench, world: FakeWorld, person: Person
) -> None:
    at = Mirrored(bench, world)
    await hard(person, "CRITICAL", "refused")
    await at.cycle()
    await person.check(SERVICE, "OK", "fine")
    mirror = await at.cycle()
    incident = await bench.incident(1)
    assert (incident.status, incident.severity, incident.description) == ("resolved", "high", "refused")
    assert mirror.tally.notes == []
    assert len(await bench.rows(Incident)) == 1


async def test_a_reconcile_asks_again_for_what_is_open_and_never_for_what_is_over(
    bench: Bench, world: FakeWorld, person: Person
) -> None:
    at = Mirrored(bench, world)
    for number in range(25):
        await person.make(f"web01!s{number}", "S")
        await person.check(f"web01!s{number}", "CRITICAL")
    await at.cycle()
    for number in range(25):
        await person.check(f"web01!s{number}", "OK")
    await at.cycle()
    found = await at.reconcile()
    assert (found.counts.total(), world.fake.calls["GET objects/services"]) == (0, 1)
    await hard(person, "CRITICAL")
    await at.cycle()
    world.fake.core.remove(SERVICE)
    found = await at.reconcile()
    assert (found.counts["gone"], world.fake.calls["GET objects/services"]) == (1, 2)
