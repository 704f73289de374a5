"""Find incidents, or see all of one: what the store has, with links to where it is."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from httpx import codes
from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError

from blocks.contracts import IncidentSystem
from blocks.errors import LockstepError, Refused
from blocks.incidents import AnyIncidentSystem
from blocks.store import Database
from blocks.store.block import the_store
from blocks.store.search import Search, Waiting
from tasks.analyst.look import listed, whole
from tasks.analyst.show import found_report, found_table, found_words, incident_report
from tasks.reports import leave, leave_table

Status = Literal["new", "active", "waiting", "resolved", "closed"]
Severity = Literal["info", "low", "medium", "high", "critical"]


@flow(name="find_incidents", persist_result=False)
async def find_incidents(
    incident: Annotated[int, Field(ge=0)] = 0,
    text: str = "",
    status: list[Status] = [],  # noqa: B006  never changed; a form's list
    severity: list[Severity] = [],  # noqa: B006  as above
    type: str = "",
    owner: str = "",
    label: str = "",
    last_days: Annotated[int, Field(ge=0, le=36500)] = 0,
    updated_from: str = "",
    updated_to: str = "",
    mirror: str = "",
    waiting: list[Waiting] = [],  # noqa: B006  as above
    page_size: Annotated[int, Field(ge=1, le=200)] = 50,
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1,
) -> State[Any]:
    """Find incidents of the store, newest first, or see all of one. Nothing is changed.

    The run's artifacts show what was found, with links to the systems that have it.

    Args:
        incident: The number of one incident, to see all of it; the rest of this form does not count then. 0 searches.
        text: Words in title, description, further fields or entries, whatever their case.
        status: One of these. Empty means any.
        severity: One of these. Empty means any.
        type: The type, as it is written. Empty means any.
        owner: The owner, as it is written. Empty means any.
        label: A label that it has. Empty means any.
        last_days: Updated in the last so many days. 0 means at any time.
        updated_from: Or updated since this time, such as 2026-11-01 or 2026-11-01T08:30:00Z. Empty means at any time.
        updated_to: Updated before this time.
        mirror: Only what this mirror keeps in step. Empty means all incidents.
        waiting: Only those with a conflict, with something parked, or dirty, which means not yet in step.
        page_size: So many on a page.
        page: Which page, from 1.
    """
    try:
        database = await the_store()
        if incident:
            return await _one(database, incident)
        after, before = _span(last_days, updated_from, updated_to, datetime.now(UTC))
        wanted = Search(
            status=tuple(status), severity=tuple(severity), type=_named(type), owner=_named(owner),
            label=label.strip() or None, text=text.strip() or None, updated_after=after, updated_before=before,
            waiting=tuple(waiting), limit=page_size,
        )  # fmt: skip
        return await _some(database, wanted, mirror.strip(), page)
    except LockstepError as error:
        return Failed(message=str(error), data=error)


async def _some(database: Database, wanted: Search, mirror: str, page: int) -> State[Any]:
    found = await listed(database, wanted, mirror, page)
    words, systems = found_words(found), await systems_of_blocks()
    shown = await leave(found_report(found, systems), "found-incidents", words)
    if found.incidents:
        await leave_table(found_table(found, systems), "found-incidents-table", f"{words}; to sort and search")
    return Completed(message=f"{words}{_where(shown)}", data={})


async def _one(database: Database, incident: int) -> State[Any]:
    found = await whole(database, incident)
    shown = await leave(
        incident_report(found, await systems_of_blocks()), f"incident-{incident}", f"incident {incident}"
    )
    return Completed(message=f"incident {incident}{_where(shown)}", data={})


def _named(value: str) -> tuple[str, ...]:
    return (value.strip(),) if value.strip() else ()


def _span(last_days: int, begin: str, end: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """From when to when. Refused: two beginnings, or a time that cannot be read."""
    if last_days and begin.strip():
        raise _refused("last_days and updated_from both say when to begin: give one of them")
    after = now - timedelta(days=last_days) if last_days else _time("updated_from", begin)
    return after, _time("updated_to", end)


def _time(name: str, value: str) -> datetime | None:
    """A day, from its first moment in UTC, or a time with its zone."""
    value = value.strip()
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is not None and len(value) == len("2026-11-01"):
        return found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise _refused(
            f"{name} is '{value[:40]}': write a day, as 2026-11-01, or a time with its zone, 2026-11-01T08:30Z"
        )
    return found.astimezone(UTC)


def _refused(words: str) -> Refused:
    return Refused(words, system="store", call="find")


def _where(artifact: UUID | None) -> str:
    """The artifact's address, as far as this installation has pages."""
    pages = get_current_settings().ui_url
    return f": {pages}/artifacts/artifact/{artifact}" if artifact and pages else ""


async def systems_of_blocks() -> dict[str, IncidentSystem]:
    """Fingerprint → the block that points there, of all that Prefect has. Their secrets are not read."""
    found: dict[str, IncidentSystem] = {}
    async with get_client() as client:
        for kind in get_args(AnyIncidentSystem) or (AnyIncidentSystem,):
            try:
                documents = await client.read_block_documents_by_type(kind.get_block_type_slug(), include_secrets=False)
            except PrefectHTTPStatusError as error:
                if error.response.status_code != codes.NOT_FOUND:
                    raise
                continue  # this server has not heard of the kind yet
            for document in documents:
                try:
                    system = kind.model_validate(document.data)
                except ValidationError:
                    continue  # half filled in: it has no address yet
                found[system.fingerprint()] = system
    return found
