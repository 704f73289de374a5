"""The worked examples of docs/rest-system.md, as the tests use them: only the host is another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "rest-system.md"


def examples(text: str) -> dict[str, dict[str, Any]]:
    """Each YAML block by the name in its first line."""
    blocks = re.findall(r"```yaml\n# ([^\n]+)\n(.*?)```", text, re.DOTALL)
    return {name: yaml.safe_load(block) for name, block in blocks}


def example(name: str, said: str, meant: str) -> dict[str, Any]:
    """An example in which this address, and what begins with it, is another; its bare origin, too."""
    form = examples(DOCUMENT.read_text(encoding="utf-8"))[name]

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(one) for one in value]
        if not isinstance(value, str):
            return value
        return re.sub(f"{re.escape(_origin(said))}$", _origin(meant), value.replace(said, meant))

    return {key: moved(value) for key, value in form.items()}


def _origin(address: str) -> str:
    return "/".join(address.split("/")[:3])
