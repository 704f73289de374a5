"""XSOAR's connector against what XSOAR and the network do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.errors import Misconfigured, Partial, Refused, Stale, Unreadable
from blocks.incidents import _xsoar_labels as labels
from blocks.incidents import _xsoar_words as words
from blocks.incidents.xsoar import Xsoar
from blocks.model import Value
from tests.contracts.incident_system import changed, entry, key, latest, pages
from tests.fakes.xsoar import KEY_ID, FakeTransport, FakeXsoar
from tests.fakes.xsoar_server import UNSET

CUSTOM = ["scanip", "score", "confirmed", "teams", "hosts", "responsesla", "due"]


def connector(transport: httpx.AsyncBaseTransport, *, cloud: bool = False, **settings: Any) -> Xsoar:
    system = Xsoar(
        address="https://api-soc.xsoar.test/" if cloud else "https://xsoar.test",
        api_key=SecretStr("secret"),
        login="lockstep",
        key_id=KEY_ID if cloud else "",
        **settings,
    )
    system._transport = transport
    return system


def to(fake: FakeXsoar, **settings: Any) -> Xsoar:
    return connector(FakeTransport(fake), cloud=fake.cloud, **settings)


@pytest.fixture(params=["6", "8"])
def fake(request: pytest.FixtureRequest) -> FakeXsoar:
    return FakeXsoar(cloud=request.param == "8", touch=request.param == "8")


@pytest.fixture
async def system(fake: FakeXsoar) -> AsyncIterator[Xsoar]:
    async with to(fake, custom_fields=CUSTOM) as opened:
        yield opened


class TestBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Xsoar]:
        return Xsoar

    # It would fetch the logo from the internet; we have none.
    test_has_a_valid_image = None  # type: ignore[assignment]


# the form


@pytest.mark.parametrize(
    "address", ["", "host", "ftp://host/", "https://", "https://me:secret@host/", "https://h/?x=1"]
)
def test_an_address_that_is_none_is_refused_in_words_without_the_secret(address: str) -> None:
    with pytest.raises(ValidationError, match="https://host/") as caught:
        Xsoar(address=address, api_key=SecretStr("hunter2"), login="x")
    assert "hunter2" not in str(caught.value)


def test_the_same_server_written_differently_is_the_same_and_another_scope_is_not() -> None:
    said = ("https://API-soc.test", " https://api-soc.test/ ", "https://api-soc.test/xsoar/public/v1/")
    prints = {Xsoar(address=one, api_key=SecretStr("b"), login="x", key_id="7").fingerprint() for one in said}
    assert prints == {"xsoar https://api-soc.test/"}
    scoped = Xsoar(address=said[0], api_key=SecretStr("b"), login="x", query="type:Ping")
    assert scoped.fingerprint() == "xsoar https://api-soc.test/ type:Ping"


@pytest.mark.parametrize(
    "query", ["-status:closed and type:Ping", "type:Ping) or (id:1", "(type:Ping", 'name:"x', "closed:>2026"]
)
def test_a_scope_that_closing_leaves_or_that_breaks_out_is_refused(query: str) -> None:
    with pytest.raises(ValidationError, match="cannot be a scope"):
        Xsoar(address="https://h", api_key=SecretStr("b"), login="x", query=query)


def test_a_quoted_word_is_no_field_of_a_scope() -> None:
    assert Xsoar(address="https://h", api_key=SecretStr("b"), login="x", query='name:"status: open)"').query


def test_a_field_that_is_read_already_is_no_custom_field() -> None:
    with pytest.raises(ValidationError, match="owner"):
        Xsoar(address="https://h", api_key=SecretStr("b"), login="x", custom_fields=["scanip", "owner"])


def test_people_are_led_to_the_page_for_people() -> None:
    assert connector(FakeTransport(FakeXsoar()), cloud=True).url("5") == "https://soc.xsoar.test/Details/5"
    assert connector(FakeTransport(FakeXsoar())).url("5") == "https://xsoar.test/#/Details/5"


async def test_the_file_of_a_private_authority_is_taken() -> None:
    key = SecretStr("b")
    system = Xsoar(address="https://xsoar.test", api_key=key, login="x", ca_file="/nowhere/ca.pem")
    with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem"):
        await system.__aenter__()


# declared calls, counted at the server


async def test_the_declared_calls_are_the_ones_that_are_made(fake: FakeXsoar) -> None:
    async with to(fake, ask_each=False) as system:
        declared = system.capabilities.calls
        fake.people.say(fake.people.create({"name": "a", "status": "1"}), "hello")

        def counted() -> int:
            total = fake.calls.total()
            fake.calls.clear()
            return total

        since = system.start(datetime.now(UTC) - timedelta(minutes=1))
        found = latest(await pages(system.changes(since, 50)))
        assert counted() == declared.page
        await system.entries(list(found.values()), frozenset())
        assert counted() == declared.changed
        made = await system.create({"name": "T", "status": "1"}, key())
        assert counted() == declared.create
        made = await system.update(made, {"severity": "4", "owner": "ann", "name": "U"})
        assert counted() == declared.update
        await system.add_entry(made, entry("words"), key())
        assert counted() == declared.entry
        await system.add_entry(made, entry(name="f", data=b"x"), key())
        assert counted() == declared.file
        assert await system.find("") is None
        assert counted() == 0, "an empty key would find every label"


# queries: what is sent stays within its quotes


@pytest.mark.parametrize("text", ['" or id:"1', "\\", '\\" or -id:"0', "a) or (id:1", "*", "x\n or id:1", "lockstep-*"])
async def test_a_key_that_holds_query_language_finds_nothing_but_itself(
    fake: FakeXsoar, system: Xsoar, text: str
) -> None:
    await system.create({"name": "other"}, key())
    assert await system.find(text) is None
    made = await system.create({"name": "with an odd key"}, text)
    found = await system.find(text)
    assert found is not None
    assert found.id == made.id


@pytest.mark.parametrize("text", ['a"b', "a\\", '\\"', '"', "a) or (b", ""])
def test_a_quoted_value_is_one_value(text: str) -> None:
    quoted = words.quoted(text)
    assert not words.wrong(f"name:{quoted}")
    assert words._QUOTED.fullmatch(quoted)


async def test_a_query_cannot_reach_beyond_the_ids_that_it_is_asked_about(fake: FakeXsoar, system: Xsoar) -> None:
    one, other = (fake.people.create({"name": name}) for name in "ab")
    assert await system.matching([one], "id:* or name:b") == {one}
    assert await system.matching([one, other], "name:b") == {other}


async def test_a_server_that_finds_another_than_was_asked_about_is_not_believed(fake: FakeXsoar, system: Xsoar) -> None:
    one, other = (fake.people.create({"name": name}) for name in "ab")
    original = fake.server.search
    fake.server.search = lambda wanted: original({**wanted, "id": [other]})  # type: ignore[method-assign]
    assert await system.matching([one], "name:*") == set()
    fake.server.search = lambda wanted: original({**wanted, "id": []})  # type: ignore[method-assign]
    with pytest.raises(Unreadable, match="more than it was asked for"):
        await system.matching([one], "name:*")


async def test_the_scope_narrows_every_page_and_nothing_breaks_out_of_it(fake: FakeXsoar) -> None:
    inside = fake.people.create({"name": "in", "type": "Ping"})
    fake.people.create({"name": "out", "type": "Pong"})
    async with to(fake, query="type:Ping or type:Pang") as system:
        assert set(await changed(system, system.start(datetime.now(UTC) - timedelta(minutes=1)))) == {inside}
        assert set(latest(await pages(system.everything(10)))) == {inside}
        made = await system.create({"name": "made", "type": "Pang"}, key())
        assert made.id in latest(await pages(system.everything(10)))


async def test_a_new_incident_has_the_type_of_the_form_unless_a_field_says_another(fake: FakeXsoar) -> None:
    async with to(fake, incident_type="Ping") as system:
        assert (await system.create({"name": "a"}, key())).fields["type"] == "Ping"
        assert (await system.create({"name": "b", "type": "Pong"}, key())).fields["type"] == "Pong"


# writes


async def test_an_update_wipes_nothing(fake: FakeXsoar, system: Xsoar) -> None:
    made = fake.people.create(
        {"name": "a", "status": "1", "details": "d", "owner": "ann", "scanip": "10.0.0.1", "labels": ["x"]}
    )
    fake.server.changed(made, dbotMirrorId="77", rawJSON="{}", phase="Triage")
    before = dict(fake.server.incidents[made])
    await system.update(await system.get(made), {"severity": "3"})
    after = fake.server.incidents[made]
    differ = {name for name in before if before[name] != after[name]}
    assert differ == {"severity", "version", "modified"}


async def test_a_write_that_another_overtakes_is_stale_and_both_edits_stay(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))

    def overtake(stage: str, _method: str, route: str) -> None:
        if (stage, route) == ("before", "incident"):
            fake.watch = None
            fake.people.edit(made.id, {"owner": "ann"})

    fake.watch = overtake
    with pytest.raises(Stale, match="DB Version") as caught:
        await system.update(made, {"name": "b"})
    assert caught.value.id == made.id
    now = await system.update(await system.get(made.id), {"name": "b"})
    assert (now.fields["name"], now.fields["owner"]) == ("b", "ann")


async def test_a_version_that_rises_without_a_change_of_ours_is_not_stale(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    fake.server.changed(made.id, phase="a playbook goes on")
    assert (await system.update(made, {"name": "b"})).fields["name"] == "b"


async def test_a_title_that_speaks_of_the_lock_is_refused_not_stale(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    fake.faults.refuse_fields = {"details": 400}
    with pytest.raises(Refused) as caught:
        await system.update(made, {"details": "Optimistic lock error", "name": "b"})
    assert list(caught.value.fields) == ["details"]


async def test_it_closes_by_its_own_route_with_reason_and_notes(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1", "scanip": "1"}))
    patch = {"status": "2", "closeReason": "Duplicate", "closeNotes": "of 7", "name": "b"}
    closed = await system.update(made, patch)
    assert {name: closed.fields[name] for name in patch} == patch
    assert fake.calls["POST incident/close"] == 1
    assert closed.fields["scanip"] == "1"
    assert fake.server.incidents[made.id]["closed"] != UNSET


async def test_reopening_goes_back_and_clears_the_reason(fake: FakeXsoar, system: Xsoar) -> None:
    made = fake.people.create({"name": "a", "status": "2", "closeReason": "Other"})
    opened = await system.update(await system.get(made), {"status": "1", "closeReason": None, "closeNotes": None})
    assert (opened.fields["status"], opened.fields["closeReason"]) == ("1", None)
    assert fake.server.incidents[made]["closed"] == UNSET
    # A 6 needs the command that a person would type.
    assert fake.server.commands == ([] if fake.cloud else [f"!reopenInvestigation id={made}"])


async def test_a_server_that_does_not_reopen_is_said_so_and_the_rest_of_the_write_stays() -> None:
    fake = FakeXsoar()
    fake.server.obeys = False
    async with to(fake) as system:
        made = fake.people.create({"name": "a", "status": "2"})
        with pytest.raises(Partial, match="reopen it there") as caught:
            await system.update(await system.get(made), {"status": "1", "name": "b"})
        assert list(caught.value.fields) == ["status"]
        assert caught.value.incident.fields["name"] == "b"
        with pytest.raises(Refused, match="reopen it there"):
            await system.update(await system.get(made), {"status": "1"})


async def test_a_close_reason_that_the_server_does_not_list_is_refused_before_anything_is_written(
    fake: FakeXsoar, system: Xsoar
) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    fake.calls.clear()
    with pytest.raises(Refused, match="False Positive") as caught:
        await system.update(made, {"status": "2", "closeReason": "Fixed", "name": "b"})
    assert list(caught.value.fields) == ["closeReason"]
    assert caught.value.system == system.fingerprint()
    assert fake.writes == 0


async def test_a_close_that_is_refused_after_the_rest_was_written_is_partial(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    system._server.known_kinds = type(await system._server.kinds())({}, frozenset())  # it lists no reasons
    with pytest.raises(Partial) as caught:
        await system.update(made, {"status": "2", "closeReason": "Fixed", "name": "b"})
    assert list(caught.value.fields) == ["closeReason"]
    assert caught.value.incident.fields["name"] == "b"
    assert caught.value.incident.fields["status"] == "1"


async def test_what_the_server_answers_well_and_ignores_is_refused_by_name(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1", "owner": "ann"}))
    with pytest.raises(Partial) as caught:
        await system.update(made, {"owner": "nobody there", "name": "b"})
    assert list(caught.value.fields) == ["owner"]
    assert caught.value.incident.fields["name"] == "b"


async def test_a_create_that_a_rule_of_the_server_drops_is_refused(fake: FakeXsoar, system: Xsoar) -> None:
    fake.server.dropped.add("noise")
    with pytest.raises(Refused, match="pre-processing rule"):
        await system.create({"name": "noise"}, key())


async def test_an_incident_that_is_created_closed_is_closed(fake: FakeXsoar, system: Xsoar) -> None:
    made = await system.create({"name": "a", "status": "2", "closeReason": "Other", "closeNotes": "old"}, key())
    assert [made.fields[name] for name in ("status", "closeReason", "closeNotes")] == ["2", "Other", "old"]


async def test_custom_fields_go_and_come_as_they_are(fake: FakeXsoar, system: Xsoar) -> None:
    wanted: dict[str, Value] = {
        "scanip": "10.0.0.1",
        "score": 7.5,
        "confirmed": True,
        "teams": ["a", "b"],
        "hosts": '[{"n":"x"}]',
        "due": "2026-12-01T00:00:00Z",
    }
    made = await system.create({"name": "a", **wanted}, key())
    assert {name: made.fields[name] for name in wanted} == wanted
    assert fake.server.incidents[made.id]["CustomFields"]["hosts"] == [{"n": "x"}]
    cleared = await system.update(made, dict.fromkeys(wanted))
    assert {cleared.fields[name] for name in wanted} == {None}
    assert fake.server.incidents[made.id]["CustomFields"]["due"] == UNSET
    for name, value in (("responsesla", "1"), ("hosts", "no JSON")):
        with pytest.raises(Refused) as caught:
            await system.update(cleared, {name: value})
        assert list(caught.value.fields) == [name]


async def test_labels_of_the_server_and_our_key_stay_and_are_not_carried(fake: FakeXsoar, system: Xsoar) -> None:
    mark = key()
    made = await system.create({"name": "a", "labels": ["vip", "Email/from: eve@x.test", "lockstep: forged"]}, mark)
    assert made.fields["labels"] == ["Email/from: eve@x.test", "lockstep: forged", "vip"]
    now = await system.update(made, {"labels": ["vip"]})
    kept = [(one["type"], one["value"]) for one in fake.server.incidents[made.id]["labels"]]
    assert sorted(kept) == [("Brand", "Manual"), ("Instance", "lockstep"), ("label", "vip"), ("lockstep", mark)]
    assert (now.fields["labels"], now.key) == (["vip"], mark)


def test_a_label_that_is_too_long_stays_where_it_is() -> None:
    raw = [{"type": "Email/html", "value": "x" * 600}, {"type": "a", "value": "b"}]
    assert [labels.hidden(one) for one in raw] == [True, False]
    assert labels.merged(raw, []) == raw[:1]
