r"""Dotted paths into JSON, and how times look. No I/O.

`status.name` is a key in a key; `items.0` the first of a list; `labels[].name` the name of each;
`fields[name=Level].value` the value of the first whose name is Level. A dot that belongs to a key has a backslash in
front: `@odata\.nextLink`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from blocks.model import Value

_STEP: Final = re.compile(r"((?:[^.\[\]\\]|\\.)*)((?:\[[^\[\]]*\])*)(?:\.|$)")
_BRACKET: Final = re.compile(r"\[([^\[\]]*)\]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS: Final = {"iso": timedelta(0), "seconds": timedelta(seconds=1), "milliseconds": timedelta(milliseconds=1)}


class _Missing:
    """Nothing is there, which is not the same as null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was read from its text. Steps are keys, and, as pairs, what stands in brackets."""

    text: str
    steps: tuple[str | tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> Path:
        """ValueError: it is no path. An empty one stands for the whole."""
        return cls(text, tuple(_steps(text)))

    @property
    def plain(self) -> bool:
        """Whether it holds keys only, so that something can be put there."""
        return all(isinstance(step, str) for step in self.steps)

    def read(self, data: Any) -> Any:  # noqa: ANN401  any JSON
        """What is there, or MISSING."""
        return _read(data, self.steps)

    def put(self, body: dict[str, Any], value: Any) -> None:  # noqa: ANN401  any JSON
        """Put a value there; objects on the way are made."""
        *way, last = (str(step) for step in self.steps)
        for key in way:
            body = body.setdefault(key, {})
        body[last] = value


def _steps(text: str) -> Iterator[str | tuple[str, str]]:
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if (
            step is None
            or step.end() == at
            or not (step[1] or step[2])
            or (text[-1] == "." and step.end() == len(text))
        ):
            raise ValueError(f"{text[:80]!r} is no path: write keys with dots between them, as status.name")
        if step[1]:
            yield re.sub(r"\\(.)", r"\1", step[1])
        for inside in _BRACKET.findall(step[2]):
            key, equals, wanted = inside.partition("=")
            if inside and not (key and equals):
                raise ValueError(f"{text[:80]!r} is no path: brackets hold nothing, or a key and a value: [name=Level]")
            yield key, wanted
        at = step.end()


def _read(data: Any, steps: tuple[str | tuple[str, str], ...]) -> Any:  # noqa: ANN401  any JSON
    """Nothing in a null, and nothing in a list that is too short, is null; a key that is not there is MISSING."""
    for number, step in enumerate(steps):
        if data is None:
            return None
        if step == ("", ""):
            rest = (_read(one, steps[number + 1 :]) for one in data) if isinstance(data, list) else ()
            return [one for one in rest if one is not MISSING] if isinstance(data, list) else MISSING
        data = _chosen(data, *step) if isinstance(step, tuple) else _under(data, step)
    return data


def _chosen(data: Any, key: str, wanted: str) -> Any:  # noqa: ANN401  any JSON
    if not isinstance(data, list):
        return MISSING
    return next((one for one in data if isinstance(one, dict) and in_words(one.get(key)) == wanted), None)


def _under(data: Any, key: str) -> Any:  # noqa: ANN401  any JSON
    if isinstance(data, list) and key.isascii() and key.isdigit():
        return data[int(key)] if int(key) < len(data) else None
    return data.get(key, MISSING) if isinstance(data, dict) else MISSING


def in_words(shown: Any) -> str:  # noqa: ANN401  any JSON
    """A word, a number or a truth as a form writes it."""
    if shown is None or shown is MISSING:
        return ""
    return str(shown).lower() if isinstance(shown, bool) else str(shown)


def value(shown: Any, path: str) -> Value:  # noqa: ANN401  any JSON
    """A field's value: a word, a number, or a sorted list of words. ValueError: it is an object."""
    if shown is None or isinstance(shown, str | int | float):
        return shown
    if isinstance(shown, list) and not any(isinstance(one, dict | list) for one in shown):
        return sorted(str(one) for one in shown if one is not None)
    raise ValueError(f"{path} shows an object where a value is expected: name the part of it, as {path}.name")


@dataclass(frozen=True, slots=True)
class Times:
    """How a system writes times: iso, seconds or milliseconds since 1970, or a pattern (%Y-%m-%d %H:%M:%S), in UTC."""

    form: str

    def __post_init__(self) -> None:
        if self.form not in _WORDS and not {"%Y", "%S"} <= set(re.findall(r"%.", self.form)):
            raise ValueError(f"{self.form[:40]!r}: write iso, seconds, milliseconds, or a pattern as %Y-%m-%d %H:%M:%S")

    def read(self, shown: Any) -> datetime:  # noqa: ANN401  as it came
        """Aware, in UTC. ValueError, TypeError, OverflowError."""
        if self.form in ("seconds", "milliseconds"):
            if isinstance(shown, bool) or not isinstance(shown, str | int | float):
                raise TypeError(f"not a number of {self.form}: {str(shown)[:40]!r}")
            return _EPOCH + float(shown) * _WORDS[self.form]
        if not isinstance(shown, str):
            raise TypeError(f"not a time: {str(shown)[:40]!r}")
        at = datetime.fromisoformat(shown) if self.form == "iso" else datetime.strptime(shown, self.form)  # noqa: DTZ007  below
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

    def text(self, at: datetime) -> str:
        """The same the other way, cut to what the form can say; iso is cut to seconds."""
        if self.form in ("seconds", "milliseconds"):
            return str((at - _EPOCH) // _WORDS[self.form])
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ" if self.form == "iso" else self.form)

    def cut(self, at: datetime) -> datetime:
        """A time as `text` tells it."""
        return self.read(self.text(at))


def shown_keys(record: Any) -> str:  # noqa: ANN401  as it came
    """What a record has, for a person who looks for the right path."""
    if isinstance(record, Mapping):
        return ", ".join(str(key)[:40] for key in list(record)[:20]) or "nothing"
    return f"a {type(record).__name__}" if isinstance(record, list | str | int | float) else "nothing"
