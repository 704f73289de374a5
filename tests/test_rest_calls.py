"""A REST system against what an API and the network do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from blocks.errors import Misconfigured, NotFound, Partial, Refused, Stale, Unauthorized, Unavailable, Unreadable
from blocks.incidents._rest_form import RestField
from blocks.incidents.rest import RestSystem
from tests.contracts.incident_system import entry, key, pages
from tests.fakes.faults import Kind
from tests.rest_worlds import MAPPED, PlainWorld, answering, just_now, row

KEYED = {"comment_key": "ref", "comment_body": '{"text": "{text}", "ref": "{key}"}'}


@pytest.fixture
def world() -> PlainWorld:
    return PlainWorld()


@pytest.fixture
async def system(world: PlainWorld) -> AsyncIterator[RestSystem]:
    async with world.system() as opened:
        yield opened


# writing, while others write


async def test_counters_order_as_numbers_and_are_sent_as_they_came() -> None:
    world = PlainWorld(form={"version_at": "version", "if_match": '"{version}"', "compare": False})
    async with world.system() as system:
        id = world.api.create({"title": "one"})
        versions = []
        for number in range(12):
            world.api.edit(id, {"title": str(number)})
            versions.append((await system.get(id)).version)
        assert versions == sorted(versions)
        await system.update(await system.get(id), {"title": "ours"})
        assert world.api.asked[-2].headers["If-Match"] == '"13"'


@pytest.mark.parametrize(
    ("api", "form"),
    [
        ({"etag": True}, {"if_match": "{etag}"}),
        ({"etag": True}, {"if_match": "{etag}", "etag_path": "incidents/{id}", "compare": False}),
        ({}, {"version_at": "version", "update_with": '{"version": "{version}"}', "compare": False}),
    ],
)
async def test_an_edit_between_our_read_and_our_write_is_stale_and_stays(
    api: dict[str, Any], form: dict[str, Any]
) -> None:
    world = PlainWorld(form=form, **api)
    id = world.api.create({"title": "one"})
    async with world.system() as system:
        assert system.capabilities.lock == "atomic"
        now = await system.get(id)

        def meanwhile(stage: str, method: str, _: str) -> None:
            if (stage, method) == ("before", "PATCH"):
                world.api.edit(id, {"title": "a person's"})

        world.api.watch = meanwhile
        with pytest.raises(Stale):
            await system.update(now, {"title": "ours"})
    assert world.api.records[id].raw["title"] == "a person's"


async def test_what_is_accepted_and_not_taken_is_refused_by_name(world: PlainWorld, system: RestSystem) -> None:
    now = await system.get(world.api.create({"title": "one"}))
    world.api.silent = {"assignee"}
    with pytest.raises(Partial) as caught:
        await system.update(now, {"title": "ours", "assignee": "nobody"})
    assert list(caught.value.fields) == ["assignee"]
    assert caught.value.incident.fields["title"] == "ours"
    with pytest.raises(Refused, match="without an error"):
        await system.update(await system.get(now.id), {"assignee": "nobody"})


async def test_what_the_system_makes_of_a_value_is_what_is_answered(world: PlainWorld, system: RestSystem) -> None:
    world.api.faults.compute["title"] = "upper"
    now = await system.get(world.api.create({"title": "one"}))
    assert (await system.update(now, {"title": "quiet"})).fields["title"] == "QUIET"


@pytest.mark.parametrize(("cleared", "sent"), [("null", None), ("empty text", "")])
async def test_a_field_is_cleared_in_the_systems_way(cleared: str, sent: object) -> None:
    world = PlainWorld(form={"cleared": cleared})
    async with world.system() as system:
        now = await system.get(world.api.create({"title": "one", "assignee": "ann", "labels": ["a"]}))
        now = await system.update(now, {"assignee": None, "labels": []})
        assert (now.fields["assignee"], now.fields["labels"]) == (None, [])
        assert world.api.records[now.id].raw["assignee"] == sent


async def test_a_number_is_sent_as_one_and_words_in_its_place_are_refused(
    world: PlainWorld, system: RestSystem
) -> None:
    now = await system.get(world.api.create({"title": "one"}))
    now = await system.update(now, {"severity": "4"})
    assert (now.fields["severity"], world.api.records[now.id].raw["severity"]) == ("4", 4)
    with pytest.raises(Refused) as caught:
        await system.update(now, {"severity": "very"})
    assert list(caught.value.fields) == ["severity"]


async def test_a_field_that_can_only_be_read_is_never_sent() -> None:
    world = PlainWorld(form={"mapped": [*MAPPED, RestField("close_notes", "resolution.notes", writable="never")]})
    async with world.system() as system:
        now = await system.get(world.api.create({"title": "one"}))
        with pytest.raises(Refused) as caught:
            await system.update(now, {"title": "ours", "resolution.notes": "x"})
    assert list(caught.value.fields) == ["resolution.notes"]
    assert world.api.records[now.id].raw["title"] == "one"


async def test_fields_are_read_and_written_at_their_places() -> None:
    mapped = [RestField("title", "data.title"), RestField("severity", "data.meta[name=level].value", "meta.level")]
    shown = {
        "id": 1,
        "updated_at": row(1)["updated_at"],
        "data": {"title": "T", "meta": [{"name": "level", "value": "low"}]},
    }
    sent: list[bytes] = []
    form = {"fields_at": "issue", "create_with": '{"issue": {"queue": "SOC", "meta": {"from": "{key}"}}}'}
    system = answering(httpx.Response(200), mapped=mapped, further=["data.code"], **form)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json=shown)

    system._transport = httpx.MockTransport(answer)
    async with system:
        made = await system.create({"data.title": "T", "meta.level": "low", "data.code": 7}, "lockstep-1")
    assert made.fields == {"data.title": "T", "meta.level": "low"}
    assert sent[0] == (
        b'{"issue":{"queue":"SOC","meta":{"from":"lockstep-1","level":"low"},"data":{"title":"T","code":7}}}'
    )


# lost answers


@pytest.mark.parametrize(
    ("kind", "there"), [("drop", False), ("fail", False), ("lose", True), ("hang", True), ("fail after", True)]
)
async def test_an_incident_whose_answer_was_lost_is_found_by_its_key(
    world: PlainWorld, system: RestSystem, kind: Kind, *, there: bool
) -> None:
    mark = key()
    world.api.faults.plan(kind, "POST", "incidents")
    with pytest.raises(Unavailable) as caught:
        await system.create({"title": "T"}, mark)
    assert caught.value.sent
    assert (await system.find(mark) is not None) is there


@pytest.mark.parametrize("form", [{}, KEYED], ids=["by its words", "by its key"])
@pytest.mark.parametrize(("kind", "there"), [("drop", False), ("lose", True)])
async def test_a_comment_whose_answer_was_lost_is_found(form: dict[str, Any], kind: Kind, *, there: bool) -> None:
    world = PlainWorld(form=form)
    async with world.system() as system:
        now, mark, before = await system.get(world.api.create({"title": "one"})), key(), datetime.now(UTC)
        world.api.comment(now.id, "once")
        world.api.faults.plan(kind, "POST", "incidents/ID/comments")
        with pytest.raises(Unavailable):
            await system.add_entry(now, entry("once"), mark)
        found = await system.find_entry(now, entry("once"), mark, before)
        assert (found is not None) is there
        assert await system.find_entry(now, entry("otherwise"), key(), before) is None
        if not form:
            assert await system.find_entry(now, entry("once"), mark, before + timedelta(hours=1)) is None
            assert await system.find_entry(now, entry("once"), mark, before, {str(found)}) is None


async def test_an_answer_without_the_new_id_is_said_with_what_it_has() -> None:
    async with answering(httpx.Response(201, json={"number": 5})) as system:
        with pytest.raises(Unreadable, match=r"created_id.*number"):
            await system.create({"title": "T"}, key())


async def test_no_key_but_ours_is_ever_searched_for(world: PlainWorld, system: RestSystem) -> None:
    for odd in ("", "%", "lockstep", "a b", "x'; --", "lockstep-1&external_id="):
        assert await system.find(odd) is None
    assert not world.api.calls


async def test_an_id_that_could_leave_its_place_is_never_sent(world: PlainWorld, system: RestSystem) -> None:
    for odd in ("..", ".", "../users/1", "a/b", "a\\b", "a?b", "a#b", "a%2fb", "a b", "x" * 300, "ü"):
        with pytest.raises(NotFound):
            await system.get(odd)
    assert not world.api.calls


async def test_an_answer_about_another_incident_is_not_taken_for_it() -> None:
    async with answering(httpx.Response(200, json=row(1))) as system:
        with pytest.raises(NotFound, match="shows 1"):
            await system.get("2")


# login, limits, secrets


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ({"auth": "none"}, "authorization", None),
        ({"auth": "basic", "login": "me"}, "authorization", "Basic bWU6aHVudGVyMg=="),
        ({"auth": "bearer"}, "authorization", "Bearer hunter2"),
        ({"auth": "header", "auth_header": "X-Odd"}, "x-odd", "hunter2"),
    ],
)
async def test_each_way_to_log_in_sends_its_header_and_no_error_shows_it(
    form: dict[str, Any], header: str, value: str | None
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(401, json={"message": f"who is {request.headers.get(header)} or hunter2?"})

    system = answering(httpx.Response(200), **form, headers=["X-Requested-With: rest"])
    system._transport = httpx.MockTransport(answer)
    async with system:
        with pytest.raises(Unauthorized) as caught:
            await system.get("1")
        report = await system.check()
    assert asked[0].headers.get(header) == value
    assert asked[0].headers["x-requested-with"] == "rest"
    if form["auth"] != "none":
        assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__dict__} {report}"
        assert "bWU6" not in f"{caught.value} {report}"


async def test_a_rate_limit_is_kept_before_it_is_hit(world: PlainWorld, system: RestSystem) -> None:
    id = world.api.create({"title": "one"})
    world.api.faults.limit_calls, world.api.faults.limit_seconds = 5, 1.0
    for _ in range(7):
        assert (await system.get(id)).id == id
    assert world.api.calls.total() == 7, "none was answered with 429 and sent again"


async def test_a_429_is_waited_for(world: PlainWorld, system: RestSystem) -> None:
    id = world.api.create({"title": "one"})
    world.api.faults.plan("limit")
    assert (await system.get(id)).id == id
    assert world.api.calls.total() == 2


async def test_the_file_of_a_private_authority_is_read(world: PlainWorld) -> None:
    world.form["ca_file"] = "/nowhere/ca.pem"
    system = world.system()
    system._transport = None
    with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem"):
        await system.__aenter__()


async def test_a_block_that_is_not_open_says_so(world: PlainWorld) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await world.system().get("1")
    await asyncio.sleep(0)


# declared calls, counted at the server


@pytest.mark.parametrize(
    ("api", "form"),
    [
        ({}, {}),
        ({}, {"compare": False}),
        ({"etag": True}, {"if_match": "{etag}", "etag_path": "incidents/{id}"}),
        ({}, {"link_path": "incidents/{id}", "link_body": '{"title": "{record.title}"}'}),
        (
            {"etag": True},
            {"if_match": "{etag}", "link_path": "incidents/{id}", "link_body": '{"title": "{record.title}"}'},
        ),
    ],
)
async def test_the_declared_calls_are_the_ones_that_are_made(api: dict[str, Any], form: dict[str, Any]) -> None:
    world = PlainWorld(form=form, **api)

    def counted() -> int:
        total = world.api.calls.total()
        world.api.calls.clear()
        return total

    async with world.system() as system:
        declared = system.capabilities.calls
        for number in range(3):
            world.api.comment(world.api.create({"title": str(number)}), "words")
        (page,) = await pages(system.changes(system.start(just_now()), 50))
        assert counted() == declared.page
        await system.entries(page.incidents, frozenset())
        assert counted() == declared.entries + len(page.incidents) * declared.changed
        made = await system.create({"title": "T"}, key())
        assert counted() == declared.create
        made = await system.update(made, {"title": "U"})
        assert counted() == declared.update
        await system.add_entry(made, entry("words"), key())
        assert counted() == declared.entry
