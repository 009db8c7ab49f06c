PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
EXTRAS ?= cpu,test
INSTALLED := .venv/installed-$(EXTRAS)

.PHONY: demo test lint clean

demo: $(INSTALLED)  ## generated scenes, a short training, output/demo/report.html
	$(BIN)/paddle-pointrend demo

test: lint  ## the tests, with the coverage of the package
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else 'Python 3.11 is needed, this is ' + sys.version.split()[0] + '; set PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

clean:
	rm -rf .venv output build *.egg-info
