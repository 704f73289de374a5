"""`make bench`: measures, prints a table for people, and writes one JSON object a line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

# No figure here needs a Prefect server, and none must start one.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"

from bench import fetch, mirror
from bench.harness import ROOT, Figure, Workshop

GROUPS: dict[str, Callable[[Workshop], Awaitable[Sequence[Figure]]]] = {
    "fetch.engine_ratio": fetch.engine_ratio,
    "mirror.parallel": mirror.parallel,
}
"""The figure that a group is for → what measures it, and what belongs to it."""


async def measure(prefix: str) -> list[Figure]:
    """The figures of the groups whose names begin so."""
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="lockstep-bench-") as folder:
        workshop = Workshop(Path(folder))
        for name, group in GROUPS.items():
            if name.startswith(prefix):
                for figure in await group(workshop):
                    figures.append(figure)
                    print(line(figure), flush=True)
    return figures


def line(figure: Figure) -> str:
    """One figure for people; a bound that is not reached says so."""
    row = figure.row()
    verdict = "" if row["bound"] is None else "ok" if row["ok"] else "NOT REACHED"
    value = " / ".join(f"{one:.3f}" for one in figure.values)
    return f"{row['name']:<28} {value:>12} {row['unit']!s:<12} bound {row['bound']!s:<8} {verdict}"


def main() -> None:
    """Measure, print, write."""
    figures = asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else ""))
    lines = [orjson.dumps(figure.row()).decode() for figure in figures]
    (ROOT / "bench" / "results.jsonl").write_text("".join(f"{one}\n" for one in lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
