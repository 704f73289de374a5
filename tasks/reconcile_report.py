"""What a reconcile found, as a report."""

from __future__ import annotations

from typing import Any

from blocks.contracts import IncidentSystem
from tasks.markdown import link, pie, table, text
from tasks.mirroring.facts import Facts
from tasks.mirroring.findings import KINDS, LISTED, Findings, Found
from tasks.mirroring.mirror import Tally
from tasks.reports import cycle_report

HEAD = ("incident", "there", "field", "the store has", "the system has", "more")


def words_of(findings: Findings, tally: Tally) -> str:
    """What was found, in one line."""
    found = [f"{findings.counts[kind]:,} {kind}" for kind in KINDS if findings.counts[kind]]
    return f"{tally.counts['read']:,} records read: {', '.join(found) or 'both sides are as they should be'}"


def reconcile_report(
    mirror: str, system: IncidentSystem, findings: Findings, tally: Tally, facts: Facts, *, dry: bool
) -> str:
    """What was found, kind by kind with both sides, and then what was done about it or would be."""
    counts = {kind: findings.counts[kind] for kind in KINDS if findings.counts[kind]}
    lines = [f"# Reconcile {text(mirror)}", f"{text(system.fingerprint(), 200)}: {words_of(findings, tally)}.", ""]
    if dry:
        lines += ["A dry run: nothing was changed, on either side. Run it without `dry_run` to have it mended.", ""]
    rows = [(kind, f"{count:,}", KINDS[kind]) for kind, count in counts.items()]
    lines += [*table(("found", "how many", "what it is"), rows), "", *pie("Found", counts), ""]
    for kind, count in counts.items():
        lines += _kind(system, kind, findings.listed[kind], count)
    return "\n".join([*lines, cycle_report(mirror, system, tally, facts)])


def rows_of(system: IncidentSystem, findings: Findings) -> list[dict[str, Any]]:
    """The findings that are kept, as plain rows for a table in which people search."""
    return [
        {
            "found": one.kind,
            "incident": one.incident_id,
            "record": one.remote_id,
            "there": system.url(one.remote_id) if one.remote_id else "",
            **dict(zip(HEAD[2:], (one.field, one.store, one.system, one.words), strict=True)),
        }
        for kind in KINDS
        for one in findings.listed.get(kind, ())
    ]


def _kind(system: IncidentSystem, kind: str, listed: list[Found], count: int) -> list[str]:
    more = [f"The first {LISTED} of {count:,}.", ""] if count > len(listed) else []
    return [f"## Found: {kind}", "", *more, *table(HEAD, [_row(system, one) for one in listed]), ""]


def _row(system: IncidentSystem, one: Found) -> tuple[str, ...]:
    there = link(one.remote_id, system.url(one.remote_id)) if one.remote_id else "-"
    values = (text(one.store), text(one.system)) if one.field else ("-", "-")
    return str(one.incident_id or "-"), there, text(one.field), *values, text(one.words, 300)
