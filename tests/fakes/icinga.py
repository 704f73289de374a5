"""A fake Icinga 2.13: its REST API over a core of its own, with users, permissions, knobs and counts.

Itself a transport of httpx: `system._transport = FakeIcinga()`. What people do goes the same way, as another user:
objects are made, changed and deleted, and checks are reported, over the API.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import httpx
import orjson

from tests.fakes.faults import APPLIED, FIRST, Faults
from tests.fakes.icinga_core import Core, Failed, Raw, Thing
from tests.fakes.icinga_filter import Filter, NoFilter

LOGIN, PASSWORD = "lockstep", "secret"
ANALYST, ANALYST_PASSWORD = "analyst", "secret-too"
NOTHING = "No objects found."
TYPES = {"hosts": "Host", "services": "Service", "comments": "Comment"}
CUTS: dict[str, type[httpx.RequestError]] = {"refuse": httpx.ConnectError, "hang": httpx.ReadTimeout}


class Answered(Exception):
    """Any status with Icinga's words."""

    def __init__(self, status: int, words: str = NOTHING) -> None:
        super().__init__(words)
        self.status = status


class FakeIcinga(httpx.AsyncBaseTransport):
    """A server in this process. `floats`: numbers are shown as floats, as older ones do.

    `watch(stage, call)` is called before a request is applied and after (stages "before" and "after"): a test may let
    people act there. `spoil(rows)` may damage what a query shows.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, floats: bool = False) -> None:
        self.core, self.faults, self.floats = Core(clock), Faults(), floats
        self.users = {LOGIN: (PASSWORD, ["*"]), ANALYST: (ANALYST_PASSWORD, ["*"])}
        self.calls: Counter[str] = Counter()
        self.sent: list[tuple[str, Raw]] = []
        self.watch: Callable[[str, str], None] | None = None
        self.spoil: Callable[[list[Raw]], None] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request; a hang is a timeout at once."""
        method = request.headers.get("x-http-method-override", request.method)
        path = unquote(request.url.raw_path.decode().partition("?")[0]).removeprefix("/v1").strip("/")
        call = f"{method} {path}" if path.startswith("actions/") else f"{method} {'/'.join(path.split('/')[:2])}"
        self.calls[call] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(method, path)
        if fault in FIRST:
            return self._failed(fault, request)
        if self.watch:
            self.watch("before", call)
        try:
            status, body = self._answer(method, path, request, await request.aread())
        except Answered as error:
            status, body = error.status, {"error": error.status, "status": str(error)}
        if self.watch:
            self.watch("after", call)
        return self._failed(fault, request) if fault in APPLIED else self._shown(status, body)

    def _failed(self, kind: str, request: httpx.Request) -> httpx.Response:
        if kind in {"fail", "fail after"}:
            return self._shown(500, {"error": 500, "status": "Unhandled exception"})
        if kind in {"busy", "limit"}:
            return self._shown(503, {"error": 503, "status": "Icinga is reloading."})
        raise CUTS.get(kind, httpx.ReadError)(kind, request=request)

    def _shown(self, status: int, body: Raw) -> httpx.Response:
        content = orjson.dumps(_floats(body) if self.floats else body)
        return httpx.Response(status, content=content, headers={"Content-Type": "application/json"})

    def _answer(self, method: str, path: str, request: httpx.Request, body: bytes) -> tuple[int, Raw]:
        user, may = self._user(request.headers.get("authorization", ""))
        try:
            sent = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError:
            raise Answered(400, "Invalid request body") from None
        self.sent.append((path, sent))
        match path.split("/"):
            case [""]:
                info = {"user": user, "permissions": may, "version": "r2.13.6-1", "info": "fake"}
                return 200, {"results": [info]}
            case ["objects", of] if of in TYPES and method == "GET":
                return 200, {"results": self._query(of, sent, may)}
            case ["objects", of, *name] if of in TYPES and name and method in {"PUT", "POST", "DELETE"}:
                return 200, {"results": [self._change(method, "/".join(name), sent)]}
            case ["objects", *_]:
                raise Answered(400, "Invalid type specified.")
            case ["actions", action]:
                return self._act(action, sent, may)
        raise Answered(404, f"The requested path '{path}' could not be found.")

    def _user(self, header: str) -> tuple[str, list[str]]:
        for login, (password, may) in self.users.items():
            if header == httpx.BasicAuth(login, password)._auth_header:
                return login, may
        raise Answered(401, "Unauthorized. Please check your user credentials.")

    # queries

    def _query(self, of: str, sent: Raw, may: list[str]) -> list[Raw]:
        _permitted(f"objects/query/{TYPES[of]}", may)
        raws = self._raws(of)
        rows = []
        for raw, names in self._found(of, sent, raws):
            shown = {name: raw[name] for name in sent.get("attrs", raw) if name in raw}
            if raw and len(shown) < len(sent.get("attrs", ())):
                raise Answered(400, "Invalid field specified")
            joins: dict[str, Raw] = {}
            for join in sent.get("joins", ()):
                other, _, attr = join.partition(".")
                joins.setdefault(other, {})[attr] = names[other][attr]
            rows.append({"attrs": shown, "joins": joins, "meta": {}, "name": raw["__name"], "type": TYPES[of]})
        if self.spoil:
            self.spoil(rows)
        return rows

    def _raws(self, of: str) -> list[Raw]:
        if of == "comments":
            return list(self.core.comments.values())
        return [one.shown for one in self.core.things.values() if one.type == TYPES[of]]

    def _names(self, of: str, raw: Raw) -> dict[str, Any]:
        names: dict[str, Any] = {TYPES[of].lower(): raw}
        if of != "hosts":
            names["host"] = self.core.things[raw["host_name"]].shown
        return names

    def _found(self, of: str, sent: Raw, raws: list[Raw]) -> list[tuple[Raw, dict[str, Any]]]:
        """By name, by filter, or all of them."""
        one = sent.get(TYPES[of].lower())
        if one is not None:
            found = [(raw, self._names(of, raw)) for raw in raws if raw["__name"] == one]
            if not found:
                raise Answered(404)
            return found
        everything = [(raw, self._names(of, raw)) for raw in raws]
        if "filter" not in sent:
            return everything
        try:
            wanted = Filter(sent["filter"])
            return [(raw, n) for raw, n in everything if wanted.holds({**sent.get("filter_vars", {}), **n})]
        except (NoFilter, TypeError):
            raise Answered(404) from None

    # what people do to the configuration

    def _change(self, method: str, name: str, sent: Raw) -> Raw:
        attrs = sent.get("attrs", {})
        if method == "PUT":
            known = {key: value for key, value in attrs.items() if key in {"display_name", "groups", "vars"}}
            self.core.add(name, attrs.get("max_check_attempts", 3), **known)
        elif name not in self.core.things:
            raise Answered(404)
        elif method == "POST":
            self.core.modify(name, **attrs)
        else:
            self.core.remove(name)
        return {"code": 200, "name": name, "status": "done"}

    # actions

    def _act(self, action: str, sent: Raw, may: list[str]) -> tuple[int, Raw]:
        if action not in ACTIONS:
            raise Answered(404, f"Action '{action}' does not exist.")
        _permitted(f"actions/{action}", may)
        of = {"Host": "hosts", "Service": "services"}[sent["type"]]
        results = [self._done(action, self.core.things[raw["__name"]], sent) for raw, _ in self._hit(of, sent)]
        codes = {result["code"] for result in results}
        return (codes.pop() if len(codes) == 1 else 500 if codes else 200), {"results": results}

    def _hit(self, of: str, sent: Raw) -> list[tuple[Raw, dict[str, Any]]]:
        return self._found(of, sent, self._raws(of))

    def _done(self, action: str, thing: Thing, sent: Raw) -> Raw:
        try:
            more = ACTIONS[action](self.core, thing, sent)
        except Failed as error:
            return {"code": error.code, "status": str(error)}
        return {"code": 200, "status": f"Successfully done for object '{thing.name}'.", **more}


