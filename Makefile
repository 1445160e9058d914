# make setup makes .venv with the pinned set; every other target does that first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-all lint drill clean

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,demo,privacy,deepspeed,sweep,dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/accelerate launch --quiet --config_file launch/cpu-1.yaml distgan/train.py --config configs/demo.yaml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m 'not slow and not gpu'

test-all: lint
	$(BIN)/python -m pytest -m 'not gpu'

drill: $(READY)
	$(BIN)/python tests/drill.py

clean:
	rm -rf .venv build *.egg-info
