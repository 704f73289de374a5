"""A REST system passes the contract: as forms describe plain APIs, and as the document describes two real systems."""

from __future__ import annotations

import pytest

from tests.contracts.incident_system import IncidentSystemSuite, World
from tests.peers import rt
from tests.peers.fixtures import roundup_peer, rt_peer
from tests.peers.roundup import Peer
from tests.rest_worlds import (
    FakeRoundup,
    PlainWorld,
    RealRequestTracker,
    RealRoundup,
    request_tracker,
)

__all__ = ["roundup_peer", "rt_peer"]


class TestByPage(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return PlainWorld()


class TestByOffsetWithETag(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return PlainWorld("offset", etag=True, form={"if_match": "{etag}"})


class TestByCursorWithVersions(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        locked = {"version_at": "version", "update_with": '{"version": "{version}"}', "compare": False}
        keyed = {"comment_key": "ref", "comment_body": '{"text": "{text}", "ref": "{key}"}'}
        return PlainWorld("cursor", form={**locked, **keyed})


class TestByNextLinkWithoutLock(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        unkeyed = {"key_at": "", "find_path": "", "query_path": "", "compare": False}
        world = PlainWorld("next link", form=unkeyed)
        world.own_query = False
        return world


class TestAllAtOnceByPage(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return PlainWorld("page", since=False, counts=True, form={"total_at": "meta.total"})


class TestAllAtOnceByOffset(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return PlainWorld("offset", since=False)


class TestReadOnly(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        nothing = {"update_path": "", "create_path": "", "comment_add_path": "", "key_at": "", "find_path": ""}
        return PlainWorld(form={**nothing, "query_path": "incidents?q={query}&page={page}&per_page={size}"})


class TestFakeRoundupByForm(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeRoundup()


@pytest.mark.peer
class TestRealRoundupByForm(IncidentSystemSuite):
    @pytest.fixture
    def world(self, roundup_peer: Peer) -> World:
        return RealRoundup(roundup_peer)


@pytest.mark.peer
class TestRealRequestTrackerByForm(IncidentSystemSuite):
    @pytest.fixture
    def world(self, rt_peer: rt.Peer) -> World:
        return RealRequestTracker(rt_peer)


@pytest.mark.peer
async def test_an_account_of_rt_whose_time_zone_is_not_utc_is_noticed(rt_peer: rt.Peer) -> None:
    world = RealRequestTracker(rt_peer)
    await world.create({"Subject": "one"})
    async with request_tracker(rt_peer.url, rt.LOGIN, rt.PASSWORD) as system:
        report = await system.check()
    assert [one.what for one in report.findings if not one.ok] == ["since"]
    assert "time zone" in report.findings[-1].detail
