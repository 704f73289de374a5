"""What people do with incidents: pick the side of a conflict, have what was parked tried again."""

from datetime import UTC, datetime
from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.errors import LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Rules
from blocks.store.audit import Actor
from flows.cycle import one_turn, the_store
from tasks.incidents import Turn
from tasks.mirroring.people import read_asked, replay, resolve

INTAKE, RULES = Intake(), Rules()


@flow(name="resolve_conflict", flow_run_name="keep the {keep} in incident {incident}", persist_result=False)
async def resolve_conflict(
    incident: int, field: str, keep: Literal["store", "system"], your_name: str, mirror: str = ""
) -> State[Any]:
    """Pick the side of a conflict; the mirror's next cycle writes it to the other.

    Args:
        incident: The incident's number in the store.
        field: The field, as the conflict names it.
        keep: Whose value stays. It holds for the two values that are listed now; if one changes, it is listed again.
        your_name: Who picks. It goes into the audit as it is typed.
        mirror: The mirror's name, where several mirrors have a conflict in this field. Empty: the only one.
    """
    try:
        database = await the_store()
        await resolve(database, incident, field, keep, mirror, _actor(your_name), datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"{field} of incident {incident}: the {keep}'s value stays")


@flow(name="replay_parked", flow_run_name="replay what {mirror} parked", persist_result=False)
async def replay_parked(
    mirror: str,
    system: AnyIncidentSystem,
    your_name: str,
    ids: list[int] = [],  # noqa: B006  never changed; a form's list
    intake: Intake = INTAKE,
    rules: Rules = RULES,
) -> State[Any]:
    """Have what was parked tried again: writes in the mirror's next cycle, records by reading them now.

    Args:
        mirror: The mirror's name.
        system: Its system.
        your_name: Who wants it. It goes into the audit as it is typed.
        ids: The numbers of what is parked. Empty: all of this mirror.
        intake: As the mirror has it: what its records become.
        rules: As the mirror has them.
    """

    async def work(turn: Turn) -> None:
        await replay(turn.m.database, ids, mirror, _actor(your_name), turn.m.now())
        await read_asked(turn.m)

    return await one_turn(system, mirror, work, intake=intake, rules=rules)


def _actor(name: str) -> Actor:
    return Actor(name, str(flow_run.id or ""))
