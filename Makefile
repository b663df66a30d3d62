# Every target sets up what it needs below .venv: with uv where it is installed, else with pip
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
MAKE_VENV := $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python
else
MAKE_VENV := $(PYTHON) -m venv $(VENV)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif
DEMO := GLACIERFLOW_HOME="$(CURDIR)/demo-output/home" $(BIN)/glacierflow

.PHONY: demo test rehearse lint bench clean

$(INSTALLED): pyproject.toml
	$(MAKE_VENV)
	$(INSTALL) --editable '.[dev]'
	touch $@

# Three glaciers on the embedded cloud: no AWS account, no network
# (from nothing each time, so that every image is made and shown)
demo: $(INSTALLED)
	@$(DEMO) local reset
	$(DEMO) batch submit --local --satellite sentinel2 --start-end-index 0:3 \
		--date1 2024-07-01 --date2 2024-07-21 --wait --fetch demo-output; \
		code=$$?; $(DEMO) local down; exit $$code

# What is proven in minutes, on several processors
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not rehearsal" --numprocesses auto --maxprocesses 4 --dist loadfile

# What takes longer by its nature: containers, many children, whole walks through the documentation
rehearse: $(INSTALLED)
	$(BIN)/python -m pytest -m rehearsal

lint: $(INSTALLED)
	$(BIN)/cfn-lint batch/*.yaml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) demo-output benchmark-output
