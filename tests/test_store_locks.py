"""Locks that their holder's death releases."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from blocks.errors import Busy, LockLost, Unavailable
from blocks.store import Database, locks
from blocks.store.locks import hold, is_free

HOLDER = """
import asyncio, sys
from blocks.store import Database
from blocks.store.locks import hold

async def main():
    async with hold(Database(sys.argv[1]), "mirror a"):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
HERE = Path(__file__).parent.parent


def modes(folder: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())]


async def test_a_lock_has_one_holder(database: Database) -> None:
    assert await is_free(database, "mirror a")
    async with hold(database, "mirror a") as lock:
        await lock.check()
        assert not await is_free(database, "mirror a")
        with pytest.raises(Busy, match="mirror a"):
            async with hold(database, "mirror a"):
                pass
        await lock.check()
    assert await is_free(database, "mirror a")


async def test_other_names_are_other_locks(database: Database) -> None:
    async with hold(database, "mirror a"), hold(database, "mirror b") as lock:
        await lock.check()
        assert await is_free(database, "mirror c")


async def test_a_lock_can_be_taken_the_moment_it_is_released(database: Database) -> None:
    for _ in range(20):
        async with hold(database, "mirror a") as lock:
            await lock.check()


async def test_an_error_inside_releases_the_lock(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with hold(database, "mirror a"):
            _ = 1 / 0
    assert await is_free(database, "mirror a")


async def test_a_cancelled_holder_releases_the_lock(database: Database) -> None:
    held = asyncio.Event()

    async def holder() -> None:
        async with hold(database, "mirror a"):
            held.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(holder())
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_free(database, "mirror a")


async def test_one_who_waits_gets_the_lock_when_it_is_released(database: Database) -> None:
    held, released = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with hold(database, "mirror a"):
            held.set()
            await released.wait()

    task = asyncio.create_task(holder())
    await held.wait()
    asyncio.get_running_loop().call_later(0.3, released.set)
    async with hold(database, "mirror a", wait=10) as lock:
        assert released.is_set()
        await lock.check()
    await task


async def test_one_who_waits_in_vain_is_told_so_in_time(database: Database) -> None:
    async with hold(database, "mirror a"):
        clock = asyncio.get_running_loop().time
        start = clock()
        with pytest.raises(Busy):
            async with hold(database, "mirror a", wait=0.4):
                pass
        assert 0.3 < clock() - start < 3


async def test_looking_never_takes_the_lock_from_one_who_tries(database: Database) -> None:
    stop = False

    async def look() -> int:
        looks = 0
        while not stop:
            await is_free(database, "mirror a")
            looks += 1
            await asyncio.sleep(0)
        return looks

    task = asyncio.create_task(look())
    for _ in range(30):
        async with hold(database, "mirror a"):
            await asyncio.sleep(0)
    stop = True
    assert await task > 0


async def test_eight_who_compete_are_never_inside_together(database: Database) -> None:
    inside = most = turns = 0

    async def work() -> None:
        nonlocal inside, most, turns
        for _ in range(5):
            async with hold(database, "mirror a", wait=30) as lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.002)
                await lock.check()
                inside -= 1
                turns += 1

    await asyncio.gather(*(work() for _ in range(8)))
    assert (most, turns) == (1, 40)


async def test_a_lock_is_checked_by_many_at_once(database: Database) -> None:
    async with hold(database, "mirror a") as lock:
        await asyncio.gather(*(lock.check() for _ in range(20)))


@pytest.mark.slow
async def test_kill_9_of_the_holder_releases_the_lock(database: Database) -> None:
    address = database.url.render_as_string(hide_password=False)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, address, stdout=asyncio.subprocess.PIPE, cwd=HERE
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"held\n"
        assert not await is_free(database, "mirror a")
        with pytest.raises(Busy):
            async with hold(database, "mirror a"):
                pass
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    async with hold(database, "mirror a", wait=5) as lock:
        await lock.check()


async def test_a_lock_whose_place_is_gone_is_lost(database: Database) -> None:
    async with hold(database, "mirror a") as lock:
        if isinstance(lock, locks._FileLock):
            lock.path.unlink()
        else:
            assert isinstance(lock, locks._SessionLock)
            await lock.connection.execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(LockLost, match="mirror a"):
            await lock.check()


@pytest.mark.parametrize("store_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_a_lock_whose_connection_is_cut_is_lost(database: Database) -> None:
    async with hold(database, "mirror a") as lock:
        assert isinstance(lock, locks._SessionLock)
        async with database.begin("test") as connection:
            await connection.exec_driver_sql("SELECT pg_terminate_backend($1)", (lock.connection.get_server_pid(),))
        with pytest.raises(LockLost, match="mirror a"):
            await lock.check()
        assert await is_free(database, "mirror a")


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_the_files_of_locks_are_ours_alone_and_stay(database: Database) -> None:
    async with hold(database, "../../mirror a"):
        pass
    assert modes(Path(f"{database.url.database}.locks")) == [0o700, 0o600]


@pytest.mark.slow
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_forked_child_does_not_keep_its_parents_lock(database: Database) -> None:
    forking = "        if os.fork() == 0:\n            os.close(1)\n            time.sleep(60)\n"
    script = "import os, time" + HOLDER.replace("        print", f"{forking}        print")
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(database.url),
        stdout=asyncio.subprocess.PIPE,
        cwd=HERE,
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"held\n"
        child.kill()
        await child.wait()
        async with hold(database, "mirror a", wait=5) as lock:
            await lock.check()
    finally:
        os.killpg(child.pid, signal.SIGKILL)


async def test_a_database_that_does_not_answer_is_unavailable() -> None:
    closed = Database("postgresql+asyncpg://ann:secret@127.0.0.1:1/lockstep")
    with pytest.raises(Unavailable) as caught:
        async with hold(closed, "mirror a"):
            pass
    assert "secret" not in str(caught.value)
    assert caught.value.sent is False
