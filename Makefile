# Two commands for a stranger:  make lab   and   make test
# Everything is installed into .venv; stamp files there make repeated calls quick.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# JupyterLab refuses to start as root unless told to; in a container root is all there is.
ROOTED := $(if $(filter 0,$(shell id -u)),--allow-root)

# Installs a Debian package where that needs no password, and otherwise says what to type.
define apt-install
if ! command -v apt-get >/dev/null; then echo "Needed: $(1). Install it with your system's package manager."; exit 1; \
elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1); \
elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1); \
else echo "Needed: $(1). Type:  sudo apt-get update && sudo apt-get install -y $(1)"; exit 1; fi
endef

# JupyterLab asks for news and updates at its first start; a class without a network should not be asked.
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings
QUIET_LAB := mkdir -p $(LAB_SETTINGS) && printf '%s\n' \
  '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
  > $(LAB_SETTINGS)/overrides.json

.DEFAULT_GOAL := help
.PHONY: help lab test test-slow lint bench bench-r chromium clean

help:
	@echo "make lab        install into .venv and open the first notebook in JupyterLab"
	@echo "make test       install what the tests need and run all of them"
	@echo "make test-slow  the proofs that take minutes"
	@echo "make lint       ruff, import-linter, pyright"
	@echo "make bench      benchmarks, and the table of ratios"
	@echo "make bench-r    install R and lme4 (Debian), which bench compares with where they are there"
	@echo "make clean      remove .venv and everything generated"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)."; \
	  echo "Name another one:  make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { $(call apt-install,python3-venv); }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab-installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[lab]'
	@$(QUIET_LAB)
	@touch $@

$(VENV)/.test-installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	@$(QUIET_LAB)
	@touch $@ $(VENV)/.lab-installed

lab: $(VENV)/.lab-installed
	$(BIN)/jupyter lab $(ROOTED) $(LAB_ARGS) notebooks/01-first-bootstrap.ipynb

test: lint chromium
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.test-installed chromium
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

bench: $(VENV)/.test-installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks/bench_ratios.py tests/benchmarks/bench_lmer.py tests/benchmarks/bench_glmer.py tests/benchmarks/bench_effects.py tests/benchmarks/bench_engine.py --benchmark-columns=median,iqr,rounds

# What the benchmarks are compared with, where it is not there yet: R, lme4, boot and a fast BLAS, from Debian.
bench-r:
	@Rscript -e 'library(lme4); library(boot); library(emmeans); library(lmerTest); library(pbkrtest)' >/dev/null 2>&1 || { $(call apt-install,r-base-core r-cran-lme4 r-cran-boot r-cran-emmeans r-cran-lmertest r-cran-pbkrtest libopenblas0-pthread); }

# Browser tests drive Debian's Chromium; Playwright's own download is not used.
chromium:
	@command -v chromium >/dev/null || { $(call apt-install,chromium); }

clean:
	rm -rf $(VENV) build dist test-artefacts bench-artefacts .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find inference_core bossaviz tests -name __pycache__ -prune -exec rm -rf {} +
