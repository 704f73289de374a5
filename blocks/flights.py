"""One flight for all who ask for the same meanwhile, within a process and its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Flights(Generic[K, T]):
    """What is being worked on, by key."""

    def __init__(self) -> None:
        self._open: dict[K, asyncio.Future[T]] = {}

    async def join(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` answers, or the error that it raises, for all who came while it went on.

        It goes on in the caller who came first. Where that one is cancelled, the next one who waits begins anew.
        """
        while (flight := self._open.get(key)) is not None:
            await asyncio.wait([flight])
            if not flight.cancelled():
                return flight.result()
        self._open[key] = flight = asyncio.get_running_loop().create_future()
        try:
            result = await work()
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # seen, whether anybody waits or not
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._open[key]
            flight.cancel()
