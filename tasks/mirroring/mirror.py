"""A mirror at work: its system, its rules, the store, and what this cycle has done so far."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Self

from sqlalchemy import or_, select, update

from blocks.contracts import IncidentSystem
from blocks.errors import Misconfigured
from blocks.fieldmap import FieldMap
from blocks.model import Capabilities, Value
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.incidents import Actor
from blocks.store.links import LINK, SYSTEM, WAITING, dumps, offer_all, register
from tasks.decide.merge import Way, ways

log = logging.getLogger("lockstep.mirror")

SIGNALS = 50
"""So many incidents of a run are named; counts stand for the rest."""


def utc_now() -> datetime:
    """The clock of everything that is not given another."""
    return datetime.now(UTC)


def _digest(settings: object) -> str:
    return sha256(repr(settings).encode()).hexdigest()


HALF = 64
"""So much of a mirror's digest is of its rules and intake; the rest is of its map."""


@dataclass(slots=True)
class Tally:
    """What a cycle did, counted; `named` holds the first incidents of each kind, for signals."""

    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[int]] = field(default_factory=dict)
    warned: set[tuple[str, str]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, *incidents: int, count: int | None = None) -> None:
        """Count something, and name the incidents it happened to."""
        self.counts[what] += len(incidents) if count is None else count
        names = self.named.setdefault(what, [])
        names += incidents[: max(0, SIGNALS - len(names))]


@dataclass(slots=True)
class Mirroring:
    """One mirror in one process. Made by `open`, under the mirror's lock for all that writes."""

    database: Database
    system: IncidentSystem
    system_id: int
    rules: Rules
    intake: Intake
    limits: Limits
    actor: Actor
    fields: FieldMap
    table: tuple[Way, ...]
    able: Capabilities
    now: Callable[[], datetime] = utc_now
    parallel: int = 16
    cursor: str | None = None
    caught_up: bool = False
    reads_failed: bool = False
    started: datetime = field(default_factory=utc_now)
    span: tuple[datetime, datetime] | None = None
    confirmed_gone: set[int] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    @classmethod
    async def open(
        cls,
        database: Database,
        system: IncidentSystem,
        name: str,
        *,
        rules: Rules | None = None,
        intake: Intake | None = None,
        limits: Limits | None = None,
        run: str = "",
        now: Callable[[], datetime] = utc_now,
        as_before: bool = False,
    ) -> Self:
        """Register the system under the mirror's name and read how far it is.

        Raises:
            Misconfigured: the name is bound to another system, or the rules ask for what the vendor cannot do, or, with
                `as_before`, are not those of the mirror's last cycle.
        """
        rules, intake = rules or Rules(), intake or Intake()
        able = system.capabilities
        if rules.create and not able.create:
            message = "its incidents cannot be created through its API; switch 'create' off"
            raise Misconfigured(message, system=system.fingerprint())
        fields = system.fields.extended(intake.values, rules.custom)
        system_id = await register(database, system.fingerprint(), type(system).__name__, name, now())
        mirror = cls(
            database, system, system_id, rules, intake, limits or Limits(), Actor(f"mirror {name}", run), fields,
            ways(fields, rules, able), able, now, started=now(),
        )  # fmt: skip
        if as_before:
            await mirror.must_be_as_before()
        await mirror.refresh()
        return mirror

    @property
    def digest(self) -> str:
        """Of what a person set: HALF of it of rules and intake, the rest of the map that came of them."""
        return _digest((self.rules, self.intake)) + _digest([(row.ours, row.theirs) for row in self.fields.rows])

    async def must_be_as_before(self) -> None:
        """Misconfigured, if rules and intake are not those of the mirror's last cycle; the first one sets them."""
        async with self.database.read() as connection:
            last = (await connection.execute(select(SYSTEM.c.rules).where(SYSTEM.c.id == self.system_id))).scalar()
        if last and last != self.digest:
            message = (
                "these rules or this intake are not those of the mirror's last cycle: put the same values into both "
                "deployments; after a change let the mirror run once, a dry run will do"
            )
            raise Misconfigured(message, system=self.system.fingerprint())

    async def refresh(self) -> None:
        """Read the cursor; after changed rules decide again what waits, and offer what may now be created.

        After a changed map all is decided again: a newly mapped field begins where both sides stand now, and the edit
        that comes next already travels.
        """
        async with self.database.read() as connection:
            row = (await connection.execute(select(SYSTEM).where(SYSTEM.c.id == self.system_id))).one()
        self.cursor, self.caught_up = row.cursor, row.caught_up
        digest = self.digest
        if (row.rules, row.creates) != (digest, self.rules.create):
            async with self.database.begin("rules") as connection:
                await connection.execute(
                    update(SYSTEM).where(SYSTEM.c.id == self.system_id).values(rules=digest, creates=self.rules.create)
                )
                again = or_(LINK.c.dirty == WAITING, LINK.c.state == "offered")
                if row.rules[HALF:] != digest[HALF:]:
                    again = or_(again, LINK.c.state == "linked")
                await connection.execute(update(LINK).where(LINK.c.system_id == self.system_id, again).values(dirty=1))
                if self.rules.create and not row.creates:
                    await offer_all(self.database, connection, self.system_id)

    @property
    def coarse(self) -> timedelta:
        """The resolution of the coarser clock; ours is finer than any."""
        return timedelta(seconds=self.able.clock_seconds)

    @property
    def settle(self) -> timedelta:
        """How long the vendor's search may lag behind its writes."""
        return timedelta(seconds=self.able.settle_seconds)

    @property
    def takes_in(self) -> bool:
        """Whether the system's incidents become ours."""
        return self.rules.direction in {"in", "both"}

    def kinds(self, *, incoming: bool) -> frozenset[str]:
        """The kinds of entries that travel in, or out."""
        ways_in = {"in", "both"} if incoming else {"out", "both"}
        if self.rules.direction not in ways_in or (not incoming and self.able.read_only):
            return frozenset()
        spoken = incoming or self.able.comments_out
        texts = {"comment", "note"} if spoken and self.rules.comments.direction in ways_in else set()
        files = {"file"} if self.rules.files.direction in ways_in and self.able.files else set()
        return frozenset(texts | files)

    def theirs(self, ours: str) -> str:
        """Their key of a field of ours, or its own name where the map has no row for it."""
        return next((row.theirs for row in self.fields.rows if row.ours == ours), ours)

    def incident_key(self, link_id: int) -> str:
        """Our key on an incident that we create."""
        return f"lockstep-{self.database.id}-i{link_id}"

    def entry_key(self, entry_id: int) -> str:
        """Our key on an entry that we add."""
        return f"lockstep-{self.database.id}-e{entry_id}"

    def own(self, key: str | None, letter: str) -> int | None:
        """The number in a key of ours, None for another's."""
        prefix = f"lockstep-{self.database.id}-{letter}"
        number = (key or "").removeprefix(prefix)
        return int(number) if key and key.startswith(prefix) and number.isascii() and number.isdigit() else None

    def warn_unmapped(self, incident: object, field: str, value: Value) -> None:
        """A value that is in no map leaves its field alone: said once a cycle for each value."""
        if (field, str(value)) not in self.tally.warned:
            self.tally.warned.add((field, str(value)))
            self.tally.counts["unmapped"] += 1
            told = f"{field}: the value {dumps(value)[:80]} of {incident}"
            self.tally.notes.append(f"{told} is in no map, or cannot be set there; left alone")
            log.warning("%s [%s]: %s", self.system.fingerprint(), incident, self.tally.notes[-1])
