"""The server behind the fake XSOAR: incidents, their War Rooms, and what a write does to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.fakes.faults import Faults
from tests.fakes.xsoar_query import Query, moment

Raw = dict[str, Any]
UNSET = "0001-01-01T00:00:00Z"
REASONS = ("", "False Positive", "Resolved", "Other", "Duplicate", "Gone")
CUSTOM = {
    "scanip": "shortText", "score": "number", "confirmed": "boolean", "teams": "multiSelect", "hosts": "grid",
    "responsesla": "timer", "due": "date",
}  # fmt: skip
BLANK: Raw = {
    "name": "", "rawName": "", "details": "", "type": "", "status": 0, "severity": 0, "owner": "", "labels": None,
    "closeReason": "", "closeNotes": "", "closed": UNSET, "closingUserId": "", "occurred": UNSET, "dueDate": UNSET,
    "investigationId": "", "playbookId": "", "rawJSON": "", "phase": "", "roles": None, "sourceBrand": "",
    "sourceInstance": "", "attachment": None, "linkedIncidents": None, "dbotMirrorId": "", "CustomFields": {},
}  # fmt: skip
"""What an incident holds; what a write omits is as here again."""
KEPT = ("id", "created", "autime", "investigationId", "sourceBrand", "sourceInstance", "owner")
CATEGORIES = {"chats": "chat", "notes": "note", "attachments": "attachment", "commandAndResults": "command"}
BOT = "lockstep"


class Bad(Exception):
    """An answer of this status, with the server's words."""

    def __init__(self, status: int, words: str, id: str = "bad_request", title: str = "Bad request") -> None:
        super().__init__(words)
        self.status, self.id, self.title = status, id, title


