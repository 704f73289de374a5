"""The form of a REST system: what it lets in, in which words it refuses, and what its places and paths do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.incidents import _rest_rules as rules
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_form import RestField, RestForm
from blocks.incidents._rest_paths import MISSING, Path, Times, value
from blocks.incidents._rest_templates import Address
from blocks.incidents.rest import RestSystem
from blocks.rules import ValueMap
from tests.rest_examples import DOCUMENT, examples

PLAIN: dict[str, Any] = {"address": "https://host/api", "secret": SecretStr("hunter2"), "account": "robot"}


class TestBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[RestSystem]:
        return RestSystem

    # It would fetch the logo from the internet; we have none.
    test_has_a_valid_image = None  # type: ignore[assignment]


# the form


def test_address_secret_and_account_are_enough_for_a_plain_api() -> None:
    system = RestSystem(**PLAIN)
    can = system.capabilities
    assert (can.lock, can.create_key, can.entry_key) == ("compared", "none", "match")
    assert (can.create, can.comments_out, can.read_only, can.files) == (True, True, False, False)
    assert system.url("4/2") == "https://host/api/incidents/4%2F2"


def test_every_field_of_the_form_is_flat_and_has_its_help_with_an_example() -> None:
    properties = RestSystem.model_json_schema()["properties"]
    bare = [name for name, one in properties.items() if not one.get("description")]
    assert bare == []
    shapes = {one.get("items", {}).get("$ref", one["type"]).rpartition("/")[2] for one in properties.values()}
    assert shapes <= {"string", "boolean", "integer", "number", "array", "RestField", "ValueMap"}
    texts = {name: one for name, one in properties.items() if one["type"] == "string" and "enum" not in one}
    silent = {name for name, one in texts.items() if ":" not in one["description"] and "(" not in one["description"]}
    assert silent <= {"secret", "account", "query_path", "login", "ca_file", "scope"}


@pytest.mark.parametrize(
    ("given_", "named", "said"),
    [
        ({"address": "host/api"}, "address", "https://host/api/v1/"),
        ({"address": "https://me:hunter2@host/"}, "address", "without a login"),
        ({"address": "https://host/api?x=1"}, "address", "behind the path"),
        ({"web": "https://host/"}, "web", "{id}"),
        ({"list_path": "https://other/incidents?page={page}&n={size}"}, "list_path", "below the system's address"),
        ({"list_path": "../admin?page={page}&n={size}"}, "list_path", "below the system's address"),
        ({"list_path": "incidents?page={page}&n={size}&x={secret}"}, "list_path", "nothing is known as {secret}"),
        ({"list_path": "incidents?updated={since}&n={size}"}, "list_path", "{page}"),
        ({"paging": "cursor"}, "list_path", "{cursor}"),
        ({"paging": "next link"}, "next_at", "meta.next"),
        ({"list_path": "incidents?page={page}"}, "total_at", "meta.total"),
        ({"get_path": "incidents"}, "get_path", "{id}"),
        ({"update_path": "incidents"}, "update_path", "{id}"),
        ({"find_path": "incidents?ref=x", "key_at": "ref"}, "find_path", "{key}"),
        ({"key_at": "ref"}, "find_path", "search"),
        ({"find_path": "incidents?ref={key}"}, "key_at", "search"),
        ({"key_at": "refs[].id", "find_path": "i?r={key}"}, "key_written", "custom.key"),
        ({"items": "data..items"}, "items", "status.name"),
        ({"updated_at": ""}, "updated_at", "needed"),
        ({"times": "yesterday"}, "times", "milliseconds"),
        ({"since_times": "%d.%m."}, "since_times", "%Y"),
        ({"update_path": ""}, "create_path", "update_path"),
        ({"update_with": '{"version": "{version}"}'}, "version_at", "version"),
        ({"update_with": "version"}, "update_with", "no JSON"),
        ({"create_with": '["queue"]'}, "create_with", "object"),
        ({"etag_path": "incidents/{id}"}, "if_match", "{etag}"),
        ({"if_match": "{tag}"}, "if_match", "{tag}"),
        ({"fields_at": "data[]"}, "fields_at", "issue"),
        ({"comment_body": '{"words": "x"}'}, "comment_body", "{text}"),
        ({"comment_where": "comment"}, "comment_where", "type=comment"),
        ({"comment_key": "ref"}, "comment_body", "{key}"),
        ({"comments_path": "comments"}, "comments_path", "{ids}"),
        ({"comments_path": "comments?id={ids}"}, "comment_ids", "comments[].id"),
        ({"comments_path": ""}, "comments_path", "looked for"),
        ({"comment_add_path": "comments"}, "comment_add_path", "{id}"),
        ({"account": ""}, "account", "person's"),
        ({"auth": "basic"}, "login", "basic"),
        ({"secret": SecretStr("")}, "secret", "bearer"),
        ({"auth": "header"}, "auth_header", "X-API-Key"),
        ({"headers": ["X-Requested-With"]}, "headers", "colon"),
        ({"headers": ["Authorization: hunter2"]}, "headers", "secret"),
        ({"mapped": []}, "mapped", "title"),
        ({"mapped": [RestField("title", "title"), RestField("title", "name")]}, "mapped", "twice"),
        ({"mapped": [RestField("title", "title"), RestField("owner", "title")]}, "mapped", "same place"),
        ({"mapped": [RestField("title", "titles[].text")]}, "mapped", "not written"),
        ({"mapped": [RestField("title", "a[b")]}, "mapped", "no path"),
        ({"further": ["x[]"]}, "mapped", "not written"),
    ],
)
def test_what_is_wrong_is_said_by_field_with_an_example_and_without_the_secret(
    given_: dict[str, Any], named: str, said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        RestSystem(**{**PLAIN, **given_})
    words = str(caught.value)
    assert f"{named}: " in words
    assert said in words
    assert "hunter2" not in words
    assert "pydantic_core" not in words


@pytest.mark.parametrize("name", examples(DOCUMENT.read_text(encoding="utf-8")))
def test_each_example_of_the_document_is_a_form(name: str) -> None:
    form = examples(DOCUMENT.read_text(encoding="utf-8"))[name]
    assert set(form) <= set(RestSystem.model_fields)
    system = RestSystem(**form, secret=SecretStr("x"))
    assert system.capabilities.lock == "atomic"


def test_the_document_names_places_and_fields_that_there_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    fields = set(re.findall(r"`([a-z]+_[a-z_]+)`", prose))
    assert fields <= set(RestSystem.model_fields) | {"check_connection", "dry_run"}
    known = {name for names in {**rules.ADDRESSES, **rules.BODIES}.values() for name in names} | {"etag", "version"}
    named = {word.partition(".")[0] for word in templates.places(prose)}
    assert named == known


def test_the_form_is_abstract_and_only_its_connector_can_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        RestForm(**PLAIN)  # type: ignore[abstract]  # that is the point


def test_the_same_system_written_differently_is_the_same_and_another_scope_is_another() -> None:
    said = ("https://Host/api", "https://host/api/", " https://host/api ")
    prints = {RestSystem(**{**PLAIN, "address": one}).fingerprint() for one in said}
    assert prints == {"rest https://host/api/"}
    assert RestSystem(**PLAIN, scope="SOC").fingerprint() == "rest https://host/api/ SOC"


def test_what_closes_and_reopens_follows_from_the_statuses_that_can_be_told() -> None:
    def able(*values: tuple[str, str], **row: Any) -> tuple[bool, bool]:
        mapped = [RestField("title", "title"), RestField("status", "status", **row)]
        pairs = [ValueMap("status", theirs, ours) for theirs, ours in values]
        can = RestSystem(**PLAIN, mapped=mapped, values=pairs).capabilities
        return can.close, can.reopen

    assert able() == (True, True)
    assert able(("open", "new"), ("done", "resolved")) == (True, True)
    assert able(("open", "new")) == (False, True)
    assert able(("done", "closed")) == (True, False)
    assert able(writable="never") == (False, False)


def test_the_first_of_several_values_for_one_of_ours_is_written() -> None:
    pairs = [("open", "new"), ("fresh", "new"), ("busy", "active")]
    values = [ValueMap(field="status", theirs=theirs, ours=ours) for theirs, ours in pairs]
    (row,) = (one for one in RestSystem(**PLAIN, values=values).fields.rows if one.ours == "status")
    assert (row.their_value("new"), row.our_value("fresh"), row.our_value("busy")) == ("open", "new", "active")


# paths


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"a": {"b": [1, 2]}, "l": [{"n": "x", "v": 1}, {"n": "y", "t": True}], "p.q": 3, "z": None}),
        ("a.b", [1, 2]), ("a.b.1", 2), ("a.b.7", None), ("l[].n", ["x", "y"]), ("l[].v", [1]), ("l[n=y].n", "y"),
        ("l[v=1].n", "x"), ("l[t=true].n", "y"), ("l[n=w].n", None), ("a.b.c", MISSING),
        (r"p\.q", 3), ("p.q", MISSING), ("z", None), ("z.y", None), ("a[].b", MISSING),
    ],
)  # fmt: skip
def test_a_path_finds_what_is_there_and_tells_nothing_from_null(path: str, found: object) -> None:
    data = {"a": {"b": [1, 2]}, "l": [{"n": "x", "v": 1}, {"n": "y", "t": True}], "p.q": 3, "z": None}
    assert Path.of(path).read(data) == found


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", "a[", "a]b", "a[b]", "a[=b]"])
def test_a_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Path.of(text)


def test_values_are_put_side_by_side() -> None:
    body: dict[str, Any] = {"fields": {"queue": "SOC"}}
    Path.of("fields.custom.level").put(body, "high")
    Path.of("fields.custom.key").put(body, "k")
    assert body == {"fields": {"queue": "SOC", "custom": {"level": "high", "key": "k"}}}


def test_a_value_is_a_word_a_number_or_a_sorted_list() -> None:
    assert [value(one, "x") for one in ("a", 2, True, None, ["b", None, "a"])] == ["a", 2, True, None, ["a", "b"]]
    for odd in ({"name": "a"}, [{"name": "a"}]):
        with pytest.raises(ValueError, match=r"x\.name"):
            value(odd, "x")


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("iso", "2026-11-24T03:50:24Z"), ("iso", "2026-11-24T05:50:24.000+02:00"), ("iso", "2026-11-24 03:50:24"),
        ("seconds", 1795492224), ("milliseconds", "1795492224000"), ("%d.%m.%Y %H:%M:%S", "24.11.2026 03:50:24"),
    ],
)  # fmt: skip
def test_a_time_is_the_same_however_it_looks(form: str, shown: Any) -> None:
    at = datetime(2026, 11, 24, 3, 50, 24, tzinfo=UTC)
    assert Times(form).read(shown) == at
    assert Times(form).cut(at) == at


@pytest.mark.parametrize("form", ["iso", "seconds", "milliseconds", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("shown", [None, True, "soon", "", [], {}, 1e300, "nan", "9" * 400])
def test_a_time_that_is_none_is_an_error_that_its_reader_knows(form: str, shown: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Times(form).read(shown)


# places


@given(st.text(min_size=1))
def test_nothing_that_is_filled_into_a_path_leaves_its_segment(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    path, params = Address.of("incidents/{id}/notes?x=1").fill({"id": text})
    assert path.split("/")[0::2] == ["incidents", "notes"]
    assert not set(path) & set("?#&=\\ ")
    assert params == [("x", "1")]


def test_a_query_is_one_value_or_further_parameters_by_where_it_stands() -> None:
    inside = Address.of("tickets?q=({query}) AND id IN ({ids})&page={page}&c={cursor}")
    assert inside.fill({"query": "a=1&b=2", "ids": ["1", "2"], "page": 3})[1] == [
        ("q", "(a=1&b=2) AND id IN (1,2)"),
        ("page", "3"),
    ]
    alone = Address.of("issues?id={ids}&{query}")
    assert alone.fill({"query": "a=1&b=x%26y", "ids": ["1", "2"]})[1] == [
        ("id", "1"), ("id", "2"), ("a", "1"), ("b", "x&y"),
    ]  # fmt: skip
    for odd in ("", "a", "a=", "id=3", "a=1&id=3", "@x=1", "a b=1"):
        with pytest.raises(ValueError, match="query"):
            alone.fill({"query": odd, "ids": ["1"]})


def test_percent_signs_of_the_form_are_read_once() -> None:
    filled = Address.of("i?q=a%26b 100%25 %7Bname%7D {key}").fill({"key": "%7B"})
    assert filled[1] == [("q", "a&b 100% {name} %7B")]


@pytest.mark.parametrize("query", ["(", ")", "a) or (b", "'", '"', "'a", "a = ')' or (b", "('\\')", "x = 'it\\'"])
def test_a_query_cannot_leave_the_brackets_around_it(query: str) -> None:
    with pytest.raises(ValueError, match="close"):
        Address.of("t?q=queue = 'SOC' AND ({query})").fill({"query": query})


@pytest.mark.parametrize("query", ["a = 1", "(a) or (b)", "x = ')'", 'x = "(\'"', "x = 'it\\'s (fine'"])
def test_a_query_that_ends_what_it_began_is_let_through(query: str) -> None:
    assert Address.of("t?q=({query})").fill({"query": query})[1] == [("q", f"({query})")]


@given(st.text())
def test_a_text_in_a_body_stays_one_text(text: str) -> None:
    template = templates.parsed('{"text": "{text}", "note": "by {key}: {text}", "n": [1, "{record.a.b}"]}')
    made = templates.body(template, {"text": text, "key": "k", "record": {"a": {"b": {"c": text}}}})
    assert made == {"text": text, "note": f"by k: {text}", "n": [1, {"c": text}]}


def test_what_looks_like_a_place_in_a_value_is_not_filled() -> None:
    made = templates.body(templates.parsed('{"text": "{text}"}'), {"text": "{key} {{7*7}} {record.secret}", "key": "k"})
    assert made == {"text": "{key} {{7*7}} {record.secret}"}
