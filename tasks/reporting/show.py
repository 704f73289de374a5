"""What people see of a report in Prefect: a preview before they decide, a summary once it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blocks.store.links import Row
from tasks.markdown import link, pie, table, text
from tasks.reports import moment

HEAD = ("incident", "title", "status", "severity", "owner")
OURS = ("status", "severity")
"""What has names of our own alone: only these go into a chart."""


def preview(row: Row) -> str:
    """What waits, for whom, until when."""
    until = f"before {moment(row['deadline'])}; after that it is deleted"
    return "\n".join([
        f"# Report {row['id']} waits for a person: {text(row['title'], 200)}",
        f"Nothing of it was published. Look at it, then run **approve_or_reject** with number {row['id']}, {until}.",
        "",
        f"Approved, it goes to {text(row['target'], 500)}.",
        "",
        *_body(row["facts"]),
    ])  # fmt: skip


def published_report(row: Row, places: Sequence[str]) -> str:
    """A published report: what is in it, who agreed, where its files are."""
    why = f": {text(row['decided_why'], 300)}" if row["decided_why"] else ""
    return "\n".join([
        f"# {text(row['title'], 200)}",
        f"Report {row['id']}, approved by {text(row['decided_by'])}{why}.",
        "",
        *(f"- {link(place, place)}" for place in places),
        "",
        *_body(row["facts"]),
    ])  # fmt: skip


def _body(facts: Mapping[str, Any]) -> list[str]:
    total, first = facts["incidents"], facts["first"]
    lines = [f"{total:,} incidents: {text(facts['which'], 500)}. Made {text(facts['made'])}.", ""]
    for name in OURS:
        lines += [*pie(name, facts["counts"][name]), ""]
    for name, counts in facts["counts"].items():
        if name not in OURS:
            lines += [*table((name, "how many"), [(text(value), f"{n:,}") for value, n in counts.items()]), ""]
    rows = [tuple(text(one[column]) for column in ("id", *HEAD[1:])) for one in first]
    more = [f"The first {len(first)} of {total:,}; the files have all.", ""] if total > len(first) else []
    return [*lines, *more, *table(HEAD, rows)]
