"""The same fetch with dlt, in a process and a venv of its own: `python with_dlt.py FOLDER < addresses`.

dlt gets the same pages as ours, one call each, over requests, with the records as the server gives them; it unpacks
their links into columns, as ours does, and merges them on id into SQLite, from nothing, with its own defaults. Prints
the seconds that `pipeline.run` takes, imports aside, and how many incidents are there then.
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

# It reads its settings when it is imported.
import dlt
import requests


def pages(addresses: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Each page's records."""
    with requests.Session() as session:
        session.auth = ("admin", "secret")
        for address in addresses:
            yield session.get(address, timeout=60).json()["data"]["collection"]


def main() -> None:
    """Fetch once."""
    folder, addresses = Path(sys.argv[1]), json.load(sys.stdin)
    destination = dlt.destinations.sqlalchemy(f"sqlite:///{folder / 'dlt.db'}")
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name="bench", pipelines_dir=str(folder / "dlt"))
    incidents = dlt.resource(pages(addresses), name="incident", write_disposition="merge", primary_key="id")
    begin = perf_counter()
    pipeline.run(incidents).raise_on_failed_jobs()
    seconds = perf_counter() - begin
    # A dataset is a file of its own beside the one that is named.
    with sqlite3.connect(folder / "dlt__bench.db") as connection:
        (rows,) = connection.execute("SELECT count(*) FROM incident").fetchone()
    print(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
