"""Roundup's records as ours: its field table, its times, its labels. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

import orjson

from blocks.errors import Refused
from blocks.fieldmap import Field, FieldMap
from blocks.model import BadRecord, Entry, Incident, Value

KEY: Final = "lockstep-"
RAW: Final = 64 * 1024
"""How much of a bad record is kept."""

FIELDS: Final = FieldMap(
    (
        Field("title", "title"),
        Field("description", "description", writable="at creation"),
        Field(
            "status",
            "status",
            {
                "unread": "new",
                "in-progress": "active",
                "chatting": "active",
                "testing": "active",
                "need-eg": "waiting",
                "deferred": "waiting",
                "done-cbb": "resolved",
                "resolved": "resolved",
            },
            {
                "new": "unread",
                "active": "in-progress",
                "waiting": "deferred",
                "resolved": "resolved",
                "closed": "resolved",
            },
        ),
        Field(
            "severity",
            "priority",
            {"critical": "critical", "urgent": "high", "bug": "medium", "feature": "low", "wish": "info"},
            {"critical": "critical", "high": "urgent", "medium": "bug", "low": "feature", "info": "wish"},
        ),
        Field("owner", "assignedto"),
        Field("labels", "keyword", many=True),
    )
)

READ: Final = ("title", "status", "priority", "assignedto", "keyword")
CLASSES: Final = {"status": "status", "priority": "priority", "assignedto": "user", "keyword": "keyword"}
"""Which class a link leads to."""
NAMES: Final = {"user": "username"}
"""Which property labels a class: `name`, but for these."""
ENTRY_FIELDS: Final = {"msg": "content,author,creator,creation,date,messageid", "file": "name,type,creator,creation"}


PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_ODD: Final = re.compile(r"[+-]|\d+$")


@dataclass(slots=True)
class Labels:
    """The labels of links by their ids, as the records that were read show them: answers to writes hold ids alone."""

    known: dict[str, dict[str, str]] = field(default_factory=dict)

    def learn(self, prop: str, shown: Any) -> Value:  # noqa: ANN401  as it came
        """The value that a record shows, links as their labels."""
        if type(shown) in PLAIN:
            return cast("Value", shown)
        if isinstance(shown, list):
            return sorted([str(self.learn(prop, one)) for one in shown])
        number = shown["id"]
        label = shown.get("name") or shown.get("username")
        if label is None:
            label = next((value for key, value in shown.items() if key not in {"id", "link"}), None) or number
        words = str(label)
        self.known.setdefault(prop, {})[number] = words
        return words

    def written(self, prop: str, answered: Any, sent: Value) -> Value:  # noqa: ANN401  as it came
        """The value that an answer shows as ids. KeyError: an id that is neither known nor what we sent."""
        known = self.known.get(prop, {})
        if prop not in CLASSES or answered is None:
            return answered if type(answered) in PLAIN else str(answered)
        if not isinstance(answered, list):
            return known.get(answered) or _unknown(known, [answered], [sent])[0]
        labels = [known[one] for one in answered if one in known]
        rest = [one for one in answered if one not in known]
        asked = [label for label in sent if label not in labels] if isinstance(sent, list) else []
        return sorted(labels + _unknown(known, rest, asked))


def _unknown(known: Mapping[str, str], ids: Sequence[str], sent: Sequence[Value]) -> list[str]:
    """Ids that were never shown are what was sent, if nothing else can be meant."""
    if len(ids) != len(sent) or any(label is None or label in known.values() for label in sent):
        raise KeyError(*ids)
    return [str(label) for label in sent]


def time(shown: str) -> datetime:
    """`2026-11-24.03:50:24`, in UTC whatever the login's zone. ValueError."""
    return datetime.fromisoformat(version(shown))


def version(shown: str) -> str:
    """The same as `2026-11-24T03:50:24Z`, which orders as text."""
    return f"{shown[:10]}T{shown[11:19]}Z"


