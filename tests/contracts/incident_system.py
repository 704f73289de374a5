"""What every incident system promises. A vendor's test subclasses `IncidentSystemSuite` and gives it a `world`."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.contracts import IncidentSystem
from blocks.errors import NotFound, Partial, Refused, Stale
from blocks.model import Cursor, Entry, EntryKind, Fields, Incident, Page, Value

_numbers = itertools.count(time.time_ns() // 1000 % 10**9)
TEXTS = {
    "quotes": """she said "it's `fine`" \\ and \\' left""",
    "lines": "first\n\n  indented\n- last",
    "unicode": "Grüße, 日本語, עברית, ελληνικά",
    "emoji": "🚨👩‍💻 done ✅",
    "markup": "<script>alert(1)</script> & {{7*7}} %s %n ${x}",
    "query": "x' OR '1'='1'; DROP TABLE issue; --",
    "64 KB": "é" * 32768 + "z" * 65536,
}


class World(ABC):
    """A system under test, and a person who works in it past our connector. Fields are the system's own."""

    @abstractmethod
    def system(self, *, password: str | None = None, address: str | None = None) -> IncidentSystem:
        """The connector, not opened; with another password or address if given."""

    @abstractmethod
    async def create(self, fields: Fields) -> str:
        """The person creates an incident."""

    @abstractmethod
    async def edit(self, id: str, fields: Fields) -> None:
        """The person sets fields."""

    @abstractmethod
    async def comment(self, id: str, text: str) -> str:
        """The person writes a comment; answers its id as the connector names it."""

    @abstractmethod
    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        """The person attaches a file; answers its id as the connector names it."""

    @abstractmethod
    async def remove(self, id: str) -> None:
        """The person deletes an incident."""

    @abstractmethod
    async def later(self, seconds: float) -> None:
        """Time passes at the system."""

    @property
    @abstractmethod
    def queries(self) -> Mapping[str, str]:
        """Status of ours to the vendor's query for it."""

    bad_queries: tuple[str, ...] = ()
    """Queries that must be refused, injections among them."""
    quiet_statuses: tuple[str, ...] = ("new", "active", "resolved")
    """Statuses of ours in which a new entry leaves every field as it is."""
    keeps_media_types = True
    """Whether a file keeps the type that it was sent with; else the system makes it out itself."""
    own_query = True
    """Whether the system has a query language of its own."""
    counts_changes = False
    """Whether its cursor is a counter of changes: no two share a place, so it need not be read again."""
    applies_the_rest = False
    """Whether an update of which one field is refused writes the others (Partial)."""
    text_file = b"line\r\n\x00\xff"
    """What a person attaches as a text file, and the system keeps as it is."""
    clock_moves = False
    """Whether `later` moves its clock alone, ahead of ours; else it waits."""
    missing_id = "999999999"
    refused: tuple[str, Value] = ("status", "no such status")
    """A field of ours and a value of theirs that the system refuses."""


def key() -> str:
    """A key of ours that was never used."""
    return f"lockstep-contract-{next(_numbers)}"


def entry(text: str = "", name: str = "", data: bytes | None = None, media_type: str = "") -> Entry:
    """An entry as the store would send it."""
    kind: EntryKind = "comment" if data is None else "file"
    at = datetime.now(UTC)
    size = len(data or b"")
    return Entry("1", "1", kind, at, text=text, name=name, data=data, media_type=media_type, size=size)


def theirs(system: IncidentSystem, ours: Mapping[str, Value]) -> dict[str, Value]:
    """Our fields as the system's; those that it does not have are left out."""
    rows = {row.ours: row for row in system.fields.rows}
    values = {rows[name].theirs: rows[name].their_value(value) for name, value in ours.items() if name in rows}
    return {
        name: value for name, value in values.items() if isinstance(value, str | int | float | list) or value is None
    }


async def pages(feed: AsyncIterator[Page]) -> list[Page]:
    """The whole walk."""
    return [page async for page in feed]


async def changed(system: IncidentSystem, since: Cursor, size: int = 50) -> dict[str, Incident]:
    """What changed, by id, each as it was seen last."""
    return latest(await pages(system.changes(since, size)))


def latest(walked: Iterable[Page]) -> dict[str, Incident]:
    """Of several states of one incident, the last."""
    return {one.id: one for page in walked for one in page.incidents}


