"""RT's query language as RT reads it: it passes over odd signs, and takes some quoted texts for columns."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DELIMITED = r"""'(?:[^\\']|\\.)*'|"(?:[^\\"]|\\.)*\""""
_CF = r"CF\.\{.+?\}(?:\.(?:Content|LargeContent))?"
_PARTS = {
    "AGGREGATOR": r"AND|OR",
    "OPERATOR": r"=|!=|>=|<=|>|<|IS NOT|IS|NOT LIKE|LIKE|NOT STARTSWITH|STARTSWITH|NOT ENDSWITH|ENDSWITH",
    "KEYWORD": rf"{_CF}|[{{}}\w.]+|{_DELIMITED}",
    "VALUE": rf"{_CF}|[\w.]+|[+-]?\d+|NULL|{_DELIMITED}",
    "OPEN_PAREN": r"\(",
    "CLOSE_PAREN": r"\)",
}
_KINDS = {kind: re.compile(part, re.IGNORECASE) for kind, part in _PARTS.items()}
_TOKEN = re.compile("|".join(f"(?:{part})" for part in _PARTS.values()), re.IGNORECASE)
_ORDER = ("CLOSE_PAREN", "OPEN_PAREN", "AGGREGATOR", "KEYWORD", "VALUE", "OPERATOR")
_SAYS = ("VALUE", "AGGREGATOR", "OPERATOR", "OPEN_PAREN", "CLOSE_PAREN", "KEYWORD")

Row = Callable[[str], list[Any]]
"""A record: its values of a column. KeyError: there is no such column."""


class Wrong(Exception):
    """400, with RT's words."""


@dataclass(slots=True)
class Condition:
    """One comparison. `column`: the value names a column."""

    key: str
    op: str
    value: str
    column: bool

    def holds(self, row: Row) -> bool:
        """Whether it does."""
        there = row(self.key)
        if self.column:
            return any(_same(a, b) for a in there for b in row(self.value))
        if self.op.startswith(("!", "NOT")) or self.op == "IS NOT":
            return not any(
                _compare(self.op.removeprefix("!").removeprefix("NOT ") or "=", one, self.value) for one in there
            )
        return any(_compare(self.op, one, self.value) for one in there)


def _same(one: Any, value: Any) -> bool:
    return str(one).casefold() == str(value).casefold()


def _compare(op: str, one: Any, value: str) -> bool:
    if isinstance(one, int):
        number = int(value) if re.fullmatch(r"[+-]?\d+", value) else -1
        by = {"=": operator.eq, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
        return bool(by[op](one, number))
    text, wanted = str(one).casefold(), value.casefold()
    if op in ("=", "IS", "IS NOT"):
        return text == wanted
    if op == "LIKE":
        return wanted.strip("%") in text
    return text.startswith(wanted) if op == "STARTSWITH" else text.endswith(wanted)


Tree = list[Any]
"""Conditions, trees, and the words between them."""


def parse(query: str) -> Tree:
    """The query's tree. Wrong."""
    want, last, depth = {"KEYWORD", "OPEN_PAREN"}, "", 0
    stack: list[Tree] = [[]]
    key = op = ""
    for found in _TOKEN.finditer(query):
        match = found[0]
        kind = next((one for one in _ORDER if one in want and _KINDS[one].fullmatch(match)), "")
        if not kind:
            wanted = " or ".join(one for one in _SAYS if one in want)
            here = f"{query[: found.start()]}>{match}<--here{query[found.end() :]}"
            raise Wrong(f"Wrong query, expecting a {wanted} in '{here}'")
        last = kind
        if kind == "OPEN_PAREN":
            depth += 1
            stack.append([])
            want = {"KEYWORD", "OPEN_PAREN"}
        elif kind == "CLOSE_PAREN":
            depth -= 1
            inner = stack.pop()
            stack[-1].append(inner)
            want = {"AGGREGATOR"} | ({"CLOSE_PAREN"} if depth else set())
        elif kind == "AGGREGATOR":
            stack[-1].append(match.upper())
            want = {"KEYWORD", "OPEN_PAREN"}
        elif kind == "KEYWORD":
            key, want = _bare(match), {"OPERATOR"}
        elif kind == "OPERATOR":
            op, want = match.upper(), {"VALUE"}
        else:
            value = _bare(match)
            column = re.match(r"CF\.(?:\{.*\}|.*?)$", value, re.IGNORECASE) is not None
            stack[-1].append(
                Condition(key, op, value, column or (match == value and match[:1].isalpha() and op != "IS"))
            )
            want = {"AGGREGATOR"} | ({"CLOSE_PAREN"} if depth else set())
    if last and last not in ("CLOSE_PAREN", "VALUE"):
        raise Wrong(f"Incomplete query, last element ({last}) is not close paren or value in '{query}'")
    if depth:
        raise Wrong(f"Incomplete query, {depth} unclosed paren in '{query}'")
    return stack[0]


def _bare(match: str) -> str:
    inner = match[1:-1] if re.fullmatch(_DELIMITED, match, re.DOTALL) else match
    return re.sub(r"\\(.)", r"\1", inner)


def holds(tree: Tree, row: Row) -> bool:
    """Whether a record fits; AND binds more than OR."""
    if not tree:
        return True
    either, both = False, True
    for number in range(0, len(tree), 2):
        one = tree[number]
        both = both and (one.holds(row) if isinstance(one, Condition) else holds(one, row))
        if number + 1 == len(tree) or tree[number + 1] == "OR":
            either, both = either or both, True
    return either


def keys(tree: Tree) -> set[str]:
    """The columns that a query names."""
    return {
        key
        for one in tree
        if not isinstance(one, str)
        for key in ({one.key} if isinstance(one, Condition) else keys(one))
    }
