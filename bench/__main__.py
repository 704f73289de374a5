"""`python -m bench [PREFIX]`: measure the figures whose names begin so, print them, and write bench/results.jsonl."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import cache, fetch, memory, mirror, reconcile, rt, tokens
from bench.harness import ROOT, Figure, NotMeasured, Workshop
from blocks.errors import LockstepError

RESULTS = ROOT / "bench" / "results.jsonl"

FIGURES: dict[Callable[[Workshop], Awaitable[list[Figure]]], tuple[str, ...]] = {
    fetch.engine_ratio: ("fetch.floor_seconds", "fetch.engine_seconds", "fetch.cpu_seconds", "fetch.engine_ratio"),
    fetch.flow_overhead: ("fetch.flow_seconds", "fetch.flow_overhead"),
    fetch.ratio_to_dlt: ("fetch.dlt_seconds", "fetch.ratio_to_dlt"),
    mirror.calls: ("mirror.calls", "mirror.calls_by_kind"),
    mirror.cost_vs_links: ("mirror.cycle_seconds", "mirror.cost_vs_links"),
    mirror.idle: ("mirror.idle",),
    mirror.parallel: ("mirror.apply_seconds", "mirror.parallel"),
    memory.backfill: ("memory.backfill",),
    reconcile.full: ("reconcile.cpu_seconds", "reconcile.100k"),
    cache.get: ("cache.get",),
    tokens.overhead: ("tokens.overhead",),
    tokens.redemptions: ("tokens.redemptions",),
    rt.cycles: ("rt.seconds", "rt.cycle"),
}
"""What measures, and the names that come of it."""


def line(figure: Figure) -> str:
    """A figure for people."""
    told = [f"{value:.4g} {unit}" for value, unit in zip(figure.values, figure.units, strict=True)]
    if figure.bounds:
        told = [f"{text} ({bound})" for text, bound in zip(told, figure.bounds, strict=True)]
    verdict = "" if figure.ok and not figure.bounds else "ok" if figure.ok else "NOT REACHED"
    note = f"  [{figure.note}]" if figure.note else ""
    return f"{figure.name:<22} {verdict:<12} {'; '.join(told)}{note}"


async def measure(prefix: str, results: Path) -> list[Figure]:
    """Measure what begins with `prefix`; each figure is printed and written as it is done."""
    done: list[Figure] = []
    with TemporaryDirectory(prefix="lockstep-bench-") as folder, results.open("w", encoding="utf-8") as file:
        workshop = Workshop(Path(folder))
        async with workshop.stack:
            for function, names in FIGURES.items():
                wanted = [name for name in names if name.startswith(prefix)]
                for figure in await _figures(workshop, function, prefix, wanted) if wanted else []:
                    print(line(figure), flush=True)
                    file.write(json.dumps(figure.row(), ensure_ascii=False) + "\n")
                    file.flush()
                    done.append(figure)
    return done


async def _figures(
    workshop: Workshop, function: Callable[[Workshop], Awaitable[list[Figure]]], prefix: str, wanted: Sequence[str]
) -> list[Figure]:
    """What was asked for, and the absolute figures behind it."""
    try:
        return [one for one in await function(workshop) if one.name.startswith(prefix) or not one.bounds]
    except (NotMeasured, LockstepError, OSError) as error:
        return [Figure(name, [], [], note=f"not measured: {error or type(error).__name__}") for name in wanted]


def main() -> None:
    """Exits 0 even when a bound is missed, as the table says so; 1 when a figure could not be measured."""
    prefix = sys.argv[1] if len(sys.argv) > 1 else ""
    known = [name for names in FIGURES.values() for name in names]
    if not any(name.startswith(prefix) for name in known):
        sys.exit(f"no figure's name begins with {prefix!r}; there are {', '.join(known)}")
    processors, load = os.cpu_count() or 1, os.getloadavg()[0]
    print(f"{processors} processors, load {load:.1f}")
    if load > processors / 2:
        print("This machine is busy: waiting counts on both sides of a ratio and hides what is measured. Run it alone.")
    done = asyncio.run(measure(prefix, RESULTS))
    missed = [figure.name for figure in done if not figure.ok]
    print(f"not reached: {', '.join(missed)}" if missed else "all bounds are reached")
    sys.exit(any(not figure.values for figure in done))


if __name__ == "__main__":
    main()
