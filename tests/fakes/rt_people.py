"""The people who work in a fake RT: they edit as another user, at any moment, past all locks."""

from __future__ import annotations

import base64
from typing import Any

from tests.fakes.rt_records import Records, Ticket


class People:
    """Each method is one edit by somebody; ids are text. Fields are as RT's interface takes them."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.pending: dict[int, tuple[Ticket, tuple[str, str, str, float]]] = {}

    def _ticket(self, id: str) -> Ticket:
        found = self.records.ticket(int(id))
        assert found
        return found

    def create(self, sent: dict[str, Any] | None = None, by: str = "analyst", **fields: Any) -> str:
        """A new ticket, in SOC unless it says another queue."""
        return str(self.records.create({"Queue": "SOC", **(sent or {}), **fields}, by).id)

    def edit(self, id: str, sent: dict[str, Any] | None = None, by: str = "analyst", **fields: Any) -> str:
        """Set fields of a ticket."""
        self.records.change(self._ticket(id), {**(sent or {}), **fields}, by)
        return id

    def comment(self, id: str, text: str, by: str = "analyst", kind: str = "text/plain", as_: str = "Comment") -> str:
        """Write a comment, or correspondence; answers `transaction/7`."""
        made, _ = self.records.say(self._ticket(id), {"Content": text, "ContentType": kind}, as_, by)
        return f"transaction/{made.id}"

    def file(self, id: str, name: str, data: bytes | str, kind: str = "text/plain", by: str = "analyst") -> str:
        """Attach a file (over HTTP its data is base64); answers `transaction/8/attachment/3`."""
        content = data if isinstance(data, str) else base64.b64encode(data).decode()
        file = {"FileName": name.encode().decode("latin-1"), "FileType": kind, "FileContent": content}
        made, _ = self.records.say(self._ticket(id), {"Attachments": [file]}, "Comment", by)
        return f"transaction/{made.id}/attachment/{len(self.records.attachments)}"

    def close(self, id: str) -> str:
        """Resolve a ticket."""
        return self.edit(id, {"Status": "resolved"})

    def reopen(self, id: str) -> str:
        """Take it up again."""
        return self.edit(id, {"Status": "open"})

    def remove(self, id: str) -> str:
        """Delete it, as RT deletes."""
        return self.edit(id, {"Status": "deleted"})

    def merge(self, id: str, into: str) -> str:
        """Merge a ticket into another."""
        return self.edit(id, {"MergeInto": into})

    def move(self, id: str, queue: str) -> str:
        """Move it to another queue."""
        return self.edit(id, {"Queue": queue})

    def begin(self, id: str, **fields: Any) -> int:
        """An edit whose transaction has its id, and is not committed yet; answers that id."""
        ticket, before = self._ticket(id), self.records.last
        kept = (ticket.subject, ticket.status, ticket.owner, ticket.updated)
        self.records.change(ticket, fields, "analyst")
        made = self.records.transactions[self.records.last]
        assert made.id == before + 1, "one field at a time"
        made.shown = False
        after = (ticket.subject, ticket.status, ticket.owner, ticket.updated)
        ticket.subject, ticket.status, ticket.owner, ticket.updated = kept
        self.pending[made.id] = (ticket, after)
        return made.id

    def commit(self, transaction: int) -> None:
        """What was begun is there."""
        ticket, after = self.pending.pop(transaction)
        ticket.subject, ticket.status, ticket.owner, ticket.updated = after
        self.records.transactions[transaction].shown = True
