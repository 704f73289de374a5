"""Starts a real Roundup, the one of our own environment, in a folder of its own on loopback.

`python -m tests.peers.roundup FOLDER [PORT]` runs one until Ctrl-C.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.peers.server import Server, Unstarted, free_port, main, prepare

LOGIN, PASSWORD = "admin", "admin-of-the-peer"
ANALYST, ANALYST_PASSWORD = "analyst", "analyst-of-the-peer"
KEYWORDS = ("phishing", "malware", "be,ta", "-minus", "+plus", "42")
_BIN = Path(sys.executable).parent
_SETTINGS = {
    "login_attempts_min": "0",  # wrong passwords are part of the tests
    "api_failed_login_limit": "0",
    "secret_key": "a-secret-that-outlives-restarts-0123456789abcdef=",  # else ETags die with the process
    "password_pbkdf2_default_rounds": "1000",  # each request checks the password: 0.3 s with the default
    "domain": "roundup.test",
    "host": "localhost",
}


@dataclass(slots=True)
class Peer(Server):
    """A running tracker."""

    NAME = "roundup-server"

    login: str = LOGIN
    password: str = PASSWORD

    @property
    def url(self) -> str:
        """The tracker's address."""
        return f"http://127.0.0.1:{self.port}/tracker/"

    @property
    def log(self) -> Path:
        """Beside the tracker's home, which is the server's user's."""
        return self.home.parent / "server.log"

    def command(self) -> list[str]:
        """One thread a request."""
        user = _user(self.home)
        as_user = ["-u", user] if user else []
        where = ["-n", "127.0.0.1", "-p", str(self.port)]
        return [str(_BIN / "roundup-server"), *as_user, *where, "-t", "thread", f"tracker={self.home}"]

    def ask(self) -> httpx.Response:
        """What its interface is."""
        return httpx.get(f"{self.url}rest/", auth=(LOGIN, PASSWORD), timeout=5)


def start(home: Path, port: int = 0) -> Peer:
    """A tracker in `home/tracker`, set up if it is not there. Unstarted: it cannot run here.

    Two accounts (admin and analyst), some keywords, and the properties closereason, closenotes and synckey of an issue.
    """
    tracker = home / "tracker"
    known = _port(tracker) if (tracker / "config.ini").exists() else 0
    peer = Peer(tracker, port or known or free_port())
    if not known:
        _set_up(peer)
    elif known != peer.port:
        _configure(peer)
    peer.run()
    return peer


def _set_up(peer: Peer) -> None:
    if not (_BIN / "roundup-admin").exists():
        raise Unstarted(f"there is no roundup-admin in {_BIN}: install the dev dependencies")
    peer.home.mkdir(parents=True, exist_ok=True)
    _admin(peer.home, "install", "classic", "sqlite")
    _configure(peer)
    schema = peer.home / "schema.py"
    text = schema.read_text()
    changed = text.replace(
        'status=Link("status"))', 'status=Link("status"), closereason=String(), closenotes=String(), synckey=String())'
    )
    if changed == text:
        raise Unstarted("the classic template is no longer as we know it: its issue class was not found")
    schema.write_text(changed)
    _admin(peer.home, "initialise", PASSWORD)
    made = [f"create keyword name={_quoted(name)}" for name in KEYWORDS]
    made.append(f"create user username={ANALYST} password={ANALYST_PASSWORD} roles=User address=analyst@roundup.test")
    _admin(peer.home, said="\n".join([*made, "commit", "quit"]) + "\n")
    user = _user(peer.home)
    if user and user != "root":
        for path in (peer.home, *peer.home.rglob("*")):
            shutil.chown(path, user)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _admin(home: Path, *words: str, said: str = "") -> None:
    prepare(str(_BIN / "roundup-admin"), "-i", str(home), *words, input=said)


def _configure(peer: Peer) -> None:
    path = peer.home / "config.ini"
    mails = peer.home / "mails.txt"
    settings = {**_SETTINGS, "web": peer.url}
    lines = path.read_text().splitlines()
    section = ""
    for number, line in enumerate(lines):
        section = line if line.startswith("[") else section
        name = line.lstrip("#").partition("=")[0].strip()
        if name in settings and (name != "host" or section == "[mail]"):
            lines[number] = f"{name} = {settings[name]}"
        elif name == "debug" and section == "[mail]":
            lines[number] = f"debug = {mails}"
    path.write_text("\n".join(lines) + "\n")


def _port(home: Path) -> int:
    found = re.search(r"(?m)^web = http://127\.0\.0\.1:(\d+)/", (home / "config.ini").read_text())
    return int(found[1]) if found else 0


def _user(home: Path) -> str:
    """Whom the server becomes: nobody, or root where nobody cannot read what it needs; it must be told either."""
    if os.getuid():
        return ""
    needed = (home, Path(sys.prefix), Path(sys.base_prefix))
    for path in {parent for one in needed for parent in one.resolve().parents}:
        if not path.stat().st_mode & 0o001:
            return "root"
    return "nobody"


if __name__ == "__main__":
    main(start, lambda peer: (peer.url, peer.login, peer.password))
