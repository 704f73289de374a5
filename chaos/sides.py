"""What a store and a tracker hold, read whole, as chaos compares it."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from blocks.fieldmap import FieldMap
from blocks.store import Database, tables
from blocks.store.tables import Table, table_of

Rows = list[dict[str, Any]]
TABLES: tuple[type[Table], ...] = (
    tables.System, tables.Mirror, tables.Incident, tables.Entry, tables.Link, tables.EntryLink, tables.Intent,
    tables.Conflict, tables.Parked, tables.Audit,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A comment or file as either side shows it: a file is its bytes, too."""

    kind: str
    words: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.words!r}"


@dataclass(slots=True)
class Store:
    """The store's rows."""

    id: str
    rows: dict[str, Rows]

    @classmethod
    async def read(cls, database: Database) -> Store:
        """All that is compared."""
        rows: dict[str, Rows] = {}
        async with database.read() as connection:
            for one in TABLES:
                table = table_of(one)
                found = await connection.execute(select(table).order_by(*table.primary_key.columns))
                rows[table.name] = [{**row} for row in found.mappings()]
        return cls(database.id, rows)

    @property
    def restless(self) -> int:
        """Links to be decided and writes without an answer."""
        dirty = [link for link in self.rows["link"] if link["dirty"] == 1]
        return len(dirty) + len(self.rows["intent"])

    def system(self, mirror: str) -> int:
        """The id of the system that this mirror is bound to; 0 if it is bound to none."""
        return int(next((row["system_id"] for row in self.rows["mirror"] if row["name"] == mirror), 0))

    def links(self, mirror: str) -> Rows:
        """A mirror's links."""
        number = self.system(mirror)
        return [row for row in self.rows["link"] if row["system_id"] == number]

    def parked(self, link: Mapping[str, Any]) -> Rows:
        """What of a link is parked and open."""
        return [
            row
            for row in self.rows["parked"]
            if row["state"] == "open"
            and row["system_id"] == link["system_id"]
            and (row["link_id"] == link["id"] or (row["link_id"] is None and row["remote_id"] == link["remote_id"]))
        ]

    def listed(self, link: Mapping[str, Any], ours: str, theirs: str) -> bool:
        """Whether a difference in this field waits for a person."""
        if any(row["link_id"] == link["id"] and row["field"] == ours for row in self.rows["conflict"]):
            return True
        payloads = [row["payload"] or {} for row in self.parked(link)]
        return any(one.get("field") == ours or {ours, theirs} & set(one.get("patch") or {}) for one in payloads)

    def waiting_words(self, link: Mapping[str, Any]) -> set[str]:
        """The words of a link's entries that are parked, on their way in or out."""
        rows = self.parked(link)
        ids = {row["entry_id"] for row in rows}
        words = {row["name"] or row["text"].strip() for row in self.rows["entry"] if row["id"] in ids}
        payloads = [row["payload"] for row in rows if row["kind"] in {"entry", "content"} and row["entry_id"] is None]
        return words | {one["name"] or one["text"].strip() for one in payloads}

    def items(self) -> dict[int, Counter[Item]]:
        """Each incident's comments and files."""
        result: dict[int, Counter[Item]] = defaultdict(Counter)
        for row in self.rows["entry"]:
            words = row["name"] if row["kind"] == "file" else row["text"].strip()
            result[row["incident_id"]][Item(row["kind"], words, row["blob"] or "")] += 1
        return result


@dataclass(slots=True)
class There:
    """A tracker's issues, as `/_fake/state` shows them."""

    name: str
    state: Mapping[str, Any]
    map: FieldMap
    prefix: str

    @property
    def issues(self) -> dict[str, dict[str, Any]]:
        """Issues by id."""
        shown: dict[str, dict[str, Any]] = self.state["issues"]
        return shown

    def items(self, issue: Mapping[str, Any]) -> Counter[Item]:
        """Its comments and files, but for the first message of an incident that we created."""
        result: Counter[Item] = Counter()
        for number in issue["messages"]:
            message = self.state["messages"][str(number)]
            if not (message["key"] or "").startswith(f"{self.prefix}i"):
                result[Item("comment", message["text"].strip())] += 1
        for number in issue["files"]:
            file = self.state["files"][str(number)]
            digest = hashlib.sha256(base64.b64decode(file["data"])).hexdigest()
            result[Item("file", file["name"], digest)] += 1
        return result

    def fields(self, issue: Mapping[str, Any]) -> dict[str, Any]:
        """Their keys and values as the connector shows them."""
        return {row.theirs: issue.get(row.theirs) or ([] if row.many else None) for row in self.map.rows}

    def keys(self) -> Counter[str]:
        """How often each key of ours is on messages that issues link."""
        linked = [str(number) for issue in self.issues.values() for number in issue["messages"]]
        keys = [self.state["messages"][number]["key"] for number in linked]
        return Counter(key for key in keys if key and key.startswith(self.prefix))
