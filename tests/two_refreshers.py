"""A process that renews a grant again and again: `python -m tests.two_refreshers STORE PROVIDER TOKEN SECONDS`.

The Prefect server is the environment's. Prints how many requests it made, and each failure.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from pydantic import SecretStr

from blocks.errors import LockstepError
from blocks.http import Http
from blocks.oauth.auth import TokenAuth
from blocks.store import Database, Store
from tests.fakes.provider import CLIENT, SECRET
from tests.grants import ToyRefresh, named


async def main(store: str, provider: str, token: str, seconds: float) -> None:
    """Work until the time is over."""
    grant = named(
        ToyRefresh(client_id=CLIENT, client_secret=SecretStr(SECRET), refresh_token=SecretStr(token), address=provider)
    )
    database = await Store(url=SecretStr(store)).open()

    async def opened() -> Database:
        return database

    auth, made, failures = TokenAuth(grant), 0, list[str]()
    auth.source.open_store = opened
    end = time.monotonic() + seconds
    async with Http("toy", provider, auth=auth) as http:
        while time.monotonic() < end:
            try:
                await http.json("GET", "/api")
                made += 1
            except LockstepError as error:
                failures.append(str(error))
            await asyncio.sleep(0.01)
    await database.close()
    print(json.dumps({"made": made, "failures": failures[:5]}), flush=True)  # noqa: T201  the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
