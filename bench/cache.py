"""The integration cache: what a look-up costs that was kept."""

from __future__ import annotations

import os
import statistics
import time
from datetime import timedelta

from bench.harness import Bound, Figure, Workshop, must_be
from blocks.store.cache import Cache
from blocks.store.crypto import NAME, new_key

NAMES = 1_000
READS = 3_000
VALUE = {"id": "6816f79cc0a8016401c5a33be04be441", "name": "System Administrator", "groups": ["a", "b", "c"]}


async def get(workshop: Workshop) -> list[Figure]:
    """`get` of one of a thousand values, on SQLite, with its decryption: the median, and the slowest of a hundred."""
    os.environ.setdefault(NAME, new_key())
    async with workshop.store() as database:
        cache = Cache(database, "bench")
        for number in range(NAMES):
            await cache.set(f"user {number}", VALUE | {"number": number}, timedelta(hours=1))
        times, found = [], 0
        for number in range(READS):
            start = time.perf_counter()
            kept = await cache.get(f"user {number * 7 % NAMES}")
            times.append((time.perf_counter() - start) * 1000)
            found += kept is not None and kept.value["number"] == number * 7 % NAMES
    must_be("values found", found, READS)
    slow = statistics.quantiles(times, n=100)[98]
    note = f"p99 {slow:.2f} ms; {NAMES:,} values of {len(str(VALUE))} characters, {READS:,} reads"
    return [Figure("cache.get", [statistics.median(times)], ["ms"], [Bound("≤", 1.0)], note=note)]
