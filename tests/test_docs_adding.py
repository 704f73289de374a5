"""The connector of docs/adding-a-system.md is whole: put together from the document, it passes the contract."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from blocks.contracts import IncidentSystem
from tests.contracts.incident_system import IncidentSystemSuite, World, entry, key, pages

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def connector() -> str:
    """The file that the walk builds: all code but the last block, which is its test."""
    gaps = ["", *("\n\n" if block.startswith("    ") else "\n\n\n" for block in BLOCKS[1:-1])]
    return "".join(gap + block.rstrip() for gap, block in zip(gaps, BLOCKS[:-1], strict=True)) + "\n"


def put_together() -> ModuleType:
    """The connector and its test as one module."""
    module = ModuleType("plain_of_the_document")
    sys.modules[module.__name__] = module  # pydantic and Prefect look a class's module up
    code = compile(connector() + "\n\n" + BLOCKS[-1], "adding-a-system.md", "exec")
    exec(code, module.__dict__)  # noqa: S102  our own document
    return module


PLAIN = put_together()


class TestTheDocumentsConnector(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        made: World = PLAIN.PlainsOwnWorld()
        return made


def test_the_documents_test_is_a_subclass_of_the_suite() -> None:
    assert issubclass(PLAIN.TestFakePlain, IncidentSystemSuite)
    assert issubclass(PLAIN.Plain, IncidentSystem)


def test_its_code_is_as_clean_as_the_house_wants_it() -> None:
    """Where it would stand, under the rules that hold there."""
    place = "blocks/incidents/plain.py"
    for what in (["check"], ["format", "--check"]):
        argv = [str(Path(sys.executable).parent / "ruff"), *what, "--stdin-filename", place, "-"]
        done = subprocess.run(argv, input=connector(), capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(connector().splitlines()) < 250


def test_the_files_that_it_names_are_there() -> None:
    named = re.findall(r"\]\((?:\.\./)?([\w./-]+\.(?:py|md))\)", TEXT)
    assert named
    missing = [name for name in named if not ((ROOT / name).exists() or (ROOT / "docs" / name).exists())]
    assert missing == []


async def test_the_calls_that_it_declares_are_made() -> None:
    world: Any = PLAIN.PlainsOwnWorld()
    for number in range(3):
        world.api.comment(world.api.create({"title": str(number)}), "words")

    def counted() -> int:
        total: int = world.api.calls.total()
        world.api.calls.clear()
        return total

    async with world.system() as system:
        declared = system.capabilities.calls
        (page,) = await pages(system.changes(system.start(datetime.now(UTC) - timedelta(minutes=1)), 50))
        assert counted() == declared.page
        await system.entries(page.incidents, frozenset())
        assert counted() == declared.entries + 3 * declared.changed
        made = await system.create({"title": "T"}, key())
        assert counted() == declared.create
        made = await system.update(made, {"title": "U"})
        assert counted() == declared.update
        await system.add_entry(made, entry("words"), key())
        assert counted() == declared.entry
