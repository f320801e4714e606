# Every routine of the project; CI and people use the same ones.
VENV ?= .venv
PYTHON ?= python3

install: $(VENV)/installed  ## editable, with everything that tests and training need

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	touch $@

format: install
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lint: install
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

typecheck: install
	$(VENV)/bin/mypy

test: install
	$(VENV)/bin/pytest

soak: install  ## the whole fault suite: 300 kills, 5,000 crops, long streams; about twenty minutes
	$(VENV)/bin/pytest tests/fault -m 'soak or not soak' -s

golden: install  ## hashes and golden outputs of the shipped model
	$(VENV)/bin/ctcedge models verify

BEFORE = runs/0.5.1

model: install  ## train the shipped model anew from 0.5.1 of the history; about an hour
	mkdir -p $(BEFORE)
	git archive d0911a6 models/sim-resnet18 | tar -x -C $(BEFORE) --strip-components 1
	$(VENV)/bin/python -m train build --name sim-resnet18 --version 0.6.0 --seed 4 \
		--init $(BEFORE)/sim-resnet18 --epochs 12 --learning-rate 0.001 --out models

.PHONY: install format lint typecheck test soak golden model
