"""What a form's paths find in a record: an incident, a comment; and fields as they are written. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from blocks.errors import Refused
from blocks.fieldmap import Field, FieldMap
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_form import RestField, RestForm
from blocks.incidents._rest_paths import MISSING, Path, Times, in_words, shown_keys, value
from blocks.incidents._rest_templates import Values
from blocks.model import BadRecord, Entry, Fields, Incident, Value

RAW: Final = 64 * 1024
"""How much of a bad record is kept."""
_ID: Final = re.compile(r"(?!\.+$)[A-Za-z0-9_.:@=+~-]{1,200}")
_DIGITS: Final = 20
SKEW: Final = 1.0
"""How exactly the system's clock is known, in seconds."""
_CANNOT: Final = (ValueError, TypeError, OverflowError, RecursionError)


def fit(id: str) -> bool:
    """Whether an id can stand in an address: letters, digits and `_.:@=+~-`, no more."""
    return _ID.fullmatch(id) is not None


def text(at: datetime) -> str:
    """A time as a cursor or version, which orders as text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def raw_version(version: str) -> str:
    """A counter as the system writes it."""
    return (version.lstrip("0") or "0") if version.isdigit() else version


def field_map(form: RestForm) -> FieldMap:
    """The form's fields, with their values as tables. An owner that is in no table passes as it is."""
    return FieldMap(tuple(_row(form, one) for one in form.mapped))


def _row(form: RestForm, one: RestField) -> Field:
    pairs = [(pair.theirs, pair.ours) for pair in form.values if pair.field == one.ours]
    return Field(
        one.ours,
        one.theirs,
        dict(pairs),
        {ours: theirs for theirs, ours in reversed(pairs)},
        many=one.kind == "list",
        writable=one.writable,
        open=one.ours == "owner",
    )


