# Every target makes what it needs: on a machine with only Python >= 3.11 (and its venv
# module), `make demo` and `make test` create the environment, install, and run.
#   make demo PYTHON=python3.12      another interpreter (after `make clean`)
#   make test PYTEST_ARGS="-x -k flow"
#   make bench BENCH_ARGS="--peers 'scipy|auto' --heats '^M'"

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
# one process a core; a file's tests share what is expensive, so they stay together
PARALLEL := -n auto --dist loadfile
BENCH_ARGS ?=
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two targets would install into one environment at once.
.NOTPARALLEL:
.PHONY: help demo test test-all lint format type theory docs bench bench-full clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(VENV)/.installed  ## the main job on real data; writes manifold_flow_demo/
	$(BIN)/manifold-flow demo

test: $(VENV)/.installed-test  ## tests and documented examples, without the slow ones
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

test-all: $(VENV)/.installed-test  ## all of them
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## rewrite the code as lint wants it, where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.installed-dev  ## mypy, strict
	$(BIN)/mypy

theory: $(VENV)/.installed  ## every statement in symbols, with its control
	$(BIN)/python -m theory

docs: $(VENV)/.installed-docs  ## the pages, in docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/.installed-bench  ## us beside what users pick today, minutes; build/benchmarks
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-full: $(VENV)/.installed-bench  ## all sizes, conditions and activations; hours
	$(BIN)/python -m benchmarks --full $(BENCH_ARGS)

clean:  ## back to a fresh checkout
	rm -rf $(VENV) .venv* build dist manifold_flow.egg-info manifold_flow_demo
	rm -rf docs/_build docs/auto_gallery docs/generated docs/statements docs/sg_execution_times.rst
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "manifold_flow needs Python >= 3.11; say which: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps: installed again only when the metadata changes. The environment is an
# order-only prerequisite, because pip touches its folder.
$(VENV)/.installed: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable .
	@touch $@

$(VENV)/.installed-%: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[$*]'
	@touch $@
