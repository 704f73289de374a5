"""Addresses and bodies with places in braces, filled by position: nothing that is filled in can leave its place.

In a path a value is percent-encoded whole, in a query it is one parameter's value, in a body it is a JSON value or a
part of a JSON text. There is nothing to compute: a place is a name, and `{record.a.b}` a path into the incident.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

import orjson

from blocks.incidents._rest_paths import MISSING, Path

Values = Mapping[str, Any]
Params = list[tuple[str, str]]
_PLACE: Final = re.compile(r"\{([A-Za-z_][^{}]*)\}")
_RECORD: Final = "record."


def places(text: str) -> set[str]:
    """The names in braces."""
    return set(_PLACE.findall(text))


def known(text: str, names: Collection[str]) -> None:
    """ValueError: a place that cannot be filled here."""
    for name in sorted(places(text)):
        if name.startswith(_RECORD) and "record" in names:
            Path.of(name.removeprefix(_RECORD))
        elif name not in names:
            raise ValueError(
                f"nothing is known as {{{name[:40]}}} here: {', '.join(f'{{{one}}}' for one in names)} are"
            )


@dataclass(frozen=True, slots=True)
class Address:
    """A path below the system's address, and its parameters."""

    path: str
    params: tuple[tuple[str, str], ...]
    free: bool
    """Whether `{query}` stands alone, so that a person's query is further parameters."""

    @classmethod
    def of(cls, text: str) -> Address:
        """From `issues?since={since}&page={page}`. ValueError: it leads elsewhere."""
        path, _, query = text.strip().partition("?")
        path = path.lstrip("/")
        if "://" in path or "#" in path or ".." in path.split("/") or "\\" in path:
            raise ValueError(f"{text[:80]!r}: write a path below the system's address, as issues/{{id}}")
        parts = [part for part in query.split("&") if part]
        pairs = (part.partition("=") for part in parts if part != "{query}")
        params = tuple((unquote(name), value) for name, _, value in pairs)
        return cls(path, params, "{query}" in parts)

    def fill(self, values: Values) -> tuple[str, Params]:
        """Path and parameters. A parameter with a place that is None is left out; `{ids}` alone repeats its name.

        ValueError: a query that is none, or that sets a parameter which is set here.
        """
        path = _PLACE.sub(lambda place: quote(_text(_get(values, place[1])), safe=""), self.path)
        params: Params = []
        for name, template in self.params:
            wanted = [_get(values, place) for place in places(template)]
            if template == "{ids}":
                params += [(name, _text(one)) for one in values["ids"]]
            elif None not in wanted:
                if "{query}" in template and not _closed(_text(values["query"])):
                    raise ValueError(f"its brackets or quotes do not close: {values['query'][:100]!r}")
                params.append((name, _decoded(template, values)))
        if self.free:
            params += self._further(_text(values.get("query")))
        return path, params

    def _further(self, query: str) -> Params:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        except ValueError:
            pairs = []
        taken = {name for name, _ in self.params}
        odd = [name for name, value in pairs if name in taken or not value or not re.fullmatch(r"[\w.:~\[\]-]+", name)]
        if odd or not pairs:
            raise ValueError(
                f"not a query (name=value&name=value, none of {', '.join(sorted(taken))}): {query[:100]!r}"
            )
        return pairs


def parsed(text: str) -> Any:  # noqa: ANN401  any JSON
    """A body's template. ValueError: it is no JSON object."""
    try:
        body = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise ValueError(f'no JSON ({error}): write an object, as {{"text": "{{text}}"}}') from None
    if isinstance(body, dict):
        return body
    raise ValueError('write an object, as {"text": "{text}"}')


def body(template: Any, values: Values) -> Any:  # noqa: ANN401  any JSON
    """The body with its places filled. A text that is one place becomes the value itself, of whatever type."""
    if isinstance(template, dict):
        return {key: body(one, values) for key, one in template.items()}
    if isinstance(template, list):
        return [body(one, values) for one in template]
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template)
    return _get(values, whole[1]) if whole else _filled(template, values)


def _decoded(template: str, values: Values) -> str:
    """A parameter's value: what the form wrote may be percent-encoded, what is filled in never is."""
    pieces = _PLACE.split(template)
    return "".join(_text(_get(values, one)) if n % 2 else unquote(one) for n, one in enumerate(pieces))


def _closed(query: str) -> bool:
    """Whether a query ends what it began, so that it cannot leave the brackets that stand around it."""
    bare = re.sub(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", "", query)
    depths = [0, *accumulate({"(": 1, ")": -1}.get(one, 0) for one in bare)]
    return min(depths) == depths[-1] == 0 and not set(bare) & {"'", '"'}


def _filled(template: str, values: Values) -> str:
    return _PLACE.sub(lambda place: _text(_get(values, place[1])), template)


def _get(values: Values, name: str) -> Any:  # noqa: ANN401  any JSON
    if name.startswith(_RECORD):
        found = Path.of(name.removeprefix(_RECORD)).read(values.get("record"))
        return None if found is MISSING else found
    return values.get(name)


def _text(value: Any) -> str:  # noqa: ANN401  any JSON
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
