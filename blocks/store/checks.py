"""What a value must be before it is stored: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import orjson

from blocks.errors import Refused
from blocks.model import FIELDS, SEVERITIES, STATUSES, Fields, Value

COLUMNS: Final = (*FIELDS, "type")
"""Fields that are columns of the incident; all others go into `custom`."""

LIMITS: Final = {"title": 1_000, "owner": 500, "type": 500, "close_reason": 500, "labels": 500}
"""Characters. PostgreSQL's indexes hold no value over 2,700 bytes."""

LONGEST: Final = 1_000_000
CUSTOM: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
CHOICES: Final[dict[str, Collection[str]]] = {"status": STATUSES, "severity": SEVERITIES}
PLAIN: Final = frozenset({*COLUMNS} - {"labels", *CHOICES})
SHORT: Final = min(LIMITS.values())
REQUIRED: Final = frozenset({"title", "status"})
_LISTS: Final = (list, tuple, set, frozenset)


def checked(patch: Fields) -> dict[str, Value]:
    """The values as they are stored: labels sorted, once each. Refused names the field and the reason."""
    return {name: _checked(name, value) for name, value in patch.items()}


def given(fields: Fields) -> dict[str, Value]:
    """What a new incident has: as `checked`, without what is empty. Refused names the field and the reason."""
    return {name: _checked(name, value) for name, value in fields.items() if value is not None}


def text(name: str, value: object, limit: int = LONGEST) -> str:
    """Text that both databases can keep, of at most `limit` characters. Refused names the field."""
    if not isinstance(value, str):
        raise refused(name, "must be text")
    if len(value) > limit:
        raise refused(name, f"has {len(value):,} characters, {limit:,} are allowed")
    if "\0" in value:
        raise refused(name, "holds a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise refused(name, "is not valid Unicode") from None
    return value


def labels(name: str, value: object) -> list[str]:
    """Labels, sorted, once each. Refused names the field."""
    if not isinstance(value, _LISTS):
        raise refused(name, "must be a list of texts")
    return sorted({text(name, item, LIMITS["labels"]) for item in value})


def refused(name: str, reason: str) -> Refused:
    """The error for one field."""
    return Refused(f"{name} {reason}", system="store", fields={name: reason})


def _checked(name: str, value: Value) -> Value:
    if name in PLAIN and type(value) is str and len(value) <= SHORT and value.isascii() and "\0" not in value:
        return value  # nearly all of them: a first fetch checks a million
    if value is None:
        if name in REQUIRED:
            raise refused(name, "must not be empty")
        return None
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise refused(name, f"must be one of {', '.join(CHOICES[name])}")
        return value
    if name == "labels":
        return labels(name, value)
    if name in COLUMNS:
        return text(name, value, LIMITS.get(name, LONGEST))
    return _custom(name, value)


def _custom(name: str, value: Value) -> Value:
    if not CUSTOM.fullmatch(name):
        raise refused(name, "is no name of a field: a-z first, then a-z, 0-9 and _, at most 63")
    if isinstance(value, str):
        return text(name, value)
    if isinstance(value, list):
        return labels(name, value)
    try:
        kept = bool(orjson.loads(orjson.dumps(value)) == value)
    except TypeError:
        kept = False
    if not kept:
        raise refused(name, "is no value that JSON keeps")
    return value
