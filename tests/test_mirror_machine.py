"""Dice: people on every side, feeds that lag, clocks that tick coarsely, answers that are lost, processes that die.

Whatever they do, once they stop everything is where it belongs, or the difference is listed: see `tests.oracle`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy.engine import URL

from blocks.errors import Unavailable
from blocks.fieldmap import _Unmapped
from blocks.model import FIELDS, SEVERITIES, STATUSES, Value
from blocks.rules import Condition, Intake, Rule, Rules, Travel
from blocks.store import Database
from blocks.store.tables import Conflict, Incident, Link
from tasks.mirroring.people import Side
from tests import stores
from tests.fakes.toy import MAP, World
from tests.mirrors import Bench, Death, careless, copy_of
from tests.oracle import UNIQUE, Ledger, canonical, judge, mended, nothing_to_mend, quiet, snapshot

EXAMPLES = int(os.environ.get("LOCKSTEP_EXAMPLES", "150"))
STEPS = 20
ROUNDS = 20

Directions = st.sampled_from([*["both"] * 6, "in", "out", "off"])
Policies = st.sampled_from(["newest", "store", "system", "ask"])
ROWS = {row.ours: row for row in MAP.rows}


@dataclass(frozen=True, slots=True)
class Action:
    """A thing that a person does. `side` 0 is the store, the rest are worlds; numbers are modulo what is there."""

    kind: Literal["edit", "comment", "file", "add", "close", "reopen", "retire", "return", "odd", "clash"]
    side: int
    target: int
    name: str
    number: int


ACTIONS = st.builds(
    Action,
    st.sampled_from(
        ["edit"] * 6 + ["clash"] * 4 + ["comment"] * 3 + ["close", "reopen", "file", "add", "odd", "retire", "return"]
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([*ROWS]),
    st.integers(0, 9),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong in a cycle: it dies at a point, calls fail before or after they are applied, people act."""

    kill: int | None = None
    faults: dict[int, str] = field(default_factory=dict)
    meanwhile: dict[int, Action] = field(default_factory=dict)


NONE = Trouble()
TROUBLES = st.one_of(
    st.just(NONE),
    st.builds(Trouble, kill=st.integers(0, 30)),
    st.builds(
        Trouble,
        kill=st.none() | st.integers(0, 30),
        faults=st.dictionaries(st.integers(1, 6), st.sampled_from(["before", "after"]), max_size=2),
    ),
    st.builds(
        Trouble,
        kill=st.none() | st.integers(0, 30),
        meanwhile=st.dictionaries(st.integers(1, 10), ACTIONS, min_size=1, max_size=3),
    ),
)


def _loud(key: str, value: Value) -> Value:
    return value.upper() if key in {"name", "who"} and isinstance(value, str) else value


def _soft(key: str, value: Value) -> Value:
    return value.lower() if key == "name" and isinstance(value, str) else value


Worlds = st.sampled_from([0.0, 10.0, 90.0]).flatmap(
    lambda settle: st.fixed_dictionaries(
        {"settle": st.just(settle)},
        optional={
            "lock": st.sampled_from(["compared", "none"]),
            "keys": st.just(False),
            "entry_keys": st.just(False),
            "counter": st.just(True),
            "tick": st.just(60.0),
            "lag": st.sampled_from([settle / 2, settle]),
            "compute": st.sampled_from([_loud, _soft]),
            "refuse": st.sampled_from([{"who"}, {"notes", "level"}]),
        },
    )
)
"""A world's weaknesses."""

Travels = st.builds(Travel, Directions, st.sampled_from([[], ["out"]]))
Forms = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(["in", "out"]),
        "create": st.just(True),
        "gone": st.sampled_from(["close", "unlink"]),
        "comments": Travels,
        "files": Travels,
        **{name: st.builds(Rule, Directions, Policies) for name in FIELDS},
    },
)
"""What a person sets in a mirror's form."""

Filters = st.sampled_from(["", "", "medium"])


