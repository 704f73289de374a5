"""The house keeps its rules: who imports whom, and that what is named in files is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from flows.house.attention import WHAT_TO_DO
from flows.house.settings import POOL
from flows.house.setup import digest, read_entries

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("flows", "tasks", "blocks")
BELOW: dict[str, set[str]] = {"flows": {"tasks", "blocks"}, "tasks": {"blocks"}, "blocks": set()}
BESIDE = {"tests", "bench", "chaos", "demo"}
KINDS = ("incidents", "directories", "rosters", "listeners")
PURE = {"blocks.model", "blocks.rules", "blocks.fieldmap", "tasks.decide"}


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, under its full name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_flows_import_tasks_import_blocks_and_never_back() -> None:
    wrong: dict[str, set[str]] = {}
    for layer in LAYERS:
        forbidden = (set(LAYERS) | BESIDE) - BELOW[layer] - {layer}
        for file in sources(layer):
            found = {name for name in imports(file) if name.partition(".")[0] in forbidden}
            wrong |= {str(file.relative_to(ROOT)): found} if found else {}
    assert not wrong


def vendor(module: str) -> str:
    """The vendor that a module of connectors belongs to: `_roundup` and `roundup` are one."""
    return module.lstrip("_").partition("_")[0]


def test_a_vendor_imports_no_vendor() -> None:
    wrong: dict[str, set[str]] = {}
    modules = re.compile(rf"blocks\.({'|'.join(KINDS)})\.([a-z_]+)")
    for kind in KINDS:
        for file in sources(f"blocks/{kind}"):
            found = {(match[1], vendor(match[2])) for name in imports(file) if (match := modules.match(name))}
            others = {f"{of}.{name}" for of, name in found if (of, name) != (kind, vendor(file.stem))}
            if file.name != "__init__.py" and others:
                wrong[file.name] = others
    assert not wrong


def test_what_decides_imports_the_nouns_and_the_standard_library_only() -> None:
    wrong: dict[str, set[str]] = {}
    for file in sources("tasks/decide"):
        foreign = {name for name in imports(file) if name.partition(".")[0] not in sys.stdlib_module_names}
        impure = {name for name in foreign if not any(f"{name}.".startswith(f"{pure}.") for pure in PURE)}
        wrong |= {file.name: impure} if impure else {}
        awaits = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Await | ast.AsyncFunctionDef)
        ]
        assert not awaits, f"{file.name} waits for something"
    assert not wrong


def test_the_rules_above_see_what_breaks_them(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from flows import mirror\n    import tasks.incidents\n")
    assert imports(file) == {"flows", "flows.mirror", "tasks.incidents"}


ENTRIES = read_entries(ROOT / "prefect.yaml")


@pytest.mark.parametrize("name", ENTRIES)
def test_each_deployment_names_a_flow_and_parameters_that_it_has(name: str) -> None:
    module, _, attribute = ENTRIES[name]["entrypoint"].partition(":")
    flow = getattr(import_module(module), attribute)
    assert isinstance(flow, Flow)
    known = set(flow.parameters.properties)
    given = set(ENTRIES[name].get("parameters") or {})
    for trigger in ENTRIES[name].get("triggers", []):
        given |= set(trigger.get("parameters", {}))
        missing = set(flow.parameters.required) - given
        assert not missing, f"the trigger of {name} leaves {missing} open"
    assert given <= known
    assert ENTRIES[name]["work_pool"]["name"] == POOL
    assert ENTRIES[name]["name"] == attribute


def test_each_flow_has_its_help_text_in_the_form() -> None:
    silent: dict[str, list[str]] = {}
    for name, entry in ENTRIES.items():
        module, _, attribute = entry["entrypoint"].partition(":")
        flow = getattr(import_module(module), attribute)
        without = [key for key, value in flow.parameters.properties.items() if not value.get("description")]
        silent |= {name: without} if without or not flow.description else {}
    assert not silent


def test_schedules_are_off_until_a_person_picked_a_system() -> None:
    active = {name for name, entry in ENTRIES.items() for schedule in entry.get("schedules", []) if schedule["active"]}
    # It does nothing without a grant, and a grant must not die because nobody switched it on.
    assert active == {"refresh_tokens"}


def test_a_changed_line_changes_a_deployments_digest_and_nothing_else_does(tmp_path: Path) -> None:
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    other = tmp_path / "prefect.yaml"
    other.write_text("# a comment\n" + text.replace("interval: 60", "interval: 61"), encoding="utf-8")
    changed = {name for name, entry in read_entries(other).items() if digest(entry) != digest(ENTRIES[name])}
    assert changed == {"fetch_incidents", "mirror_incidents"}


def test_what_a_person_is_told_to_run_is_deployed() -> None:
    named = {name for text in WHAT_TO_DO.values() for name in re.findall(r"\*\*(\w+)\*\*", text)}
    assert named
    assert named <= set(ENTRIES)


def made(*words: str) -> str:
    """What make says. `make test` hands its own options down, and they are not asked for here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    argv = ["make", *words]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_has_its_targets_and_lists_them() -> None:
    wanted = {"run", "demo", "test", "lint", "bench", "chaos", "clean", "help"}
    listed = made("help")
    assert wanted <= set(re.findall(r"^make (\w+)", listed, re.MULTILINE))
    assert "ONLY=" in listed
    assert "KILLS=" in listed


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("bench", ["ONLY=fetch"], "-m bench fetch"),
        ("chaos", ["ONLY=mirror", "KILLS=50"], '-m chaos --only "mirror" --kills "50"'),
        ("test", ["ARGS=-k lock"], "-m pytest -k lock"),
        ("run", [], "-m flows.up"),
        ("demo", [], "-m demo"),
    ],
)
def test_make_passes_its_options_on(target: str, options: list[str], expected: str) -> None:
    assert expected in made("--dry-run", "--always-make", target, *options).splitlines()[-1]


@pytest.mark.parametrize("name", ["requirements.lock", "bench/requirements.lock"])
def test_a_lock_is_hashed_whole_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index|--find-links|file:", text)
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    assert len(entries) > 20
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_the_lock_has_what_the_project_asks_for() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in asked}
    locked = {m.lower() for m in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)}
    assert names <= locked


def test_the_settings_of_this_file_are_yaml_that_prefect_reads() -> None:
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert content["pull"][0]["prefect.deployments.steps.set_working_directory"]["directory"] == "{{ $LOCKSTEP_CODE }}"
