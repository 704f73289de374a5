"""What a connector asks its vendor once for many cycles: users, states, fields. It knows no store.

`blocks.store.cache.Cache` is a `Keeper` that outlives the process and is shared by all of them; without one, a
connection keeps what it asked for itself.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol

from blocks.flights import Flights

LASTS = timedelta(hours=1)
"""How long a look-up is believed: what people change at the vendor meanwhile is seen then, or after `again`."""


class Keeper(Protocol):
    """Where answers are kept."""

    async def get_or_compute(self, name: str, compute: Callable[[], Awaitable[object]], lasts: timedelta) -> Any:  # noqa: ANN401  what JSON keeps, or bytes
        """What is kept; else it is computed, once for all who ask, and kept."""

    async def delete(self, name: str) -> bool:
        """Forget it; answers whether it was there."""


class Memory:
    """A keeper for one connection; `now` tells seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: dict[str, tuple[float, object]] = {}
        self._flights: Flights[str, object] = Flights()

    async def get_or_compute(self, name: str, compute: Callable[[], Awaitable[object]], lasts: timedelta) -> Any:  # noqa: ANN401  as given
        """As a keeper does. What comes back is the same object each time: it must not be changed."""
        until, value = self._kept.get(name, (0.0, None))
        if self._now() >= until:
            value = await self._flights.join(name, compute)
            self._kept[name] = (self._now() + lasts.total_seconds(), value)
        return value

    async def delete(self, name: str) -> bool:
        """As a keeper does."""
        return self._kept.pop(name, None) is not None


class Lookups:
    """A connector's look-ups: what it asked for, by a name of its own.

    Args:
        keeper: where answers stay; a connection's own memory unless told otherwise.
        lasts: how long they do.
    """

    def __init__(self, keeper: Keeper | None = None, lasts: timedelta = LASTS) -> None:
        self._keeper, self._lasts = keeper or Memory(), lasts

    async def get(self, name: str, ask: Callable[[], Awaitable[object]]) -> Any:  # noqa: ANN401  what JSON keeps
        """The vendor's answer, asked for by `ask` where it is not kept; its errors are kept for nobody."""
        return await self._keeper.get_or_compute(name, ask, self._lasts)

    async def again(self, name: str, ask: Callable[[], Awaitable[object]]) -> Any:  # noqa: ANN401  as above
        """The vendor's answer, asked for anew: after it refused a write that was made with the one that is kept."""
        await self._keeper.delete(name)
        return await self.get(name, ask)
