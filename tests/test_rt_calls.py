"""Request Tracker's connector: its form, its calls, and what RT makes of what is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.errors import Partial, Refused, Stale
from blocks.incidents import RequestTracker
from blocks.model import Incident
from tests.contracts.incident_system import entry, key, pages
from tests.fakes.rt import FakeRT
from tests.rt_worlds import connector, over


@pytest.fixture
def fake() -> FakeRT:
    return FakeRT()


@pytest.fixture
async def system(fake: FakeRT) -> AsyncIterator[RequestTracker]:
    async with over(fake) as opened:
        yield opened


class TestBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[RequestTracker]:
        return RequestTracker

    # It would fetch the logo from the internet; we have none.
    test_has_a_valid_image = None  # type: ignore[assignment]


# the form


@pytest.mark.parametrize(
    "address", ["", "host/rt", "ftp://host/", "https://", "https://me:x@host/", "https://host/?x=1"]
)
def test_an_address_that_is_none_is_refused_in_words_without_the_password(address: str) -> None:
    with pytest.raises(ValidationError, match="https://host/rt/") as caught:
        connector(address, "hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue": ""},
        {"queue": "3"},
        {"queue": "cf.{x}"},
        {"key_field": ""},
        {"key_field": "a} = 1 OR CF.{b"},
        {"entry_field": "a'b"},
    ],
)
def test_names_that_rt_would_misread_are_refused_in_the_form(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        connector("https://host/", "secret", **wrong)


def test_the_queue_is_a_part_of_the_fingerprint_and_the_login_is_not() -> None:
    one = RequestTracker(address="https://Host.test/rt", login="a", password=SecretStr("b"), queue="SOC")
    assert one.fingerprint() == "rt https://host.test/rt/ queue soc"
    assert one.model_copy(update={"login": "c"}).fingerprint() == one.fingerprint()
    assert one.model_copy(update={"queue": "Other"}).fingerprint() != one.fingerprint()


async def test_a_block_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await over().get("1")


def test_without_a_custom_field_for_it_there_is_no_severity() -> None:
    assert "severity" not in {row.ours for row in over(severity_field="").fields.rows}
    assert {row.theirs for row in over(severity_field="Risk").fields.rows if row.ours == "severity"} == {"CF.{Risk}"}


# declared calls, counted at the server


async def test_the_declared_calls_are_the_ones_that_are_made(fake: FakeRT, system: RequestTracker) -> None:
    declared = system.capabilities.calls
    fake.seed(3, comments_each=2)
    fake.people.file("1", "a.txt", b"a")

    def counted() -> int:
        total = fake.calls.total()
        fake.calls.clear()
        return total

    (first,) = await pages(system.changes(system.start(datetime.now(UTC) - timedelta(minutes=1)), 50))
    counted()  # a first look from a time searches where that is
    for number in ("1", "2"):
        fake.people.edit(number, Subject="changed")
    (page,) = await pages(system.changes(first.cursor, 50))
    assert counted() == declared.page + declared.changed
    found = await system.entries(first.incidents, frozenset())
    assert counted() == declared.entries
    assert await system.entries(page.incidents, {one.id for one in found}) == []
    assert counted() == 1, "what is known is looked for, and not read"
    await system.create({"Subject": "T", "CF.{Severity}": "high"}, key())
    assert counted() <= declared.create + 2, "once, the queue's custom fields are asked"
    made = await system.create({"Subject": "T", "Status": "new"}, key())
    counted()
    made = await system.create({"Subject": "T", "Status": "new", "CF.{Severity}": "high"}, key())
    assert counted() == declared.create
    made = await system.update(made, {"Status": "open", "Owner": "analyst", "Subject": "U"})
    assert counted() == declared.update
    await system.add_entry(made, entry("words"), key())
    assert counted() == declared.entry
    await system.add_entry(made, entry(name="f", data=b"x"), key())
    assert counted() == declared.file
    assert await system.find("") is None
    assert counted() == 0, "an empty key would find every ticket without one"


# 200, and yet not done


async def test_a_refused_field_beside_one_that_was_taken_is_partial(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="before", CustomFields={"Severity": "low"})
    with pytest.raises(Partial) as caught:
        await system.update(
            await system.get(id), {"Subject": "after", "Owner": "nobody-knows", "CF.{Severity}": "nope"}
        )
    assert set(caught.value.fields) == {"Owner", "CF.{Severity}"}
    assert caught.value.incident == await system.get(id)
    assert caught.value.incident.fields["Subject"] == "after"
    assert "That user does not exist" in str(caught.value)
    assert caught.value.id == id


async def test_where_nothing_was_taken_it_is_refused(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="before")
    for patch in ({"CF.{Nope}": "x"}, {"Status": "nope"}, {"Owner": "nobody-knows", "CF.{Severity}": "nope"}):
        with pytest.raises(Refused) as caught:
            await system.update(await system.get(id), dict(patch))
        assert not isinstance(caught.value, Partial)
        assert set(caught.value.fields) == set(patch)


async def test_a_new_ticket_without_a_field_that_rt_dropped_is_partial_and_keeps_its_key(
    fake: FakeRT, system: RequestTracker
) -> None:
    mark = key()
    with pytest.raises(Partial) as caught:
        await system.create({"Subject": "T", "Owner": "nobody-knows", "CF.{Severity}": "nope"}, mark)
    assert set(caught.value.fields) == {"Owner", "CF.{Severity}"}
    assert caught.value.incident.key == mark
    assert await system.find(mark) == caught.value.incident
    with pytest.raises(Refused, match="no such field"):
        await system.create({"Subject": "T", "CF.{Nope}": "x"}, key())
    assert len(fake.records.tickets) == 1, "an unknown field is noticed before anything is sent"


async def test_what_somebody_else_wrote_meanwhile_is_answered_and_no_refusal(
    fake: FakeRT, system: RequestTracker
) -> None:
    id = fake.people.create(Subject="before")
    now = await system.get(id)

    def meanwhile(stage: str, method: str, _: str) -> None:
        if (stage, method) == ("after", "PUT"):
            fake.people.edit(id, Subject="a person's")

    fake.watch = meanwhile
    assert (await system.update(now, {"Subject": "ours"})).fields["Subject"] == "a person's"


async def test_what_rt_makes_of_a_value_is_what_is_answered(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="before")
    now = await system.update(await system.get(id), {"Subject": "two\nlines"})
    assert now.fields["Subject"] == "two lines", "RT would glue the words together"
    fake.faults.compute["Subject"] = "upper"
    assert (await system.update(now, {"Subject": "quiet"})).fields["Subject"] == "QUIET"


async def test_a_title_that_rt_would_cut_is_refused(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="before")
    for title in ("x" * 201, "é" * 101):
        with pytest.raises(Refused, match="shorten") as caught:
            await system.update(await system.get(id), {"Subject": title, "Status": "open"})
        assert list(caught.value.fields) == ["Subject"]
    assert (await system.get(id)).fields["Status"] == "new"
    assert (await system.update(await system.get(id), {"Subject": "é" * 100})).fields["Subject"] == "é" * 100


# owners and custom fields


@pytest.mark.parametrize("owner", ["1", "14", "' OR 1=1", "root@rt.test", "root "])
async def test_an_owner_that_is_no_login_is_refused_and_never_read_as_an_id(
    fake: FakeRT, system: RequestTracker, owner: str
) -> None:
    id = fake.people.create(Subject="x")
    with pytest.raises(Refused) as caught:
        await system.update(await system.get(id), {"Owner": owner})
    assert list(caught.value.fields) == ["Owner"]
    assert (await system.get(id)).fields["Owner"] is None


async def test_nobody_is_no_owner_both_ways(fake: FakeRT, system: RequestTracker) -> None:
    now = await system.get(fake.people.create(Subject="x", Owner="analyst"))
    assert now.fields["Owner"] == "analyst"
    now = await system.update(now, {"Owner": None})
    assert now.fields["Owner"] is None
    assert fake.records.tickets[int(now.id)].owner == "Nobody"


async def test_custom_fields_are_set_and_cleared_and_several_values_are_a_sorted_list(
    fake: FakeRT, system: RequestTracker
) -> None:
    now = await system.get(fake.people.create(Subject="x"))
    assert (now.fields["CF.{Tags}"], now.fields["CF.{RemoteID}"]) == ([], None)
    assert "CF.{SyncKey}" not in now.fields, "our key is no field"
    now = await system.update(now, {"CF.{Tags}": ["b", "a"], "CF.{RemoteID}": "r", "CF.{Severity}": None})
    assert now.fields["CF.{Tags}"] == ["a", "b"]
    assert now.fields["CF.{RemoteID}"] == "r"
    now = await system.update(now, {"CF.{Tags}": [], "CF.{RemoteID}": None})
    assert now.fields == (await system.get(now.id)).fields
    assert (now.fields["CF.{Tags}"], now.fields["CF.{RemoteID}"]) == ([], None)
    assert not [v for values in fake.records.tickets[int(now.id)].custom.values() for v in values], "and holds no null"


# writing, while others write


async def test_an_edit_between_our_read_and_our_write_is_stale_and_stays(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="x")
    now = await system.get(id)

    def meanwhile(stage: str, method: str, _: str) -> None:
        if (stage, method) == ("before", "PUT"):
            fake.people.edit(id, Subject="a person's")

    fake.watch = meanwhile
    with pytest.raises(Stale) as caught:
        await system.update(now, {"Subject": "ours"})
    assert caught.value.id == id
    assert fake.records.tickets[int(id)].subject == "a person's"
    fake.watch, fake.faults.no_lock = None, True
    await system.update(now, {"Subject": "ours"})
    assert fake.records.tickets[int(id)].subject == "ours", "a server without lock loses the edit"


async def test_an_incident_without_a_version_is_compared_before_it_is_written(
    fake: FakeRT, system: RequestTracker
) -> None:
    id = fake.people.create(Subject="x")
    seen = Incident(id, "", datetime.now(UTC), {"Subject": "x"})
    assert (await system.update(seen, {"Subject": "y"})).fields["Subject"] == "y"
    with pytest.raises(Stale):
        await system.update(seen, {"Subject": "z"})
