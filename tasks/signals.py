"""Signals: Prefect events for automations.

A signal is about `lockstep.<noun>.<id>`; its payload has the bare id.

| signal | about | payload, beside `mirror` and `system` (which no report and no grant has) |
|---|---|---|
| lockstep.incident.created, .updated, .closed | incident.<number> | incident_id, title, status, severity, type, owner |
| lockstep.mirror.finished, .backfilled | mirror.<name> | counts |
| lockstep.mirror.reconciled | mirror.<name> | found, dry_run |
| lockstep.mirror.failed | mirror.<name> | kind, error |
| lockstep.attention.connection | mirror.<name> | kind, error |
| lockstep.attention.conflict | mirror.<name> | count, conflicts: incident_id and field of the first |
| lockstep.attention.parked | mirror.<name> | count, parked: parked_id, kind, incident_id and error of the first |
| lockstep.attention.brake | plan.<number> | plan_id, reason, writes, deadline |
| lockstep.attention.grant | grant.<type/name> | grant, kind, error |
| lockstep.attention.approval | report.<number> | report_id, title, incidents, target, deadline |

`lockstep.incident.*` is sent for the first 50 incidents of a cycle and never in a first fetch, for which `.backfilled`
stands. `lockstep.attention.*` is sent once, when something new waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefect.events import emit_event

from blocks.errors import LockstepError, Misconfigured, Refused, Unauthorized, Unreadable
from blocks.store.links import Row
from tasks.mirroring.facts import Facts
from tasks.mirroring.mirror import SIGNALS, Mirroring, Tally

FEW = 10
NEEDS_A_PERSON = (Unauthorized, Misconfigured, Unreadable, Refused)
OF_INCIDENT = ("title", "status", "severity", "type", "owner")
KINDS = (
    ("created", ("created in the store",)),
    ("closed", ("closed",)),
    ("updated", ("updated in the store", "entries in")),
)
"""Signal → what of a tally it stands for; an incident has the first that fits."""


class Signal(NamedTuple):
    """One event to be."""

    event: str
    about: str
    name: str
    payload: Mapping[str, Any]


def emit(signals: Sequence[Signal]) -> None:
    """Send them. The event itself is a label of the resource, so that automations can tell signals about it apart."""
    for one in signals:
        resource = {
            "prefect.resource.id": one.about,
            "prefect.resource.name": one.name,
            "lockstep.signal": one.event,
        }
        emit_event(one.event, resource=resource, payload=dict(one.payload))


def named(tally: Tally) -> dict[int, str]:
    """Which incidents get a signal, and which: the first of a cycle."""
    chosen: dict[int, str] = {}
    for kind, counted in KINDS:
        for incident_id in (i for what in counted for i in tally.named.get(what, ())):
            if len(chosen) < SIGNALS:
                chosen.setdefault(incident_id, kind)
    return chosen


def of_incidents(mirror: str, system: str, kinds: Mapping[int, str], incidents: Sequence[Row]) -> list[Signal]:
    """A signal for each of these incidents."""
    return [
        Signal(
            f"lockstep.incident.{kinds[row['id']]}",
            f"lockstep.incident.{row['id']}",
            f"incident {row['id']}",
            {
                "incident_id": row["id"],
                **{name: row[name] for name in OF_INCIDENT},
                "mirror": mirror,
                "system": system,
            },
        )
        for row in sorted(incidents, key=lambda row: int(row["id"]))
    ]


def of_cycle(mirror: str, system: str, tally: Tally, *, first_fetch: bool) -> list[Signal]:
    """The end of a cycle that did something."""
    events = ["lockstep.mirror.backfilled"] if first_fetch else []
    counts = {what: count for what, count in tally.counts.items() if count}
    payload = {"mirror": mirror, "system": system, "counts": counts}
    return [_of_mirror(event, mirror, payload) for event in [*events, "lockstep.mirror.finished"]]


def of_reconcile(mirror: str, system: str, counts: Mapping[str, int], *, dry: bool) -> Signal:
    """The end of a reconcile, and how much it found of each kind."""
    payload = {"mirror": mirror, "system": system, "found": dict(counts), "dry_run": dry}
    return _of_mirror("lockstep.mirror.reconciled", mirror, payload)


def of_waiting(m: Mirroring, mirror: str, facts: Facts) -> list[Signal]:
    """What is new and waits for a person."""
    about = {"mirror": mirror, "system": m.system.fingerprint()}
    signals = []
    if conflicts := facts.new_conflicts(m.started):
        few = [{"incident_id": row["incident_id"], "field": row["field"]} for row in conflicts[:FEW]]
        payload = {**about, "count": len(conflicts), "conflicts": few}
        signals.append(_of_mirror("lockstep.attention.conflict", mirror, payload))
    if parked := facts.new_parked(m.started):
        names = ("kind", "incident_id", "error")
        some = [{"parked_id": row["id"], **{name: row[name] for name in names}} for row in parked[:FEW]]
        payload = {**about, "count": len(parked), "parked": some}
        signals.append(_of_mirror("lockstep.attention.parked", mirror, payload))
    if facts.plan is not None and facts.plan["state"] == "held":
        signals.append(_brake(about, facts.plan, facts.kinds.total()))
    return signals


def _brake(about: Mapping[str, str], plan: Row, writes: int) -> Signal:
    payload = {
        "plan_id": plan["id"],
        **about,
        "reason": plan["reason"],
        "writes": writes,
        "deadline": plan["deadline"].isoformat(),
    }
    return Signal("lockstep.attention.brake", f"lockstep.plan.{plan['id']}", f"plan {plan['id']}", payload)


def of_report(row: Row) -> Signal:
    """A report that waits for a person."""
    payload = {
        "report_id": row["id"],
        "title": row["title"],
        "incidents": row["facts"]["incidents"],
        "target": row["target"],
        "deadline": row["deadline"].isoformat(),
    }
    return Signal("lockstep.attention.approval", f"lockstep.report.{row['id']}", f"report {row['id']}", payload)


def of_failure(mirror: str, system: str, error: LockstepError, *, new: bool) -> list[Signal]:
    """A run that failed; `new`: it is the first of its kind since the mirror last worked."""
    payload = {"mirror": mirror, "system": system, "kind": type(error).__name__, "error": str(error)}
    events = ["lockstep.mirror.failed"]
    if new and isinstance(error, NEEDS_A_PERSON):
        events.append("lockstep.attention.connection")
    return [_of_mirror(event, mirror, payload) for event in events]


def _of_mirror(event: str, mirror: str, payload: Mapping[str, Any]) -> Signal:
    return Signal(event, f"lockstep.mirror.{mirror}", f"mirror {mirror}", payload)
