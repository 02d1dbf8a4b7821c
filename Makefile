# The verbs of this project. They need Python 3.11 or newer and make; everything else they install themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# $(call install,ENVIRONMENT,PACKAGES): by uv where it is found, in a fraction of the time; where that fails, and else, by pip.
install = { command -v uv >/dev/null && uv pip install --quiet --python $(1)/bin/python $(2); } || \
  $(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)

.PHONY: help demo test test-thorough test-browser test-foreign test-engines check format bench schemas clean

help: ## Show the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.demo ## A year of real flights through the whole product
	@$(BIN)/truthloop demo

# Twice as many processes as cores: tests with a broker wait more than they compute.
PYTEST := $(BIN)/python -m pytest -n 4 --dist worksteal

test: $(VENV)/.dev ## All tests, in minutes
	$(PYTEST)

test-thorough: $(VENV)/.dev ## The same with more examples and every variant: before a change of what they guard
	TRUTHLOOP_TESTS=thorough $(PYTEST)

test-browser: $(VENV)/.browser ## The page in a real Chromium: apt install chromium, or name one in TRUTHLOOP_CHROMIUM
	$(BIN)/python -m pytest tests/browser

test-foreign: $(VENV)/.dev .venv-airflow/.installed .venv-prefect/.installed ## Servers that are not ours: a real Airflow, a real Prefect; SHORT=1 for one test of each
	$(BIN)/python -m pytest tests/foreign $(if $(SHORT),-m short)

test-engines: $(VENV)/.dev .venv-pyspark/.installed ## Spark, Polars, delta-rs and DuckDB on one lake; Spark needs Java 17 or newer
	$(BIN)/python -m pytest tests/engines

check: $(VENV)/.dev ## Lint, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## The live join beside its peers; see benchmarks/README.md
	$(BIN)/python benchmarks/join.py --latency 20000

schemas: $(VENV)/.dev ## Write schemas/json again after a change of the models
	$(BIN)/python -m schemas.publish

clean: ## Remove what the verbs made
	rm -rf $(VENV) .venv-airflow .venv-prefect .venv-pyspark demo-out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Truthloop needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make environments: its ensurepip is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: EXTRAS := demo
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV): about 340 MB to download from PyPI, 1.2 GB on disk. Nothing else is touched."
	@$(call install,$(VENV),-c constraints.txt -e '.[$(EXTRAS)]')
	@touch $@

$(VENV)/.dev: EXTRAS := demo,protobuf,dev
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV): about 405 MB to download from PyPI, 1.4 GB on disk. Nothing else is touched."
	@$(call install,$(VENV),-c constraints.txt -e '.[$(EXTRAS)]')
	@touch $@ $(VENV)/.demo

$(VENV)/.browser: EXTRAS := demo,protobuf,dev,browser
$(VENV)/.browser: $(VENV)/.dev
	@echo "Installing Playwright into $(VENV): about 50 MB to download from PyPI, 160 MB on disk. Nothing else is touched."
	@$(call install,$(VENV),-c constraints.txt -e '.[$(EXTRAS)]')
	@touch $@

# Of their own, because their dependencies are not ours.
.venv-airflow/.installed: PACKAGE := apache-airflow==3.3.2
.venv-airflow/.installed: SIZE := 290 MB
.venv-prefect/.installed: PACKAGE := prefect==3.8.8 fastapi==0.139.2  # newer ones do not import with this Prefect
.venv-prefect/.installed: SIZE := 255 MB
.venv-pyspark/.installed: PACKAGE := pyspark==4.0.1
.venv-pyspark/.installed: SIZE := 480 MB
.venv-airflow/.installed .venv-prefect/.installed .venv-pyspark/.installed: Makefile | $(VENV)/bin/python
	@echo "Installing $(PACKAGE) from PyPI into $(@D): about $(SIZE) on disk. Nothing else is touched."
	@$(PYTHON) -m venv $(@D)
	@$(call install,$(@D),$(PACKAGE))
	@touch $@
