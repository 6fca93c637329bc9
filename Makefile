# Say `make help` for a list of what can be made.

PYTHON ?= python3
VENV ?= .venv
TOOLS_VENV ?= .venv-tools
# Processes that run tests.  Each computes with one thread: more processes are quicker than more threads here.
WORKERS ?= logical
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile

STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
ONE_THREAD := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help run quick test test-distributed test-tools check audit faults fuzz docs notebooks bench clean

help:  ## Print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-24s%s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "culnig needs Python 3.10 or newer; say make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

run: $(STAMP)  ## Run the quickstart and write runs/quickstart/report.html
	$(BIN)/culnig run quickstart --out runs/quickstart

quick: $(STAMP)  ## Run the quick tests in parallel: no real model, nothing slow (about a minute)
	$(ONE_THREAD) $(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not model and not distributed'

# The model comes first, so that no two workers fetch it.  A torchrun test starts processes of its own and gets the machine to itself.
test: $(STAMP)  ## Run every test: the quick ones, the slow ones, the real model, several processes
	$(BIN)/culnig models fetch smollm2-135m
	$(ONE_THREAD) $(BIN)/python -m pytest $(PARALLEL) --durations=30 -m 'not distributed'
	$(ONE_THREAD) $(BIN)/python -m pytest -m distributed

test-distributed: $(STAMP)  ## Run the torchrun tests alone: two processes on one job
	$(ONE_THREAD) $(BIN)/python -m pytest -m distributed

# Packages of other tools want other versions than the constraints, so they have a venv of their own.  torch stays pinned.
$(TOOLS_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TOOLS_VENV)
	grep '^torch==' constraints.txt > $(TOOLS_VENV)/constraints.txt
	$(TOOLS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(TOOLS_VENV)/constraints.txt --editable '.[dev,lm-eval,inspect,wandb,mlflow,nnsight,transformer-lens]'
	@touch $@

test-tools: $(TOOLS_VENV)/.installed  ## Run the tests of other tools (lm-eval, inspect_ai, W&B, MLflow, nnsight, TransformerLens) in .venv-tools
	$(ONE_THREAD) $(TOOLS_VENV)/bin/python -m pytest tests/integrations

check: $(STAMP) docs  ## Check lint, format, types, the imports between packages, and the docs' links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

audit: $(STAMP)  ## Look up known vulnerabilities of the pinned packages (needs a network)
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

faults: $(STAMP)  ## Kill 200 commands, fill and break disks under others; print the counts (ten minutes)
	$(ONE_THREAD) PYTHONPATH=. $(BIN)/python -m tests.faults

fuzz: $(STAMP)  ## Feed 10,000 odd files and command lines to the command line; print the counts (ten minutes)
	$(ONE_THREAD) PYTHONPATH=. $(BIN)/python -m tests.fuzz

docs: $(STAMP)  ## Build the docs as a site in site/; a broken link ends the build
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # not --quiet: it hides the warnings that --strict counts

notebooks: $(STAMP)  ## Execute the notebooks of examples/ and write their outputs
	$(ONE_THREAD) $(BIN)/python -m tools.notebooks

bench: $(STAMP)  ## Measure speed and memory (see bench/)
	$(BIN)/python -m bench

clean:  ## Delete the environment, runs and caches
	rm -rf $(VENV) runs site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
