"""Rotate keys: what the store keeps encrypted is written again under a new key."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.errors import LockstepError
from blocks.store.block import the_store
from blocks.store.rekey import rekey


@flow(name="rotate_keys", persist_result=False)
async def rotate_keys() -> State[Any]:
    """Encrypt again, under the first key of LOCKSTEP_KEYS, what the store keeps under an older one.

    First put the new key before the others, on every worker. When this run says so, the older keys may be removed.
    """
    try:
        done, lost = await rekey(await the_store())
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    if lost:
        words = "are under a key that LOCKSTEP_KEYS lacks: put it back, behind the first, and run this again"
        return Failed(message=f"{done:,} values were encrypted again; {lost:,} {words}")
    return Completed(message=f"{done:,} values were encrypted again: all are under the first key, older ones may go")
