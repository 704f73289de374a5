"""What the fake RT shows: its records as JSON, and its searches."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.fakes import rt_sql
from tests.fakes.rt_records import Attachment, CustomField, Records, Ticket, Transaction, shown_time

BASE = "http://rt.test/REST/2.0"
MOST = 100
Denied = Callable[[str, str, str], bool]
"""Whether a login lacks a right on a queue."""


class Crashed(Exception):
    """500: what RT does not expect."""


class Views:
    """Reads for one login."""

    def __init__(self, records: Records, denied: Denied) -> None:
        self.records, self.denied = records, denied

    def one(self, ticket: Ticket, fields: Mapping[str, str]) -> dict[str, Any]:
        """A ticket alone: all of it, and what was asked of its links."""
        queue = _link("queue", self.records.queues[ticket.queue])
        if "Name" in fields.get("fields[Queue]", "").split(","):
            queue["Name"] = ticket.queue
        return {
            "id": ticket.id,
            "Type": "ticket",
            "Subject": ticket.subject,
            "Status": ticket.status,
            "Priority": ticket.priority,
            "Owner": _link("user", ticket.owner),
            "Creator": _link("user", ticket.creator),
            "Queue": queue,
            "EffectiveId": _link("ticket", ticket.effective),
            "Created": shown_time(ticket.created),
            "LastUpdated": shown_time(ticket.updated),
            "Resolved": "1970-01-01T00:00:00Z",
            "CustomFields": [self._custom(one, ticket.custom) for one in self._of("ticket")],
        }

    def _of(self, of: str) -> list[CustomField]:
        return [one for one in self.records.fields if one.of == of]

    def _custom(
        self, one: CustomField, values: Mapping[int, list[str | None]], fields: str | None = None
    ) -> dict[str, Any]:
        shown = {**_link("customfield", one.id), "name": one.name, "values": list(values.get(one.id, []))}
        return {**shown, "MaxValues": "0" if one.many else "1"} if fields and "MaxValues" in fields else shown

    def queue(self, name: str, login: str) -> dict[str, Any]:
        """A queue with its custom fields, and links to what the login may do."""
        fields = {of: [{**_link("customfield", f.id), "name": f.name} for f in self._of(of)] for of in _APPLIED}
        create = [] if self.denied(login, "CreateTicket", name) else [{"ref": "create", "type": "ticket"}]
        return {
            "id": self.records.queues[name],
            "Name": name,
            "Disabled": "0",
            "Lifecycle": "default",
            **{shown: fields[of] for of, shown in _APPLIED.items()},
            "_hyperlinks": [{"ref": "self"}, {"ref": "history"}, *create],
        }

    def tickets(self, login: str, params: Mapping[str, str]) -> dict[str, Any]:
        """A search: without what was deleted, or merged unless its target is asked for. rt_sql.Wrong."""
        tree = rt_sql.parse(params.get("query", ""))
        merged = "EffectiveId" in rt_sql.keys(tree)
        found = [
            ticket
            for ticket in self.records.tickets.values()
            if not self.denied(login, "ShowTicket", ticket.queue)
            if ticket.status != "deleted" and (merged or ticket.effective == ticket.id)
            if rt_sql.holds(tree, self._ticket_row(ticket))
        ]
        return self._page(found, params, lambda one: self._listed(one, params), total=len(found))

    def _ticket_row(self, ticket: Ticket) -> rt_sql.Row:
        return _row({
            "id": ticket.id, "Subject": ticket.subject, "Status": ticket.status, "Owner": ticket.owner,
            "EffectiveId": ticket.effective, "Priority": ticket.priority,
        }, lambda key: self._columns(key, ticket.queue, "ticket", ticket.custom))  # fmt: skip

    def _columns(self, key: str, queue: str, of: str, custom: Mapping[int, list[str | None]]) -> list[Any] | None:
        if key in ("Queue", "TicketQueue"):
            return [queue, str(self.records.queues[queue])] if (key == "Queue") == (of == "ticket") else None
        if not key.startswith("CF.{"):
            return None
        one = self.records.field(key[4:].partition("}")[0], of)
        return [value for value in custom.get(one.id, ()) if value] if one else []

    def _listed(self, ticket: Ticket, params: Mapping[str, str]) -> dict[str, Any]:
        shown = self.one(ticket, params) | {"EffectiveId": str(ticket.effective)}
        asked = params.get("fields[CustomFields]")
        shown["CustomFields"] = [self._custom(one, ticket.custom, asked) for one in self._of("ticket")]
        return _link("ticket", ticket.id) | {name: shown.get(name, "") for name in _names(params)}

    def transactions(self, login: str, params: Mapping[str, str]) -> dict[str, Any]:
        """A search: rows that the login may not see are left out after the page was cut. rt_sql.Wrong."""
        tree = rt_sql.parse(params.get("query", ""))
        found = [
            one
            for one in self.records.transactions.values()
            if one.shown and not self.denied(login, "ShowTicket", self.records.tickets[one.ticket].queue)
            if rt_sql.holds(tree, self._transaction_row(one))
        ]
        return self._page(found, params, lambda one: self._told(one, params, login))

    def _transaction_row(self, one: Transaction) -> rt_sql.Row:
        queue = self.records.tickets[one.ticket].queue
        known = {"id": one.id, "ObjectId": one.ticket, "ObjectType": "RT::Ticket", "Type": one.type}
        return _row(known, lambda key: self._columns(key, queue, "transaction", one.custom))

    def _told(self, one: Transaction, params: Mapping[str, str], login: str) -> dict[str, Any] | None:
        if one.type == "Comment" and self.denied(login, "ShowTicketComments", self.records.tickets[one.ticket].queue):
            return None
        shown = {
            "Type": one.type,
            "ObjectId": str(one.ticket),
            "Creator": _link("user", one.creator),
            "Created": shown_time(one.created),
            "CustomFields": [self._custom(field, one.custom) for field in self._of("transaction")],
        }
        return _link("transaction", one.id) | {name: shown.get(name, "") for name in _names(params)}

    def parts(self, login: str, params: Mapping[str, str], query: list[Mapping[str, Any]]) -> dict[str, Any]:
        """A search for attachments. Crashed: a field that RT cannot follow."""
        if "Parent" in _names(params):
            raise Crashed
        found = [part for part in self.records.attachments.values() if all(_limits(part, limit) for limit in query)]
        return self._page(found, params, lambda one: self._part(one, params, login))

    def _part(self, part: Attachment, params: Mapping[str, str], login: str) -> dict[str, Any] | None:
        if self._hidden(part, login):
            return None
        shown = {
            "TransactionId": str(part.transaction),
            "Filename": part.name or "",
            "ContentType": part.type,
            "ContentLength": str(len(part.content)),
            "Content": part.content.decode("utf-8", "replace"),
            "Created": shown_time(part.created),
        }
        return _link("attachment", part.id) | {name: shown.get(name, "") for name in _names(params)}

    def _hidden(self, part: Attachment, login: str) -> bool:
        said = self.records.transactions[part.transaction]
        queue = self.records.tickets[said.ticket].queue
        needed = "ShowTicketComments" if said.type == "Comment" else "ShowTicket"
        return self.denied(login, needed, queue)

    def part(self, id: int, login: str) -> dict[str, Any]:
        """An attachment alone, its content as base64. Crashed: there is none."""
        part = self.records.attachments.get(id)
        if part is None or self._hidden(part, login):
            raise Crashed
        content = {"Content": base64.encodebytes(part.content).decode()} if part.content else {}
        return {"id": part.id, "ContentType": part.type, "Filename": part.name, **content}

    def _page(
        self, found: Iterable[Any], params: Mapping[str, str], show: Callable[[Any], Any], total: int | None = None
    ) -> dict[str, Any]:
        rows = sorted(found, key=lambda one: one.id, reverse=params.get("order", "ASC").upper() == "DESC")
        size, page = min(_number(params.get("per_page"), 20), MOST), _number(params.get("page"), 1)
        items = [shown for one in rows[(page - 1) * size : page * size] if (shown := show(one)) is not None]
        pages = None if total is None else -(-total // size)
        return {"count": len(items), "total": total, "pages": pages, "per_page": size, "page": page, "items": items}

    def state(self) -> dict[str, Any]:
        """Everything, to compare at the end."""
        return {
            "tickets": {str(t.id): self.one(t, {"fields[Queue]": "Name"}) for t in self.records.tickets.values()},
            "transactions": {
                str(t.id): {
                    "type": t.type,
                    "ticket": t.ticket,
                    "creator": t.creator,
                    "custom": {str(id): v for id, v in t.custom.items()},
                }
                for t in self.records.transactions.values()
            },
            "attachments": {
                str(a.id): {"transaction": a.transaction, "name": a.name, "data": base64.b64encode(a.content).decode()}
                for a in self.records.attachments.values()
            },
        }


_APPLIED = {"ticket": "TicketCustomFields", "transaction": "TicketTransactionCustomFields"}


def _names(params: Mapping[str, str]) -> list[str]:
    return [name for name in params.get("fields", "").split(",") if name]


def _link(type: str, id: Any) -> dict[str, Any]:
    return {"type": type, "id": str(id), "_url": f"{BASE}/{type}/{id}"}


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() and int(text) else otherwise


def _row(known: Mapping[str, Any], further: Callable[[str], list[Any] | None]) -> rt_sql.Row:
    def row(key: str) -> list[Any]:
        values = [known[key]] if key in known else further(key)
        if values is None:
            raise rt_sql.Wrong(f"Unknown field: {key}")
        return values

    return row


def _limits(part: Attachment, limit: Mapping[str, Any]) -> bool:
    """One condition of a search by JSON; a column that RT does not know limits nothing."""
    known: dict[str, int | str | None] = {"id": part.id, "TransactionId": part.transaction, "Filename": part.name}
    if limit["field"] not in known:
        return True
    value, how, there = limit["value"], str(limit.get("operator", "=")), known[limit["field"]]
    if how in ("IS", "IS NOT"):
        return (there is None) == (how == "IS")
    if how == "IN":
        return str(there) in map(str, value)
    return int(there or 0) > int(value) if how == ">" else str(there) == str(value)


def pretty(data: Any) -> bytes:
    """As RT writes most of its answers."""
    return json.dumps(data, indent=3).encode()
