"""The state of the fake RT: its tickets, transactions and attachments, and what RT makes of what it is sent."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.faults import Faults

STATUSES = ("new", "open", "stalled", "resolved", "rejected", "deleted")
SEVERITIES = ("info", "low", "medium", "high", "critical")
GUESSED = ("text/plain", "text/html")


class Bad(Exception):
    """Any refusal with RT's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class CustomField:
    """One custom field; `values`: what it may hold, empty for anything. `of`: tickets or transactions."""

    id: int
    name: str
    of: str = "ticket"
    many: bool = False
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class Ticket:
    """One ticket; times in seconds. `custom`: a field's id to its values, of which null is one."""

    id: int
    queue: str
    subject: str
    status: str
    owner: str
    priority: str
    creator: str
    created: float
    updated: float
    effective: int
    custom: dict[int, list[str | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Transaction:
    """One change. Until `shown` it is not committed, and nobody sees it."""

    id: int
    type: str
    ticket: int
    creator: str
    created: float
    custom: dict[int, list[str | None]] = field(default_factory=dict)
    shown: bool = True


@dataclass(slots=True)
class Attachment:
    """A part of a transaction's message."""

    id: int
    transaction: int
    name: str | None
    type: str
    content: bytes
    created: float


class Records:
    """All state. Whoever changes it is named by login; rights are not looked at here."""

    def __init__(self, faults: Faults, clock: Callable[[], float]) -> None:
        self.faults, self.clock = faults, clock
        self.users = {"RT_System": 1, "Nobody": 6, "root": 14, "lockstep": 22, "analyst": 29}
        self.queues = {"General": 1, "SOC": 3, "Other": 4, 'It\'s "SOC" \\ 2': 5, "Secret": 6}
        self.fields = [
            CustomField(2, "EntryKey", "transaction"),
            CustomField(3, "RemoteID"),
            CustomField(4, "Severity", values=SEVERITIES),
            CustomField(5, "SyncKey"),
            CustomField(6, "Tags", many=True),
        ]
        self.tickets: dict[int, Ticket] = {}
        self.transactions: dict[int, Transaction] = {}
        self.attachments: dict[int, Attachment] = {}
        self.last = 50

    def field(self, name: str, of: str = "ticket") -> CustomField | None:
        """A custom field by its name, whatever its case."""
        return next((one for one in self.fields if (one.name.casefold(), one.of) == (name.casefold(), of)), None)

    def ticket(self, id: int) -> Ticket | None:
        """A ticket; of a merged one, its target."""
        found = self.tickets.get(id)
        return self.tickets[found.effective] if found else None

    def etag(self, ticket: Ticket) -> int:
        """The greatest transaction that is shown, of those that were merged into it, too."""
        merged = {one.id for one in self.tickets.values() if one.effective == ticket.id}
        return max(one.id for one in self.transactions.values() if one.ticket in merged and one.shown)

    def record(self, ticket: Ticket, type: str, by: str, gap: int = 0) -> Transaction:
        """A new transaction, after `gap` ids that other things took."""
        self.last += 1 + gap
        made = Transaction(self.last, type, ticket.id, by, self.clock())
        self.transactions[made.id] = made
        ticket.updated = made.created
        return made

    def create(self, sent: dict[str, Any], by: str) -> Ticket:
        """A new ticket: an owner or a value that is wrong is left out without a word. Bad: the status is."""
        status = str(sent.get("Status") or "new").lower()
        if status not in STATUSES:
            raise Bad(400, f"Status '{sent['Status']}' isn't a valid status for tickets in this queue.")
        now = self.clock()
        id, owner = len(self.tickets) + 1, self.owner(sent.get("Owner")) or "Nobody"
        subject, priority = self._subject(sent.get("Subject") or ""), str(sent.get("Priority") or 0)
        ticket = Ticket(id, sent["Queue"], subject, status, owner, priority, by, now, now, id)
        self.tickets[ticket.id] = ticket
        made = self.record(ticket, "Create", by, gap=4)
        for name, value in (sent.get("CustomFields") or {}).items():
            one = self.field(name)
            if one is not None and not self.faults.no_keys and value is not None:
                values = value if isinstance(value, list) else [value]
                kept: list[str | None] = [str(v) for v in values if self.allowed(one, v)]
                ticket.custom[one.id] = kept[None if one.many else -1 :]
        if sent.get("Content") or sent.get("Attachments"):
            self._parts(made, sent)
        return ticket

    def owner(self, sent: Any) -> str | None:
        """Whom a login names; a number is an account's. None: nobody that RT knows."""
        text = str(sent or "").casefold()
        return next((name for name, id in self.users.items() if text in (name.casefold(), str(id))), None)

    def _subject(self, sent: str) -> str:
        cut = sent.replace("\n", "").encode()[:200].decode(errors="ignore")
        return str(self.faults.computed("Subject", cut))

    def allowed(self, one: CustomField, value: Any) -> bool:
        """Whether a custom field takes it."""
        return not one.values or value in one.values

    def change(self, ticket: Ticket, sent: dict[str, Any], by: str) -> list[str]:
        """Apply what can be applied; what RT says to it, which is not all."""
        told: list[str] = []
        for name, setter in self._setters().items():
            if sent.get(name) is not None:
                told += [f"Ticket {ticket.id}: {words}" for words in setter(ticket, str(sent[name]), by)]
        for name, value in (sent.get("CustomFields") or {}).items():
            one = self.field(name)
            if one is not None:
                told += self._many(ticket, one, value, by) if one.many else self._single(ticket, one, value, by)
        if sent.get("MergeInto"):
            told.append(self.merge(ticket, self.tickets[int(sent["MergeInto"])], by))
        return told

    def _setters(self) -> dict[str, Callable[[Ticket, str, str], list[str]]]:
        return {
            "Owner": self._set_owner,
            "Priority": self._set_priority,
            "Queue": self._set_queue,
            "Status": self._set_status,
            "Subject": self._set_subject,
        }

    def _set_owner(self, ticket: Ticket, sent: str, by: str) -> list[str]:
        new = self.owner(sent)
        if new is None:
            return ["That user does not exist"]
        if new == ticket.owner:
            return [] if sent == new else ["That user already owns that ticket"]
        old, ticket.owner = ticket.owner, new
        self.record(ticket, "SetWatcher", by, gap=2)
        return [f"Owner changed from {old} to {new}"]

    def _set_priority(self, ticket: Ticket, sent: str, by: str) -> list[str]:
        if sent == ticket.priority:
            return []
        ticket.priority = sent
        self.record(ticket, "Set", by)
        return ["Priority changed from 'Low' to 'Low'"]

    def _set_queue(self, ticket: Ticket, sent: str, by: str) -> list[str]:
        old, ticket.queue = ticket.queue, sent
        self.record(ticket, "Set", by)
        return [f"Queue changed from {old} to {sent}"]

    def _set_status(self, ticket: Ticket, sent: str, by: str) -> list[str]:
        new = sent.lower()
        if new not in STATUSES:
            return [f"Status '{sent}' isn't a valid status for this ticket."]
        if new == ticket.status:
            return []
        old, ticket.status = ticket.status, new
        self.record(ticket, "Status", by)
        return [f"Status changed from '{old}' to '{new}'"]

    def _set_subject(self, ticket: Ticket, sent: str, by: str) -> list[str]:
        new = self._subject(sent)
        if new == ticket.subject:
            return []
        old, ticket.subject = ticket.subject, new
        self.record(ticket, "Set", by)
        shown = [f"'{one}'" if one else "(no value)" for one in (old, new)]
        return [f"Subject changed from {shown[0]} to {shown[1]}"]

    def _single(self, ticket: Ticket, one: CustomField, value: Any, by: str) -> list[str]:
        old = (ticket.custom.get(one.id) or [None])[0]
        value = value[0] if isinstance(value, list) else value
        if value is not None and not self.allowed(one, value):
            return ["Invalid value for custom field"]
        if value is None and old:
            ticket.custom[one.id] = []
            self.record(ticket, "CustomField", by)
            return [f"{old} is no longer a value for custom field {one.name}"]
        if value == old and old is not None:
            return []
        # Null is a value where there was none.
        ticket.custom[one.id] = [value or None]
        self.record(ticket, "CustomField", by)
        return [f"{one.name} {old} changed to {value}" if old else f"{one.name} {value or ''} added"]

    def _many(self, ticket: Ticket, one: CustomField, value: Any, by: str) -> list[str]:
        new = value if isinstance(value, list) else [value]
        old = ticket.custom.get(one.id, [])
        told = [f"{v or ''} added as a value for {one.name}" for v in dict.fromkeys(new) if v not in old]
        told += [
            f"{v or ''} is no longer a value for custom field {one.name}"
            for v in sorted(map(_text, old))
            if v not in new
        ]
        ticket.custom[one.id] = [v for v in old if v in new] + [v for v in dict.fromkeys(new) if v not in old]
        for _ in told:
            self.record(ticket, "CustomField", by)
        return told

    def merge(self, ticket: Ticket, target: Ticket, by: str) -> str:
        """The ticket is served as its target from now on."""
        self.record(ticket, "AddLink", by)
        ticket.effective = target.id
        self.record(target, "AddLink", by)
        return "Merge Successful"

    def say(self, ticket: Ticket, sent: dict[str, Any], type: str, by: str) -> tuple[Transaction, list[str]]:
        """A comment or correspondence. Bad."""
        made = self.record(ticket, type, by)
        self._parts(made, sent)
        if type == "Correspond" and ticket.status not in ("new", "open"):
            self._set_status(ticket, "open", "RT_System")
        told = ["Correspondence added" if type == "Correspond" else "Comments added"]
        updated = False
        for name, value in (sent.get("TxnCustomFields") or {}).items():
            one = self.field(name, "transaction")
            if one is None:
                told.append(f"Unable to load transaction custom field: {name}")
            elif not self.faults.no_keys:
                made.custom[one.id], updated = [str(value)], True
        return made, told + (["Custom fields updated"] if updated else [])

    def _parts(self, made: Transaction, sent: dict[str, Any]) -> None:
        files = sent.get("Attachments") or []
        content = str(sent.get("Content") or "").replace("\r\n", "\n").encode()
        if files:
            self.attach(made, None, "multipart/mixed", b"")
        self.attach(
            made, None, sent.get("ContentType") or "text/plain" if content else "application/octet-stream", content
        )
        for one in files:
            data, kind = base64.b64decode(one["FileContent"]), re.split(r"[;\s]", one["FileType"])[0]
            name = one["FileName"].encode("latin-1").decode("utf-8", "replace").rpartition("/")[2]
            self.attach(made, name, kind, recoded(data) if kind in GUESSED else data)

    def attach(self, made: Transaction, name: str | None, kind: str, content: bytes) -> Attachment:
        """One part."""
        part = Attachment(len(self.attachments) + 1, made.id, name, kind, content, made.created)
        self.attachments[part.id] = part
        return part


def recoded(data: bytes) -> bytes:
    """RT keeps texts as UTF-8, and guesses what they were."""
    try:
        return data.decode("utf-8").encode()
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()


def _text(value: str | None) -> str:
    return value or ""


def shown_time(at: float) -> str:
    """`2026-11-24T03:50:24Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(at)))
