# Every routine of the project. CI, hooks and people call these targets.
VENV ?= .venv
PYTHON ?= python3
RUN = $(VENV)/bin/python -m

install: $(VENV)/installed  ## editable install with everything for development

$(VENV)/installed: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[dev]'
	touch $@

node_modules: package.json package-lock.json
	npm ci --no-audit --no-fund --silent
	touch $@

# Checks that run no test

format: install node_modules  ## rewrite Python and JavaScript in the project's style
	$(RUN) ruff format .
	$(RUN) ruff check --fix .
	npm run --silent format

lint: install  ## style, complexity and common mistakes in Python; lint-js for JavaScript
	$(RUN) ruff format --check .
	$(RUN) ruff check .

lint-js: node_modules  ## style and common mistakes in the report page's JavaScript
	npm run --silent lint

typecheck: install  ## mypy --strict
	$(RUN) mypy

imports: install  ## import contracts: layers, and who may import what
	$(VENV)/bin/lint-imports

docs: install  ## generated reference pages, then the site in strict mode
	$(RUN) docs.generate
	$(RUN) mkdocs build --strict --quiet

golden: install  ## hashes and reference outputs (golden outputs) of the shipped model
	$(VENV)/bin/ctcedge models verify

# Tests, by tier

test: install  ## default tier: unit and integration tests, a few minutes
	$(RUN) pytest

test-training: install  ## the training kit; needs torch
	$(RUN) pytest tests/training

test-fault: install  ## kill, full disks, lost mounts: short form of the fault tests
	$(RUN) pytest tests/fault

test-fuzz: install  ## mutated inputs: short form of the fuzz run
	$(RUN) pytest tests/fuzz

test-statistical: install  ## rates and coverage over many simulated inputs: short form
	$(RUN) pytest -m statistical tests/unit tests/integration

test-bench: install  ## the benchmark command itself, not the speed of this machine
	$(RUN) pytest -m bench tests/unit tests/integration

test-systemd: install  ## a systemd of its own in a container; needs root and systemd-nspawn
	$(RUN) pytest -m systemd tests/integration

test-container: install  ## the Containerfile, built and run; needs root, buildah and a registry
	$(RUN) pytest -m container tests/integration

test-bioimageio: install .venv-bioimageio/installed  ## packed models in the test of bioimage.io
	$(RUN) pytest -m bioimageio tests/training/export

# Of its own: the tool needs another ONNX Runtime than ctcedge, and an older pydantic.
.venv-bioimageio/installed:
	$(PYTHON) -m venv .venv-bioimageio
	PIP_CONSTRAINT= .venv-bioimageio/bin/pip install --quiet \
		'bioimageio.core==0.11.0' 'pydantic<2.14' onnxruntime
	touch $@

test-anndata: install  ## tables of export in pandas and anndata
	$(RUN) pytest -m anndata tests/unit/results

test-browser: install  ## the report page in Chromium
	$(RUN) pytest tests/browser

test-js: node_modules  ## the report page's JavaScript without a browser
	npm test --silent

test-all: test test-anndata test-training test-bioimageio test-fault test-fuzz test-statistical test-bench test-systemd test-container test-browser test-js  ## every tier

coverage: install  ## line coverage of ctcedge by the default tier, with a floor
	$(RUN) pytest --cov --cov-report=term:skip-covered

soak: install  ## whole fault, statistical and fuzz runs; about an hour
	$(RUN) pytest -m 'soak or not soak' -s tests/fault
	$(RUN) pytest -m 'statistical or soak' tests/unit tests/integration
	$(RUN) pytest -m 'slow_training or not slow_training' tests/training
	$(VENV)/bin/python tests/fuzz/run.py --inputs 100000

# Dependencies

lock: install  ## write constraints.txt: the versions that CI installs
	$(VENV)/bin/pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --all-extras --no-emit-index-url --no-emit-find-links \
		--no-annotate --custom-compile-command 'make lock' --output-file constraints.txt pyproject.toml

lowest:  ## default tier with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct '.[test]'
	.venv-lowest/bin/python -m pytest -p no:cacheprovider -k 'not generated_page'  # help texts differ by typer version

hooks: install  ## run the project's checks before each commit
	$(VENV)/bin/pip install --quiet pre-commit
	$(VENV)/bin/pre-commit install

BEFORE = runs/0.5.1

model: install  ## train the shipped model again from 0.5.1 of the history; about an hour
	mkdir -p $(BEFORE)
	git archive d0911a6 models/sim-resnet18 | tar -x -C $(BEFORE) --strip-components 1
	$(RUN) train build --name sim-resnet18 --version 0.6.0 --seed 4 \
		--init $(BEFORE)/sim-resnet18 --epochs 12 --learning-rate 0.001 --out models

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/' | expand -t 20

.PHONY: install format lint lint-js typecheck imports docs golden test test-anndata test-training test-bioimageio test-fault test-fuzz \
	test-statistical test-bench test-systemd test-container test-browser test-js test-all coverage soak lock lowest hooks model help
