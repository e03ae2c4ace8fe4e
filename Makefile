# `make demo` sets up an environment and runs the loop; `make test` sets up and passes the tests.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test quick check docs bench clean

demo: $(VENV)/.demo  ## The whole loop against the shipped mock server
	$(BIN)/python recipes/demo.py

test: $(VENV)/.dev  ## Lint, types and all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

quick: $(VENV)/.dev  ## The tests that take no more than seconds
	$(BIN)/python -m pytest -m "not slow" -x

check: test

docs: $(VENV)/.dev  ## Write the generated pages again
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev  ## Every benchmark, one after the other, with its figures
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

# torch is asked for by its exact version: a range would take a build with CUDA, of several gigabytes.
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)"
	$(PIP) install --quiet -c constraints.txt -e ".[dev,local,hub]"
	$(BIN)/python -m compileall -q $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) .demo build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
