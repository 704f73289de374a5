"""XSOAR's calls about incidents: what is sent, what its answers and its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from blocks.answers import About
from blocks.errors import LockstepError, NotFound, Partial, Refused, Unreadable
from blocks.http import Http
from blocks.incidents import _xsoar as records
from blocks.incidents import _xsoar_labels as labels
from blocks.incidents import _xsoar_words as words
from blocks.model import Fields, Incident

log = logging.getLogger("lockstep.xsoar")

LONG_AGO: Final = "1970-01-01T00:00:00Z"
CLOSING: Final = ("status", "closeReason", "closeNotes")
Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kinds:
    """The server's incident fields: types of custom ones by key, and the close reasons, if it lists any."""

    types: dict[str, str]
    reasons: frozenset[str]


@dataclass(slots=True)
class Server:
    """One open connection. `own` are the users that our key writes as, `scope` narrows each search."""

    http: Http
    system: str
    own: set[str]
    scope: str = ""
    custom: Sequence[str] = ()
    categories: Sequence[str] = ()
    tags: Sequence[str] = ()
    known_kinds: Kinds | None = field(default=None)

    def now(self) -> datetime:
        """The time at the server."""
        return datetime.now(UTC) + self.http.skew

    async def call(self, method: str, path: str, *, id: str = "", sent: Fields | None = None, **body: Any) -> Any:  # noqa: ANN401  any JSON
        """The answer. `sent`: the fields that an error may be about. Refused, Stale, NotFound."""
        try:
            return await self.http.json(method, path, id=id, **body)
        except LockstepError as error:
            raise words.meant(error, sent or {}) from None

    async def search(
        self,
        query: str,
        size: int,
        page: int = 0,
        *,
        by: str = "modified",
        ids: Sequence[str] = (),
        newest: bool = False,
        sent: Fields | None = None,
    ) -> tuple[list[Raw], int]:
        """Incidents, and how many there are. Unreadable."""
        # Without fromDate, which is about creation, a server may look at the last days only.
        wanted = {"query": query, "page": page, "size": size, "fromDate": LONG_AGO}
        order = [{"field": by, "asc": not newest}, {"field": "id", "asc": not newest}]
        narrowed = {"id": list(ids)} if ids else {}
        body = {"filter": {**wanted, "sort": order, **narrowed}}
        answer = await self.call("POST", "incidents/search", sent=sent, json=body)
        try:
            rows, total = answer["data"] or [], int(answer["total"])
        except (TypeError, KeyError, ValueError):
            rows, total = None, 0
        if not isinstance(rows, list):
            message = "the answer is no list of incidents"
            raise Unreadable(message, system=self.system, call="POST incidents/search")
        return rows, total

    def incident(self, raw: Any) -> Incident:  # noqa: ANN401  as it came
        """One incident. Unreadable."""
        row = records.incident(raw, self.custom)
        if isinstance(row, Incident):
            return row
        raise Unreadable(row.error, system=self.system, call="GET incident", id=row.id)

    async def load(self, id: str) -> Raw:
        """One incident, whole. NotFound."""
        if not records.is_id(id):
            message = "no incident has such an id"
            raise NotFound(message, system=self.system, call="GET incident", id=id)
        return self._whole(await self.call("GET", f"incident/load/{quote(id)}", id=id), id)

    def _whole(self, answer: Any, id: str) -> Raw:  # noqa: ANN401  as it came
        if isinstance(answer, dict) and answer.get("id") == id and "status" in answer:
            return answer
        message = "the answer is no incident"
        raise Unreadable(message, system=self.system, call="incident", id=id)

    async def kinds(self) -> Kinds:
        """The server's incident fields, read once."""
        if self.known_kinds is None:
            answer = await self.call("GET", "incidentfields")
            try:
                mine = [one for one in answer if one.get("group") == 0 and one.get("cliName")]
                types = {one["cliName"]: str(one.get("type")) for one in mine}
                lists = [one.get("selectValues") or () for one in mine if one["cliName"].lower() == "closereason"]
                self.known_kinds = Kinds(types, frozenset(str(one) for some in lists for one in some if one))
            except (TypeError, AttributeError):
                message = "the answer is no list of fields"
                raise Unreadable(message, system=self.system, call="GET incidentfields") from None
        return self.known_kinds

    async def merged(self, raw: Raw, patch: Fields) -> Raw:
        """The whole object with a patch in it. Refused: a field, or a value, that there is not."""
        asks = patch.get("closeReason") or not patch.keys() <= {*records.READ}
        kinds = await self.kinds() if asks else Kinds({}, frozenset())
        try:
            body = records.merged(raw, patch, kinds.types)
            reason = patch.get("closeReason")
            if reason and kinds.reasons and reason not in kinds.reasons:
                raise records.refused("closeReason", f"{reason!r:.100} is none of {', '.join(sorted(kinds.reasons))}")
        except Refused as error:
            about = About(system=self.system, call="POST incident", id=raw.get("id", ""))
            raise Refused(error.message, fields=error.fields, **about) from None
        return body

    async def write(self, raw: Raw, patch: Fields) -> Raw:
        """Write a patch into the whole object; closing and reopening have their own ways. Refused, Partial, Stale."""
        body = await self.merged(raw, patch)
        was, wanted = (str(one["status"]) in records.OVER for one in (raw, body))
        if wanted and not was:
            rest = {key: value for key, value in body.items() if key not in CLOSING}
            rest |= {key: raw[key] for key in CLOSING if key in raw}
            now = await self._save(raw, rest, patch)
            return await self._close(now, body, patch, alone=now is raw)
        reopens = was and not wanted
        now = await self._save(raw, {**body, "closed": records.UNSET} if reopens else body, patch)
        return await self._reopen(now) if reopens and str(now["status"]) in records.OVER else now

    async def _save(self, raw: Raw, body: Raw, patch: Fields) -> Raw:
        """Write a whole object over its version, as what is omitted is wiped. Stale."""
        if body == raw:
            return raw
        # 8 takes no change whose time of update is the old one.
        body = {**body, "modified": records.text(self.now())}
        answer = await self.call("POST", "incident", id=raw["id"], sent=patch, json=body)
        return self._whole(answer, raw["id"]) if answer else await self.load(raw["id"])

    async def _close(self, now: Raw, body: Raw, patch: Fields, *, alone: bool) -> Raw:
        """Close it. Partial: other fields of the patch were written before, and this was refused."""
        id, about = now["id"], {key: body.get(key) for key in CLOSING[1:]}
        sent = {key: value for key, value in patch.items() if key in CLOSING}
        try:
            close = {"id": id, "version": now["version"], **about}
            await self.call("POST", "incident/close", id=id, sent=sent, json=close)
        except Refused as error:
            if alone:
                raise
            about_it = About(system=error.system, call=error.call, id=id)
            raise Partial(error.message, incident=self.incident(now), fields=error.fields, **about_it) from None
        return await self.load(id)

    async def _reopen(self, now: Raw) -> Raw:
        """By the command that a person would type, where a write alone does not."""
        id = now["id"]
        data = {"investigationId": now.get("investigationId") or id, "data": f"!reopenInvestigation id={id}"}
        try:
            await self.call("POST", "entry/execute/sync", id=id, json=data)
        except Refused as error:
            log.warning("%s [%s]: the command to reopen was refused: %s", self.system, id, error.message)
        return await self.load(id)

    async def create(self, fields: Fields, key: str, kind: str) -> str:
        """A new incident, open, with our key in a label; its id. `kind`: its type, if the fields hold none. Refused."""
        body = await self.merged({}, {name: value for name, value in fields.items() if name not in CLOSING})
        status = str(fields.get("status") or "0")
        body["status"] = int(records.coded("status", "1" if status in records.OVER else status, {}))
        body["labels"] = [*body.get("labels", ()), {"type": labels.KEY, "value": key}]
        body |= {"createInvestigation": body["status"] != 0, "type": body.get("type") or kind}
        answer = await self.call("POST", "incident", sent=fields, json=body)
        id = answer.get("id") if isinstance(answer, dict) else None
        if isinstance(id, str) and records.is_id(id):
            return id
        about = About(system=self.system, call="POST incident", id="")
        if answer is None:
            message = "the server created none: a pre-processing rule of its own dropped it"
            raise Refused(message, fields=dict.fromkeys(fields, message), **about)
        message = "the answer is no incident"
        raise Unreadable(message, **about)