@dataclass(frozen=True)
class Reader:
    """A form's paths, read once."""

    form: RestForm
    fields: Mapping[str, Path]
    kinds: Mapping[str, str]
    fixed: frozenset[str]
    times: Times
    now: Callable[[], datetime]

    @classmethod
    def of(cls, form: RestForm, now: Callable[[], datetime]) -> Reader:
        """From a form that is right; `now` is the system's clock."""
        rows = {row.theirs: Path.of(row.read) for row in form.mapped}
        kinds = {row.theirs: row.kind for row in form.mapped}
        fixed = frozenset(row.theirs for row in form.mapped if row.writable == "never")
        return cls(form, rows | {one: Path.of(one) for one in form.further}, kinds, fixed, Times(form.times), now)

    def at(self, name: str, data: Any) -> Any:  # noqa: ANN401  any JSON
        """What the form's path of this name finds. MISSING where it names nothing."""
        path = getattr(self.form, name)
        return Path.of(path).read(data) if path else MISSING

    def id(self, record: Any, name: str = "id_at") -> str:  # noqa: ANN401  as it came
        """ValueError: there is none that could stand in an address."""
        found = self.at(name, record)
        id = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
        if not fit(id):
            raise ValueError(f"no id at {getattr(self.form, name)!r}; the record has: {shown_keys(record)}")
        return id

    def time(self, record: Any, name: str) -> datetime:  # noqa: ANN401  as it came
        """ValueError."""
        found = self.at(name, record)
        if found is MISSING:
            raise ValueError(f"no time at {getattr(self.form, name)!r}; the record has: {shown_keys(record)}")
        return self.times.read(found)

    def read(self, record: Any) -> Incident:  # noqa: ANN401  as it came
        """ValueError, TypeError, OverflowError: it cannot be read."""
        form, updated, created = self.form, self.time(record, "updated_at"), self.at("created_at", record)
        shown = {key: path.read(record) for key, path in self.fields.items()}
        key = self.at("key_at", record)
        ids = self.at("comment_ids", record)
        return Incident(
            id=self.id(record),
            version=self._version(record) if form.version_at else self._moment(updated),
            updated=updated,
            fields={key: self._value(key, one) for key, one in shown.items() if one is not MISSING},
            created=None if created in (MISSING, None, "") else self.times.read(created),
            key=key if isinstance(key, str) and key else None,
            entry_ids=None if not form.comment_ids else tuple(_ids(ids)),
        )

    def row(self, record: Any) -> Incident | BadRecord:  # noqa: ANN401  as it came
        """One record of a list."""
        try:
            return self.read(record)
        except _CANNOT as error:
            named = self.at("id_at", record)
            words = f"{type(error).__name__}: {error}"[:300]
            return BadRecord("" if named is MISSING else str(named)[:64], orjson.dumps(record).decode()[:RAW], words)

    def _version(self, record: Any) -> str:  # noqa: ANN401  as it came
        found = self.at("version_at", record)
        if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
            raise ValueError(f"no version at {self.form.version_at!r}; the record has: {shown_keys(record)}")
        return str(found).zfill(_DIGITS) if str(found).isdigit() else str(found)

    def _moment(self, updated: datetime) -> str:
        """The time of update as a version. While its moment may go on, and show more later, it ranks a little lower."""
        still = timedelta(seconds=self.form.clock_seconds + self.form.lag_seconds + SKEW)
        return text(updated) if self.now() - updated > still else text(updated)[:-1]

    def _value(self, key: str, shown: Any) -> Value:  # noqa: ANN401  as it came
        found = value(shown, key)
        kind = self.kinds.get(key)
        if kind == "number" and found is not None:
            return str(found)
        if kind == "list" and not isinstance(found, list):
            return [] if found in (None, "") else [str(found)]
        return None if kind and found == "" else found

    def entry(self, record: Any, incident_id: str, account: str) -> Entry | None:  # noqa: ANN401  as it came
        """A comment, or None where it is none. ValueError, TypeError, OverflowError."""
        words = self.at("comment_text", record)
        if words in (MISSING, None, "") or not self._is_comment(record):
            return None
        if not isinstance(words, str):
            raise TypeError(f"{self.form.comment_text} shows no text")
        author, key = self.at("comment_author", record), self.at("comment_key", record)
        return Entry(
            id=self.id(record, "comment_id"),
            incident_id=incident_id,
            kind="comment",
            created=self.time(record, "comment_created"),
            author=str(author) if isinstance(author, str | int) else "",
            text=words,
            key=key if isinstance(key, str) and key.startswith("lockstep-") else None,
            own=bool(account) and author == account,
        )

    def _is_comment(self, record: Any) -> bool:  # noqa: ANN401  as it came
        path, _, wanted = self.form.comment_where.partition("=")
        return not path or in_words(Path.of(path).read(record)) == wanted

    def body(self, extra: str, values: Values, fields: Fields, call: str, id: str = "") -> dict[str, Any]:
        """A write's body: what the form sends along, and fields at their places. Refused: unknown, or no number."""
        whole: dict[str, Any] = templates.body(templates.parsed(extra), values)
        refused: dict[str, str] = {}
        for key, one in fields.items():
            if key not in self.fields or key in self.fixed:
                words = "can only be read" if key in self.fixed else "is none of the form's fields: add it to `further`"
                refused[key] = f"{key} {words}"
                continue
            try:
                self.put(whole, key, self._sent(self.kinds.get(key, ""), one))
            except ValueError as error:
                refused[key] = f"{key}: {error}"
        if refused:
            words = "; ".join(refused.values())
            raise Refused(words, fields=refused, system=self.form.fingerprint(), call=call, id=id)
        return whole

    def put(self, body: dict[str, Any], key: str, one: Any) -> None:  # noqa: ANN401  any JSON
        """One value at its place among the fields of a body."""
        Path.of(".".join(part for part in (self.form.fields_at, key) if part)).put(body, one)

    def _sent(self, kind: str, one: Value) -> Any:  # noqa: ANN401  any JSON
        if kind == "list":
            return one if isinstance(one, list) else [] if one in (None, "") else [str(one)]
        if one is None or one == "":
            return None if self.form.cleared == "null" else ""
        if kind == "number":
            return float(str(one)) if "." in str(one) else int(str(one))
        return str(one) if kind == "text" and not isinstance(one, list) else one


def _ids(found: Any) -> list[str]:  # noqa: ANN401  as it came
    return [str(one) for one in found if isinstance(one, str | int)] if isinstance(found, list) else []
