"""What goes into an XSOAR's War Room, and what comes out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.errors import NotFound, Refused
from blocks.incidents.xsoar import Xsoar
from tests.contracts.incident_system import entry, key
from tests.fakes.xsoar import FakeTransport, FakeXsoar
from tests.test_xsoar_calls import fake, to

__all__ = ["fake"]


@pytest.fixture
async def system(fake: FakeXsoar) -> AsyncIterator[Xsoar]:
    async with to(fake) as opened:
        yield opened


@pytest.mark.parametrize("text", ["!reopenInvestigation id=1", "/close_investigation", "!Print value=x"])
async def test_a_text_that_looks_like_a_command_is_a_text(fake: FakeXsoar, system: Xsoar, text: str) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    await system.add_entry(made, entry(text), key())
    assert not fake.server.commands
    (one,) = await system.entries([await system.get(made.id)], frozenset())
    assert one.text == text


async def test_a_war_room_that_is_shut_is_opened_which_makes_the_incident_active(
    fake: FakeXsoar, system: Xsoar
) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "0"}))
    assert made.entry_ids == (), "no War Room, no entries to ask for"
    await system.add_entry(made, entry("first words"), key())
    now = await system.get(made.id)
    assert (now.fields["status"], now.entry_ids) == ("1", None)
    assert len(await system.entries([now], frozenset())) == 1
    fake.people.remove(made.id)
    with pytest.raises(NotFound):
        await system.add_entry(now, entry("too late"), key())
    assert await system.entries([now], frozenset()) == []


async def test_a_war_room_longer_than_a_page_is_read_to_its_end(fake: FakeXsoar, system: Xsoar) -> None:
    made = fake.people.create({"name": "a", "status": "1"})
    ids = [fake.people.say(made, f"entry {number}") for number in range(250)]
    # A moment that holds more than a page.
    for one in fake.server.rooms[made][20:180]:
        one["created"] = fake.server.rooms[made][20]["created"]
    found = await system.entries([await system.get(made)], frozenset())
    assert sorted(one.id for one in found) == sorted(ids)
    assert len(found) == 250


async def test_entries_come_in_by_category_and_tag(fake: FakeXsoar) -> None:
    made = fake.people.create({"name": "a", "status": "1"})
    fake.people.say(made, "chat")
    fake.people.say(made, "note", note=True, tags=["FromSoc"])
    fake.people.say(made, "result", category="command")
    gone = fake.people.say(made, "deleted", deleted=True)
    assert gone
    fake.people.attach(made, "f.txt", b"x")

    async def read(**settings: Any) -> list[tuple[str, str]]:
        async with to(fake, **settings) as system:
            found = await system.entries([await system.get(made)], frozenset())
        return [(one.kind, one.text or one.name) for one in found]

    assert await read() == [("comment", "chat"), ("note", "note"), ("file", "f.txt")]
    assert await read(categories=["notes"]) == [("note", "note")]
    assert await read(entry_tags=["FromSoc"]) == [("note", "note")]
    assert await read(categories=["commandAndResults"]) == [("comment", "result")]


async def test_a_note_goes_as_a_note(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    await system.add_entry(made, replace(entry("for the record"), kind="note"), key())
    (one,) = await system.entries([await system.get(made.id)], frozenset())
    assert (one.kind, one.text) == ("note", "for the record")


@pytest.mark.parametrize("data", [None, b"bytes"])
async def test_an_answer_that_does_not_tell_the_id_is_no_second_write(
    fake: FakeXsoar, system: Xsoar, data: bytes | None
) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    fake.silent = True
    ours = entry("words") if data is None else entry(name="f", data=data)
    added = await system.add_entry(made, ours, key())
    (one,) = await system.entries([made], frozenset())
    assert one.id == added


async def test_a_login_that_is_another_than_the_key_writes_as_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeXsoar()
    system = Xsoar(address="https://xsoar.test", api_key=SecretStr("secret"), login="somebody")
    system._transport = FakeTransport(fake)
    async with system:
        made = await system.get(fake.people.create({"name": "a", "status": "1"}))
        await system.add_entry(made, entry("words"), key())
        (one,) = await system.entries([made], frozenset())
    assert one.own
    assert "set login to that" in caplog.text


@pytest.mark.parametrize("name", ['quo"te.txt', "back\\slash", "line\r\nX-Injected: yes", "日本.txt", ""])
async def test_a_files_name_cannot_leave_its_quotes(fake: FakeXsoar, system: Xsoar, name: str) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    await system.add_entry(made, entry(name=name, data=b"x", media_type="text/plain\r\nX-Injected: yes"), key())
    (one,) = await system.entries([made], frozenset())
    assert one.name == (name.replace("\r", "_").replace("\n", "_") or "file")


async def test_ids_of_entries_cannot_lead_elsewhere(fake: FakeXsoar, system: Xsoar) -> None:
    for odd in ("", "1", "1@", "../incident/load/1", "1@1/../../x", "1@1?x=1"):
        with pytest.raises(Refused, match="not the id of an entry"):
            _ = [chunk async for chunk in system.content(replace(entry(name="f", data=b""), id=odd))]


async def test_what_we_sent_is_found_again_whatever_categories_come_in(fake: FakeXsoar) -> None:
    async with to(fake, categories=["notes"], entry_tags=["FromSoc"]) as system:
        made = await system.get(fake.people.create({"name": "a", "status": "1"}))
        before, ours = datetime.now(UTC), entry("words")
        added = await system.add_entry(made, ours, key())
        assert await system.entries([made], frozenset()) == []
        assert await system.find_entry(made, ours, key(), before) == added
