"""The journal on both databases, and the document in a real Prefect server: two processes, other stores, hygiene."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from prefect.client.orchestration import PrefectClient
from pydantic import SecretStr

from blocks.errors import LockLost, Misconfigured
from blocks.oauth import journal
from blocks.oauth.custody import forget
from blocks.oauth.document import Token, shelf
from blocks.oauth.pairs import Held, Pair
from blocks.oauth.people import adopt, revoke
from blocks.oauth.refresh import renew
from blocks.store import Database, Store
from blocks.store.rekey import rekey
from tests.fakes.provider import SECRET, Provider
from tests.grants import (
    Desk,
    Prefect,
    Time,
    desk,
    prefect,
    provider,
    refreshing,
    rotating,
    when,
)
from tests.mirrors import copy_of
from tests.running import CODE
from tests.serving import api, client, server_home

__all__ = ["api", "client", "desk", "prefect", "provider", "rotating", "server_home", "when"]

PAIR = Pair("access", 1000.0, 60.0, "refresh", 1000.0, 2000.0)


async def test_the_journal_keeps_the_newest_on_both_databases(database: Database, prefect: Prefect) -> None:
    assert await journal.read(database, "toy/a") is None
    held = Held(1, "granted", "x", "s", PAIR)
    await journal.record(database, "toy/a", held)
    await journal.record(database, "toy/a", held)
    await journal.note(database, "toy/a", journal.Note("mark", 1234.5))
    entry = await journal.read(database, "toy/a")
    assert entry == journal.Entry(held, journal.Note("mark", 1234.5))
    newer = Held(2, "ended", "x", "s", None)
    await journal.record(database, "toy/a", newer, "why")
    assert await journal.read(database, "toy/a") == journal.Entry(newer, None, "why")
    assert await journal.names(database) == ["toy/a"]


async def test_what_is_older_than_the_store_has_is_not_kept(database: Database, prefect: Prefect) -> None:
    await journal.record(database, "toy/a", Held(5, "granted", "x", "", PAIR))
    for wrong in (Held(4, "granted", "x"), Held(5, "ended", "x")):
        with pytest.raises(LockLost):
            await journal.record(database, "toy/a", wrong)
    entry = await journal.read(database, "toy/a")
    assert entry is not None
    assert entry.held.generation == 5


async def test_a_refresh_works_on_both_databases(rotating: Desk) -> None:
    for _ in range(3):
        await rotating.renew()
        rotating.time.go(3600)
    assert (await rotating.agree()).generation == 3


async def test_the_store_shows_no_token_to_who_reads_its_rows(rotating: Desk) -> None:
    held = await rotating.renew()
    assert held.pair is not None
    async with rotating.database.read() as connection:
        rows = (await connection.exec_driver_sql("SELECT * FROM oauth_grant")).all()
    assert len(rows) == 1
    assert not any(one in str(rows) for one in (held.pair.access, held.pair.refresh, SECRET, rotating.grant.typed))


async def test_new_keys_read_what_old_ones_wrote_and_write_it_again(
    rotating: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await rotating.renew()
    old, new = os.environ["LOCKSTEP_KEYS"], Fernet.generate_key().decode()
    monkeypatch.setenv("LOCKSTEP_KEYS", f"{new},{old}")
    assert (await rotating.row()).held == held
    await rekey(rotating.database)
    monkeypatch.setenv("LOCKSTEP_KEYS", new)
    assert (await rotating.row()).held == held
    monkeypatch.setenv("LOCKSTEP_KEYS", Fernet.generate_key().decode())
    with pytest.raises(Misconfigured, match="put that key back"):
        await rotating.renew()


async def test_another_store_leaves_the_token_alone(rotating: Desk, sqlite_template: Path, tmp_path: Path) -> None:
    await rotating.renew()
    other = await Store(url=SecretStr(copy_of(sqlite_template, tmp_path, "other"))).open()
    try:
        other.id = "another0"
        with pytest.raises(Misconfigured, match=f"guarded by the store {rotating.database.id}, and this process has"):
            await renew(other, rotating.grant, clock=rotating.time.clock)
    finally:
        await other.close()
    assert len(rotating.provider.presented) == 1


async def test_a_store_put_back_from_a_backup_takes_the_newer_pair_from_the_document(rotating: Desk) -> None:
    await rotating.renew()
    old = await rotating.row()
    rotating.time.go(3600)
    newer = await rotating.renew()
    async with rotating.database.begin("test") as connection:
        await connection.exec_driver_sql("DELETE FROM oauth_grant")
    await journal.record(rotating.database, rotating.grant.grant_name, old.held)
    assert await rotating.renew() == newer
    assert await rotating.agree() == newer
    assert len(rotating.provider.presented) == 2


@pytest.mark.parametrize("damage", ["********", "", "{}", None])
async def test_a_document_that_somebody_edited_is_mended_from_the_store(rotating: Desk, damage: Any) -> None:
    await rotating.renew()
    rotating.prefect.documents["toyrefresh--prod"]["held"] = damage
    rotating.time.go(3600)
    await rotating.renew()
    await rotating.agree()


async def test_a_document_of_another_grant_is_left_alone(rotating: Desk) -> None:
    await rotating.renew()
    rotating.prefect.documents["toyrefresh--prod"]["grant"] = "toy/refresh--prod"
    rotating.time.go(3600)
    with pytest.raises(Misconfigured, match="belongs to toy/refresh--prod"):
        await rotating.renew()


# In a real Prefect server.


@pytest.fixture
async def real(
    client: PrefectClient, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A refresh token, a store of its own, and a real server."""
    monkeypatch.setenv("LOCKSTEP_KEYS", Fernet.generate_key().decode())
    async with Provider().serving() as served:
        database = await Store(url=SecretStr(copy_of(sqlite_template, tmp_path, "lockstep"))).open()
        async with database.begin("test") as connection:
            await connection.exec_driver_sql("UPDATE setting SET value = hex(randomblob(4)) WHERE name = 'id'")
        await database.close()
        database = await Store(url=SecretStr(copy_of(tmp_path / "lockstep.db", tmp_path, "again"))).open()
        try:
            yield Desk(database, served, Prefect(), Time(), refreshing(served, served.grant()))
        finally:
            async with shelf("toyrefresh/prod", database.id) as there:
                if await there._read():
                    await Token.adelete(there.name, client=client)
            await database.close()


