"""The limit on plans beyond which a person must agree."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.rules import Limits

KINDS = {
    "create": "creates",
    "close": "closes",
    "update": "updates",
    "entry": "updates",
    "unlink": "unlinks",
    "drift": "drifts",
}
"""Kind of a plan's line → the limit it counts against. What only changes the store, but closes nothing, is free."""


def trips(limits: Limits, planned: Mapping[str, int], done: Mapping[str, int]) -> list[str]:
    """Why this plan stops, in words with the numbers and the way out; empty: it may go on.

    `planned` and `done` count lines by kind: this plan's, and those of the last 24 hours. What was done before counts
    only together with something planned.
    """
    reasons = []
    for limit in dict.fromkeys(KINDS.values()):
        now = sum(n for kind, n in planned.items() if KINDS.get(kind) == limit)
        before = sum(n for kind, n in done.items() if KINDS.get(kind) == limit)
        allowed: int = getattr(limits, limit)
        if now and now + before > allowed:
            reasons.append(f"{now} {limit} planned, {before} done in the last 24 hours, limit {allowed}")
    return reasons