class Machine(RuleBasedStateMachine):
    """One store, one or two mirrors, and everybody at once."""

    make: ClassVar[Callable[[], Iterator[str]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = type(self).make()
        self.bench = Bench(careless(Database(next(self.url))), meanwhile=self._meanwhile)
        self.ledger = Ledger()
        self.counter = 0
        self.calls = self.remote = 0
        self.sent: set[str] = set()
        self.trouble = NONE
        self.death = Death(None)

    @initialize(
        setups=st.lists(st.tuples(Worlds, Forms, Filters), min_size=1, max_size=2),
    )
    def begin(self, setups: list[tuple[dict[str, Any], dict[str, Any], str]]) -> None:
        for name, (weaknesses, form, least) in zip("ab", setups, strict=False):
            intake = Intake(filter=[Condition("severity", "at least", least)] if least else [])
            world = self.bench.mirror(name, world=World(**weaknesses), rules=Rules(**form), intake=intake)
            world.between, world.fault = self._count, self._fault
            world.compute = self._remembering(world.compute)
            self.ledger.computing |= "compute" in weaknesses
            world.add({"name": self._unique("title"), "level": "p2"})
        for name in self.bench.mirrors:
            self.runner.run(self.bench.cycle(name))

    @rule(
        actions=st.lists(ACTIONS, min_size=2, max_size=6),
        seconds=st.sampled_from([0, 0.5, 1, 7, 61]),
        side=st.integers(0, 1),
        trouble=TROUBLES,
    )
    def go(self, actions: list[Action], seconds: float, side: int, trouble: Trouble) -> None:
        """People act, time passes, and one mirror runs a cycle, with trouble."""
        for action in actions:
            self.bench.clock.go(seconds / 4)
            self.runner.run(self._act(action))
        self.bench.clock.go(seconds)
        self.cycle(side, trouble)

    @rule(side=st.integers(0, 1), trouble=TROUBLES)
    def cycle(self, side: int, trouble: Trouble) -> None:
        """One cycle, with trouble."""
        name = list(self.bench.mirrors)[side % len(self.bench.mirrors)]
        self.trouble, self.calls, self.remote = trouble, 0, 0
        self.runner.run(self._run(self.bench.cycle(name), trouble))
        self.trouble = NONE

    @rule(side=st.integers(0, 1), dry=st.booleans(), trouble=TROUBLES)
    def reconcile(self, side: int, dry: bool, trouble: Trouble) -> None:  # noqa: FBT001  one of two
        """Everything is read on both sides, with trouble."""
        name = list(self.bench.mirrors)[side % len(self.bench.mirrors)]
        self.trouble, self.calls, self.remote = trouble, 0, 0
        self.runner.run(self._run(self.bench.reconcile(name, dry=dry), trouble))
        self.trouble = NONE

    @rule(number=st.integers(0, 9), side=st.sampled_from(["store", "system"]))
    def pick(self, number: int, side: Side) -> None:
        """Somebody resolves a conflict."""
        self.runner.run(self._pick(number, side))

    def teardown(self) -> None:
        """People stop, faults stop, and what must hold holds."""
        try:
            if self.bench.mirrors:
                self.runner.run(self._end())
        finally:
            self.runner.run(self.bench.database.close())
            self.runner.close()
            next(self.url, None)

    async def _end(self) -> None:
        await self._rest()
        if await mended(self.bench):
            await self._rest()
        await nothing_to_mend(self.bench)

    async def _rest(self) -> None:
        for number in range(ROUNDS):
            before = await snapshot(self.bench)
            await self.bench.settled(rounds=1)
            if await snapshot(self.bench) == before and number > 1:
                break
        else:
            pytest.fail("it does not come to rest")
        for name, one in self.bench.mirrors.items():
            await self.bench.cycle(name)
            assert quiet(one.world.calls), f"an idle cycle of {name} calls {one.world.calls}"
        assert await snapshot(self.bench) == before, "an idle cycle changes the store"
        await judge(self.bench, self.ledger)

    async def _run(self, work: Awaitable[Any], trouble: Trouble) -> None:
        self.death = Death(trouble.kill)
        self.sent = set()
        try:
            if await self.death.during(work):
                note(f"killed at {self.death.reached[-1]}")
                self.ledger.doubtful |= self.sent
        except Unavailable as error:
            assert trouble.faults, f"nothing was wrong, and yet: {error}"
            self.ledger.doubtful |= self.sent

    async def _meanwhile(self, _call: str) -> None:
        self.calls += 1
        action = self.trouble.meanwhile.get(self.calls)
        if action is not None:
            await self.death.spare(self._act(action))

    def _count(self, _call: str) -> None:
        self.remote += 1

    def _fault(self, _call: str) -> str | None:
        return self.trouble.faults.get(self.remote)

    def _remembering(self, compute: Callable[[str, Value], Value]) -> Callable[[str, Value], Value]:
        def computed(key: str, value: Value) -> Value:
            self.sent.add(canonical(value))
            return compute(key, value)

        return computed

    async def _pick(self, number: int, side: Side) -> None:
        rows = await self.bench.rows(Conflict)
        if rows:
            row = rows[number % len(rows)]
            mirror = list(self.bench.mirrors)[row["system_id"] - 1]
            await self.bench.pick(row["incident_id"], row["field"], side, mirror)

    def _unique(self, name: str) -> str:
        self.counter += 1
        return f"{name}-{self.counter}"

    async def _clash(self, action: Action) -> None:
        """Two people edit the same field of the same incident, each on their side."""
        for link in await self.bench.rows(Link):
            world = list(self.bench.mirrors.values())[link["system_id"] - 1].world
            record = world.records.get(link["remote_id"] or "")
            if link["id"] % 3 == action.target and link["incident_id"] and record and not record.retired:
                self._edit_there(world, record.id, action.name, ROWS[action.name].their_value(self._value(action)))
                other = replace(action, number=action.number + action.side)
                await self.bench.edit(link["incident_id"], **{action.name: self._value(other)})

    async def _act(self, action: Action) -> None:
        if action.kind == "clash":
            await self._clash(action)
            return
        side = action.side % (len(self.bench.mirrors) + 1)
        if side:
            self._act_there(list(self.bench.mirrors.values())[side - 1].world, action)
        else:
            await self._act_here(action)

    async def _act_here(self, action: Action) -> None:
        ids = [row["id"] for row in await self.bench.rows(Incident)]
        if action.kind == "add" or not ids:
            await self.bench.create(title=self._unique("title"), severity=SEVERITIES[action.number % 5])
            return
        target = ids[action.target % len(ids)]
        tags = ["out"] if action.number % 2 else []
        match action.kind:
            case "edit" | "odd":
                await self.bench.edit(target, **{action.name: self._value(action)})
            case "close":
                await self.bench.edit(
                    target, status="closed", close_reason="Fixed", close_notes=self._unique("close_notes")
                )
            case "reopen":
                await self.bench.edit(target, status="active", close_reason=None, close_notes=None)
            case "comment":
                await self.bench.comment(target, self._words(action), tags=tags)
            case "file":
                await self.bench.attach(target, self._unique("file"), os.urandom(8), tags=tags)

    def _words(self, action: Action) -> str:
        return "the same words" if action.number > 4 else self._unique("words")

    def _value(self, action: Action) -> Value:
        values: dict[str, Value] = {
            "status": STATUSES[action.number % 5],
            "severity": SEVERITIES[action.number % 5],
            "labels": sorted({"red", "blue", "green"})[: action.number % 4],
            "close_reason": ["Fixed", "Duplicate", None][action.number % 3],
        }
        return values[action.name] if action.name in values else self._unique(action.name)

    def _act_there(self, world: World, action: Action) -> None:
        if action.kind == "add" or not world.records:
            world.add({"name": self._unique("title"), "level": f"p{1 + action.number % 5}"})
            return
        record = list(world.records.values())[action.target % len(world.records)]
        if action.kind == "return":
            if record.retired:
                record.retired = False
                world.edit(record.id)
            return
        if record.retired:
            return
        match action.kind:
            case "edit":
                self._edit_there(world, record.id, action.name, ROWS[action.name].their_value(self._value(action)))
            case "odd":
                odds: list[dict[str, Value]] = [{"level": "p6"}, {"level": "p9"}, {"name": None}]
                world.edit(record.id, **odds[action.number % 3])
            case "close":
                world.edit(record.id, state="done", why="Fixed")
                self._edit_there(world, record.id, "close_notes", self._unique("close_notes"))
            case "reopen":
                world.edit(record.id, state="doing", why=None)
            case "comment":
                world.comment(record.id, self._words(action))
            case "file":
                data = os.urandom(8)
                world.comment(record.id, "", kind="file", name=self._unique("file"), data=data, size=len(data))
            case "retire":
                record.retired = True

    def _edit_there(self, world: World, number: str, name: str, value: Value | _Unmapped) -> None:
        assert not isinstance(value, _Unmapped)
        key = ROWS[name].theirs
        if name in UNIQUE:
            self.ledger.edits.append((name, canonical(world.fields(number)[key]), canonical(value)))
        world.edit(number, **{key: value})


def _profile(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )


def test_whatever_happens_both_sides_agree_in_the_end(sqlite_template: Path, tmp_path: Path) -> None:
    def fresh() -> Iterator[str]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        yield copy_of(sqlite_template, folder, "lockstep")
        shutil.rmtree(folder)

    _play(fresh, EXAMPLES)


@pytest.mark.postgres
def test_whatever_happens_they_agree_on_postgresql_too(postgres: URL, postgres_template: str) -> None:
    _play(lambda: stores._database(postgres, postgres_template), max(1, EXAMPLES // 7))


def _play(fresh: Callable[[], Iterator[str]], examples: int) -> None:
    machine = type("OnFreshStores", (Machine,), {"make": staticmethod(fresh)})
    run_state_machine_as_test(machine, settings=_profile(examples))
