"""`make run`: a Prefect server, a process worker, the deployments, the watch. Ends them all at Ctrl-C.

Holds `up.lock` in the state folder while it lives. What an earlier start left behind is ended first; a child that dies
is started again, after a pause that grows. It imports nothing of Prefect, so that it stays small and quick to stop.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

import httpx

from flows.house import keys, settings
from flows.house.processes import Child, Family, end, leftovers, marked
from flows.house.settings import CODE, POOL, House
from flows.house.sweep import drop_missed, healthy, sweep

ORDER = ("setup", "worker", "serve", "server")
PATIENCE = {"server": 20.0, "worker": 10.0}
"""Seconds that each may take to end."""

HEALTHY_WITHIN = 120
SWEEP_EVERY = 30


class CannotStartError(Exception):
    """Says what is in the way, and what to do."""


class Up:
    """All that runs here, from start to end."""

    def __init__(self, house: House, made: dict[str, str]) -> None:
        self.house, self.stopping = house, threading.Event()
        self.family = Family(house.folder, CODE)
        client, python = settings.client(house, made), (sys.executable, "-m")
        worker = (*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process")
        limit = ("--install-policy", "never", "--limit", str(house.parallel), "--name", f"on {socket.gethostname()}")
        self.server = Child("server", (*python, "flows.house.server"), settings.server(house, made))
        self.setup = Child("setup", (*python, "flows.house.setup"), settings.setup(house, made))
        self.worker = Child("worker", (*worker, *limit), client)
        self.serve = Child("serve", (*python, "flows.serve"), client)

    def start(self) -> None:
        """Start everything. Raises CannotStartError; returns early when told to stop."""
        if self.house.own:
            self._start_server()
        elif not healthy(self.house):
            raise CannotStartError(f"no Prefect server answers at {self.house.api}")
        self._set_up()
        if self.house.own and not self.stopping.is_set():
            self._tidy()
        for child in (self.worker, self.serve):
            if not self.stopping.is_set():
                self.family.start(child)

    def watch(self) -> None:
        """Keep the children up until told to stop."""
        swept = time.monotonic()
        while not self.stopping.wait(0.5):
            for child in (self.server, self.worker, self.serve):
                if child.name in self.family.children:
                    self._keep_up(child)
            if time.monotonic() - swept > SWEEP_EVERY:
                swept = time.monotonic()
                self.family.trim()
                self._sweep("The process of this run is gone.")

    def stop(self) -> None:
        """End the children in their order, and then whatever they left."""
        for name in ORDER:
            self.family.end([name], PATIENCE.get(name, 5.0))
            if name == "worker":
                end([process for process in marked(self.family.mark) if self._is_run(process.pid)], 10)
                self._sweep("The house was stopped.", grace=timedelta(0))
        end(marked(self.family.mark), 5)
        self.family.forget()

    def _is_run(self, pid: int) -> bool:
        ours = {child.process.pid for child in self.family.children.values() if child.process}
        return pid not in ours

    def _start_server(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.house.port))
            except OSError:
                raise CannotStartError(
                    f"port {self.house.port} is taken by another program: set PREFECT_API_URL to use the Prefect "
                    "server that listens there, or LOCKSTEP_PORT to start ours on another port"
                ) from None
        self.family.start(self.server)
        until = time.monotonic() + HEALTHY_WITHIN
        while not self.stopping.wait(0.3) and not healthy(self.house):
            if not self.server.alive or time.monotonic() > until:
                raise CannotStartError(f"the Prefect server did not start:\n{self.family.tail('server')}")

    def _set_up(self) -> None:
        if not self.stopping.is_set():
            self.family.start(self.setup)
        while self.setup.alive and not self.stopping.wait(0.2):
            pass
        if not self.stopping.is_set() and self.setup.process and self.setup.process.returncode:
            raise CannotStartError(f"the deployments could not be set up:\n{self.family.tail('setup', 40)}")

    def _keep_up(self, child: Child) -> None:
        if child.process and not child.alive:
            code = child.process.returncode
            wait = self.family.died(child)
            say(f"{child.name} ended ({code}), starting it again in {wait:.0f} s; see {self._log(child)}")
        elif not child.process and time.monotonic() >= child.again:
            self.family.start(child)

    def _sweep(self, why: str, **options: timedelta) -> None:
        if self.house.own and self.server.alive:
            try:
                sweep(self.house, why=why, **options)
            except httpx.HTTPError as error:
                say(f"the server did not take the state of dead runs ({type(error).__name__}); tried again later")

    def _tidy(self) -> None:
        self._sweep("The house was started anew: this run's process is gone.", grace=timedelta(0))
        try:
            if missed := drop_missed(self.house):
                say(f"dropped {missed} runs that were missed while the house was off; the last of each deployment runs")
        except httpx.HTTPError as error:
            say(f"the server did not drop the runs that were missed ({type(error).__name__}): they all run now")

    def _log(self, child: Child) -> Path:
        return self.house.folder / "logs" / f"{child.name}.log"


def say(text: str) -> None:
    """To the person at the terminal."""
    print(text, flush=True)


def welcome(house: House, *, new_keys: bool) -> str:
    """The addresses, and what to do next."""
    fresh = "written just now: keep a copy, without them no secret can be read" if new_keys else "as before"
    return f"""
Lockstep runs.
  Prefect      {house.ui}
  state, logs  {house.folder}
  keys         {house.folder / "keys.env"} ({fresh})

What to do next, at {house.ui}
  1. Blocks, +: add the system where your incidents live (its form explains each field).
  2. Deployments, check_connection, Run: pick that block; the run says in words what is missing.
  3. Deployments, mirror_incidents (or fetch_incidents), Edit: pick the block, save, switch its schedule on.

Ctrl-C stops everything; `make run` takes up where it stopped."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one that uses this state folder. CannotStartError: somebody else does."""
    descriptor = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotStartError(f"Lockstep runs already with the state folder {folder}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def on_signals(act: Callable[[], None]) -> None:
    """Have Ctrl-C, SIGTERM and a closed terminal do this."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def run(house: House) -> None:
    """Run the house until it is told to stop."""
    guarded = house.folder / "prefect" / "prefect.db" if house.own else None
    made, new = keys.ensure(house.folder, os.environ, guarded)
    if left := leftovers(house.folder):
        say(f"ending {len(left)} processes that an earlier start left")
        end(left, 10)
    up = Up(house, made)
    on_signals(up.stopping.set)
    say("Starting: this takes half a minute the first time.")
    try:
        up.start()
        if not up.stopping.is_set():
            say(welcome(house, new_keys=new))
            up.watch()
        say("\nStopping.")
    finally:
        up.stop()
    say("Stopped.")


def main() -> None:
    """Run it, or say what is in the way."""
    house = settings.house(os.environ)
    try:
        keys.prepare(house.folder)
        with alone(house.folder):
            run(house)
    except (CannotStartError, keys.KeysError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
