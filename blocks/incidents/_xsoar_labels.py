"""XSOAR's labels, each a type and a value, as texts of ours. One of them holds our key. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

KEY: Final = "lockstep"
"""The type of the label that holds our key. XSOAR finds an incident by the type of its label."""
PLAIN: Final = "label"
"""The type of a label that shows as its value alone."""
HIDDEN: Final = frozenset({KEY, "Brand", "Instance", "demisto_url"})
"""Labels that are no person's: our key, and what each server adds of itself."""
LONGEST: Final = 500
"""Characters of a label that is carried. What no mapper took becomes a label, whole mails among it."""


def key_of(raw: Mapping[str, Any]) -> str | None:
    """The key of ours among an incident's labels."""
    keys = [one["value"] for one in raw.get("labels") or () if one.get("type") == KEY]
    return str(keys[0]) if keys else None


def text(label: Mapping[str, Any]) -> str:
    """`{type: "label", value: "x"}` is x, `{type: "Email/from", value: "x"}` is "Email/from: x"."""
    kind, value = str(label.get("type") or PLAIN), str(label.get("value") or "")
    return value if kind == PLAIN else f"{kind}: {value}"


def hidden(label: Mapping[str, Any]) -> bool:
    """Whether a label stays where it is, and is not carried."""
    shown = text(label)
    return label.get("type") in HIDDEN or not shown or len(shown) > LONGEST or "\0" in shown


def merged(before: Iterable[Mapping[str, Any]], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The labels to write: what is hidden stays, what is there and wanted stays as it is, the rest is new."""
    kept = [dict(one) for one in before if hidden(one) or text(one) in wanted]
    have = {text(one) for one in kept if not hidden(one)}
    return kept + [_label(shown) for shown in sorted(set(wanted) - have)]


def _label(shown: str) -> dict[str, Any]:
    kind, colon, value = shown.partition(": ")
    # A text from elsewhere must not make a key of ours, or what a server says of itself.
    if not colon or not kind or not value or kind in HIDDEN or kind == PLAIN:
        kind, value = PLAIN, shown
    return {"type": kind, "value": value}
