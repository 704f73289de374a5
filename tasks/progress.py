"""How far a long read is, as an artifact that moves."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from tasks.mirroring.mirror import Tally
from tasks.reports import key_of, moment, unless_silent

SHOW_AFTER = 5.0
"""Seconds after which a pull shows its progress, and between two updates of it."""


class Progress:
    """Shows how far a long pull is: by the time of what was read last, between where it began and now."""

    def __init__(self, mirror: str) -> None:
        self.mirror, self.shown, self.share = mirror, monotonic(), 0.0
        self.id: UUID | None = None

    async def show(self, tally: Tally, span: tuple[datetime, datetime] | None, now: datetime) -> None:
        """Make or update the artifact, at most each few seconds."""
        if span is not None:
            await self.reach(share(*span, now), f"{tally.counts['read']:,} incidents read, up to {moment(span[1])}")

    async def reach(self, percent: float, words: str) -> None:
        """Show so much, in these words, at most each few seconds; it never goes back. `done` is the end."""
        if monotonic() - self.shown >= SHOW_AFTER:
            self.share = max(self.share, min(99.0, percent))
            await self._write(words)

    async def done(self, tally: Tally) -> None:
        """The pull is over."""
        if self.id is not None:
            self.share = 100.0
            await self._write(f"{tally.counts['read']:,} incidents read")

    async def _write(self, words: str) -> None:
        self.shown = monotonic()
        if self.id is None:
            key = key_of("reading", self.mirror)
            self.id = await unless_silent(acreate_progress_artifact(self.share, key=key, description=words))
        else:
            await unless_silent(aupdate_progress_artifact(self.id, self.share, description=words))


def share(begin: datetime, reached: datetime, now: datetime) -> float:
    """How far a pull is, in percent; 99 at most, as long as it is not at its end."""
    whole = (now - begin).total_seconds()
    return max(0.0, min(99.0, 100.0 * (reached - begin).total_seconds() / whole)) if whole > 0 else 99.0
