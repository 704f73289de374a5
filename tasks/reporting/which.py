"""Which incidents a report is about: its form, and how the store is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from blocks.store.search import MOST, Search


@dataclass(frozen=True)
class Which:
    """The incidents of a report: all that is given must hold."""

    status: Annotated[
        list[Literal["new", "active", "waiting", "resolved", "closed"]],
        Field(description="One of these. Empty means any."),
    ] = field(default_factory=list)
    severity: Annotated[
        list[Literal["info", "low", "medium", "high", "critical"]], Field(description="One of these. Empty means any.")
    ] = field(default_factory=list)
    type: Annotated[list[str], Field(description="One of these types, as written. Empty means any.")] = field(
        default_factory=list
    )
    owner: Annotated[list[str], Field(description="One of these owners, as written. Empty means any.")] = field(
        default_factory=list
    )
    label: Annotated[str, Field(description="A label that they have. Empty means any.")] = ""
    text: Annotated[str, Field(description="Words in title, description, further fields or entries.")] = ""
    created_days: Annotated[
        int, Field(description="Created in the last so many days. 0 means at any time.", ge=0, le=36500)
    ] = 0
    updated_days: Annotated[
        int, Field(description="Updated in the last so many days. 0 means at any time.", ge=0, le=36500)
    ] = 0

    def search(self, now: datetime) -> Search:
        """How the store is asked, for its largest page."""
        return Search(
            status=tuple(self.status),
            severity=tuple(self.severity),
            type=_given(self.type),
            owner=_given(self.owner),
            label=self.label.strip() or None,
            text=self.text.strip() or None,
            created_after=now - timedelta(days=self.created_days) if self.created_days else None,
            updated_after=now - timedelta(days=self.updated_days) if self.updated_days else None,
            limit=MOST,
        )

    def words(self) -> str:
        """For people; values are as they were typed."""
        values = {name: _given(getattr(self, name)) for name in ("status", "severity", "type", "owner")}
        found = [f"{name} {' or '.join(given)}" for name, given in values.items() if given]
        found += [f"{name} {typed.strip()}" for name in ("label", "text") if (typed := getattr(self, name)).strip()]
        days = {"created": self.created_days, "updated": self.updated_days}
        found += [f"{what} in the last {count} days" for what, count in days.items() if count]
        return "; ".join(found) or "all incidents"


def _given(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(value.strip() for value in values if value.strip())
