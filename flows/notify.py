"""Tell a person that something waits for them: in the log, as an artifact and, if set, through a notification block."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from blocks.errors import Misconfigured
from flows.house.attention import what_to_do


@flow(name="notify")
async def notify(signal: str, about: str = "", payload: dict[str, Any] | None = None, through: str = "") -> None:
    """Tell a person what waits for them, and what to do.

    Args:
        signal: What was signalled, such as lockstep.attention.conflict.
        about: The resource that it is about.
        payload: What the signal carried.
        through: A notification block as type/name, such as slack-webhook/security. Empty: only shown here.
    """
    subject, body = words(signal, about, payload or {})
    get_run_logger().warning("%s: %s", subject, what_to_do(signal))
    await acreate_markdown_artifact(body, key="attention", description=subject)
    if through:
        await send(through, subject, body)


def words(signal: str, about: str, payload: dict[str, Any]) -> tuple[str, str]:
    """A subject, and a body in Markdown. What came from a system is shown as text, never as a link or an image."""
    subject = f"Lockstep: {signal.rpartition('.')[2]} · {about}"
    rows = [f"| {cell(name)} | {cell(value)} |" for name, value in sorted(payload.items())]
    table = ["", "| what | value |", "|---|---|", *rows] if rows else []
    return subject, "\n".join([f"**{cell(subject)}**", "", what_to_do(signal), *table])


def cell(value: object) -> str:
    """One cell of a Markdown table."""
    text = " ".join(str(value).split())[:500]
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#|!" else letter for letter in text)


async def send(through: str, subject: str, body: str) -> None:
    """Send through the notification block of this name. Misconfigured: there is none."""
    try:
        block: object = await Block.aload(through)
    except ValueError:
        raise Misconfigured(f"there is no block '{through}': give `through` as type/name", call="notify") from None
    if not isinstance(block, NotificationBlock):
        raise Misconfigured(f"'{through}' is not a notification block", call="notify")
    await block.notify(body, subject)
