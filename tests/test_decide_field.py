"""The truth table of one field, written out: what a person who reads the README would expect, line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import get_args

import pytest

from blocks.model import Calls, Capabilities
from blocks.rules import Direction, Policy
from tasks.decide.field import Outcome, View, combined, decide

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
COARSE = timedelta(seconds=60)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
POLICIES: tuple[Policy, ...] = get_args(Policy)

# When each side changed the field: (store, system).
TIMES: dict[str, tuple[datetime | None, datetime | None]] = {
    "system later": (NOON, NOON + timedelta(seconds=61)),
    "system later, within the clock": (NOON, NOON + timedelta(seconds=60)),
    "at the same time": (NOON, NOON),
    "store later, within the clock": (NOON + timedelta(seconds=60), NOON),
    "store later": (NOON + timedelta(hours=1), NOON),
    "system unknown": (NOON, None),
    "store unknown": (None, NOON),
    "both unknown": (None, None),
}
SYSTEM_WINS = {"system later", "store unknown"}

KEEP, AGREE, IN, OUT = Outcome.KEEP, Outcome.AGREE, Outcome.TO_STORE, Outcome.TO_SYSTEM
ASK, UNMAPPED, NEWEST = Outcome.CONFLICT, Outcome.UNMAPPED, None

# (who left its base, direction) → what becomes of it under each policy: newest, store, system, ask.
# NEWEST stands for "the later edit, the store's if that cannot be told".
TABLE: dict[tuple[str, Direction], tuple[Outcome | None, Outcome, Outcome, Outcome]] = {
    ("nobody", "both"): (KEEP, KEEP, KEEP, KEEP),
    ("nobody", "in"): (KEEP, KEEP, KEEP, KEEP),
    ("nobody", "out"): (KEEP, KEEP, KEEP, KEEP),
    ("nobody", "off"): (KEEP, KEEP, KEEP, KEEP),
    ("store", "both"): (OUT, OUT, OUT, OUT),
    ("store", "in"): (KEEP, KEEP, KEEP, KEEP),
    ("store", "out"): (OUT, OUT, OUT, OUT),
    ("store", "off"): (KEEP, KEEP, KEEP, KEEP),
    ("system", "both"): (IN, IN, IN, IN),
    ("system", "in"): (IN, IN, IN, IN),
    ("system", "out"): (KEEP, KEEP, KEEP, KEEP),
    ("system", "off"): (KEEP, KEEP, KEEP, KEEP),
    ("both", "both"): (NEWEST, OUT, IN, ASK),
    ("both", "in"): (IN, IN, IN, IN),
    ("both", "out"): (OUT, OUT, OUT, OUT),
    ("both", "off"): (KEEP, KEEP, KEEP, KEEP),
}
WHO = {"nobody": (False, False), "store": (True, False), "system": (False, True), "both": (True, True)}

# (what the table wants, their value can be read, ours can be written, the system left its base) → what becomes of it.
MAPPED: dict[tuple[Outcome, bool, bool, bool], Outcome] = {
    (IN, True, True, True): IN,
    (IN, True, False, True): IN,
    (IN, False, True, True): UNMAPPED,
    (IN, False, False, True): UNMAPPED,
    (OUT, True, True, False): OUT,
    (OUT, True, False, False): UNMAPPED,
    (OUT, False, True, False): OUT,
    (OUT, False, False, False): UNMAPPED,
    (OUT, True, True, True): OUT,
    (OUT, True, False, True): UNMAPPED,
    (OUT, False, True, True): UNMAPPED,
    (OUT, False, False, True): UNMAPPED,
    (ASK, True, True, True): ASK,
    (ASK, True, False, True): ASK,
    (ASK, False, True, True): UNMAPPED,
    (ASK, False, False, True): UNMAPPED,
}
YES_NO = (False, True)
EVERY = list(product(WHO, DIRECTIONS, POLICIES, TIMES, (False, True), (False, True), (False, True)))


def expected(
    who: str, direction: Direction, policy: Policy, time: str, *, same: bool, readable: bool, writable: bool
) -> Outcome:
    if same and who != "nobody":
        return AGREE
    wanted = TABLE[who, direction][("newest", "store", "system", "ask").index(policy)]
    if wanted is NEWEST:
        wanted = IN if time in SYSTEM_WINS else OUT
    return KEEP if wanted is KEEP else MAPPED[wanted, readable, writable, who in {"system", "both"}]


def test_every_combination_is_in_the_table() -> None:
    assert set(TABLE) == set(product(WHO, DIRECTIONS))
    assert len(EVERY) == 4 * 4 * 4 * 8 * 2 * 2 * 2


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_each_field_goes_as_the_table_says(who: str, direction: Direction, policy: Policy) -> None:
    store_left, system_left = WHO[who]
    for time, same, readable, writable in product(TIMES, YES_NO, YES_NO, YES_NO):
        store_at, system_at = TIMES[time]
        view = View(store_left, system_left, same, readable, writable, store_at, system_at)
        wanted = expected(who, direction, policy, time, same=same, readable=readable, writable=writable)
        assert decide(view, direction, policy, COARSE) is wanted, (time, view)


def test_a_finer_clock_tells_closer_edits_apart() -> None:
    view = View(True, True, False, store_at=NOON, system_at=NOON + timedelta(seconds=2))  # noqa: FBT003  a row of the table
    assert decide(view, "both", "newest", timedelta(seconds=1)) is IN
    assert decide(view, "both", "newest", timedelta(seconds=2)) is OUT


def able(*, read_only: bool = False) -> Capabilities:
    return Capabilities(Calls(1, 1, 0, 1, 1, 1, 1), "atomic", "native", "native", 0, 1, read_only=read_only)


# What the mirror allows, what the field allows → both.
ALLOWED: dict[tuple[Direction, Direction], Direction] = {
    ("both", "both"): "both", ("both", "in"): "in", ("both", "out"): "out", ("both", "off"): "off",
    ("in", "both"): "in", ("in", "in"): "in", ("in", "out"): "off", ("in", "off"): "off",
    ("out", "both"): "out", ("out", "in"): "off", ("out", "out"): "out", ("out", "off"): "off",
    ("off", "both"): "off", ("off", "in"): "off", ("off", "out"): "off", ("off", "off"): "off",
}  # fmt: skip
INWARD: dict[Direction, Direction] = {"both": "in", "in": "in", "out": "off", "off": "off"}


@pytest.mark.parametrize(("mirror", "of_field"), list(product(DIRECTIONS, DIRECTIONS)))
def test_only_what_mirror_and_field_both_allow_travels(mirror: Direction, of_field: Direction) -> None:
    assert combined(mirror, of_field, able()) == ALLOWED[mirror, of_field]


@pytest.mark.parametrize(("mirror", "of_field"), list(product(DIRECTIONS, DIRECTIONS)))
def test_nothing_goes_out_to_what_cannot_be_written(mirror: Direction, of_field: Direction) -> None:
    wanted = INWARD[ALLOWED[mirror, of_field]]
    assert combined(mirror, of_field, able(read_only=True)) == wanted
    assert combined(mirror, of_field, able(), writable=False) == wanted
