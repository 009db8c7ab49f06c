# Python 3.10 to 3.12; the versions of constraints.txt were tested with 3.11, so that comes first.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.10 python3; do command -v $$name && break; done)
BIN := .venv/bin
EXTRAS ?= cpu,test,pretrained
INSTALLED := .venv/installed-$(EXTRAS)
# Some versions there need Python 3.11.
CONSTRAINTS = $(shell $(PYTHON) -c "import sys; print('-c constraints.txt' if sys.version_info >= (3, 11) else '')")
# Processes that run tests side by side, each with its share of the processors.
WORKERS ?= auto

.PHONY: help demo test lint clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(INSTALLED)  ## generated scenes, a short training, output/demo/report.html
	$(BIN)/paddle-pointrend demo

test: lint  ## the tests, with the coverage of the package
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## removes the environment and everything that was made
	rm -rf .venv output build *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(None if (3, 10) <= sys.version_info[:2] <= (3, 12) else 'Python 3.10 to 3.12 is needed, this is ' + sys.version.split()[0] + '; set PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e ".[$(EXTRAS)]"
	touch $@
