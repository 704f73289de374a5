"""The quality table says what the code does, and the README what the table says."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import httpx
import orjson
import pytest
from pydantic import SecretStr

import blocks.incidents
from blocks import quality
from blocks.contracts import IncidentSystem
from blocks.errors import Misconfigured
from blocks.incidents import Roundup
from blocks.model import Capabilities
from tests.contracts.incident_system import IncidentSystemSuite
from tests.fakes.roundup import FakeRoundup, FakeTransport

README = Path(__file__).resolve().parents[1] / "README.md"
URL = "http://roundup.test/tracker/"

DECLARED: dict[str, Callable[[Capabilities], bool]] = {
    "comments out": lambda can: can.comments_out and not can.read_only,
    "files in": lambda can: can.files,
    "files out": lambda can: can.files and not can.read_only,
    "create with key": lambda can: can.create and can.create_key != "none",
    "optimistic lock": lambda can: can.lock != "none",
    "close": lambda can: can.close and not can.read_only,
    "reopen": lambda can: can.reopen,
    "closing notes": lambda can: can.closing_notes,
}
"""What a connector must declare, and not declare otherwise, for an item to be done."""

HELD_BY = {
    "check": "test_a_wrong_password_is_said_in_words_and_not_shown",
    "first fetch": "test_a_first_fetch_from_a_time_finds_what_changed_since",
    "incremental feed": "test_nothing_is_lost_when_records_change_in_the_middle_of_a_walk",
    "inclusive cursor": "test_records_of_one_moment_are_all_found_with_pages_smaller_than_they",
    "gone": "test_what_was_deleted_is_not_found",
    "comments in": "test_only_unknown_entries_come_oldest_first",
    "comments out": "test_an_entry_is_added_once_and_found_again",
    "files in": "test_a_persons_file_is_read",
    "files out": "test_a_file_keeps_bytes_name_and_type",
    "create with key": "test_what_is_created_is_found_by_its_key",
    "find after lost answer": "test_an_entry_is_added_once_and_found_again",
    "optimistic lock": "test_a_stale_write_is_refused_and_the_persons_edit_stays",
    "close": "test_an_incident_is_closed_and_reopened",
    "reopen": "test_an_incident_is_closed_and_reopened",
}
"""The test of the contract suite that holds an item, for every connector."""


def concrete() -> list[type[IncidentSystem]]:
    """Every connector there is, found by looking at all files."""
    found = set()
    for module in pkgutil.iter_modules(blocks.incidents.__path__, "blocks.incidents."):
        for _, one in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(one, IncidentSystem) and not inspect.isabstract(one) and one.__module__ == module.name:
                found.add(one)
    return sorted(found, key=lambda one: one.__name__)


def suites(connector: type[IncidentSystem]) -> Iterator[tuple[str, bool]]:
    """The connector's subclasses of the contract suite, and whether each needs a real server."""
    module = import_module(f"tests.test_{connector.__name__.lower()}")
    for name, one in inspect.getmembers(module, inspect.isclass):
        if issubclass(one, IncidentSystemSuite) and one is not IncidentSystemSuite:
            yield name, any(mark.name == "peer" for mark in getattr(one, "pytestmark", []))


CONNECTORS = concrete()
EACH = pytest.mark.parametrize("connector", CONNECTORS, ids=lambda one: one.__name__)


def test_every_connector_has_a_row_and_every_row_a_connector() -> None:
    assert CONNECTORS
    assert list(quality.TABLE) == [one.__name__ for one in CONNECTORS]
    assert quality.connectors() == CONNECTORS


@EACH
def test_every_mark_is_valid_and_what_is_open_has_its_reason(connector: type[IncidentSystem]) -> None:
    row = quality.TABLE[connector.__name__]
    assert row.verified in get_args(quality.Verified)
    assert row.against
    assert sorted([*row.done, *row.open]) == sorted(quality.ITEMS)
    for item in quality.ITEMS:
        mark = row.mark(item)
        assert mark.status in get_args(quality.Status)
        assert bool(mark.reason) == (mark.status != "done"), item


