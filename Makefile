# `make up` and `make test` are all a newcomer needs. VENV can point elsewhere.
VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: up test clients check protos baseline bench compose-test lock docs clean

up: $(VENV)/.run
	@exec $(PY) -m voicemesh_cli up

test: $(VENV)/.dev
	$(PY) -m pytest

clients: $(VENV)/.dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh scripts/clients node litellm

check: $(VENV)/.dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh scripts/check

protos: $(VENV)/.dev
	sh scripts/protos $(PY)

baseline: $(VENV)/.dev
	$(VENV)/bin/buf build -o protos/baseline.binpb

bench: $(VENV)/.dev
	$(PY) -m bench

compose-test: $(VENV)/.dev
	$(PY) -m pytest tests/compose -x --durations=0

lock: $(VENV)/.dev
	sh scripts/lock $(PY)

docs: $(VENV)/.dev
	$(PY) scripts/settings_table.py --write

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "installing into $(VENV), once: a minute or so"; $(PY) -m pip install -q --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@touch $@

clean:
	rm -rf $(VENV) .voicemesh .clients tests/clients/node/node_modules
