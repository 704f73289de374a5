"""Finding incidents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from blocks.errors import Refused
from blocks.model import Fields
from blocks.store import Database
from blocks.store.incidents import Actor, add_comment, create, edit
from blocks.store.links import CONFLICT, PARKED, park
from blocks.store.search import Search, count, search
from tests.stores import NOW, add_link, add_system

ANN = Actor("ann")


async def ids(database: Database, wanted: Search) -> list[int]:
    return [row.id for row in (await search(database, wanted)).rows]


async def filled(database: Database, *rows: Fields) -> list[int]:
    return [
        await create(database, {"title": f"t{n}", **fields}, ANN, NOW + timedelta(hours=n))
        for n, fields in enumerate(rows)
    ]


async def test_each_field_narrows_and_a_tuple_widens(database: Database) -> None:
    rows: list[Fields] = [
        {"status": "new", "severity": "low", "owner": "ann", "type": "mail"},
        {"status": "active", "severity": "high", "owner": "bob", "type": "mail"},
        {"status": "closed", "severity": "high", "owner": "ann", "type": "host"},
    ]
    one, two, three = await filled(database, *rows)
    assert await ids(database, Search()) == [three, two, one]
    assert await ids(database, Search(status=("new", "active"))) == [two, one]
    assert await ids(database, Search(severity=("high",), owner=("ann",))) == [three]
    assert await ids(database, Search(type=("mail",), status=("closed",))) == []


async def test_times_include_their_beginning_and_exclude_their_end(database: Database) -> None:
    one, two, three = await filled(database, {}, {}, {})
    hour = timedelta(hours=1)
    assert await ids(database, Search(created_after=NOW + hour)) == [three, two]
    assert await ids(database, Search(created_before=NOW + hour)) == [one]
    await edit(database, one, {"owner": "x"}, ANN, NOW + 5 * hour)
    assert await ids(database, Search(updated_after=NOW + 2 * hour)) == [three, one]
    assert await ids(database, Search(updated_after=NOW, updated_before=NOW + 2 * hour)) == [two]


async def test_a_label_is_matched_exactly(database: Database) -> None:
    labels = ["vpn", "VPN", "vpn ", 'v"pn', "v\\pn", "v%n", "v_n", ",", "x,", ",y", "ünï", '","', "]", "["]
    numbers = dict(zip(labels, await filled(database, *({"labels": [label]} for label in labels)), strict=True))
    both = (await filled(database, {"labels": ["x,", ",y", "a", "b"]}))[0]
    for label, number in numbers.items():
        assert await ids(database, Search(label=label)) == ([both, number] if label in {"x,", ",y"} else [number])
    assert await ids(database, Search(label="v")) == []


async def test_text_is_found_wherever_it_stands_and_whatever_its_case(database: Database) -> None:
    rows: list[Fields] = [{"title": "Needle"}, {"description": "a needLE here"}, {"site": "NEEDLE"}, {}, {}, {}]
    numbers = await filled(database, *rows)
    numbers.append(await create(database, {"title": "x"}, ANN, NOW, extra={"raw": "needle"}))
    await add_comment(database, numbers[3], "no NEEDLE", ANN, NOW)
    await add_comment(database, numbers[3], "needle again", ANN, NOW)
    await add_comment(database, numbers[4], "hay", ANN, NOW)
    assert await ids(database, Search(text="needle")) == [numbers[n] for n in (6, 3, 2, 1, 0)]


@pytest.mark.parametrize("wanted", ["STRASSENBRÜCKE", "brücke", "ПРИВЕТ", "ärger"])
async def test_case_does_not_matter_beyond_ascii_either(database: Database, wanted: str) -> None:
    (number,) = await filled(database, {"title": "Strassenbrücke привет", "site": "ÄRGER"})
    assert await ids(database, Search(text=wanted)) == [number]


SPECIAL = [
    "%",
    "_",
    "!",
    "!%",
    "\\",
    "'",
    '"',
    "'; DROP TABLE incident; --",
    ":wanted",
    "$1",
    "?",
    "a\nb",
    "☃",
    "[a-z]",
]


@pytest.mark.parametrize("wanted", SPECIAL)
async def test_text_is_taken_literally(database: Database, wanted: str) -> None:
    rows: list[Fields] = [{"description": f"x{wanted}y"}, {"site": f"x{wanted}y"}, {"description": "xy ab zz"}]
    numbers = await filled(database, *rows)
    commented = (await filled(database, {}))[0]
    await add_comment(database, commented, f"x{wanted}y", ANN, NOW)
    assert await ids(database, Search(text=wanted)) == [commented, numbers[1], numbers[0]]


@pytest.mark.parametrize("name", ["status", "severity", "type", "owner"])
async def test_no_value_of_a_field_can_reach_the_statement(database: Database, name: str) -> None:
    await filled(database, {}, {})
    evil = "x' OR '1'='1"
    assert await ids(database, Search(**{name: (evil, "') OR (1=1")})) == []  # type: ignore[arg-type]
    assert len(await ids(database, Search())) == 2


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Search(text="a\0b"), "text"),
        (Search(text="x" * 1_001), "text"),
        (Search(label="\0"), "label"),
        (Search(owner=("\ud800",)), "owner"),
        (Search(limit=0), "limit"),
        (Search(limit=1_001), "limit"),
    ],
)
async def test_what_no_incident_can_have_is_refused(database: Database, wanted: Search, named: str) -> None:
    with pytest.raises(Refused, match=named):
        await search(database, wanted)


async def test_pages_show_each_incident_once_though_others_come_and_change(database: Database) -> None:
    numbers = await filled(database, *({} for _ in range(7)))
    seen: list[int] = []
    page = await search(database, Search(limit=3))
    while True:
        seen += [row.id for row in page.rows]
        if page.next is None:
            break
        await edit(database, numbers[0], {"owner": f"o{len(seen)}"}, ANN, NOW)
        await create(database, {"title": "newer"}, ANN, NOW)
        page = await search(database, Search(limit=3, before_id=page.next))
    assert seen == numbers[::-1]


async def test_a_last_page_that_is_full_says_so(database: Database) -> None:
    await filled(database, {}, {})
    assert (await search(database, Search(limit=2))).next is None


async def test_what_waits_is_found_by_its_kind(database: Database) -> None:
    conflict, parked, came_in, dirty, waits, still, loosed = await filled(database, *({} for _ in range(7)))
    system = await add_system(database, "one", creates=False)
    links = {number: await add_link(database, system, number) for number in (conflict, came_in, still)}
    await add_link(database, system, dirty, dirty=1)
    await add_link(database, system, waits, dirty=2)
    await add_link(database, system, loosed, dirty=1, state="unlinked")
    row = {"system_id": system, "kind": "update", "error": "no", "created": NOW}
    async with database.begin("rows") as connection:
        await park(database, connection, [{**row, "incident_id": parked}, {**row, "remote_id": f"r{links[came_in]}"}])
        values = {"link_id": links[conflict], "system_id": system, "incident_id": conflict, "since": NOW}
        picked = {**values, "incident_id": still, "link_id": links[still], "choice": "store"}
        await connection.execute(
            insert(CONFLICT), [{**values, "field": "title", "choice": ""}, {**picked, "field": "title"}]
        )
    assert await ids(database, Search(waiting=("conflict",))) == [conflict]
    assert await ids(database, Search(waiting=("parked",))) == [came_in, parked]
    assert await ids(database, Search(waiting=("dirty",))) == [waits, dirty]
    assert await ids(database, Search(waiting=("dirty", "conflict"))) == [waits, dirty, conflict]
    async with database.begin("mended") as connection:
        await connection.execute(update(PARKED).values(state="dropped"))
    assert await ids(database, Search(waiting=("parked",))) == []


async def test_what_a_system_has_or_is_offered_is_found(database: Database) -> None:
    one, two, three, _ = await filled(database, {}, {}, {}, {})
    first, second = [await add_system(database, name, creates=False) for name in ("one", "two")]
    await add_link(database, first, one)
    await add_link(database, second, two)
    await add_link(database, second, one, state="unlinked")
    await add_link(database, second, three, state="offered", remote_id=None)
    await add_link(database, first, None, remote_id="dropped", state="unlinked")
    assert await ids(database, Search(system_id=first)) == [one]
    assert await ids(database, Search(system_id=second)) == [three, two]


@pytest.mark.parametrize("wanted", [Search(), Search(owner=("ann",)), Search(text="Ä"), Search(limit=2)])
async def test_all_pages_together_are_counted(database: Database, wanted: Search) -> None:
    await filled(database, *({"owner": "ann", "title": "ä"} for _ in range(5)), {"title": "other"})
    seen, skip = [], 0
    while page := (await search(database, replace(wanted, skip=skip))).rows:
        seen += [row.id for row in page]
        skip += len(page)
    assert await count(database, wanted) == len(seen) == len(set(seen))
