"""Artifacts: what a cycle did, what waits for a person, what a dry run would write.

Pure functions make the Markdown; `leave` alone talks to Prefect.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.exceptions import PrefectException

from blocks.contracts import IncidentSystem
from blocks.model import Fields, Report
from tasks.markdown import link, pie, table, text
from tasks.mirroring.facts import CHANGES, PLANNED, Facts
from tasks.mirroring.mirror import Tally
from tasks.mirroring.sample import Sample

T = TypeVar("T")
log = logging.getLogger("lockstep.reports")

DONE = (
    "created in the store",
    "updated in the store",
    "created in the system",
    "updated in the system",
    "entries in",
    "entries out",
    "closed",
    "gone",
    "paired",
    "dropped",
    "changed in the system",
    "conflicts",
    "parked",
    "refused",
    "settled",
    "replayed",
)
"""What a report counts. A cycle that has none of it did nothing."""

CHART = DONE[:6]
NOTES = 20
ACTIONS = {
    "created": "new in the store",
    "edited": "changed in the store",
    "closed": "closed in the store",
    "reopened": "reopened in the store",
    "commented": "entry added in the store",
    "attached": "file added in the store",
    "sent new": "created in the system",
    "sent": "changed in the system",
    "sent entry": "entry sent",
}
VERBS = {
    "create": "create there",
    "update": "change there",
    "entry": "send entry",
    "store": "change here",
    "gone": "is gone",
}


def did_something(tally: Tally) -> bool:
    """Whether a cycle left anything to tell."""
    return any(tally.counts[what] for what in DONE)


def summary(tally: Tally, facts: Facts | None = None) -> str:
    """A cycle in one line."""
    words = [f"{tally.counts[what]:,} {what}" for what in DONE if tally.counts[what]]
    if facts is not None and facts.plan is not None:
        number, count = facts.plan["id"], facts.kinds.total()
        held = f"plan {number} with {count:,} writes waits for approval"
        words.append(held if facts.plan["state"] == "held" else f"{count:,} writes planned, nothing sent")
    return ", ".join(words) or "nothing to do"


def cycle_report(mirror: str, system: IncidentSystem, tally: Tally, facts: Facts) -> str:
    """What a cycle did, and what waits."""
    counts = {what: tally.counts[what] for what in DONE if tally.counts[what]}
    lines = [f"# Mirror {text(mirror)}", f"{text(system.fingerprint(), 200)}: {summary(tally, facts)}.", ""]
    lines += table(("what", "how many"), [(what, f"{count:,}") for what, count in counts.items()])
    lines += ["", *pie("This cycle", {what: counts.get(what, 0) for what in CHART}), ""]
    if facts.plan is not None:
        lines += _plan(system, facts)
    if facts.changes:
        more = f"The first {CHANGES} changes; the audit has all." if len(facts.changes) == CHANGES else ""
        rows = [_change(system, row) for row in facts.changes]
        lines += ["## Changes", more, "", *table(("incident", "there", "title", "what", "from → to"), rows), ""]
    lines += _conflicts(system, facts) + _parked(system, facts)
    if tally.notes:
        lines += ["## Left alone", "", *(f"- {text(note, 300)}" for note in tally.notes[:NOTES]), ""]
    return "\n".join(lines)


def _change(system: IncidentSystem, row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*_who(system, row), *act(row))


def act(row: Mapping[str, Any]) -> tuple[str, str]:
    """A line of the audit: what was done, and the first fields from what to what."""
    changes: Mapping[str, Sequence[Any]] = row["changes"] or {}
    entry = row["action"] in {"commented", "attached", "sent entry"}
    moves = [f"{text(name)}: {text(a, 40)} → {text(b, 40)}" for name, (a, b) in list(changes.items())[:4] if not entry]
    moves += ["…"] if len(changes) > len(moves) and moves else []
    return ACTIONS.get(row["action"], text(row["action"])), "<br>".join(moves)


def _who(system: IncidentSystem, row: Mapping[str, Any]) -> tuple[str, str, str]:
    remote_id = row["remote_id"]
    return str(row["incident_id"]), link(remote_id, system.url(remote_id)) if remote_id else "-", text(row["title"])


def _plan(system: IncidentSystem, facts: Facts) -> list[str]:
    plan, total = facts.plan or {}, facts.kinds.total()
    if plan["state"] == "held":
        until = f"before {moment(plan['deadline'])}; after that it is planned anew"
        head = [
            f"## Plan {plan['id']} waits for a person",
            f"{text(plan['reason'], 500)}. Nothing of it was written.",
            f"Look at it, then run **approve_or_reject** with plan {plan['id']}, {until}.",
        ]
    else:
        head = ["## Dry run", f"{total:,} writes are due. Nothing was sent."]
    kinds = table(("kind of write", "how many"), [(text(kind), f"{n:,}") for kind, n in sorted(facts.kinds.items())])
    rows = [_planned(system, row) for row in facts.lines]
    more = [f"The first {PLANNED} of {total:,}."] if total > len(rows) else []
    return [*head, "", *kinds, "", *more, "", *table(("incident", "there", "title", "what", "from → to"), rows), ""]


def _planned(system: IncidentSystem, row: Mapping[str, Any]) -> tuple[str, ...]:
    before = row["before"] or {}
    patch = row["patch"] or {} if row["verb"] != "entry" else {}
    moves = [
        f"{text(name)}: {text(before.get(name), 40)} → {text(value, 40)}" for name, value in list(patch.items())[:8]
    ]
    return (*_who(system, row), VERBS[row["verb"]], "<br>".join(moves))


def _conflicts(system: IncidentSystem, facts: Facts) -> list[str]:
    if not facts.conflicts:
        return []
    rows = [
        (str(row["incident_id"]), link(row["remote_id"], system.url(row["remote_id"])), text(row["field"]),
         text(row["store_value"]), text(row["system_value"]), moment(row["since"]))
        for row in facts.conflicts
    ]  # fmt: skip
    head = ("incident", "there", "field", "the store has", "the system has", "since")
    words = (
        f"{facts.waiting['conflicts']:,} fields were changed on both sides: run **resolve_conflict** and pick a side."
    )
    return ["## Conflicts", words, "", *table(head, rows), ""]


def _parked(system: IncidentSystem, facts: Facts) -> list[str]:
    if not facts.parked:
        return []
    rows = [
        (str(row["id"]), text(row["kind"]), str(row["incident_id"] or "-"),
         link(row["remote_id"], system.url(row["remote_id"])) if row["remote_id"] else "-",
         text(row["error"], 300), moment(row["created"]))
        for row in facts.parked
    ]  # fmt: skip
    head = ("number", "kind", "incident", "there", "why", "since")
    words = f"{facts.waiting['parked']:,} wait: mend the cause, then run **replay_parked** with their numbers."
    return ["## Parked", words, "", *table(head, rows), ""]


def check_report(report: Report) -> str:
    """A connection check, line by line."""
    rows = [("✓" if f.ok else "✗", text(f.what), text(f.detail, 500)) for f in report.findings]
    return "\n".join([f"# {text(report.system, 200)}", "", *table(("", "what", "found"), rows)])


def sample_report(system: IncidentSystem, found: Sample) -> str:
    """What would become of a page's records."""
    rows = [
        (link(one.remote_id, system.url(one.remote_id)), text(one.words, 200), text(one.type), _filled(one.fields))
        for one in found.outcomes
    ]
    lines = [
        f"# Sample of {text(system.fingerprint(), 200)}",
        f"{len(rows)} records were read, nothing was stored.",
        "",
    ]
    lines += table(("record", "what would become of it", "type", "our fields"), rows)
    if found.notes:
        lines += ["", "## Values in no map", "", *(f"- {text(note, 300)}" for note in found.notes[:NOTES])]
    return "\n".join(lines)


def _filled(fields: Fields) -> str:
    filled = {name: value for name, value in fields.items() if value not in (None, [], "")}
    return "<br>".join(f"{text(name)}: {text(value, 60)}" for name, value in filled.items())


def moment(at: datetime | None) -> str:
    """A time as people read it."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


def key_of(*words: str) -> str:
    """A key for an artifact: Prefect takes small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:200] or "lockstep"


async def leave(markdown: str, key: str, description: str) -> UUID | None:
    """Leave a Markdown artifact at the run; answers its id, None if the server did not take it."""
    return await unless_silent(acreate_markdown_artifact(markdown, key=key, description=description))


async def leave_table(rows: list[dict[str, Any]], key: str, description: str) -> UUID | None:
    """Leave a table artifact at the run, of plain values; answers its id, None if the server did not take it."""
    return await unless_silent(acreate_table_artifact(rows, key=key, description=description))


async def unless_silent(work: Awaitable[T]) -> T | None:
    """What Prefect's server answers; None, with a warning, if it does not: a report is never worth a cycle."""
    try:
        return await work
    except (httpx.HTTPError, PrefectException) as error:
        log.warning("a report could not be left: %s", type(error).__name__)
        return None
