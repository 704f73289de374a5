"""`make chaos ONLY=tokens`: refreshing processes killed, refreshes cancelled, Prefect away, authorise racing revoke.

Lost: a grant died and nobody was told that an answer was lost. Twice: a refresh token was presented without a note that
named it. Different: the token's block and the store disagree when all is over. A lost answer that is told is none of
these: it is counted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from prefect.settings import PREFECT_API_URL
from prefect.settings.context import temporary_settings
from pydantic import SecretStr

from blocks import points
from blocks.errors import LockstepError, Unavailable
from blocks.oauth import AnswerLost, GrantEnded, journal
from blocks.oauth.document import shelf
from blocks.oauth.pairs import Held, Pair
from blocks.oauth.people import adopt, revoke
from blocks.oauth.refresh import renew
from blocks.store import Store
from blocks.store.locks import hold
from chaos.cancel import cancelled
from chaos.director import warm
from chaos.tokens_report import STEPS, Result, Shares
from chaos.tokens_world import NAME, QUICK, World, grant_at, world
from chaos.worker import Doom

LONGEST: Final = 20.0
"""Seconds in which a process must have come to its end."""

PAUSE: Final = 0.03
"""Seconds between two renewals of a process: who asks for the lock again and again would never find it free."""


def life(store: str, api: str, address: str, token: str, trace: Path, wanted: dict[str, int], keys: str) -> None:
    """A process that renews its grant again and again, whether it must or not, until it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["LOCKSTEP_KEYS"] = keys
    points.watch(Doom(trace, wanted))

    async def work() -> None:
        database = await Store(url=SecretStr(store)).open()
        grant, failed = grant_at(address, token), ""
        while True:
            with suppress(LockstepError):
                held = await renew(database, grant, failed, clock=QUICK)
                failed = held.pair.access if held.pair else ""
            await asyncio.sleep(PAUSE)

    try:
        with temporary_settings({PREFECT_API_URL: api}):
            asyncio.run(work())
    except BaseException:
        trace.with_suffix(".error").write_text(traceback.format_exc(), encoding="utf-8")
        raise


