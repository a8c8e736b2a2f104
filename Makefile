# The two commands of the README are `make demo` and `make test`. Both set everything up on their first call.
SHELL := /bin/bash
PYTHON := .venv/bin/python
DEMO := demo
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help setup demo test test-slow check lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## make .venv once: CPython 3.10, the locked packages, the project
	@scripts/setup.sh

demo: setup  ## draw sample photos and run the whole pipeline on them
	@$(PYTHON) -m data sample $(DEMO)/photos --if-absent
	@$(PYTHON) runner_local.py --images $(DEMO)/photos --root $(DEMO)/runs

test: setup check  ## style, the import contract and the test suite without the slow whole-run proofs
	@$(PYTHON) -m pytest -m "not slow"

test-slow: setup  ## the whole-run proofs
	@$(PYTHON) -m pytest -m slow

check: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports

lock:  ## resolve requirements/*.in into the hash-locked requirements/py310.txt
	@uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.10 requirements/py310.in requirements/dev.in -o requirements/py310.txt

clean:  ## remove the demo and the caches (not .venv)
	rm -rf $(DEMO) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
