"""Fixtures for real servers. Where one cannot start, its tests skip with the reason.

With LOCKSTEP_REQUIRE_PEERS=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import icinga, oidc, rt
from tests.peers.roundup import Peer, Unstarted, start


def absent(reason: str) -> None:
    """Skip, or fail where peers are required."""
    if os.environ.get("LOCKSTEP_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def roundup_peer() -> Iterator[Peer]:
    """A running Roundup for the whole session. Its folder is not pytest's, which other users may not enter."""
    home = Path(tempfile.mkdtemp(prefix="lockstep-roundup-"))
    home.chmod(0o755)
    try:
        peer = start(home)
    except Unstarted as error:
        shutil.rmtree(home, ignore_errors=True)
        absent(f"no Roundup: {error}")
        raise
    yield peer
    peer.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def rt_peer() -> Iterator[rt.Peer]:
    """A running Request Tracker for the whole session."""
    home = Path(tempfile.mkdtemp(prefix="lockstep-rt-"))
    try:
        peer = rt.start(home)
    except rt.Unstarted as error:
        shutil.rmtree(home, ignore_errors=True)
        absent(f"no Request Tracker: {error}")
        raise
    yield peer
    peer.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def icinga_peer() -> Iterator[icinga.Peer]:
    """A running Icinga 2 for the whole session."""
    home = Path(tempfile.mkdtemp(prefix="lockstep-icinga-"))
    home.chmod(0o755)
    try:
        peer = icinga.start(home)
    except icinga.Unstarted as error:
        shutil.rmtree(home, ignore_errors=True)
        absent(f"no Icinga: {error}")
        raise
    yield peer
    peer.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def oidc_peer() -> Iterator[oidc.Peer]:
    """A running oidc-provider for the whole session."""
    home = Path(tempfile.mkdtemp(prefix="lockstep-oidc-"))
    try:
        peer = oidc.start(home)
    except Unstarted as error:
        shutil.rmtree(home, ignore_errors=True)
        absent(f"no oidc-provider: {error}")
        raise
    yield peer
    peer.stop()
    shutil.rmtree(home, ignore_errors=True)
