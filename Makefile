# The targets that people and machines use; CONTRIBUTING.md says when. Those that run Python first bring .venv up to date.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# GPU=1 takes TensorFlow with CUDA and compiles Horovod with NCCL; nvcc of CUDA 12 comes from CUDA_HOME or PATH.
GPU ?=
STAMP := $(VENV)/.up-to-date$(if $(GPU),-gpu)
LOCKS := requirements/runtime$(if $(GPU),-gpu).txt requirements/dev.txt requirements/build.txt
HEADER := $(shell find tools/horovod_include tools/horovod_include_gpu -type f)
# Tests that start clusters, ranks and browsers need the machine for themselves; the others run on so many cores.
WORKERS ?= 2
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile
# pyproject.toml asks for TensorFlow's build for processors, which that with CUDA replaces.
ACCEPTED := $(if $(GPU),-e '^hipseg .* requires tensorflow-cpu')
OTHER := $(VENV)/.up-to-date$(if $(GPU),,-gpu)

# Errors from TensorFlow, without its notes and warnings.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help env demo test long slurm browser quick lint bench lock clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

env: $(STAMP) ## make or mend .venv: all locked packages, Horovod compiled once, hipseg itself; GPU=1 for graphics cards
	@:

$(STAMP): $(LOCKS) requirements/horovod.txt pyproject.toml tools/build_horovod.sh $(HEADER)
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here; name a Python 3.11: make env PYTHON=..." >&2; exit 1; }
	@[ ! -e $(OTHER) ] || { echo "$(VENV) holds the other build of TensorFlow; remove it, or name another: VENV=.venv-other" >&2; exit 1; }
	@echo "env: locked packages into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
	  $(LOCKS:%=--requirement %)
	@echo "env: Horovod"
	@tools/build_horovod.sh $(BIN)/python $(if $(GPU),gpu,cpu)
	@echo "env: hipseg"
	@$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@left=$$($(BIN)/python -m pip --disable-pip-version-check check | grep -v -e '^No broken' $(ACCEPTED) || true); \
	  [ -z "$$left" ] || { echo "$$left" >&2; exit 1; }
	@said=$$($(BIN)/python -c "import horovod.tensorflow as hvd; hvd.init(); assert hvd.size() == 1 and hvd.gloo_built() $(if $(GPU),and hvd.nccl_built())" 2>&1) \
	  || { echo "$$said"; echo "env: Horovod is installed and does not start" >&2; exit 1; }
	@touch $@

demo: env ## phantom -> pack -> study -> table, on this machine
	@tools/demo.sh

# The one list of checks: lint and pytest. pre-commit and .ci/run call these targets and add nothing.
test: lint slurm browser ## every check; real CT data from HIPSEG_TEST_DATA; what had to be left out is named at the end
	@$(BIN)/python -m pytest -rs $(SIDE_BY_SIDE) -m "not slurm and not horovod and not browser and not long"
	@$(BIN)/python -m pytest -rs -m "(slurm or horovod or browser) and not long"

long: env slurm ## what runs on a real Slurm suffer and survive: minutes each, and not part of `test`
	@$(BIN)/python -m pytest -rs -m long

slurm: ## Debian's packages for a Slurm on this machine, where they can be had; its tests are skipped by name where not
	@tools/local_slurm.sh install || echo "make: the tests on a real Slurm are going to be skipped" >&2

browser: ## Debian's Chromium for the tests of the page, where it can be had; they are skipped by name where not
	@command -v chromium > /dev/null \
	  || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } > /dev/null 2>&1 \
	  || echo "make: no Chromium here; the tests in a browser are going to be skipped" >&2

quick: lint ## the checks that take seconds each
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not data and not slurm and not horovod and not browser"

lint: env ## style, format, types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

# What the other scripts there import.
bench: scripts = $(filter-out %/cache.py %/nnunet.py %/series.py,$(sort $(wildcard tools/bench/*.py)))
bench: env ## measure, one script after another; it fails where one misses its target, after the last
	@status=0; for script in $(scripts); do echo "== $$script"; $(BIN)/python "$$script" || status=1; done; exit $$status

lock: env ## solve the dependencies anew and write requirements/*.txt and environment.yml
	@tools/lock.sh

clean: ## remove what the tools leave behind; .venv, kept wheels, shards and results stay
	@rm -rf build dist hipseg.egg-info .mypy_cache .ruff_cache .hypothesis
	@find hipseg tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
