"""The people who work in a fake tracker: they edit as another user, at any moment, past all locks."""

from __future__ import annotations

import base64
from typing import Any

from tests.fakes.tracker import Tracker


class People:
    """Each method is one edit by somebody; ids are text, links are labels. Fields come as a dict or by name."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def create(self, sent: dict[str, Any] | None = None, by: str = "analyst", **fields: Any) -> str:
        """A new issue."""
        return str(self.tracker.create_issue({**(sent or {}), **fields}, self._user(by)).id)

    def edit(self, id: str, sent: dict[str, Any] | None = None, by: str = "analyst", **fields: Any) -> str:
        """Set fields of an issue; None clears."""
        item = self.tracker.issues[int(id)]
        given = {prop: "" if value is None else value for prop, value in {**(sent or {}), **fields}.items()}
        self.tracker.set(item, self.tracker.parsed(given, item), self._user(by))
        return id

    def message(self, id: str, text: str, by: str = "analyst") -> str:
        """Write a message; answers `msg7`."""
        blob = self.tracker.add_message({}, text, self._user(by))
        self.edit(id, {"messages": [f"+{blob.id}"]}, by)
        return f"msg{blob.id}"

    def file(self, id: str, name: str, data: bytes | str, kind: str = "text/plain", by: str = "analyst") -> str:
        """Attach a file (over HTTP its data is base64); answers `file3`."""
        content = base64.b64decode(data) if isinstance(data, str) else data
        blob = self.tracker.add_file(name, kind, content, self._user(by))
        self.edit(id, {"files": [f"+{blob.id}"]}, by)
        return f"file{blob.id}"

    def text(self, text: str, at: int) -> str:
        """A message that no issue links yet, of this time in milliseconds; answers its bare id."""
        blob = self.tracker.add_message({}, text, self._user("analyst"))
        blob.creation, blob.born = at, at / 1000
        return str(blob.id)

    def close(self, id: str) -> str:
        """Resolve an issue."""
        return self.edit(id, {"status": "resolved"})

    def reopen(self, id: str) -> str:
        """Take it up again."""
        return self.edit(id, {"status": "in-progress"})

    def retire(self, id: str) -> str:
        """Delete it, as Roundup deletes."""
        self.tracker.retire(self.tracker.issues[int(id)], retired=True, by=self._user("analyst"))
        return id

    def restore(self, id: str) -> str:
        """Bring it back."""
        self.tracker.retire(self.tracker.issues[int(id)], retired=False, by=self._user("analyst"))
        return id

    def name(self, of: str, label: str) -> str:
        """A new keyword or user, unless there is one."""
        return str(self.tracker.ids[of].get(label) or self.tracker.add_name(of, label))

    def _user(self, login: str) -> int:
        return self.tracker.ids["user"][login]
