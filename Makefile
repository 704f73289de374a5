# Everything that is needed goes into .venv, from requirements.lock; only Python 3.11+ and make are asked for.
# Options: ONLY=name (bench, chaos), KILLS=n (chaos), ARGS="…" (test: passed to pytest), PYTHON=/path/to/python3.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.from-lock

.DEFAULT_GOAL := help
.PHONY: help setup run demo test lint format bench chaos lock clean

help: ## what can be done here
	@awk -F ': [^#]*## ' '/^[a-z]+: .*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## only install what is needed

run: $(READY) ## server, worker, deployments and listeners on this machine, until Ctrl-C
	@$(PY) -m flows.up

demo: $(READY) ## the main job in two minutes, against a real issue tracker, without an account
	@$(PY) -m demo

test: $(READY) ## all tests; those without their server or database say so
	@$(PY) -m pytest $(ARGS)

lint: $(READY) ## ruff with every rule, its format, and mypy strict
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy

format: $(READY) ## what ruff can mend by itself
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

bench: $(READY) ## the figures and their bounds; ONLY=fetch for those whose names begin so
	@$(PY) -m bench $(ONLY)

chaos: $(READY) ## kill -9, again and again; ONLY=mirror KILLS=50
	@$(PY) -m chaos $(if $(ONLY),--only "$(ONLY)") $(if $(KILLS),--kills "$(KILLS)")

lock: ## make the locks anew from pyproject.toml and bench/requirements.in
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet uv
	@.venv-lock/bin/uv pip compile --quiet --no-header --generate-hashes --universal --python-version 3.11 \
		pyproject.toml --group dev --output-file requirements.lock
	@.venv-lock/bin/uv pip compile --quiet --no-header --generate-hashes --universal --python-version 3.11 \
		bench/requirements.in --output-file bench/requirements.lock

clean: ## remove what was installed and cached here; the state of `make run` stays
	rm -rf .venv .venv-bench .venv-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/results.jsonl
	find . -name __pycache__ -prune -exec rm -rf {} +

# --no-deps: the lock is whole, and the pip of older Pythons stumbles over extras in a hashed file.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): about a minute."
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip check
	@touch $(READY)
