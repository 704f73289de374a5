"""Child processes: started in groups of their own, recorded, found again after a kill, and ended without orphans.

Every child carries a random mark in its environment and hands it on to what it starts. The mark is written down before
the first child starts, each child with its start time and command line: so a later start knows for sure what is ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil

MARK = "LOCKSTEP_MARK"
LOG_BYTES = 20_000_000


@dataclass
class Child:
    """A process to keep up. `failures` counts its deaths in a row, `again` tells when it may be started next."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Family:
    """The children of one start of the house.

    Args:
        folder: the state folder: `run.json` and `logs/` are kept in it.
        code: where the children work.
    """

    folder: Path
    code: Path
    mark: str = field(default_factory=lambda: token_hex(16))
    children: dict[str, Child] = field(default_factory=dict)

    def start(self, child: Child) -> None:
        """Start it, with its output in logs/<name>.log."""
        self.children[child.name] = child
        if not child.failures:
            self._record()
        with self._log(child.name) as log:
            child.process = subprocess.Popen(  # noqa: S603  our own modules
                child.argv,
                env={**child.env, MARK: self.mark},
                cwd=self.code,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child.started = time.monotonic()
        self._record()

    def died(self, child: Child) -> float:
        """Note that it ended by itself; answers in how many seconds it may start again: 1, 2, 4 … 30."""
        long_enough = 60
        child.failures = 1 if time.monotonic() - child.started > long_enough else child.failures + 1
        wait = min(30.0, 2.0 ** (child.failures - 1))
        child.again, child.process = time.monotonic() + wait, None
        return wait

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a child's log."""
        file = self.folder / "logs" / f"{name}.log"
        return (
            "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if file.exists() else ""
        )

    def trim(self) -> None:
        """Move a log that has grown too long aside. Children append, so that they go on in the emptied file."""
        for file in (self.folder / "logs").glob("*.log"):
            if file.stat().st_size > LOG_BYTES:
                old = file.with_suffix(".log.1")
                old.unlink(missing_ok=True)
                with _private(old) as copy, file.open("rb") as source:
                    while chunk := source.read(1 << 20):
                        copy.write(chunk)
                os.truncate(file, 0)

    def end(self, names: Sequence[str], seconds: float) -> None:
        """End these children, in this order, each with what it started and left."""
        for name in names:
            child = self.children.get(name)
            if child and child.process:
                end([psutil.Process(child.process.pid)] if child.alive else [], seconds)
                child.process.wait()

    def forget(self) -> None:
        """Nothing runs any more."""
        (self.folder / "run.json").unlink(missing_ok=True)

    def _record(self) -> None:
        rows = []
        for child in self.children.values():
            if child.process:
                with contextlib.suppress(psutil.Error):
                    born = psutil.Process(child.process.pid).create_time()
                    rows.append({"name": child.name, "pid": child.process.pid, "born": born, "argv": list(child.argv)})
        draft = self.folder / "run.json.new"
        draft.write_text(json.dumps({"mark": self.mark, "children": rows}), encoding="utf-8")
        draft.replace(self.folder / "run.json")

    @contextlib.contextmanager
    def _log(self, name: str) -> Iterator[Any]:
        folder = self.folder / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
        with _private(folder / f"{name}.log") as stream:
            yield stream


def _private(file: Path) -> Any:  # noqa: ANN401  a binary stream
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def leftovers(folder: Path) -> list[psutil.Process]:
    """What an earlier start left running, to be ended: by its mark, or by pid, start time and command line."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    found = {process.pid: process for process in marked(record["mark"])}
    for row in record["children"]:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(row["pid"])
            if abs(process.create_time() - row["born"]) < 1 and process.cmdline() == row["argv"]:
                found[process.pid] = process
    return list(found.values())


def marked(mark: str) -> list[psutil.Process]:
    """All processes that carry this mark, zombies aside."""
    return [process for process, environ in _environments() if environ.get(MARK) == mark]


def runs_alive() -> set[str]:
    """Ids of the flow runs that have a process on this machine."""
    return {environ["PREFECT__FLOW_RUN_ID"] for _, environ in _environments() if "PREFECT__FLOW_RUN_ID" in environ}


def _environments() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    for process in psutil.process_iter():
        # Other users' processes, and those that end meanwhile, cannot be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, process.environ()


def end(processes: Sequence[psutil.Process], seconds: float) -> None:
    """SIGTERM, and SIGKILL for those that are still there after so many seconds."""
    _signal(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
