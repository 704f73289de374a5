"""Faults of a tracker, turned on and off at random."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from chaos.universe import LAG, TICK

CALM: Final[dict[str, Any]] = {
    "rates": {},
    "latency": 0.0,
    "lag": 0.0,
    "tick": 0.0,
    "limit_calls": 0,
    "limit_seconds": 1.0,
    "refuse_fields": {},
    "retry_after": 1.0,
}
SHARES: Final = {
    "refuse": 0.05,
    "drop": 0.05,
    "lose": 0.1,
    "hang": 0.02,
    "fail": 0.05,
    "fail after": 0.08,
    "busy": 0.03,
    "limit": 0.02,
}
"""How often a kind of fault meets a request, while it is on."""


def weather(dice: Random) -> dict[str, Any]:
    """The next knobs: calm for a third of the time."""
    if dice.random() < 0.35:
        return CALM | {"seed": dice.randrange(10**9)}
    kinds = dice.sample([*SHARES], dice.randint(0, 4))
    return CALM | {
        "rates": {kind: SHARES[kind] for kind in kinds},
        "latency": dice.choice((0.0, 0.0, 0.01, 0.05)),
        "lag": dice.choice((0.0, LAG / 2, LAG)),
        "tick": dice.choice((0.0, 0.0, TICK)),
        "limit_calls": dice.choice((0, 0, 0, 60)),
        "refuse_fields": dice.choice(({}, {}, {}, {}, {"priority": 400}, {"assignedto": 409})),
        "seed": dice.randrange(10**9),
    }


def gentle_weather(dice: Random) -> dict[str, Any]:
    """For a connector of everyday patience: no request hangs, and few fail."""
    harsh = weather(dice)
    kept = {kind: share / 2 for kind, share in harsh["rates"].items() if kind not in {"hang", "limit", "busy"}}
    return harsh | {"rates": kept, "limit_calls": 0, "latency": dice.choice((0.02, 0.1)), "tick": min(harsh["tick"], 1)}


async def changing(tell: Callable[..., Awaitable[Any]], dice: Random, *, gentle: bool = False) -> None:
    """Other weather every moment, for ever."""
    while True:
        await tell("faults", **(gentle_weather if gentle else weather)(dice))
        await asyncio.sleep(dice.uniform(0.3, 2.5))
