# Every target sets up what it needs below .venv: with uv where it is installed, else with pip
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
make_venv = $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) $(1)
install = $(UV) pip install --quiet --python $(1)/bin/python
else
make_venv = $(PYTHON) -m venv $(1)
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
endif
# checkov pins boto3 and ninety others to versions of its own, so it has an environment of its own
CHECKOV_VENV := .venv-checkov
CHECKOV_VERSION := 3.3.30
DEMO := GLACIERFLOW_HOME="$(CURDIR)/demo-output/home" $(BIN)/glacierflow

.PHONY: demo test rehearse lint bench clean

$(INSTALLED): pyproject.toml
	$(call make_venv,$(VENV))
	$(call install,$(VENV)) --editable '.[dev]'
	touch $@

$(CHECKOV_VENV)/.$(CHECKOV_VERSION):
	$(call make_venv,$(CHECKOV_VENV))
	$(call install,$(CHECKOV_VENV)) 'checkov==$(CHECKOV_VERSION)'
	touch $@

# Three glaciers on the embedded cloud: no AWS account, no network
# (from nothing each time, so that every image is made and shown)
demo: $(INSTALLED)
	@$(DEMO) local reset
	$(DEMO) batch submit --local --satellite sentinel2 --start-end-index 0:3 \
		--date1 2024-07-01 --date2 2024-07-21 --wait --fetch demo-output; \
		code=$$?; $(DEMO) local down >/dev/null; exit $$code

# What is proven in minutes, on several processors
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not rehearsal" --numprocesses auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder

# What takes longer by its nature: containers, many children, whole walks through the documentation
rehearse: $(INSTALLED)
	$(BIN)/python -m pytest -m rehearsal

lint: $(INSTALLED) $(CHECKOV_VENV)/.$(CHECKOV_VERSION)
	$(BIN)/cfn-lint batch/*.yaml
	$(CHECKOV_VENV)/bin/checkov --directory batch --framework cloudformation --compact --quiet --skip-download
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(call install,$(VENV)) --editable '.[bench]'
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) $(CHECKOV_VENV) demo-output benchmark-output
