"""Which records of a system become incidents of ours, and as what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blocks.model import SEVERITIES, Fields, Value
from blocks.rules import Condition, Intake, PreRule


@dataclass(frozen=True, slots=True)
class Record:
    """A new record in our words: `ours` holds our fields, `raw` the system's keys."""

    ours: Fields
    raw: Fields

    def value(self, name: str) -> Value:
        """A field by our name, else by the system's key."""
        return self.ours[name] if name in self.ours else self.raw.get(name)


def accepts(record: Record, conditions: Iterable[Condition]) -> bool:
    """Whether all conditions hold. No condition: it passes."""
    return all(_holds(record.value(c.field), c) for c in conditions)


def _holds(value: Value, condition: Condition) -> bool:
    values = [str(v).casefold() for v in (value if isinstance(value, list) else [value]) if v not in (None, "")]
    wanted = condition.value.casefold()
    match condition.op:
        case "is":
            return wanted in values if wanted else not values
        case "is not":
            return wanted not in values if wanted else bool(values)
        case "contains":
            return any(wanted in v for v in values)
        case "is empty":
            return not values
        case "is not empty":
            return bool(values)
        case "at least":
            return any(_at_least(v, wanted) for v in values)


def _at_least(value: str, wanted: str) -> bool:
    if value in SEVERITIES and wanted in SEVERITIES:
        return SEVERITIES.index(value) >= SEVERITIES.index(wanted)
    try:
        return float(value) >= float(wanted)
    except ValueError:
        return value >= wanted


def classify(record: Record, intake: Intake) -> str:
    """The incident's type: the classifier's first line that fits, else the default."""
    if not intake.type_field:
        return intake.default_type
    value = record.value(intake.type_field)
    values = {str(v).casefold() for v in (value if isinstance(value, list) else [value])}
    return next((rule.type for rule in intake.types if rule.value.casefold() in values), intake.default_type)


def first_rule(record: Record, rules: Iterable[PreRule]) -> PreRule | None:
    """The first pre-processing rule whose conditions hold."""
    return next((rule for rule in rules if accepts(record, rule.when)), None)


def match(record: Record, rule: PreRule, candidates: Iterable[tuple[int, Mapping[str, Value]]]) -> int | None:
    """The open incident (its id) that equals the record in all of the rule's `same` fields; the oldest of several."""
    key = [record.value(name) for name in rule.same]
    if not rule.same or any(value in (None, "", []) for value in key):
        return None
    return min((number for number, fields in candidates if [fields.get(n) for n in rule.same] == key), default=None)
