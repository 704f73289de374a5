"""Icinga's connector against what Icinga, people and the network do to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.errors import LockstepError, Misconfigured, NotFound, Refused, Stale, Unauthorized, Unavailable, Unreadable
from blocks.incidents import Icinga
from blocks.model import Incident
from tests.contracts.incident_system import entry, key, latest, pages
from tests.fakes.icinga import LOGIN, PASSWORD, FakeIcinga
from tests.icinga_world import SERVICE, begun, fake, hard, one_problem, person, read, system, world
from tests.test_icinga import FakeWorld, Person

__all__ = ["fake", "person", "system", "world"]


def answering(status: int, body: Any) -> Icinga:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    system = Icinga(address="https://icinga.test:5665/", login=LOGIN, password=SecretStr(PASSWORD))
    system._transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    return system


class TestBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Icinga]:
        return Icinga

    # It would fetch the logo from the internet; we have none.
    test_has_a_valid_image = None  # type: ignore[assignment]


# the form


@pytest.mark.parametrize("address", ["", "host:5665", "ftp://host/", "https://", "https://me:secret@host/"])
def test_an_address_that_is_none_is_refused_without_the_password(address: str) -> None:
    with pytest.raises(ValidationError, match="https://host:5665/") as caught:
        Icinga(address=address, login="a", password=SecretStr("hunter2"))
    assert "hunter2" not in str(caught.value)


def test_another_scope_is_another_system() -> None:
    def print_of(**scope: Any) -> str:
        return Icinga(address="https://H.test:5665", login="a", password=SecretStr("b"), **scope).fingerprint()

    assert print_of() == "icinga https://h.test:5665/"
    assert print_of(host_groups=["b", "a"]) == print_of(host_groups=["a", "b", "a"])
    scopes = [
        {},
        {"host_groups": ["a"]},
        {"service_groups": ["a"]},
        {"host_groups": ["a", "b"]},
        {"host_groups": ["a,b"]},
    ]
    assert len({print_of(**scope) for scope in scopes}) == len(scopes)


def test_a_person_is_led_to_icinga_web_with_every_name_quoted() -> None:
    system = Icinga(address="https://h", login="a", password=SecretStr("b"), web="https://h/icingaweb2")
    assert system.url("web 1!a&b=1@7") == "https://h/icingaweb2/icingadb/service?name=a%26b%3D1&host.name=web+1"
    assert system.url("web 1@7") == "https://h/icingaweb2/icingadb/host?name=web+1"
    assert replace_web(system, "").url("a/b@7") == "https://h/v1/objects/hosts/a%2Fb"


def replace_web(system: Icinga, web: str) -> Icinga:
    return Icinga(address=system.address, login="a", password=SecretStr("b"), web=web)


@pytest.mark.parametrize("cursor", ["", "yesterday", "2026-11-24T08:54:43", "2026-11-24T08:54:43Z {", "{}"])
async def test_a_cursor_that_is_none_is_said_so(system: Icinga, cursor: str) -> None:
    with pytest.raises(Misconfigured, match="cursor"):
        await pages(system.changes(cursor, 5))


# writes


async def test_what_is_acknowledged_already_is_done(fake: FakeIcinga, system: Icinga, person: Person) -> None:
    found, _ = await one_problem(system, person)

    def overtake(stage: str, call: str) -> None:
        if (stage, call) == ("before", "POST actions/acknowledge-problem"):
            fake.watch = None
            fake.core.acknowledge(fake.core.things[SERVICE], "another", "mine", sticky=False)

    fake.watch = overtake
    answer = await system.update(found, {"status": "acknowledged"})
    assert answer.fields["status"] == "acknowledged"
    assert [one["author"] for one in fake.core.comments.values()] == ["another"]


async def test_what_recovers_in_the_moment_of_its_acknowledgement_is_read_again(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    found, _ = await one_problem(system, person)

    def recover(stage: str, call: str) -> None:
        if (stage, call) == ("before", "POST actions/acknowledge-problem"):
            fake.core.check(fake.core.things[SERVICE], 0, "well")

    fake.watch = recover
    with pytest.raises(Stale) as caught:
        await system.update(found, {"status": "acknowledged"})
    assert caught.value.id == found.id


async def test_only_a_status_can_be_set_and_only_to_what_a_person_can_do(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    found, cursor = await one_problem(system, person)
    fake.sent.clear()
    wrong = {"title": "x", "state": "OK", "status": "recovered"}
    with pytest.raises(Refused) as caught:
        await system.update(found, wrong)
    assert set(caught.value.fields) == set(wrong)
    assert fake.sent == []
    await person.check(SERVICE, "OK")
    (over,), _ = await read(system, cursor)
    with pytest.raises(Refused, match="over") as caught:
        await system.update(over, {"status": "acknowledged"})
    assert list(caught.value.fields) == ["status"]


async def test_an_acknowledgement_lasts_until_all_is_well_and_calls_nobody(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    await hard(person, "WARNING")
    ((found,), _) = await read(system, begun(system))
    await system.update(found, {"status": "acknowledged"})
    sent = next(sent for path, sent in fake.sent if path == "actions/acknowledge-problem")
    assert (sent["sticky"], sent["notify"], sent["persistent"]) == (True, False, False)
    await person.check(SERVICE, "CRITICAL")
    assert (await system.get(found.id)).fields["status"] == "acknowledged"


async def test_no_action_is_ever_sent_without_its_one_object(fake: FakeIcinga, system: Icinga, person: Person) -> None:
    found, _ = await one_problem(system, person)
    active = await system.update(found, {"status": "acknowledged"})
    await system.update(active, {"status": "unhandled"})
    await system.add_entry(found, entry("words"), key())
    odd = [replace(found, id=id) for id in ("@1", "", "@", "web01!login@", "web01!nosuch@5")]
    for one in odd:
        with pytest.raises(NotFound):
            await system.add_entry(one, entry("words"), key())
    with pytest.raises(Refused, match="hit all"):
        await system._monitor.act("add-comment", "", "", comment="x")
    ours = [sent for path, sent in fake.sent if path.startswith("actions/") and sent.get("author") == LOGIN]
    assert len(ours) == 4
    assert all(sent["type"] == "Service" and sent["service"] for sent in ours)
    assert [one["service_name"] for one in fake.core.comments.values()] == ["login"]


RESULT = {"code": 200.0, "status": "done", "name": "web01!login!1"}


@pytest.mark.parametrize(
    ("status", "results", "error"),
    [
        (200, [RESULT, {"code": 500.0, "status": "no"}], Unavailable),
        (500, [RESULT, {"code": 409.0, "status": "no"}], Unavailable),
        (200, [{"code": 409.0, "status": "already"}], Stale),
        (200, [{"code": 400.0, "status": "no author"}], Refused),
        (200, [{"code": 503.0, "status": "reloading"}], Unavailable),
        (200, [RESULT, RESULT], Unreadable),
        (200, [], Unreadable),
        (200, [{"status": "no code"}], Unreadable),
        (200, {"code": 200}, Unreadable),
    ],
)
async def test_each_results_code_is_read(status: int, results: Any, error: type[LockstepError]) -> None:
    incident = Incident("web01!login@7", "1", datetime.now(UTC), {"status": "unhandled"})
    async with answering(status, {"results": results}) as system:
        with pytest.raises(error) as caught:
            await system.add_entry(incident, entry("words"), key())
    assert type(caught.value) is error


@pytest.mark.parametrize(("kind", "applied"), [("drop", False), ("lose", True), ("hang", True), ("fail after", True)])
async def test_a_comment_whose_answer_was_lost_is_found_again(
    fake: FakeIcinga, system: Icinga, person: Person, kind: Any, *, applied: bool
) -> None:
    found, _ = await one_problem(system, person)
    fake.faults.plan(kind, "POST", "actions/add-comment")
    before = datetime.now(UTC)
    with pytest.raises(Unavailable) as caught:
        await system.add_entry(found, entry("once"), key())
    assert caught.value.sent
    assert (await system.find_entry(found, entry("once"), key(), before) is not None) is applied


# filters


async def test_scopes_are_bound_and_never_part_of_a_filter(world: FakeWorld, person: Person) -> None:
    odd = ['a" || true || "', "x) || (true", "'; exit(1); '"]
    world.fake.core.modify("web01", groups=["soc"])
    world.fake.core.modify(SERVICE, groups=["web"])
    await hard(person, "CRITICAL")
    await person.check("web01", "DOWN")
    await person.check("web01", "DOWN")

    async def names(**scope: Any) -> set[str]:
        async with world.system(**scope) as system:
            return {one.id.partition("@")[0] for one in latest(await pages(system.everything(50))).values()}

    assert await names() == {"web01", SERVICE}
    assert await names(host_groups=[*odd, "soc"]) == {"web01", SERVICE}
    assert await names(service_groups=["web"]) == {"web01", SERVICE}
    assert await names(service_groups=odd) == {"web01"}
    world.fake.sent.clear()
    assert await names(host_groups=odd) == set()
    filters = [sent["filter"] for _, sent in world.fake.sent if "filter" in sent]
    assert filters
    assert not any(one in filter for one in odd for filter in filters)


@pytest.mark.parametrize("id", ['x" || true || "@5', 'x!y" || "" == "@5', "web01@5 || true", "web01 @5", "web01@05"])
async def test_an_id_cannot_reach_beyond_its_object(system: Icinga, person: Person, id: str) -> None:
    await person.check("web01", "DOWN")
    with pytest.raises(NotFound):
        await system.get(id)


async def test_a_filter_about_services_finds_no_hosts_and_a_persons_filter_is_sent_alone(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    await hard(person, "CRITICAL")
    await person.check("web01", "DOWN")
    await person.check("web01", "DOWN")
    host, service = sorted(latest(await pages(system.everything(50))), key=len)
    assert await system.matching([host, service], "service.state == 2") == {service}
    assert await system.matching([host], "service.state == 2") == set()
    assert await system.matching([host, service], 'match("web*", host.name)') == {host, service}
    fake.sent.clear()
    await system.matching([host], 'host.name == "web01"')
    assert [sent["filter"] for _, sent in fake.sent] == ['host.name == "web01"']
    for query in ("service.state ==", 'service.name == "x") || (true'):
        with pytest.raises(Refused):
            await system.matching([service], query)


# what cannot be read, and what is not allowed


async def test_one_bad_record_is_set_aside_once_and_its_problem_is_not_taken_to_be_over(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    found, cursor = await one_problem(system, person)
    await person.check("web01", "DOWN")

    def spoil(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["name"] == SERVICE:
                row["attrs"]["last_state_ok"] = "yesterday"

    fake.spoil = spoil
    walked = await pages(system.changes(cursor, 50))
    assert [bad.id for page in walked for bad in page.bad] == [SERVICE]
    assert "yesterday" in walked[0].bad[0].raw
    assert found.id not in latest(walked)
    again = await pages(system.changes(walked[-1].cursor, 50))
    assert [bad for page in again for bad in page.bad] == []
    with pytest.raises(Unreadable):
        await system.get(found.id)
    fake.spoil = None
    await person.check(SERVICE, "OK")
    over, _ = await read(system, again[-1].cursor)
    assert [one.fields["status"] for one in over if one.id == found.id] == ["recovered"]


@pytest.mark.parametrize("permission", ["objects/query/Host", "objects/query/Service", "objects/query/Comment"])
async def test_what_may_not_be_read_is_an_error_and_never_an_empty_answer(
    fake: FakeIcinga, system: Icinga, person: Person, permission: str
) -> None:
    _, cursor = await one_problem(system, person)
    fake.users[LOGIN] = (PASSWORD, [one for one in READS if one != permission])
    with pytest.raises(Unauthorized, match=permission):
        await pages(system.changes(cursor, 50))
    report = await system.check()
    assert permission in next(one.detail for one in report.findings if not one.ok)


READS = ("objects/query/Host", "objects/query/Service", "objects/query/Comment")


async def test_a_reader_may_read_and_is_told_by_name_what_it_may_not_do(
    fake: FakeIcinga, system: Icinga, person: Person
) -> None:
    found, _ = await one_problem(system, person)
    fake.users[LOGIN] = (PASSWORD, ["Objects/Query/*"])
    report = await system.check()
    assert report.ok
    assert "actions/add-comment" in " ".join(one.detail for one in report.findings)
    with pytest.raises(Unauthorized, match="actions/add-comment"):
        await system.add_entry(found, entry("words"), key())
    with pytest.raises(Unauthorized, match="actions/acknowledge-problem"):
        await system.update(found, {"status": "acknowledged"})


async def test_a_group_that_holds_nothing_is_said_by_the_check(world: FakeWorld, person: Person) -> None:
    async with world.system(host_groups=["typo"]) as system:
        assert [one.detail for one in (await system.check()).findings if not one.ok] == ["no host is in typo"]


@pytest.mark.parametrize(
    "body", [b"<html>", b"", {}, {"results": {}}, [], {"results": [1]}, {"results": [{"attrs": None, "name": 5}]}]
)
async def test_answers_that_are_none_are_unreadable_or_set_aside(body: Any) -> None:
    async with answering(200, body) as system:
        try:
            walked = await pages(system.everything(5))
        except Unreadable:
            return
        assert all(page.bad and not page.incidents for page in walked)


async def test_the_password_is_in_no_error(fake: FakeIcinga, system: Icinga) -> None:
    fake.users[LOGIN] = ("changed", ["*"])
    with pytest.raises(Unauthorized) as caught:
        await pages(system.everything(5))
    assert PASSWORD not in f"{caught.value!r} {caught.value} {caught.value.__dict__}".replace("secret-too", "")


async def test_the_declared_calls_are_the_ones_that_are_made(fake: FakeIcinga, system: Icinga, person: Person) -> None:
    declared = system.capabilities.calls
    await hard(person, "CRITICAL")
    await person.act("add-comment", SERVICE, comment="by a person")
    fake.calls.clear()

    def counted() -> int:
        total = fake.calls.total()
        fake.calls.clear()
        return total

    (page,) = await pages(system.changes(begun(system), 50))
    assert counted() == declared.page + declared.entries
    (found,) = page.incidents
    found = await system.update(found, {"status": "acknowledged"})
    assert counted() == declared.update
    await system.add_entry(found, entry("words"), key())
    assert counted() == declared.entry
    await pages(system.changes(page.cursor, 50))
    assert counted() == declared.page + declared.changed
    await person.check(SERVICE, "OK")
    fake.calls.clear()
    await pages(system.changes(page.cursor, 50))
    assert counted() == declared.page + 1, "what is over is asked for by name, all services in one call"
