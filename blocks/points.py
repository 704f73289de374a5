"""The places where a process may die: before and after every commit and every remote call.

In production `reach` does nothing. Tests and chaos put a function in its place that kills, raises or waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def _pass(_point: str) -> None:
    return None


_reached: Callable[[str], None] = _pass


def watch(function: Callable[[str], None] | None) -> None:
    """Have every point reported to this function, or to none."""
    global _reached  # noqa: PLW0603  one hook per process, set by a test or chaos before the engine runs
    _reached = function or _pass


def reach(point: str) -> None:
    """Say that this point is reached."""
    _reached(point)


async def at(point: str, work: Awaitable[T]) -> T:
    """Do a remote call between two points: `before <point>` and `after <point>`."""
    try:
        _reached(f"before {point}")
    except BaseException:
        if hasattr(work, "close"):
            work.close()
        raise
    result = await work
    _reached(f"after {point}")
    return result
