"""What all tests share."""

from __future__ import annotations

import os

# Before Prefect is imported: a unit test starts no server.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"

from tests.mirrors import bench
from tests.stores import (
    database,
    empty_url,
    postgres,
    postgres_template,
    sqlite_template,
    store_url,
)

__all__ = ["bench", "database", "empty_url", "postgres", "postgres_template", "sqlite_template", "store_url"]
