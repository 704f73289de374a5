"""Request Tracker's calls: what is sent, what its answers and its errors mean."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from blocks.answers import About
from blocks.errors import NotFound, Refused, Stale, Unauthorized, Unreadable
from blocks.http import Http
from blocks.incidents import _request_tracker as records
from blocks.incidents import _request_tracker_words as words
from blocks.model import BadRecord, Fields, Incident

AT_ONCE: Final = 100
"""RT answers no more rows at a time."""
SHOWN: Final = {
    "fields": "Subject,Status,Owner,Priority,Created,LastUpdated,CustomFields",
    "fields[CustomFields]": "MaxValues",
    "per_page": str(AT_ONCE),
}

T = TypeVar("T")


@dataclass(slots=True)
class Tracker:
    """One open connection to one queue."""

    http: Http
    system: str
    login: str
    queue: str
    key_field: str
    entry_field: str
    shapes: records.Shapes = field(default_factory=records.Shapes)
    applied: frozenset[str] | None = None

    @property
    def scope(self) -> str:
        """The condition of every search for tickets."""
        return f"Queue = {words.quoted(self.queue)}"

    async def search(self, of: str, query: str, id: str = "", **how: str) -> list[Any]:
        """Rows of a search in RT's own language. Refused: the query is not valid; Unreadable.

        Sent as a form: an address has a limit, and RT takes a bracket in it for JSON.
        """
        return self._rows(await self.http.json("POST", of, data={"query": query, **how}, id=id), of)

    async def attachments(self, query: list[dict[str, Any]], how: dict[str, str]) -> list[Any]:
        """Rows of a search for attachments, which knows JSON only. Unreadable."""
        return self._rows(await self.http.json("POST", "attachments", params=how, json=query), "attachments")

    def _rows(self, answer: Any, of: str) -> list[Any]:  # noqa: ANN401  as it came
        rows = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise self._unreadable("the answer is no list of records", of)
        return rows

    def _unreadable(self, message: str, of: str, id: str = "") -> Unreadable:
        return Unreadable(message, system=self.system, call=of, id=id)

    def read(self, what: Callable[[], T], of: str, id: str = "") -> T:
        """What an answer holds. Unreadable: it holds something else."""
        try:
            return what()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            message = f"the answer is not what it should be: {type(error).__name__}: {error}"[:200]
        raise self._unreadable(message, of, id)

    def risen(self, last: int, ids: list[int]) -> int:
        """The last of a page's ids, negative ones when it goes back. Unreadable: not all are beyond `last`, so that
        reading on would not end.
        """
        if ids and min(ids) <= last:
            raise self._unreadable(f"a search for ids beyond {abs(last)} answers {abs(min(ids))}", "search")
        return max(ids, default=last)

    async def get(self, id: str) -> Incident:
        """One ticket with its ETag; an id that was merged yields its target. NotFound: none, or not in our queue."""
        if not words.is_id(id):
            raise self._missing("no such ticket", id)
        try:
            answer = await self.http.call("GET", f"ticket/{id}", params={"fields[Queue]": "Name"}, id=id)
        except Unauthorized as error:
            # RT forbids one that was moved out of sight, and all of them where a right is missing.
            if error.status != httpx.codes.FORBIDDEN or not await self.search("tickets", self.scope, per_page="1"):
                raise
            raise self._missing("it is in a queue that this login may not see", id) from None
        raw = self.http.data(answer, id)
        queue, status = self.read(lambda: (str(raw["Queue"]["Name"]), raw["Status"]), "GET ticket", id)
        if status == "deleted" or queue.casefold() != self.queue.casefold():
            raise self._missing("it was deleted" if status == "deleted" else "it was moved to another queue", id)
        await self._learn(raw, id)
        version = records.version(self.read(lambda: int(answer.headers["etag"].strip('"')), "GET ticket", id))
        one = records.incident(raw, version, self.shapes, self.key_field)
        if isinstance(one, BadRecord):
            raise self._unreadable(one.error, "GET ticket", id)
        return one

    async def _learn(self, raw: Any, id: str) -> None:  # noqa: ANN401  as it came
        """A ticket alone does not tell which of its custom fields hold several values: a list does."""
        number = self.read(lambda: 0 if self.shapes.known(raw) else int(raw["id"]), "GET ticket", id)
        if number:
            for row in await self.search("tickets", f"id = {number}", **SHOWN):
                self.shapes.learn(row)

    def _missing(self, message: str, id: str) -> NotFound:
        return NotFound(message, system=self.system, call="GET ticket", id=id)

    async def fields(self) -> frozenset[str]:
        """The custom fields of the queue's tickets, asked once. Unauthorized: no such queue, or no right to see it."""
        if self.applied is None:
            raw = await self.http.json("GET", f"queue/{words.segment(self.queue)}")
            self.applied = self.read(
                lambda: frozenset(one["name"] for one in raw["TicketCustomFields"] or ()), "GET queue"
            )
        return self.applied

    async def made(self, body: dict[str, Any], sent: Fields) -> str:
        """Create a ticket; its id. Refused."""
        try:
            raw = await self.http.json("POST", "ticket", json=body)
        except Refused as error:
            reasons = words.blamed(error.message, sent)
            raise Refused(error.message, fields=reasons, system=self.system, call=error.call) from None
        return self.read(lambda: str(int(raw["id"])), "POST ticket")

    async def carrying(self, key: str) -> list[str]:
        """Tickets that carry a key, merged ones too. RT compares without regard to case: exactness is ours."""
        if not key.strip() or words.is_column(key):
            return []
        wanted = f"{records.custom(self.key_field)} = {words.quoted(key)} AND EffectiveId > 0"
        rows = await self.search("tickets", f"{self.scope} AND {wanted}", **SHOWN)
        return self.read(
            lambda: [
                str(int(row["id"]))
                for row in rows
                for one in row["CustomFields"]
                if one["name"] == self.key_field and key in one["values"]
            ],
            "tickets",
        )

    async def put(self, id: str, version: str, body: dict[str, Any]) -> list[str]:
        """Write, if the ticket is still at this version; what RT says to it. Stale, NotFound."""
        same = {"If-Match": f'"{int(version)}"'}
        try:
            told = await self.http.json("PUT", f"ticket/{id}", json=body, headers=same, id=id)
        except (Stale, Unauthorized) as error:
            if isinstance(error, Stale) or error.status == httpx.codes.FORBIDDEN:
                await self.get(id)  # it may be gone
            raise
        return [str(one) for one in told] if isinstance(told, list) else []

    async def comment(self, id: str, body: dict[str, Any], sent: str) -> str:
        """Add a comment, never correspondence, which would be mailed out; its transaction."""
        try:
            answer = await self.http.call("POST", f"ticket/{id}/comment", json=body, id=id)
        except Refused as error:
            await self.get(id)  # RT says "Permission Denied" of what is not there, too
            about = About(system=self.system, call=error.call, id=id)
            if "Permission Denied" in error.message:
                message = f"{error.message}: this login needs the right CommentOnTicket on the queue"
                raise Unauthorized(message, **about) from None
            raise Refused(error.message, fields={sent: error.message}, **about) from None
        number: str = answer.headers.get("location", "").rpartition("/transaction/")[2]
        if not words.is_id(number):
            raise self._unreadable("the answer does not name the new transaction", "POST comment", id)
        return number

    async def file_of(self, transaction: str) -> str:
        """The id of the one file of a transaction. Unreadable."""
        query: list[dict[str, Any]] = [
            {"field": "TransactionId", "operator": "IN", "value": [transaction]},
            {"field": "Filename", "operator": "IS NOT", "value": "NULL"},
        ]
        rows = await self.attachments(query, {"fields": "Filename"})
        if not rows:
            raise self._unreadable(f"transaction {transaction} shows no file", "attachments")
        return self.read(lambda: records.file_id(transaction, str(int(rows[0]["id"]))), "attachments")

    async def content(self, id: str) -> bytes:
        """A file's bytes: RT wraps them in JSON. Refused: not a file's id; Unreadable."""
        transaction, _, number = id.removeprefix("transaction/").partition("/attachment/")
        if not words.is_id(number) or id != records.file_id(transaction, number):
            message = f"not the id of an attachment: {id[:40]!r}"
            raise Refused(message, system=self.system, id=id[:40])
        raw = await self.http.json("GET", f"attachment/{number}", id=id)
        try:
            if str(raw["id"]) == number:
                return base64.b64decode(raw.get("Content") or "")
        except (AttributeError, KeyError, TypeError, binascii.Error):
            pass  # what was caught may hold the content
        raise self._unreadable("the answer holds no file", "GET attachment", id)
