# `make signup` plays the sign-up; `make test` runs every check and every test; `make lowest`, a part of it, runs tests
# of the core, the runtime and the local adapters with the lowest version of each package that settled names. All need
# python3.11 and make, and set up the rest themselves in .venv; where Python comes without its venv module, as on
# Debian, that takes root.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
LOWEST := .venv/lowest
SAM := .venv/sam

.PHONY: signup test lowest

signup: $(READY)
	$(BIN)/settled run examples/signup

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest
	$(MAKE) --no-print-directory lowest

lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q tests/durable tests/runtime tests/adapters/local \
		tests/chart/test_arguments.py tests/chart/test_config.py tests/chart/test_declared_classes.py \
		tests/chart/test_definition.py tests/chart/test_implementations.py tests/chart/test_snapshot.py \
		tests/step/test_actions.py tests/step/test_guards.py tests/step/test_transition.py \
		--ignore=tests/adapters/local/test_processes.py

# In an environment of its own, made anew if a bound has changed: what is there already is not replaced by a lower one.
$(LOWEST)/.ready: pyproject.toml | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --group tests \
		--editable '.[aws,cli,conformance,encryption,gcp,gcp-tasks,redis]'
	touch $@

$(READY): pyproject.toml
	$(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null || \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends python3.11-venv; }
	command -v java >/dev/null || \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends default-jre-headless; }
	command -v redis-server >/dev/null || \
		{ apt-get update -q && RUNLEVEL=1 apt-get install -q -y --no-install-recommends redis-server; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(SAM)
	$(BIN)/uv pip install --quiet --python $(SAM) --group sam
	touch $@
