"""`python -m chaos --only mirror --kills 200`: kill -9, again and again; the last line is JSON.

`--only tokens` does it to what refreshes tokens (chaos/tokens.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random
from typing import Final

from chaos import tokens, tokens_report
from chaos.compare import Found
from chaos.director import Quota, Tally, warm
from chaos.house import play_house
from chaos.points import TABLE
from chaos.stage import Ended, play
from chaos.universe import postgres, universe

WHOLE: Final = 200
"""With so many kills each point of the table is met."""

MANY, FEW = 100, 10
SHOWN: Final = 15


def main() -> None:
    """Run it; exit code 1 where anything is lost, twice or different, or too little was killed."""
    parser = argparse.ArgumentParser(description="Kill the engine again and again, and compare what is left.")
    parser.add_argument("--only", default=os.environ.get("ONLY") or "mirror", choices=["mirror", "tokens"])
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or 0))
    parser.add_argument("--seed", default=os.environ.get("SEED") or str(Random().randrange(10**6)))
    chosen = parser.parse_args()
    chosen.kills = chosen.kills or (tokens_report.WHOLE if chosen.only == "tokens" else WHOLE)
    # However it ends, what it started must end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    print(f"seed {chosen.seed} (SEED={chosen.seed} plays the same dice again)", flush=True)
    if chosen.only == "tokens":
        asked = tokens_report.Shares.of(chosen.kills)
        ok = tokens_report.report(*asyncio.run(tokens.run(asked, chosen.seed)), asked)
    else:
        ok = report(asyncio.run(run(chosen.kills, chosen.seed)), chosen.kills, time.monotonic() - started)
    sys.exit(not ok)


@dataclass(frozen=True, slots=True)
class Shares:
    """How many kills each universe has."""

    sqlite: int
    postgres: int
    house: int

    @classmethod
    def of(cls, kills: int) -> Shares:
        """Real flow runs take seconds each to start: ten of them, two in a short run."""
        house = 10 if kills >= MANY else 2 if kills >= FEW else 0
        postgres = kills // 5 if kills >= 2 * FEW else 0
        return cls(kills - house - postgres, postgres, house)


async def run(kills: int, seed: str) -> list[Ended]:
    """Play all universes; the house, which mostly waits, beside the others."""
    context, shares = warm(), Shares.of(kills)
    with tempfile.TemporaryDirectory(prefix="lockstep-chaos-") as folder:
        house = asyncio.create_task(_house(Path(folder, "house"), shares.house, seed, context))
        try:
            # A real flow run is killed when it is killed, so that its share is owed here, too.
            quota = Quota.half(shares.sqlite + shares.house, table=kills >= WHOLE)
            ended = [
                await _engine("SQLite", f"sqlite:///{folder}/lockstep.db", Path(folder, "a"), quota, seed, context)
            ]
            if shares.postgres:
                ended += await _postgres(Path(folder, "b"), Quota.half(shares.postgres), seed, context)
            return ended + await house
        finally:
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)


async def _house(folder: Path, kills: int, seed: str, context: ForkServerContext) -> list[Ended]:
    return [await play_house(folder, seed, kills, context)] if kills else []


async def _engine(name: str, url: str, folder: Path, quota: Quota, seed: str, context: ForkServerContext) -> Ended:
    print(f"{name}: the engine", flush=True)
    async with universe(url, folder) as world:
        return await play(name, world, quota, seed, context, 60 + 4 * (quota.random + quota.in_flight))


async def _postgres(folder: Path, quota: Quota, seed: str, context: ForkServerContext) -> list[Ended]:
    async with postgres() as url:
        if url is not None:
            return [await _engine("PostgreSQL", url, folder, quota, f"{seed} postgres", context)]
    print("no PostgreSQL answers: set LOCKSTEP_TEST_POSTGRES to play on it, too", flush=True)
    if os.environ.get("LOCKSTEP_REQUIRE_PEERS") != "1":
        return [await _engine("SQLite again", f"sqlite:///{folder}.db", folder, quota, f"{seed} again", context)]
    return []


def report(ended: Sequence[Ended], kills: int, seconds: float) -> bool:
    """Print the table, what is wrong, and the line of JSON; answers whether all is well."""
    found, tally, faults = Found(), Tally(), Counter[str]()
    for one in ended:
        found.add(one.found)
        tally.add(one.tally, one.name)
        faults += one.faults
    _table("killed", tally.by)
    _table("compared", found.compared | {"differences that wait for a person": len(found.listed)})
    _table("faults met", faults)
    print(f"{seconds:.0f} s")
    for name, wrong in (("lost", found.lost), ("twice", found.twice), ("different", found.different)):
        print("".join(f"{name}: {words}\n" for words in wrong[:SHOWN]), end="")
    print("".join(f"a process ended by itself:\n{error}\n" for error in tally.errors[:3]), end="")
    missing = sorted(TABLE - tally.hit) if kills >= WHOLE else []
    print("".join(f"nothing was killed {point}\n" for point in missing), end="")
    counts = {"kills": tally.kills, "in_flight": tally.in_flight, "crash_points": len(tally.hit & TABLE)}
    wrong_counts = {"lost": len(found.lost), "twice": len(found.twice), "different": len(found.different)}
    print(json.dumps(counts | {"faults": faults.total()} | wrong_counts), flush=True)
    enough = tally.kills >= kills and min(tally.in_flight, tally.random) >= kills // 2 and not missing
    return enough and not tally.errors and not any(wrong_counts.values())


def _table(title: str, rows: Mapping[str, int]) -> None:
    print(f"\n{title:<44} count")
    for what, n in sorted(rows.items()):
        print(f"{what:<44} {n:>5}")


if __name__ == "__main__":
    main()
