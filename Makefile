# `make demo` and `make test` set up everything they need below .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := GLACIERFLOW_HOME="$(CURDIR)/demo-output/home" $(BIN)/glacierflow

.PHONY: demo test lint bench clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Three glaciers on the embedded cloud: no AWS account, no network
# (from nothing each time, so that every image is made and shown)
demo: $(INSTALLED)
	@$(DEMO) local reset
	$(DEMO) batch submit --local --satellite sentinel2 --start-end-index 0:3 \
		--date1 2024-07-01 --date2 2024-07-21 --wait --fetch demo-output; \
		code=$$?; $(DEMO) local down; exit $$code

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/cfn-lint batch/*.yaml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) demo-output benchmark-output