def _permitted(permission: str, may: list[str]) -> None:
    """What is not allowed is answered as what is not there."""
    if not any(fnmatchcase(permission.lower(), one.lower()) for one in may):
        raise Answered(404)


def _said(sent: Raw, what: str) -> tuple[str, str]:
    if not sent.get("author") or "comment" not in sent:
        raise Failed(400, f"{what} require author and comment.")
    if not sent["comment"]:
        raise Failed(500, "Action execution failed: 'Error: Could not create comment.'")
    return sent["author"], sent["comment"].partition("\0")[0]


def _checked(core: Core, thing: Thing, sent: Raw) -> Raw:
    status = int(sent["exit_status"])
    core.check(thing, status if thing.type == "Service" else int(status > 0), sent.get("plugin_output", ""))
    return {}


def _acknowledged(core: Core, thing: Thing, sent: Raw) -> Raw:
    core.acknowledge(thing, *_said(sent, "Acknowledgements"), sticky=bool(sent.get("sticky")))
    return {}


def _unacknowledged(core: Core, thing: Thing, sent: Raw) -> Raw:
    core.unacknowledge(thing)
    return {}


def _commented(core: Core, thing: Thing, sent: Raw) -> Raw:
    return {"name": core.comment(thing, *_said(sent, "Comments"))}


def _down(core: Core, thing: Thing, sent: Raw) -> Raw:
    return {"name": core.downtime(thing)}


def _up(core: Core, thing: Thing, sent: Raw) -> Raw:
    core.end_downtimes(thing)
    return {}


ACTIONS: dict[str, Callable[[Core, Thing, Raw], Raw]] = {
    "process-check-result": _checked,
    "acknowledge-problem": _acknowledged,
    "remove-acknowledgement": _unacknowledged,
    "add-comment": _commented,
    "schedule-downtime": _down,
    "remove-downtime": _up,
}


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _floats(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
