"""A mirror that goes on for ever: it survives trouble, says so once, and costs nothing while nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import flows.mirror
from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockLost, LockstepError, Misconfigured, Unauthorized, Unavailable, Unreadable
from blocks.store.locks import hold
from flows.forever import lock_name
from flows.mirror import mirror_incidents
from flows.patience import FIRST, LONGEST, pause
from tests.flowing import Told, in_store, store_url, told
from tests.mirrors import Bench

__all__ = ["in_store", "store_url", "told"]


class Enough(BaseException):
    """The run is cancelled."""


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the run slept, each time; it is cancelled at the tenth."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        await real(0)
        # The lock looks again every 50 ms: that is no nap.
        if seconds >= 1:
            slept.append(seconds)
        if len(slept) == 10:
            raise Enough

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


async def run(bench: Bench, system: Any = None) -> Any:
    """Mirror every 7 seconds, until cancelled."""
    one = bench.mirrors["a"]
    toy: Any = system or one.toy.beside(one.world, "a", bench.meanwhile)
    return await mirror_incidents.fn("a", toy, one.intake, one.rules, one.limits, every_seconds=7)


async def cancelled(bench: Bench) -> None:
    with pytest.raises(Enough):
        await run(bench)


def faulty(errors: list[LockstepError | None]) -> Callable[[str], None]:
    """A world that meets these errors, one a page, and none after them."""
    left = iter(errors)

    def between(call: str) -> None:
        error = next(left, None) if call == "changes" else None
        if error is not None:
            raise error

    return between


async def test_it_looks_at_its_pace_and_leaves_nothing_while_nothing_happens(
    bench: Bench, told: Told, in_store: object, naps: list[float]
) -> None:
    bench.mirror()
    await cancelled(bench)
    assert naps == [7.0] * 10
    assert (told.tasks, told.events, told.artifacts) == ([], [], [])


async def test_it_waits_longer_and_longer_for_a_system_that_is_away(
    bench: Bench, told: Told, in_store: object, naps: list[float]
) -> None:
    world = bench.mirror()
    world.between = faulty([None, *[Unavailable("no answer")] * 4])
    await cancelled(bench)
    assert naps == [7.0, 2.0, 4.0, 8.0, 16.0, *[7.0] * 5]
    assert told.names() == ["lockstep.mirror.failed"]


async def test_it_waits_as_long_as_the_system_asks(
    bench: Bench, told: Told, in_store: object, naps: list[float]
) -> None:
    bench.mirror().between = faulty([Unavailable("slow down", retry_after=1000)])
    await cancelled(bench)
    assert naps[0] == 1000.0


@pytest.mark.parametrize("error", [Unauthorized("no"), Misconfigured("no"), Unreadable("no")])
async def test_a_person_is_told_once_and_it_goes_on_slowly(
    bench: Bench, told: Told, in_store: object, naps: list[float], error: LockstepError
) -> None:
    bench.mirror().between = faulty([error] * 3 if not isinstance(error, Unreadable) else [error] * 24)
    await cancelled(bench)
    assert naps == [LONGEST] * 3 + [7.0] * 7
    assert told.names() == ["lockstep.mirror.failed", "lockstep.attention.connection"]


async def test_the_same_trouble_later_is_told_again(
    bench: Bench, told: Told, in_store: object, naps: list[float]
) -> None:
    bench.mirror().between = faulty([Unauthorized("no"), None, Unauthorized("no")])
    await cancelled(bench)
    assert told.names().count("lockstep.attention.connection") == 2


async def test_what_happens_meanwhile_is_mirrored(
    bench: Bench, told: Told, in_store: object, naps: list[float]
) -> None:
    world = bench.mirror()
    looks = 0

    def between(call: str) -> None:
        nonlocal looks
        looks += call == "changes"
        if call == "changes" and looks == 3:
            world.add({"name": "new"})

    world.between = between
    await cancelled(bench)
    assert (await bench.incident(1)).title == "new"
    assert [name for name in told.names() if name.startswith("lockstep.incident")] == ["lockstep.incident.created"]


async def test_a_second_run_of_the_same_deployment_ends_at_once(
    bench: Bench, told: Told, in_store: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.mirror()
    async with hold(bench.database, lock_name("")):
        state = await run(bench)
    assert (state.is_completed(), state.name) == (True, "AlreadyRunning")


async def test_without_a_store_it_fails_in_words(bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none() -> None:
        raise Misconfigured("there is no block lockstep-store/main")

    monkeypatch.setattr(flows.mirror, "the_store", none)
    bench.mirror()
    state = await run(bench)
    assert state.is_failed()
    assert "lockstep-store/main" in state.message


async def test_a_block_that_a_person_mended_is_read_again(
    bench: Bench, told: Told, in_store: object, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = bench.mirror()
    world.between = faulty([Unauthorized("no")])
    one = bench.mirrors["a"]
    loaded: list[str] = []

    async def aload(name: str) -> IncidentSystem:
        loaded.append(name)
        return one.toy.beside(world, "a", bench.meanwhile)

    toy = one.toy.beside(world, "a", bench.meanwhile)
    toy._block_document_name = "prod"
    monkeypatch.setattr(type(toy), "aload", aload)
    with pytest.raises(Enough):
        await run(bench, toy)
    assert loaded == ["prod"]


@pytest.mark.parametrize(
    ("error", "times", "seconds"),
    [
        (Unavailable("x"), 1, FIRST),
        (Busy("x"), 3, 4 * FIRST),
        (LockLost("x"), 50, LONGEST),
        (Unavailable("x", retry_after=1), 1, FIRST),
        (Unauthorized("x"), 1, LONGEST),
    ],
)
def test_a_pause_grows_to_its_longest(error: LockstepError, times: int, seconds: float) -> None:
    assert pause(error, times) == seconds
