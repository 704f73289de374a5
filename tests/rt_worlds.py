"""People who work in a Request Tracker past our connector: in the fake, and in the real one."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import httpx
from pydantic import SecretStr

from blocks.incidents import RequestTracker
from blocks.incidents import _request_tracker as records
from blocks.model import Fields
from tests.contracts.incident_system import World
from tests.fakes.rt import FakeRT, FakeTransport
from tests.peers.rt import ANALYST, ANALYST_PASSWORD, QUEUE, Peer

STATUS = {"new": "Status = 'new'", "active": "Status = 'open'"}
BAD = (
    *("", "Status", "Status =", "Status = 'open' OR", "nosuchfield = 1", "Status IN ('open')", "id"),
    *("Status = 'new') OR (id > 0", "id > 0) --", "(id > 0", ") OR (id > 0", "Status = 'new' # x", "id = 1; id > 0"),
    *(
        "Status = 'new",
        "Status = 'new\\'",
        "'x' = 'x",
        "Status = 'new' ORDER BY id",
        "CF.{x} y} = 1",
        "Status = `open`",
    ),
)


def rest(fields: Fields) -> dict[str, Any]:
    """Fields by their keys as RT's interface takes them."""
    custom = {name: value for key, value in fields.items() if (name := records.bare(key))}
    plain = {key: value for key, value in fields.items() if records.bare(key) is None}
    return {**plain, "CustomFields": custom} if custom else plain


def connector(address: str, password: str, **settings: Any) -> RequestTracker:
    """The connector of both worlds."""
    given = {"login": "lockstep", "queue": QUEUE, "entry_field": "EntryKey", **settings}
    return RequestTracker(address=address, password=SecretStr(password), **given)


def over(
    fake: FakeRT | None = None, transport: httpx.AsyncBaseTransport | None = None, **settings: Any
) -> RequestTracker:
    """The connector to a fake, or over this transport."""
    system = connector(settings.pop("address", "http://rt.test/"), "secret", **settings)
    system._transport = transport or FakeTransport(fake or FakeRT())
    return system


class RTWorld(World):
    """What holds for both."""

    bad_queries = BAD
    counts_changes = True
    applies_the_rest = True
    text_file = "line\r\nnächste \n".encode()

    def __init__(self, entry_field: str = "EntryKey") -> None:
        self.entry_field = entry_field

    @property
    def queries(self) -> dict[str, str]:
        return STATUS


class FakeWorld(RTWorld):
    """The fake, in process, with a clock that can be moved on."""

    clock_moves = True

    def __init__(self, entry_field: str = "EntryKey") -> None:
        super().__init__(entry_field)
        self.ahead = 0.0
        self.fake = FakeRT(lambda: time.time() + self.ahead)

    def system(self, *, password: str | None = None, address: str | None = None) -> RequestTracker:
        system = over(self.fake, address=address or "http://rt.test/", entry_field=self.entry_field)
        return system.model_copy(update={"password": SecretStr(password)}) if password else system

    async def create(self, fields: Fields) -> str:
        return self.fake.people.create(rest(fields))

    async def edit(self, id: str, fields: Fields) -> None:
        self.fake.people.edit(id, rest(fields))

    async def comment(self, id: str, text: str) -> str:
        return self.fake.people.comment(id, text)

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        return self.fake.people.file(id, name, data, media_type)

    async def remove(self, id: str) -> None:
        self.fake.people.remove(id)

    async def later(self, seconds: float) -> None:
        self.ahead += seconds


class PeerWorld(RTWorld):
    """The real one, with an analyst who works over REST."""

    def __init__(self, peer: Peer, entry_field: str = "EntryKey") -> None:
        super().__init__(entry_field)
        self.peer = peer
        self.analyst = httpx.AsyncClient(base_url=f"{peer.url}REST/2.0/", auth=(ANALYST, ANALYST_PASSWORD), timeout=30)

    def system(self, *, password: str | None = None, address: str | None = None) -> RequestTracker:
        return connector(address or self.peer.url, password or self.peer.password, entry_field=self.entry_field)

    async def create(self, fields: Fields) -> str:
        answer = await self.analyst.post("ticket", json={"Queue": QUEUE, **rest(fields)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def edit(self, id: str, fields: Fields) -> None:
        answer = await self.analyst.put(f"ticket/{id}", json=rest(fields))
        assert answer.status_code == 200, answer.text

    async def comment(self, id: str, text: str) -> str:
        return await self._said(id, {"Content": text, "ContentType": "text/plain"})

    async def _said(self, id: str, body: dict[str, Any]) -> str:
        answer = await self.analyst.post(f"ticket/{id}/comment", json=body)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].removeprefix("/REST/2.0/")

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        content = base64.b64encode(data).decode()
        file = {"FileName": name.encode().decode("latin-1"), "FileType": media_type, "FileContent": content}
        made = await self._said(id, {"Attachments": [file]})
        parts = (await self.analyst.get(f"{made}/attachments", params={"fields": "Filename"})).json()["items"]
        return next(f"{made}/attachment/{part['id']}" for part in parts if part["Filename"] == name)

    async def remove(self, id: str) -> None:
        assert (await self.analyst.delete(f"ticket/{id}")).status_code == 204

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
