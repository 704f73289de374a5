"""Which problems Icinga has, when they are over, and what was said of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import NotFound, Refused
from blocks.incidents import Icinga
from blocks.model import Page
from tests.contracts.incident_system import entry, key, pages
from tests.fakes.icinga import FakeIcinga
from tests.icinga_world import SERVICE, begun, fake, hard, one_problem, person, read, system, world
from tests.test_icinga import FakeWorld, Person

__all__ = ["fake", "person", "system", "world"]


# what is a problem, and which one


async def test_a_soft_state_is_no_problem_yet(system: Icinga, person: Person) -> None:
    await person.check(SERVICE, "CRITICAL")
    assert (await read(system, begun(system)))[0] == []
    assert (await system._monitor.one(SERVICE, "")).problem is None
    await person.check(SERVICE, "CRITICAL", "refused")
    ((found,), _) = await read(system, begun(system))
    assert found.fields["title"] == "Log-in on Web 01"
    assert system.fields.to_ours(found.fields)[0] == {
        "title": "Log-in on Web 01",
        "description": "refused",
        "status": "new",
        "severity": "high",
    }
    assert system.fields.unmapped(found.fields) == {"host": "web01", "service": "login"}


@pytest.mark.parametrize(
    ("name", "state", "severity"),
    [
        (SERVICE, "WARNING", "medium"),
        (SERVICE, "CRITICAL", "high"),
        (SERVICE, "UNKNOWN", "low"),
        ("web01", "DOWN", "critical"),
    ],
)
async def test_severities_are_those_of_the_states(
    system: Icinga, person: Person, name: str, state: str, severity: str
) -> None:
    await person.check(name, state)
    await person.check(name, state)
    found, _ = await read(system, begun(system))
    shown = {one.id.partition("@")[0]: system.fields.to_ours(one.fields)[0]["severity"] for one in found}
    assert shown == {name: severity}


async def test_a_warning_that_becomes_critical_is_the_same_incident(system: Icinga, person: Person) -> None:
    await hard(person, "WARNING")
    (before,), cursor = await read(system, begun(system))
    await person.check(SERVICE, "CRITICAL")
    (after,), _ = await read(system, cursor)
    assert (after.id, after.fields["state"]) == (before.id, "CRITICAL")
    assert after.version > before.version


async def test_statuses_are_told_acknowledged_first(system: Icinga, person: Person) -> None:
    found, cursor = await one_problem(system, person)
    shown = []
    for status in ("in downtime", "acknowledged", "unhandled"):
        await person.set(SERVICE, status)
        (found,), cursor = await read(system, cursor)
        shown.append(system.fields.to_ours(found.fields)[0]["status"])
    assert shown == ["waiting", "active", "new"]


# recovery


async def test_a_recovery_is_told_once_and_keeps_what_the_problem_showed(system: Icinga, person: Person) -> None:
    found, cursor = await one_problem(system, person)
    await person.check(SERVICE, "OK")
    await person.check(SERVICE, "OK")
    (over,), cursor = await read(system, cursor)
    assert over.id == found.id
    assert over.version > found.version
    assert system.fields.to_ours(over.fields)[0] == {"title": "Log-in on Web 01", "status": "resolved"}
    assert (await read(system, cursor))[0] == []
    assert (await system.get(found.id)).fields == over.fields


async def test_what_recovered_and_failed_again_between_two_reads_is_two_incidents(
    system: Icinga, person: Person
) -> None:
    first, cursor = await one_problem(system, person)
    await person.check(SERVICE, "OK")
    await hard(person, "CRITICAL")
    found, cursor = await read(system, cursor)
    statuses = {one.id: one.fields["status"] for one in found}
    assert statuses.pop(first.id) == "recovered"
    assert list(statuses.values()) == ["unhandled"]
    assert (await system.get(first.id)).fields["status"] == "recovered"
    await person.check(SERVICE, "OK")
    assert [one.id for one in (await read(system, cursor))[0]] == list(statuses)


async def test_what_recovered_and_is_softly_failing_again_is_over(system: Icinga, person: Person) -> None:
    first, cursor = await one_problem(system, person)
    await person.check(SERVICE, "OK")
    await person.check(SERVICE, "WARNING")
    (over,), _ = await read(system, cursor)
    assert (over.id, over.fields["status"]) == (first.id, "recovered")


async def test_many_recoveries_in_small_pages_are_all_told_although_the_reader_dies_after_each(
    system: Icinga, person: Person
) -> None:
    for number in range(5):
        await person.make(f"web01!s{number}", f"S {number}")
        await person.check(f"web01!s{number}", "CRITICAL")
    opened, cursor = await read(system, begun(system), size=2)
    assert len(opened) == 5
    for number in range(5):
        await person.check(f"web01!s{number}", "OK")
    told: list[str] = []
    for _ in range(10):
        first: Page | None = None
        async for page in system.changes(cursor, 2):
            first = page
            break
        if first is None:
            break
        told += [one.id for one in first.incidents]
        cursor = first.cursor
    assert sorted(told) == sorted(one.id for one in opened)


@pytest.mark.parametrize("before", ["nothing was read", "nothing was open"])
async def test_what_the_first_page_told_is_known_although_the_reader_dies_after_it(
    system: Icinga, person: Person, before: str
) -> None:
    cursor = begun(system)
    if before == "nothing was open":
        await person.make("web01!well", "well")
        await person.check("web01!well", "CRITICAL")
        _, cursor = await read(system, cursor)
        await person.check("web01!well", "OK")
        _, cursor = await read(system, cursor)
    for number in range(5):
        await person.make(f"web01!s{number}", f"S {number}")
        await person.check(f"web01!s{number}", "CRITICAL")
    async for page in system.changes(cursor, 2):
        first = page
        break
    for number in range(5):
        await person.check(f"web01!s{number}", "OK")
    found, _ = await read(system, first.cursor)
    over = {one.id for one in found if one.fields["status"] == "recovered"}
    assert {one.id for one in first.incidents} <= over


async def test_a_first_read_that_dies_passes_over_again_what_is_older(
    world: FakeWorld, system: Icinga, person: Person
) -> None:
    for number in range(3):
        await world.later(1)
        await person.make(f"web01!s{number}", f"S {number}")
        await person.check(f"web01!s{number}", "CRITICAL")
    everything, _ = await read(system, begun(system))
    begin = system.start(sorted(everything, key=lambda one: one.updated)[1].updated)
    async for page in system.changes(begin, 1):
        first = page
        break
    rest, _ = await read(system, first.cursor)
    assert len(first.incidents) + len({one.id for one in rest} - {one.id for one in first.incidents}) == 2


async def test_what_is_deleted_is_looked_for_no_longer_after_a_month(world: FakeWorld, person: Person) -> None:
    async with world.system() as system:
        _, cursor = await one_problem(system, person)
        world.fake.core.things.pop(SERVICE)
        await world.later(31 * 86400)
        await person.make("web01!other", "other")
        await person.check("web01!other", "CRITICAL")
        _, cursor = await read(system, cursor)
        await person.make("web01!third", "third")
        await person.check("web01!third", "CRITICAL")
        _, cursor = await read(system, cursor)
        assert SERVICE not in cursor


async def test_a_problem_that_leaves_the_scope_is_still_told_to_be_over(world: FakeWorld, person: Person) -> None:
    world.fake.core.modify("web01", groups=["soc"])
    async with world.system(host_groups=["soc"]) as system:
        found, cursor = await one_problem(system, person)
        world.fake.core.modify("web01", groups=[])
        _, cursor = await read(system, cursor)
        await person.check(SERVICE, "OK")
        (over,), _ = await read(system, cursor)
        assert (over.id, over.fields["status"]) == (found.id, "recovered")


async def test_what_is_not_shown_for_a_while_is_not_forgotten(fake: FakeIcinga, system: Icinga, person: Person) -> None:
    found, cursor = await one_problem(system, person)
    away = fake.core.things.pop(SERVICE)
    news, cursor = await read(system, cursor)
    assert news == []
    with pytest.raises(NotFound):
        await system.get(found.id)
    fake.core.things[SERVICE] = away
    await person.check(SERVICE, "OK")
    ((over,), _) = await read(system, cursor)
    assert (over.id, over.fields["status"]) == (found.id, "recovered")


async def test_a_first_read_tells_what_is_new_only_but_knows_the_rest_from_then_on(
    system: Icinga, person: Person
) -> None:
    await hard(person, "CRITICAL")
    (page,) = await pages(system.changes(system.start(datetime.now(UTC) + timedelta(minutes=1)), 50))
    assert page.incidents == []
    await person.check(SERVICE, "OK")
    ((over,), _) = await read(system, page.cursor)
    assert over.fields["status"] == "recovered"


async def test_output_that_moves_alone_is_no_change(world: FakeWorld, system: Icinga, person: Person) -> None:
    await hard(person, "CRITICAL", "3 users")
    await world.later(1)
    await person.check("web01", "DOWN")
    _, cursor = await read(system, begun(system))
    (found,) = [one for one in (await read(system, begun(system)))[0] if one.id.startswith(SERVICE)]
    await person.check(SERVICE, "CRITICAL", "4 users")
    assert found.id not in [one.id for one in (await read(system, cursor))[0]]
    assert (await system.get(found.id)).version > found.version, "whoever asks sees it, in its order"
    await person.set(SERVICE, "acknowledged")
    changed, _ = await read(system, cursor)
    assert "4 users" in [one.fields.get("output") for one in changed]


# entries


async def test_comments_belong_to_the_problem_in_which_they_were_written(system: Icinga, person: Person) -> None:
    await person.act("add-comment", SERVICE, comment="long before")
    await person.check(SERVICE, "OK")
    first, cursor = await one_problem(system, person)
    await person.act("add-comment", SERVICE, comment="of the first")
    await person.check(SERVICE, "OK")
    await hard(person, "WARNING")
    await person.act("add-comment", SERVICE, comment="of the second")
    walked = await pages(system.changes(cursor, 50))
    said = {(entry.text, entry.incident_id == first.id) for page in walked for entry in page.entries or ()}
    assert said == {("of the first", True), ("of the second", False)}


async def test_a_new_comment_alone_brings_its_incident_again(world: FakeWorld, system: Icinga, person: Person) -> None:
    await one_problem(system, person)
    await world.later(1)
    await person.check("web01", "DOWN")
    _, cursor = await read(system, begun(system))
    await person.act("add-comment", SERVICE, comment="look at this")
    walked = await pages(system.changes(cursor, 50))
    assert [one.text for page in walked for one in page.entries or ()] == ["look at this"]


async def test_our_own_acknowledgement_is_no_entry_and_a_persons_is(system: Icinga, person: Person) -> None:
    found, cursor = await one_problem(system, person)
    active = await system.update(found, {"status": "acknowledged"})
    assert await system.entries([active], frozenset()) == []
    (page,) = await pages(system.changes(cursor, 50))
    assert page.entries == []
    await system.update(active, {"status": "unhandled"})
    await person.set(SERVICE, "acknowledged")
    ((one,)) = await system.entries([await system.get(found.id)], frozenset())
    assert (one.text, one.own) == ("I look after it", False)


async def test_two_equal_comments_of_ours_are_found_one_to_one(system: Icinga, person: Person) -> None:
    found, _ = await one_problem(system, person)
    before = datetime.now(UTC)
    first = await system.add_entry(found, entry("again"), key())
    second = await system.add_entry(found, entry("again"), key())
    assert await system.find_entry(found, entry("again"), key(), before) == second
    assert await system.find_entry(found, entry("again"), key(), before, {second}) == first
    assert await system.find_entry(found, entry("again"), key(), before, {first, second}) is None


async def test_a_comment_of_what_is_over_does_not_become_the_next_problems(system: Icinga, person: Person) -> None:
    _, cursor = await one_problem(system, person)
    await person.check(SERVICE, "OK")
    (over,), cursor = await read(system, cursor)
    await system.add_entry(over, entry("it was the cable"), key())
    await person.check(SERVICE, "OK")
    await person.check(SERVICE, "CRITICAL")
    with pytest.raises(Refused, match="fails again"):
        await system.add_entry(over, entry("too late"), key())
    await person.check(SERVICE, "CRITICAL")
    walked = await pages(system.changes(cursor, 50))
    assert [entry for page in walked for entry in page.entries or ()] == []
