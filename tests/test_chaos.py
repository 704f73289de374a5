"""What chaos relies on: its table is the code's, its comparison sees each kind of damage, and what it kills is dead."""

from __future__ import annotations

import ast
import base64
import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from blocks.contracts import IncidentSystem
from blocks.incidents._roundup import FIELDS
from chaos.compare import DOUBT, Found, compare
from chaos.director import Quota, Tally, is_in_flight, warm
from chaos.people import Deed
from chaos.points import CACHE, CALLS, COMMITS, IN_FLIGHT, PEOPLE, TABLE
from chaos.sides import Store, There
from chaos.stage import play
from chaos.universe import universe
from chaos.weather import CALM, SHARES, gentle_weather, weather
from tests.fakes.faults import Faults

ROOT = Path(__file__).resolve().parents[1]
ENGINE = [*sorted((ROOT / "tasks" / "mirroring").glob("*.py")), *sorted((ROOT / "blocks" / "store").rglob("*.py"))]
VERBS = {
    name
    for name in IncidentSystem.__abstractmethods__
    if inspect.iscoroutinefunction(getattr(IncidentSystem, name)) and not name.startswith("__")
} | {"changes", "content", "everything"}
STREAMED = {
    ("pull.py", "changes"): "each page is between two points, reached in `ahead`",
    ("reconciling.py", "everything"): "as it",
    ("entries.py", "content"): "its reading to the end is one call",
    ("sample.py", "changes"): "a sample stores nothing",
}
"""Calls that are no single await."""


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


def words_of(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def test_the_table_holds_every_remote_call_and_every_commit_of_the_engine() -> None:
    remote, commits = set(), set()
    for call in (call for file in ENGINE for call in calls(file)):
        name, words = ast.unparse(call.func), words_of(call)
        if name == "at" and words:
            remote.add(words)
        elif name == "ahead":
            remote.add(ast.literal_eval(call.args[1]))
        elif name.endswith(("database.begin", "database.commit")):
            assert words, f"a commit without a name of its own: {ast.unparse(call)}"
            commits.add(words)
    assert remote == set(CALLS)
    assert commits == set(COMMITS) | set(PEOPLE) | set(CACHE)
    assert len(TABLE) == 2 * (len(CALLS) + len(COMMITS) + len(PEOPLE))
    assert set(IN_FLIGHT) <= TABLE


def test_every_remote_call_lies_between_two_points_of_its_name() -> None:
    bare = []
    for file in ENGINE:
        made = list(calls(file))
        wrapped = {id(call.args[1]): words_of(call) for call in made if ast.unparse(call.func) == "at"}
        for call in made:
            owner, _, verb = ast.unparse(call.func).rpartition(".")
            if owner not in {"m.system", "system", "self.system"} or verb not in VERBS:
                continue
            if wrapped.get(id(call)) != verb and (file.name, verb) not in STREAMED:
                bare.append(f"{file.name}: {ast.unparse(call)}")
    assert not bare


def test_nobody_writes_to_the_store_but_through_a_commit_with_a_name() -> None:
    opened = {
        f"{file.name}: {name}"
        for file in ENGINE
        for call in calls(file)
        if (name := ast.unparse(call.func)).endswith((".engine.begin", ".engine.connect", ".connection.begin"))
    }
    assert opened == {"database.py: self.engine.connect", "file.py: self.engine.connect"}


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ("before commit intents", False),
        ("after commit intents", False),
        ("after commit intents, before update", True),
        ("after commit intents, before add_entry, after add_entry, before get", True),
        ("after commit intents, before create, after create, before commit answers", True),
        ("after commit intents, before update, after update, before commit answers, after commit answers", False),
        ("before find, after find, before commit settle", False),
    ],
)
def test_in_flight_is_between_a_write_that_is_about_to_be_sent_and_its_answer(reached: str, *, expected: bool) -> None:
    assert is_in_flight(reached.split(", ")) is expected


def test_a_process_counts_for_the_point_at_which_it_killed_itself_and_no_other() -> None:
    tally = Tally()
    tally.died("by its own hand", ["before changes", "after changes", "killed here"])
    tally.died("random", ["before changes", "after changes", "before commit page"])
    assert tally.hit == {"after changes"}
    assert tally.kills == 2


