"""Get or compute: one computation for any number of callers, in this process and in others, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks import points
from blocks.errors import Busy, Refused, Unavailable
from blocks.store import Database
from blocks.store.cache import Cache
from blocks.store.crypto import new_key
from blocks.store.locks import hold

HOUR = timedelta(hours=1)
KEY = new_key()
PROCESS = """
import asyncio, os, sys
from datetime import timedelta
from blocks.store import Database
from blocks.store.cache import Cache

async def compute():
    with open(sys.argv[2], "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("computing", flush=True)
    await asyncio.sleep(float(sys.argv[3]))
    return {"by": os.getpid()}

async def main():
    cache = Cache(Database(sys.argv[1]), "jira")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    asked = [cache.get_or_compute("users", compute, timedelta(hours=1)) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    print(*{answer["by"] for answer in answers}, flush=True)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", KEY)


@pytest.fixture
async def caches(store_url: str, database: Database) -> AsyncIterator[tuple[Cache, Cache]]:
    """The same integration in two databases: what one process does is not seen by the other but through the store."""
    other = Database(store_url)
    yield Cache(database, "jira"), Cache(other, "jira")
    await other.close()


class Work:
    """A computation that waits until it may end; counts how often it began."""

    def __init__(self, *errors: Exception) -> None:
        self.began, self.errors = 0, list(errors)
        self.inside, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> Any:
        self.began += 1
        self.inside.set()
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        return {"n": self.began}


async def test_a_hundred_callers_share_one_computation_and_no_value_is_the_others(caches: tuple[Cache, Cache]) -> None:
    work = Work()
    work.go.set()
    answers = await asyncio.gather(*(caches[0].get_or_compute("a", work, HOUR) for _ in range(100)))
    assert answers == [{"n": 1}] * 100
    assert work.began == 1
    assert len({id(answer) for answer in answers}) == 100


async def test_two_processes_share_one_computation(caches: tuple[Cache, Cache]) -> None:
    work = Work()
    asked = [asyncio.create_task(cache.get_or_compute("a", work, HOUR)) for cache in caches]
    await work.inside.wait()
    await asyncio.sleep(0.2)
    work.go.set()
    assert await asyncio.gather(*asked) == [{"n": 1}] * 2
    assert work.began == 1


async def test_other_names_are_computed_at_the_same_time(caches: tuple[Cache, Cache]) -> None:
    works = [Work(), Work()]
    asked = [
        asyncio.create_task(caches[0].get_or_compute(name, work, HOUR)) for name, work in zip("ab", works, strict=True)
    ]
    async with asyncio.timeout(10):
        for work in works:
            await work.inside.wait()
    for work in works:
        work.go.set()
    await asyncio.gather(*asked)


async def test_it_is_computed_again_when_it_expired(caches: tuple[Cache, Cache]) -> None:
    work = Work()
    work.go.set()
    assert await caches[0].get_or_compute("a", work, timedelta(0)) == {"n": 1}
    assert await caches[1].get_or_compute("a", work, HOUR) == {"n": 2}
    assert await caches[0].get_or_compute("a", work, HOUR) == {"n": 2}


async def test_an_error_reaches_those_who_wait_and_is_kept_for_nobody(caches: tuple[Cache, Cache]) -> None:
    work = Work(Unavailable("not now"))
    asked = [asyncio.create_task(caches[0].get_or_compute("a", work, HOUR)) for _ in range(5)]
    await work.inside.wait()
    await asyncio.sleep(0.05)
    work.go.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["not now"] * 5
    assert work.began == 1
    assert await caches[0].get("a") is None
    assert await caches[0].get_or_compute("a", work, HOUR) == {"n": 2}


async def test_an_error_of_one_process_is_not_the_others(caches: tuple[Cache, Cache]) -> None:
    work = Work(Unavailable("not now"))
    first = asyncio.create_task(caches[0].get_or_compute("a", work, HOUR))
    await work.inside.wait()
    second = asyncio.create_task(caches[1].get_or_compute("a", work, HOUR))
    work.go.set()
    with pytest.raises(Unavailable):
        await first
    assert await second == {"n": 2}


async def test_when_the_caller_who_computes_is_cancelled_the_next_one_computes(caches: tuple[Cache, Cache]) -> None:
    work = Work()
    first = asyncio.create_task(caches[0].get_or_compute("a", work, HOUR))
    await work.inside.wait()
    second, third = (asyncio.create_task(caches[0].get_or_compute("a", work, HOUR)) for _ in range(2))
    await asyncio.sleep(0.1)
    third.cancel()
    first.cancel()
    work.go.set()
    assert await second == {"n": 2}
    assert [one.cancelled() for one in await settled(first, third)] == [True, True]


async def settled(*tasks: asyncio.Task[Any]) -> tuple[asyncio.Task[Any], ...]:
    await asyncio.wait(tasks)
    return tasks


async def test_a_value_that_cannot_be_kept_is_an_error_each_time(caches: tuple[Cache, Cache]) -> None:
    async def odd() -> object:
        return {1: 2}

    for cache in caches:
        with pytest.raises(Refused, match="'a' is no value"):
            await cache.get_or_compute("a", odd, HOUR)


async def test_one_who_waits_too_long_is_told_so(caches: tuple[Cache, Cache]) -> None:
    work = Work()
    first = asyncio.create_task(caches[0].get_or_compute("a", work, HOUR))
    await work.inside.wait()
    with pytest.raises(Busy, match=r"jira .*another process still computes 'a' after 0\.2 s"):
        await caches[1].get_or_compute("a", work, HOUR, wait=0.2)
    work.go.set()
    assert await first == {"n": 1}


async def test_a_computation_that_finds_another_lock_held_is_told_by_its_own_words(caches: tuple[Cache, Cache]) -> None:
    work = Work(Busy("the mirror runs already"))
    work.go.set()
    with pytest.raises(Busy, match=r"^the mirror runs already$"):
        await caches[0].get_or_compute("a", work, HOUR)


def lock_files(database: Database) -> list[Path]:
    return list(Path(f"{database.url.database}.locks").glob("*"))


async def test_no_file_of_a_lock_is_left(caches: tuple[Cache, Cache]) -> None:
    work = Work(ValueError())
    work.go.set()
    with pytest.raises(ValueError):  # noqa: PT011  it has no words
        await caches[0].get_or_compute("a", work, HOUR)
    await caches[0].get_or_compute("a", work, HOUR)
    assert lock_files(caches[0].database) == []


async def test_a_passing_lock_has_one_holder_at_a_time(store_url: str, database: Database) -> None:
    inside = most = 0

    async def holder(own: Database) -> None:
        nonlocal inside, most
        for _ in range(10):
            async with hold(own, "a", wait=20, passing=True) as lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                await lock.check()
                inside -= 1

    opened = [Database(store_url) for _ in range(3)]
    await asyncio.gather(*(holder(own) for own in opened))
    for own in opened:
        await own.close()
    assert most == 1


@pytest.mark.parametrize("point", ["before commit cache", "after commit cache"])
async def test_one_who_dies_at_the_commit_leaves_the_value_or_nothing(caches: tuple[Cache, Cache], point: str) -> None:
    def die(reached: str) -> None:
        if reached == point:
            raise KeyboardInterrupt

    work = Work()
    work.go.set()
    points.watch(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            await caches[0].get_or_compute("a", work, HOUR)
    finally:
        points.watch(None)
    assert await caches[1].get_or_compute("a", work, HOUR) == {"n": 2 if point.startswith("before") else 1}


async def start(url: str, traces: Path, seconds: float) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROCESS, url, str(traces), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )


async def said(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(50):
        assert (await process.stdout.readline()).decode().strip() == word


@pytest.mark.slow
async def test_four_processes_share_one_computation(store_url: str, tmp_path: Path) -> None:
    processes = [await start(store_url, tmp_path / "computed", 0.5) for _ in range(4)]
    for process in processes:
        await said(process, "ready")
    ended = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    (computed,) = (tmp_path / "computed").read_text().split()
    assert {output.decode().split()[-1] for output, _ in ended} == {computed}
    assert [process.returncode for process in processes] == [0] * 4


@pytest.mark.slow
async def test_when_the_process_that_computes_is_killed_another_one_computes(store_url: str, tmp_path: Path) -> None:
    first, second = [await start(store_url, tmp_path / "computed", seconds) for seconds in (60, 0)]
    for process in (first, second):
        await said(process, "ready")
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        await process.stdin.drain()
        if process is first:
            await said(process, "computing")
    os.kill(first.pid, signal.SIGKILL)
    output, _ = await second.communicate()
    assert (tmp_path / "computed").read_text().split() == [str(first.pid), str(second.pid)]
    assert output.decode().split()[-1] == str(second.pid)
    await first.wait()
