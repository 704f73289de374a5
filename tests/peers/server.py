"""What every real server that tests start has in common: its process, its log, and the wait until it answers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx

SECONDS = 60  # until it answers; one that ended is seen at once
PATIENCE = 20  # seconds until one that was told to end is killed


class Unstarted(Exception):
    """This machine cannot run the peer; says why."""


@dataclass(slots=True)
class Server:
    """One server on loopback. `stop` and `run` may follow each other: its address and data stay."""

    NAME: ClassVar[str]

    home: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.home / "server.log"

    def command(self) -> list[str]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        """What it is told besides what we are."""
        return {}

    def ask(self) -> httpx.Response:
        """One question that it answers well once it runs."""
        raise NotImplementedError

    def end(self, pid: int) -> None:
        """Tell it to end. Its process is the leader of its group."""
        os.killpg(pid, signal.SIGTERM)

    def run(self) -> None:
        """Start it on what is in the folder, and wait until it answers. Unstarted: says what it printed instead."""
        env = {**os.environ, **self.env()}
        with self.log.open("ab") as log:
            self._process = process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.home, env=env, start_new_session=True
            )
        self._guard = _end_with_us(process.pid)
        end = time.monotonic() + SECONDS
        while not self._answers():
            ended = process.poll() is not None
            if ended or time.monotonic() > end:
                self.stop()
                said = self.log.read_text(errors="replace")[-500:]
                raise Unstarted(f"{self.NAME} {'ended' if ended else 'does not answer'}: {said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, and all that it started."""
        process, self._process = self._process, None
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()  # first: the number of a process that ended may become another's
            guard.communicate()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.end(process.pid)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.ask().is_success
        return False


S = TypeVar("S", bound=Server)


def _end_with_us(group: int) -> subprocess.Popen[bytes]:
    """A shell that kills this group when we end, however we do: its `read` ends with the pipe, whose other end is ours.

    The kernel's own signal for this (PR_SET_PDEATHSIG) comes when a thread ends, and not to one that changed its user.
    """
    script = ["sh", "-c", 'read _; kill -s KILL -- "-$0"', str(group)]
    silent = subprocess.DEVNULL
    return subprocess.Popen(script, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True)


def prepare(*command: str, **how: Any) -> None:
    """Run a step of a set-up to its end. Unstarted: it failed; says what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **how)
    if done.returncode:
        step = " ".join(Path(word).name for word in command[:2])
        raise Unstarted(f"{step} failed: {(done.stderr or done.stdout)[-500:]}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(start: Callable[[Path, int], S], told: Callable[[S], tuple[object, ...]]) -> None:
    """`FOLDER [PORT]` of the command line: run one until Ctrl-C, and print what a person needs to use it."""
    running = start(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(*told(running), flush=True)  # noqa: T201  for the person who started it
    with contextlib.suppress(KeyboardInterrupt):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    running.stop()
