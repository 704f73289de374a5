"""A reconcile that dies anywhere and is run again ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blocks.rules import CustomField, Rule, Rules
from blocks.store import Database
from blocks.store.tables import Intent
from tests.mirrors import Bench, Death, careless, copy_of
from tests.reconciling import behind, everything_wrong
from tests.test_mirror_crash import ours, state_of

CALLS = {"everything", "get", "entries", "update"}
COMMITS = {"page", "missing", "reconcile", "plan", "release", "intents", "answers", "plan done"}


async def wrong(bench: Bench) -> Any:
    """All that can be wrong, and a newly mapped field that nobody has decided yet."""
    world = await everything_wrong(bench)
    behind(world, "5", site="here")
    world.comment("5", "words")
    rules = Rules(labels=Rule("in"), gone="close", create=True, custom=[CustomField("site", "site")])
    bench.change(rules=rules)
    return world


async def test_killed_at_each_point_and_run_again_it_ends_as_if_nothing_had_happened(
    sqlite_template: Path, tmp_path: Path
) -> None:
    wanted, points = None, set[str]()
    for number in (None, *range(200)):
        bench = Bench(careless(Database(copy_of(sqlite_template, tmp_path, f"kill-{number}"))))
        world = await wrong(bench)
        death = Death(number)
        killed = await death.during(bench.reconcile())
        await bench.reconcile()
        await bench.settled()
        found = (state_of(world), await ours(bench), len(await bench.parked()))
        assert not await bench.rows(Intent)
        await bench.database.close()
        if wanted is None:
            wanted = found
        elif not killed:
            break
        else:
            points.add(death.reached[number or 0])
            assert found == wanted, f"killed at point {number}, {death.reached[number or 0]}"
    else:
        pytest.fail("the reconcile has no end")
    assert {f"{side} {name}" for name in CALLS for side in ("before", "after")} <= points
    assert {f"{side} commit {name}" for name in COMMITS for side in ("before", "after")} <= points


async def test_killed_by_a_dry_run_it_leaves_nothing_but_an_unfinished_plan(
    sqlite_template: Path, tmp_path: Path
) -> None:
    for number in range(200):
        bench = Bench(careless(Database(copy_of(sqlite_template, tmp_path, f"dry-{number}"))))
        world = await wrong(bench)
        await bench.cycle()
        before = state_of(world), await ours(bench)
        killed = await Death(number).during(bench.reconcile(dry=True))
        await bench.cycle()
        assert (state_of(world), await ours(bench)) == before
        await bench.database.close()
        if not killed:
            return
    pytest.fail("the reconcile has no end")
