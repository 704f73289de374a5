"""A REST system's calls: what is sent, and what its answers and errors mean."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from blocks.answers import About
from blocks.errors import LockstepError, NotFound, Partial, Refused, Stale, Unreadable
from blocks.http import Http
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_feed import Found, Position
from blocks.incidents._rest_form import RestForm
from blocks.incidents._rest_paths import MISSING, Path, shown_keys
from blocks.incidents._rest_records import Reader, fit, raw_version
from blocks.incidents._rest_templates import Address, Values
from blocks.model import Fields, Incident

TRIES: Final = 3
"""How often a comment is linked again, when somebody else wrote between its read and its write."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's JSON and its headers."""

    data: Any
    headers: httpx.Headers
    links: Mapping[str | None, Any]

    def at(self, path: str) -> Any:  # noqa: ANN401  any JSON
        """What is at a path, or in a header: the last part of a Location, the next of a Link."""
        kind, _, name = path.partition(":")
        if kind != "header":
            return Path.of(path).read(self.data)
        if name.lower() == "link":
            return self.links.get("next", {}).get("url")
        return unquote(urlsplit(self.headers.get(name, "")).path.rstrip("/").rpartition("/")[2])


@dataclass(frozen=True)
class Connection:
    """One open connection to the system that a form describes."""

    http: Http
    form: RestForm
    reader: Reader

    def about(self, call: str, id: str = "") -> About:
        """What every error carries."""
        return {"system": self.form.fingerprint(), "call": call, "id": id}

    async def ask(self, method: str, template: str, values: Values, id: str = "", **sent: Any) -> Answer:  # noqa: ANN401
        """One call. Refused: what was filled in is none of what the address takes."""
        try:
            path, params = Address.of(template).fill(values)
        except ValueError as error:
            raise Refused(str(error), fields={"query": str(error)}, **self.about(method, id)) from None
        return await self._answer(method, path, id, params=params, **sent)

    async def _answer(self, method: str, path: str, id: str, **sent: Any) -> Answer:  # noqa: ANN401  httpx's
        response = await self.http.call(method, path, id=id, **sent)
        return Answer(self.http.data(response, id), response.headers, response.links)

    async def page(self, template: str, items: str, values: Values, at: Position | None) -> tuple[list[Any], Answer]:
        """Records of a list. Unreadable: there are none where the form says."""
        answer = await self._at(template, values, at)
        rows = Path.of(items).read(answer.data)
        if not isinstance(rows, list):
            message = f"no list at {items!r}; the answer has: {shown_keys(answer.data)}"
            raise Unreadable(message, **self.about("GET"))
        return rows, answer

    async def _at(self, template: str, values: Values, at: Position | None) -> Answer:
        form = self.form
        if form.paging == "next link" and at is not None:
            link = self.http.base_url.join(str(at))
            if (link.scheme, link.host, link.port) != (self.http.base_url.scheme, *self._host()):
                raise Unreadable("the link to the next page leads to another host", **self.about("GET"))
            return await self._answer("GET", str(link), "")
        first = {"page": form.first_page, "offset": 0}.get(form.paging)
        place = {str(form.paging): first if at is None else at}
        return await self.ask("GET", template, {"size": form.page_size, **values, **place})

    def _host(self) -> tuple[str, int | None]:
        return self.http.base_url.host, self.http.base_url.port

    def after(self, answer: Answer, count: int, size: int, at: Position | None) -> Position | None:
        """Where the next page is. Unreadable: where this one is."""
        form = self.form
        if form.paging in ("cursor", "next link"):
            following = answer.at(form.next_at)
            if following in (MISSING, None, "", False):
                return None
            if following == at:
                raise Unreadable("the next page is this page: look at `next_at`", **self.about("GET"))
            return str(following)
        if form.paging == "none" or not count:
            return None
        begin = at if isinstance(at, int) else form.first_page if form.paging == "page" else 0
        passed = (begin - form.first_page) * size if form.paging == "page" else begin
        total = self.reader.at("total_at", answer.data)
        more = passed + count < total if isinstance(total, int) and total >= 0 else count >= size
        return (begin + 1 if form.paging == "page" else begin + count) if more else None

    async def found(self, since: str, at: Position | None, size: int) -> Found:
        """One page of the list of incidents."""
        form = self.form
        rows, answer = await self.page(form.list_path, form.items, {"since": since, "size": size}, at)
        return Found([self.reader.row(row) for row in rows], self.after(answer, len(rows), size, at))

    async def all(self, template: str, items: str, values: Values) -> AsyncIterator[Any]:
        """The records of a list of any other kind, page by page where its address has a place for that."""
        form, at = self.form, None
        paged = form.paging == "next link" or form.paging in templates.places(template)
        while True:
            rows, answer = await self.page(template, items, values, at)
            for row in rows:
                yield row
            at = self.after(answer, len(rows), form.page_size, at) if paged else None
            if at is None:
                return

    async def record(self, id: str) -> tuple[Incident, Any, str]:
        """An incident as it is now, its record and its ETag. NotFound."""
        answer = await self.ask("GET", self.form.get_path, {"id": id}, id)
        record = Path.of(self.form.record).read(answer.data)
        if record in (MISSING, None):
            raise NotFound("no such incident", **self.about("GET", id))
        incident = self.incident(record, id)
        if incident.id != id:
            raise NotFound(f"asked for it, the system shows {incident.id}", **self.about("GET", id))
        return incident, record, answer.headers.get("etag", "")

    def incident(self, record: Any, id: str = "") -> Incident:  # noqa: ANN401  as it came
        """One record. Unreadable."""
        row = self.reader.row(record)
        if isinstance(row, Incident):
            return row
        raise Unreadable(row.error, **self.about("GET", id or row.id))

    async def before(self, id: str) -> tuple[Incident, Any, str]:
        """What a write needs to know first: the ETag before the record, as an edit between them then shows."""
        path = self.form.etag_path
        etag = (await self.ask("GET", path, {"id": id}, id)).headers.get("etag", "") if path else ""
        incident, record, shown = await self.record(id)
        return incident, record, etag or shown

    def condition(self, etag: str, version: str, id: str) -> dict[str, str]:
        """The If-Match of a write. Unreadable: the system showed no ETag."""
        template = self.form.if_match
        if "{etag}" in template and not etag:
            raise Unreadable("it showed no ETag to write with: look at `etag_path`", **self.about("GET", id))
        return {"If-Match": template.replace("{etag}", etag).replace("{version}", version)} if template else {}

    async def write(self, method: str, template: str, values: Values, fields: Fields, **sent: Any) -> Answer:  # noqa: ANN401
        """Send a write; `fields` are those that an error may be about. Refused, Stale, NotFound."""
        try:
            return await self.ask(method, template, values, str(values.get("id") or ""), **sent)
        except (Refused, Stale) as error:
            raise self._meant(error, fields) from None

    def _meant(self, error: LockstepError, fields: Fields) -> LockstepError:
        """A 409 is a stale write only where the version went with it; else it is a value that is not liked."""
        told = self.form.if_match or "version" in templates.places(self.form.update_with)
        if isinstance(error, Stale) and (error.status == httpx.codes.PRECONDITION_FAILED or told):
            return error
        about = self.about(error.call, error.id)
        return Refused(error.message, fields=blamed(error, fields), **about)

    async def link(self, id: str, comment: str, fields: Fields) -> None:
        """Link a new comment to its incident, again if somebody else wrote meanwhile."""
        form = self.form
        for tries_left in reversed(range(TRIES)):
            incident, record, etag = await self.before(id)
            values = {"id": id, "comment": comment, "record": record}
            body = templates.body(templates.parsed(form.link_body), values)
            headers = self.condition(etag, raw_version(incident.version), id)
            try:
                await self.write(form.link_method, form.link_path, values, fields, json=body, headers=headers)
            except Stale:
                if not tries_left:
                    raise
            else:
                return

    def id_of(self, record: Any) -> str:  # noqa: ANN401  as it came
        """A found record's id. Unreadable."""
        try:
            return self.reader.id(record)
        except ValueError as error:
            raise Unreadable(str(error), **self.about("GET")) from None

    def new_id(self, answer: Answer, name: str) -> str:
        """The id of what was added. Unreadable."""
        found = answer.at(getattr(self.form, name))
        if isinstance(found, bool) or not isinstance(found, str | int) or not fit(str(found)):
            message = f"no id at `{name}`; the answer has: {shown_keys(answer.data)}"
            raise Unreadable(message, **self.about("POST"))
        return str(found)


def blamed(error: LockstepError, fields: Fields) -> dict[str, str]:
    """Which of the fields sent an error is about: those that it names, or whose value it repeats, else all."""
    told = error.fields if isinstance(error, Refused) else {}
    named = {key: words for name, words in told.items() for key in fields if name in (key, key.rpartition(".")[2])}
    if named:
        return named
    words = error.message
    by_name = [key for key in fields if re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b", words, re.IGNORECASE)]
    by_value = [key for key, value in fields.items() if isinstance(value, str) and len(value) > 1 and value in words]
    return dict.fromkeys(by_name or by_value or fields, words)


def taken(before: Incident, after: Incident, patch: Fields) -> Incident:
    """What a write came to. Refused, Partial: fields that were sent anew still show what they showed before."""
    left = {
        key: "the system accepted the write, and still shows the old value"
        for key, value in patch.items()
        if key in before.fields and before.fields[key] != value and after.fields.get(key) == before.fields[key]
    }
    if not left:
        return after
    words = f"not taken, without an error: {', '.join(left)}"
    if len(left) == len(patch):
        raise Refused(words, fields=left, call="update", id=after.id)
    raise Partial(words, incident=after, fields=left, call="update", id=after.id)
