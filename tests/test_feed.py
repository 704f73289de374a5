"""A walk over a feed that changes under it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.feed import Found, Row, Walk
from blocks.model import BadRecord, Incident, Page

START = datetime(2026, 11, 1, tzinfo=UTC)


class Feed:
    """Records with times in milliseconds, shown cut to seconds; `meanwhile` works between two questions."""

    def __init__(self, times: list[int]) -> None:
        self.times = dict(enumerate(times))
        self.edits = dict.fromkeys(self.times, 0)
        self.clock = max(times, default=0)
        self.asked: list[tuple[datetime, datetime | None, int]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.bad: set[int] = set()
        self.size = 2

    def edit(self, number: int) -> None:
        self.times[number] = self.clock
        self.edits[number] += 1

    def now(self) -> datetime:
        return START + timedelta(milliseconds=self.clock)

    async def ask(self, first: datetime, last: datetime | None, page: int) -> Found:
        self.meanwhile()
        self.asked.append((first, last, page))
        low = (first - START).total_seconds() * 1000
        high = (last - START).total_seconds() * 1000 + 999 if last else float("inf")
        inside = sorted((at, number) for number, at in self.times.items() if low <= at <= high)
        cut = inside[self.size * (page - 1) : self.size * page]
        return Found([self._row(number) for _, number in cut], len(inside))

    def _row(self, number: int) -> Row:
        if number in self.bad:
            return BadRecord("", f"raw {number}", "unreadable")
        at = START + timedelta(seconds=self.times[number] // 1000)
        return Incident(str(number), text(at), at, {"edits": self.edits[number]})

    async def walk(self, cursor: str = "2026-11-01T00:00:00Z", width: float | None = None) -> list[Page]:
        begin = datetime.fromisoformat(cursor)
        wide = timedelta(seconds=width) if width else None
        walk = Walk(self.ask, begin, self.size, self.now, text, cursor, wide)
        return [page async for page in walk.pages()]


def text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def ids(pages: list[Page]) -> list[str]:
    return [one.id for page in pages for one in page.incidents]


async def test_a_quiet_feed_is_read_once_in_order_of_time() -> None:
    feed = Feed([5000, 1000, 3000, 2000, 4000])
    pages = await feed.walk()
    assert ids(pages) == ["1", "3", "2", "4", "0"]
    assert [len(page.incidents) for page in pages] == [2, 1, 1, 1], "the last record of a page begins the next window"
    assert pages[-1].cursor == "2026-11-01T00:00:05Z"


async def test_a_moment_with_more_records_than_a_page_is_read_to_its_end() -> None:
    feed = Feed([1000] * 7 + [2000])
    assert sorted(ids(await feed.walk())) == [str(n) for n in range(8)]


async def test_a_moment_is_read_again_when_somebody_leaves_it_meanwhile() -> None:
    feed = Feed([1000 + n for n in range(6)] + [9000])
    feed.clock = 60_000

    def leave() -> None:
        if len(feed.asked) == 3:
            feed.edit(0)

    feed.meanwhile = leave
    found = {one.id: one for page in await feed.walk() for one in page.incidents}
    assert set(found) == {str(n) for n in range(7)}
    assert found["0"].fields == {"edits": 1}


async def test_a_record_that_changes_again_within_the_moment_it_was_read_in_is_read_again() -> None:
    feed = Feed([1000, 2100, 2200, 2300])

    def edit() -> None:
        if len(feed.asked) == 1:
            feed.edit(1)

    feed.clock, feed.meanwhile = 2900, edit
    found = [one for page in await feed.walk() for one in page.incidents if one.id == "1"]
    assert [one.fields for one in found] == [{"edits": 0}, {"edits": 1}]
    assert len({one.version for one in found}) == 1


async def test_a_window_never_closes_within_the_moment_that_is_now() -> None:
    feed = Feed([0, 1000, 2000])
    feed.clock, feed.size = 10_400, 50

    def edit() -> None:
        if len(feed.asked) == 1:
            feed.clock = 10_900
            feed.edit(0)
            feed.clock = 11_500
            feed.edit(1)

    feed.meanwhile = edit
    pages = await feed.walk(width=10)
    assert {one.id for page in pages for one in page.incidents if one.fields["edits"]} <= {"0", "1"}
    after = await feed.walk(pages[-1].cursor)
    seen = {one.id: one.fields["edits"] for page in (*pages, *after) for one in page.incidents}
    assert seen == {"0": 1, "1": 1, "2": 0}


async def test_empty_stretches_are_crossed_in_few_steps_and_dense_ones_in_narrow_windows() -> None:
    feed = Feed([0, *(90 * 86_400_000 + n * 1000 for n in range(200)), 91 * 86_400_000])
    feed.size = 10
    assert len(ids(await feed.walk(width=60))) == 202
    assert len(feed.asked) < 80
    totals = [inside(feed, asked) for asked in feed.asked]
    assert sorted(totals)[-2] <= 4 * 2 * feed.size, "one look at the dense part is enough to narrow the window"


def inside(feed: Feed, asked: tuple[datetime, datetime | None, int]) -> int:
    first, last, _ = asked
    return sum(
        1
        for at in feed.times.values()
        if first <= START + timedelta(milliseconds=at) and (last is None or START + timedelta(milliseconds=at) < last)
    )


async def test_unreadable_records_come_along_and_stop_nothing() -> None:
    feed = Feed([1000, 2000, 2000, 2000, 3000, 4000])
    feed.bad = {1, 2, 3}
    pages = await feed.walk()
    assert {one.raw for page in pages for one in page.bad} == {"raw 1", "raw 2", "raw 3"}
    assert set(ids(pages)) == {"0", "4", "5"}


async def test_a_page_of_nothing_but_unreadable_records_stops_nothing() -> None:
    feed = Feed([1000, 2000, 3000, 4000, 5000])
    feed.bad = {0, 1, 2}
    pages = await feed.walk()
    assert len({one.raw for page in pages for one in page.bad}) == 3
    assert set(ids(pages)) == {"3", "4"}


@settings(max_examples=150, deadline=None)
@given(
    times=st.lists(st.integers(0, 8).map(lambda n: n * 400), min_size=1, max_size=12),
    size=st.integers(1, 4),
    width=st.sampled_from([None, 1, 2, 50]),
    happenings=st.lists(st.tuples(st.integers(0, 700), st.lists(st.integers(0, 11), max_size=3)), max_size=14),
)
async def test_whatever_is_edited_meanwhile_is_seen_in_this_walk_or_the_next(
    times: list[int], size: int, width: int | None, happenings: list[tuple[int, list[int]]]
) -> None:
    feed = Feed(times)
    feed.size = size
    waiting = iter(happenings)

    def meanwhile() -> None:
        passed, edited = next(waiting, (0, []))
        feed.clock += passed
        for number in edited:
            if number in feed.times:
                feed.edit(number)

    feed.meanwhile = meanwhile
    first = await feed.walk(width=width)
    second = await feed.walk(first[-1].cursor)
    cursors = [page.cursor for page in (*first, *second)]
    assert cursors == sorted(cursors)
    seen = {one.id: one.fields["edits"] for page in (*first, *second) for one in page.incidents}
    assert seen == {str(number): edits for number, edits in feed.edits.items()}
