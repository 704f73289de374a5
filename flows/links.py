"""Tie an incident to a record of a system by hand, or loose it."""

from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.errors import LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.store.block import the_store
from blocks.store.locks import hold
from flows.cycle import WAIT, lock_of
from flows.incidents import Name, actor_of
from tasks.analyst.link import link_by_hand
from tasks.analyst.unlink import the_link, unlink_by_hand
from tasks.decide.start import Start


@flow(name="link", flow_run_name="link incident {incident} with {remote_id}", persist_result=False)
async def link(
    incident: int,
    system: AnyIncidentSystem,
    remote_id: Annotated[str, Field(min_length=1)],
    start_with: Start,
    your_name: Name,
) -> State[Any]:
    """Tie an incident of the store to a record that a system has already. From then on their mirror keeps both in step.

    Args:
        incident: The incident's number in the store.
        system: Where the record is. A mirror must have run on it before.
        remote_id: The record's id, as the mirror's reports and find_incidents show those of other records.
        start_with: Whose values stand where both sides differ now: those of the store, those of the system, or, field
            by field, the newest. A value goes before an empty field under newest. The mirror's rules still tell which
            fields may travel.
        your_name: Who links. It goes into the audit as it is typed.
    """
    try:
        database = await the_store()
        async with system, hold(database, lock_of(system.fingerprint()), wait=WAIT):
            done = await link_by_hand(
                database, system, incident, remote_id, start_with, actor_of(your_name), datetime.now(UTC)
            )
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"incident {incident} is linked with {done.remote_id}: {done}")


@flow(name="unlink", flow_run_name="unlink incident {incident}", persist_result=False)
async def unlink(incident: int, your_name: Name, mirror: str = "", reason: str = "") -> State[Any]:
    """Loose an incident of the store from its record in a system. Both stay as they are, and nothing travels any more.

    The record becomes no new incident, and the incident is not created there again, until somebody runs link.

    Args:
        incident: The incident's number in the store.
        your_name: Who unlinks. It goes into the audit as it is typed.
        mirror: The mirror's name, where several mirrors have this incident. Empty means the only one.
        reason: Why. It goes into the audit.
    """
    try:
        database = await the_store()
        found = await the_link(database, incident, mirror.strip())
        async with hold(database, lock_of(found["fingerprint"]), wait=WAIT):
            await unlink_by_hand(database, found, actor_of(your_name), reason.strip(), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"incident {incident} is not linked with {found['fingerprint']} any more")
