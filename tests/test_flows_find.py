"""What an analyst finds and sees: pages with links to the systems, one incident whole, and nothing that acts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_UI_URL, temporary_settings
from sqlalchemy import update

from blocks.contracts import IncidentSystem
from blocks.rules import Rule, Rules
from blocks.store.incidents import relate
from blocks.store.links import LINK
from flows.find import find_incidents
from tasks.analyst.look import whole
from tasks.analyst.show import incident_report
from tests.fakes.toy import Toy, World
from tests.flowing import Told, in_store, told
from tests.mirrors import BOB, Bench
from tests.reading import bare, read

__all__ = ["in_store", "told"]
pytestmark = pytest.mark.usefixtures("in_store", "blocks_of_prefect")
EVIL = "a|b `c` <img src=x> ![i](http://127.0.0.1/i) [l](http://127.0.0.1/evil) https://example.org\n# head"
BLOCKS: dict[str, IncidentSystem] = {"toy:a": Toy.of(World(), "a"), "toy:b": Toy.of(World(), "b")}


@pytest.fixture
def blocks_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect has a block of both systems."""

    async def found() -> dict[str, IncidentSystem]:
        return BLOCKS

    monkeypatch.setattr("flows.find.systems_of_blocks", found)


async def found(**form: Any) -> State[Any]:
    """What the flow ends with."""
    return await find_incidents.fn(**form)


def numbers(told: Told) -> list[int]:
    """The incidents of the last page that was found."""
    return [row["incident"] for row in told.tables[-1][1]] if told.tables else []


async def filled(bench: Bench) -> None:
    """Three incidents: 1 in step with a, 2 in step with a and waiting, 3 only here."""
    world = bench.mirror(rules=Rules(title=Rule("both", "ask")))
    world.add({"name": "phishing", "level": "p1", "who": "ann", "tags": ["vip"]})
    world.add({"name": "malware", "state": "doing"})
    await bench.settled()
    await bench.edit(2, title="ours")
    world.edit("2", name="theirs")
    await bench.cycle(after=60)
    await bench.create(title="by phone", severity="critical", type="call")


async def test_a_page_shows_each_incident_with_a_link_to_where_it_is(bench: Bench, told: Told) -> None:
    await filled(bench)
    state = await found()
    assert state.is_completed()
    assert str(state.message).startswith("3 incidents found")
    ((key, report),) = told.artifacts
    assert key == "found-incidents"
    rows = [row for row in report.splitlines() if row.startswith("| ") and row[2].isdigit()]
    assert [row.split(" | ")[2] for row in rows] == [
        "-",
        "a: [2](http://127.0.0.1/a/2)",
        "a: [1](http://127.0.0.1/a/1)",
    ]
    assert rows[2].startswith("| 1 | phishing | a: [1](http://127.0.0.1/a/1) | new | critical | ann | 2026-11-24 12:")
    ((_, table),) = told.tables
    assert [row["there"] for row in table] == ["", "http://127.0.0.1/a/2", "http://127.0.0.1/a/1"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"text": "PHISH"}, [1]),
        ({"status": ["active"]}, [2]),
        ({"status": ["active", "new"], "severity": ["critical"]}, [3, 1]),
        ({"type": "call"}, [3]),
        ({"owner": " ann "}, [1]),
        ({"label": "vip"}, [1]),
        ({"mirror": "a"}, [2, 1]),
        ({"waiting": ["conflict"]}, [2]),
        ({"waiting": ["conflict", "parked", "dirty"]}, [2]),
        ({"waiting": ["parked"]}, []),
        ({"updated_to": "2026-11-01"}, []),
        ({"updated_from": "2026-11-24T12:00:30Z"}, [3, 2]),
        ({"updated_from": "2026-11-24", "updated_to": "2026-11-24T13:00:30+01:00"}, [1]),
        ({"last_days": 36500}, [3, 2, 1]),
        ({"page_size": 2}, [3, 2]),
        ({"page_size": 2, "page": 2}, [1]),
        ({"text": "' OR '1'='1"}, []),
    ],
)
async def test_only_what_is_wanted_is_found(
    bench: Bench, told: Told, form: dict[str, Any], expected: list[int]
) -> None:
    await filled(bench)
    assert (await found(**form)).is_completed()
    assert numbers(told) == expected


async def test_pages_are_counted(bench: Bench, told: Told) -> None:
    await filled(bench)
    assert str((await found(page_size=2)).message).startswith("3 incidents found, page 1 of 2")
    assert "The next ones are on page 2." in told.artifacts[-1][1]
    assert str((await found(page_size=2, page=2)).message).startswith("3 incidents found, page 2 of 2")
    assert "next ones" not in told.artifacts[-1][1]
    assert str((await found(page=9)).message).startswith("3 incidents found, page 9 of 1")
    assert str((await found(text="phone")).message).startswith("1 incident found")
    assert str((await found(text="nothing")).message).startswith("0 incidents found")


async def test_the_run_says_where_the_artifact_is(bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_settings({PREFECT_UI_URL: "http://127.0.0.1:4200"}):
        state = await found()
    assert re.fullmatch(
        r"0 incidents found: http://127\.0\.0\.1:4200/artifacts/artifact/[0-9a-f-]{36}", str(state.message)
    )


async def test_a_report_that_prefect_does_not_take_ends_no_search(
    bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise httpx.ConnectError("down")

    monkeypatch.setattr("tasks.reports.acreate_markdown_artifact", refused)
    assert (await found()).message == "0 incidents found"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"updated_from": "yesterday"}, "updated_from is 'yesterday': write a day"),
        ({"updated_to": "2026-11-24T08:00"}, "updated_to is '2026-11-24T08:00': write a day"),
        ({"updated_from": "2026-11-24", "last_days": 3}, "last_days and updated_from both say when to begin"),
        ({"mirror": "nobody"}, "there is no mirror 'nobody'; there are: a"),
        ({"text": "x" * 1001}, "text has 1,001 characters"),
        ({"owner": "a\0b"}, "owner holds a NUL character"),
        ({"incident": 9}, "there is no incident 9"),
    ],
)
async def test_what_cannot_be_looked_for_is_refused_in_words(
    bench: Bench, told: Told, form: dict[str, Any], words: str
) -> None:
    await filled(bench)
    state = await found(**form)
    assert state.is_failed()
    assert words in str(state.message)
    assert told.artifacts == []


