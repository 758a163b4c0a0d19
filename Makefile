# `make signup` plays the sign-up; `make test` runs every check and every test. Both need python3.11 and make, and set
# up the rest themselves in .venv; where Python comes without its venv module, as on Debian, that takes root.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: signup test

signup: $(READY)
	$(BIN)/settled run examples/signup

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest

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
	touch $@
