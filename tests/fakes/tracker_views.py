"""What the fake Roundup shows: searches, single records, links with their labels."""

from __future__ import annotations

import base64
import bisect
import calendar
import re
import time
from collections.abc import Iterable
from typing import Any

import orjson

from tests.fakes.tracker import LINKS, MANY, PROTECTED, Blob, Item, Missing, Tracker, Usage, shown_time

Params = list[tuple[str, str]]
BLOB_PROPS = {
    "msg": ("author", "content", "date", "files", "messageid", "type", "inreplyto", "recipients", "summary"),
    "file": ("name", "type", "content"),
}
NAME_PROPS = ("name", "username", "timezone", "order")
FOREVER = 1 << 60


class Views:
    """Reads a tracker. Fields that are not there raise Usage, records Missing, in the tracker's words."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.link = "http://fake/tracker/rest/data"

    def collection(self, of: str, params: Params) -> tuple[bytes, int]:
        """A search: its JSON, and how many there are in all."""
        filters: dict[str, list[str]] = {}
        fields: tuple[str, ...] = ()
        size, index, verbose, sort = 0, 1, 1, ""
        for name, value in params:
            if name == "@fields":
                fields = self._fields(of, value)
            elif name in ("@page_size", "@page_index", "@verbose"):
                size, index, verbose = (
                    int(value) if name == wanted else old
                    for wanted, old in zip(
                        ("@page_size", "@page_index", "@verbose"), (size, index, verbose), strict=True
                    )
                )
            elif name == "@sort":
                sort = value
            elif not name.startswith("@"):
                filters.setdefault(name, []).append(value)
        skip = size * (index - 1) if size else 0
        bodies, total = (
            self._issues(filters, sort, skip, size, fields, verbose)
            if of == "issue"
            else self._others(of, filters, fields, verbose)
        )
        total = max(total, skip)
        return b'{"data":{"collection":[' + b",".join(bodies) + b'],"@total_size":%d}}\n' % total, total

    def _fields(self, of: str, value: str) -> tuple[str, ...]:
        fields = tuple(value.split(","))
        known = self._known(of)
        for name in fields:
            if name not in known:
                raise Usage(f"'Unknown property: {name}'")
        return fields

    def _known(self, of: str) -> tuple[str, ...]:
        own = self.tracker.props if of == "issue" else BLOB_PROPS.get(of, NAME_PROPS)
        return (*own, *PROTECTED)

    # issues

    def _issues(
        self, filters: dict[str, list[str]], sort: str, skip: int, size: int, fields: tuple[str, ...], verbose: int
    ) -> tuple[list[bytes], int]:
        tracker = self.tracker
        for name in filters:
            if name.rstrip(":~").partition(".")[0] not in self._known("issue"):
                raise Usage(f"Field {name.rstrip(':~')} is not valid for issue class.")
        lagging = tracker.faults.lag and "id" not in filters
        if not lagging and set(filters) <= {"activity"} and sort.startswith("activity"):
            low, high = self._range(filters.get("activity", [";"])[0])
            begin = bisect.bisect_left(tracker.order, (low, 0))
            end = bisect.bisect_right(tracker.order, (high, FOREVER))
            stop = min(end, begin + skip + size) if size else end
            wanted: Iterable[Item] = (tracker.issues[id] for _, id in tracker.order[begin + skip : stop])
            total = end - begin
        else:
            items = self._matching(filters, bool(lagging))
            items.sort(
                key=(lambda one: (one.activity, one.id)) if sort.startswith("activity") else (lambda one: one.id)
            )
            wanted, total = items[skip : skip + size if size else None], len(items)
        return [self._shown(item, fields, verbose) for item in wanted], total

    def _matching(self, filters: dict[str, list[str]], lagging: bool) -> list[Item]:  # noqa: FBT001  internal
        tracker = self.tracker
        items: Iterable[Item] = tracker.issues.values()
        if lagging:
            items = tracker.as_of(tracker.clock() - tracker.faults.lag)
        elif "id" in filters:
            items = [
                tracker.issues[int(id)]
                for id in dict.fromkeys(filters["id"])
                if id.isdigit() and int(id) in tracker.issues
            ]
        elif "messages" in filters or "files" in filters:
            prop = "messages" if "messages" in filters else "files"
            ids = {int(one) for value in filters[prop] for one in value.split(",") if one.isdigit()}
            items = [tracker.issues[id] for id in dict.fromkeys(o for one in ids for o in tracker.linking[prop, one])]
        items = [item for item in items if not item.retired]
        for name, values in filters.items():
            items = [item for item in items if self._fits(item, name, values)] if name != "id" or lagging else items
        return items

    def _fits(self, item: Item, name: str, values: list[str]) -> bool:
        prop, exact = name.rstrip(":~"), name.endswith(":")
        if prop == "activity":
            low, high = self._range(values[0])
            return low <= item.activity <= high
        if prop == "id":
            return str(item.id) in values
        if prop in MANY or prop in LINKS:
            wanted = {self._wanted(prop, one) for value in values for one in value.split(",")}
            has = item.values[prop]
            return bool(wanted & set(has)) if prop in MANY else has in wanted
        text = item.values.get(prop) or ""
        return all(value == text if exact else value.lower() in text.lower() for value in values)

    def _wanted(self, prop: str, label: str) -> int | None:
        of = LINKS.get(prop) or MANY[prop]
        if label.lstrip("+-").isdigit():
            return None if label == "-1" else int(label)
        ids = self.tracker.ids.get(of, {})
        if label not in ids:
            raise Usage(f'\'No key ({"username" if of == "user" else "name"}) value "{label}" for "{of}"\'')
        return ids[label]

    def _shown(self, item: Item, fields: tuple[str, ...], verbose: int) -> bytes:
        cached = item.shown.get((fields, verbose))
        if cached is None:
            names = (*fields, "title") if verbose > 1 else fields
            shown = {"id": str(item.id), "link": f"{self.link}/issue/{item.id}"}
            shown |= {prop: self._prop(item, prop, verbose) for prop in sorted(set(names))}
            cached = item.shown[fields, verbose] = orjson.dumps(shown)
        return cached

    def _prop(self, item: Item, prop: str, verbose: int) -> Any:
        if prop in ("activity", "creation"):
            return shown_time(getattr(item, prop))
        if prop == "id":
            return str(item.id)
        value = getattr(item, prop) if prop in PROTECTED else item.values[prop]
        if prop in MANY:
            return [self._linked(MANY[prop], id, verbose) for id in value]
        return self._linked(LINKS[prop], value, verbose) if prop in LINKS else value

    def _linked(self, of: str, id: int | None, verbose: int) -> Any:
        if id is None:
            return None
        shown = {"id": str(id), "link": f"{self.link}/{of}/{id}"}
        if verbose > 1:
            if of == "msg":
                shown["activity"] = shown_time(self.tracker.messages[id].creation)
            elif of == "file":
                shown["name"] = self.tracker.files[id].values["name"]
            elif of == "issue":
                shown["title"] = self.tracker.issues[id].values["title"]
            else:
                shown["username" if of == "user" else "name"] = str(self.tracker.names[of][id - 1])
        return shown

    def bare(self, prop: str, value: Any) -> Any:
        """A value as the answer to a write shows it: ids."""
        if prop in MANY:
            return [str(id) for id in value]
        return str(value) if prop in LINKS and value is not None else value

    # everything else

    def _others(
        self, of: str, filters: dict[str, list[str]], fields: tuple[str, ...], verbose: int
    ) -> tuple[list[bytes], int]:
        for name in filters:
            if name.rstrip(":~") not in self._known(of):
                raise Usage(f"Field {name.rstrip(':~')} is not valid for {of} class.")
        table = {"msg": self.tracker.messages, "file": self.tracker.files}.get(of)
        if table is None:
            return self._names(of, filters, fields)
        found = self._blobs(of, table, filters)
        shown = [orjson.dumps(self._blob(of, blob, fields, verbose)) for blob in found]
        return shown, len(shown)

    def _names(self, of: str, filters: dict[str, list[str]], fields: tuple[str, ...]) -> tuple[list[bytes], int]:
        label = "username" if of == "user" else "name"
        shown = []
        for id, name in enumerate(self.tracker.names[of], 1):
            asked = {"id": str(id), label: name, "timezone": self.tracker.timezones.get(str(name))}
            fits = (asked.get(key.rstrip(":~")) in values for key, values in filters.items())
            if all(fits):
                show = {prop: asked.get(prop) for prop in fields}
                shown.append(orjson.dumps({"id": str(id), "link": f"{self.link}/{of}/{id}", **show}))
        return shown, len(shown)

    def _blobs(self, of: str, table: dict[int, Blob], filters: dict[str, list[str]]) -> list[Blob]:
        found: Iterable[Blob] = table.values()
        if "id" in filters:
            found = [table[id] for id in sorted({int(one) for one in filters["id"] if one.isdigit()}) if id in table]
        elif of == "msg" and "messageid:" in filters:
            found = [table[id] for id in self.tracker.by_key.get(filters["messageid:"][0], [])]
        if "id" not in filters and self.tracker.faults.lag:
            seen = self.tracker.clock() - self.tracker.faults.lag
            found = [blob for blob in found if blob.born <= seen]
        if "messageid" in filters:
            part = filters["messageid"][0].lower()
            found = [blob for blob in found if part in (blob.values["messageid"] or "").lower()]
        return list(found)

    def _blob(self, of: str, blob: Blob, fields: tuple[str, ...], verbose: int) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": str(blob.id), "link": f"{self.link}/{of}/{blob.id}"}
        label = ("activity" if of == "msg" else "name",) if verbose > 1 else ()
        for prop in dict.fromkeys((*fields, *label)):
            if prop in ("creation", "activity"):
                shown[prop] = shown_time(blob.creation)
            elif prop in ("creator", "actor", "author"):
                shown[prop] = self._linked("user", blob.values.get(prop, blob.creator), verbose)
            elif prop == "content":
                content = blob.content.decode(errors="replace")
                shown[prop] = content if verbose > 2 else {"link": f"{self.link}/{of}{blob.id}/"}
            else:
                shown[prop] = str(blob.id) if prop == "id" else blob.values.get(prop)
        return shown

    def blob(self, of: str, id: str) -> Blob:
        """A message or file."""
        table = {"msg": self.tracker.messages, "file": self.tracker.files}.get(of, {})
        if not id.isdigit() or int(id) not in table:
            raise Missing(f"no such {of} {id}")
        return table[int(id)]

    def single(self, of: str, id: str, params: Params) -> tuple[dict[str, Any], str]:
        """One record with its ETag, a retired one too. It is never behind."""
        given = dict(params)
        verbose = int(given.get("@verbose", "1"))
        asked = self._fields(of, given["@fields"]) if "@fields" in given else ()
        head = {"id": id, "type": of, "link": f"{self.link}/{of}/{id}"}
        if of in ("msg", "file"):
            fields = asked or BLOB_PROPS[of]
            return {**head, "attributes": self._blob(of, self.blob(of, id), fields, verbose)}, self.tracker.etag(
                of, int(id), 1
            )
        if of != "issue" or not id.isdigit() or int(id) not in self.tracker.issues:
            raise Missing(f"no such {of} {id}" if id.isdigit() else f"Item '{id}' not found")
        item = self.tracker.issues[int(id)]
        protected = PROTECTED if given.get("@protected") == "true" else ()
        names = sorted(
            {
                *(asked or (*self.tracker.props, *(("id", *protected) if protected else ()))),
                *(("title",) if verbose > 1 else ()),
            }
        )
        shown = {prop: self._prop(item, prop, verbose) for prop in names}
        return {**head, "attributes": shown}, self.tracker.etag(of, item.id, item.rev)

    def _range(self, span: str) -> tuple[int, int]:
        """`FROM;TO` in milliseconds, both inclusive, read in the login's zone."""
        low, _, high = span.partition(";")
        zone = int(self.tracker.faults.zone * 1000)
        return (_time(low) - zone if low else 0), (_time(high) - zone if high else FOREVER)

    def _label(self, of: str, number: int | None) -> str:
        return str(self.tracker.names[of][number - 1]) if number else ""

    def state(self) -> dict[str, Any]:
        """All issues, messages and files."""
        label = self._label
        issues = {}
        for item in self.tracker.issues.values():
            values = {prop: label(LINKS[prop], v) if prop in LINKS else v for prop, v in item.values.items()}
            values["keyword"] = sorted(label("keyword", id) for id in item.values["keyword"])
            issues[str(item.id)] = {**values, "retired": item.retired, "activity": item.activity}
        messages = {
            str(one.id): {
                "text": one.content.decode(),
                "key": one.values["messageid"],
                "author": label("user", one.creator),
            }
            for one in self.tracker.messages.values()
        }
        files = {
            str(one.id): {**one.values, "data": base64.b64encode(one.content).decode()}
            for one in self.tracker.files.values()
        }
        return {"issues": issues, "messages": messages, "files": files}


def _time(text: str) -> int:
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d\.\d\d:\d\d:\d\d)(\.\d{1,3})?", text)
    if match is None:
        return int(time.time() * 1000)
    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%d.%H:%M:%S"))
    return seconds * 1000 + round(float(match[2] or 0) * 1000)
