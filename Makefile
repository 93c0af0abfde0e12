# Everything a fresh machine with Python 3.11+ and make needs.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := $(CURDIR)/.venv/bin
READY := .venv/.ready
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
