"""Comments, notes and files: once, in order, each way."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import Refused
from blocks.model import Entry, Incident
from blocks.rules import Rules, Travel
from blocks.store.entries import content_of
from blocks.store.tables import EntryLink
from tasks.mirroring import entries as incoming
from tests.fakes.toy import ME, World
from tests.mirrors import Bench, LiveToy

NASTY = [
    "Mirrored from Lockstep",
    "> On Monday ann wrote:\n> lockstep-0123abcd-e1\nI quote you",
    "'; DROP TABLE entry; --",
    "<b>|</b> `code` [link](x) %s {0} \\ \"quoted\" 'quoted'",
    "Grüße, 日本語, emoji 🔥, right-to-left עברית",
    "  spaces at both ends  ",
    "line\r\nline\n\n\ttab",
]


async def linked(bench: Bench, *, rules: Rules | None = None, **settings: Any) -> World:
    """One incident, in step."""
    world = bench.mirror(world=World(**settings), rules=rules or Rules())
    world.add({"name": "x"})
    await bench.settled()
    return world


def sent(world: World) -> list[str]:
    """What we added there, in order."""
    return [entry.text or entry.name for entry in world.records["1"].entries if entry.author == ME]


async def here(bench: Bench) -> list[str]:
    return [entry.text or entry.name for entry in await bench.entries(1)]


@pytest.mark.parametrize("keys", [True, False])
async def test_entries_travel_both_ways_once_and_in_order(bench: Bench, keys: bool) -> None:  # noqa: FBT001  a row of the table
    world = await linked(bench, entry_keys=keys)
    for number in range(4):
        await bench.comment(1, f"here {number}")
        world.comment("1", f"there {number}")
        bench.clock.go(2)
    await bench.settled()
    assert sent(world) == [f"here {number}" for number in range(4)]
    assert [text for text in await here(bench) if "there" in text] == [f"there {number}" for number in range(4)]
    assert len(world.records["1"].entries) == len(await here(bench)) == 8


@pytest.mark.parametrize("words", NASTY)
async def test_a_comment_that_quotes_anything_survives_both_ways(bench: Bench, words: str) -> None:
    world = await linked(bench)
    await bench.comment(1, words)
    world.comment("1", words)
    await bench.settled()
    assert [entry.text for entry in world.records["1"].entries] == [words, words]
    assert await here(bench) == [words, words]


@pytest.mark.parametrize("keys", [True, False])
async def test_equal_words_are_as_many_entries_as_were_said(bench: Bench, keys: bool) -> None:  # noqa: FBT001  a row of the table
    world = await linked(bench, entry_keys=keys)
    for _ in range(3):
        await bench.comment(1, "again")
    await bench.settled()
    world.comment("1", "again")
    await bench.settled()
    assert sent(world) == ["again"] * 3
    assert await here(bench) == ["again"] * 4


async def test_a_person_who_copies_our_words_with_their_key_has_said_something_new(bench: Bench) -> None:
    world = await linked(bench)
    await bench.comment(1, "ours")
    await bench.settled()
    world.comment("1", "copied", key=world.records["1"].entries[0].key)
    await bench.settled()
    assert await here(bench) == ["ours", "copied"]
    assert sent(world) == ["ours"]


async def test_tags_choose_what_goes_out(bench: Bench) -> None:
    world = await linked(bench, rules=Rules(comments=Travel(tags=["public", "vendor"]), files=Travel(tags=["public"])))
    await bench.comment(1, "between us")
    await bench.comment(1, "for them", tags=["vendor", "other"])
    await bench.attach(1, "secret.txt", b"1", tags=["vendor"])
    await bench.attach(1, "open.txt", b"2", tags=["public"])
    world.comment("1", "from them")
    await bench.settled()
    assert sent(world) == ["for them", "open.txt"]
    assert "from them" in await here(bench)


async def test_other_tags_send_what_was_held_back_when_the_incident_is_next_decided(bench: Bench) -> None:
    world = await linked(bench, rules=Rules(comments=Travel(tags=["public"])))
    await bench.comment(1, "first", tags=["vendor"])
    await bench.settled()
    bench.change(rules=Rules(comments=Travel(tags=["vendor"])))
    await bench.comment(1, "second", tags=["vendor"])
    await bench.settled()
    assert sent(world) == ["first", "second"]


@pytest.mark.parametrize(
    ("direction", "out", "into"),
    [("both", True, True), ("in", False, True), ("out", True, False), ("off", False, False)],
)
async def test_comments_and_files_go_where_their_direction_allows(
    bench: Bench,
    direction: Any,
    out: bool,  # noqa: FBT001  a row of the table
    into: bool,  # noqa: FBT001  a row of the table
) -> None:
    world = await linked(bench, rules=Rules(comments=Travel(direction), files=Travel(direction)))
    await bench.comment(1, "here")
    await bench.attach(1, "here.txt", b"1")
    world.comment("1", "there")
    world.comment("1", "", kind="file", name="there.txt", data=b"2", size=1)
    await bench.settled()
    assert sent(world) == (["here", "here.txt"] if out else [])
    assert [text for text in await here(bench) if "there" in text] == (["there", "there.txt"] if into else [])
    await bench.cycle()
    assert world.calls == ["changes"]


async def test_notes_are_notes_on_both_sides(bench: Bench) -> None:
    world = await linked(bench)
    await bench.comment(1, "ours", kind="note")
    world.comment("1", "theirs", kind="note")
    await bench.settled()
    assert [entry.kind for entry in world.records["1"].entries] == ["note", "note"]
    assert [entry.kind for entry in await bench.entries(1)] == ["note", "note"]


async def test_files_go_by_their_bytes_with_name_type_and_size(bench: Bench) -> None:
    world = await linked(bench)
    data = bytes(range(256)) * 9
    await bench.attach(1, "here.bin", data)
    world.comment("1", "", kind="file", name="there.pdf", media_type="application/pdf", data=data[::-1], size=len(data))
    await bench.settled()
    (there,) = [entry for entry in world.records["1"].entries if entry.author == ME]
    assert (there.name, there.media_type, there.size, there.data) == (
        "here.bin", "application/octet-stream", len(data), data,
    )  # fmt: skip
    (entry,) = [entry for entry in await bench.entries(1) if entry.name == "there.pdf"]
    assert (entry.media_type, entry.size) == ("application/pdf", len(data))
    assert await content_of(bench.database, entry.id) == data[::-1]


async def test_an_empty_file_is_a_file(bench: Bench) -> None:
    world = await linked(bench)
    await bench.attach(1, "empty", b"")
    world.comment("1", "", kind="file", name="void", data=b"", size=0)
    await bench.settled()
    assert sent(world) == ["empty"]
    entry = next(entry for entry in await bench.entries(1) if entry.name == "void")
    assert await content_of(bench.database, entry.id) == b""


@pytest.mark.parametrize("said", [0, 11])
async def test_a_file_that_is_too_large_is_kept_without_its_bytes_and_parked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    """Whether the system tells its size before, or not."""
    monkeypatch.setattr(incoming, "LIMIT_BYTES", 10)
    world = await linked(bench)
    world.comment("1", "", kind="file", name="big", data=b"x" * 11, size=said)
    world.comment("1", "beside it")
    await bench.settled()
    assert await here(bench) == ["big", "beside it"]
    assert (await bench.entries(1))[0].blob is None
    (parked,) = await bench.parked()
    assert (parked["kind"], parked["payload"]["name"]) == ("content", "big")
    await bench.cycle()
    assert world.calls == ["changes"]
    assert not sent(world)


async def test_an_entry_that_the_store_cannot_hold_is_parked_and_the_next_comes_in(bench: Bench) -> None:
    world = await linked(bench)
    world.comment("1", "nul \0 here")
    world.comment("1", "good")
    await bench.settled()
    assert await here(bench) == ["good"]
    assert [row["kind"] for row in await bench.parked()] == ["entry"]


async def test_a_comment_made_while_we_read_is_not_missed(bench: Bench) -> None:
    world = await linked(bench)
    world.comment("1", "first")

    def speak(call: str) -> None:
        if call == "entries":
            world.comment("1", "second")

    world.between = speak
    await bench.cycle()
    world.between = lambda _call: None
    await bench.settled()
    assert await here(bench) == ["first", "second"]


async def test_a_comment_that_the_feed_shows_late_is_not_missed(bench: Bench) -> None:
    world = await linked(bench, lag=8.0)
    world.comment("1", "late")
    world.edit("1", name="y")
    await bench.cycle(after=1)
    assert not await here(bench)
    await bench.settled()
    assert await here(bench) == ["late"]


class Shy(LiveToy):
    """It takes no bad words."""

    _block_type_name = "Shy Toy"

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        if entry.text == "bad":
            message = "these words are not allowed"
            raise Refused(message, system=self.fingerprint(), call="add_entry", id=incident.id)
        return await super().add_entry(incident, entry, key)


async def test_a_refused_comment_is_parked_and_the_next_goes(bench: Bench) -> None:
    world = await linked(bench)
    bench.change(toy=Shy)
    await bench.comment(1, "bad")
    await bench.comment(1, "good")
    await bench.settled()
    assert sent(world) == ["good"]
    (parked,) = await bench.parked()
    assert (parked["kind"], parked["entry_id"]) == ("entry", 1)
    await bench.cycle()
    assert world.calls == ["changes"]


async def test_what_was_said_before_the_incident_was_linked_comes_too(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    world.add({"name": "theirs"})
    world.comment("1", "said there")
    await bench.create(title="ours")
    await bench.comment(1, "said here")
    await bench.settled()
    assert [entry.text for entry in world.records["2"].entries] == ["said here"]
    assert [entry.text for entry in await bench.entries(2)] == ["said there"]
    links = await bench.rows(EntryLink)
    assert len(links) == len({(row["link_id"], row["remote_id"]) for row in links}) == 2
