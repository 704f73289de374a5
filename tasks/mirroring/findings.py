"""What a reconcile finds: counted, and the first of each kind kept, so that memory does not grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from blocks.model import Value

LISTED: Final = 50
"""So many of each kind are shown; counts stand for the rest."""

KINDS: Final = {
    "drift": "differs, though neither side was changed since both agreed: the field's rule says whose value stands",
    "rules": "was decided under other rules: decided again under today's",
    "closed side": "changed on the side that the direction closes: left alone",
    "missed": "the feed did not show it: taken in as a pull takes it",
    "paired": "carries the key of an incident that waited for it: paired",
    "twin": "two records for one incident: look which one is meant, and close the other",
    "orphan": "carries a key of this store that names no link: look what it belongs to",
    "gone": "linked, in no page, and not found: the rule for what is gone decides",
    "out of scope": "linked, in no page, and found alone: changes there will not be seen until it is back in its scope",
    "unlinked": "unlinked: nothing travels",
    "unreadable": "cannot be read: parked",
}
"""What can be found, and what becomes of it, in the order of a report."""


@dataclass(frozen=True, slots=True)
class Found:
    """One finding, with both sides. `field`, `store` and `system`: which field differs, and what each side shows."""

    kind: str
    incident_id: int | None
    remote_id: str
    words: str = ""
    field: str = ""
    store: Value = None
    system: Value = None


@dataclass(slots=True)
class Findings:
    """All findings, counted by kind, and the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    listed: dict[str, list[Found]] = field(default_factory=dict)

    def add(self, findings: Iterable[Found]) -> None:
        """Count these, and keep the first."""
        for one in findings:
            self.counts[one.kind] += 1
            kept = self.listed.setdefault(one.kind, [])
            if len(kept) < LISTED:
                kept.append(one)

    def forget(self, kinds: Iterable[str]) -> None:
        """Forget what will be found again."""
        for kind in kinds:
            self.counts.pop(kind, None)
            self.listed.pop(kind, None)
