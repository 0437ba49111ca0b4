# Every target sets up what it needs: a fresh clone and one command are enough.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP := $(PY) -m pip install --quiet --constraint constraints.txt
# One thread a process is what makes pixels and gradients repeat; the trainer and the tests say so themselves.
TEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest
# A file's tests stay in one process, all of Ray's in one (tests/conftest.py).
JOBS ?= 2

# Each has a folder of its own, so that none goes on in another's.
demo: OUT ?= out/demo
shards: OUT ?= out/shards
pretrain: OUT ?= out/run
RECIPE ?= demo
CONFIG ?= demo
DATA ?= out/demo/data
CHECKPOINT ?= out/demo/run
SEEDS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo shards pretrain evaluate test test-slow evidence bench lint format clean clean-out browser

help:  ## say what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ViewMill needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 …")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch torchvision
	$(PIP) --editable '.[dev]'
	touch $@

setup: $(INSTALLED)  ## make .venv with everything in it (6 GB, a few minutes)

demo: setup  ## render, pretrain, evaluate and report on the built-in model    [OUT=out/demo]
	$(PY) -m demo --out $(OUT)

shards: setup  ## render a data set    RECIPE=recipe.yaml|preset|dataset.json [OUT=out/shards|s3://…] [ARGS=…]
	$(PY) -m factory render $(RECIPE) $(OUT) $(ARGS)

pretrain: setup  ## train an encoder on a data set    DATA=… CONFIG=config.yaml|preset    [OUT=out/run] [ARGS=…]
	$(PY) -m trainer pretrain $(CONFIG) --data $(DATA) --out $(OUT) $(ARGS)

evaluate: setup  ## score an encoder on other people's drawings    CHECKPOINT=…  [ARGS="--set emoji"]
	$(PY) -m trainer evaluate $(CHECKPOINT) $(ARGS)

browser:  ## install chromium if it is missing: the report is tested in it
	@command -v chromium >/dev/null || { echo "the report is tested in chromium: installing it"; apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || { echo "error: chromium is missing and could not be installed; remedy: install your system's chromium package" >&2; exit 1; }

test: setup browser  ## run the tests that take minutes, not hours    [JOBS=2]
	$(TEST) -m 'not slow' -n $(JOBS) --dist loadgroup $(ARGS)

test-slow: setup browser  ## run the long ones too: kills of Ray jobs, every pipeline layout
	$(TEST) -m slow --timeout 3600 $(ARGS)

evidence: setup  ## repeat the demo's comparison on the test split and add its row to RESULTS.md    [SEEDS=3]
	$(PY) -m demo.evidence --data $(DATA) --seeds $(SEEDS) --results RESULTS.md

bench: setup  ## measure speeds side by side and write out/bench/results.json
	$(PY) -m benchmarks --out out/bench

lint: setup  ## ruff and mypy
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

format: setup  ## let ruff mend what it can
	$(PY) -m ruff check --fix . && $(PY) -m ruff format .

clean:  ## remove caches and build leftovers; out/ and .venv stay
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

clean-out:  ## remove out/ with all data sets and runs in it, hours of work
	rm -rf out