class Play:
    """One run of chaos over one world."""

    def __init__(self, at: World, dice: Random, context: ForkServerContext) -> None:
        self.at, self.dice, self.context = at, dice, context
        self.result, self.number = Result(), 0

    async def kills(self, count: int) -> None:
        """Kill a refreshing process at each step in turn, and at random moments between."""
        aimed = min(count - count // 3, len(STEPS))
        for number in range(count):
            own = number % 3 != 2
            step = STEPS[(number - number // 3) * len(STEPS) // aimed % len(STEPS)]
            process, trace = self._start({step: self.dice.randrange(3)} if own else {})
            if own:
                await _ended(process, LONGEST)
            else:
                await asyncio.sleep(self.dice.uniform(0.1, 1.0))
            process.kill()
            await asyncio.to_thread(process.join)
            self._note(process, trace, own=own)
            await self.judge("a kill")

    async def cancels(self, count: int) -> None:
        """Cancel a refresh at each place where it waits, in turn; at fewer of them where fewer are asked."""
        total, _ = await cancelled(self._forced, None)
        self.result.awaits = total
        for number in range(count):
            at = number * total // count if count < total else number % (total + 5)
            try:
                _, was = await cancelled(self._forced, at)
            except LockstepError:
                was = False
            self.result.done["cancels"] += was
            self.result.cancelled_at |= {at} if was else set()
            await self.judge(f"a cancellation at await {at}")

    async def prefect(self, steps: Sequence[str]) -> None:
        """Prefect goes away at these steps of a refresh."""
        for step in steps:

            def reached(point: str, step: str = step) -> None:
                if point == step:
                    self.at.gate.shut()
                    self.result.done["prefect stops"] += 1

            points.watch(reached)
            try:
                await self._forced()
            except Unavailable:
                pass
            finally:
                points.watch(None)
                self.at.gate.away = False
            await self.judge(f"Prefect away {step}")

    async def races(self, count: int) -> None:
        """A person authorises or revokes while processes refresh."""
        running = [self._start({})[0] for _ in range(2)]
        try:
            for _ in range(count):
                await asyncio.sleep(self.dice.uniform(0.05, 0.4))
                act = self.dice.choice((self._authorise, self._revoke))
                await act()
                self.result.done["races"] += 1
                await self.judge(f"a race: {act.__name__.strip('_')}")
        finally:
            for process in running:
                process.kill()
                await asyncio.to_thread(process.join)
        await self.judge("the races")

    async def _authorise(self) -> None:
        token = self.at.provider.grant()
        self.at.consented.add(token)
        pair = await grant_at(self.at.provider.url, token).redeem(Pair(refresh=token), QUICK)
        await adopt(self.at.database, self.at.grant, pair)

    async def _revoke(self) -> None:
        await revoke(self.at.database, self.at.grant)

    async def _forced(self) -> Held:
        entry = await journal.read(self.at.database, NAME)
        failed = entry.held.pair.access if entry and entry.held.pair else ""
        return await renew(self.at.database, self.at.grant, failed, clock=QUICK)

    async def judge(self, after: str) -> None:
        """The next process: it has a token, or is told the truth; and both places agree."""
        for _ in range(40):
            try:
                await self._forced()
                break
            except AnswerLost:
                self.result.lost_answers += 1
                await self._agree(after)
                self.at.begin()
            except GrantEnded as error:
                if "revoked here" not in str(error):
                    self.result.lost.append(f"after {after}: {error}")
                self.at.begin()
            except Unavailable:
                await asyncio.sleep(0.1)
        else:
            self.result.lost.append(f"after {after} nobody got a token any more")
        await self._agree(after)

    async def _agree(self, after: str) -> None:
        # Under the lock: in a race others refresh meanwhile.
        async with hold(self.at.database, f"grant:{NAME}", wait=LONGEST), shelf(NAME, self.at.database.id) as there:
            entry, document = await journal.read(self.at.database, NAME), await there.load()
        if entry is None or entry.held != document:
            self.result.different.append(f"after {after}: {entry and entry.held} here, {document} there")

    def _start(self, wanted: dict[str, int]) -> tuple[ForkServerProcess, Path]:
        self.number += 1
        trace = self.at.folder / f"{self.number}.trace"
        grant = self.at.grant
        args = (self.at.store, self.at.api, grant.address, grant.typed, trace, wanted, os.environ["LOCKSTEP_KEYS"])
        process = self.context.Process(target=life, args=args, daemon=True)
        process.start()
        return process, trace

    def _note(self, process: ForkServerProcess, trace: Path, *, own: bool) -> None:
        error = trace.with_suffix(".error")
        if error.exists() or process.exitcode != -signal.SIGKILL:
            words = error.read_text(encoding="utf-8") if error.exists() else f"it ended with {process.exitcode}"
            self.result.errors.append(words)
        reached = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
        self.result.done["kills"] += 1
        self.result.met[reached[-2 if own and len(reached) > 1 else -1] if reached else "before all"] += 1


async def _ended(process: ForkServerProcess, seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while process.is_alive() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  another process
        await asyncio.sleep(0.01)


async def run(asked: Shares, seed: str) -> tuple[Result, list[str], int]:
    """Play all of it; what is wrong, presentations without a note, and grants that died of being used twice."""
    with TemporaryDirectory(prefix="lockstep-chaos-") as folder:
        async with world(Path(folder, "tokens")) as at:
            with temporary_settings({PREFECT_API_URL: at.api}):
                play = Play(at, Random(seed), warm("chaos.tokens"))
                acts: list[tuple[str, Callable[[], Awaitable[None]]]] = [
                    ("kills", lambda: play.kills(asked.kills)), ("cancellations", lambda: play.cancels(asked.cancels)),
                    ("Prefect away", lambda: play.prefect(asked.steps)), ("races", lambda: play.races(asked.races)),
                ]  # fmt: skip
                await play.judge("the start")
                for name, act in acts:
                    print(name, flush=True)
                    await act()
            dead = sum(one.killed_by == "used twice" for one in at.provider.families)
            return play.result, at.nameless, dead
