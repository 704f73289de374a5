"""RT's cursor: nothing is lost where ids lag, and an idle look costs one call. The pure parts, then the walk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import Misconfigured, Unreadable
from blocks.incidents import RequestTracker
from blocks.incidents._request_tracker_feed import OVERLAP, Change, Gap, Place, portions
from blocks.model import Page
from tests.contracts.incident_system import changed, latest, pages
from tests.fakes.rt import FakeRT
from tests.peers.fixtures import rt_peer
from tests.peers.rt import Peer
from tests.rt_worlds import PeerWorld, over

__all__ = ["rt_peer"]

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def change(id: int, ticket: str = "1") -> Change:
    return Change(id, ticket, NOON + timedelta(seconds=id))


# the cursor as text


@given(st.integers(0, 10**9), st.sets(st.integers(0, OVERLAP - 1), max_size=OVERLAP))
def test_a_place_comes_back_as_it_was_written(last: int, behind: set[int]) -> None:
    seen = frozenset(last - n for n in behind if last - n > 0)
    place = Place(NOON, last, seen)
    assert Place.of(str(place)) == place


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
def test_places_order_as_text(lasts: list[int]) -> None:
    texts = [str(Place(NOON, last)) for last in sorted(lasts)]
    assert texts == sorted(texts)


@pytest.mark.parametrize("cursor", ["", "41", "41;x", "x" * 300, "2026-11-24T12:00:00", "1 2026-11-24T12:00:00Z zz"])
async def test_a_cursor_of_another_system_is_refused(system: RequestTracker, cursor: str) -> None:
    with pytest.raises(Misconfigured, match="cursor"):
        await pages(system.changes(cursor, 50))


def test_a_place_that_is_rewound_is_a_time() -> None:
    place = Place(NOON, 41, frozenset({41}))
    assert place.rewound(timedelta(0)) == place
    assert Place.of(str(place.rewound(timedelta(hours=1)))) == Place(NOON - timedelta(hours=1))


# what is new, and what is taken


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 5)), unique_by=lambda one: one[0]), st.integers(1, 4))
def test_after_any_portion_what_was_not_taken_is_still_new(rows: list[tuple[int, int]], size: int) -> None:
    """A crash between two pages loses no ticket: each comes with its newest change, or is found again."""
    changes = sorted((change(id, str(ticket)) for id, ticket in rows), key=lambda one: one.id)
    old = Place(NOON, 150, frozenset())
    new = [one for one in old.new(changes) if one.id > old.begin]
    taken: dict[str, int] = {}
    place = old
    for portion in portions(new, size):
        place = place.after(new, max(portion.values()))
        taken |= portion
        again = {one.ticket for one in place.new(new) if one.id > place.begin}
        newest = {one.ticket: one.id for one in new}
        lost = {ticket for ticket, id in newest.items() if taken.get(ticket) != id} - again
        assert not lost
    assert not [one for one in place.new(new) if one.id > place.begin]


def test_portions_are_in_the_order_of_the_newest_changes() -> None:
    rows = [change(1, "a"), change(2, "b"), change(3, "a"), change(4, "c")]
    assert list(portions(rows, 2)) == [{"b": 2, "a": 3}, {"c": 4}]


@given(st.sets(st.integers(1, 5000), max_size=200), st.integers(0, 5001), st.integers(1, OVERLAP))
def test_the_last_change_before_a_time_is_found_in_few_pages(ids: set[int], at: int, page: int) -> None:
    gap, asked, found = Gap(NOON + timedelta(seconds=at)), 0, None
    while found is None:
        asked += 1
        assert asked < 60
        below = gap.below
        rows = sorted((id for id in ids if below is None or id < below), reverse=True)[:page]
        found = gap.read([change(id) for id in rows])
    assert not [id for id in ids if id <= found and id >= at], "nothing from after that time is passed over"
    assert not [id for id in ids if found < id < at], "and nothing from before it is read"


# the walk


@pytest.fixture
def fake() -> FakeRT:
    return FakeRT()


@pytest.fixture
async def system(fake: FakeRT) -> AsyncIterator[RequestTracker]:
    async with over(fake) as opened:
        yield opened


def just_now(system: RequestTracker) -> str:
    return system.start(datetime.now(UTC) - timedelta(minutes=1))


async def test_a_change_that_is_committed_after_a_later_one_is_not_missed(fake: FakeRT, system: RequestTracker) -> None:
    early, late = fake.people.create(Subject="early"), fake.people.create(Subject="late")
    (page,) = await pages(system.changes(just_now(system), 50))
    begun = fake.people.begin(early, Subject="committed late")
    fake.people.edit(late, Subject="committed at once")
    (second,) = await pages(system.changes(page.cursor, 50))
    assert [one.fields["Subject"] for one in second.incidents] == ["committed at once"]
    fake.people.commit(begun)
    (third,) = await pages(system.changes(second.cursor, 50))
    assert [one.fields["Subject"] for one in third.incidents] == ["committed late"]
    assert await pages(system.changes(third.cursor, 50)) == [], "and it comes once"


async def test_an_idle_look_is_one_call(fake: FakeRT, system: RequestTracker) -> None:
    fake.seed(30)
    walked = await pages(system.changes(just_now(system), 50))
    fake.calls.clear()
    assert await pages(system.changes(walked[-1].cursor, 50)) == []
    assert fake.calls == {"POST transactions": 1}


async def test_a_ticket_with_many_changes_is_read_once(fake: FakeRT, system: RequestTracker) -> None:
    made = [fake.people.create(Subject="busy") for _ in range(3)]
    for number in range(150):
        fake.people.edit(made[number % 3], Subject=f"edit {number}")
    fake.calls.clear()
    walked = await pages(system.changes(system.start(datetime(2020, 1, 1, tzinfo=UTC)), 50))
    assert [one.id for page in walked for one in page.incidents] == made
    assert fake.calls["POST tickets"] == 1
    for id, one in latest(walked).items():
        assert one == await system.get(id)


async def test_a_long_past_is_read_block_by_block_and_each_ticket_is_there(
    fake: FakeRT, system: RequestTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.incidents._request_tracker_read.BLOCK", 2)
    fake.seed(450)
    everything = await pages(system.everything(200))
    assert len(latest(everything)) == 450
    assert all(len(page.incidents) <= 100 for page in everything), "RT answers no more at a time"


async def test_other_queues_are_not_ours(fake: FakeRT, system: RequestTracker) -> None:
    ours, other = fake.people.create(Subject="ours"), fake.people.create(Subject="other", Queue="Other")
    page = (await pages(system.changes(just_now(system), 50)))[-1]
    assert set(await changed(system, just_now(system))) == {ours}
    fake.people.move(other, "SOC")
    assert set(await changed(system, page.cursor)) == {other}, "what is moved in is new"


async def test_deleted_moved_and_merged_tickets_leave_the_feed(fake: FakeRT, system: RequestTracker) -> None:
    stays, deleted, moved, merged = [fake.people.create(Subject=name) for name in "sdmx"]
    fake.people.remove(deleted)
    fake.people.move(moved, "Secret")
    fake.people.merge(merged, stays)
    found = await changed(system, just_now(system))
    assert set(found) == {stays}
    assert found[stays] == await system.get(stays), "with the version that the merge gave it"


@pytest.mark.parametrize(("hidden", "walks"), [(40, 1), (70, 2)])
async def test_rows_that_the_login_may_not_see_do_not_stop_the_feed(
    fake: FakeRT, system: RequestTracker, hidden: int, walks: int
) -> None:
    """RT leaves them out of a page that was cut before. Where they are more than half, the next walk goes on."""
    fake.faults.forbidden = ["ShowTicketComments"]
    quiet = fake.people.create(Subject="first")
    for number in range(hidden):
        fake.people.comment(quiet, f"hidden {number}")
    later = {fake.people.create(Subject="later") for _ in range(60)}
    cursor, found = just_now(system), set[str]()
    for _ in range(walks):
        for page in await pages(system.changes(cursor, 50)):
            cursor, found = page.cursor, found | {one.id for one in page.incidents}
    assert later <= found


async def test_a_search_that_does_not_move_on_is_unreadable_and_not_endless(
    fake: FakeRT, system: RequestTracker
) -> None:
    fake.seed(60)
    whole = fake.views.transactions

    def stuck(login: str, params: Mapping[str, str]) -> dict[str, Any]:
        return whole(login, {**params, "query": "ObjectType = 'RT::Ticket'"})

    fake.views.transactions = stuck  # type: ignore[method-assign]  # conditions are passed over
    for cursor in (just_now(system), str(Place(NOON, 10_000))):
        with pytest.raises(Unreadable, match="beyond"):
            await pages(system.changes(cursor, 50))


async def test_a_bad_record_is_set_aside_raw_and_the_rest_goes_on(fake: FakeRT, system: RequestTracker) -> None:
    ids = [fake.people.create(Subject=f"number {number}") for number in range(3)]
    whole = fake.views.tickets

    def damaged(login: str, params: Mapping[str, str]) -> dict[str, Any]:
        answer = whole(login, params)
        answer["items"][1]["LastUpdated"] = "yesterday"
        return answer

    fake.views.tickets = damaged  # type: ignore[method-assign]  # one bad row
    walked: list[Page] = await pages(system.changes(just_now(system), 50))
    assert set(latest(walked)) == {ids[0], ids[2]}
    (bad,) = [one for page in walked for one in page.bad]
    assert bad.id == ids[1]
    assert "yesterday" in bad.raw
    assert bad.error


@pytest.mark.peer
async def test_the_real_ones_times_are_told_in_whichever_zone_the_login_is(rt_peer: Peer) -> None:
    world = PeerWorld(rt_peer)
    async with world.system() as system:
        before = datetime.now(UTC)
        made = await world.create({"Subject": "in time"})
        assert made in await changed(system, system.start(before - timedelta(seconds=2)))
        assert made not in await changed(system, system.start(before + timedelta(minutes=1)))
