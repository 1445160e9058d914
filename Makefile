# make demo installs what the demo needs into .venv; every other target installs the rest, too (make setup does no
# more). The sets are pinned.
PYTHON ?= python3
BIN := .venv/bin
SMALL := .venv/.demo
READY := .venv/.ready
INSTALL := $(BIN)/pip install --constraint constraints.txt --editable

.PHONY: setup demo gpu test test-all lint drill clusters clean

setup: $(READY)

$(SMALL): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(INSTALL) '.[cpu,demo]'
	touch $@

$(READY): $(SMALL)
	$(INSTALL) '.[cpu,demo,formats,privacy,deepspeed,sweep,dev]'
	touch $@

demo: $(SMALL)
	$(BIN)/accelerate launch --quiet --config_file launch/cpu-1.yaml distgan/train.py --config configs/demo.yaml

# On a machine with an NVIDIA GPU: its own environment with the CUDA builds, then every check that needs one.
GPU := .venv-gpu
$(GPU)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/pip install --quiet --upgrade pip
	$(GPU)/bin/pip install --editable '.[gpu,demo,deepspeed]'
	touch $@

gpu: $(GPU)/.ready
	$(GPU)/bin/python benchmarks/gpu.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# One worker more than there are cores, with one thread each: some tests wait for processes that they started. The tests
# of a file stay together, since they share trainings; files are taken in the order of tests/conftest.py, the long ones
# first.
WORKERS := $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) + 1)' 2>/dev/null || echo auto)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) -m 'not slow and not gpu'

test-all: lint
	$(INSTALL) '.[trackers]'
	$(PYTEST) -m 'not gpu'

drill: $(READY)
	$(BIN)/python tests/integration/drill.py

# Two virtual machines. Needs root, iproute2, util-linux, and for SLURM Debian's slurmctld, slurmd, slurm-client and munge.
clusters: $(READY)
	for name in training slurm ray slurm-ray; do tests/integration/clusters/$$name.sh "$$(mktemp -d)" || exit 1; done

clean:
	rm -rf .venv .venv-gpu build *.egg-info
