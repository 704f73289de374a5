"""Report: incidents that match, as files, published when a person agrees."""

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.errors import LockstepError
from blocks.store.audit import Actor
from blocks.store.block import the_store
from tasks.reporting.gather import gather
from tasks.reporting.keep import keep, made_by
from tasks.reporting.publish import folder
from tasks.reporting.show import preview
from tasks.reporting.which import Which
from tasks.reports import key_of, leave, moment
from tasks.signals import emit, of_report

WHICH = Which()


@flow(name="make_report", flow_run_name="report {title}", persist_result=False)
async def make_report(
    title: Annotated[str, Field(pattern=r"\S", max_length=200)],
    which: Which = WHICH,
    publish_to: str = "",
    approval_hours: Annotated[int, Field(ge=1, le=720)] = 72,
) -> State[Any]:
    """Make a report of incidents as CSV, JSON and HTML, which waits until a person agrees that it is published.

    Run approve_or_reject with its number. Until then it is kept encrypted; this run's artifact shows what is in it.

    Args:
        title: What the report is called; its files are named after it.
        which: Which incidents it has. Without anything given, all of them.
        publish_to: The folder that its files go to when it is approved: a path on the worker's host, or an address such
            as s3://bucket/folder, whose library the worker must have. Empty means reports in the state folder.
        approval_hours: How long it waits. What nobody approves by then is deleted.
    """
    try:
        database, run = await the_store(), str(flow_run.id or "")
        row = await made_by(database, run)
        if row is None:
            now, target = datetime.now(UTC), folder(publish_to, os.environ)
            content = await gather(database, title, which, now)
            lasts = timedelta(hours=approval_hours)
            row = await keep(database, content, target, lasts, Actor("make_report", run), now)
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    number = row["id"]
    await leave(preview(row), key_of("report", str(number)), f"report {number} waits: {row['title']}")
    emit([of_report(row)])
    words = f"awaiting approval {number}: {row['facts']['incidents']:,} incidents, until {moment(row['deadline'])}"
    return Completed(name="AwaitingApproval", message=words, data={"number": number})
