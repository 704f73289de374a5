"""Request Tracker passes the contract: the fake one and the real one, with a field for keys of comments or not."""

from __future__ import annotations

import pytest

from tests.contracts.incident_system import IncidentSystemSuite, World
from tests.peers.fixtures import rt_peer
from tests.peers.rt import Peer
from tests.rt_worlds import FakeWorld, PeerWorld

__all__ = ["rt_peer"]


class TestFakeRequestTracker(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


class TestFakeRequestTrackerWithoutKeysOfEntries(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld(entry_field="")


@pytest.mark.peer
class TestRealRequestTracker(IncidentSystemSuite):
    @pytest.fixture
    def world(self, rt_peer: Peer) -> World:
        return PeerWorld(rt_peer)


@pytest.mark.peer
class TestRealRequestTrackerWithoutKeysOfEntries(IncidentSystemSuite):
    @pytest.fixture
    def world(self, rt_peer: Peer) -> World:
        return PeerWorld(rt_peer, entry_field="")
