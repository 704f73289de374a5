"""The real servers of the tests end with whoever started them, and say why they did not start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.peers.server import Server, Unstarted, free_port, prepare
from tests.running import CODE, until

STARTER = """
import sys, time
from pathlib import Path
from tests.test_peers import Plain
Plain(Path(sys.argv[1]), int(sys.argv[2])).run()
print("runs", flush=True)
time.sleep(60)
"""


@dataclass(slots=True)
class Plain(Server):
    """A server of files, which a shell starts, as some vendors' servers have a worker."""

    NAME = "plain"

    def command(self) -> list[str]:
        serve = f"{sys.executable} -m http.server --bind 127.0.0.1 {self.port}"
        return ["sh", "-c", f"{serve}; echo its worker ended"]

    def ask(self) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5)


class Broken(Plain):
    def command(self) -> list[str]:
        return ["sh", "-c", "echo line 3 of its settings is wrong; exit 1"]


def answers(server: Server) -> bool:
    try:
        return server.ask().is_success
    except httpx.TransportError:
        return False


def test_a_server_whose_starter_is_killed_ends_with_it(tmp_path: Path) -> None:
    server = Plain(tmp_path, free_port())
    argv = [sys.executable, "-c", STARTER, str(tmp_path), str(server.port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=CODE) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == b"runs\n"
        assert answers(server)
        starter.kill()
    until(lambda: not answers(server), 10, "it ends")


def test_a_server_that_is_stopped_ends_with_its_worker_and_can_run_again(tmp_path: Path) -> None:
    server = Plain(tmp_path, free_port())
    for _ in range(2):
        server.run()
        assert answers(server)
        server.stop()
        until(lambda: not answers(server), 10, "it ends")
    server.stop()


def test_a_server_that_does_not_start_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(Unstarted, match="plain ended: line 3 of its settings is wrong"):
        Broken(tmp_path, free_port()).run()


def test_a_step_that_fails_says_what_it_printed() -> None:
    with pytest.raises(Unstarted, match=r"^sh -c failed: no such table"):
        prepare("sh", "-c", "echo no such table >&2; exit 2")
