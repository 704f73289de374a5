"""What changed between two snapshots of Icinga, as pages. No I/O.

Icinga tells neither what changed since a time nor what is over: it shows what there is. So a cursor holds, beside the
newest time that was seen, the problems that were open, each with a digest of what it showed. What a snapshot lacks of
these is asked for by name, and told as over. Output moves with every check: it travels with the next other change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import orjson

from blocks.incidents import _icinga as records
from blocks.incidents._icinga import Checkable, Comment, Problem
from blocks.model import BadRecord, Cursor, Entry, Incident, Page

PATIENCE: Final = timedelta(days=30)
"""How long after it was last well a problem is looked for whose object is not there any more."""
_MOVES: Final = "output"


@dataclass(frozen=True, slots=True)
class Mark:
    """A cursor. `known`: what was open, by id, and what could not be read, by name; None: nothing was read yet."""

    at: datetime
    known: Mapping[str, str] | None = None

    @classmethod
    def of(cls, cursor: Cursor) -> Mark:
        """As text. ValueError: it is none."""
        at, _, known = cursor.partition(" ")
        begin = datetime.fromisoformat(at)
        if begin.tzinfo is None:
            message = "a time without its zone"
            raise ValueError(message)
        return cls(begin, orjson.loads(known) if known else None)

    def text(self) -> Cursor:
        """The time first, so that cursors order as text."""
        at = records.text(self.at)
        return at if self.known is None else f"{at} {orjson.dumps(self.known, option=orjson.OPT_SORT_KEYS).decode()}"

    @property
    def problems(self) -> dict[str, Problem]:
        """What was open."""
        found = {id: Problem.of(id) for id in self.known or ()}
        return {id: one for id, one in found.items() if one is not None}


@dataclass(slots=True)
class Snapshot:
    """What there is at a moment: problems by id, and what of those known before is not among them, asked by name."""

    open: dict[str, Checkable] = field(default_factory=dict)
    rest: dict[str, Checkable] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)

    def take(self, found: Sequence[Checkable], bad: Sequence[BadRecord]) -> None:
        """What a search for problems found."""
        self.open |= {one.problem.id: one for one in found if one.problem is not None}
        self.bad += bad

    def lacks(self, mark: Mark) -> list[str]:
        """Names of what was open and is not shown any more."""
        return sorted({one.name for id, one in mark.problems.items() if id not in self.open})

    def since(self, problems: Mapping[str, Problem]) -> int:
        """The microsecond after which the comments of all these were written."""
        wells = [*(one.well for one in self.open.values()), *(one.well for one in problems.values())]
        return min(wells, default=0)

    def now(self, mark: Mark) -> tuple[list[Incident], set[str]]:
        """All incidents, those of the mark that are over too, oldest first, and the ids of what is over.

        What is known and was not found at all stays known for a while: it may be back.
        """
        shown = {id: one.incident(Problem.of(id) or Problem(one.name, one.well)) for id, one in self.open.items()}
        over: set[str] = set()
        for id, problem in mark.problems.items():
            now = self.rest.get(problem.name)
            if id not in shown and now is not None:
                shown[id] = now.incident(problem)
                over |= {id} if now.problem != problem else set()
        return sorted(shown.values(), key=lambda one: (one.updated, one.id)), over

    def entries(self, ids: Sequence[str], login: str) -> dict[str, list[Entry]]:
        """What was said of each of these problems since all was well before it, and before the next one."""
        newest: dict[str, int] = {
            one.name: one.well for one in (*self.rest.values(), *self.open.values()) if one.problem
        }
        by_name: dict[str, list[Comment]] = {}
        for comment in self.comments:
            by_name.setdefault(comment.name, []).append(comment)
        found: dict[str, list[Entry]] = {}
        for id in ids:
            problem = Problem.of(id)
            if problem is not None:
                until = newest.get(problem.name)
                until = None if until == problem.well else until
                found[id] = said(problem, by_name.get(problem.name, ()), login, until)
        return found


def said(problem: Problem, comments: Sequence[Comment], login: str, until: int | None = None) -> list[Entry]:
    """The entries of one problem, oldest first. What came with our own acknowledgement is none."""
    mine = [
        one
        for one in comments
        if one.name == problem.name
        and one.at >= problem.well
        and (until is None or one.at < until)
        and not (one.acknowledges and one.author == login)
    ]
    return [one.entry(problem.id, login) for one in sorted(mine, key=lambda one: (one.at, one.id))]


def pages(mark: Mark, snapshot: Snapshot, login: str, size: int) -> Iterator[Page]:
    """What is new since the mark, each page with a cursor from which all that follows it is found again."""
    shown, over = snapshot.now(mark)
    entries = snapshot.entries([one.id for one in shown], login)
    said_of = {one.id: [entry.id for entry in entries.get(one.id, ())] for one in shown}
    digests = {one.id: _digest(one, said_of[one.id]) for one in shown}
    unread = {one.id: records.digest(one.error) for one in snapshot.bad}
    news = [one for one in shown if one.id in over or one.updated >= mark.at or _news(mark, one.id, digests[one.id])]
    known = dict(mark.known) if mark.known is not None else _passed_over(digests, news)
    bad = [one for one in snapshot.bad if known.get(one.id) != unread[one.id]]
    kept = {id: one for id, one in known.items() if id not in digests and _may_be_back(id, mark.at)}
    whole = {**kept, **{id: one for id, one in digests.items() if id not in over}, **unread}
    at = mark.at
    for begin in range(0, len(news), size):
        part = news[begin : begin + size]
        at = max(at, *(one.updated for one in part))
        for one in part:
            known.pop(one.id, None)
            if one.id not in over:
                known[one.id] = digests[one.id]
        last = begin + size >= len(news)
        cursor = Mark(at, whole if last else known).text()
        yield Page(part, cursor, [entry for one in part for entry in entries.get(one.id, ())], bad)
        bad = []
    if not news and (bad or whole != mark.known):
        yield Page([], Mark(at, whole).text(), [], bad)


def _passed_over(digests: Mapping[str, str], news: Sequence[Incident]) -> dict[str, str]:
    """What a first read goes by because of its time: known from its first page on, so that the next one does, too."""
    told = {one.id for one in news}
    return {id: one for id, one in digests.items() if id not in told}


def _may_be_back(id: str, now: datetime) -> bool:
    """Whether what was not found at all is still looked for: an object may be away for a while."""
    problem = Problem.of(id)
    return problem is not None and problem.well > (now - PATIENCE).timestamp() * 1e6


def _news(mark: Mark, id: str, digest: str) -> bool:
    """Whether it shows something else than when it was seen last. A first read goes by time alone."""
    return mark.known is not None and mark.known.get(id) != digest


def _digest(one: Incident, entries: Sequence[str]) -> str:
    return records.digest({name: value for name, value in one.fields.items() if name != _MOVES}, entries)
