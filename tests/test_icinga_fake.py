"""The fake Icinga shows what the real one shows, check by check; and the real one keeps its problems over a restart."""

from __future__ import annotations

import itertools
import time
from typing import Any

import httpx
import pytest

from blocks.errors import NotFound, Unauthorized, Unavailable
from tests.contracts.incident_system import entry, key
from tests.icinga_world import fake, person, system, world
from tests.peers.fixtures import icinga_peer
from tests.peers.icinga import READER, READER_PASSWORD, Peer
from tests.test_icinga import FakeWorld, IcingaWorld, PeerWorld, Person, real_world

__all__ = ["fake", "icinga_peer", "person", "real_world", "system", "world"]

_numbers = itertools.count(time.time_ns() // 1000 % 10**9)
STEPS: list[tuple[str, str]] = [
    *(("check", state) for state in ("OK", "WARNING", "OK", "CRITICAL", "CRITICAL", "WARNING", "WARNING")),
    *(("set", "acknowledged"), ("check", "CRITICAL"), ("set", "in downtime"), ("set", "unhandled")),
    *(("set", "acknowledged"), ("check", "OK"), ("check", "UNKNOWN"), ("check", "UNKNOWN"), ("check", "UNKNOWN")),
]
SHOWN = ("state", "state_type", "check_attempt", "acknowledgement", "downtime_depth")
TIMES = ("last_hard_state_change", "last_state_change", "last_state_ok", "acknowledgement_last_change")
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("objects/services", {"filter": "service.__name == n", "filter_vars": {"n": "no!such"}, "attrs": ["__name"]}),
    ("objects/services", {"filter": "service.__name ==", "attrs": ["__name"]}),
    ("objects/hosts", {"filter": "service.state == 2", "attrs": ["__name"]}),
    ("objects/hosts", {"filter": "", "attrs": ["__name"]}),
    ("objects/hosts", {"host": "nobody", "attrs": ["__name"]}),
    ("objects/nosuch", {}),
    ("actions/add-comment", {"type": "Host", "host": "nobody", "author": "a", "comment": "b"}),
    ("actions/nosuch", {}),
]


async def shown(person: Person, name: str) -> dict[str, Any]:
    bound = {"filter": "service.__name == n", "filter_vars": {"n": name}, "attrs": [*SHOWN, *TIMES]}
    return {**(await person.post("objects/services", "GET", **bound))["attrs"]}


async def story(world: IcingaWorld) -> list[dict[str, Any]]:
    """What is shown after each step, and which times it moved."""
    person, host = world.person, f"story {next(_numbers)}"
    await person.make(host, "Story")
    await person.make(f"{host}!s", "S", attempts=3)
    told, before = [], await shown(person, f"{host}!s")
    for what, how in STEPS:
        await getattr(person, what)(f"{host}!s", how)
        now = await shown(person, f"{host}!s")
        moved = {f"moved {one}": now[one] != before[one] for one in TIMES}
        told.append({"step": f"{what} {how}", **{one: now[one] for one in SHOWN}, **moved})
        before = now
    return told


async def answers(client: httpx.AsyncClient) -> list[tuple[str, int]]:
    """Statuses of what is asked wrongly, or finds nothing."""
    told = []
    for path, sent in REQUESTS:
        method = "GET" if path.startswith("objects") else "POST"
        headers = {"Accept": "application/json", "X-HTTP-Method-Override": method}
        told.append((path, (await client.post(path, json=sent, headers=headers)).status_code))
    return told


@pytest.mark.peer
async def test_the_fake_shows_what_the_real_one_shows(world: FakeWorld, person: Person, real_world: PeerWorld) -> None:
    await real_world.person.make(f"any {next(_numbers)}", "Any")
    assert await story(world) == await story(real_world)
    assert await answers(world.person.client) == await answers(real_world.person.client)


@pytest.mark.peer
async def test_a_problem_is_the_same_after_a_restart(icinga_peer: Peer, real_world: PeerWorld) -> None:
    found = await real_world.create({"title": "before", "status": "acknowledged"})
    async with real_world.system() as system:
        before = await system.get(found)
        said = await system.add_entry(before, entry("before"), key())
        icinga_peer.stop()
        with pytest.raises(Unavailable) as caught:
            await system.get(found)
        assert not caught.value.sent
        icinga_peer.run()
        after = await system.get(found)
        assert (after.id, after.version, after.fields) == (before.id, before.version, before.fields)
        assert [one.id for one in await system.entries([after], frozenset())] == [said]


@pytest.mark.peer
async def test_an_empty_answer_is_told_from_a_missing_permission(real_world: PeerWorld) -> None:
    found = await real_world.create({"title": "read only", "status": "unhandled"})
    odd = ['x" || true || "', 'the "SOC" group']
    async with real_world.system(host_groups=odd) as system:
        assert [page.incidents async for page in system.everything(5)] in ([], [[]])
        assert not (await system.check()).ok
    async with real_world.system(login=READER, password=READER_PASSWORD) as system:
        assert (await system.check()).ok
        before = await system.get(found)
        with pytest.raises(Unauthorized, match="actions/acknowledge-problem"):
            await system.update(before, {"status": "acknowledged"})
        with pytest.raises(Unauthorized, match="actions/add-comment"):
            await system.add_entry(before, entry("words"), key())
        with pytest.raises(NotFound):
            await system.get("nobody@7")
