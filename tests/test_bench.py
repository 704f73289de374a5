"""The bench tells what it measured in a fixed shape; what it measures is not tested here, but for a tiny run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from bench import __main__ as bench
from bench import fetch, mirror, reconcile
from bench.harness import Bound, Figure, NotMeasured, Workshop, in_turns, must_be
from blocks.errors import Unavailable

SHAPE = {"name", "value", "unit", "bound", "ok"}


def figure(*values: float, bounds: tuple[Bound, ...]) -> Figure:
    return Figure("a.figure", values, ["s"] * len(values), bounds)


@pytest.mark.parametrize(("how", "holds"), [("≤", (1.9, 2.0)), ("≥", (2.0, 2.1)), ("=", (2.0,))])
def test_a_bound_holds_on_its_side_and_at_its_limit(how: Literal["≤", "≥", "="], holds: tuple[float, ...]) -> None:
    assert tuple(value for value in (1.9, 2.0, 2.1) if Bound(how, 2.0).holds(value)) == holds


def test_a_figure_with_one_value_is_plain() -> None:
    row = figure(1.5, bounds=(Bound("≤", 2.0),)).row()
    assert row == {"name": "a.figure", "value": 1.5, "unit": "s", "bound": 2.0, "ok": True}


def test_a_figure_with_several_bounds_has_lists_of_equal_length_and_is_ok_when_all_hold() -> None:
    bounds = (Bound("≤", 2), Bound("=", 0))
    good, bad = figure(1, 0, bounds=bounds).row(), figure(1, 1, bounds=bounds).row()
    assert good == {"name": "a.figure", "value": [1, 0], "unit": ["s", "s"], "bound": [2, 0], "ok": True}
    assert not bad["ok"]
    assert figure(3, 0, bounds=bounds).row()["ok"] is False


def test_a_figure_without_bounds_is_only_told() -> None:
    assert figure(3.0, bounds=()).row() == {"name": "a.figure", "value": 3.0, "unit": "s", "bound": None, "ok": True}


def test_a_figure_that_could_not_be_measured_is_not_ok() -> None:
    row = Figure("a.figure", [], [], note="why").row()
    assert set(row) == SHAPE
    assert (row["value"], row["ok"]) == (None, False)


def test_a_missed_bound_is_shown_plainly_and_its_value_too() -> None:
    assert "NOT REACHED" in bench.line(figure(3.0, bounds=(Bound("≤", 2.0),)))
    assert "3 s (≤ 2)" in bench.line(figure(3.0, bounds=(Bound("≤", 2.0),)))
    assert "NOT REACHED" in bench.line(Figure("a.figure", [], [], note="why"))
    assert "NOT REACHED" not in bench.line(figure(1.0, bounds=(Bound("≤", 2.0),)))


def test_work_that_was_not_done_is_no_measurement() -> None:
    must_be("incidents", 2, 2)
    with pytest.raises(NotMeasured, match="incidents: 1, and not 2"):
        must_be("incidents", 1, 2)


async def test_sides_are_measured_in_turns_and_their_medians_count() -> None:
    order: list[str] = []
    times = {"a": iter([9.0, 1.0, 2.0]), "b": iter([5.0, 5.0, 7.0])}

    async def side(name: str) -> float:
        order.append(name)
        return next(times[name])

    assert await in_turns(lambda: side("a"), lambda: side("b"), runs=3) == [2.0, 5.0]
    assert order == ["a", "b"] * 3


async def test_results_hold_a_line_for_each_figure_that_was_asked_for_and_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fast(_: Workshop) -> list[Figure]:
        return [
            Figure("x.seconds", [1.0], ["s"]),
            Figure("x.fast", [1.0], ["s"], [Bound("≤", 2)]),
            Figure("x.small", [1.0], ["MB"], [Bound("≤", 2)]),
        ]

    async def away(_: Workshop) -> list[Figure]:
        raise Unavailable("does not answer", system="tracker")

    figures = {fast: ("x.seconds", "x.fast", "x.small"), away: ("y.away",)}
    monkeypatch.setattr(bench, "FIGURES", figures)
    results = tmp_path / "results.jsonl"

    async def names(prefix: str) -> list[str]:
        await bench.measure(prefix, results)
        return [json.loads(line)["name"] for line in results.read_text(encoding="utf-8").splitlines()]

    assert await names("x.fast") == ["x.seconds", "x.fast"]
    assert await names("y") == ["y.away"]
    assert await names("") == ["x.seconds", "x.fast", "x.small", "y.away"]
    said = capsys.readouterr().out
    assert "not measured" in said
    assert "does not answer" in said


def test_each_figure_of_the_table_is_measured() -> None:
    names = {name for names in bench.FIGURES.values() for name in names}
    assert names >= {
        "fetch.engine_ratio", "fetch.flow_overhead", "fetch.ratio_to_dlt", "mirror.calls", "mirror.cost_vs_links",
        "mirror.idle", "mirror.parallel", "memory.backfill", "reconcile.100k",
    }  # fmt: skip


async def test_a_tiny_run_measures_what_it_says(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    async with workshop.stack:
        ratio = await fetch.engine_ratio(workshop, incidents=30)
        calls = await mirror.calls(workshop, incidents=12, each=3)
        full = await reconcile.full(workshop, links=30, drifted=2)
    for found, function in ((ratio, fetch.engine_ratio), (calls, mirror.calls), (full, reconcile.full)):
        assert tuple(one.name for one in found) == bench.FIGURES[function]
    floor, engine, _, both = ratio
    assert both.values == [engine.values[0] / floor.values[0]]
    assert both.values[0] > 0
    assert all(one.ok for one in calls)
    assert full[1].values[0] > 0
    assert all(set(one.row()) == SHAPE for one in [*ratio, *calls, *full])
