"""An approved report is written where it goes: its files into a folder that fsspec knows, a summary as an artifact."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem
from sqlalchemy import select, update

from blocks.errors import Misconfigured, Refused, Unavailable
from blocks.redaction import fit
from blocks.store import Database, checks
from blocks.store.links import Row, rows_of
from blocks.store.locks import hold
from tasks.reporting.formats import FORMATS
from tasks.reporting.keep import REPORT, cache_of, file_name, file_names
from tasks.reporting.show import published_report
from tasks.reports import key_of, leave

WAIT: Final = 60.0
"""Seconds that another run which publishes the same report is waited for."""

LONGEST: Final = 1_000
"""Characters of a target."""

FORMS: Final = "/folder, ~/folder, or an address such as s3://bucket/folder"


def folder(target: str, environ: Mapping[str, str]) -> str:
    """Where a report goes: as typed, or the folder `reports` in the state folder where nothing was typed.

    Raises:
        Refused: no text that the store can keep.
        Misconfigured: no address of a folder; one that holds a login; its library is missing.
    """
    typed = checks.text("publish_to", target, LONGEST).strip()
    target = (typed or f"{environ.get('LOCKSTEP_HOME') or '~/.lockstep'}/reports").rstrip("/")
    protocol, _, rest = target.rpartition("://")
    if "::" in target or (not protocol and not target.startswith(("/", "~/"))) or not rest:
        raise _misconfigured(f"publish_to is no folder: write {FORMS}")
    if protocol and ("@" in urlsplit(target).netloc or "?" in target):
        # It would stand in the run's parameters, in clear.
        message = "publish_to must hold no login and no query: put them where the library of its kind looks for them"
        raise _misconfigured(message)
    try:
        fsspec.get_filesystem_class(protocol or "file")
    except (ImportError, ValueError) as error:
        raise _misconfigured(f"publish_to cannot be used by this worker: {fit(str(error), (), 200)}") from None
    return target


async def publish(database: Database, number: int, now: Callable[[], datetime]) -> list[str]:
    """Write an approved report's files, leave its artifact, and forget what the cache has; answers the addresses.

    Safe to run again after a crash at any point: the same files and the same artifact's key are written once more.

    Raises:
        Refused: it is not approved, or is published already.
        Unavailable: its target or Prefect's server does not take it; another run publishes it right now.
    """
    async with hold(database, f"report:{number}", wait=WAIT, passing=True):
        async with database.read() as connection:
            row = next(iter(await rows_of(connection, select(REPORT).where(REPORT.c.id == number))), None)
        if row is None or row["state"] != "approved":
            words = f"it is {row['state']} already, approved by {row['decided_by']}" if row else "there is none"
            raise Refused(f"report {number}: {words}", system="store", call="publish")
        files = await _files(database, row, now())
        places = await asyncio.to_thread(_write, row["target"], f"{key_of(row['title'])}-{database.id}-{number}", files)
        report = published_report(row, places)
        if await leave(report, key_of("report", str(number)), f"report {number}: {row['title']}"[:200]) is None:
            raise Unavailable("Prefect's server did not take the artifact: approve again", system="store")
        async with database.begin("published") as connection:
            await connection.execute(update(REPORT).where(REPORT.c.id == number).values(state="published"))
            await cache_of(database, now()).forget(connection, file_names(row))
    return places


async def _files(database: Database, row: Row, now: datetime) -> dict[str, bytes]:
    """Its files; Refused, and the report is over, where they expired before its target could be written."""
    cache = cache_of(database, now)
    kept = {ending: await cache.get(file_name(row["id"], ending)) for ending in FORMATS}
    found = {ending: one.value for ending, one in kept.items() if one is not None}
    if len(found) == len(FORMATS):
        return found
    async with database.begin("report expired") as connection:
        await connection.execute(update(REPORT).where(REPORT.c.id == row["id"]).values(state="expired", facts=None))
    message = f"report {row['id']}: it was approved and could not be published for too long: make it anew"
    raise Refused(message, system="store", call="publish")


def _write(target: str, stem: str, files: Mapping[str, bytes]) -> list[str]:
    """Each file whole or not at all, where its kind of folder can do that. Unavailable says which failed."""
    done: list[str] = []
    try:
        system, path = _open(target)
        for ending, data in files.items():
            place = f"{path.rstrip('/')}/{stem}.{ending}"
            with system.transaction, system.open(place, "wb") as file:
                file.write(data)
            done.append(str(system.unstrip_protocol(place)))
    except (OSError, ValueError, ImportError, NotImplementedError) as error:
        # Their texts name paths, and what the other side said.
        why = fit(f"{type(error).__name__}: {error}", (), 200)
        message = f"{target} cannot be written: {why}. Mend it, then approve again"
        raise Unavailable(message, system="store", call="publish") from None
    return done


def _open(target: str) -> tuple[AbstractFileSystem, str]:
    found: tuple[Any, str] = url_to_fs(os.path.expanduser(target))  # noqa: PTH111  an address, or a path with ~
    system, path = found
    system.makedirs(path, exist_ok=True)
    return system, path


def _misconfigured(message: str) -> Misconfigured:
    return Misconfigured(message, system="store", call="make report")
