# make demo   set up, materialize the whole graph on the built-in demo logs, print the leaderboard
# make dev    open the Dagster UI on the same data (or on your own logs once they are in data/landing)
# make test   set up, run the whole test suite
# make lint   ruff and mypy
# make audit  known vulnerabilities of the pinned versions (pip-audit; asks PyPI)
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo dev test lint audit clean

demo: .venv/installed
	$(BIN)/sessrec demo

dev: .venv/installed
	$(BIN)/sessrec dev

test: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf .venv data/demo data/null

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@
