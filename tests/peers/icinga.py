"""Starts a real Icinga 2, the one of Debian, in a folder of its own on loopback, with an authority of its own.

`python -m tests.peers.icinga FOLDER [PORT]` runs one until Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme

from tests.peers.server import Server, Unstarted, free_port, main

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


@dataclass(slots=True)
class Peer(Server):
    """A running Icinga. Its objects and states outlive `stop`, too."""

    NAME = "icinga2"

    login: str = LOGIN
    password: str = PASSWORD

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

    def command(self) -> list[str]:
        """With all that it writes in our folder."""
        folders = {"DataDir": "data", "LogDir": "log", "CacheDir": "cache", "InitRunDir": "run", "SpoolDir": "spool"}
        places = [f"-DConfiguration.{name}={self.home / folder}" for name, folder in folders.items()]
        pid = f"-DConfiguration.PidPath={self.home / 'run/icinga2.pid'}"
        return ["icinga2", "daemon", "-c", str(self.home / "icinga2.conf"), *places, pid, "-x", "warning"]

    def env(self) -> dict[str, str]:
        """As another user than root or its own, it must be told that it stays this one."""
        return {} if not os.getuid() else {"ICINGA2_USER": str(os.getuid()), "ICINGA2_GROUP": str(os.getgid())}

    def ask(self) -> httpx.Response:
        """Who we are to it."""
        return httpx.get(f"{self.url}v1", auth=(LOGIN, PASSWORD), verify=self.trust, timeout=5)

    def end(self, pid: int) -> None:
        """It tells its worker itself; one that is told twice does not write its states."""
        os.kill(pid, signal.SIGTERM)


def start(home: Path, port: int = 0) -> Peer:
    """An Icinga in `home/icinga`, set up if it is not there. Unstarted: it cannot run here."""
    if shutil.which("icinga2") is None:
        raise Unstarted("there is no icinga2: install the packages of tests/peers/debian.txt")
    peer = Peer(home / "icinga", port or free_port())
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


if __name__ == "__main__":
    main(start, lambda peer: (peer.url, peer.login, peer.password, peer.ca_file))
