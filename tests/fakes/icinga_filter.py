"""Icinga's filters, as far as tests need them: comparisons, `in`, `&&`, `||`, `!`, and a few functions."""

from __future__ import annotations

import ast
import fnmatch
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!().,\[\]]))"""
)
_SIGNS = {"&&": " and ", "||": " or ", "!": " not ", "in": " in "}
_WORDS = {"true": "True", "false": "False", "null": "None"}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in (many or ()),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "intersection": lambda one, other: [x for x in one if x in other],
    "match": lambda pattern, value: fnmatch.fnmatchcase(str(value), pattern),
}


class NoFilter(Exception):
    """It cannot be parsed, or not evaluated on this object."""


class Filter:
    """A parsed filter; an empty one finds nothing, as on the real server. NoFilter."""

    def __init__(self, text: str) -> None:
        self.empty = not text.strip()
        self.tree = None if self.empty else _parsed(text)

    def holds(self, names: Mapping[str, Any]) -> bool:
        """For one object, by its names. NoFilter: it speaks of what is not there."""
        return self.tree is not None and bool(_value(self.tree, names))


def _parsed(text: str) -> ast.expr:
    source, place = "", 0
    text = text.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.end() == place:
            raise NoFilter(text[place:])
        token, place = found[0].strip(), found.end()
        source += f" {_SIGNS.get(token, _WORDS.get(token, token))}" if found["text"] is None else f" {token}"
    try:
        return ast.parse(source.replace(" . ", ".").strip(), mode="eval").body
    except SyntaxError as error:
        raise NoFilter(str(error)) from None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:  # noqa: PLR0911  one for each kind
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in names:
            return names[node.id]
        case ast.Attribute():
            return _field(_value(node.value, names), node.attr)
        case ast.List():
            return [_value(one, names) for one in node.elts]
        case ast.BoolOp():
            ends = isinstance(node.op, ast.Or)
            return ends if any(bool(_value(one, names)) is ends for one in node.values) else not ends
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, names)
        case ast.Compare(ops=[op], comparators=[right]) if type(op) in _COMPARED:
            return _COMPARED[type(op)](_value(node.left, names), _value(right, names))
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(one, names) for one in node.args))
    raise NoFilter(ast.dump(node))


def _field(value: Any, name: str) -> Any:
    if value is None or (isinstance(value, dict) and name not in value and "__name" not in value):
        return None  # custom variables that are not set
    if not isinstance(value, dict) or name not in value:
        raise NoFilter(name)
    return value[name]
