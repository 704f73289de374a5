"""Markdown of what an analyst looks at. Pure; whatever came from outside is shown as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from blocks.contracts import IncidentSystem
from blocks.model import FIELDS
from blocks.store.links import Row
from blocks.store.tables import Incident
from tasks.analyst.look import LATEST, Listed, Whole
from tasks.markdown import address, link, prose, table, text
from tasks.reports import act, moment

Systems = Mapping[str, IncidentSystem]
"""Fingerprint → a system that knows where a person looks at its incidents."""

STANDS: Final = ("agrees", "to be decided by the next cycle", "waits for a person")
"""How a link stands, by its `dirty`."""

LONG: Final = frozenset({"description", "close_notes"})
HEAD: Final = ("incident", "title", "there", "status", "severity", "owner", "updated")
TITLE: Final = 44
"""Characters of a title: one UI shows no more of a table than fits beside the run."""

NOTHING: Final = {text(None), moment(None)}


def found_words(found: Listed) -> str:
    """How many were found, in one line."""
    some = f"{found.total:,} incident{'s' if found.total != 1 else ''} found"
    if found.pages == 1 and found.page == 1:
        return some
    return f"{some}, page {found.page:,} of {found.pages:,}"


def found_report(found: Listed, systems: Systems) -> str:
    """A page of incidents, with links to where they are."""
    rows = [
        (str(one.id), text(one.title, TITLE), "<br>".join(there(row, systems) for row in _shown(found, one)) or "-",
         text(one.status), text(one.severity), text(one.owner), moment(one.updated))
        for one in found.incidents
    ]  # fmt: skip
    lines = ["# Incidents", f"{found_words(found)}.", "", *table(HEAD, rows), ""]
    if found.page < found.pages:
        lines.append(f"The next ones are on page {found.page + 1}.")
    lines.append("All of one incident: run **find_incidents** with its number.")
    return "\n".join(lines)


def found_table(found: Listed, systems: Systems) -> list[dict[str, Any]]:
    """The same page for the table that can be sorted and searched: one UI reads its cells as Markdown, one as text."""
    return [
        dict(zip(HEAD, (
            one.id, _cell(one.title), " ".join(_address(row, systems) for row in _shown(found, one)),
            _cell(one.status), _cell(one.severity), _cell(one.owner), moment(one.updated),
        ), strict=True))
        for one in found.incidents
    ]  # fmt: skip


def _cell(value: str | None) -> str:
    return text(value) if value else ""


def _shown(found: Listed, one: Incident) -> list[Row]:
    return [row for row in found.links.get(one.id, ()) if row["state"] != "unlinked"]


def there(row: Row, systems: Systems) -> str:
    """A link with the record that it names, if Prefect has a block of its system."""
    if row["remote_id"] is None:
        return f"{text(row['mirrors'])}: not there yet"
    system = systems.get(row["fingerprint"])
    words = text(row["remote_id"]) if system is None else link(row["remote_id"], system.url(row["remote_id"]))
    return f"{text(row['mirrors'])}: {words}"


def _address(row: Row, systems: Systems) -> str:
    system = systems.get(row["fingerprint"])
    url = "" if system is None or row["remote_id"] is None else address(system.url(row["remote_id"]))
    return url or there(row, {})


def incident_report(one: Whole, systems: Systems) -> str:
    """All of one incident."""
    incident = one.incident
    lines = [f"# Incident {incident.id}: {text(incident.title, 200)}", ""]
    lines += table(("field", "value"), _fields(incident))
    lines += _section("Where it is", ("mirror: there", "state", "it stands", "why"), _links(one.links, systems))
    lines += _section(
        "Conflicts", ("field", "mirror", "the store has", "the system has", "since"), _conflicts(one.conflicts),
        "Run **resolve_conflict** and pick a side.",
    )  # fmt: skip
    lines += _section(
        "Parked", ("number", "kind", "mirror", "why", "since"), _parked(one.parked),
        "Mend the cause, then run **replay_parked** with their numbers.",
    )  # fmt: skip
    lines += _section("Related", ("incident", "how"), _related(one))
    lines += _section("Entries", ("when", "who", "what", "", "tags"), map(_entry, one.entries), _more(one.entries))
    lines += _section("Audit", ("when", "who", "what", "from → to"), map(_act, one.audit), _more(one.audit))
    return "\n".join(lines)


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], words: str = "") -> list[str]:
    shown = table(head, rows)
    return ["", f"## {title}", *([words] if words else []), "", *shown] if shown else []


def _more(rows: Sequence[Row]) -> str:
    return f"The latest {LATEST}." if len(rows) == LATEST else ""


def _fields(incident: Incident) -> list[tuple[str, str]]:
    kept = incident.model_dump()
    rows = [(name, prose(kept[name]) if name in LONG else text(kept[name], 500)) for name in ("type", *FIELDS[1:])]
    rows += [(name, moment(kept[name])) for name in ("occurred", "created", "updated", "closed")]
    for more in (incident.custom, incident.extra):
        rows += [(text(name), text(value, 500)) for name, value in sorted((more or {}).items())]
    return [(name, value) for name, value in rows if value not in NOTHING]


def _links(rows: Sequence[Row], systems: Systems) -> list[tuple[str, ...]]:
    return [
        (there(row, systems), row["state"], STANDS[row["dirty"]] if row["state"] in {"linked", "offered"} else "-",
         _cell(row["error"]))
        for row in rows
    ]  # fmt: skip


def _conflicts(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [
        (text(row["field"]), text(row["mirrors"]), text(row["store_value"]), text(row["system_value"]),
         moment(row["since"]))
        for row in rows
    ]  # fmt: skip


def _parked(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [
        (str(row["id"]), text(row["kind"]), text(row["mirrors"]), text(row["error"], 300), moment(row["created"]))
        for row in rows
    ]


def _related(one: Whole) -> list[tuple[str, str]]:
    mine = one.incident.id
    return [(str(r.other_id if r.incident_id == mine else r.incident_id), text(r.kind)) for r in one.related]


def _entry(row: Row) -> tuple[str, ...]:
    body = f"{text(row['name'])}, {row['size']:,} bytes" if row["kind"] == "file" else prose(row["text"])
    return moment(row["created"]), text(row["author"]), row["kind"], body, text(row["tags"])


def _act(row: Row) -> tuple[str, ...]:
    return moment(row["at"]), text(row["actor"]), *act(row)
