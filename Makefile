# Every target does its own set-up: all that is needed is make and Python 3.11 or newer.
#
#   make lap     time a mini run set, check it and print its score
#   make test    lint, types, import contracts and the tests (<= 10 minutes on two cores)
#   make check   what runs before each commit (pre-commit): as `make test`, with the fast tests only
#   make fast    the fast tests (<= 1 minute)
#   make full    all tests, calibrations of minutes and device tests included
#   make bench   measured budgets of this machine
#   make docs    rewrite the reference pages of docs/ from the program
#   make clean   remove the environment, caches and build products; runs/ and data/ stay

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
# processes that tests start find compiled sources, whatever the environment says; pytest-xdist waits for ever after
# it has replaced a worker that died, so that a dead worker ends the run
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist loadgroup --max-worker-restart=0
SLOWER := tests/harness tests/multiprocess tests/conformance tests/bench
QUICK := not slow and not full and not gpu
ROUNDS := $(wildcard ../shared/rounds/v4.0.tar.xz ../shared/rounds/v5.0.tar.xz)
CANDIDATES := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python

.PHONY: lap test check fast full bench docs clean lint types imports
.DEFAULT_GOAL := lap

lap: $(VENV)/.lap
	$(BIN)/laptime run resnet --out runs/lap
	$(BIN)/laptime check runs/lap
	$(BIN)/laptime score runs/lap

test: lint types imports
	$(PYTEST) -m "$(QUICK)"

check: lint types imports fast

lint: $(VENV)/.dev
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

fast: $(VENV)/.dev
	$(PYTEST) tests -m "$(QUICK) and not seconds" $(addprefix --ignore=,$(SLOWER))

full: lint types imports
	$(PYTEST) -m ""

bench: $(VENV)/.dev
	$(BIN)/laptime bench $(addprefix --rounds ,$(ROUNDS))

docs: $(VENV)/.dev
	$(BIN)/python -m laptime.cli.reference docs

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an environment is filled again only when the packaging files change.
$(VENV)/.lap: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[train,plot]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.lap

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  $$python -m venv $(VENV) >/dev/null 2>&1 && exit 0; \
	  rm -rf $(VENV); \
	  echo "laptime: '$$python -m venv' does not work here; install its venv module (package python3-venv on Debian)" >&2; \
	  exit 1; \
	done; \
	echo "laptime: expected Python 3.11 or newer, found $$(python3 --version 2>&1); name one with 'make PYTHON=/path/to/python3'" >&2; \
	exit 1
