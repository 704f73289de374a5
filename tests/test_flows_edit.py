"""What an analyst edits by hand: fields, labels, further fields, entries, closing, reopening; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import State

from blocks.errors import Refused
from blocks.model import FIELDS, STATUSES, Value
from blocks.rules import Rules, Travel
from blocks.store.tables import Incident
from flows.edit import Further, edit_incident
from tasks.analyst.edit import Change, edit_by_hand, typed, wanted
from tests.fakes.toy import World
from tests.flowing import in_store, told
from tests.mirrors import BOB, START, Bench, Death

__all__ = ["in_store", "told"]
pytestmark = pytest.mark.usefixtures("in_store", "told")


async def in_step(bench: Bench, **setup: Any) -> World:
    """Incident 1, in step with record 1 of mirror a."""
    world = bench.mirror(**setup)
    world.add({"name": "one", "who": "ann", "tags": ["new"]})
    await bench.settled()
    return world


async def edited(incident: int = 1, **form: Any) -> State[Any]:
    """What the flow ends with."""
    return await edit_incident.fn(incident, "cleo", **form)


async def test_an_edit_travels_once_and_does_not_echo(bench: Bench) -> None:
    world = await in_step(bench)
    state = await edited(title="two", severity="high", owner="bea", add_labels=["vip"], remove_labels=["new"])
    assert state.is_completed()
    assert state.message == "incident 1: title, severity, owner, labels changed; sent by the next cycle of a"
    await bench.cycle(after=60)
    shown = world.fields("1")
    assert (shown["name"], shown["level"], shown["who"], shown["tags"]) == ("two", "p2", "bea", ["vip"])
    await bench.settled()
    assert world.calls.count("update") == 0
    assert (await bench.incident(1)).title == "two"


async def test_all_of_an_edit_is_one_line_of_the_audit_and_one_of_its_entry(bench: Bench) -> None:
    await in_step(bench)
    await edited(title="two", owner="bea", entry="hello", entry_kind="note")
    fields, entry = (await bench.history(1))[-2:]
    assert (fields.actor, fields.action) == ("cleo", "edited")
    assert fields.changes == {"title": ["one", "two"], "owner": ["ann", "bea"]}
    assert (entry.actor, entry.action, list(entry.changes or {})) == ("cleo", "commented", ["note"])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_edit_is_done_whole_or_not_at_all(bench: Bench, when: str) -> None:
    await in_step(bench)
    work = edit_by_hand(bench.database, 1, Change({"title": "two"}, entry="hello"), BOB, bench.clock())
    assert await Death(f"{when} commit edit").during(work)
    there = ((await bench.incident(1)).title, len(await bench.entries(1)))
    assert there == (("one", 0) if when == "before" else ("two", 1))


async def test_what_is_so_already_says_so_and_changes_nothing(bench: Bench) -> None:
    world = await in_step(bench)
    before = (await bench.incident(1), await bench.history(1))
    state = await edited(title="one", status="new", owner=" ann ", add_labels=["new", ""], remove_labels=["other"])
    assert (state.is_completed(), state.message) == (True, "incident 1: it is so already, nothing was changed")
    assert (await bench.incident(1), await bench.history(1)) == before
    await bench.cycle(after=60)
    assert world.calls == ["changes"]


async def test_an_edit_that_nobody_sends_on_names_no_mirror(bench: Bench) -> None:
    number = await bench.create(title="ours")
    assert (await edited(number, owner="bea")).message == f"incident {number}: owner changed"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"status": "unheard of"}, "status must be one of"),
        ({"severity": "worst"}, "severity must be one of"),
        ({"title": "x" * 1001}, "title has 1,001 characters, 1,000 are allowed"),
        ({"title": "a\0b"}, "title holds a NUL character"),
        ({"owner": "\ud800"}, "owner is not valid Unicode"),
        ({"entry": "a\0b", "title": "two"}, "text holds a NUL character"),
        ({"owner": "bea", "clear": ["owner"]}, "owner is given a value and emptied"),
        ({"add_labels": ["x"], "remove_labels": ["x"]}, "'x' is added and removed"),
        ({"status": "closed"}, "close_reason must say why"),
        ({"status": "resolved", "close_notes": "notes"}, "close_reason must say why"),
        ({"close_reason": "Fixed"}, "close_reason belongs to a closed incident"),
        ({"status": "active", "close_notes": "notes"}, "close_notes belongs to a closed incident"),
        ({"further": [Further("title", "x")]}, "title is no further field"),
        ({"further": [Further("type", "x")]}, "type is no further field"),
        ({"entry_tags": ["x"], "title": "two"}, "entry_tags belong to an entry"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words_and_changes_nothing(
    bench: Bench, form: dict[str, Any], words: str
) -> None:
    await in_step(bench)
    before = (await bench.incident(1), await bench.history(1))
    state = await edited(**form)
    assert state.is_failed()
    assert words in str(state.message)
    assert (await bench.incident(1), await bench.history(1)) == before


async def test_an_incident_that_is_not_there_is_named(bench: Bench) -> None:
    state = await edited(9, title="x")
    assert state.is_failed()
    assert "there is no incident 9" in str(state.message)


async def test_a_closing_carries_its_own_reason_and_notes_and_reopening_empties_them(bench: Bench) -> None:
    world = await in_step(bench)
    await edited(status="resolved", close_reason="Fixed", close_notes="the cable")
    await bench.settled()
    shown = world.fields("1")
    assert (shown["state"], shown["why"], shown["notes"]) == ("done", "Fixed", "the cable")
    bench.clock.go(60)
    await edited(status="active")
    await bench.settled()
    shown = world.fields("1")
    assert (shown["state"], shown["why"], shown["notes"]) == ("doing", None, None)
    await edited(status="closed", close_reason="Duplicate")
    await bench.settled()
    shown = world.fields("1")
    assert (shown["state"], shown["why"], shown["notes"]) == ("shut", "Duplicate", None)
    assert [one.action for one in await bench.history(1) if one.actor == "cleo"] == ["closed", "reopened", "closed"]


async def test_a_closing_never_carries_what_an_earlier_one_left(bench: Bench) -> None:
    """A system that reopens may leave its reason where it was."""
    number = await bench.create(title="ours", close_reason="Old", close_notes="old")
    await edited(number, status="closed", close_reason="New")
    incident = await bench.incident(number)
    assert (incident.close_reason, incident.close_notes) == ("New", None)


async def test_the_reason_of_a_closed_incident_can_be_corrected(bench: Bench) -> None:
    number = await bench.create(title="ours")
    await edited(number, status="resolved", close_reason="Fixed")
    await edited(number, close_reason="Duplicate", close_notes="of 7")
    await edited(number, status="closed")
    incident = await bench.incident(number)
    assert (incident.status, incident.close_reason, incident.close_notes) == ("closed", "Duplicate", "of 7")


async def test_a_field_can_be_emptied(bench: Bench) -> None:
    world = await in_step(bench)
    assert "owner changed" in str((await edited(clear=["owner", "description"])).message)
    await bench.cycle(after=60)
    assert world.fields("1")["who"] is None


async def test_only_entries_with_the_right_tag_go_out(bench: Bench) -> None:
    world = await in_step(bench, rules=Rules(comments=Travel("both", ["share"])))
    assert "a comment added" in str((await edited(entry="for us")).message)
    await edited(entry="for all", entry_tags=["share"])
    await bench.settled()
    assert [one.text for one in world.records["1"].entries] == ["for all"]
    assert [(one.author, one.text) for one in await bench.entries(1)] == [("cleo", "for us"), ("cleo", "for all")]


async def test_further_fields_are_set_and_removed(bench: Bench) -> None:
    number = await bench.create(title="ours", impact=3, vip=True)
    state = await edited(
        number, further=[Further("impact", "4"), Further("vip", ""), Further("room", "12"), Further("gone", " ")]
    )
    assert state.message == f"incident {number}: impact, vip, room changed"
    assert (await bench.incident(number)).custom == {"impact": 4, "room": "12"}
    assert "it is so already" in str((await edited(number, further=[Further("impact", "4")])).message)


@pytest.mark.parametrize(
    ("now", "text", "value"),
    [
        (None, "7", "7"),
        ("x", "true", "true"),
        (3, "7", 7),
        (0, " -7 ", -7),
        (1.5, "7", 7.0),
        (True, "No", False),
        (False, "yes", True),
        (["a"], "b, a,,b", ["a", "b"]),
        (3, " ", None),
    ],
)
def test_a_further_field_keeps_its_kind_of_value(now: Value, text: str, value: Value) -> None:
    found = typed("x", now, text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(("now", "called"), [(3, "a whole number"), (1.5, "a number"), (True, "true or false")])
def test_what_is_not_of_that_kind_is_refused(now: Value, called: str) -> None:
    with pytest.raises(Refused, match=f"holds {called}, and 'seven' is none"):
        typed("x", now, "seven")


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_no_number_is_kept_that_json_does_not_know(text: str) -> None:
    with pytest.raises(Refused, match="JSON"):
        wanted(
            Incident(id=1, status="new", created=START, updated=START, custom={"x": 1.5}), Change(custom={"x": text})
        )


fields = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["", *STATUSES]) if name == "status" else st.text("ab ", max_size=3)
        for name in FIELDS
        if name not in {"labels", "severity"}
    },
)
labels = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple)


@given(st.sampled_from(STATUSES), labels, fields, labels, labels, st.sampled_from([(), ("owner",), ("description",)]))
def test_an_edit_done_twice_changes_nothing_the_second_time(
    status: str, has: tuple[str, ...], given: dict[str, str], add: tuple[str, ...], remove: tuple[str, ...], clear: Any
) -> None:
    one = Incident(id=1, title="t", status=status, labels=[*has] or None, created=START, updated=START)
    change = Change(given, clear, add, remove)
    try:
        patch = wanted(one, change)
    except Refused:
        return
    assert all(getattr(one, name) != value for name, value in patch.items())
    after = Incident(**{**one.model_dump(), **patch})
    assert wanted(after, change) == {}
    if after.status not in {"resolved", "closed"} and patch.get("status"):
        assert (after.close_reason, after.close_notes) == (None, None)