@pytest.mark.server
@pytest.mark.slow
async def test_a_real_document_is_written_read_back_and_replaced(real: Desk, client: PrefectClient) -> None:
    for generation in range(1, 4):
        held = await real.renew()
        async with shelf("toyrefresh/prod", real.database.id) as there:
            assert await there.load() == held
        document = await client.read_block_document_by_name("toyrefresh--prod", "lockstep-token", include_secrets=False)
        assert document.data["generation"] == generation
        assert set(str(document.data["held"])) == {"*"}
        real.time.go(3600)
    await revoke(real.database, real.grant)
    async with shelf("toyrefresh/prod", real.database.id) as there:
        found = await there.load()
    assert found is not None
    assert (found.state, found.pair) == ("revoked", None)


@pytest.mark.server
@pytest.mark.slow
async def test_a_real_document_is_removed_with_its_row(real: Desk) -> None:
    assert not await forget(real.database, "toyrefresh/prod")
    await real.renew()
    assert await forget(real.database, "toyrefresh/prod")
    async with shelf("toyrefresh/prod", real.database.id) as there:
        assert await there.load() is None
    assert await journal.names(real.database) == []


@pytest.mark.server
@pytest.mark.slow
async def test_two_processes_share_one_refresh(real: Desk, api: str) -> None:
    real.provider.lifetime = 2.0
    store = str(real.database.url.render_as_string(hide_password=False))
    env = {**os.environ, "PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    argv = [sys.executable, "-m", "tests.two_refreshers", store, real.provider.url, real.grant.typed, "8"]
    pipe = asyncio.subprocess.PIPE
    started = [await asyncio.create_subprocess_exec(*argv, env=env, cwd=CODE, stdout=pipe) for _ in range(2)]
    found = [json.loads((await one.communicate())[0].splitlines()[-1]) for one in started]
    assert all(one["failures"] == [] for one in found), found
    assert all(one["made"] > 50 for one in found)
    presented = real.provider.presented
    assert len(set(presented)) == len(presented)
    # Each lives 2 s and is renewed after 1.8: with some seconds to start, no more than so many.
    assert len(presented) <= 8
    assert [one.alive for one in real.provider.families] == [True]


@pytest.mark.server
@pytest.mark.slow
async def test_no_secret_is_in_what_a_server_or_a_log_keeps_in_clear(
    real: Desk, client: PrefectClient, caplog: pytest.LogCaptureFixture, server_home: Path, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    first = await real.renew()
    real.time.go(3600)
    real.provider.faults.plan("fail")
    with pytest.raises(Exception) as caught:  # noqa: PT011  whatever it is, what it shows is looked at
        await real.renew()
    real.time.go(60)
    second = await real.renew()
    assert first.pair is not None
    assert second.pair is not None
    await adopt(real.database, real.grant, second.pair)
    secrets = {
        SECRET,
        real.grant.typed,
        *(getattr(p, n) for p in (first.pair, second.pair) for n in ("access", "refresh")),
    }
    kept = all_of(server_home) + all_of(tmp_path)
    assert b"toyrefresh--prod" in kept
    shown = caplog.text + repr(caught.value) + str(vars(caught.value)) + str(second) + str(real.grant)
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret not in shown


def all_of(folder: Path) -> bytes:
    """Every byte that lies there."""
    return b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())
