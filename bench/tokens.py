"""Tokens: one refresh for 64 callers in 8 processes, and what a token costs a request."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from asyncio.subprocess import PIPE
from time import perf_counter
from typing import Any

import httpx

from bench import callers
from bench.harness import ROOT, Bound, Figure, NotMeasured, Workshop, in_turns
from bench.servers import prefect_server
from blocks.http import Http
from blocks.oauth.auth import TokenAuth
from blocks.oauth.pairs import Held, Pair, leeway
from blocks.store.crypto import NAME, new_key

PROCESSES, CALLERS = 8, 8
LIFETIME = 5.0
REQUESTS = 3_000
SETTLING = 12.0


async def redemptions(workshop: Workshop, seconds: float = 60.0, processes: int = PROCESSES) -> list[Figure]:
    """Callers of several processes, for so long, with tokens of 5 s whose refresh tokens work once."""
    os.environ.setdefault(NAME, new_key())
    env = {**os.environ, **await workshop.keep("prefect", lambda: prefect_server(workshop.folder))}
    path = await workshop.fresh()
    command = (sys.executable, "-m", "tests.fakes.provider", "--lifetime", str(LIFETIME))
    provider = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    try:
        assert provider.stdout  # noqa: S101  it is a pipe
        address = (await provider.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=address) as client:
            token = (await client.post("/_fake/grant", json={})).raise_for_status().json()["refresh_token"]
            login = (address, "client-7", "s3cret/of the+client", token)
            told = {"store": f"sqlite:///{path}", "grant": login, "callers": CALLERS, "seconds": seconds}
            # The grant is in use already, and the server, which has only just started, has gone through its first work.
            await _process(env, told | {"callers": 1, "seconds": SETTLING})
            begin, before = perf_counter(), await _redeemed(client)
            done = await asyncio.gather(*(_process(env, told) for _ in range(processes)))
            elapsed = perf_counter() - begin
            alive, refreshes = await _alive(client), await _redeemed(client) - before
    finally:
        provider.terminate()
        await provider.wait()
    made, longest = sum(one["made"] for one in done), [wait for one in done for wait in one["longest"]]
    failures = [words for one in done for words in one["failures"]]
    most = elapsed / (LIFETIME - leeway(LIFETIME)) + 1
    note = f"{made:,} requests; of the callers' longest waits p50 {statistics.median(longest):.3f} s"
    note += f"; grant {'alive' if alive else 'dead'}" + (f"; first failure: {failures[0]}" if failures else "")
    values = [refreshes, made, len(failures), statistics.quantiles(longest, n=100)[98], float(alive)]
    bounds = [Bound("≤", most), Bound("≥", 20_000 * seconds / 60), Bound("=", 0), Bound("≤", 0.5), Bound("=", 1)]
    units = ["refreshes", "requests", "failures", "s", "grants alive"]
    return [Figure("tokens.redemptions", values, units, bounds, note=note)]


async def _redeemed(client: httpx.AsyncClient) -> int:
    return int((await client.get("/_fake/state")).raise_for_status().json()["calls"].get("token", 0))


async def _alive(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/_fake/state")).raise_for_status().json()["families"][0]["alive"])


async def _process(env: dict[str, str], told: dict[str, object]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.callers", cwd=ROOT, env=env, stdin=PIPE, stdout=PIPE
    )
    try:
        assert process.stdout  # noqa: S101  it is a pipe
        assert process.stdin  # noqa: S101  it is a pipe
        await process.stdout.readline()
        process.stdin.write(json.dumps(told).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise NotMeasured("a process of callers ended; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def overhead(_: Workshop, requests: int = REQUESTS) -> list[Figure]:
    """A request with a grant's token against one with the same header, set once; no server, no socket."""
    grant = callers.grant("http://127.0.0.1:1", "client", "secret", "token")
    auth = TokenAuth(grant)
    pair = Pair("access-0123456789abcdef", auth.source.clock.now(), 3600.0)
    auth.source._ready = auth.source._as_ready(Held(1, "granted", pair=pair))  # noqa: SLF001  as after a refresh
    with_token = _http(auth=auth)
    plain = _http(headers={"Authorization": f"Bearer {pair.access}"})
    async with with_token, plain:
        token, header = await in_turns(lambda: _micros(with_token, requests), lambda: _micros(plain, requests), runs=9)
    note = f"{token:.1f} µs against {header:.1f} µs, {requests:,} requests"
    return [Figure("tokens.overhead", [token - header], ["µs"], [Bound("≤", 20.0)], note=note)]


def _http(auth: httpx.Auth | None = None, headers: dict[str, str] | None = None) -> Http:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    return Http("bench", "http://127.0.0.1:1", auth=auth, headers=headers, transport=transport)


async def _micros(http: Http, requests: int) -> float:
    begin = perf_counter()
    for _ in range(requests):
        await http.get("/api")
    return (perf_counter() - begin) / requests * 1e6
