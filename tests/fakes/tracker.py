"""The tracker behind the fake Roundup: its records, its classes, and what its classic template does to them."""

from __future__ import annotations

import bisect
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fakes.faults import Faults

STATUSES = ("unread", "deferred", "chatting", "need-eg", "in-progress", "testing", "done-cbb", "resolved")
PRIORITIES = ("critical", "urgent", "bug", "feature", "wish")
LINKS = {"status": "status", "priority": "priority", "assignedto": "user", "creator": "user", "actor": "user"}
LINKS |= {"author": "user"}
MANY = {"keyword": "keyword", "messages": "msg", "files": "file", "nosy": "user", "superseder": "issue"}
PROTECTED = ("activity", "actor", "creation", "creator", "id")
CHATTED = (1, 7, 8, None)


class Conflict(Exception):
    """409, with the tracker's words."""

    status = 409


class Usage(Exception):
    """400, with the tracker's words."""

    status = 400


class Missing(Exception):
    """404, with the tracker's words."""

    status = 404


@dataclass(slots=True)
class Item:
    """One issue. `values` holds ids for links; times are in milliseconds."""

    id: int
    values: dict[str, Any]
    creation: int
    activity: int
    creator: int
    actor: int
    rev: int = 1
    retired: bool = False
    born: float = 0.0
    past: list[tuple[float, Item]] = field(default_factory=list)
    shown: dict[Any, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Blob:
    """A message or a file."""

    id: int
    values: dict[str, Any]
    creation: int
    creator: int
    content: bytes
    born: float


class Tracker:
    """All state, changed only through `create_issue`, `set`, `retire`, `add_message` and `add_file`."""

    def __init__(self, faults: Faults, clock: Callable[[], float], extra: tuple[str, ...]) -> None:
        self.faults, self.clock, self.extra = faults, clock, extra
        self.names: dict[str, list[str | None]] = {
            "status": list(STATUSES),
            "priority": list(PRIORITIES),
            "keyword": [],
            "user": ["admin", "anonymous", "analyst"],
        }
        self.ids = {of: {name: n for n, name in enumerate(names, 1)} for of, names in self.names.items()}
        self.passwords = {"admin": "secret", "analyst": "secret"}
        self.timezones: dict[str, str] = {}
        self.issues: dict[int, Item] = {}
        self.messages: dict[int, Blob] = {}
        self.files: dict[int, Blob] = {}
        self.order: list[tuple[int, int]] = []
        self.by_key: defaultdict[str, list[int]] = defaultdict(list)
        self.linking: defaultdict[tuple[str, int], list[int]] = defaultdict(list)

    @property
    def props(self) -> tuple[str, ...]:
        """What an issue has, but for what the tracker keeps itself."""
        return ("title", "status", "priority", "assignedto", *MANY, *self.extra)

    def add_name(self, of: str, name: str) -> int:
        """A new keyword, user or the like."""
        if name in self.ids[of]:
            raise Conflict(f'node with key "{name}" exists')
        self.names[of].append(name)
        self.ids[of][name] = len(self.names[of])
        return len(self.names[of])

    def lookup(self, prop: str, raw: Any) -> int | None:
        """An id for what was sent: a number is an id, anything else a label."""
        label, of = str(raw).strip(), LINKS.get(prop) or MANY[prop]
        if label in ("", "-1"):
            return None
        if label.isdigit():
            if not self.has(of, int(label)):
                raise Conflict(f"{of} has no node {label}")
            return int(label)
        if of not in self.ids:
            raise Usage(f"you may only enter ID values for property {prop}")
        if label not in self.ids[of]:
            raise Usage(f"property {prop}: {label!r} is not a {of}.")
        return self.ids[of][label]

    def has(self, of: str, id: int) -> bool:
        """Whether there is such a record."""
        if of in self.names:
            return 1 <= id <= len(self.names[of])
        return id in {"msg": self.messages, "file": self.files, "issue": self.issues}[of]  # type: ignore[operator]

    def parsed(self, sent: dict[str, Any], item: Item | None) -> dict[str, Any]:
        """What was sent, as it is stored; protected ones are left out."""
        values: dict[str, Any] = {}
        for prop, raw in sent.items():
            if prop.startswith("@") or prop in PROTECTED:
                continue
            if prop not in self.props:
                raise Usage(f"Property {prop} not found in class issue")
            if prop in self.faults.refuse_fields:
                error = Conflict if self.faults.refuse_fields[prop] == 409 else Usage
                raise error(f"property {prop}: refused by an auditor")
            values[prop] = self._value(prop, raw, item)
        return values

    def _value(self, prop: str, raw: Any, item: Item | None) -> Any:
        if prop in MANY:
            return self._many(prop, raw, item)
        if prop in LINKS:
            return self.lookup(prop, raw)
        text = str(raw).strip().replace("\r\n", "\n").replace("\r", "\n") if raw else None
        return self.faults.computed(prop, text)

    def _many(self, prop: str, raw: Any, item: Item | None) -> tuple[int, ...]:
        before = item.values[prop] if item else ()
        new, replaced = [], True
        after = list(before)
        for one in raw.split(",") if isinstance(raw, str) else raw or []:
            label = str(one).strip()
            sign = label[:1] if label[:1] in ("+", "-") else ""
            id = self.lookup(prop, label[len(sign) :].strip())
            if id is None:
                continue
            replaced = replaced and not sign
            if sign == "-":
                if id not in after:
                    raise Usage(f"property {prop}: {id} is not currently an element of [{','.join(map(str, after))}]")
                after.remove(id)
            else:
                new.append(id)
                after += [] if id in after else [id]
        ids = dict.fromkeys(new if replaced else after)
        return tuple(sorted(ids))

    def now(self) -> int:
        """The time of update, in milliseconds."""
        at = self.clock()
        if self.faults.tick:
            at -= at % self.faults.tick
        return int(at * 1000)

    def create_issue(self, sent: dict[str, Any], by: int, at: int | None = None) -> Item:
        """As POST does; the template's auditor presets the status."""
        values = {prop: () if prop in MANY else None for prop in self.props} | self.parsed(sent, None)
        if "title" in sent and values["title"] is None:
            raise Conflict('new property "title" not a string')
        values["status"] = values["status"] or 1
        born = self.clock() if at is None else at / 1000
        at = self.now() if at is None else at
        item = Item(len(self.issues) + 1, values, at, at, by, by, born=born)
        self.issues[item.id] = item
        bisect.insort(self.order, (at, item.id))
        self._link(item, values)
        return item

    def _link(self, item: Item, values: dict[str, Any]) -> None:
        for prop in ("messages", "files"):
            for one in values.get(prop, ()):
                owners = self.linking[prop, one]
                if item.id not in owners:
                    owners.append(item.id)

    def set(self, item: Item, values: dict[str, Any], by: int) -> dict[str, Any]:
        """Change an issue; answers what was changed. A new message moves unread and resolved ones to chatting,
        and who an issue is assigned to is told of it."""
        if item.retired:
            raise Conflict("Requested item is retired")
        if values.get("messages", item.values["messages"]) != item.values["messages"] and "status" not in values:
            values = values | ({"status": 3} if item.values["status"] in CHATTED else {})
        who, nosy = values.get("assignedto"), values.get("nosy", item.values["nosy"])
        if who is not None and who not in nosy:
            values = values | {"nosy": sorted([*nosy, who])}
        changed = {prop: value for prop, value in values.items() if item.values[prop] != value}
        if changed:
            self._remember(item)
            item.values = item.values | changed
            self._link(item, changed)
            self._touch(item, by)
        return changed

    def retire(self, item: Item, *, retired: bool, by: int) -> None:
        """Delete, or bring back."""
        if item.retired != retired:
            self._remember(item)
            item.retired = retired
            self._touch(item, by)

    def _touch(self, item: Item, by: int) -> None:
        place = bisect.bisect_left(self.order, (item.activity, item.id))
        if place < len(self.order) and self.order[place] == (item.activity, item.id):
            del self.order[place]
        item.activity, item.actor, item.rev = max(self.now(), item.activity), by, item.rev + 1
        item.shown = {}
        if not item.retired:
            bisect.insort(self.order, (item.activity, item.id))

    def _remember(self, item: Item) -> None:
        if self.faults.lag:
            now = self.clock()
            item.past = [one for one in item.past if one[0] > now - self.faults.lag]
            item.past.append((now, replace(item, past=[], shown={})))

    def as_of(self, at: float) -> Iterator[Item]:
        """All issues as they were then, but for those that do not lag."""
        for item in self.issues.values():
            if item.id % self.faults.lag_every:
                yield item
            elif item.born <= at:
                yield next((old for until, old in item.past if until > at), item)

    def add_message(self, values: dict[str, Any], content: str, by: int) -> Blob:
        """As POST does; only an issue that links it shows it."""
        if not content:
            raise Conflict("object of type 'NoneType' has no len()")
        key = None if self.faults.no_keys else values.get("messageid")
        stored = {"author": by, "date": None, "files": (), "type": None, **values, "messageid": key}
        blob = Blob(len(self.messages) + 1, stored, self.now(), by, content.strip().encode(), self.clock())
        self.messages[blob.id] = blob
        if key:
            self.by_key[key].append(blob.id)
        return blob

    def add_file(self, name: str, kind: str, content: bytes, by: int) -> Blob:
        """As POST does."""
        blob = Blob(len(self.files) + 1, {"name": name, "type": kind}, self.now(), by, content, self.clock())
        self.files[blob.id] = blob
        return blob

    def etag(self, of: str, id: int, rev: int) -> str:
        """Differs after each change."""
        return f'"{hashlib.md5(f"{of}{id}/{rev}".encode(), usedforsecurity=False).hexdigest()}"'


def shown_time(at: int) -> str:
    """`2026-11-24.02:03:36`: cut to seconds."""
    return time.strftime("%Y-%m-%d.%H:%M:%S", time.gmtime(at // 1000))
