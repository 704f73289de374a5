"""XSOAR's records as ours: its field table, its times, its entries. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from blocks.errors import Refused
from blocks.fieldmap import Field, FieldMap
from blocks.incidents import _xsoar_labels as labels
from blocks.model import BadRecord, Entry, EntryKind, Fields, Incident, Value

FIELDS: Final = FieldMap(
    (
        Field("title", "name"),
        Field("description", "details"),
        Field(
            "status",
            "status",
            {"0": "new", "1": "active", "2": "closed", "3": "closed"},  # pending, active, done, archived
            {"new": "0", "active": "1", "waiting": "1", "resolved": "2", "closed": "2"},
        ),
        Field(
            "severity",
            "severity",
            {"0.5": "info", "1": "low", "2": "medium", "3": "high", "4": "critical"},
            {"info": "0.5", "low": "1", "medium": "2", "high": "3", "critical": "4"},
        ),
        Field("owner", "owner"),
        Field("labels", "labels", many=True),
        Field("close_reason", "closeReason"),
        Field("close_notes", "closeNotes"),
    )
)
"""Severity 0 is unknown, which is none."""

OVER: Final = frozenset({"2", "3"})
TEXTS: Final = ("name", "details", "owner", "type", "closeReason", "closeNotes")
READ: Final = (*TEXTS, "status", "severity", "labels")
NUMBERS: Final = {"status": ("0", "1", "2", "3"), "severity": ("0", "0.5", "1", "2", "3", "4")}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNSET: Final = "0001-01-01T00:00:00Z"
RAW: Final = 64 * 1024
"""How much of a bad record is kept."""
FILE: Final = 3
"""The type of an entry that is a file."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_#-]{0,63}")
_ENTRY_ID: Final = re.compile(r"[0-9]{1,18}@[A-Za-z0-9_#-]{1,64}")
MEDIA: Final = re.compile(r"[a-z]+/[A-Za-z0-9.+-]+")
_TEXT_TYPES: Final = frozenset({"shortText", "longText", "markdown", "html", "singleSelect", "url", "user", "role"})


def time(shown: object) -> datetime | None:
    """A time with any fraction and zone, in UTC; None where it is unset. ValueError, TypeError."""
    if not shown:
        return None
    if not isinstance(shown, str):
        message = f"no time: {shown!r:.60}"
        raise TypeError(message)
    at = datetime.fromisoformat(shown)
    # Unset is the year 1, or 1970 on 8.
    if at.year <= 1970:  # noqa: PLR2004  XSOAR is younger
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def text(at: datetime) -> str:
    """A time as a cursor, which orders as text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def is_id(id: str) -> bool:
    """Whether an incident may have this id."""
    return _ID.fullmatch(id) is not None


def incident(raw: Any, custom: Sequence[str]) -> Incident | BadRecord:  # noqa: ANN401  as it came
    """One incident. A new one may have no time of update: then that of its creation."""
    try:
        created, modified = time(raw.get("created")), time(raw.get("modified"))
        updated = modified or created
        return Incident(
            id=_id(raw["id"]),
            version=f"{int(raw['version']):012d}",
            updated=_given(updated),
            fields=_fields(raw, custom),
            created=created,
            key=labels.key_of(raw),
            # Without a War Room there are no entries.
            entry_ids=None if raw.get("investigationId") else (),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        named = str(raw.get("id", ""))[:64] if isinstance(raw, dict) else ""
        return BadRecord(named, orjson.dumps(raw).decode()[:RAW], f"{type(error).__name__}: {error}"[:200])


def _id(shown: Any) -> str:  # noqa: ANN401  as it came
    if not isinstance(shown, str) or not is_id(shown):
        message = f"no id: {shown!r:.60}"
        raise ValueError(message)
    return shown


def _given(at: datetime | None) -> datetime:
    if at is None:
        message = "it has no time"
        raise ValueError(message)
    return at


def _fields(raw: Mapping[str, Any], custom: Sequence[str]) -> dict[str, Value]:
    severity = f"{float(raw.get('severity') or 0):g}"
    own = raw.get("CustomFields") or {}
    return {
        **{name: _words(raw.get(name)) for name in TEXTS},
        "status": str(int(raw["status"])),
        "severity": None if severity == "0" else severity,
        "labels": sorted({labels.text(one) for one in raw.get("labels") or () if not labels.hidden(one)}),
        **{name: flat(own.get(name)) for name in custom},
    }


def _words(shown: Any) -> str | None:  # noqa: ANN401  as it came
    if not isinstance(shown, str | None):
        message = f"no text: {shown!r:.60}"
        raise TypeError(message)
    return shown or None


def flat(shown: Any) -> Value:  # noqa: ANN401  as it came
    """A custom field's value; a grid or a timer as its JSON."""
    if shown in (None, "", [], UNSET):
        return None
    if isinstance(shown, list) and all(isinstance(one, str) for one in shown):
        return sorted(shown)
    if isinstance(shown, list | dict):
        return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()
    return shown if isinstance(shown, str | int | float) else str(shown)