@EACH
@pytest.mark.parametrize("item", DECLARED)
def test_what_is_done_is_declared_and_what_is_declared_is_done(connector: type[IncidentSystem], item: str) -> None:
    done = quality.TABLE[connector.__name__].mark(item).status == "done"
    assert done == DECLARED[item](quality.capabilities(connector))


@EACH
def test_the_contract_suite_runs_against_what_the_row_says(connector: type[IncidentSystem]) -> None:
    row = quality.TABLE[connector.__name__]
    real = {needs_server for _, needs_server in suites(connector)}
    assert (row.mark("contract suite against fake").status == "done") == (False in real)
    assert (row.mark("contract suite against real server").status == "done") == (True in real)
    assert (row.verified == "real server") == (True in real)


@pytest.mark.parametrize("item", HELD_BY)
def test_an_item_is_held_by_a_test_that_exists(item: str) -> None:
    assert item in quality.ITEMS
    assert inspect.isfunction(getattr(IncidentSystemSuite, HELD_BY[item]))


def test_the_readme_shows_the_table_as_it_is() -> None:
    if README.exists():
        text = README.read_text(encoding="utf-8")
        assert quality.updated(text) == text, "run: python -m blocks.quality README.md"


def test_the_matrix_shows_reasons_and_what_the_connector_declares() -> None:
    shown = quality.matrix([Roundup])
    can = quality.capabilities(Roundup)
    assert f"| lock: how a stale write is refused | {can.lock} |" in shown
    assert f"| {can.calls.create} / {can.calls.update} / {can.calls.entry} / {can.calls.file} |" in shown
    assert "| closing notes | exempt (1) |" in shown
    assert "\n1. Roundup, closing notes: a classic tracker lacks" in shown
    assert len({line.count("|") for line in shown.splitlines() if line.startswith("|")}) == 1


@pytest.mark.parametrize("readme", ["", quality.BEGIN, f"{quality.END}\n{quality.BEGIN}\n"])
def test_a_readme_without_marks_is_said_so(readme: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        quality.updated(readme)


# What Roundup's row says beyond the suite


class Changed(httpx.AsyncBaseTransport):
    """The fake behind a wire that counts statuses and may damage what passes."""

    def __init__(self, fake: FakeRoundup, damage: Callable[[bytes], bytes] = bytes) -> None:
        self.inner, self.damage, self.statuses = FakeTransport(fake), damage, list[int]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.inner.handle_async_request(request)
        body = self.damage(await answer.aread())
        self.statuses.append(answer.status_code)
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=body)


def over(transport: httpx.AsyncBaseTransport) -> Roundup:
    system = Roundup(address=URL, login="admin", password=SecretStr("secret"))
    system._transport = transport
    return system


async def test_roundups_limit_is_kept_before_it_is_hit() -> None:
    fake = FakeRoundup()
    id = fake.people.create({"title": "one"})
    fake.faults.limit_calls, fake.faults.limit_seconds = 10, 1.0
    wire = Changed(fake)
    async with over(wire) as system:
        for _ in range(15):
            await system.get(id)
    assert wire.statuses == [200] * 15


async def test_one_bad_record_of_roundup_is_set_aside_and_the_rest_comes() -> None:
    fake = FakeRoundup()
    ids = [fake.people.create({"title": f"number {number}"}) for number in range(3)]

    def damage(body: bytes) -> bytes:
        answer = orjson.loads(body)
        for row in answer["data"]["collection"]:
            if row["id"] == ids[1]:
                row["activity"] = "yesterday"
        return orjson.dumps(answer)

    async with over(Changed(fake, damage)) as system:
        pages = [page async for page in system.everything(50)]
    assert {one.id for page in pages for one in page.incidents} == {ids[0], ids[2]}
    assert [bad.id for page in pages for bad in page.bad] == [ids[1]]
    assert "yesterday" in pages[0].bad[0].raw


async def test_roundup_takes_the_file_of_a_private_authority() -> None:
    system = Roundup(address=URL, login="admin", password=SecretStr("secret"), ca_file="/nowhere/ca.pem")
    with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem"):
        await system.__aenter__()
