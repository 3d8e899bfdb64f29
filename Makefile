PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check
AUDIT := .venv-audit/bin
UPGRADE := --upgrade
LOCK := env -u PIP_FIND_LINKS UV_NO_CONFIG=1 $(AUDIT)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help demo dev test distributed campaign lint messages lock audit sbom clean

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

# From PyPI alone, whatever other places this machine's pip knows: their builds have hashes of their own.
lock: .venv-audit/installed ## newest versions of all packages, with their hashes (UPGRADE= keeps those that are there)
	$(LOCK) $(UPGRADE) --all-extras pyproject.toml --output-file constraints.txt
	$(LOCK) $(UPGRADE) --extra k8s --extra spark --extra tuning --constraint constraints.txt pyproject.toml \
		--output-file requirements/run.txt
	$(LOCK) $(UPGRADE) --group audit --output-file requirements/audit.txt

audit: .venv-audit/installed ## known vulnerabilities of all pinned versions; fails, too, where one cannot be looked up
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip --requirement constraints.txt
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/audit.txt

sbom: .venv/installed .venv-audit/installed ## sbom.json: what is installed in .venv (CycloneDX)
	$(AUDIT)/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON --output-file sbom.json $(BIN)/python

clean: ## remove the environments, data/demo and data/null
	rm -rf .venv .venv-audit .venv-spark data/demo data/null

# The hashes are of PyPI's files, for all platforms. Where this machine's pip knows other places, for a CPU build of torch
# above all, torch comes from there by its version alone, and what only its CUDA build needs is left out. pyspark-client
# is the one package without a wheel: its source is compared, what builds it is not.
.venv/installed: pyproject.toml constraints.txt
	@echo "setting up .venv: some 160 packages, torch among them; minutes on a slow line, and only now"
	$(PYTHON) -m venv .venv
	@cp constraints.txt .venv/hashed.txt
	@if $(BIN)/pip config list | grep -q -e find-links -e extra-index-url; then \
		sed '/^\(torch\|triton\|nvidia-.*\|cuda-.*\)==/,/[^\\]$$/d' constraints.txt >.venv/hashed.txt; \
		echo "pip is told of packages beside its index: torch's hash is not compared, all other packages' are"; \
	fi
	$(INSTALL) --require-hashes --only-binary :all: --no-binary pyspark-client --no-deps --requirement .venv/hashed.txt
	$(INSTALL) "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)"
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

.venv-audit/installed: requirements/audit.txt
	$(PYTHON) -m venv .venv-audit
	$(AUDIT)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements/audit.txt
	touch $@

# The server's pyspark and the thin client's are packages of one name, so the server has an environment of its own.
.venv-spark/installed: constraints.txt
	$(PYTHON) -m venv .venv-spark
	.venv-spark/bin/pip install --quiet --disable-pip-version-check --no-compile \
		"pyspark==$$(sed -n 's/^pyspark-client==\([^ ]*\).*/\1/p' constraints.txt)"
	touch $@
