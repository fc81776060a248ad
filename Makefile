PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SETUP := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint test-slow test-gpu bench clean

demo: $(VENV)/.core                ## the main job on real digits, pictures in demo/
	$(BIN)/python -m manifoldgen demo --out demo

test: $(VENV)/.test lint           ## lint, types, tests, doctests, README and notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --doctest-modules manifoldgen tests

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: $(VENV)/.test           ## outcomes on real data
	$(BIN)/python -m pytest -m slow tests

test-gpu: $(VENV)/.test            ## what needs a CUDA or MPS device
	$(BIN)/python -m pytest -m gpu tests

bench: $(VENV)/.bench              ## every figure in benchmarks/results/
	$(BIN)/python benchmarks/bench_training.py
	$(BIN)/python benchmarks/bench_losses.py
	$(BIN)/python benchmarks/bench_covariance.py
	$(BIN)/python benchmarks/bench_scoring.py
	$(BIN)/python benchmarks/bench_detection.py
	$(BIN)/python benchmarks/bench_one_class.py
	$(BIN)/python benchmarks/bench_pvalues.py
	$(BIN)/python benchmarks/bench_memory.py
	$(BIN)/python benchmarks/bench_generation.py
	$(BIN)/python benchmarks/bench_latent_dimension.py
	$(BIN)/python benchmarks/bench_maps.py
	$(BIN)/python benchmarks/bench_map_inverse.py --networks
	$(BIN)/python benchmarks/bench_map_partial_fit.py
	$(BIN)/python benchmarks/bench_map_growth.py
	$(BIN)/python benchmarks/bench_tables.py
	$(BIN)/python benchmarks/bench_embedding_metrics.py
	$(BIN)/python benchmarks/bench_generation_metrics.py
	$(BIN)/python benchmarks/bench_generation_from_maps.py
	$(BIN)/python benchmarks/bench_generators.py
	$(BIN)/python benchmarks/bench_generators_table.py
	$(BIN)/python benchmarks/bench_augmentation.py
	$(BIN)/python benchmarks/bench_imbalance.py
	$(BIN)/python benchmarks/bench_images.py
	$(BIN)/python benchmarks/bench_likelihood.py
	$(BIN)/python benchmarks/bench_cifar.py
	$(BIN)/python benchmarks/bench_regularised.py
	$(BIN)/python benchmarks/bench_constraint.py
	$(BIN)/python benchmarks/bench_constraint_models.py
	$(BIN)/python benchmarks/bench_constraint_runs.py

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python $(SETUP)
	$(INSTALL) -e .
	touch $@

$(VENV)/.test: $(VENV)/bin/python $(SETUP)
	$(INSTALL) -e ".[test]"
	touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/bin/python $(SETUP)
	$(INSTALL) -e ".[test,bench]"
	touch $@ $(VENV)/.test $(VENV)/.core
