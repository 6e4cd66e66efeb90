# The map of daily work. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= tiny
RERANKER ?= $(subst Embedding,Reranker,$(MODEL))
PRECISION ?= fp32
DEMO := build/demo

.DEFAULT_GOAL := help
.PHONY: help demo test test-batching test-full test-8b fidelity bench bench-quick check format clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## export, serve, embed and rerank once; MODEL=Qwen/Qwen3-Embedding-0.6B for the real one
	$(BIN)/qwen3-triton export $(MODEL) --repository $(DEMO) --precision $(PRECISION) --force
	$(BIN)/qwen3-triton export $(RERANKER) --kind reranker --repository $(DEMO) --precision $(PRECISION) --force
	$(BIN)/python examples/demo.py $(DEMO)

test: $(VENV)/.dev ## run the tests on real Triton and real ONNX Runtime (minutes)
	$(BIN)/pytest -n 2 -m "not full and not huge and not compiler"

test-batching: $(VENV)/.dev ## compile the batching plugin of docker/batching and run it in Triton; needs gcc and g++
	$(BIN)/pytest -m compiler

test-full: $(VENV)/.dev ## the slow tier at the true 0.6B shape; writes docs/measurements.md
	$(BIN)/pytest -m full -s --timeout 3600

test-8b: $(VENV)/.dev ## export and serve the true 8B shape, if the disk has room
	$(BIN)/pytest -m huge -s --timeout 3600

fidelity: $(VENV)/.dev ## cosine, size, memory and speed of every precision; writes docs/fidelity.md
	$(BIN)/python bench/fidelity.py build/fidelity

bench: $(VENV)/.dev ## speed beside other engines; writes docs/benchmarks.md (about an hour)
	$(BIN)/python bench/peers.py run

bench-quick: $(VENV)/.dev ## the same against the closest peers, once; prints tables (minutes)
	$(BIN)/python bench/peers.py quick

check: $(VENV)/.dev ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy bench client export gateway serve verify examples tests

format: $(VENV)/.dev ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and everything built; exported models stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
		{ echo "Python 3.10, 3.11 or 3.12 is needed; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e '.[export,serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.runtime
