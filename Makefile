PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo dev test distributed campaign lint messages audit clean

help: ## print this list
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done

demo: .venv/installed ## set up, materialize the whole graph on the built-in demo logs, print the leaderboard
	$(BIN)/sessrec demo

dev: .venv/installed ## open the Dagster UI on the same data, or on your own logs once they are in data/landing
	$(BIN)/sessrec dev

test: .venv/installed ## set up, run the whole test suite
	$(BIN)/pytest -n auto --dist worksteal

distributed: .venv/installed ## the tests on clusters of this machine; those on Spark where there is Java
	@if java=$$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'); [ "$${java:-0}" -ge 17 ]; then \
		$(MAKE) --no-print-directory .venv-spark/installed && \
		SESSREC_SPARK_PYTHON=$(CURDIR)/.venv-spark/bin/python $(BIN)/pytest -m distributed; \
	else \
		echo "no Java 17 or newer: the tests on a Spark cluster are left out"; $(BIN)/pytest -m distributed; \
	fi

campaign: .venv/installed ## three minutes of faults against a home at work (all: tests/soak/campaign.py --faults 1000)
	$(BIN)/python tests/soak/campaign.py --seconds 180

lint: .venv/installed ## ruff, mypy, the order of the rooms, and whether Dagster loads the graph
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache pyproject.toml
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/dg check toml
	home=$$(mktemp -d) && cp sessrec_pipeline/dagster.yaml $$home && VIRTUAL_ENV=$(CURDIR)/.venv DAGSTER_HOME=$$home \
		SESSREC_HOME=$$home $(BIN)/dg check defs

messages: .venv/installed ## bring the Spanish catalogue up to date with the texts in the code
	$(BIN)/pybabel --quiet extract --mapping-file pyproject.toml --add-location file --sort-by-file --width 120 \
		--output-file .venv/report.pot sessrec_pipeline docs/make.py
	$(BIN)/pybabel --quiet update --domain report --input-file .venv/report.pot \
		--output-dir sessrec_pipeline/report/locale --previous --ignore-obsolete --ignore-pot-creation-date --width 120

audit: .venv/installed ## known vulnerabilities of the pinned versions (pip-audit; asks PyPI)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean: ## remove the environments, data/demo and data/null
	rm -rf .venv .venv-spark data/demo data/null

.venv/installed: pyproject.toml constraints.txt
	@echo "setting up .venv: some 160 packages, torch among them; minutes on a slow line, and only now"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

# The server's pyspark and the thin client's are packages of one name, so the server has an environment of its own.
.venv-spark/installed: constraints.txt
	$(PYTHON) -m venv .venv-spark
	.venv-spark/bin/pip install --quiet --disable-pip-version-check --no-compile \
		"pyspark==$$(sed -n 's/^pyspark-client==//p' constraints.txt)"
	touch $@
