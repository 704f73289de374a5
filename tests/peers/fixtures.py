"""Fixtures for real servers. Where one cannot start, its tests skip with the reason.

With LOCKSTEP_REQUIRE_PEERS=1 they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, TypeVar

import pytest

from tests.peers import icinga, oidc, roundup, rt
from tests.peers.server import Server, Unstarted

S = TypeVar("S", bound=Server)


def absent(reason: str) -> NoReturn:
    """Skip, or fail where peers are required."""
    if os.environ.get("LOCKSTEP_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def lent(name: str, start: Callable[[Path], S]) -> Iterator[S]:
    """A running server for the whole session. Its folder is not pytest's, which other users may not enter."""
    with TemporaryDirectory(prefix="lockstep-peer-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        try:
            peer = start(home)
        except Unstarted as error:
            absent(f"no {name}: {error}")
        try:
            yield peer
        finally:
            peer.stop()


@pytest.fixture(scope="session")
def roundup_peer() -> Iterator[roundup.Peer]:
    """A running Roundup."""
    yield from lent("Roundup", roundup.start)


@pytest.fixture(scope="session")
def rt_peer() -> Iterator[rt.Peer]:
    """A running Request Tracker."""
    yield from lent("Request Tracker", rt.start)


@pytest.fixture(scope="session")
def icinga_peer() -> Iterator[icinga.Peer]:
    """A running Icinga 2."""
    yield from lent("Icinga", icinga.start)


@pytest.fixture(scope="session")
def oidc_peer() -> Iterator[oidc.Peer]:
    """A running oidc-provider."""
    yield from lent("oidc-provider", oidc.start)
