"""What waits for a person: the automation that tells them, and the words it uses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

SIGNAL = "lockstep.attention."
AUTOMATION = "Lockstep: tell a person"
DEPLOYMENT = "notify/notify"
QUIET = timedelta(minutes=5)
"""The same thing is told once in this time."""

WHAT_TO_DO = {
    "conflict": "Both sides changed the same field. Look at both, then run **resolve_conflict** and pick the value.",
    "brake": "A plan is larger than its limits. Look at its list, then run **approve_or_reject** with its number.",
    "approval": "A report waits for your agreement. Look at it, then run **approve_or_reject** with its number.",
    "grant": "A login has ended and cannot be renewed by itself. Run **authorize** with its block's name; if its block "
    "has a field for a refresh token, type a new one in there instead.",
    "parked": "Something could not be read or written. Look at its error, mend the cause, then run **replay_parked**.",
    "quarantine": "A system fails again and again, and is left alone for now. Run **check_connection** on it.",
    "connection": "A system cannot be used: login, permission, certificate or a page that nobody can read. "
    "Run **check_connection** on it; the mirror goes on by itself when it is mended.",
}


def what_to_do(signal: str) -> str:
    """In words, for a signal such as `lockstep.attention.conflict`."""
    return WHAT_TO_DO.get(signal.removeprefix(SIGNAL), "Look at what it is about.")


def automation(deployment_id: Any) -> AutomationCore:  # noqa: ANN401  a UUID, of whichever library
    """Runs the deployment `notify` with the signal, what it is about and its payload."""
    payload = {"__prefect_kind": "jinja", "template": "{{ event.payload | tojson }}"}
    return AutomationCore(
        name=AUTOMATION,
        description="Made by `make run`. Something waits for a person: the run it starts says what to do. "
        "To have it sent, give the deployment `notify` the name of a notification block.",
        trigger=EventTrigger(
            expect={f"{SIGNAL}*"},
            for_each={"prefect.resource.id", "lockstep.signal"},
            posture=Posture.Reactive,
            threshold=1,
            within=QUIET,
        ),
        actions=[
            RunDeployment(
                deployment_id=deployment_id,
                parameters={
                    "signal": "{{ event.event }}",
                    "about": "{{ event.resource.id }}",
                    "payload": {"__prefect_kind": "json", "value": payload},
                },
            )
        ],
    )


async def ensure_automation(client: PrefectClient) -> None:
    """Make the automation if it is missing, or if it starts a deployment that is gone; else leave it as it is."""
    deployment = await client.read_deployment_by_name(DEPLOYMENT)
    wanted = automation(deployment.id)
    found = await client.read_automations_by_name(AUTOMATION)
    if not found:
        await client.create_automation(wanted)
        print(f"made the automation '{AUTOMATION}'")
    elif str(deployment.id) not in {str(getattr(action, "deployment_id", "")) for action in found[0].actions}:
        await client.update_automation(found[0].id, wanted)
