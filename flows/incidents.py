"""What people do with incidents: pick the side of a conflict, have what was parked tried again."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.errors import LockstepError, Refused
from blocks.store.audit import Actor
from blocks.store.block import the_store
from tasks.mirroring.people import replay, resolve

Name = Annotated[str, Field(min_length=1)]


@flow(name="resolve_conflict", flow_run_name="keep the {keep} in incident {incident}", persist_result=False)
async def resolve_conflict(
    incident: int, field: str, keep: Literal["store", "system"], your_name: Name, mirror: str = ""
) -> State[Any]:
    """Pick the side of a conflict; the mirror's next cycle writes it to the other.

    Args:
        incident: The incident's number in the store.
        field: The field, as the conflict names it.
        keep: Whose value stays. It holds for the two values that are listed now; if one changes, it is listed again.
        your_name: Who picks. It goes into the audit as it is typed.
        mirror: The mirror's name, where several mirrors have a conflict in this field. Empty means the only one.
    """
    try:
        database = await the_store()
        await resolve(database, incident, field.strip(), keep, mirror.strip(), actor_of(your_name), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"{field} of incident {incident}: the {keep}'s value stays")


@flow(name="replay_parked", persist_result=False)
async def replay_parked(
    your_name: Name,
    mirror: str = "",
    ids: list[int] = [],  # noqa: B006  never changed; a form's list
) -> State[Any]:
    """Have what was parked tried again by its mirror's next cycle: what came in is read again, a write decided anew.

    Args:
        your_name: Who wants it. It goes into the audit as it is typed.
        mirror: The mirror's name, for all that it parked. Empty means only the numbers below.
        ids: The numbers of what is parked, as the mirror's report lists them. Empty means all of the mirror.
    """
    try:
        if not (mirror or ids):
            message = "say what to replay: a mirror's name, or numbers"
            raise Refused(message, system="store", call="replay")
        database = await the_store()
        numbers = await replay(database, ids, mirror.strip(), actor_of(your_name), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"{len(numbers)} parked: the next cycle of their mirror tries them again")


def actor_of(name: str) -> Actor:
    """A person, as they typed their name, in this run."""
    return Actor(name, str(flow_run.id or ""))
