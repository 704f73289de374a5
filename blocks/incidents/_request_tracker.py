"""Request Tracker's records as ours: its field table, its tickets, transactions and attachments. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from blocks.fieldmap import Field, FieldMap
from blocks.incidents._request_tracker_html import plain
from blocks.model import BadRecord, Entry, Fields, Incident, Value

RAW: Final = 64 * 1024
"""How much of a bad record is kept."""
NOBODY: Final = "Nobody"
READ: Final = ("Subject", "Status", "Owner", "Priority")
SAID: Final = ("Create", "Comment", "Correspond")
"""The transactions that hold what people wrote."""
TITLE_BYTES: Final = 200
"""RT cuts a subject there, without a word."""

STATUS: Final = Field(
    "status",
    "Status",
    {
        "new": "new",
        "open": "active",
        "stalled": "waiting",
        "resolved": "resolved",
        "rejected": "closed",
        "deleted": "closed",
    },
    {"new": "new", "active": "open", "waiting": "stalled", "resolved": "resolved", "closed": "resolved"},
)
_SEVERITIES: Final = {name: name for name in ("info", "low", "medium", "high", "critical")}


def fields(severity: str) -> FieldMap:
    """The table of the default lifecycle; `severity` names the custom field that holds it, empty: none does."""
    rows = (Field("title", "Subject"), Field("description", "Content", writable="at creation"), STATUS)
    severe = (Field("severity", custom(severity), _SEVERITIES, _SEVERITIES),) if severity else ()
    return FieldMap((*rows, *severe, Field("owner", "Owner")))


def custom(name: str) -> str:
    """A custom field's key, as RT writes it in queries: `CF.{Severity}`."""
    return f"CF.{{{name}}}"


def bare(key: str) -> str | None:
    """The custom field that a key names, if it names one."""
    return key[4:-1] if key.startswith("CF.{") and key.endswith("}") else None


@dataclass(slots=True)
class Shapes:
    """Which custom fields hold several values, by their ids: lists of tickets tell it, a ticket alone does not."""

    many: dict[str, bool] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def learn(self, ticket: Any) -> None:  # noqa: ANN401  as it came
        """What a list tells. What cannot be read teaches nothing, and is a bad record to `incident`."""
        with suppress(KeyError, TypeError, AttributeError):
            for one in ticket["CustomFields"] or ():
                self.many[one["id"]] = str(one["MaxValues"]) != "1"
                self.names[one["name"]] = one["id"]

    def known(self, ticket: Any) -> bool:  # noqa: ANN401  as it came
        """Whether all of this ticket's are."""
        return all(one["id"] in self.many for one in ticket.get("CustomFields") or ())

    def is_many(self, name: str) -> bool:
        """Whether this one takes several values. What was never seen takes one."""
        return self.many.get(self.names.get(name, ""), False)


def time(shown: str) -> datetime:
    """`2026-11-24T03:50:24Z`, always in UTC. ValueError."""
    return datetime.fromisoformat(shown)


def version(transaction: int) -> str:
    """A ticket's greatest transaction as text that orders: it is the ticket's ETag, too."""
    return f"{transaction:012d}"


