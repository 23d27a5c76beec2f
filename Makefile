# Every target sets itself up: nothing is needed but a `python3` >= 3.11 and PyPI.
PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
# What is imported is compiled and kept then; all else of the packages never is, and they are installed sooner.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo test test-slow check bench bench-peers docs constraints clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("chipweave needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

demo: $(VENV)/.run ## Build, verify and draw a dataset from a small synthetic Earth
	$(BIN)/chipweave demo

test: $(VENV)/.test ## Run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-slow: $(VENV)/.test ## Kills, resumes, fuzzing: the long proofs
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.dev ## Lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)-bench/.run: pyproject.toml constraints.txt
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

$(VENV)-peers/.run:
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 torchvision==0.28.0 rslearn einops
	touch $@

bench: $(VENV)-bench/.run ## Measure against stated limits; writes benchmarks/latest.json
	CHIPWEAVE_BENCH_PEERS=$(VENV)-peers $(VENV)-bench/bin/python -m benchmarks

bench-peers: $(VENV)-peers/.run ## Install rslearn apart; `make bench` then measures against it

docs: $(VENV)/.run ## Write the pages made from code: recipe keys, sources
	$(BIN)/python -m docs.reference

constraints: ## Resolve constraints.txt again
	$(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv
	.venv-uv/bin/uv pip compile pyproject.toml --extra test --extra dev --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate -o constraints.txt

clean: ## Remove what the targets made
	rm -rf .venv .venv-* .bench chipweave-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
