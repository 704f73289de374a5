"""Cancels a piece of work at the n-th place where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any


class Steps:
    """Runs an awaitable and counts where it waits; at the `at`th of these its task is cancelled."""

    def __init__(self, work: Awaitable[Any], at: int | None = None) -> None:
        self.work, self.at, self.count = work, at, 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task, steps = asyncio.current_task(), self.work.__await__()
        assert task is not None  # noqa: S101  it is awaited
        try:
            waiting = next(steps)
            while True:
                if self.count == self.at:
                    asyncio.get_running_loop().call_soon(task.cancel)
                self.count += 1
                try:
                    value = yield waiting
                except BaseException as error:  # noqa: BLE001  it is the inner one's, whatever it is
                    waiting = steps.throw(error)
                else:
                    waiting = steps.send(value)
        except StopIteration as done:
            return done.value


async def cancelled(work: Callable[[], Awaitable[Any]], at: int | None) -> tuple[int, bool]:
    """Run it in a task of its own: how often it waited, and whether it was cancelled. Raises what it raises."""
    steps = Steps(work(), at)

    async def run() -> None:
        await steps

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return steps.count, task.cancelled()
