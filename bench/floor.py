"""The floors: the smallest programs that do what is measured, with nothing of the engine in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocks.http import Http

INSERT = (
    "INSERT INTO incident (id, version, title, type, status, severity, owner, labels, occurred, created, updated) "
    "VALUES (?, 1, ?, 'incident', ?, ?, ?, ?, ?, ?, ?)"
)


async def fetch(http: Http, addresses: Sequence[str], path: Path) -> int:
    """Read these pages one after the other, and put each into the incident table with one durable commit.

    The driver is used in this thread: there is nothing else to do meanwhile. Answers how many records were read.
    """
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    read, known = 0, set[str]()
    for address in addresses:
        answer = await http.json("GET", address)
        # The next page begins with the last one's time: what was there already is left out.
        records = [one for one in answer["data"]["collection"] if one["id"] not in known]
        known = {one["id"] for one in records}
        store.execute("BEGIN IMMEDIATE")
        store.executemany(INSERT, [_row(one) for one in records])
        store.execute("COMMIT")
        read += len(records)
    store.close()
    return read


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    owner, labels = one["assignedto"], ",".join(label["name"] for label in one["keyword"])
    return (
        int(one["id"]), one["title"], one["status"]["name"], one["priority"]["name"], owner and owner["username"],
        labels or None, one["creation"], one["activity"], one["activity"],
    )  # fmt: skip
