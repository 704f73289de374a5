"""How a REST system reads a list that changes while it is read, in each way of paging."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from blocks.errors import Misconfigured, Unreadable
from blocks.incidents.rest import RestSystem
from blocks.model import Incident
from tests.contracts.incident_system import changed, latest, pages
from tests.fakes.plain import Paging
from tests.rest_worlds import LISTS, PlainWorld, answering, just_now, row, told

EACH = pytest.mark.parametrize("paging", LISTS)


@pytest.fixture
def world() -> PlainWorld:
    return PlainWorld()


@pytest.fixture
async def system(world: PlainWorld) -> AsyncIterator[RestSystem]:
    async with world.system() as opened:
        yield opened


@EACH
@pytest.mark.parametrize("since", [True, False])
async def test_a_crowded_second_is_read_whole_although_people_edit_it_meanwhile(paging: Paging, *, since: bool) -> None:
    world = PlainWorld(paging, since=since)
    at = time.time()
    world.api.clock = lambda: at
    made = [world.api.create({"title": str(number)}) for number in range(12)]
    at += 5
    walked: list[dict[str, Incident]] = []
    async with world.system() as system:
        cursor = system.start(datetime.fromtimestamp(at - 60, UTC))
        async for page in system.changes(cursor, 3):
            walked.append({one.id: one for one in page.incidents})
            if len(walked) in (2, 3):
                world.api.edit(made[len(walked)], {"title": "moved to the end"})
        found = {id: one for each in walked for id, one in each.items()}
        assert set(found) == set(made)
        titles = {id: one.fields["title"] for id, one in found.items()} | {
            id: one.fields["title"] for id, one in (await changed(system, page.cursor, 3)).items()
        }
    assert titles == {id: one.raw["title"] for id, one in world.api.records.items()}


@EACH
async def test_a_long_list_is_read_once_and_a_quiet_one_costs_a_call(paging: Paging) -> None:
    world = PlainWorld(paging)
    at = time.time() - 3600
    world.api.clock = lambda: at
    for number in range(250):
        at += 2
        world.api.create({"title": str(number)})
    at = time.time()
    async with world.system() as system:
        walked = await pages(system.everything(100))
        ids = [one.id for page in walked for one in page.incidents]
        assert ids == [str(number) for number in range(1, 251)]
        assert world.api.calls.total() == 3
        world.api.calls.clear()
        await pages(system.changes(walked[-1].cursor, 100))
        assert world.api.calls.total() == 1


async def test_a_page_is_never_asked_to_hold_more_than_the_form_says(world: PlainWorld, system: RestSystem) -> None:
    for number in range(3):
        world.api.create({"title": str(number)})
    await pages(system.changes(system.start(just_now()), 5000))
    assert {request.url.params["per_page"] for request in world.api.asked} == {"100"}


async def test_a_list_that_is_not_in_order_is_said_to_be_none() -> None:
    async with answering(told(row(1, 5), row(2, 3))) as system:
        with pytest.raises(Misconfigured, match="order"):
            await pages(system.everything(50))


async def test_a_list_that_does_not_heed_since_is_noticed() -> None:
    async with answering(told(row(1, 5), row(2, 30))) as system:
        with pytest.raises(Misconfigured, match="time zone"):
            await pages(system.changes(system.start(datetime(2026, 11, 24, 0, 0, 10, tzinfo=UTC)), 50))


@pytest.mark.parametrize("behind", [0, 3600])
async def test_what_is_edited_behind_a_whole_reading_comes_with_the_next(behind: int) -> None:
    """In the second pass a record that was passed is edited, and a little later one that is still to come."""
    world = PlainWorld(since=False)
    at = time.time() - behind
    world.api.clock = lambda: at
    made = [world.api.create({"title": str(number)}) for number in range(4)]
    at += 5
    cursors: list[str] = []

    def meanwhile(stage: str, method: str, route: str) -> None:
        nonlocal at
        if (stage, method, route) == ("before", "GET", "incidents") and world.api.calls["GET incidents"] == 5:
            for number, title in ((0, "behind"), (3, "ahead")):
                at += 60
                world.api.edit(made[number], {"title": title})

    world.api.watch = meanwhile
    async with world.system() as system:
        begin = system.start(datetime.fromtimestamp(at - 60, UTC))
        walked = await pages(system.changes(begin, 2))
        cursors = [page.cursor for page in walked]
        assert set(cursors[:-1]) == {begin}
        assert latest(walked)[made[3]].fields["title"] == "ahead"
        assert latest(walked)[made[0]].fields["title"] == "0"
        found = await changed(system, cursors[-1])
    assert found[made[0]].fields["title"] == "behind"


async def test_a_whole_reading_goes_on_until_nothing_new_turns_up() -> None:
    """An edit moves a record to the end of such a list, and the first of the next page to where we have been."""
    form = {"list_path": "incidents?sort=updated_at&page={page}&per_page={size}", "order": "any"}
    world = PlainWorld(form=form)
    at = time.time()
    world.api.clock = lambda: at
    made = [world.api.create({"title": str(number)}) for number in range(6)]
    at += 5

    def meanwhile(stage: str, method: str, _: str) -> None:
        if (stage, method) == ("after", "GET") and world.api.calls.total() == 1:
            world.api.edit(made[0], {"title": "moved to the end"})

    world.api.watch = meanwhile
    async with world.system() as system:
        walked = await pages(system.changes(system.start(datetime.fromtimestamp(at - 60, UTC)), 2))
    assert set(latest(walked)) == set(made)


async def test_one_bad_record_is_set_aside_and_the_rest_comes() -> None:
    odd = [
        row(2, 1, updated_at="soon"),
        row(3, 1, title={"text": "x"}),
        {"id": "../4", "updated_at": row(4)["updated_at"]},
    ]
    async with answering(told(row(1), *odd, row(5, 2)), told()) as system:
        found = await pages(system.everything(50))
    assert [one.id for page in found for one in page.incidents] == ["1", "5"]
    bad = [one for page in found for one in page.bad]
    assert [one.id for one in bad] == ["2", "3", "../4"]
    assert [word in one.error for word, one in zip(("soon", "title.name", "no id"), bad, strict=True)] == [True] * 3


async def test_a_late_record_is_not_missed_where_the_list_lags() -> None:
    world = PlainWorld()
    at = time.time()
    world.api.clock = lambda: at
    world.api.faults.lag = 8
    async with world.system() as system:
        early = world.api.create({"title": "early"})
        at += 4
        late = world.api.create({"title": "late"})
        at += 5
        first = await pages(system.changes(system.start(datetime.fromtimestamp(at - 60, UTC)), 50))
        assert {one.id for page in first for one in page.incidents} == {early}
        at += 5
        assert late in await changed(system, first[-1].cursor)


@pytest.mark.parametrize(
    ("link", "said"),
    [("http://evil.test/api/incidents?page=2", "another host"), ("https://plain.test/api/incidents", "another host"),
     ("http://plain.test:81/api/incidents", "another host"), ("//evil.test/api", "another host")],
)  # fmt: skip
async def test_a_link_to_another_host_gets_neither_request_nor_secret(link: str, said: str) -> None:
    form = {"paging": "next link", "next_at": "next"}
    async with answering(told(row(1), next=link), told(row(2)), **form, list_path="incidents") as system:
        with pytest.raises(Unreadable, match=said):
            await pages(system.everything(50))


async def test_a_page_that_names_itself_as_the_next_does_not_go_on_for_ever() -> None:
    form = {"paging": "cursor", "next_at": "next", "list_path": "incidents?c={cursor}"}
    async with answering(told(row(1), next="a"), told(row(2), next="a"), **form) as system:
        with pytest.raises(Unreadable, match="next_at"):
            await pages(system.everything(50))
