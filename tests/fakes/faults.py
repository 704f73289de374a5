"""What a fake can be told to do wrong. The same knobs for every vendor, also settable as JSON."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Kind = Literal["refuse", "drop", "lose", "hang", "fail", "fail after", "busy", "limit"]
"""What becomes of one request.

refuse: no connection. drop: cut before it is applied. lose: applied, then cut. hang: applied, never answered. fail,
fail after: 500 before or after it is applied. busy: 503. limit: 429 with Retry-After.
"""
APPLIED = frozenset({"lose", "hang", "fail after"})
FIRST = frozenset({"refuse", "drop", "fail", "busy", "limit"})


@dataclass(slots=True)
class Planned:
    """One fault that waits for its request: of this method and route, where given."""

    kind: Kind
    method: str = ""
    route: str = ""
    skip: int = 0


@dataclass(slots=True)
class Faults:
    """Knobs. Times in seconds.

    `rates` gives a share of requests to a kind, by dice from `seed`; `writes_only` spares the reading ones.
    `limit_calls` and `limit_seconds` make the vendor's rate limit. `lag`: searches show what was so many seconds ago;
    `lag_every`: only records whose number is a multiple of this lag, so that newer ones are seen before older ones.
    `tick`: resolution of the time of update. `refuse_fields`: field to status (400 or 409). `compute`: field to what
    happens to its text when it is written: upper, shorten or round. `no_lock`, `no_keys`: If-Match is not looked at,
    our keys are dropped. `zone`: our login's time zone, east of UTC. `forbidden`: what it may not do, as "POST msg".
    """

    planned: deque[Planned] = field(default_factory=deque)
    rates: dict[str, float] = field(default_factory=dict)
    writes_only: bool = False
    seed: int = 0
    limit_calls: int = 0
    limit_seconds: float = 60.0
    retry_after: float = 1.0
    latency: float = 0.0
    lag: float = 0.0
    lag_every: int = 1
    tick: float = 0.0
    refuse_fields: dict[str, int] = field(default_factory=dict)
    compute: dict[str, str] = field(default_factory=dict)
    zone: float = 0.0
    forbidden: list[str] = field(default_factory=list)
    no_lock: bool = False
    no_keys: bool = False
    dice: random.Random = field(default_factory=lambda: random.Random(0), repr=False)  # noqa: S311  dice, no secret

    def plan(self, kind: Kind, method: str = "", route: str = "", skip: int = 0) -> None:
        """The next request that fits, after `skip` others that do, meets this."""
        self.planned.append(Planned(kind, method, route, skip))

    def pick(self, method: str, route: str) -> str:
        """What becomes of this request: a kind, or empty."""
        for one in self.planned:
            if (one.method or method) == method and (one.route or route) == route:
                if one.skip:
                    one.skip -= 1
                    continue
                self.planned.remove(one)
                return one.kind
        if self.rates and not (self.writes_only and method == "GET"):
            thrown = self.dice.random()
            for kind, share in self.rates.items():
                thrown -= share
                if thrown < 0:
                    return kind
        return ""

    def take(self, knobs: dict[str, Any]) -> None:
        """Set knobs from JSON; `planned` is a list of objects. KeyError: no such knob."""
        known = {one.name for one in fields(self)} - {"dice"}
        for name, value in knobs.items():
            if name not in known:
                raise KeyError(name)
            setattr(self, name, deque(Planned(**one) for one in value) if name == "planned" else value)
        if "seed" in knobs:
            self.dice.seed(self.seed)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.take(
            {one.name: getattr(Faults(), one.name) for one in fields(self) if one.name not in ("dice", "planned")}
        )
        self.planned.clear()

    def computed(self, prop: str, value: Any) -> Any:
        """What is stored when this is written."""
        how = self.compute.get(prop)
        if how is None or not isinstance(value, str):
            return value
        return {"upper": value.upper(), "shorten": value[:10], "round": value.rstrip("0123456789") + "0"}[how]
