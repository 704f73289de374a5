"""serve() over the listeners, of which there are none yet, and the watch that keeps up what runs for ever."""

from __future__ import annotations

import asyncio
import logging
import signal

from flows.house.watch import watch


async def main() -> None:
    """Watch until SIGTERM or SIGINT; what is being done is finished first."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await watch(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It would tell of every look.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(main())
