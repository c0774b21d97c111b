# Everything a fresh clone needs: Python >= 3.11 and make. The environment is made once in .venv and reused.
PYTHON ?= python3
BIN := .venv/bin
# Tests run in so many processes; 0 runs them in this one, as a debugger needs it.
JOBS ?= 2

.PHONY: help install check format test test-all demo techniques pictures clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: .venv/installed  ## make .venv with the tool and its development tools

check: install  ## ruff (lint, format), mypy --strict (tests and benchmarks too), import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install  ## the test suite without what is slow
	$(BIN)/pytest -n $(JOBS) -m 'not slow'

test-all: install  ## the whole test suite, with what is slow and with Ray; a browser is used where there is one
	$(BIN)/python -m pip install --quiet --editable '.[dev,ray]'
	$(BIN)/pytest -n $(JOBS)

demo: install  ## the whole story on real images, no network
	$(BIN)/finetune-advisor demo --dir demo

techniques: install  ## write docs/techniques.md again from the catalog
	$(BIN)/finetune-advisor techniques --markdown > docs/techniques.md

pictures: demo  ## make the README's picture again from a real analysis
	$(BIN)/python docs/pictures.py

clean:  ## remove the environment and what was made here
	rm -rf .venv demo dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