async def test_the_last_days_are_counted_from_now(bench: Bench, told: Told) -> None:
    number = await bench.create(title="now")
    # The bench's clock has a date of its own.
    ahead = (bench.clock() - datetime.now(UTC)) / timedelta(days=1)
    assert (await found(last_days=1)).is_completed()
    assert numbers(told) == ([number] if ahead > -1 else [])


async def test_one_incident_is_shown_whole(bench: Bench, told: Told) -> None:
    await filled(bench)
    world = bench.mirrors["a"].world
    world.refuse.add("who")
    await bench.edit(2, owner="bea", description="first line\n\nsecond line")
    await bench.comment(2, "a word", tags=["share"])
    await bench.attach(2, "log.txt", b"12345")
    await bench.cycle(after=60)
    state = await found(incident=2, text="ignored")
    assert str(state.message).startswith("incident 2")
    ((key, markdown),) = told.artifacts
    assert (key, told.tables) == ("incident-2", [])
    report = read(markdown)
    for line in (
        "# Incident 2: ours",
        "| description | first line<br><br>second line |",
        "| status | active |",
        "| owner | bea |",
        "| a: [2](http://127.0.0.1/a/2) | linked | waits for a person |  |",
        "| title | a | ours | theirs | 2026-11-24 12:",
        "| bob | comment | a word | share |",
        "| bob | file | log.txt, 5 bytes | - |",
        "| bob | changed in the store | owner: - → bea<br>description: - → first line second line |",
        "**resolve_conflict**",
        "**replay_parked**",
    ):
        assert line in report
    assert re.search(r"\| 1 \| update \| a \| .*refused", report)


async def test_what_is_unlinked_offered_or_related_is_shown_as_such(bench: Bench, told: Told) -> None:
    bench.mirror("a").add({"name": "one"})
    await bench.settled()
    bench.mirror("b", rules=Rules(create=True))
    await bench.cycle("b")
    world = bench.mirrors["b"].world
    assert list(world.records) == ["1"]
    number = await bench.create(title="two")
    await relate(bench.database, number, 1, BOB, bench.clock())
    await found(incident=number)
    report = read(told.artifacts[-1][1])
    assert "| b: not there yet | offered | to be decided by the next cycle |  |" in report
    assert "| 1 | related |" in report


async def test_a_system_without_a_block_is_shown_without_a_link(bench: Bench, told: Told) -> None:
    bench.mirror("c").add({"name": "one"})
    await bench.settled()
    await found()
    assert "| 1 | one | c: 1 |" in told.artifacts[-1][1]
    assert told.tables[-1][1][0]["there"] == "c: 1"


async def test_what_came_from_outside_acts_in_no_artifact(bench: Bench, told: Told) -> None:
    world = bench.mirror("a", rules=Rules(title=Rule("both", "ask")))
    world.add({"name": EVIL, "who": EVIL, "tags": [EVIL], "odd key": EVIL})
    world.comment("1", EVIL, author=EVIL, tags=(EVIL,))
    await bench.settled()
    await bench.edit(1, description=EVIL, title=f"{EVIL}!", custom_one=EVIL)
    world.edit("1", name=f"{EVIL}?")
    await bench.cycle(after=60)
    await found()
    await found(incident=1)
    cells = [str(cell) for _, rows in told.tables for row in rows for cell in row.values()]
    for shown in [report for _, report in told.artifacts] + cells:
        outside = re.sub(r"\[1\]\(http://127\.0\.0\.1/a/1\)|^http://127\.0\.0\.1/a/1$", "", bare(shown)).replace(
            "<br>", ""
        )
        assert not re.search(r"https?://|<|`|!\[|]\(", outside)
        assert not re.search(r"^# head", shown, re.MULTILINE)
    for _, report in told.artifacts:
        for block in re.split(r"\n\n", report):
            widths = {bare(row).count("|") for row in block.splitlines() if row.startswith("|")}
            assert len(widths) <= 1


@pytest.mark.parametrize("remote_id", ["1) [x](http://127.0.0.2", "<b>", "a|b", "x y\nz", "`c`", "*b* _i_"])
async def test_an_id_of_a_record_cannot_leave_its_link(bench: Bench, told: Told, remote_id: str) -> None:
    bench.mirror().add({"name": "one"})
    await bench.settled()
    async with bench.database.begin("odd id") as connection:
        await connection.execute(update(LINK).values(remote_id=remote_id))
    await found()
    (_, report), (_, (row,)) = told.artifacts[-1], told.tables[-1]
    assert len(re.findall(r"\]\(([^)]*)\)", bare(report))) == 1
    assert re.fullmatch(r"http://127\.0\.0\.1/a/[\w%.:/*-]*", row["there"])


async def test_an_incident_with_much_history_shows_its_latest(bench: Bench) -> None:
    number = await bench.create(title="long")
    for n in range(60):
        await bench.comment(number, f"word {n}")
    report = read(incident_report(await whole(bench.database, number), BLOCKS))
    assert "The latest 50." in report
    assert "word 59" in report
    assert "word 9 " not in report
    assert report.index("word 10") < report.index("word 59")
