"""A fake Roundup that writes down its people's edits and counts the faults that it met: `python -m chaos.tracker`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from tests.fakes.people import People
from tests.fakes.roundup import FakeRoundup
from tests.fakes.tracker import Conflict, Tracker, Usage
from tests.fakes.wire import Reply, serve

USERS = ("bob", "carol")
COLOURS = ("blue", "green", "red")


class Noted(People):
    """People whose edits of titles are noted: which, when, what they saw and what they wrote."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__(tracker)
        self.titles: list[dict[str, Any]] = []

    def edit(self, id: str, sent: dict[str, Any] | None = None, by: str = "analyst", **fields: Any) -> str:  # noqa: ANN401  as the base
        """Set fields of an issue."""
        before = self.tracker.issues[int(id)].values["title"]
        done = super().edit(id, sent, by, **fields)
        after = self.tracker.issues[int(id)].values["title"]
        if after != before:
            self.titles.append({"issue": id, "at": self.tracker.clock(), "saw": before, "wrote": after})
        return done


class Watched(FakeRoundup):
    """The fake, with `/_fake/look` for its people: which issues there are, and which of them are deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.people: Noted = Noted(self.tracker)
        self.met: Counter[str] = Counter()
        for name in USERS:
            self.people.name("user", name)
        for name in COLOURS:
            self.people.name("keyword", name)

    def _failed(self, kind: str) -> Reply:
        self.met[kind] += 1
        return super()._failed(kind)

    def _limited(self) -> Reply | None:
        reply = super()._limited()
        self.met["rate limit"] += reply is not None
        return reply

    def _control(self, method: str, what: str, body: bytes) -> Reply:
        if what == "look":
            issues = {id: item.retired for id, item in self.tracker.issues.items()}
            shown = {
                "there": [n for n, gone in issues.items() if not gone],
                "deleted": [n for n in issues if issues[n]],
            }
            return Reply(200, orjson.dumps(shown), self._headers())
        try:
            return super()._control(method, what, body)
        except (Conflict, Usage) as error:
            return self._error(error.status, str(error))

    def state(self) -> dict[str, Any]:
        """Everything, with the people's notes and the faults that were met."""
        return {**super().state(), "titles": self.people.titles, "met": dict(self.met)}


if __name__ == "__main__":
    serve(Watched(), base="/tracker/")