def test_the_weather_asks_for_faults_that_the_fake_knows() -> None:
    dice = Random(1)  # noqa: S311  dice, no secret
    for knobs in [CALM, *(weather(dice) for _ in range(50)), *(gentle_weather(dice) for _ in range(50))]:
        faults = Faults()
        faults.take(dict(knobs))
        assert set(faults.rates) <= set(SHARES)


# The comparison: a world in which all is well, and what it finds when it is damaged.

DIGEST = hashlib.sha256(b"bytes").hexdigest()
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class World:
    """One incident, mirrored to issue 7 of tracker a, with a comment from there, one from here, and a file."""

    def __init__(self) -> None:
        self.incident: dict[str, Any] = {
            "id": 1, "title": "incident a1", "status": "active", "severity": "high", "owner": None, "labels": ["red"],
        }  # fmt: skip
        self.link: dict[str, Any] = {
            "id": 3, "system_id": 1, "incident_id": 1, "remote_id": "7", "state": "linked", "dirty": 0,
        }  # fmt: skip
        self.entries = [self.entry(1, "comment", "a2", 1), self.entry(2, "comment", "s1", None)]
        self.entries.append(self.entry(3, "file", "s2", None) | {"name": "s2", "text": "", "blob": DIGEST})
        self.rows: dict[str, list[dict[str, Any]]] = {
            "mirror": [{"name": "a", "system_id": 1}], "incident": [self.incident], "link": [self.link],
            "entry": self.entries, "intent": [], "conflict": [], "parked": [], "audit": [],
        }  # fmt: skip
        self.issue: dict[str, Any] = {
            "title": "incident a1", "status": "chatting", "priority": "urgent", "assignedto": None,
            "keyword": ["red"], "messages": [1, 2], "files": [1], "retired": False,
        }  # fmt: skip
        self.state: dict[str, Any] = {
            "issues": {"7": self.issue},
            "messages": {
                "1": {"text": "a2", "key": None, "author": "analyst"},
                "2": {"text": "s1", "key": "lockstep-x-e2", "author": "admin"},
            },
            "files": {"1": {"name": "s2", "type": "", "data": base64.b64encode(b"bytes").decode()}},
            "titles": [],
        }
        self.deeds = [Deed("a", "comment", "a2", "7", done=True), Deed("store", "comment", "s1", "1", done=True)]
        self.creating: frozenset[str] = frozenset()

    def entry(self, id: int, kind: str, text: str, system: int | None) -> dict[str, Any]:
        return {"id": id, "incident_id": 1, "system_id": system, "kind": kind, "text": text, "name": "", "blob": None}

    def edited(self, saw: str, wrote: str, seconds: float) -> None:
        self.state["titles"].append({"issue": "7", "at": AT.timestamp() + seconds, "saw": saw, "wrote": wrote})

    def compare(self) -> Found:
        there = There("a", self.state, FIELDS, "lockstep-x-")
        return compare(Store("x", self.rows), [there], self.deeds, self.creating)


Damage = Callable[[World], None]


def kinds(found: Found) -> set[str]:
    return {name for name in ("lost", "twice", "different", "listed") if getattr(found, name)}


def test_a_world_in_which_all_is_well_has_nothing_to_say() -> None:
    found = World().compare()
    assert kinds(found) == set()
    assert found.compared["fields"] == 5
    assert found.compared["entries"] == 3


DAMAGES: list[tuple[str, Damage]] = []


def damage(kind: str) -> Callable[[Damage], Damage]:
    def known(function: Damage) -> Damage:
        DAMAGES.append((kind, function))
        return function

    return known


@damage("lost")
def a_comment_did_not_come_in(world: World) -> None:
    world.entries.pop(0)


@damage("lost")
def a_comment_did_not_go_out(world: World) -> None:
    world.issue["messages"].remove(2)


@damage("lost")
def the_bytes_of_a_file_differ(world: World) -> None:
    world.entries[2]["blob"] = "0" * 64


@damage("lost")
def a_file_did_not_go_out(world: World) -> None:
    world.issue["files"].clear()


@damage("lost")
def what_was_told_is_gone_on_both_sides(world: World) -> None:
    world.entries.pop(0)
    world.issue["messages"].remove(1)


@damage("lost")
def an_issue_never_came_in(world: World) -> None:
    world.state["issues"]["8"] = copy.deepcopy(world.issue) | {"messages": [], "files": []}


