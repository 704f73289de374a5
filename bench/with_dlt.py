"""The same fetch with dlt, in a process and a venv of its own: `python with_dlt.py FOLDER < addresses`.

The same pages as ours reads, one call each, are given to dlt as flat rows with the fields of our incident table: it
neither has to unpack links nor to make child tables of lists. It merges them on id into SQLite, from nothing, with its
own defaults. Prints the seconds that `pipeline.run` takes and how many rows are there then.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}

import dlt
import requests


def pages(addresses: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Each page's rows."""
    with requests.Session() as session:
        session.auth = ("admin", "secret")
        for address in addresses:
            yield [_row(one) for one in session.get(address, timeout=60).json()["data"]["collection"]]


def _row(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": int(one["id"]),
        "title": one["title"],
        "status": one["status"]["name"],
        "severity": one["priority"]["name"],
        "owner": one["assignedto"] and one["assignedto"]["username"],
        "labels": ",".join(label["name"] for label in one["keyword"]) or None,
        "created": one["creation"],
        "updated": one["activity"],
    }


def main() -> None:
    """Fetch once."""
    folder, addresses = Path(sys.argv[1]), json.load(sys.stdin)
    store = folder / "dlt.db"
    destination = dlt.destinations.sqlalchemy(f"sqlite:///{store}")
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name="bench", pipelines_dir=str(folder / "dlt"))
    incidents = dlt.resource(pages(addresses), name="incident", write_disposition="merge", primary_key="id")
    begin = perf_counter()
    pipeline.run(incidents).raise_on_failed_jobs()
    seconds = perf_counter() - begin
    # A dataset is a file of its own beside the one that is named.
    file = folder / "dlt__bench.db"
    with sqlite3.connect(file) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM incident").fetchone()
    print(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
