"""Compare a store with its trackers, incident by incident: what is lost, what is there twice, what differs unlisted.

Judged from what they hold and from what people wrote down, never from what the engine says of itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.model import OVER
from chaos.people import Deed
from chaos.sides import Item, Store, There

DOUBT = 6.0
"""Seconds: of edits closer than the coarser clock the store's stands, whoever saw what; times are cut, too."""


@dataclass(slots=True)
class Found:
    """What is wrong, in words; `listed` tells what differs and waits for a person, as it may."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, other: Found) -> None:
        """Take in another comparison."""
        self.lost += other.lost
        self.twice += other.twice
        self.different += other.different
        self.listed += other.listed
        self.compared += other.compared


def compare(store: Store, there: Sequence[There], deeds: Sequence[Deed], creating: frozenset[str]) -> Found:
    """Compare everything. `creating`: the mirrors that create there what the store has."""
    found = Found()
    here = store.items()
    for one in there:
        _pairs(found, store, one, create=one.name in creating)
        for link, issue in _linked(store, one):
            _fields(found, store, one, link, issue)
            _entries(found, store, one, link, here[link["incident_id"]], one.items(issue))
    _twice(found, here, there)
    _deeds(found, store, here, there, deeds)
    _titles(found, store, there)
    found.different += [f"an intent is left: {row}" for row in store.rows["intent"]]
    found.different += [f"link {row['id']} is to be decided still" for row in store.rows["link"] if row["dirty"] == 1]
    return found


def _linked(store: Store, one: There) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for link in store.links(one.name):
        issue = one.issues.get(link["remote_id"] or "")
        if issue is not None and not issue["retired"] and link["incident_id"] is not None and link["state"] == "linked":
            yield link, issue


def _pairs(found: Found, store: Store, one: There, *, create: bool) -> None:
    """One incident for one issue, and nothing is left out."""
    links = store.links(one.name)
    incidents = {row["id"]: row for row in store.rows["incident"]}
    remote = Counter(link["remote_id"] for link in links if link["remote_id"])
    local = Counter(link["incident_id"] for link in links if link["incident_id"])
    found.twice += [f"{one.name}: issue {id} has {n} links" for id, n in remote.items() if n > 1]
    found.twice += [f"{one.name}: incident {id} has {n} links" for id, n in local.items() if n > 1]
    for key, n in one.keys().items():
        if n > 1:
            found.twice.append(f"{one.name}: {n} messages carry {key}")
    found.lost += [f"{one.name}: issue {id} is not in the store" for id in one.issues if id not in remote]
    for link in links:
        issue = one.issues.get(link["remote_id"] or "")
        if link["state"] == "offered" and create:
            _offered(found, store, one, link, incidents[link["incident_id"]])
        elif issue is None or link["state"] != "linked" or issue["retired"]:
            found.different.append(f"{one.name}: the link of issue {link['remote_id']} is {link['state']}")
    if create:
        found.lost += [f"{one.name}: incident {id} was not created there" for id in incidents if id not in local]


def _offered(found: Found, store: Store, one: There, link: Mapping[str, Any], incident: Mapping[str, Any]) -> None:
    words = f"{one.name}: incident {incident['id']} was not created there"
    if incident["status"] in OVER or store.parked(link):
        found.listed.append(words)
    else:
        found.lost.append(words)


def _fields(found: Found, store: Store, one: There, link: Mapping[str, Any], issue: Mapping[str, Any]) -> None:
    incident = next(row for row in store.rows["incident"] if row["id"] == link["incident_id"])
    shown = one.fields(issue)
    for row in one.map.rows:
        if row.writable != "always":
            continue
        ours, theirs = incident[row.ours], shown[row.theirs]
        if row.many:
            ours = ours or []
        found.compared["fields"] += 1
        if not row.same(ours, theirs):
            words = f"{row.ours} of incident {incident['id']} is {ours!r}, in {one.name}{link['remote_id']} {theirs!r}"
            known = store.listed(link, row.ours, row.theirs)
            (found.listed if known else found.different).append(words)


def _entries(
    found: Found, store: Store, one: There, link: Mapping[str, Any], here: Counter[Item], over_there: Counter[Item]
) -> None:
    where = f"incident {link['incident_id']} and {one.name}{link['remote_id']}"
    waits = store.waiting_words(link)
    found.compared["entries"] += len(here | over_there)
    for items, side in ((here - over_there, one.name), (over_there - here, "the store")):
        for item in items:
            if here[item] and over_there[item]:
                found.twice.append(f"{where}: {item}: {here[item]} in the store, {over_there[item]} there")
            else:
                known = item.words.replace("\0", "") in waits
                (found.listed if known else found.lost).append(f"{where}: {item} is not in {side}")


def _twice(found: Found, here: Mapping[int, Counter[Item]], there: Sequence[There]) -> None:
    """Words are never written twice, so they are nowhere twice on one side."""
    sides = {"the store": list(here.values())}
    sides |= {one.name: [one.items(issue) for issue in one.issues.values()] for one in there}
    for name, incidents in sides.items():
        total: Counter[Item] = Counter()
        for items in incidents:
            total += items
        found.twice += [f"{name}: {item} is there {n} times" for item, n in total.items() if n > 1]


def _deeds(
    found: Found, store: Store, here: Mapping[int, Counter[Item]], there: Sequence[There], deeds: Sequence[Deed]
) -> None:
    """What people were told is done is where they did it; what became of it elsewhere is compared above."""
    texts = {"store": {item.words for items in here.values() for item in items}}
    texts |= {one.name: {i.words for issue in one.issues.values() for i in one.items(issue)} for one in there}
    titles = {words for row in store.rows["audit"] for words in _titles_of(row)}
    titles |= {row["title"] for row in store.rows["incident"]}
    for deed in deeds:
        if not deed.done:
            continue
        found.compared[f"{deed.kind}s by people"] += 1
        if deed.kind == "incident":
            known = (
                deed.where in next((one.issues for one in there if one.name == deed.side), {}) or deed.words in titles
            )
        else:
            known = deed.words in texts[deed.side]
        if not known:
            found.lost.append(f"{deed.kind} {deed.words!r} of {deed.side} is gone from where it was written")


def _titles_of(row: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in (row["changes"] or {}).get("title", ())]


def _titles(found: Found, store: Store, there: Sequence[There]) -> None:
    """A title stands in the end only if nobody who saw it wrote another, later: or that edit would be lost."""
    wrote: dict[str, list[tuple[float, str]]] = defaultdict(list)
    born: dict[str, float] = {}
    for one in there:
        for row in one.state["titles"]:
            wrote[row["saw"]].append((row["at"], row["wrote"]))
            born[row["wrote"]] = row["at"]
    for row in store.rows["audit"]:
        change = (row["changes"] or {}).get("title")
        if change and row["system_id"] is None and row["actor"] == "bob":
            wrote[change[0]].append((row["at"].timestamp(), change[1]))
            born[change[1]] = row["at"].timestamp()
    for incident in store.rows["incident"]:
        mine = [link for link in store.rows["link"] if link["incident_id"] == incident["id"]]
        if any(store.listed(link, "title", "title") for link in mine):
            continue
        found.compared["titles"] += 1
        title = incident["title"]
        late = [words for at, words in wrote[title] if at > born.get(title, 0.0) + DOUBT]
        found.lost += [
            f"incident {incident['id']} is called {title!r}, though who saw it wrote {one!r}" for one in late
        ]