class Server:
    """All state. `touch`: an entry counts as a change of its incident. `cloud`: this is an 8."""

    def __init__(self, faults: Faults, clock: Callable[[], float], *, cloud: bool, touch: bool) -> None:
        self.faults, self.clock, self.cloud, self.touch = faults, clock, cloud, touch
        self.incidents: dict[str, Raw] = {}
        self.past: dict[str, list[tuple[float, Raw]]] = {}
        self.rooms: dict[str, list[Raw]] = {}
        self.files: dict[str, bytes] = {}
        self.users = {"analyst", "ann", "bob", "lead", BOT, ""}
        self.dropped: set[str] = set()
        self.commands: list[str] = []
        self.obeys = True
        self._numbers = 0

    def stamp(self) -> str:
        """A time as this server writes it: fraction and zone vary."""
        at = self.clock()
        if self.faults.tick:
            at -= at % self.faults.tick
        whole = datetime.fromtimestamp(at, UTC)
        if self.cloud:
            return whole.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return whole.astimezone(timezone(timedelta(hours=2))).isoformat()

    def find(self, id: str) -> Raw:
        """An incident that is there."""
        if id not in self.incidents:
            if self.cloud:
                raise Bad(404, "Item not found", "errNotFound", "Not found")
            raise Bad(400, f"Could not find incident [{id}]")
        return self.incidents[id]

    def create(self, sent: Raw, by: str) -> Raw | None:
        """A new incident; None if a pre-processing rule drops it. Its server adds labels of its own."""
        self._known(sent)
        if sent["name"] in self.dropped:
            return None
        self._numbers += 1
        id, now = str(self._numbers), self.stamp()
        raw = {**copy.deepcopy(BLANK), **self._stored(sent), "id": id, "version": 0, "created": now}
        raw |= {"occurred": now, "modified": UNSET if self.cloud else now, "autime": int(self.clock() * 1e9)}
        raw["rawName"], raw["type"] = raw["name"], raw["type"] or "Unclassified"
        raw["labels"] = [
            *(raw["labels"] or ()),
            {"type": "Instance", "value": by},
            {"type": "Brand", "value": "Manual"},
        ]
        if self.faults.no_keys:
            raw["labels"] = [one for one in raw["labels"] if one["type"] != "lockstep"]
        self.incidents[id], self.rooms[id] = raw, []
        if sent.get("createInvestigation"):
            raw |= {"investigationId": id, "status": max(1, raw["status"])}
        self._keep(raw)
        return raw

    def write(self, sent: Raw) -> Raw:
        """A write of the whole object: what it omits is wiped. It cannot reopen on 6."""
        raw = self.find(str(sent["id"]))
        self._current(raw, sent)
        self._known(sent)
        if self.cloud and moment(sent.get("modified") or UNSET) == moment(raw["modified"]):
            return raw
        stored = self._stored(sent)
        if raw["status"] in (2, 3) and not self.cloud:
            stored["status"] = raw["status"]
        kept = {key: raw[key] for key in KEPT if key != "owner" or stored.get("owner") not in self.users}
        self.incidents[raw["id"]] = {**copy.deepcopy(BLANK), **stored, **kept, "version": raw["version"]}
        return self.changed(raw["id"])

    def changed(self, id: str, **values: Any) -> Raw:
        """Change an incident, past all locks."""
        raw = self.incidents[id]
        raw |= {**values, "version": raw["version"] + 1, "modified": self.stamp()}
        self._keep(raw)
        return raw

    def _keep(self, raw: Raw) -> None:
        self.past.setdefault(raw["id"], []).append((self.clock(), copy.deepcopy(raw)))

    def _current(self, raw: Raw, sent: Raw) -> None:
        version = sent.get("version", 0)
        if version != raw["version"] and not self.faults.no_lock:
            words = f"DB Version '{raw['version']}' and Insert version '{version}' do not match for '{raw['id']}'"
            raise Bad(400, words, "errOptimisticLock", "Optimistic lock error")

    def _known(self, sent: Raw) -> None:
        if not sent.get("name"):
            raise Bad(400, "name is required")
        if sent.get("closeReason", "") not in REASONS:
            raise Bad(400, f"closeReason '{sent['closeReason']}' is not one of the allowed values")
        for key in self.faults.refuse_fields:
            if sent.get(key) != BLANK.get(key) and key in sent:
                raise Bad(400, f"the value of {key} is not allowed")

    def _stored(self, sent: Raw) -> Raw:
        """What is kept of what was sent: an unknown custom field is dropped, and nobody is told."""
        own = {key: value for key, value in (sent.get("CustomFields") or {}).items() if key in CUSTOM}
        stored = {key: self.faults.computed(key, sent[key]) for key in BLANK if key in sent}
        return {**stored, "CustomFields": copy.deepcopy(own), "labels": copy.deepcopy(sent.get("labels"))}

    def close(self, sent: Raw, by: str) -> Raw:
        """Close an incident, with reason and notes."""
        raw = self.find(sent["id"])
        self._current(raw, sent)
        self._known({"name": "x", **sent})
        own = {**raw["CustomFields"], **(sent.get("CustomFields") or {})}
        why = {key: sent.get(key) or "" for key in ("closeReason", "closeNotes")}
        return self.changed(raw["id"], status=2, closed=self.stamp(), closingUserId=by, CustomFields=own, **why)

    def investigate(self, sent: Raw) -> Raw:
        """Open a War Room: the incident is active."""
        raw = self.find(sent["id"])
        self._current(raw, sent)
        return self.changed(raw["id"], investigationId=raw["id"], status=max(1, raw["status"]))

    def run(self, room: str, command: str, by: str) -> Raw:
        """Run a command in a War Room, and note it there."""
        self.commands.append(command)
        raw = self.find(room)
        if self.obeys and command == f"!reopenInvestigation id={room}" and raw["status"] in (2, 3):
            self.changed(room, status=1, closed=UNSET)
        return self.add(room, by, command, category="command")

    def add(self, room: str, by: str, contents: Any, *, category: str = "chat", **more: Any) -> Raw:
        """A new entry."""
        if room not in self.incidents or not self.incidents[room]["investigationId"]:
            raise Bad(400, f"Could not find investigation [{room}]")
        now, number = self.stamp(), len(self.rooms[room]) + 1
        entry = {
            "id": f"{number}@{room}", "version": 1, "created": now, "modified": now, "user": by, "contents": contents,
            "format": "text", "type": 1, "note": False, "tags": None, "category": category, "investigationId": room,
            "file": "", "fileID": "", "fileMetadata": None, "deleted": False,
        } | more  # fmt: skip
        self.rooms[room].append(entry)
        if self.touch:
            self.changed(room)
        return entry

    def upload(self, room: str, by: str, name: str, data: bytes) -> Raw:
        """A new file, whose type the server makes out itself."""
        kind = "text/plain; charset=utf-8" if data.isascii() else "application/octet-stream"
        about = {"size": len(data), "type": kind, "info": kind}
        entry = self.add(room, by, None, category="attachment", type=3, file=name, fileMetadata=about)
        entry["fileID"] = f"file{len(self.files)}"
        self.files[entry["id"]] = data
        return entry

    def search(self, wanted: Raw) -> tuple[list[Raw], int]:
        """A page of incidents, as the search shows them, late by `lag`."""
        query = Query(wanted.get("query") or "", self.faults.zone)
        since = wanted.get("fromDate")
        oldest = moment(since) if since else datetime.fromtimestamp(self.clock(), UTC) - timedelta(days=7)
        found = [raw for raw in map(self._shown, list(self.incidents)) if raw and moment(raw["created"]) >= oldest]
        ids = wanted.get("id")
        found = [raw for raw in found if query.holds(raw) and (not ids or raw["id"] in ids)]
        for order in reversed(wanted.get("sort") or ()):
            found.sort(key=lambda raw: _place(raw, order["field"]), reverse=not order["asc"])
        size, page = int(wanted.get("size") or 10), int(wanted.get("page") or 0)
        if (page + 1) * size > 10_000:
            raise Bad(500, "Result window is too large", "internal", "Internal error")
        return found[page * size : (page + 1) * size], len(found)

    def _shown(self, id: str) -> Raw | None:
        lag = self.faults.lag if int(id) % self.faults.lag_every == 0 else 0.0
        if not lag:
            return self.incidents[id]
        seen = [raw for at, raw in self.past[id] if at <= self.clock() - lag]
        return seen[-1] if seen else None

    def entries(self, room: str, wanted: Raw) -> list[Raw]:
        """The oldest entries from a time on, by category and tag, so many at most."""
        if room not in self.incidents or not self.incidents[room]["investigationId"]:
            raise Bad(400, f"Could not find investigation [{room}]")
        since, tags = moment(wanted.get("fromTime") or UNSET), set(wanted.get("tags") or ())
        kinds = {CATEGORIES[name] for name in wanted.get("categories") or ()}
        found = [one for one in self.rooms[room] if moment(one["created"]) >= since]
        found = [one for one in found if not kinds or one["category"] in kinds]
        found = [one for one in found if not tags or tags & set(one["tags"] or ())]
        return found[: wanted.get("pageSize") or 50]


def _place(raw: Raw, field: str) -> Any:
    return moment(raw[field]) if field in ("created", "modified") else int(raw["id"]) if field == "id" else raw[field]
