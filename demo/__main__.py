"""`make demo`: a real tracker and a fresh store in a temporary folder, and one story with both."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# The demo needs no Prefect server, and must start none.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"

from pydantic import SecretStr

from blocks.incidents.roundup import Roundup
from blocks.store import Store
from demo.story import Story, tell
from demo.tracker import Tracker
from tests.peers.roundup import ANALYST, ANALYST_PASSWORD, start


def main() -> int:
    """Tell the story; answers 0 when everything came out as it must."""
    with TemporaryDirectory(prefix="lockstep-demo-") as folder:
        print("Starting a real issue tracker (Roundup) and a fresh store: some seconds.", flush=True)
        peer = start(Path(folder) / "tracker")
        try:
            print(f"Tracker: {peer.url}   Store: {folder}/store/lockstep.db\n", flush=True)
            counts = asyncio.run(_tell(peer.url, peer.login, peer.password, Path(folder)))
        finally:
            peer.stop()
    print(json.dumps(counts))
    good = counts["conflicts"] == 1 and counts["duplicates"] == 0 and counts["writes_when_idle"] == 0
    return 0 if good else 1


async def _tell(url: str, login: str, password: str, folder: Path) -> dict[str, int]:
    database = await Store(url=SecretStr(f"sqlite:///{folder}/store/lockstep.db")).open()
    tracker = Tracker(url, ANALYST, ANALYST_PASSWORD)
    system = Roundup(address=url, login=login, password=SecretStr(password), properties=["closereason", "closenotes"])
    try:
        return await tell(Story(tracker, system, database, _say))
    finally:
        tracker.close()
        await database.close()


def _say(what: str, words: str) -> None:
    print(f"  {what:<13} {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
