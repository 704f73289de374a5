"""What is held of a grant, and what follows from it: which of two copies counts, and whether it must be renewed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import orjson

State = Literal["new", "granted", "lost", "ended", "revoked"]
STATES: Final = ("new", "granted", "lost", "ended", "revoked")
LEEWAY: Final = 60.0
"""Seconds before its end at which a token is renewed, at most; a tenth of its lifetime, if that is less."""
SEEDS: Final = 50
"""How many seeds are remembered before the last one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An access token and what renews it. Times are seconds since 1970, by our clock.

    `issued`: when it was asked for. `lifetime`: seconds. `refreshed`: when the refresh token came; `ages`: when it dies
    of age, 0 where nobody says. `cache`: what a vendor's library keeps beside.
    """

    access: str = field(default="", repr=False)
    issued: float = 0.0
    lifetime: float = 0.0
    refresh: str = field(default="", repr=False)
    refreshed: float = 0.0
    ages: float = 0.0
    cache: str = field(default="", repr=False)

    @property
    def expires(self) -> float:
        """When the access token ends."""
        return self.issued + self.lifetime

    def left(self, now: float) -> float:
        """Seconds that the access token lasts; never more than its lifetime, whatever a clock does."""
        return min(self.expires - now, self.lifetime) if self.access else 0.0

    def is_fresh(self, now: float) -> bool:
        """Whether the access token need not be renewed yet."""
        return self.left(now) > leeway(self.lifetime)


@dataclass(frozen=True, slots=True)
class Held:
    """What one place holds of a grant. `generation` rises with each change. `about`: whose it is, by `fingerprint`.

    `seed`: the mark of what a person typed in last. `earlier`: the marks before it, the newest first; a run that loaded
    its block long ago still has one of them. Marks of secrets that somebody may guess: they are kept encrypted.
    """

    generation: int = 0
    state: State = "new"
    about: str = ""
    seed: str = ""
    pair: Pair | None = None
    earlier: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """As it is kept, encrypted, in both places."""
        return orjson.dumps(asdict(self))


def from_json(text: bytes | str) -> Held | None:
    """What was kept; None where it is damaged: a form that was saved has put asterisks there."""
    try:
        data = orjson.loads(text)
        pair = data.pop("pair")
        earlier = tuple(data.pop("earlier", ()))
        held = Held(**data, pair=None if pair is None else Pair(**pair), earlier=earlier)
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        return None
    return held if _is_whole(held) else None


def _is_whole(held: Held) -> bool:
    texts: list[Any] = [held.about, held.seed, *held.earlier]
    numbers: list[Any] = [held.generation]
    if held.pair is not None:
        texts += [held.pair.access, held.pair.refresh, held.pair.cache]
        numbers += [held.pair.issued, held.pair.lifetime, held.pair.refreshed, held.pair.ages]
    return (
        held.state in STATES
        and all(isinstance(one, str) for one in texts)
        and all(type(one) in {int, float} and math.isfinite(one) for one in numbers)
        and isinstance(held.generation, int)
    )


def leeway(lifetime: float) -> float:
    """Seconds before its end at which a token of this lifetime is renewed."""
    return min(LEEWAY, lifetime / 10)


def newest(*copies: Held | None) -> Held:
    """The copy that counts: the highest generation; the first of equal ones."""
    return max((one for one in copies if one is not None), key=lambda one: one.generation, default=Held())


def suited(held: Held, about: str, seed: str, typed: str = "") -> Held:
    """What is held, as the block's settings are now: another client has another grant, what is newly typed begins one.

    A seed that was there before, but is not the last one, is an older block's: it begins nothing, and what came of the
    last one counts. Only what is newly typed begins anew what was revoked.

    Args:
        held: the copy that counts.
        about: the fingerprint of the settings.
        seed: the mark of what is typed in, if anything is.
        typed: the refresh token in the block, if its kind has one.
    """
    if seed and seed not in (held.seed, *held.earlier):
        earlier = (held.seed, *held.earlier)[:SEEDS] if held.seed else held.earlier
        pair = Pair(refresh=typed) if typed else None
        return Held(held.generation, "granted" if pair else "new", about, seed, pair, earlier)
    if held.about and held.about != about and held.state != "revoked":
        return replace(held, state="new", about=about, pair=None)
    return held


def serves(held: Held, failed: str, now: float) -> bool:
    """Whether its access token can be used, and is not the one that failed."""
    return held.pair is not None and held.pair.is_fresh(now) and held.pair.access != failed


def mark(secret: str) -> str:
    """Names a secret without telling it: tokens have more bits than anybody can try."""
    return hashlib.sha256(f"lockstep {secret}".encode("utf-8", "surrogatepass")).hexdigest()[:24] if secret else ""


def fingerprint(*settings: str) -> str:
    """Tells settings apart."""
    return hashlib.sha256("\0".join(settings).encode()).hexdigest()[:16]
