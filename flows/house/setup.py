"""What the Prefect server must know before the worker starts. Run as a program of its own; safe to run again.

A deployment is written when it is missing, or when its lines in prefect.yaml changed since they were last written:
what a person set in the UI stays otherwise. When only the flow's parameters changed, only the form follows.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from pydantic import SecretStr

import blocks.incidents
from blocks.contracts import IncidentSystem
from blocks.errors import LockstepError
from blocks.store.block import Store
from flows.house.attention import ensure_automation
from flows.house.settings import CODE, POOL, STORE, House, house


async def main() -> None:
    """Blocks, the store, the pool, the deployments and the notification; prints what it wrote."""
    at = house(os.environ)
    await register_blocks()
    await ensure_store(at.store)
    async with get_client() as client:
        await ensure_pool(client)
        await deploy(client, at)
        await ensure_automation(client)


def block_classes() -> list[type[Block]]:
    """The store, and every connector."""
    connectors = [
        value
        for value in vars(blocks.incidents).values()
        if isinstance(value, type) and issubclass(value, IncidentSystem) and not value.__abstractmethods__
    ]
    return [Store, *connectors]


async def register_blocks() -> None:
    """Let the UI offer our blocks."""
    for block in block_classes():
        await block.aregister_type_and_schema()


async def ensure_store(url: str) -> None:
    """Make the store's block if it is missing, and the store itself if it is."""
    try:
        store: Store = await Store.aload(STORE)
    except ValueError:
        store = Store(url=SecretStr(url))
        await store.asave(STORE)
        print(f"made the block {Store.get_block_type_slug()}/{STORE}")
    database = await store.open()
    await database.close()


async def ensure_pool(client: PrefectClient) -> None:
    """Make the work pool that the worker reads."""
    try:
        await client.read_work_pool(POOL)
    except ObjectNotFound:
        try:
            await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        except ObjectAlreadyExists:
            return


async def deploy(client: PrefectClient, at: House) -> None:
    """Write the deployments that are missing or whose lines changed; let the others' forms follow their flows."""
    record = at.folder / "deployed.json"
    written: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    entries = read_entries(at.deployments)
    changed = []
    for name, entry in entries.items():
        found = await _find(client, name)
        if found is None or written.get(f"{at.api} {name}") != digest(entry):
            changed.append(name)
        else:
            await _follow(client, found, entry["entrypoint"])
    if changed:
        await _deploy(at.deployments, changed)
        written |= {f"{at.api} {name}": digest(entries[name]) for name in changed}
        record.write_text(json.dumps(written, indent=1), encoding="utf-8")
        print(f"deployed {', '.join(changed)}")


def read_entries(file: Path) -> dict[str, dict[str, Any]]:
    """The deployments of a prefect.yaml, by name."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {entry["name"]: {"pull": content.get("pull"), **entry} for entry in content["deployments"]}


def digest(entry: dict[str, Any]) -> str:
    """Changes when the lines do."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True, default=str).encode()).hexdigest()


async def _find(client: PrefectClient, name: str) -> DeploymentResponse | None:
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    found = await client.read_deployments(deployment_filter=wanted, limit=1)
    return found[0] if found else None


async def _follow(client: PrefectClient, found: DeploymentResponse, entrypoint: str) -> None:
    schema = parameter_schema(load_flow_from_entrypoint(entrypoint)).model_dump_for_openapi()
    if _filled(found.parameter_openapi_schema) != _filled(schema):
        await client.update_deployment(found.id, DeploymentUpdate(parameter_openapi_schema=schema))
        print(f"the form of {found.name} follows its flow")


def _filled(schema: dict[str, Any] | None) -> dict[str, Any]:
    # One way of writing a deployment leaves empty lists and tables out, the other does not.
    return {key: value for key, value in (schema or {}).items() if value}


async def _deploy(file: Path, names: list[str]) -> None:
    wanted = [word for name in names for word in ("--name", name)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(file), *wanted),
        cwd=CODE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        print(output.decode(errors="replace"))
        sys.exit(f"{file.name} could not be deployed: see above")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except LockstepError as error:
        sys.exit(str(error))
