"""Roundup passes the contract: the fake one, and the real one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.incidents import Roundup
from blocks.model import Fields
from tests.contracts.incident_system import IncidentSystemSuite, World
from tests.fakes.roundup import FakeRoundup, FakeTransport
from tests.peers.fixtures import roundup_peer
from tests.peers.roundup import ANALYST, ANALYST_PASSWORD, Peer

__all__ = ["roundup_peer"]

STATUS = {"new": "status=unread", "active": "status=in-progress"}
BAD = (
    *("", "status", "id=1", "id=1&status=unread", "@page_size=1&status=unread", "status=unread&@sort=id"),
    *("nosuchfield=1", "status=no such", "status=' OR 1=1", "sta tus=unread", "status=unread#x&=1", "activity"),
)


class FakeWorld(World):
    """The fake, in process, with a clock that can be moved on."""

    clock_moves = True
    bad_queries = BAD

    def __init__(self) -> None:
        self.ahead = 0.0
        self.fake = FakeRoundup(lambda: time.time() + self.ahead, extra=("closereason", "closenotes"))

    def system(self, *, password: str | None = None, address: str | None = None) -> Roundup:
        url = address or "http://roundup.test/tracker/"
        system = Roundup(address=url, login="admin", password=SecretStr(password or "secret"))
        system._transport = FakeTransport(self.fake)
        return system

    async def create(self, fields: Fields) -> str:
        return self.fake.people.create(dict(fields))

    async def edit(self, id: str, fields: Fields) -> None:
        self.fake.people.edit(id, dict(fields))

    async def comment(self, id: str, text: str) -> str:
        return self.fake.people.message(id, text)

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        return self.fake.people.file(id, name, data, media_type)

    async def remove(self, id: str) -> None:
        self.fake.people.retire(id)

    async def later(self, seconds: float) -> None:
        self.ahead += seconds

    @property
    def queries(self) -> dict[str, str]:
        return STATUS


class PeerWorld(World):
    """The real one, with an analyst who works over REST."""

    bad_queries = BAD

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        origin = peer.url.removesuffix("/tracker/")
        self.analyst = httpx.AsyncClient(
            base_url=f"{peer.url}rest/data/",
            auth=(ANALYST, ANALYST_PASSWORD),
            headers={"X-Requested-With": "rest", "Origin": origin},
        )

    def system(self, *, password: str | None = None, address: str | None = None) -> Roundup:
        peer = self.peer
        return Roundup(address=address or peer.url, login=peer.login, password=SecretStr(password or peer.password))

    async def create(self, fields: Fields) -> str:
        return await self._post("issue", json=dict(fields))

    async def _post(self, of: str, **body: Any) -> str:
        answer = await self.analyst.post(of, **body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])

    async def edit(self, id: str, fields: Fields) -> None:
        etag = (await self.analyst.get(f"issue/{id}")).json()["data"]["@etag"]
        answer = await self.analyst.put(f"issue/{id}", json=dict(fields), headers={"If-Match": etag})
        assert answer.status_code == 200, answer.text

    async def comment(self, id: str, text: str) -> str:
        made = await self._post("msg", json={"content": text, "author": ANALYST})
        await self.edit(id, {"messages": [f"+{made}"], "status": "in-progress"})
        return f"msg{made}"

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        sent = {"name": name, "type": media_type}
        made = await self._post("file", data=sent, files={"content": (name, data, media_type)})
        await self.edit(id, {"files": [f"+{made}"]})
        return f"file{made}"

    async def remove(self, id: str) -> None:
        async with httpx.AsyncClient(headers=self.analyst.headers, auth=(self.peer.login, self.peer.password)) as admin:
            url = f"{self.peer.url}rest/data/issue/{id}"
            etag = (await admin.get(url)).json()["data"]["@etag"]
            answer = await admin.delete(url, headers={"If-Match": etag})
            assert answer.status_code == 200, answer.text

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @property
    def queries(self) -> dict[str, str]:
        return STATUS


class TestFakeRoundup(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


@pytest.mark.peer
class TestRealRoundup(IncidentSystemSuite):
    @pytest.fixture
    def world(self, roundup_peer: Peer) -> World:
        return PeerWorld(roundup_peer)