def merged(raw: Mapping[str, Any], patch: Fields, kinds: Mapping[str, str]) -> dict[str, Any]:
    """A whole object with a patch in it. `kinds`: types of custom fields. Refused: a field, or value, that is none."""
    body: dict[str, Any] = {**raw, "CustomFields": dict(raw.get("CustomFields") or {})}
    for key, value in patch.items():
        if key == "labels":
            body[key] = labels.merged(raw.get(key) or (), value if isinstance(value, list) else [])
        elif key in READ:
            body[key] = coded(key, value, kinds)
        elif key in kinds:
            body["CustomFields"][key] = coded(key, value, kinds)
        else:
            raise refused(key, "the server has no such incident field")
    return body


def coded(key: str, value: Value, kinds: Mapping[str, str]) -> Any:  # noqa: ANN401  any JSON
    """A value as it is written. `kinds`: types of custom fields. Refused."""
    if key in NUMBERS:
        plain = "0" if value is None and key == "severity" else str(value)
        if plain not in NUMBERS[key]:
            raise refused(key, f"{plain[:60]!r} is none of {', '.join(NUMBERS[key])}")
        return int(plain) if key == "status" else float(plain)
    if key in TEXTS:
        return "" if value is None else str(value)
    kind = kinds[key]
    if kind == "timer":
        raise refused(key, "a timer cannot be set")
    if kind == "grid" and isinstance(value, str):
        return _grid(key, value)
    if value is None:
        return "" if kind in _TEXT_TYPES else UNSET if kind == "date" else None
    return value


def _grid(key: str, value: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise refused(key, "a grid is written as the JSON of its rows") from None


def refused(key: str, why: str) -> Refused:
    """The error for one field."""
    message = f"{key}: {why}"
    return Refused(message, fields={key: message})


def entry(raw: Mapping[str, Any], incident_id: str, own: Iterable[str]) -> Entry:
    """One entry of a War Room. KeyError, ValueError, TypeError."""
    kind: EntryKind = "file" if raw.get("type") == FILE or raw.get("file") else "note" if raw.get("note") else "comment"
    about, user = raw.get("fileMetadata") or {}, str(raw.get("user") or "")
    if not is_entry_id(raw["id"]):
        message = f"no id: {raw['id']!r:.60}"
        raise ValueError(message)
    media = str(about.get("type") or "")
    return Entry(
        id=raw["id"],
        incident_id=incident_id,
        kind=kind,
        created=_given(time(raw["created"])),
        author=user,
        text="" if kind == "file" else _contents(raw.get("contents")),
        name=str(raw.get("file") or "") if kind == "file" else "",
        # Often what the file looks like ("PDF document"), not a media type.
        media_type=media if MEDIA.fullmatch(media) else "",
        size=int(about.get("size") or 0),
        tags=tuple(str(tag) for tag in raw.get("tags") or ()),
        own=user in own,
    )


def _contents(shown: Any) -> str:  # noqa: ANN401  as it came
    if shown is None or isinstance(shown, str):
        return shown or ""
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()


def age(one: Entry) -> tuple[datetime, int]:
    """Orders entries: oldest first."""
    return one.created, int(one.id.partition("@")[0])


def entry_id(answer: Any) -> str | None:  # noqa: ANN401  as it came
    """The id in an answer to a new entry: it is the entry, a list of entries, or holds such a list."""
    for part in (answer, *(answer.get("entries") or () if isinstance(answer, dict) else answer or ())):
        named = part.get("id") if isinstance(part, dict) else None
        if isinstance(named, str) and _ENTRY_ID.fullmatch(named):
            return named
    return None


def is_entry_id(id: str) -> bool:
    """Whether an entry may have this id."""
    return _ENTRY_ID.fullmatch(id) is not None
