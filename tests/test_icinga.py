"""Icinga passes the contract: the fake one, and the real one. One person works in both, over the API."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from blocks.incidents import Icinga
from blocks.model import Fields
from tests.contracts.incident_system import IncidentSystemSuite, World
from tests.fakes.icinga import ANALYST, ANALYST_PASSWORD, LOGIN, PASSWORD, FakeIcinga
from tests.peers import icinga as peers
from tests.peers.fixtures import icinga_peer

__all__ = ["icinga_peer"]

QUERIES = {"new": "host.acknowledgement == 0", "active": "host.acknowledgement != 0"}
BAD = (
    *("", "  ", "host.state ==", "nosuch == 1", "host.nosuch == 1", "true) || (true", 'true" || "'),
    *("exit(1)", "host.state = 0", "host.state == 1 &&", 'host.name == "x") || (true', "host.name == x'"),
)
STATES = {"UP": 0, "OK": 0, "WARNING": 1, "DOWN": 1, "CRITICAL": 2, "UNKNOWN": 3}
_numbers = itertools.count(time.time_ns() // 1000 % 10**9)


class Person:
    """Somebody with another login: makes hosts and services, reports checks, acknowledges, comments."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def post(self, path: str, method: str = "POST", **sent: Any) -> dict[str, Any]:
        headers = {"Accept": "application/json", "X-HTTP-Method-Override": method}
        answer = await self.client.post(path, json=sent, headers=headers)
        assert answer.status_code == 200, answer.text
        return {**answer.json()["results"][0]}

    async def act(self, action: str, name: str, **sent: Any) -> dict[str, Any]:
        kind = "Service" if "!" in name else "Host"
        if action != "process-check-result":
            sent = {"author": ANALYST, **sent}
        return await self.post(f"actions/{action}", type=kind, **{kind.lower(): name}, **sent)

    async def make(self, name: str, title: str, attempts: int = 1, **more: Any) -> None:
        attrs = {"check_command": "dummy", "enable_active_checks": False, "max_check_attempts": attempts, **more}
        await self.post(_object(name), "PUT", attrs={"display_name": title, **attrs})

    async def rename(self, name: str, title: str) -> None:
        await self.post(_object(name), attrs={"display_name": title})

    async def delete(self, name: str) -> None:
        await self.post(f"{_object(name)}?cascade=1", "DELETE")

    async def check(self, name: str, state: str, output: str = "as reported") -> None:
        await self.act("process-check-result", name, exit_status=STATES[state], plugin_output=output)

    async def set(self, name: str, status: str, by: str = ANALYST) -> None:
        """Bring a problem into a state of Icinga's words."""
        if status == "recovered":
            await self.check(name, "OK", "well again")
        if status == "acknowledged":
            await self.act("acknowledge-problem", name, comment="I look after it", author=by)
        if status in {"unhandled", "in downtime"}:
            await self.act("remove-acknowledgement", name)
        if status == "in downtime":
            now = time.time()
            span = {"start_time": now - 1, "end_time": now + 3600, "fixed": True}
            await self.act("schedule-downtime", name, comment="work", **span)
        if status == "unhandled":
            await self.act("remove-downtime", name)


def _object(name: str) -> str:
    return f"objects/{'services' if '!' in name else 'hosts'}/{quote(name, safe='')}"


class IcingaWorld(World):
    """Hosts that are down: their title is their display name, and a person may change that."""

    bad_queries = BAD
    missing_id = "nobody@1795510483622710"
    refused = ("status", "in downtime")
    queries = QUERIES

    def __init__(self, person: Person) -> None:
        self.person = person

    async def create(self, fields: Fields) -> str:
        name = f"host {next(_numbers)}"
        await self.person.make(name, str(fields["title"]))
        await self.person.check(name, "UP")
        await self.person.check(name, "DOWN", str(fields.get("output", "no answer")))
        async with self.system() as system:
            found = (await system._monitor.one(name, "")).problem
        assert found is not None
        if "status" in fields and fields["status"] != "unhandled":
            # In the name of our account, as a person's own words would be an entry from the start.
            await self.person.set(name, str(fields["status"]), by=self.system().login)
        return found.id

    async def edit(self, id: str, fields: Fields) -> None:
        name = id.rpartition("@")[0]
        if "title" in fields:
            await self.person.rename(name, str(fields["title"]))
        if "status" in fields:
            await self.person.set(name, str(fields["status"]))

    async def comment(self, id: str, text: str) -> str:
        return str((await self.person.act("add-comment", id.rpartition("@")[0], comment=text))["name"])

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        raise AssertionError("declared: no files", id, name, data, media_type)

    async def remove(self, id: str) -> None:
        await self.person.delete(id.rpartition("@")[0])

    def system(self, *, password: str | None = None, address: str | None = None) -> Icinga:
        raise NotImplementedError


class FakeWorld(IcingaWorld):
    """The fake, in process, with a clock that can be moved on."""

    clock_moves = True

    def __init__(self, *, floats: bool = False) -> None:
        self.ahead = 0.0
        self.fake = FakeIcinga(lambda: time.time() + self.ahead, floats=floats)
        auth = (ANALYST, ANALYST_PASSWORD)
        super().__init__(Person(httpx.AsyncClient(transport=self.fake, base_url="https://icinga.test/v1/", auth=auth)))

    def system(self, *, password: str | None = None, address: str | None = None, **settings: Any) -> Icinga:
        url = address or "https://icinga.test:5665/"
        system = Icinga(address=url, login=LOGIN, password=SecretStr(password or PASSWORD), **settings)
        system._transport = httpx.AsyncHTTPTransport() if address == "http://127.0.0.1:9/nothing/" else self.fake
        return system

    async def later(self, seconds: float) -> None:
        self.ahead += seconds


class PeerWorld(IcingaWorld):
    """The real one, with an authority of its own."""

    def __init__(self, peer: peers.Peer, client: httpx.AsyncClient) -> None:
        self.peer = peer
        super().__init__(Person(client))

    def system(self, *, password: str | None = None, address: str | None = None, **settings: Any) -> Icinga:
        peer, secret = self.peer, SecretStr(password or self.peer.password)
        settings = {"login": peer.login, "ca_file": str(peer.ca_file), **settings}
        return Icinga(address=address or peer.url, password=secret, **settings)

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TestFakeIcinga(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


class TestFakeOldIcinga(IncidentSystemSuite):
    """One that shows every number as a float."""

    @pytest.fixture
    def world(self) -> World:
        return FakeWorld(floats=True)


@pytest.fixture
async def real_world(icinga_peer: peers.Peer) -> AsyncIterator[PeerWorld]:
    auth = (peers.ANALYST, peers.ANALYST_PASSWORD)
    base = f"{icinga_peer.url}v1/"
    async with httpx.AsyncClient(base_url=base, auth=auth, verify=icinga_peer.trust) as client:
        yield PeerWorld(icinga_peer, client)


@pytest.mark.peer
class TestRealIcinga(IncidentSystemSuite):
    @pytest.fixture
    def world(self, real_world: PeerWorld) -> World:
        return real_world
