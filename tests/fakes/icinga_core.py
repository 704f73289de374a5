"""The core behind the fake Icinga: what checks make of hosts and services; acknowledgements, comments, downtimes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Raw = dict[str, Any]
SOFT, HARD = 0, 1
PENDING = {"Host": 1, "Service": 3}
PERSON, ACKNOWLEDGED = 1, 4


class Failed(Exception):
    """An action's own code and words for one object."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(slots=True)
class Thing:
    """A host or service, with all that it shows."""

    type: str
    name: str
    attempts: int = 1
    checked: bool = False
    shown: Raw = field(default_factory=dict)
    downtimes: set[str] = field(default_factory=set)

    @property
    def well(self) -> str:
        """Which attribute tells when it was last well."""
        return "last_state_up" if self.type == "Host" else "last_state_ok"


class Core:
    """All state. Times are the server's, in seconds with microseconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.things: dict[str, Thing] = {}
        self.comments: dict[str, Raw] = {}
        self._numbers = itertools.count(1)
        self._last = 0.0

    def now(self) -> float:
        """Never twice the same, as on a real clock."""
        self._last = round(max(self.clock(), self._last + 0.000001), 6)
        return self._last

    def add(self, name: str, attempts: int = 1, **shown: Any) -> Thing:
        """A new host, or a service of one that is there, never checked yet."""
        type = "Service" if "!" in name else "Host"
        host, _, service = name.partition("!")
        if name in self.things or (service and host not in self.things):
            raise Failed(500, "Object could not be created.")
        thing = Thing(type, name, attempts)
        now = self.now()
        thing.shown = {
            "__name": name, "name": service or host, "display_name": service or host, "groups": [], "vars": None,
            "notes": "", "state": PENDING[type], "state_type": SOFT, "check_attempt": 1,
            "last_state_change": now, "last_hard_state_change": now, thing.well: 0, "last_check": -1,
            "last_check_result": None, "acknowledgement": 0, "acknowledgement_last_change": 0, "downtime_depth": 0,
            "version": now, **({"host_name": host} if service else {}), **shown,
        }  # fmt: skip
        self.things[name] = thing
        return thing

    def modify(self, name: str, **shown: Any) -> None:
        """Attributes set at run time."""
        self.things[name].shown |= {**shown, "version": self.now()}

    def remove(self, name: str) -> None:
        """With what hangs on it."""
        for one in [one for one in self.things if one == name or one.startswith(f"{name}!")]:
            del self.things[one]
            self.comments = {id: c for id, c in self.comments.items() if id.rpartition("!")[0] != one}

    def check(self, thing: Thing, state: int, output: str) -> None:
        """A check's result."""
        shown, now = thing.shown, self.now()
        before, type_before, first = shown["state"], shown["state_type"], not thing.checked
        was_well = first or before == 0
        if state == 0:
            kind, attempt = HARD, 1
        elif was_well:
            kind, attempt = (HARD if thing.attempts == 1 else SOFT), 1
        elif type_before == SOFT:
            attempt = shown["check_attempt"] + 1
            kind, attempt = (HARD, 1) if attempt >= thing.attempts else (SOFT, attempt)
        else:
            kind, attempt = HARD, 1
        changed = before != state
        if changed:
            shown["last_state_change"] = now
        if kind == HARD and (type_before == SOFT or changed):
            shown["last_hard_state_change"] = now
        if state == 0:
            shown[thing.well] = now
        thing.checked = True
        result = {"output": output, "state": state, "exit_status": state, "execution_end": now}
        shown |= {"state": state, "state_type": kind, "check_attempt": attempt, "last_check": now}
        shown["last_check_result"] = result
        if shown["acknowledgement"] and (state == 0 or (changed and shown["acknowledgement"] == 1)):
            self._clear(thing)

    def acknowledge(self, thing: Thing, author: str, text: str, *, sticky: bool) -> None:
        """409 where all is well, or it was done already."""
        if thing.shown["state"] == 0:
            raise Failed(409, f"{thing.type} {thing.name} is {'UP' if thing.type == 'Host' else 'OK'}.")
        if thing.shown["acknowledgement"]:
            raise Failed(409, f"{thing.type} {thing.name} is already acknowledged.")
        self.comment(thing, author, text, ACKNOWLEDGED)
        thing.shown |= {"acknowledgement": 2 if sticky else 1, "acknowledgement_last_change": self.now()}

    def unacknowledge(self, thing: Thing) -> None:
        """Nothing happens where none is."""
        if thing.shown["acknowledgement"]:
            self._clear(thing)

    def _clear(self, thing: Thing) -> None:
        thing.shown |= {"acknowledgement": 0, "acknowledgement_last_change": self.now()}
        gone = [id for id, one in self.comments.items() if self.of(one) is thing and one["entry_type"] == ACKNOWLEDGED]
        for id in gone:
            del self.comments[id]

    def comment(self, thing: Thing, author: str, text: str, type: int = PERSON) -> str:
        """Its name."""
        number = next(self._numbers)
        id = f"{thing.name}!00000000-0000-4000-8000-{number:012d}"
        host, _, service = thing.name.partition("!")
        self.comments[id] = {
            "__name": id, "host_name": host, "service_name": service, "author": author, "text": text,
            "entry_time": self.now(), "entry_type": type, "persistent": False,
        }  # fmt: skip
        return id

    def of(self, comment: Raw) -> Thing | None:
        """Whose comment it is."""
        host, service = comment["host_name"], comment["service_name"]
        return self.things.get(f"{host}!{service}" if service else host)

    def downtime(self, thing: Thing) -> str:
        """One that runs."""
        name = f"{thing.name}!10000000-0000-4000-8000-{next(self._numbers):012d}"
        thing.downtimes.add(name)
        thing.shown["downtime_depth"] = len(thing.downtimes)
        return name

    def end_downtimes(self, thing: Thing) -> None:
        """All of them."""
        thing.downtimes.clear()
        thing.shown["downtime_depth"] = 0
