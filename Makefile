# Everything a fresh machine with Python 3.11+ and make needs.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
READY := .venv/.ready
BENCHMARKS := per_stage granularity planning linking ephemerides moving_objects
# One run at a time; holding the lock proves that no other run lives, so its stale locks may go.
ALONE := flock -n -o .run.lock env PATH=$(BIN):$$PATH
export SNAKEMAKE_OUTPUT_CACHE :=

.PHONY: night real test science bench integration lint lock clean setup

setup: $(READY)

$(READY): envs/requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q $$(grep '^uv==' envs/requirements.lock)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q -r envs/requirements.lock || $(BIN)/pip install -q -r envs/requirements.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	touch $@

night: $(READY)  ## simulate the demo survey and take it to alerts, orbits and a summary
	rm -rf .snakemake/locks
	$(ALONE) snakemake -c$(CORES) -s workflow/simulate.smk --configfile config/simulate/demo.yaml --quiet all
	$(ALONE) snakemake -c$(CORES) --configfile config/demo.yaml --quiet rules

real: $(READY)  ## the real field: raw frames of one night to the light curve of HAT-P-32
	$(ALONE) bash scripts/real_field.sh $(CORES)

test: $(READY)  ## unit and workflow tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check scripts tests benchmarks docs
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not science and not integration"

science: $(READY)  ## long measurements of quality, on several seeds and on real data
	$(BIN)/pytest -q -m science

integration: $(READY)  ## PostgreSQL and Slurm, from Debian's packages
	$(BIN)/pytest -q -m integration

bench: $(READY)  ## time and memory of every stage
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

lint: $(READY)  ## put everything in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format scripts tests benchmarks docs
	$(BIN)/snakefmt Snakefile workflow

lock:  ## resolve the dependencies anew
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --no-header --no-annotate --python-version 3.11 --upgrade -o envs/requirements.lock

clean:  ## remove the results of the demo, after asking
	@read -p "Remove results/ and data/demo/? [y/N] " answer && [ "$$answer" = y ] && rm -rf results data/demo