def text(at: datetime) -> str:
    """A time as a cursor, cut to seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def span(first: datetime, last: datetime | None) -> str:
    """A range of whole seconds, both ends inclusive. Times are kept in milliseconds."""
    form = "%Y-%m-%d.%H:%M:%S"
    return f"{first.strftime(form)};{last.strftime(form) + '.999' if last else ''}"


def shown(properties: Sequence[str]) -> str:
    """What to ask of an issue."""
    return ",".join(("activity", "creation", "messages", "files", *READ, *properties))


def incident(raw: Any, properties: Sequence[str], labels: Labels) -> Incident | BadRecord:  # noqa: ANN401  as it came
    """One record of a search, shown with labels (`@verbose=2`)."""
    try:
        moment, creation = version(raw["activity"]), raw.get("creation")
        messages, files = raw.get("messages") or (), raw.get("files") or ()
        return Incident(
            id=_id(raw),
            version=moment,
            updated=datetime.fromisoformat(moment),
            fields={
                prop: value if type(value := raw[prop]) in PLAIN else labels.learn(prop, value)
                for prop in (*READ, *properties)
                if prop in raw
            },
            created=time(creation) if creation else None,
            entry_ids=tuple([f"msg{_id(one)}" for one in messages] + [f"file{_id(one)}" for one in files]),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        named = str(raw.get("id", ""))[:64] if isinstance(raw, dict) else ""
        reason = f"{type(error).__name__}: {error}"[:200]
        return BadRecord(named, orjson.dumps(raw).decode()[:RAW], reason)


def _id(raw: Any) -> str:  # noqa: ANN401  as it came
    named = raw["id"]
    if not isinstance(named, str) or not named.isdigit():
        message = f"no id: {named!r}"
        raise ValueError(message)
    return named


def entry(of: str, raw: Any, owner: Mapping[str, str], login: str) -> Entry:  # noqa: ANN401  as it came
    """One message or file."""
    remote = f"{of}{_id(raw)}"
    creator = _name(raw.get("creator"))
    key = raw.get("messageid")
    return Entry(
        id=remote,
        incident_id=owner[remote],
        kind="comment" if of == "msg" else "file",
        created=time(raw.get("date") or raw["creation"]),
        author=_name(raw.get("author")) or creator,
        text=(raw.get("content") or "") if of == "msg" else "",
        name=raw.get("name") or "",
        media_type=raw.get("type") or "",
        key=key if key and key.startswith(KEY) else None,
        own=creator == login,
    )


def _name(user: Any) -> str:  # noqa: ANN401  as it came
    return str(user.get("username", "")) if isinstance(user, dict) else ""


def age(one: Entry) -> tuple[datetime, int]:
    """Orders entries: oldest first."""
    return one.created, int(one.id.lstrip("msgfile"))


def number(id: str, of: str) -> str:
    """`msg7` as 7. Refused if it is none."""
    bare = id.removeprefix(of)
    if bare == id or not re.fullmatch(r"[0-9]+", bare):
        message = f"not the id of a {of}: {id[:40]!r}"
        raise Refused(message, id=id[:40])
    return bare


def odd(label: str) -> bool:
    """Whether Roundup would take this label for an id, or for "add" or "remove"."""
    return _ODD.match(label) is not None


def plain(value: Value) -> str | list[str]:
    """A value as it is written: JSON null would be dropped, an empty text clears."""
    if value is None:
        return ""
    if isinstance(value, list):
        return [str(one) for one in value]
    return value if isinstance(value, str) else str(value)


def chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Ids, so many at a time."""
    for begin in range(0, len(ids), size):
        yield ids[begin : begin + size]


def stray(rows: Iterable[Incident | BadRecord], first: datetime, last: datetime | None) -> str:
    """The id of a record outside the window that was asked for, or empty."""
    for row in rows:
        if isinstance(row, Incident) and (row.updated < first or (last is not None and row.updated > last)):
            return row.id
    return ""
