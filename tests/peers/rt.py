"""Starts a real Request Tracker 5, the one of Debian, in a folder of its own on loopback, on SQLite.

`python -m tests.peers.rt FOLDER [PORT]` runs one until Ctrl-C.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.peers.server import Server, Unstarted, free_port, main, prepare

LOGIN, PASSWORD = "lockstep", "lockstep-of-the-peer"
ANALYST, ANALYST_PASSWORD = "analyst", "analyst-of-the-peer"
ROOT, ROOT_PASSWORD = "root", "root-of-the-peer"
QUEUE, OTHER, ODD = "SOC", "Other", 'It\'s "SOC" \\ 2'

_SERVER = Path("/usr/share/request-tracker5/libexec/rt-server")
_EMPTY = Path("/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb")
_SEED = Path(__file__).with_name("rt_seed.pl")
_SETTINGS = """
Set($rtname, 'rt.test');
Set($Organization, 'rt.test');
Set($Timezone, 'UTC');
Set($CorrespondAddress, 'rt@rt.test');
Set($CommentAddress, 'rt-comment@rt.test');
Set($WebDomain, '127.0.0.1');
Set($WebPort, {port});
Set($WebBaseURL, 'http://127.0.0.1:{port}');
Set($WebPath, '');
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{home}/rt.db');
Set($MailCommand, 'testfile');
Set($BcryptCost, 4); # each request checks the password
Set($LogToFile, undef);
Set($LogToSyslog, undef);
Set($LogToSTDERR, 'error');
Set($MasonDataDir, '{home}/mason');
Set($MasonSessionDir, '{home}/session');
1;
"""


@dataclass(slots=True)
class Peer(Server):
    """A running RT. It takes one request at a time."""

    NAME = "rt-server"

    login: str = LOGIN
    password: str = PASSWORD

    @property
    def url(self) -> str:
        """RT's address."""
        return f"http://127.0.0.1:{self.port}/"

    def command(self) -> list[str]:
        """Its server for one machine."""
        return [str(_SERVER), "--server", "Standalone", "--host", "127.0.0.1", "--port", str(self.port)]

    def env(self) -> dict[str, str]:
        """Where its settings are."""
        return _env(self.home)

    def ask(self) -> httpx.Response:
        """Which RT it is."""
        return httpx.get(f"{self.url}REST/2.0/rt", auth=(LOGIN, PASSWORD), timeout=10)

    def end(self, pid: int) -> None:
        """At once: at SIGINT RT would chown the system's own folders."""
        os.killpg(pid, signal.SIGKILL)


def start(home: Path, port: int = 0) -> Peer:
    """An RT in this folder, set up if it is not there. Unstarted: it cannot run here.

    Accounts lockstep, analyst and root; queues SOC, Other, one with an odd name, and Secret, which only root sees; the
    custom fields Severity, SyncKey, RemoteID and Tags of tickets, and EntryKey of transactions. The clock of
    the account lockstep is not UTC's.
    """
    settings = home / "RT_SiteConfig.pm"
    known = re.search(r"WebPort, (\d+)", settings.read_text()) if settings.exists() else None
    peer = Peer(home, port or (int(known[1]) if known else free_port()))
    if known is None:
        _set_up(peer)
    elif int(known[1]) != peer.port:
        _configure(peer)
    peer.run()
    return peer


def _set_up(peer: Peer) -> None:
    for needed in (_SERVER, _EMPTY):
        if not os.access(needed, os.R_OK):
            raise Unstarted(
                f"{needed} is not here or not readable: install request-tracker5 and rt5-db-sqlite, be root"
            )
    for folder in ("site", "mason", "session"):
        (peer.home / folder).mkdir(parents=True)
    shutil.copyfile(_EMPTY, peer.home / "rt.db")
    _configure(peer)
    env = {**os.environ, **_env(peer.home)}
    prepare("perl", str(_SEED), ROOT_PASSWORD, PASSWORD, ANALYST_PASSWORD, env=env)


def _configure(peer: Peer) -> None:
    settings = _SETTINGS.replace("{port}", str(peer.port)).replace("{home}", str(peer.home))
    (peer.home / "RT_SiteConfig.pm").write_text(settings)


def _env(home: Path) -> dict[str, str]:
    return {"RT_SITE_CONFIG": str(home / "RT_SiteConfig.pm"), "RT_SITE_CONFIG_DIR": str(home / "site")}


if __name__ == "__main__":
    main(start, lambda peer: (peer.url, peer.login, peer.password))
