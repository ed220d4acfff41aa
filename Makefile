# make quickstart: from a clean clone to searched, trained, reloaded networks. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Waiting OpenMP threads sleep instead of spinning: on busy machines small models otherwise run several times slower.
export OMP_WAIT_POLICY := PASSIVE

# What is compiled once is kept: the tests start many processes that import the same.
export PYTHONDONTWRITEBYTECODE :=

# Handed to the command of quickstart and test: make quickstart ARGS="--seed 1"; make test ARGS="-k generation".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install quickstart test newest oldest lint format docs bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "searchhub must be run with Python 3.10 or newer, but \`$(PYTHON)\` is older. Name another: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

install: $(STAMP) ## Create .venv and install searchhub with the pinned versions (done once)

# One thread: networks this small gain nothing from a second one, and lose several times on a machine that is not quiet.
quickstart: $(STAMP) ## Search, generate, train and reload networks on handwritten digits (minutes, no network)
	OMP_NUM_THREADS=1 $(BIN)/python recipes/ddp_mobile.py $(ARGS)

# One thread a worker: two workers with two threads each would fight for two cores.
test: $(STAMP) ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# Of torch both take the pinned release, whose CPU build need not be the newest.
newest: ## Run all tests on the newest releases of what searchhub needs, but torch
oldest: ## Run all tests on the oldest releases that pyproject.toml allows, but torch
newest oldest: pyproject.toml constraints.txt
	$(PYTHON) -m venv .cache/$@
	.cache/$@/bin/python -m pip install --quiet tomli
	.cache/$@/bin/python tests/releases.py $@ > .cache/$@/pins.txt
	.cache/$@/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -c .cache/$@/pins.txt -e ".[bench,onnx,tensorboard]" hypothesis pytest pytest-xdist
	OMP_NUM_THREADS=1 .cache/$@/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(STAMP) ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Format, and mend what can be mended without thinking
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Build the guides and the API reference into site/ (Python 3.11 or newer)
	@test -x $(BIN)/zensical || { echo "The site must be built with Python 3.11 or newer, but .venv holds `$(BIN)/python --version`. Name another: make clean; make PYTHON=python3.11 docs" >&2; exit 1; }
	$(BIN)/python docs/make_pages.py build/docs
	rm -rf site
	$(BIN)/zensical build --clean --strict

# Left out: what continues a run of a recipe, parts of other scripts, and what needs a checkpoint and hours.
bench: $(STAMP) ## Run every benchmark at its small default; each prints RESULT {…}
	@for script in benchmarks/*.py; do \
		case $$script in benchmarks/bert_pruning.py|benchmarks/encoder_pays*.py|benchmarks/search_pays_pieces.py) continue;; esac; \
		echo "== $$script"; \
		$(BIN)/python $$script || exit 1; \
	done

clean: ## Remove the environment and caches; runs/ is kept
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