def lacks(system: IncidentSystem, *needed: str) -> bool:
    """Whether it declares that it cannot do one of these; that it then refuses it is a test of its own."""
    can = system.capabilities
    able = {
        "update": not can.read_only,
        "create": can.create and not can.read_only,
        "close": can.close and not can.read_only,
        "comments out": can.comments_out and not can.read_only,
        "files": can.files,
    }
    return not all(able[one] for one in needed)


def edits(system: IncidentSystem) -> tuple[dict[str, Value], dict[str, Value]]:
    """Two patches that follow each other: of the title, or of the status where a title cannot be set."""
    if any(row.ours == "title" and row.writable == "always" for row in system.fields.rows):
        return theirs(system, {"title": "once"}), theirs(system, {"title": "twice"})
    return theirs(system, {"status": "active"}), theirs(system, {"status": "new"})


class IncidentSystemSuite:
    """Subclass it, and override the fixture `world`."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    @pytest.fixture
    async def system(self, world: World) -> AsyncIterator[IncidentSystem]:
        async with world.system() as opened:
            yield opened

    def _named(self, system: IncidentSystem, title: str = "", status: str = "active") -> dict[str, Value]:
        return theirs(system, {"title": title or f"Contract {next(_numbers)}", "status": status})

    # identity and check

    def test_a_fingerprint_is_stable_and_changes_with_the_address(self, world: World) -> None:
        assert world.system().fingerprint() == world.system().fingerprint()
        assert world.system(password="other").fingerprint() == world.system().fingerprint()
        assert world.system(address="http://elsewhere.test/x/").fingerprint() != world.system().fingerprint()

    def test_no_password_is_shown(self, world: World) -> None:
        system = world.system(password="hunter2-contract")
        assert "hunter2" not in f"{system!r} {system} {system.fingerprint()} {system.model_dump_json()}"

    def test_a_person_finds_the_incident_by_its_url(self, system: IncidentSystem) -> None:
        assert system.url("42").startswith("http")
        assert "42" in system.url("42")
        assert system.url("42") != system.url("43")

    async def test_a_good_connection_is_reported_good(self, system: IncidentSystem) -> None:
        report = await system.check()
        assert report.ok, report
        assert report.findings
        assert report.system == system.fingerprint()

    async def test_a_wrong_password_is_said_in_words_and_not_shown(self, world: World) -> None:
        async with world.system(password="hunter2-contract") as system:
            report = await system.check()
        assert not report.ok
        said = " ".join(one.detail for one in report.findings if not one.ok)
        assert "login" in said or "password" in said
        assert "hunter2" not in str(report)

    async def test_an_address_where_nothing_answers_is_said_in_words(self, world: World) -> None:
        async with world.system(address="http://127.0.0.1:9/nothing/") as system:
            report = await system.check()
        assert not report.ok
        assert any(one.detail for one in report.findings if not one.ok)

    async def test_the_clocks_differ_by_seconds_at_most(self, system: IncidentSystem) -> None:
        await system.check()
        assert abs(system.skew) < timedelta(minutes=5)

    # the feed

    async def test_a_first_fetch_from_a_time_finds_what_changed_since(
        self, world: World, system: IncidentSystem
    ) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        made = await world.create(self._named(system, "Found by time"))
        found = await changed(system, system.start(before))
        assert found[made].fields[theirs(system, {"title": ""}).popitem()[0]] == "Found by time"
        assert found[made].updated.tzinfo is not None
        assert abs(found[made].updated - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_a_first_fetch_does_not_reach_back_further(self, world: World, system: IncidentSystem) -> None:
        made = await world.create(self._named(system))
        at = (await system.get(made)).updated
        later = at + timedelta(seconds=system.capabilities.settle_seconds + 2 * system.capabilities.clock_seconds + 1)
        assert made not in await changed(system, system.start(later))

    async def test_records_of_one_moment_are_all_found_with_pages_smaller_than_they(
        self, world: World, system: IncidentSystem
    ) -> None:
        before = system.start(datetime.now(UTC) - timedelta(seconds=1))
        made = [await world.create(self._named(system)) for _ in range(5)]
        walked = await pages(system.changes(before, 2))
        ids = [one.id for page in walked for one in page.incidents]
        assert set(made) <= set(ids)
        assert len(ids) == len(set(ids)), "nothing comes twice in a walk in which nothing changes"
        assert all(len(page.incidents) <= 2 for page in walked)

    async def test_cursors_never_go_back_and_begin_the_next_walk(self, world: World, system: IncidentSystem) -> None:
        cursor = system.start(datetime.now(UTC) - timedelta(seconds=1))
        made = [await world.create(self._named(system)) for _ in range(3)]
        walked = await pages(system.changes(cursor, 2))
        times = [system.rewound(page.cursor, timedelta(0)) for page in walked]
        assert times == sorted(times)
        await world.edit(made[0], theirs(system, {"title": "changed at once"}))
        assert made[0] in await changed(system, walked[-1].cursor)

    async def test_a_cursor_is_inclusive(self, world: World, system: IncidentSystem) -> None:
        before = system.start(datetime.now(UTC) - timedelta(seconds=1))
        made = await world.create(self._named(system))
        walked = await pages(system.changes(before, 50))
        again = await changed(system, walked[-1].cursor)
        assert (made not in again) if world.counts_changes else (made in again)

    async def test_a_rewound_cursor_reads_again(self, world: World, system: IncidentSystem) -> None:
        made = await world.create(self._named(system))
        ahead = system.start((await system.get(made)).updated + timedelta(hours=1))
        assert made not in await changed(system, ahead)
        assert made in await changed(system, system.rewound(ahead, timedelta(hours=1, seconds=1)))

    async def test_nothing_is_lost_when_records_change_in_the_middle_of_a_walk(
        self, world: World, system: IncidentSystem
    ) -> None:
        before = system.start(datetime.now(UTC) - timedelta(seconds=1))
        made = [await world.create(self._named(system)) for _ in range(6)]
        walked: list[Page] = []
        async for page in system.changes(before, 2):
            walked.append(page)
            if len(walked) == 2:
                await world.edit(made[5], theirs(system, {"title": "edited ahead"}))
                await world.edit(made[0], theirs(system, {"title": "edited behind"}))
        after = await changed(system, walked[-1].cursor)
        found = {**latest(walked), **after}
        title = next(iter(theirs(system, {"title": ""})))
        assert set(made) <= set(found)
        assert found[made[5]].fields[title] == "edited ahead"
        assert found[made[0]].fields[title] == "edited behind"

    async def test_versions_order_as_text(self, world: World, system: IncidentSystem) -> None:
        made = await world.create(self._named(system))
        versions = [(await system.get(made)).version]
        for count in range(2):
            await world.later(system.capabilities.clock_seconds + 0.1)
            await world.edit(made, theirs(system, {"title": f"edit {count} {next(_numbers)}"}))
            versions.append((await system.get(made)).version)
        assert versions == sorted(set(versions))

    async def test_a_page_shows_an_incident_as_get_does(self, world: World, system: IncidentSystem) -> None:
        before = system.start(datetime.now(UTC) - timedelta(seconds=1))
        made = await world.create(self._named(system))
        paged, alone = (await changed(system, before))[made], await system.get(made)
        assert (paged.fields, paged.version, paged.created) == (alone.fields, alone.version, alone.created)

    async def test_everything_is_everything(self, world: World, system: IncidentSystem) -> None:
        made = {await world.create(self._named(system)) for _ in range(3)}
        everything = latest(await pages(system.everything(50)))
        assert made <= set(everything)

    async def test_what_is_not_there_is_not_found(self, world: World, system: IncidentSystem) -> None:
        with pytest.raises(NotFound) as caught:
            await system.get(world.missing_id)
        assert caught.value.id == world.missing_id
        for odd in ("", "0", "-1", "1 OR 1=1", "../user/1", "1?x=1", "%31"):
            with pytest.raises(NotFound):
                await system.get(odd)

    async def test_what_was_deleted_is_not_found(self, world: World, system: IncidentSystem) -> None:
        made = await world.create(self._named(system))
        before = await system.get(made)
        await world.remove(made)
        with pytest.raises(NotFound):
            await system.get(made)
        if not lacks(system, "update"):
            with pytest.raises(NotFound):
                await system.update(before, edits(system)[0])

    async def test_what_it_declares_it_cannot_do_is_refused(self, world: World, system: IncidentSystem) -> None:
        made = await system.get(await world.create(self._named(system)))
        file = entry(name="a.txt", data=b"a", media_type="text/plain")
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "update": lambda: system.update(made, theirs(system, {"title": "ours"})),
            "create": lambda: system.create(self._named(system), key()),
            "close": lambda: system.update(made, theirs(system, {"status": "resolved"})),
            "comments out": lambda: system.add_entry(made, entry("ours"), key()),
            "files": lambda: system.add_entry(made, file, key()),
        }
        for what, call in calls.items():
            if lacks(system, what):
                with pytest.raises(Refused):
                    await call()
        if not world.own_query:
            with pytest.raises(Refused):
                await system.matching([made.id], world.queries["active"])
        assert (await system.get(made.id)).fields == made.fields

    # the vendor's own query

    async def test_the_vendors_own_query_finds_only_what_fits_and_was_asked_for(
        self, world: World, system: IncidentSystem
    ) -> None:
        if not world.own_query:
            return
        fits, other, unasked = [await world.create(self._named(system, status=s)) for s in ("active", "new", "active")]
        assert await system.matching([fits, other], world.queries["active"]) == {fits}
        assert await system.matching([other], world.queries["active"]) == set()
        assert await system.matching([], world.queries["active"]) == set()
        assert unasked not in await system.matching([fits], world.queries["active"])

    async def test_a_query_that_is_none_is_refused(self, world: World, system: IncidentSystem) -> None:
        if not world.own_query:
            return
        made = await world.create(self._named(system))
        assert world.bad_queries
        for query in world.bad_queries:
            with pytest.raises(Refused):
                await system.matching([made], query)

    # entries

    async def test_only_unknown_entries_come_oldest_first(self, world: World, system: IncidentSystem) -> None:
        made = await world.create(self._named(system))
        ids = [await world.comment(made, text) for text in ("first", "second", "third")]
        incident = await system.get(made)
        all_of_them = await system.entries([incident], frozenset())
        assert [one.text for one in all_of_them] == ["first", "second", "third"]
        assert [one.id for one in all_of_them] == ids
        assert [one.id for one in await system.entries([incident], {ids[0], ids[2]})] == [ids[1]]
        assert await system.entries([incident], set(ids)) == []

    async def test_an_entry_tells_author_time_and_that_it_is_not_ours(
        self, world: World, system: IncidentSystem
    ) -> None:
        made = await world.create(self._named(system))
        await world.comment(made, "who wrote this?")
        (one,) = await system.entries([await system.get(made)], frozenset())
        assert one.author
        assert not one.own
        assert one.key is None
        assert one.incident_id == made
        assert one.created.tzinfo is not None
        assert abs(one.created - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_entries_of_several_incidents_come_together(self, world: World, system: IncidentSystem) -> None:
        first, second = [await world.create(self._named(system)) for _ in range(2)]
        await world.comment(second, "of the second")
        await world.comment(first, "of the first")
        found = await system.entries([await system.get(first), await system.get(second)], frozenset())
        assert {(one.incident_id, one.text) for one in found} == {(first, "of the first"), (second, "of the second")}

    async def test_an_entry_is_added_once_and_found_again(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "comments out"):
            return
        made = await system.get(await world.create(self._named(system)))
        ours, mark, before = entry("from the store"), key(), datetime.now(UTC)
        assert await system.find_entry(made, ours, mark, before) is None
        remote = await system.add_entry(made, ours, mark)
        now = await system.get(made.id)
        (one,) = await system.entries([now], frozenset())
        assert (one.id, one.text, one.own) == (remote, "from the store", True)
        assert one.key == (mark if system.capabilities.entry_key == "native" else None)
        assert await system.find_entry(now, ours, mark, before) == remote
        if one.key is None:
            assert await system.find_entry(now, ours, mark, before, {remote}) is None

    async def test_what_we_added_is_found_again_although_the_systems_clock_is_ahead(
        self, world: World, system: IncidentSystem
    ) -> None:
        if not world.clock_moves or lacks(system, "comments out"):
            return
        made = await system.get(await world.create(self._named(system)))
        await world.later(600)
        now = await system.get(made.id)
        ours, mark, before = entry("from the store"), key(), datetime.now(UTC) + system.skew
        remote = await system.add_entry(now, ours, mark)
        assert await system.find_entry(await system.get(made.id), ours, mark, before) == remote

    async def test_another_entry_is_not_taken_for_ours(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "comments out"):
            return
        made = await system.get(await world.create(self._named(system)))
        before = datetime.now(UTC)
        await world.comment(made.id, "the same words")
        assert await system.find_entry(made, entry("the same words"), key(), before) is None

    async def test_adding_an_entry_changes_no_field(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "comments out"):
            return
        for status in world.quiet_statuses:
            made = await system.get(await world.create(self._named(system, status=status)))
            await system.add_entry(made, entry(f"about the {status} one"), key())
            assert (await system.get(made.id)).fields == made.fields

    async def test_entries_are_added_although_somebody_edits_meanwhile(
        self, world: World, system: IncidentSystem
    ) -> None:
        if lacks(system, "comments out"):
            return
        made = await system.get(await world.create(self._named(system)))
        await world.edit(made.id, theirs(system, {"title": "edited meanwhile"}))
        await world.comment(made.id, "and commented")
        await system.add_entry(made, entry("added to what is no longer current"), key())
        now = await system.get(made.id)
        assert now.fields[next(iter(theirs(system, {"title": ""})))] == "edited meanwhile"
        assert len(await system.entries([now], frozenset())) == 2

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    async def test_texts_arrive_as_they_are(self, world: World, system: IncidentSystem, text: str) -> None:
        if lacks(system, "comments out"):
            return
        made = await system.get(await world.create(self._named(system)))
        await system.add_entry(made, entry(text), key())
        (one,) = await system.entries([await system.get(made.id)], frozenset())
        assert one.text == text

    async def test_a_file_keeps_bytes_name_and_type(self, world: World, system: IncidentSystem) -> None:
        if not system.capabilities.files:
            assert not system.capabilities.files, "declared: this vendor takes no files"
            return
        made = await system.get(await world.create(self._named(system)))
        data, name = bytes(range(256)) * 300, 'Bericht "März" 日本.bin'
        ours, mark, before = entry(name=name, data=data, media_type="application/x-evidence"), key(), datetime.now(UTC)
        assert await system.find_entry(made, ours, mark, before) is None
        remote = await system.add_entry(made, ours, mark)
        (one,) = await system.entries([await system.get(made.id)], frozenset())
        assert (one.id, one.kind, one.name) == (remote, "file", name)
        assert one.media_type == "application/x-evidence" or not world.keeps_media_types
        assert b"".join([chunk async for chunk in system.content(one)]) == data
        assert await system.find_entry(made, ours, mark, before) == remote
        if one.key is None:
            assert await system.find_entry(made, ours, mark, before, {remote}) is None
        other = entry(name=name, data=b"other bytes", media_type="application/x-evidence")
        assert await system.find_entry(made, other, key(), before) is None

    async def test_a_persons_file_is_read(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "files"):
            return
        made = await world.create(self._named(system))
        remote = await world.attach(made, "log.txt", world.text_file, "text/plain")
        (one,) = await system.entries([await system.get(made)], frozenset())
        assert (one.id, one.kind, one.name, one.own) == (remote, "file", "log.txt", False)
        assert b"".join([chunk async for chunk in system.content(one)]) == world.text_file

    # writing

    async def test_what_is_created_is_found_by_its_key(self, system: IncidentSystem) -> None:
        if lacks(system, "create"):
            return
        mark = key()
        fields = theirs(
            system, {"title": "Made by us", "description": "with words", "status": "active", "severity": "high"}
        )
        made = await system.create(fields, mark)
        found, now = await system.find(mark), await system.get(made.id)
        assert made.fields == now.fields
        if system.capabilities.create_key == "none":
            assert found is None, "declared: nothing carries our key"
        else:
            assert found is not None
            assert (found.id, found.key, made.key) == (made.id, mark, mark)
            assert found.fields == now.fields
        for name in theirs(system, {"title": "", "status": "active", "severity": "high"}):
            assert now.fields[name] == fields[name]

    async def test_a_key_that_nobody_carries_finds_nothing(self, system: IncidentSystem) -> None:
        if lacks(system, "create"):
            return
        await system.create(self._named(system), key())
        odd = (
            "",
            "%",
            "*",
            "lockstep-",
            "lockstep-contract",
            "lockstep-contract-%",
            "' OR '1'='1",
            '" or 1=1 --',
            "a,b",
        )
        for mark in (key(), *odd):
            assert await system.find(mark) is None

    async def test_the_description_is_not_taken_for_a_comment(self, system: IncidentSystem) -> None:
        if lacks(system, "create"):
            return
        mark = key()
        made = await system.create(theirs(system, {"title": "Described", "description": "the description"}), mark)
        comments = await system.entries([await system.get(made.id)], frozenset())
        assert all(one.key == mark for one in comments), "what carries the incident's own key is known by it"

    async def test_an_update_answers_as_the_system_now_shows_it(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "update"):
            return
        made = await system.get(await world.create(self._named(system, status="new")))
        (first, value), *_ = edits(system)[0].items()
        rest = theirs(system, {"status": "waiting", "severity": "critical"}) if value == "once" else {}
        answer = await system.update(made, {first: value, **rest})
        now = await system.get(made.id)
        assert answer.fields == now.fields
        assert now.fields[first] == value
        assert made.version <= answer.version <= now.version

    async def test_an_answer_can_be_updated_again(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "update"):
            return
        made = await system.get(await world.create(self._named(system, status="new")))
        first, second = edits(system)
        once = await system.update(made, first)
        twice = await system.update(once, second)
        assert twice.fields == (await system.get(made.id)).fields

    async def test_a_stale_write_is_refused_and_the_persons_edit_stays(
        self, world: World, system: IncidentSystem
    ) -> None:
        if lacks(system, "update"):
            return
        if system.capabilities.lock == "none":
            assert system.capabilities.lock == "none", "declared: nothing tells a stale write"
            return
        made = await system.get(await world.create(self._named(system, status="new")))
        persons, ours = edits(system)
        await world.edit(made.id, persons)
        with pytest.raises(Stale) as caught:
            await system.update(made, ours)
        assert caught.value.id == made.id
        now = await system.get(made.id)
        assert persons.items() <= now.fields.items()
        assert (await system.update(now, ours)).fields == (await system.get(made.id)).fields

    async def test_a_value_that_the_system_refuses_names_its_field_and_changes_nothing(
        self, world: World, system: IncidentSystem
    ) -> None:
        if lacks(system, "create", "update"):
            return
        made = await system.get(await world.create(self._named(system)))
        ours, value = world.refused
        field = next(row.theirs for row in system.fields.rows if row.ours == ours)
        with pytest.raises(Refused) as caught:
            await system.update(made, {**theirs(system, {"title": "must not arrive"}), field: value})
        assert list(caught.value.fields) == [field]
        now, rest = await system.get(made.id), theirs(system, {"title": "must not arrive"})
        assert isinstance(caught.value, Partial) == world.applies_the_rest
        if isinstance(caught.value, Partial):
            assert caught.value.incident.fields == now.fields == {**made.fields, **rest}
        else:
            assert now.fields == made.fields
        with pytest.raises(Refused) as caught:
            await system.create({**self._named(system), field: value}, key())
        assert list(caught.value.fields) == [field]

    async def test_a_field_that_the_system_does_not_have_is_refused_by_name(
        self, world: World, system: IncidentSystem
    ) -> None:
        if lacks(system, "update"):
            return
        made = await system.get(await world.create(self._named(system)))
        with pytest.raises(Refused) as caught:
            await system.update(made, {"nosuchfield": "x"})
        assert list(caught.value.fields) == ["nosuchfield"]

    @pytest.mark.parametrize(
        "text", [TEXTS["quotes"], TEXTS["unicode"], TEXTS["emoji"], TEXTS["markup"], TEXTS["query"]]
    )
    async def test_titles_arrive_as_they_are(self, system: IncidentSystem, text: str) -> None:
        if lacks(system, "create", "update"):
            return
        made = await system.create(self._named(system, text), key())
        title = next(iter(theirs(system, {"title": ""})))
        assert made.fields[title] == text
        updated = await system.update(made, {title: f"{text} again"})
        assert updated.fields[title] == (await system.get(made.id)).fields[title] == f"{text} again"

    async def test_an_incident_is_closed_and_reopened(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "update", "close"):
            return
        made = await system.get(await world.create(self._named(system)))
        closed = await system.update(made, theirs(system, {"status": "resolved"}))
        known, _ = system.fields.to_ours(closed.fields)
        assert known["status"] in ("resolved", "closed")
        if system.capabilities.reopen:
            reopened = await system.update(await system.get(made.id), theirs(system, {"status": "active"}))
            known, _ = system.fields.to_ours(reopened.fields)
            assert known["status"] == "active"

    async def test_every_value_of_ours_comes_back_as_it_went(self, world: World, system: IncidentSystem) -> None:
        if lacks(system, "update"):
            return
        made = await system.get(await world.create(self._named(system)))
        for row in system.fields.rows:
            for ours, native in row.to_theirs.items():
                if row.writable != "always" or not row.settable(ours):
                    continue
                made = await system.update(await system.get(made.id), {row.theirs: native})
                assert made.fields[row.theirs] == native
                assert row.same(ours, made.fields[row.theirs])
