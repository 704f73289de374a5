"""What a run of `make chaos ONLY=tokens` is asked to do, what it did, and what is wrong; the last line is JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

STEPS: Final = tuple(
    f"{when} {what}"
    for what in (
        "load token", "publish token", "redeem", "commit grant note", "commit grant pair", "commit grant published",
    )
    for when in ("before", "after")
)  # fmt: skip
"""Every remote call and every commit of a refresh."""

WHOLE: Final = 100
"""Kills of a whole run."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of each is asked. `steps`: where Prefect goes away."""

    kills: int
    cancels: int
    steps: tuple[str, ...]
    races: int

    @classmethod
    def of(cls, kills: int) -> Shares:
        """A short run has fewer of everything, spread as evenly; as Prefect away costs seconds, even fewer steps."""
        every = max(1, 2 * len(STEPS) // kills)
        return cls(kills, kills, STEPS[(every - 1) // 2 :: every], max(4, min(10, kills // 2), kills // 5))


@dataclass(slots=True)
class Result:
    """What was done, and what is wrong."""

    done: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    awaits: int = 0
    cancelled_at: set[int] = field(default_factory=set)
    lost_answers: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def missing(self, asked: Shares) -> list[str]:
        """What was not done as often as it was asked. A cancellation may come when all is over: of them, most."""
        wanted = {"kills": asked.kills, "prefect stops": len(asked.steps), "races": asked.races}
        if not self.awaits or not set(range(self.awaits)) <= self.cancelled_at:
            wanted["cancels"] = asked.cancels * 9 // 10
        return [f"{self.done[what]} {what} of {n}" for what, n in wanted.items() if self.done[what] < n]


def report(result: Result, nameless: list[str], dead: int, asked: Shares) -> bool:
    """Print what was met, what is wrong, and the line of JSON; answers whether all is well."""
    for what, n in sorted(result.met.items()):
        print(f"killed {what:<40} {n:>5}")
    if dead > result.lost_answers:
        result.lost.append(f"{dead} grants died of a token that came twice, {result.lost_answers} were told of")
    for name, wrong in (("lost", result.lost), ("twice", nameless), ("different", result.different)):
        print("".join(f"{name}: {words}\n" for words in wrong[:15]), end="")
    print("".join(f"a process ended by itself:\n{error}\n" for error in result.errors[:3]), end="")
    missing = result.missing(asked)
    print("".join(f"too little: {words}\n" for words in missing), end="")
    counts = {name.replace(" ", "_"): result.done[name] for name in ("kills", "cancels", "prefect stops", "races")}
    wrongs = {"lost": len(result.lost), "twice": len(nameless), "different": len(result.different)}
    print(json.dumps(counts | {"lost_answers": result.lost_answers} | wrongs), flush=True)
    return not missing and not result.errors and not any(wrongs.values())
