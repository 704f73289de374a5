"""The part of XSOAR's query language that its documents show: fields, quotes, comparisons, and, or, minus, brackets."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Test = Callable[[dict[str, Any]], bool]
TOKEN = re.compile(
    r'\s*(?:(\()|(\))|(-)|([\w./]+):(>=|<=|>|<)?("(?:[^"\\]|\\.)*"|[^\s()"]+)|("(?:[^"\\]|\\.)*"|[\w.*@/]+))'
)
NAMES: dict[str, dict[float, str]] = {
    "status": {0: "pending", 1: "active", 2: "closed", 3: "archived"},
    "severity": {0: "unknown", 0.5: "informational", 1: "low", 2: "medium", 3: "high", 4: "critical"},
}
TIMES = ("created", "modified", "occurred", "closed")


class Wrong(Exception):
    """The query is not valid: a 400, with the server's words."""

    status, id, title = 400, "bad_query", "Bad query"


class Query:
    """One query, parsed. `zone`: hours by which the server reads times wrongly."""

    def __init__(self, text: str, zone: float = 0.0) -> None:
        self.zone = zone
        self.tokens: list[tuple[str, ...]] = []
        at = 0
        while text[at:].strip():
            found = TOKEN.match(text, at)
            if not found:
                raise Wrong(f"syntax error at {at}")
            self.tokens.append(tuple(part or "" for part in found.groups()))
            at = found.end()
        self.at = 0
        self.holds: Test = self._any() if self.tokens else lambda _: True
        if self.at < len(self.tokens):
            raise Wrong("unexpected end of a bracket")

    def _word(self) -> str:
        return self.tokens[self.at][6].lower() if self.at < len(self.tokens) else ""

    def _any(self) -> Test:
        tests = [self._all()]
        while self._word() == "or":
            self.at += 1
            tests.append(self._all())
        return lambda raw: any(test(raw) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self.at < len(self.tokens) and not self.tokens[self.at][1] and self._word() != "or":
            self.at += self._word() == "and"
            tests.append(self._one())
        return lambda raw: all(test(raw) for test in tests)

    def _one(self) -> Test:
        if self.at == len(self.tokens) or self._word() in ("and", "or"):
            raise Wrong("a condition is missing")
        opens, closes, minus, field, operator, value, word = self.tokens[self.at]
        self.at += 1
        if minus:
            test = self._one()
            return lambda raw: not test(raw)
        if opens:
            test = self._any()
            if self.at == len(self.tokens) or not self.tokens[self.at][1]:
                raise Wrong("a bracket is open")
            self.at += 1
            return test
        if closes:
            raise Wrong("a bracket too many")
        return self._compare(field, operator, _bare(value)) if field else _contains(_bare(word))

    def _compare(self, field: str, operator: str, value: str) -> Test:
        if field in TIMES:
            limit = self._time(value)
            return lambda raw: _ordered(operator, moment(raw[field]), limit)
        return lambda raw: any(_same(shown, value) for shown in _shown(raw, field))

    def _time(self, value: str) -> datetime:
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise Wrong(f"no time: {value}") from None
        return at.replace(tzinfo=UTC) - timedelta(hours=self.zone)


def moment(shown: str) -> datetime:
    """A stored time."""
    at = datetime.fromisoformat(shown)
    return at.astimezone(UTC) if at.year > 1 else at.replace(tzinfo=UTC)


def _ordered(operator: str, shown: datetime, limit: datetime) -> bool:
    return {">=": shown >= limit, "<=": shown <= limit, ">": shown > limit, "<": shown < limit}.get(
        operator, shown == limit
    )


def _bare(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _contains(word: str) -> Test:
    return lambda raw: word.lower() in f"{raw['name']} {raw['details']}".lower()


def _shown(raw: dict[str, Any], field: str) -> list[str]:
    """A field's values: the object's own, a custom field's, or those of the labels of this type."""
    own = raw.get(field, raw["CustomFields"].get(field))
    values = own if isinstance(own, list) else [] if own is None else [own]
    if field in NAMES:
        values = [NAMES[field].get(own), own]
    return [str(one) for one in values] + [one["value"] for one in raw["labels"] or () if one["type"] == field]


def _same(shown: str, value: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in value.split("*"))
    return re.fullmatch(pattern, shown, re.IGNORECASE | re.DOTALL) is not None
