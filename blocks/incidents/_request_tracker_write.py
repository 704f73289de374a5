"""Writing to RT: it answers that it did what it did not do, so each write is read back and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blocks.answers import About
from blocks.errors import Misconfigured, Partial, Refused, Stale
from blocks.incidents import _request_tracker as records
from blocks.incidents import _request_tracker_bodies as bodies
from blocks.incidents._request_tracker_calls import Tracker
from blocks.model import Entry, Fields, Incident


async def create(tracker: Tracker, fields: Fields, key: str) -> Incident:
    """Partial: it is there, but RT left out some fields without a word."""
    there, held = await tracker.fields(), tracker.key_field
    if held not in there:
        message = f"the queue has no custom field {held}, which holds our keys: run check_connection"
        raise Misconfigured(message, system=tracker.system, call="create")
    body = bodies.new(fields, there - {held}, tracker.shapes, tracker.system)
    body["CustomFields"][held] = key
    made = await tracker.made({"Queue": tracker.queue, **body}, fields)
    now = replace(await tracker.get(made), key=key)
    sent = {name: value for name, value in fields.items() if name != "Content" and value not in (None, "", [])}
    wrong = [name for name, value in sent.items() if not records.same(name, value, now.fields.get(name))]
    if wrong:
        raise _partial(tracker, now, wrong, "create", ())
    return now


async def update(tracker: Tracker, incident: Incident, patch: Fields) -> Incident:
    """Refused: RT took nothing of it. An incident without a version is read first, and its fields compared."""
    version = incident.version
    if not version or not patch:
        now = await tracker.get(incident.id)
        moved = any(now.fields.get(name, value) != value for name, value in incident.fields.items())
        if moved or (version and now.version != version):
            message = "it was changed since it was read"
            raise Stale(message, system=tracker.system, call="PUT ticket", id=incident.id)
        if not patch:
            return now
        version = now.version
    body = bodies.changed(patch, incident.fields, tracker.shapes, tracker.system, incident.id)
    told = await tracker.put(incident.id, version, body)
    now = replace(await tracker.get(incident.id), key=incident.key)
    wrong = records.ignored(incident.fields, patch, now.fields)
    if not wrong:
        return now
    partial = _partial(tracker, now, wrong, "PUT ticket", told)
    if len(wrong) < len(patch):
        raise partial
    about = About(system=partial.system, call=partial.call, id=partial.id)
    raise Refused(partial.message, fields=partial.fields, **about)


def _partial(tracker: Tracker, now: Incident, wrong: Sequence[str], call: str, told: Sequence[str]) -> Partial:
    """RT's reasons are in the login's language, and do not name their field: all are given."""
    said = f"; it said: {' '.join(told)}"[:300] if told else ", and does not say why"
    reasons = {name: f"RT left {name} at {now.fields.get(name)!r}{said}" for name in wrong}
    message = ", ".join(f"RT left {name} at {now.fields.get(name)!r}" for name in wrong) + said
    return Partial(message, incident=now, fields=reasons, system=tracker.system, call=call, id=now.id)


async def same(tracker: Tracker, one: Entry, sent: Entry) -> bool:
    """Whether an entry is what was sent, told by its content: a file's bytes are read."""
    if sent.kind != "file":
        return one.text.split() == sent.text.split()
    if one.name != bodies.name_of(sent):
        return False
    return sent.data is None or (one.size == len(sent.data) and await tracker.content(one.id) == sent.data)
