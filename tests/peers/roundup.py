"""Starts a real Roundup, the one of our own environment, in a folder of its own on loopback.

`python -m tests.peers.roundup FOLDER [PORT]` runs one until Ctrl-C.
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


class Unstarted(Exception):
    """This machine cannot run the peer; says why."""


@dataclass(slots=True)
class Peer:
    """A running tracker. `stop` and `run` may follow each other: its address and data stay."""

    home: Path
    port: int
    login: str = LOGIN
    password: str = PASSWORD
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The tracker's address."""
        return f"http://127.0.0.1:{self.port}/tracker/"

    def run(self) -> None:
        """Start the server on what is in the folder, and wait until it answers."""
        user = _user(self.home)
        as_user = ["-u", user] if user else []
        command = [str(_BIN / "roundup-server"), *as_user, "-n", "127.0.0.1", "-p", str(self.port), "-t", "thread"]
        with (self.home.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, f"tracker={self.home}"], stdout=log, stderr=log, cwd=self.home, start_new_session=True
            )
        _await(self.url, self._process, self.home.parent / "server.log")

    def stop(self) -> None:
        """End it, at once."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def start(home: Path, port: int = 0) -> Peer:
    """A tracker in `home/tracker`, set up if it is not there. Unstarted: it cannot run here.

    Two accounts (admin and analyst), some keywords, and the properties closereason, closenotes and synckey of an issue.
    """
    tracker = home / "tracker"
    known = _port(tracker) if (tracker / "config.ini").exists() else 0
    peer = Peer(tracker, port or known or _free_port())
    if not known:
        _set_up(peer)
    elif known != peer.port:
        _configure(peer)
    peer.run()
    return peer


def _set_up(peer: Peer) -> None:
    if not (_BIN / "roundup-admin").exists():
        message = f"there is no roundup-admin in {_BIN}: install the dev dependencies"
        raise Unstarted(message)
    peer.home.mkdir(parents=True, exist_ok=True)
    _admin(peer.home, "install", "classic", "sqlite")
    _configure(peer)
    schema = peer.home / "schema.py"
    text = schema.read_text()
    changed = text.replace(
        'status=Link("status"))', 'status=Link("status"), closereason=String(), closenotes=String(), synckey=String())'
    )
    if changed == text:
        message = "the classic template is no longer as we know it: its issue class was not found"
        raise Unstarted(message)
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
    command = [str(_BIN / "roundup-admin"), "-i", str(home), *words]
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        message = f"roundup-admin {' '.join(words[:1])} failed: {(done.stderr or done.stdout)[-500:]}"
        raise Unstarted(message)


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


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _user(home: Path) -> str:
    """Whom the server becomes: nobody, or root where nobody cannot read what it needs; it must be told either."""
    if os.getuid():
        return ""
    needed = (home, Path(sys.prefix), Path(sys.base_prefix))
    for path in {parent for one in needed for parent in one.resolve().parents}:
        if not path.stat().st_mode & 0o001:
            return "root"
    return "nobody"


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            message = f"roundup-server ended: {log.read_text()[-500:]}"
            raise Unstarted(message)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}rest/", auth=(LOGIN, PASSWORD), timeout=5).is_success:
                return
        time.sleep(0.1)
    process.kill()
    message = f"roundup-server does not answer at {url}: {log.read_text()[-500:]}"
    raise Unstarted(message)


if __name__ == "__main__":
    running = start(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(running.url, running.login, running.password, flush=True)  # noqa: T201  for the person who started it
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    running.stop()