@damage("lost")
def an_incident_was_never_offered(world: World) -> None:
    world.rows["incident"].append(world.incident | {"id": 2})
    world.creating = frozenset("a")


@damage("lost")
def an_incident_was_offered_and_never_created(world: World) -> None:
    an_incident_was_never_offered(world)
    world.rows["link"].append(world.link | {"id": 4, "incident_id": 2, "remote_id": None, "state": "offered"})


@damage("lost")
def a_title_stands_that_somebody_saw_and_changed(world: World) -> None:
    world.edited("incident a0", "incident a1", 0)
    world.edited("incident a1", "incident a9", DOUBT + 1)


@damage("twice")
def a_comment_came_in_twice(world: World) -> None:
    world.entries.append(world.entry(9, "comment", "a2", 1))


@damage("twice")
def a_comment_went_out_twice(world: World) -> None:
    world.state["messages"]["9"] = world.state["messages"]["2"]
    world.issue["messages"].append(9)


@damage("twice")
def one_issue_has_two_links(world: World) -> None:
    world.rows["link"].append(world.link | {"id": 4, "incident_id": None})


@damage("twice")
def one_incident_was_created_twice(world: World) -> None:
    world.state["messages"] |= {n: {"text": "a2", "key": "lockstep-x-i3", "author": "admin"} for n in ("8", "9")}
    world.issue["messages"] += [8, 9]


@damage("different")
def a_field_differs(world: World) -> None:
    world.incident["severity"] = "low"


@damage("different")
def labels_differ(world: World) -> None:
    world.issue["keyword"] = ["blue"]


@damage("different")
def an_intent_is_left(world: World) -> None:
    world.rows["intent"].append({"id": 1})


@damage("different")
def a_link_is_to_be_decided_still(world: World) -> None:
    world.link["dirty"] = 1


@damage("different")
def a_link_is_gone_though_its_issue_is_there(world: World) -> None:
    world.link["state"] = "gone"


@pytest.mark.parametrize(("kind", "done"), [pytest.param(*one, id=one[1].__name__) for one in DAMAGES])
def test_damage_is_seen_and_called_by_its_name(kind: str, done: Damage) -> None:
    world = World()
    done(world)
    assert kinds(world.compare()) == {kind}


LISTED: dict[str, Damage] = {
    "a conflict": lambda w: w.rows["conflict"].append({"link_id": 3, "field": "severity"}),
    "a parked write": lambda w: w.rows["parked"].append(
        {"state": "open", "system_id": 1, "link_id": 3, "remote_id": "7", "kind": "update", "entry_id": None,
         "payload": {"side": "system", "patch": {"priority": "wish"}}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_a_difference_that_waits_for_a_person_is_listed_and_no_failure(name: str) -> None:
    world = World()
    world.incident["severity"] = "low"
    LISTED[name](world)
    assert kinds(world.compare()) == {"listed"}
    world.incident["labels"] = []
    assert kinds(world.compare()) == {"listed", "different"}


def test_a_parked_comment_excuses_itself_and_no_other() -> None:
    world = World()
    world.entries[:2] = []
    row = {"state": "open", "system_id": 1, "link_id": None, "remote_id": "7", "kind": "entry", "entry_id": None}
    world.rows["parked"].append(row | {"payload": {"entry": "msg1", "name": "", "text": "a2"}})
    found = world.compare()
    assert len(found.listed) == 1
    assert [words for words in found.lost if "incident 1" in words] == [
        "incident 1 and a7: comment 's1' is not in the store"
    ]


def test_two_edits_within_a_tick_of_each_other_are_no_loss() -> None:
    world = World()
    world.edited("incident a0", "incident a1", 0)
    world.edited("incident a1", "incident a9", DOUBT - 1)
    assert kinds(world.compare()) == set()


@pytest.mark.slow
async def test_what_is_killed_again_and_again_agrees_in_the_end(tmp_path: Path) -> None:
    async with universe(f"sqlite:///{tmp_path}/lockstep.db", tmp_path / "world") as world:
        ended = await play("SQLite", world, Quota.half(6), "test", warm(), 90)
    assert not ended.tally.errors
    assert ended.tally.random >= 3
    assert ended.tally.in_flight >= 3
    assert (ended.found.lost, ended.found.twice, ended.found.different) == ([], [], [])
    assert ended.found.compared["entries"] > 10
    assert not list((tmp_path / "world").glob("*.error"))
