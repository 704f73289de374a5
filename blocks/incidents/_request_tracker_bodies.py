"""What is written to RT. No I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from blocks.errors import Refused
from blocks.incidents._request_tracker import NOBODY, TITLE_BYTES, Shapes, bare
from blocks.model import Entry, Fields, Value

_GUESSED: Final = ("text/plain", "text/html")
"""RT guesses the character set of these, and keeps them as UTF-8."""
BINARY: Final = "application/octet-stream"


def new(fields: Fields, there: AbstractSet[str], shapes: Shapes, system: str) -> dict[str, Any]:
    """A ticket to create, without its queue. `there`: the queue's custom fields. Refused: RT would drop one."""
    given = {name: value for name, value in fields.items() if value not in (None, "", [])}
    content = given.pop("Content", None)
    body = changed(given, {}, shapes, system, "", there.__contains__)
    if content is not None:
        body |= {"Content": str(content), "ContentType": "text/plain"}
    return {"CustomFields": {}, **body}


def changed(
    patch: Fields,
    before: Fields,
    shapes: Shapes,
    system: str,
    id: str,
    has: Callable[[str], bool] = lambda _: True,
) -> dict[str, Any]:
    """A change to a ticket. Refused, before anything is sent: fields and values that RT would drop, cut or misread."""
    reasons: dict[str, str] = {}
    body: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for name, value in patch.items():
        field = bare(name)
        if field is not None and has(field):
            if value is not None or before.get(name) is not None:  # null would add an empty value to an empty field
                custom[field] = _custom(value, many=shapes.is_many(field))
        elif name in _PLAIN and not (wrong := _PLAIN[name](value)):
            body[name] = _text(name, value)
        else:
            reasons[name] = wrong if name in _PLAIN else f"{name}: RT has no such field here that can be written"
    if reasons:
        raise Refused("; ".join(reasons.values()), fields=reasons, system=system, call="write ticket", id=id)
    return {**body, "CustomFields": custom} if custom else body


def _custom(value: Value, *, many: bool) -> Any:  # noqa: ANN401  JSON
    if many:
        return [str(one) for one in value] if isinstance(value, list) else [] if value is None else [str(value)]
    if isinstance(value, list):
        return [str(one) for one in value]
    return None if value in (None, "") else str(value)


def _text(name: str, value: Value) -> str:
    if value is None or value == "":
        return NOBODY if name == "Owner" else ""
    # RT would drop the line breaks, and glue the words together.
    return " ".join(str(value).split("\n")) if name == "Subject" else str(value)


def _long(value: Value) -> str:
    size = len(str(value or "").encode())
    return f"Subject: {size} bytes, RT keeps {TITLE_BYTES}: shorten it" if size > TITLE_BYTES else ""


def _number(value: Value) -> str:
    return f"Owner: RT would take {value!r} for the number of an account" if str(value or "").isdigit() else ""


def _any(_: Value) -> str:
    return ""


_PLAIN: Final[Mapping[str, Callable[[Value], str]]] = {
    "Subject": _long,
    "Status": _any,
    "Owner": _number,
    "Priority": _any,
}
"""What can be written beside custom fields, and what would be wrong with a value."""


def said(entry: Entry, keys: Mapping[str, str], system: str) -> dict[str, Any]:
    """A comment to add. Refused: an empty file, which RT does not take."""
    body: dict[str, Any] = {"TxnCustomFields": dict(keys)} if keys else {}
    if entry.kind != "file":
        # RT takes a bare 0 for nothing.
        return body | {"Content": "0\n" if entry.text == "0" else entry.text, "ContentType": "text/plain"}
    if not entry.data:
        message = "RT takes no empty file"
        raise Refused(message, fields={"file": message}, system=system, call="POST comment", id=entry.id)
    file = {
        # As bytes, each a character: RT fails at any other.
        "FileName": name_of(entry).encode().decode("latin-1"),
        "FileType": _kind(entry.media_type, entry.data),
        "FileContent": base64.b64encode(entry.data).decode(),
    }
    return body | {"Attachments": [file]}


def name_of(entry: Entry) -> str:
    """A file's name as RT keeps it: without folders and line breaks."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", entry.name).rpartition("/")[2].strip() or "unnamed"


def _kind(media_type: str, data: bytes) -> str:
    """A file's type; none that would have RT recode its bytes."""
    kind = media_type.partition(";")[0].strip()
    if not kind.isascii() or not re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind):
        return BINARY
    if kind.casefold() not in _GUESSED:
        return kind
    try:
        return BINARY if "\0" in data.decode("utf-8") else kind
    except UnicodeDecodeError:
        return BINARY
