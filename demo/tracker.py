"""A person's hands at the tracker: plain REST calls, nothing of Lockstep's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

FIELDS = "title,status,priority,assignedto,keyword,messages,files,closereason,closenotes"


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue as the tracker shows it, with the texts of its messages. `etag` changes with every change."""

    id: str
    etag: str
    title: str
    status: str
    priority: str
    owner: str
    reason: str
    notes: str
    messages: tuple[str, ...]


class Tracker:
    """The tracker, seen and used by one of its people."""

    def __init__(self, url: str, login: str, password: str) -> None:
        parts = urlsplit(url)
        headers = {"X-Requested-With": "rest", "Origin": f"{parts.scheme}://{parts.netloc}", "Referer": url}
        self.login = login
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/rest/data/", auth=(login, password), headers=headers, timeout=30
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _data(self, method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  httpx's own arguments
        answer = self._client.request(method, path, **more)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data

    def open(self, title: str, priority: str, text: str = "") -> str:
        """Open an issue; answers its id."""
        fields: dict[str, Any] = {"title": title, "priority": priority, "status": "unread"}
        if text:
            fields["messages"] = [self._message(text)]
        return str(self._data("POST", "issue", json=fields)["id"])

    def edit(self, number: str, **fields: str) -> None:
        """Change fields of an issue."""
        self._data("PUT", f"issue/{number}", json=fields, headers={"If-Match": self._etag(number)})

    def comment(self, number: str, text: str) -> None:
        """Add a message to an issue."""
        fields = {"@op": "add", "messages": self._message(text)}
        self._data("PATCH", f"issue/{number}", json=fields, headers={"If-Match": self._etag(number)})

    def _message(self, text: str) -> str:
        return str(self._data("POST", "msg", json={"content": text, "author": self.login})["id"])

    def _etag(self, number: str) -> str:
        return str(self._data("GET", f"issue/{number}")["@etag"])

    def issues(self) -> list[Issue]:
        """All issues as they are now, one read each."""
        ids = [row["id"] for row in self._data("GET", "issue")["collection"]]
        return [self._issue(number) for number in sorted(ids, key=int)]

    def _issue(self, number: str) -> Issue:
        data = self._data("GET", f"issue/{number}", params={"@verbose": "2", "@fields": FIELDS})
        shown = data["attributes"]
        texts = [
            self._data("GET", f"msg/{message['id']}", params={"@verbose": "3"})["attributes"]["content"]
            for message in shown["messages"]
        ]
        return Issue(
            number,
            data["@etag"],
            shown["title"] or "",
            (shown["status"] or {}).get("name", ""),
            (shown["priority"] or {}).get("name", ""),
            (shown["assignedto"] or {}).get("username", ""),
            shown["closereason"] or "",
            shown["closenotes"] or "",
            tuple(texts),
        )