def incident(raw: Any, shown: str, shapes: Shapes, key_field: str) -> Incident | BadRecord:  # noqa: ANN401  as it came
    """One ticket at this version."""
    try:
        values: dict[str, Value] = {name: _text(raw[name]) for name in READ if name != "Owner"}
        owner = raw["Owner"]["id"]
        values["Owner"] = None if owner == NOBODY else str(owner)
        key: str | None = None
        for one in raw.get("CustomFields") or ():
            if one["name"] == key_field:
                key = next((str(value) for value in one["values"] if value), None)
            else:
                values[custom(one["name"])] = _values(one, many=shapes.many[one["id"]])
        return Incident(
            id=_number(raw["id"]),
            version=shown,
            updated=time(raw["LastUpdated"]),
            fields=values,
            created=time(raw["Created"]),
            key=key,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        named = str(raw.get("id", ""))[:64] if isinstance(raw, dict) else ""
        reason = f"{type(error).__name__}: {error}"[:200]
        return BadRecord(named, orjson.dumps(raw).decode()[:RAW], reason)


def _number(shown: Any) -> str:  # noqa: ANN401  as it came
    """RT sends ids as numbers and as texts."""
    named = str(shown)
    if not named.isdigit():
        message = f"no id: {named[:40]!r}"
        raise ValueError(message)
    return named


def _text(shown: Any) -> Value:  # noqa: ANN401  as it came
    return None if shown is None else str(shown)


def _values(raw: Any, *, many: bool) -> Value:  # noqa: ANN401  as it came
    """A custom field's values. A cleared one may hold null, a file its name."""
    values = [v["filename"] if isinstance(v, dict) else str(v) for v in raw["values"] if v not in (None, "")]
    if many:
        return sorted(values)
    return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Said:
    """A transaction in which somebody wrote something."""

    id: int
    ticket: str
    creation: bool
    created: datetime
    author: str
    key: str | None


def said(raw: Any, key_field: str) -> Said:  # noqa: ANN401  as it came
    """One transaction. KeyError, ValueError, TypeError: it is none."""
    keys = [
        value for one in raw.get("CustomFields") or () if key_field and one["name"] == key_field
        for value in one["values"] if value
    ]  # fmt: skip
    return Said(
        int(raw["id"]),
        _number(raw["ObjectId"]),
        raw["Type"] == "Create",
        time(raw["Created"]),
        str(raw["Creator"]["id"]),
        keys[0] if keys else None,
    )


def entries(
    told: Sequence[Said], bodies: Sequence[Any], files: Sequence[Any], login: str, keys: Mapping[str, str | None]
) -> list[Entry]:
    """Comments and files, oldest first. `keys`: the key that a ticket itself carries, which its first words bear.

    KeyError, ValueError, TypeError: what came is no attachment.
    """
    by_transaction: dict[int, list[Any]] = {}
    for one in bodies:
        by_transaction.setdefault(int(one["TransactionId"]), []).append(one)
    found: list[Entry] = []
    for one in told:
        own = one.author.casefold() == login.casefold()
        key = keys.get(one.ticket) if one.creation and own else one.key
        text = words(by_transaction.get(one.id, ()))
        if text:
            name = f"transaction/{one.id}"
            found.append(Entry(name, one.ticket, "comment", one.created, one.author, text, key=key, own=own))
        found += [
            Entry(
                file_id(one.id, _number(part["id"])),
                one.ticket,
                "file",
                one.created,
                one.author,
                name=part["Filename"] or "unnamed",
                media_type=part["ContentType"] or "",
                size=int(part["ContentLength"] or 0),
                key=key,
                own=own,
            )
            for part in files
            if int(part["TransactionId"]) == one.id and part["Filename"]
        ]
    return found


def file_id(transaction: int | str, attachment: str) -> str:
    """A file's id names its transaction, too: what is known of a transaction is not read again."""
    return f"transaction/{transaction}/attachment/{attachment}"


def words(parts: Sequence[Any]) -> str:
    """What a transaction says: its plain text, else its HTML without the tags. A mail may have both."""
    texts = {kind: "".join(p["Content"] or "" for p in parts if p["ContentType"] == kind) for kind in _KINDS}
    return texts["text/plain"] or plain(texts["text/html"])


_KINDS: Final = ("text/plain", "text/html")


def same(key: str, sent: Value, shown: Value) -> bool:
    """Whether a field shows what was sent. RT folds the case of a status and of a login."""
    if isinstance(sent, list) or isinstance(shown, list):
        return _many(sent) == _many(shown)
    was, now = ("" if value is None else str(value) for value in (sent, shown))
    if key in ("Status", "Owner"):
        return was.casefold() == now.casefold()
    return was == now


def _many(value: Value) -> list[str] | Value:
    return sorted(map(str, value)) if isinstance(value, list) else [] if value is None else value


def ignored(before: Fields, patch: Fields, after: Fields) -> list[str]:
    """The keys of a patch that RT left as they were: it answers 200 all the same.

    What shows a third value was taken, and changed by RT or by somebody else: that is answered as it is.
    """
    return [
        key
        for key, value in patch.items()
        if not same(key, value, after.get(key)) and same(key, after.get(key), before.get(key))
    ]
