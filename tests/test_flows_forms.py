"""Parameters make good forms: no choice of abstract classes, no free dictionary, no optional, help for every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.approve import approve_or_reject
from flows.check import check_connection
from flows.edit import edit_incident
from flows.fetch import fetch_incidents
from flows.find import find_incidents
from flows.incidents import replay_parked, resolve_conflict
from flows.keys import rotate_keys
from flows.links import link, unlink
from flows.mirror import mirror_incidents
from flows.playbooks.triage import triage_incident
from flows.reconcile import reconcile_mirror
from flows.reports import make_report
from flows.tokens import authorize, refresh_tokens, revoke

FLOWS = (
    approve_or_reject, authorize, check_connection, edit_incident, fetch_incidents, find_incidents, link, make_report,
    mirror_incidents, reconcile_mirror, refresh_tokens, replay_parked, resolve_conflict, revoke, rotate_keys,
    triage_incident, unlink,
)  # fmt: skip


def schema(flow: Flow[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow).model_dump_for_openapi()


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every field of a form, at any depth."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from parts(item)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_parameter_has_its_help(flow: Flow[..., Any]) -> None:
    bare = [name for name, field in schema(flow)["properties"].items() if not field.get("description")]
    assert bare == []


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_field_is_of_a_shape_that_breaks_its_form(flow: Flow[..., Any]) -> None:
    for part in parts(schema(flow)):
        assert part.get("type") != "null", part
        assert part.get("format") not in {"duration", "password"} or part.get("writeOnly"), part
        if part.get("type") == "object" and "properties" not in part:
            assert not part.get("additionalProperties"), part


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_defaults_are_what_json_keeps(flow: Flow[..., Any]) -> None:
    assert json.loads(json.dumps(schema(flow))) == schema(flow)


@pytest.mark.parametrize("flow", [fetch_incidents, mirror_incidents, reconcile_mirror], ids=lambda flow: flow.name)
def test_rules_intake_and_the_rest_are_set_apart(flow: Flow[..., Any]) -> None:
    """A schedule's parameters replace top-level parameters whole."""
    assert {"mirror", "system", "intake", "rules"} < set(schema(flow)["properties"])
    assert schema(flow)["required"] == ["mirror", "system"]


def test_every_policy_and_direction_is_a_choice() -> None:
    fields = schema(mirror_incidents)["definitions"]["Rule"]["properties"]
    assert set(fields["direction"]["enum"]) == {"both", "in", "out", "off"}
    assert set(fields["policy"]["enum"]) == {"newest", "store", "system", "ask"}
