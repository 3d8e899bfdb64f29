# make demo   set up, materialize the whole graph on the built-in demo logs, print the leaderboard
# make dev    open the Dagster UI on the same data (or on your own logs once they are in data/landing)
# make test   set up, run the whole test suite
# make lint   ruff and mypy
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo dev test lint clean

demo: .venv/installed
	$(BIN)/sessrec demo

dev: .venv/installed
	$(BIN)/sessrec dev

test: .venv/installed
	$(BIN)/pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv data/demo data/null

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@
