# The two commands of the README are `make demo` and `make test`. Both set everything up on their first call.
SHELL := /bin/bash
VENV_PYTHON := .venv/bin/python
DEMO := demo
# Run the tests in two processes of 3 GiB each. A file's tests share its fixtures, so they run in one process.
# The slow proofs run in one: each starts several processes itself.
PARALLEL := -n 2 --dist loadfile
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help setup demo test test-slow acceptance-wandb acceptance-gcp check lock images clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## make .venv once: CPython, the locked packages, the project (PYTHON=3.10, 3.12 or 3.13 chooses)
	@scripts/setup.sh

demo: setup  ## draw sample photos and run the whole pipeline on them
	@$(VENV_PYTHON) -m data sample $(DEMO)/photos --if-absent
	@$(VENV_PYTHON) runner_local.py --images $(DEMO)/photos --root $(DEMO)/runs

test: setup check  ## `make check`, and the test suite without the slow whole-run proofs
	@$(VENV_PYTHON) -m pytest -m "not slow" $(PARALLEL)

test-slow: setup  ## the whole-run proofs
	@$(VENV_PYTHON) -m pytest -m slow

acceptance-wandb: setup  ## mirror a small store into a real W&B account (WANDB_API_KEY) and read it back
	@$(VENV_PYTHON) -m tests.pipeline.lineage.acceptance

acceptance-gcp: setup  ## the pipeline in a real Google project: CONFIG=conf/production.yaml BUDGET=20 (USD a run)
	@$(VENV_PYTHON) -m tests.pipeline.cloud.acceptance $(CONFIG) $(BUDGET)

check: setup  ## style, layers and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && .venv/bin/mypy

COMPILE := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
COMPILE_310 := $(COMPILE) --python-version 3.10
# One file for CPython 3.12 and 3.13, Linux and macOS: where they differ, a line has a marker.
COMPILE_312 := $(COMPILE) --universal --python-version 3.12
# What Jupyter's pages and IPython's prompt use is left out of the images; docs/images.md says why the rest stays.
LEFT_OUT := jedi jupyterlab-widgets parso widgetsnbextension
COMPILE_IMAGE := $(COMPILE) --python-version 3.12 --python-platform x86_64-manylinux_2_40 \
  $(addprefix --no-emit-package=,$(LEFT_OUT)) -c requirements/py312.txt
lock:  ## resolve requirements/*.in into the hash-locked requirements/*.txt
	@$(COMPILE_310) requirements/py310.in requirements/dev.in -o requirements/py310.txt
	@$(COMPILE_312) requirements/py312.in requirements/dev.in -o requirements/py312.txt
	@$(COMPILE_IMAGE) requirements/py312.in -o requirements/image.txt
	@$(COMPILE_IMAGE) requirements/py312.in requirements/gpu.in -o requirements/image-gpu.txt

IMAGE := pawprint
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
TAG := $(shell git rev-parse --short HEAD 2>/dev/null)
images:  ## build both images with Docker: IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/pawprint TAG=1
	docker build --build-arg GIT_COMMIT=$(COMMIT) --file docker/worker.Dockerfile --tag $(IMAGE)-worker:$(TAG) .
	docker build --build-arg GIT_COMMIT=$(COMMIT) --file docker/train.Dockerfile --tag $(IMAGE)-train:$(TAG) .

clean:  ## remove the demo and the caches (not .venv)
	rm -rf $(DEMO) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .grimp_cache .hypothesis
