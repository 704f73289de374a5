"""The story: what people do on both sides, and what must be found on the other afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import select

from blocks.incidents.roundup import Roundup
from blocks.rules import CustomField, Intake, Rule, Rules
from blocks.store import Database
from blocks.store.incidents import Actor, add_comment, create, edit, entries_of
from blocks.store.locks import hold
from blocks.store.tables import Conflict, Incident, Link, table_of
from demo.tracker import Issue, Tracker
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.people import resolve

ANALYST = Actor("Kim (analyst)")
RULES = Rules(
    create=True,
    title=Rule(policy="ask"),
    custom=[CustomField("close_reason", "closereason"), CustomField("close_notes", "closenotes")],
)
OPENED = (
    ("Phishing mail to finance", "urgent", "Three people clicked."),
    ("VPN login from two countries", "critical", "Impossible travel, user ann."),
    ("EICAR on build server", "bug", ""),
    ("Expired certificate on intranet", "feature", ""),
    ("Port scan from guest network", "wish", "Looks like a printer."),
    ("USB stick found in lobby", "bug", ""),
)


@dataclass(slots=True)
class Story:
    """The scene: tracker, store, and what was seen so far."""

    tracker: Tracker
    system: Roundup
    database: Database
    say: Callable[[str, str], None]
    rows: dict[str, int] = field(default_factory=dict)

    async def mirror(self) -> None:
        """One cycle, under the mirror's lock, as the deployment does it."""
        async with self.system, hold(self.database, f"mirror:{self.system.fingerprint()}", wait=60):
            await cycle(await Mirroring.open(self.database, self.system, "demo", rules=RULES, intake=Intake()))

    async def store(self) -> dict[str, tuple[int, Incident]]:
        """The store's incidents that are linked: issue number → (incident number, incident)."""
        link, incident = table_of(Link), table_of(Incident)
        async with self.database.read() as connection:
            query = select(link.c.remote_id, incident).join(incident, incident.c.id == link.c.incident_id)
            rows = (await connection.execute(query.where(link.c.remote_id.is_not(None)))).mappings().all()
        return {
            row["remote_id"]: (row["id"], Incident(**{k: v for k, v in row.items() if k != "remote_id"}))
            for row in rows
        }

    async def texts(self, number: int) -> list[str]:
        """The texts of an incident's entries."""
        return [entry.text for entry in await entries_of(self.database, number)]


async def tell(story: Story) -> dict[str, int]:
    """The whole story; answers the counts of its last line."""
    for title, priority, text in OPENED:
        story.tracker.open(title, priority, text)
    fetched = await _fetch(story)
    mirrored_in, mirrored_out = await _both_ways(story)
    conflicts = await _conflict(story)
    closed, reopened = await _close_and_reopen(story)
    idle = await _again(story)
    return {
        "fetched": fetched,
        "mirrored_in": mirrored_in + reopened,
        "mirrored_out": mirrored_out + closed,
        "conflicts": conflicts,
        "duplicates": await _duplicates(story),
        "writes_when_idle": idle,
    }


async def _fetch(story: Story) -> int:
    await story.mirror()
    store = await story.store()
    found = [issue for issue in story.tracker.issues() if issue.id in store and store[issue.id][1].title == issue.title]
    story.say("fetched", f"{len(found)} issues of the tracker are incidents of the store")
    return len(found)


async def _both_ways(story: Story) -> tuple[int, int]:
    """Different fields of one incident, a comment each way, and an incident that only the store has."""
    one = (await story.store())["1"][0]
    story.tracker.edit("1", priority="critical")
    story.tracker.comment("1", "Mail is quarantined.")
    await edit(story.database, one, {"status": "active", "owner": "analyst"}, ANALYST, _now())
    await add_comment(story.database, one, "Passwords are reset.", ANALYST, _now())
    new = {"title": "Badge reader offline", "severity": "low", "description": "Reported by the guard."}
    await create(story.database, new, ANALYST, _now())
    await story.mirror()
    ours, theirs = (await story.store())["1"][1], story.tracker.issues()
    texts = await story.texts(one)
    came = [ours.severity == "critical", texts.count("Mail is quarantined.") == 1]
    issue = theirs[0]
    went = [
        issue.status in {"in-progress", "chatting"},  # both mean active
        issue.owner == "analyst",
        issue.messages.count("Passwords are reset.") == 1,
        [i.title for i in theirs].count("Badge reader offline") == 1,
    ]
    story.say("mirrored in", f"{sum(came)} of {len(came)}: the tracker's severity and comment are in the store")
    story.say("mirrored out", f"{sum(went)} of {len(went)}: status, owner, comment, a new incident are in the tracker")
    return sum(came), sum(went)


async def _conflict(story: Story) -> int:
    """Both sides change the title, and the rule says that a person decides."""
    two = (await story.store())["2"][0]
    story.tracker.edit("2", title="VPN login from two countries, confirmed")
    await edit(story.database, two, {"title": "Account takeover: ann"}, ANALYST, _now())
    await story.mirror()
    conflict = table_of(Conflict)
    async with story.database.read() as connection:
        listed = (await connection.execute(select(conflict))).mappings().all()
    for row in listed:
        story.say("conflict", f"{row['field']}: store '{row['store_value']}', tracker '{row['system_value']}'")
        await resolve(story.database, row["incident_id"], row["field"], "store", "demo", ANALYST, _now())
    await story.mirror()
    same = story.tracker.issues()[1].title == (await story.store())["2"][1].title
    story.say("decided", "a person picked the store's: " + ("both sides agree" if same else "NOT IN STEP"))
    return len(listed)


async def _close_and_reopen(story: Story) -> tuple[int, int]:
    """Closed here with reason and notes; reopened there."""
    three = (await story.store())["3"][0]
    over = {"status": "resolved", "close_reason": "Test file", "close_notes": "A developer's test."}
    await edit(story.database, three, over, ANALYST, _now())
    await story.mirror()
    issue = story.tracker.issues()[2]
    closed = (issue.status, issue.reason, issue.notes) == ("resolved", "Test file", "A developer's test.")
    story.say("closed", f"issue 3 is '{issue.status}', reason '{issue.reason}', notes '{issue.notes}'")
    story.tracker.edit("3", status="in-progress")
    await story.mirror()
    ours = (await story.store())["3"][1]
    story.say("reopened", f"incident {three} is '{ours.status}' again")
    return int(closed), int(ours.status == "active")


async def _again(story: Story) -> int:
    """Once more, with nothing changed: whatever differs in the tracker afterwards was written by us."""
    before = story.tracker.issues()
    await story.mirror()
    writes = len(set(story.tracker.issues()) - set(before))
    story.say("run again", f"{writes} issues changed")
    return writes


async def _duplicates(story: Story) -> int:
    issues, store = story.tracker.issues(), await story.store()
    titles = _repeated([issue.title for issue in issues]) + _repeated([i.title for _, i in store.values()])
    messages = sum(_repeated(issue.messages) for issue in issues)
    entries = sum([_repeated(await story.texts(number)) for number, _ in store.values()])
    return titles + messages + entries


def _repeated(values: Sequence[object]) -> int:
    return sum(n - 1 for n in Counter(values).values())


def _now() -> datetime:
    return datetime.now(UTC)


__all__ = ["Issue", "Story", "tell"]
