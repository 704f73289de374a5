"""Check a connection: what is missing, in words."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.errors import LockstepError
from blocks.incidents import AnyIncidentSystem
from tasks.reports import check_report, key_of, leave


@flow(name="check_connection", persist_result=False)
async def check_connection(system: AnyIncidentSystem) -> State[Any]:
    """Look at a system and say what is missing: address, certificate, login, permission, field. Nothing is written.

    Args:
        system: The system to look at. Add it under Blocks first.
    """
    try:
        async with system:
            report = await system.check()
    except LockstepError as error:
        # It could not even be opened: a certificate's file that is not there.
        return Failed(message=str(error), data=error)
    await leave(check_report(report), key_of("check", report.system), f"check of {report.system}")
    wrong = "; ".join(f"{one.what}: {one.detail}" for one in report.findings if not one.ok)
    return Completed(message="everything is as it must be") if report.ok else Failed(message=wrong)
