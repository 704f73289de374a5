"""What the check of a REST system says where the form and the system do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.incidents._rest_form import RestField
from tests.rest_worlds import LISTS, MAPPED, PlainWorld

PAGED = LISTS["page"]["list_path"]


async def wrong(world: PlainWorld) -> tuple[str, str]:
    """What a check finds first."""
    async with world.system() as system:
        report = await system.check()
    return next(((one.what, one.detail) for one in report.findings if not one.ok), ("", ""))


def peopled(**form: Any) -> PlainWorld:
    world = PlainWorld(form=form)
    for number in range(3):
        world.api.comment(world.api.create({"title": str(number)}), "words")
    return world


@pytest.mark.parametrize("paging", LISTS)
async def test_a_system_that_is_as_described_is_well(paging: Any) -> None:
    world = PlainWorld(paging)
    for number in range(3):
        world.api.comment(world.api.create({"title": str(number)}), "words")
    async with world.system() as system:
        report = await system.check()
    assert report.ok, report
    assert [one.what for one in report.findings] == ["list", "records", "pages", "since", "one", "comments", "key"]
    assert "3 comments of 3 incidents" in [one.detail for one in report.findings]


@pytest.mark.parametrize(
    ("form", "what", "said"),
    [
        ({"items": "data"}, "list", "no list at 'data'; the answer has: items"),
        ({"list_path": PAGED.replace("incidents", "tickets")}, "list", "look at `address` and the path"),
        ({"list_path": PAGED + "&x=1"}, "list", "unknown parameter x"),
        ({"updated_at": "modified"}, "list", "no time at 'modified'; the record has: title, description"),
        ({"times": "seconds", "since_times": "iso"}, "list", "no record can be read"),
        ({"id_at": "number"}, "list", "no id at 'number'"),
        ({"mapped": [RestField("title", "subject")]}, "records", "no record shows subject"),
        ({"since_times": "%Y-%m-%dT%H:%M:%S-05:00"}, "since", "misses"),
        ({"since_times": "%Y-%m-%dT%H:%M:%S+05:00"}, "since", "shows"),
        ({"get_path": "incidents?id={id}"}, "one", "the record has: items"),
        ({"get_path": "incident/{id}"}, "one", "look at `address` and the path"),
        ({"if_match": "{etag}"}, "one", "no ETag"),
        ({"comments_path": "incidents/{id}/notes"}, "comments", "look at `address` and the path"),
        ({"comment_created": "written"}, "comments", "no time at 'written'"),
        ({"find_path": "incidents?q=status:{key}|open"}, "key", "look at `find_path`"),
    ],
)
async def test_a_field_of_the_form_that_does_not_fit_is_named(form: dict[str, Any], what: str, said: str) -> None:
    found, words = await wrong(peopled(**form))
    assert found == what
    assert said in words


async def test_a_page_that_holds_less_than_was_asked_for_is_no_last_page() -> None:
    world = PlainWorld(form={"page_size": 500})
    for number in range(120):
        world.api.create({"title": str(number)})
    assert await wrong(world) == ("pages", "a page holds 100 at most: put 100 into `page_size`")


async def test_a_list_and_a_single_read_that_differ_are_named() -> None:
    world = peopled(mapped=[*MAPPED, RestField("close_reason", "resolution.code")])
    answer = world.api._one
    world.api._one = lambda *given: (200, {**answer(*given)[1], "assignee": "bob"}, {})  # type: ignore[method-assign]
    assert await wrong(world) == (
        "one",
        "assignee differ between the list and one incident: one path must fit both",
    )


async def test_an_empty_system_is_well_and_says_what_was_not_looked_at() -> None:
    async with PlainWorld().system() as system:
        report = await system.check()
    assert report.ok
    assert "empty" in report.findings[0].detail


async def test_an_account_without_permission_is_told_what_to_look_at() -> None:
    world = peopled()
    world.api.faults.forbidden = ["GET comments"]
    found, words = await wrong(world)
    assert found == "comments"
    assert "what this account may do" in words
