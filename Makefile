# One command sets everything up: `make env`. Every other target needs only that.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := plots,bench,ax,energy,dask,dev,docs

# Version 3.11 comes first because constraints.txt was resolved under it. Another
# interpreter: `make env PYTHON=/path/to/python3`.
PYTHON ?=
PYTHONS := python3.11 python3.12 python3.13 python3

# Processes of tests and tutorials: one per core, at most eight (each imports torch).
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); \
	if [ "$$n" -gt 8 ]; then echo 8; else echo "$$n"; fi)
# Each worker is one process on one core; more threads only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST_ARGS ?=
PYTEST = $(ONE_THREAD) $(PY) -m pytest -n $(WORKERS) --dist worksteal
# BoTorch compiles a kernel of qLogNEHVI at its first use. A process killed meanwhile
# leaves a lock for which all others wait for ever: here it locks this checkout only,
# until the next `make`.
export TORCH_EXTENSIONS_DIR := $(CURDIR)/build/torch_extensions
$(shell rm -f $(TORCH_EXTENSIONS_DIR)/*/*/lock $(TORCH_EXTENSIONS_DIR)/*/lock)
# `make notebooks NOTEBOOK_ARGS=--inplace` stores the outputs.
NOTEBOOK_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env demo bench-smoke peers test test-slow coverage lint types format notebooks docs build \
    install-test matrix audit clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## Create .venv with everything below in it (quick when up to date).

$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	if [ ! -x $(VENV)/bin/pip ]; then \
	    found=""; \
	    for p in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	        if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	            >/dev/null 2>&1; then found="$$p"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "make env: needs Python 3.11 or newer with its venv module; tried:" \
	            "$(if $(PYTHON),$(PYTHON),$(PYTHONS)). Set PYTHON=/path/to/python3." >&2; \
	        exit 1; \
	    fi; \
	    echo "make env: creating $(VENV) with $$($$found --version)"; \
	    rm -rf $(VENV); "$$found" -m venv $(VENV); \
	fi
	$(PY) -m pip install --disable-pip-version-check --quiet \
	    -e ".[$(EXTRAS)]" -c constraints.txt
	@touch $@

demo: $(STAMP) ## Run the demonstration; figures and numbers go to out/.
	$(PY) -m benchmarks.demo --out out

bench-smoke: $(STAMP) ## Run every benchmark config at toy size, nothing kept.
	$(ONE_THREAD) $(PY) -m benchmarks.run --smoke

# SMAC3 brings a Dask and a ConfigSpace of its own; the benchmarks talk to it by a pipe.
peers: $(STAMP) ## Create the environment of SMAC3, which two benchmarks compare with.
	$(PY) -m venv build/peers/smac
	build/peers/smac/bin/python -m pip install --disable-pip-version-check --quiet \
	    smac==2.4.1

test: $(STAMP) ## Run tests and docstring examples (PYTEST_ARGS="-k name" narrows).
	$(PYTEST) -m "not slow" --durations=15 $(PYTEST_ARGS)

test-slow: $(STAMP) ## Run the tests that take long: more kills, examples and requests.
	$(PYTEST) -m slow $(PYTEST_ARGS)

coverage: $(STAMP) ## Run the tests and show the lines that none reaches.
	$(PYTEST) -m "not slow" --cov --cov-report=term-missing $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, format, and docstrings against signatures.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff check --preview --select DOC501 botorch_flexibo
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pydoclint botorch_flexibo

types: $(STAMP) ## Check types (pyright and its Node.js come with `make env`).
	$(VENV)/bin/pyright

format: $(STAMP) ## Rewrite the files to the format that `make lint` asks for.
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

notebooks: $(STAMP) ## Run each tutorial (SMOKE_TEST=1 makes them short).
	@printf '%s\n' tutorials/*.ipynb | MPLBACKEND=agg $(ONE_THREAD) xargs -P $(WORKERS) -n 1 \
	    $(VENV)/bin/jupyter-execute --timeout=300 $(NOTEBOOK_ARGS)

docs: $(STAMP) ## Build the documentation into build/docs (warnings are errors).
	$(ONE_THREAD) $(PY) -m sphinx -c docs -d build/doctrees -W --keep-going --quiet \
	    . build/docs

build: $(STAMP) ## Build the wheel and the source distribution into dist/.
	rm -rf dist
	$(PY) -m build --no-isolation

# A clean environment has what the package itself asks for, and no extra.
install-test: build ## Install the built wheel without extras and use it.
	$(PY) -m venv --clear build/installed
	build/installed/bin/python -m pip install --disable-pip-version-check --quiet \
	    --no-compile dist/*.whl -c constraints.txt
	cd build && $(ONE_THREAD) installed/bin/python -I ../.ci/check_installed.py

matrix: $(STAMP) ## Test the lowest declared and the newest versions (long; see .ci/matrix).
	PYTHON=$(PY) .ci/matrix

audit: $(STAMP) ## Look for known faults of what constraints.txt pins.
	$(PY) .ci/audit.py

clean: ## Remove .venv, caches and everything generated.
	rm -rf $(VENV) out dist build .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
