"""Grants: a person authorises one, or revokes it; each day they are looked after."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

# Their blocks are loaded by name, which finds only classes that are known.
import blocks.incidents  # noqa: F401
from blocks.errors import LockstepError
from blocks.oauth import people
from blocks.oauth.consent import asking
from blocks.store.block import the_store
from tasks.grants import care, grant_of, invitation, report, revoked, signals, summary
from tasks.reports import key_of, leave
from tasks.signals import emit


@flow(name="authorize", flow_run_name="authorize {grant}", persist_result=False)
async def authorize(grant: str) -> State[Any]:
    """Have a person authorise a system's grant: this run shows a link, and waits until they have agreed there.

    Args:
        grant: The system's block as type/name, as its page under Blocks shows it.
    """
    try:
        block = await grant_of(grant)
        database = await the_store()
        if await people.allow(database, block):
            return Completed(message=f"{block.grant_name} was revoked here, and may be used again")
        async with asking(block) as asked:
            await leave(invitation(block.grant_name, asked), key_of("authorize", block.grant_name), "what to do")
            words = f"open {asked.link}" + (f" and type in the code {asked.code}" if asked.code else "")
            get_run_logger().warning("To authorise %s, %s", block.grant_name, words)
            pair = await asked.answer()
        await people.adopt(database, block, pair)
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"{block.grant_name} is authorised")


@flow(name="revoke", flow_run_name="revoke {grant}", persist_result=False)
async def revoke(grant: str) -> State[Any]:
    """Revoke a system's grant at its vendor, where the vendor has a way, and forget its tokens here.

    It stays revoked until authorize runs, or until new credentials are typed into the block. The grant of a block that
    was deleted is forgotten.

    Args:
        grant: The system's block as type/name, as its page under Blocks shows it.
    """
    try:
        words = await revoked(await the_store(), grant)
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=words)


@flow(name="refresh_tokens", persist_result=False)
async def refresh_tokens() -> State[Any]:
    """Renew every grant that would die of age, and show how all of them are: healthy, until when, or who is needed."""
    try:
        found = await care(await the_store())
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    emit(signals(found))
    if found:
        await leave(report(found), "grants", summary(found))
    return Completed(message=summary(found) if found else "there are no grants")
