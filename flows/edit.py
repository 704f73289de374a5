"""Edit an incident of the store: its fields, a comment or a note, closing and reopening."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field
from pydantic.dataclasses import dataclass

from blocks.errors import LockstepError
from blocks.store.block import the_store
from flows.incidents import Name, actor_of
from tasks.analyst.edit import Change, edit_by_hand


@dataclass(frozen=True)
class Further:
    """One further field."""

    name: Annotated[str, Field(description="Its name in the store.", pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    value: Annotated[str, Field(description="What it shall hold; several values with commas. Empty removes it.")] = ""


@flow(name="edit_incident", flow_run_name="edit incident {incident}", persist_result=False)
async def edit_incident(
    incident: int,
    your_name: Name,
    title: str = "",
    description: str = "",
    status: Literal["", "new", "active", "waiting", "resolved", "closed"] = "",
    severity: Literal["", "info", "low", "medium", "high", "critical"] = "",
    owner: str = "",
    close_reason: str = "",
    close_notes: str = "",
    clear: list[Literal["description", "severity", "owner", "close_notes"]] = [],  # noqa: B006  never changed; a form's list
    add_labels: list[str] = [],  # noqa: B006  as above
    remove_labels: list[str] = [],  # noqa: B006  as above
    further: list[Further] = [],  # noqa: B006  as above
    entry: str = "",
    entry_kind: Literal["comment", "note"] = "comment",
    entry_tags: list[str] = [],  # noqa: B006  as above
) -> State[Any]:
    """Change an incident in the store, in one go; the next cycle of each of its mirrors sends what may travel.

    Args:
        incident: The incident's number in the store.
        your_name: Who edits. It goes into the audit as it is typed, and is the entry's author.
        title: The new title. Empty leaves it as it is.
        description: The new description, whole. Empty leaves it as it is.
        status: resolved or closed closes it and asks for a reason below; another one opens it again. Empty leaves it.
        severity: The new severity. Empty leaves it as it is.
        owner: The new owner. Empty leaves it as it is.
        close_reason: Why it is resolved or closed. Needed then; emptied when it is opened again.
        close_notes: What there is to say about it when it is resolved or closed.
        clear: Fields to empty.
        add_labels: Labels that it shall have beside its own.
        remove_labels: Labels that it shall not have any more.
        further: Further fields of the store, by name.
        entry: A comment or note to add. Empty adds none.
        entry_kind: A comment is for everybody in the incident, a note for those who work on it.
        entry_tags: Tags of the entry. A mirror's rules may send only entries with certain tags.
    """
    change = Change(
        {"title": title, "description": description, "status": status, "severity": severity, "owner": owner,
         "close_reason": close_reason, "close_notes": close_notes},
        tuple(clear), tuple(add_labels), tuple(remove_labels), {one.name: one.value for one in further},
        entry, entry_kind, tuple(entry_tags),
    )  # fmt: skip
    try:
        database = await the_store()
        done = await edit_by_hand(database, incident, change, actor_of(your_name), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"incident {incident}: {done}")
