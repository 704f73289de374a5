"""Icinga's calls: what is asked and done, and what its answers mean.

Seen on 2.13: a search that finds nothing answers 200 with an empty list; 404 "No objects found" means that the filter
is none, or that the login lacks the permission. So a search never takes 404 for nothing. An action that is sent without
object or filter hits all objects: each names exactly one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from blocks.errors import LockstepError, NotFound, Refused, Stale, Unauthorized, Unavailable, Unreadable
from blocks.http import Http
from blocks.incidents import _icinga as records
from blocks.incidents._icinga import KINDS, Checkable, Comment, Kind
from blocks.incidents._icinga_feed import Mark, Snapshot
from blocks.model import BadRecord

AT_ONCE: Final = 200
"""How many names go into one search."""
ASK: Final = {"X-HTTP-Method-Override": "GET"}
"""Only a body can bind values to a filter."""
SAID: Final = ("__name", "host_name", "service_name", "entry_time", "entry_type", "author", "text")


@dataclass(slots=True)
class Monitor:
    """One open connection. `groups`: names of groups that limit the scope, by kind; none: all."""

    http: Http
    system: str
    login: str
    groups: dict[str, list[str]] = field(default_factory=dict)

    async def search(self, type: str, path: str, filter: str, bound: dict[str, Any], **more: Any) -> list[Any]:  # noqa: ANN401  JSON
        """Objects that a filter finds; its values are bound, never part of it. Unauthorized, Unreadable."""
        body = {"filter": filter, "filter_vars": bound, **more}
        try:
            answer = await self.http.json("POST", f"objects/{path}", headers=ASK, json=body)
        except NotFound as error:
            words = f"{error.message}: give this API user the permission objects/query/{type} (and, since 2.17, "
            message = f"{words}filter-expression)"
            raise Unauthorized(message, system=self.system, call=f"GET objects/{path}") from None
        return self.results(answer, f"GET objects/{path}")

    def results(self, answer: Any, call: str, id: str = "") -> list[Any]:  # noqa: ANN401  as it came
        """What an answer holds. Unreadable."""
        rows = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            message = "the answer is no list of results"
            raise Unreadable(message, system=self.system, call=call, id=id)
        return rows

    async def read(self, kind: Kind, filter: str, bound: dict[str, Any]) -> tuple[list[Checkable], list[BadRecord]]:
        """Hosts or services, and what of them cannot be read."""
        more = {"joins": list(kind.joins)} if kind.joins else {}
        rows = await self.search(kind.type, kind.path, filter, bound, attrs=list(kind.attrs), **more)
        good: list[Checkable] = []
        bad: list[BadRecord] = []
        for row in rows:
            try:
                good.append(records.checkable(kind, row))
            except records.ODD as error:
                bad.append(records.bad(row, error))
        return good, bad

    async def named(self, names: Sequence[str]) -> dict[str, Checkable]:
        """These objects, as far as they are there and can be read."""
        found: dict[str, Checkable] = {}
        for kind, part in _chunks(names):
            rows, _ = await self.read(kind, f"{kind.name}.__name in wanted", {"wanted": part})
            found |= {one.name: one for one in rows}
        return found

    async def one(self, name: str, id: str) -> Checkable:
        """This object as it is now. NotFound, Unreadable."""
        kind = records.kind_of(name)
        rows, bad = await self.read(kind, f"{kind.name}.__name == wanted", {"wanted": name})
        if bad:
            raise Unreadable(bad[0].error, system=self.system, call=f"GET objects/{kind.path}", id=id)
        if not rows:
            message = f"there is no such {kind.name}"
            raise NotFound(message, system=self.system, call=f"GET objects/{kind.path}", id=id)
        return rows[0]

    async def snapshot(self, mark: Mark) -> Snapshot:
        """All that has a hard problem in the scope, what of the mark has none any more, and what was said of both."""
        found = Snapshot()
        for kind in KINDS:
            scope, bound = self.scope(kind)
            filter = " && ".join((f"{kind.name}.state_type == 1", f"{kind.name}.state != 0", *scope))
            found.take(*await self.read(kind, filter, bound))
        found.rest = await self.named(found.lacks(mark))
        over = {id: one for id, one in mark.problems.items() if one.name in found.rest}
        if found.open or over:
            names = [*(one.name for one in found.open.values()), *(one.name for one in over.values())]
            found.comments = await self.comments(names, found.since(over))
        return found

    def scope(self, kind: Kind) -> tuple[list[str], dict[str, Any]]:
        """Conditions for the groups of the settings, and the values that are bound to them."""
        kinds = [one for one in KINDS[: KINDS.index(kind) + 1] if self.groups.get(one.name)]
        conditions = [f"len(intersection({one.name}.groups, {one.name}_groups)) > 0" for one in kinds]
        return conditions, {f"{one.name}_groups": self.groups[one.name] for one in kinds}

    async def comments(self, names: Sequence[str], since: int) -> list[Comment]:
        """What people said of the hosts of these objects, or acknowledged with, after this microsecond. Unreadable."""
        hosts = sorted({name.partition("!")[0] for name in names})
        said = "(comment.entry_type == 1 || comment.entry_type == 4)"
        filter = f"comment.host_name in hosts && comment.entry_time >= since && {said}"
        bound = {"hosts": hosts, "since": since / 1e6}
        rows = await self.search("Comment", "comments", filter, bound, attrs=list(SAID))
        try:
            return [Comment.of(row) for row in rows]
        except records.ODD as error:
            message = f"a comment cannot be read: {type(error).__name__}: {error}"[:200]
            raise Unreadable(message, system=self.system, call="GET objects/comments") from None

    async def act(self, action: str, name: str, id: str, **said: str | bool) -> dict[str, Any]:
        """Do something to one object; answers its result. Stale: it cannot be done as it is now. NotFound, Refused."""
        kind, call = records.kind_of(name), f"POST actions/{action}"
        if not name:
            message = "an action without an object would hit all of them"
            raise Refused(message, system=self.system, call=call, id=id)
        body = {"type": kind.type, kind.name: name, "author": self.login, **said}
        try:
            answer = await self.http.json("POST", f"actions/{action}", id=id, json=body)
        except NotFound:
            # As often as not: the object is there, and the permission is not.
            await self.one(name, id)
            message = f"answered 404 for what is there: give this API user the permission actions/{action}"
            raise Unauthorized(message, system=self.system, call=call, id=id) from None
        results = self.results(answer, call, id)
        for result in results:
            self._judge(result, call, id)
        if len(results) != 1:
            message = f"{len(results)} objects were hit, one was meant"
            raise Unreadable(message, system=self.system, call=call, id=id)
        return {**results[0]}

    def _judge(self, result: Any, call: str, id: str) -> None:  # noqa: ANN401  as it came
        """Each result has a code of its own, whatever the whole answer's status is."""
        try:
            code, said = int(result["code"]), str(result.get("status", ""))[:300]
        except records.ODD:
            message = "a result without its code"
            raise Unreadable(message, system=self.system, call=call, id=id) from None
        if code >= 300:  # noqa: PLR2004  HTTP's
            error = _KINDS.get(code) or (Unavailable if code >= 500 else Refused)  # noqa: PLR2004  HTTP's
            raise error(f"answered {code}: {said}", system=self.system, call=call, id=id)


_KINDS: Final[dict[int, type[LockstepError]]] = {404: NotFound, 409: Stale}


def _chunks(names: Sequence[str]) -> Iterator[tuple[Kind, list[str]]]:
    for kind in KINDS:
        mine = [name for name in names if records.kind_of(name) is kind]
        for begin in range(0, len(mine), AT_ONCE):
            yield kind, mine[begin : begin + AT_ONCE]
