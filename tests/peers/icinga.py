"""Starts a real Icinga 2, the one of Debian, in a folder of its own on loopback, with an authority of its own.

`python -m tests.peers.icinga FOLDER [PORT]` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trustme

LOGIN, PASSWORD = "lockstep", "lockstep-of-the-peer"
ANALYST, ANALYST_PASSWORD = "analyst", "analyst-of-the-peer"
READER, READER_PASSWORD = "reader", "reader-of-the-peer"
GROUP = 'the "SOC" group'

_CONFIG = """
include <itl>
const NodeName = "localhost"
const ZoneName = "localhost"
object Zone "localhost" {{ endpoints = [ "localhost" ] }}
object Endpoint "localhost" {{}}
object CheckerComponent "checker" {{}}
object ApiListener "api" {{ bind_host = "127.0.0.1"; bind_port = {port} }}
object ApiUser "{login}" {{ password = "{password}"; permissions = [ "objects/query/*", "actions/*" ] }}
object ApiUser "{analyst}" {{ password = "{analyst_password}"; permissions = [ "*" ] }}
object ApiUser "{reader}" {{ password = "{reader_password}"; permissions = [ "objects/query/*" ] }}
object HostGroup "the \\"SOC\\" group" {{}}
"""


class Unstarted(Exception):
    """This machine cannot run the peer; says why."""


@dataclass(slots=True)
class Peer:
    """A running Icinga. `stop` and `run` may follow each other: its address, objects and states stay."""

    home: Path
    port: int
    login: str = LOGIN
    password: str = PASSWORD
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The API's address."""
        return f"https://127.0.0.1:{self.port}/"

    @property
    def ca_file(self) -> Path:
        """Its authority."""
        return self.home / "data/certs/ca.crt"

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients of tests."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def run(self) -> None:
        """Start the server on what is in the folder, and wait until it answers."""
        folders = {"DataDir": "data", "LogDir": "log", "CacheDir": "cache", "InitRunDir": "run", "SpoolDir": "spool"}
        places = [f"-DConfiguration.{name}={self.home / folder}" for name, folder in folders.items()]
        pid = f"-DConfiguration.PidPath={self.home / 'run/icinga2.pid'}"
        command = ["icinga2", "daemon", "-c", str(self.home / "icinga2.conf"), *places, pid, "-x", "warning"]
        log = self.home / "server.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.home, env=_env(), start_new_session=True
            )
        _await(self, self._process, log)

    def stop(self) -> None:
        """End it. It writes its states first."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # it tells its worker itself; one that is told twice does not write its states
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def start(home: Path, port: int = 0) -> Peer:
    """An Icinga in `home/icinga`, set up if it is not there. Unstarted: it cannot run here."""
    if shutil.which("icinga2") is None:
        message = "there is no icinga2: install the packages of tests/peers/debian.txt"
        raise Unstarted(message)
    peer = Peer(home / "icinga", port or _free_port())
    if not peer.ca_file.exists():
        _set_up(peer)
    peer.run()
    return peer


def _set_up(peer: Peer) -> None:
    certs = peer.home / "data/certs"
    for folder in (certs, *(peer.home / name for name in ("cache", "log", "run", "spool"))):
        folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    mine = authority.issue_cert("localhost", "127.0.0.1", common_name="localhost")
    authority.cert_pem.write_to_path(str(peer.ca_file))
    mine.private_key_pem.write_to_path(str(certs / "localhost.key"))
    (certs / "localhost.crt").write_bytes(b"".join(one.bytes() for one in mine.cert_chain_pems))
    words = {"login": LOGIN, "password": PASSWORD, "analyst": ANALYST, "analyst_password": ANALYST_PASSWORD}
    words |= {"reader": READER, "reader_password": READER_PASSWORD}
    (peer.home / "icinga2.conf").write_text(_CONFIG.format(port=peer.port, **words))
    if not os.getuid():
        # Started as root, it becomes the user of its package.
        for path in (peer.home, *peer.home.rglob("*")):
            shutil.chown(path, "nagios", "nagios")


def _env() -> dict[str, str]:
    """As another user than root or its own, it must be told that it stays this one."""
    mine = {} if not os.getuid() else {"ICINGA2_USER": str(os.getuid()), "ICINGA2_GROUP": str(os.getgid())}
    return {**os.environ, **mine}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await(peer: Peer, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(150):
        if process.poll() is not None:
            message = f"icinga2 ended: {log.read_text()[-500:]}"
            raise Unstarted(message)
        with contextlib.suppress(httpx.HTTPError):
            auth = (LOGIN, PASSWORD)
            if httpx.get(f"{peer.url}v1", auth=auth, verify=peer.trust, timeout=5).is_success:
                return
        time.sleep(0.1)
    peer.stop()
    message = f"icinga2 does not answer at {peer.url}: {log.read_text()[-500:]}"
    raise Unstarted(message)


if __name__ == "__main__":
    running = start(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(running.url, running.login, running.password, running.ca_file, flush=True)  # noqa: T201  for who started it
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    running.stop()
