"""Starts a real Request Tracker 5, the one of Debian, in a folder of its own on loopback, on SQLite.

`python -m tests.peers.rt FOLDER [PORT]` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

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


class Unstarted(Exception):
    """This machine cannot run the peer; says why."""


@dataclass(slots=True)
class Peer:
    """A running RT. `stop` and `run` may follow each other: its address and data stay."""

    home: Path
    port: int
    login: str = LOGIN
    password: str = PASSWORD
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """RT's address."""
        return f"http://127.0.0.1:{self.port}/"

    def run(self) -> None:
        """Start the server on what is in the folder, and wait until it answers. It takes one request at a time."""
        command = [str(_SERVER), "--server", "Standalone", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.home, env=_env(self.home), start_new_session=True
            )
        _await(self, self._process)

    def stop(self) -> None:
        """End it, at once."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # at SIGINT RT would chown the system's own folders
            process.wait(5)


def start(home: Path, port: int = 0) -> Peer:
    """An RT in this folder, set up if it is not there. Unstarted: it cannot run here.

    Accounts lockstep, analyst and root; queues SOC, Other, one with an odd name, and Secret, which only root sees; the
    custom fields Severity, SyncKey, RemoteID and Tags of tickets, and EntryKey of transactions. The clock of
    the account lockstep is not UTC's.
    """
    settings = home / "RT_SiteConfig.pm"
    known = re.search(r"WebPort, (\d+)", settings.read_text()) if settings.exists() else None
    peer = Peer(home, port or (int(known[1]) if known else _free_port()))
    if known is None:
        _set_up(peer)
    elif int(known[1]) != peer.port:
        _configure(peer)
    peer.run()
    return peer


def _set_up(peer: Peer) -> None:
    for needed in (_SERVER, _EMPTY):
        if not os.access(needed, os.R_OK):
            message = f"{needed} is not here or not readable: install request-tracker5 and rt5-db-sqlite, and be root"
            raise Unstarted(message)
    for folder in ("site", "mason", "session"):
        (peer.home / folder).mkdir(parents=True)
    shutil.copyfile(_EMPTY, peer.home / "rt.db")
    _configure(peer)
    command = ["perl", str(_SEED), ROOT_PASSWORD, PASSWORD, ANALYST_PASSWORD]
    done = subprocess.run(command, env=_env(peer.home), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        message = f"RT could not be set up: {done.stderr[-500:]}"
        raise Unstarted(message)


def _configure(peer: Peer) -> None:
    settings = _SETTINGS.replace("{port}", str(peer.port)).replace("{home}", str(peer.home))
    (peer.home / "RT_SiteConfig.pm").write_text(settings)


def _env(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RT_SITE_CONFIG": str(home / "RT_SiteConfig.pm"),
        "RT_SITE_CONFIG_DIR": str(home / "site"),
    }


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await(peer: Peer, process: subprocess.Popen[bytes]) -> None:
    log = peer.home / "server.log"
    for _ in range(300):
        if process.poll() is not None:
            message = f"rt-server ended: {log.read_text()[-500:]}"
            raise Unstarted(message)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{peer.url}REST/2.0/rt", auth=(LOGIN, PASSWORD), timeout=10).is_success:
                return
        time.sleep(0.1)
    peer.stop()
    message = f"rt-server does not answer at {peer.url}: {log.read_text()[-500:]}"
    raise Unstarted(message)


if __name__ == "__main__":
    running = start(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(running.url, running.login, running.password, flush=True)  # noqa: T201  for the person who started it
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    running.stop()
