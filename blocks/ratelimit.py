"""How long a system asks us to wait: Retry-After, rate-limit headers, and the gate that keeps to them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

_BUSY: Final = (429, 503)
_LEAST_PAUSE: Final = 1.0
"""A Retry-After of 0 is a shorter wait, cut to its second."""
_HALF_SECOND: Final = 0.5
"""A Date is cut to its second: the middle of it is the best guess."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from: `now` in epoch seconds, `monotonic` and `sleep` in seconds."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A vendor's pair of headers: how many requests remain, and when the count starts anew.

    `reset_is`: seconds from now, seconds since 1970, or a time in ISO 8601.
    """

    remaining: str = "X-RateLimit-Remaining"
    reset: str = "X-RateLimit-Reset"
    reset_is: Literal["seconds", "epoch", "iso"] = "seconds"

    def read(self, headers: Mapping[str, str], now: float) -> tuple[int, float] | None:
        """(requests that remain, seconds until the reset), or None where headers do not say. `now`: the system's."""
        remaining, reset = headers.get(self.remaining), headers.get(self.reset)
        if remaining is None or reset is None:
            return None
        try:
            left = int(float(remaining))
            at = datetime.fromisoformat(reset) if self.reset_is == "iso" else float(reset)
        except (ValueError, OverflowError):
            return None
        if isinstance(at, datetime):
            at = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        wait = at if self.reset_is == "seconds" else at - now
        return (left, max(0.0, wait)) if math.isfinite(wait) else None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3: seconds or a date). `now`: the system's."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    date = http_date(text)
    return None if date is None else max(0.0, date - now)


def http_date(value: str) -> float | None:
    """A date of HTTP (RFC 9110 §5.6.7) in epoch seconds, or None where it is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class _Window:
    left: int
    until: float


class Gate:
    """Lets requests through while the system's limits allow it.

    Requests on their way count against what remains, since an answer may have been written before they arrived.
    Times that the system names are read by its own clock, as its `Date` shows it.
    """

    def __init__(self, limits: Sequence[RateLimit], clock: Clock) -> None:
        self._limits, self._clock = tuple(limits), clock
        self._windows: dict[RateLimit, _Window] = {}
        self._paused = 0.0
        self._date: tuple[str, float | None] = ("", None)
        self._ahead = 0.0
        self._out = 0
        self._answered = asyncio.Event()

    @property
    def skew(self) -> float:
        """Seconds that the system's clock is ahead of ours, to half a second: 0 while it has not said."""
        return self._ahead + _HALF_SECOND if self._date[1] is not None else 0.0

    def wait(self) -> float:
        """Seconds until a request may go."""
        if not self._windows and not self._paused:
            return 0.0
        spent = [w.until for w in self._windows.values() if w.left <= 0]
        return max(0.0, max([self._paused, *spent]) - self._clock.monotonic())

    async def enter(self, longest: float) -> float:
        """Wait until a request may go, and count it; answers 0, or, uncounted, a wait that is over `longest`."""
        while True:
            wait = self.wait()
            if wait > longest:
                return wait
            if wait > 0:
                await self._clock.sleep(wait)
            elif self._crowded():
                await self._answered.wait()
            else:
                self._out += 1
                return 0.0

    def leave(self) -> None:
        """A request is answered, or failed."""
        self._out -= 1
        self._answered.set()
        self._answered.clear()

    def received(self, status: int, headers: Mapping[str, str]) -> None:
        """Take in what an answer says of time and limits."""
        now = self._clock.now()
        self._note_date(headers.get("date"), now)
        theirs = now + self._ahead
        if status in _BUSY:
            pause = retry_after(headers.get("retry-after"), theirs)
            if pause is not None:
                self._paused = max(self._paused, self._clock.monotonic() + max(pause, _LEAST_PAUSE))
        for limit in self._limits:
            said = limit.read(headers, theirs)
            if said is not None:
                self._windows[limit] = _Window(said[0], self._clock.monotonic() + said[1])
            elif limit in self._windows and self._windows[limit].until <= self._clock.monotonic():
                del self._windows[limit]

    def _note_date(self, date: str | None, now: float) -> None:
        if date is None:
            return
        if date != self._date[0]:
            seconds = http_date(date)
            if seconds is None:
                return
            self._date = (date, seconds)
        if self._date[1] is not None:
            self._ahead = self._date[1] - now

    def _crowded(self) -> bool:
        """Whether as many are on their way as may be. After a reset one goes ahead, to see what remains."""
        return bool(self._out) and any(w.left <= self._out for w in self._windows.values())
