# Every command of this repository. `make` alone lists them.
#
# All of them work in .venv at the root. A stamp inside it says which lock was installed last, so that a second call
# starts at once and a changed lock is installed again. PYTHON=python3.12 chooses another interpreter, and remakes .venv.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# Recipes that start tests find node, age and rogatory in the environment first.
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"
PACKAGES := authority channels crypto desk gateway protocol rogatory

# .venv is made anew when this folder was moved, since its scripts name their place, and when an interpreter was asked
# for by name and is not the one that .venv has.
ifneq ($(shell cat $(VENV)/.place 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.made
endif
ifneq ($(origin PYTHON),file)
ifneq ($(shell { $(PYTHON) -V; } 2>/dev/null),$(shell cat $(VENV)/.made 2>/dev/null))
.PHONY: $(VENV)/.made
endif
endif

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(VENV)/.runtime ## the whole way of a request, told step by step (installs what it needs first)
	@$(IN_VENV) rogatory demo

.PHONY: test
test: $(VENV)/.test $(VENV)/.foreign ## every test, then the coverage gates
	@rm -f .coverage .coverage.*
	$(IN_VENV) coverage run -m pytest -n 2 --dist worksteal
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --include='crypto/*,protocol/*' --fail-under=100

.PHONY: lint
lint: $(VENV)/.lint ## format, lint, types, the walls between packages, docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if [ -d tests/typing ]; then set -x; $(BIN)/mypy tests/typing; fi
	$(BIN)/lint-imports --no-logo
	$(BIN)/interrogate --quiet crypto protocol channels

.PHONY: format
format: $(VENV)/.lint ## bring the code into form, mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: proof
proof: $(VENV)/.test $(VENV)/.foreign ## the long proofs, each printing its figure (200 rounds: long)
	@$(IN_VENV) sh scripts/run-proofs.sh

.PHONY: lock
lock: $(VENV)/.lint ## write requirements/*.txt from pyproject.toml, keeping today's versions
	@sh scripts/write-locks.sh

.PHONY: upgrade
upgrade: $(VENV)/.lint ## the same, with the newest versions that are a week old
	@sh scripts/write-locks.sh --upgrade

.PHONY: pin
pin: ## read the images' digests from their registry into docker/images.env
	@sh scripts/pin-images.sh docker

.PHONY: clean
clean: ## remove all that these commands have made, .venv included
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build demo-* tests/foreign/node_modules
	find $(PACKAGES) scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@sh scripts/make-venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml $(VENV)/.made
	@echo "Installing what Rogatory needs to run (requirements/runtime.txt)"
	@$(INSTALL) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@echo "Installing what the tests need (requirements/test.txt)"
	@$(INSTALL) --require-hashes -r requirements/test.txt
	@touch $@

$(VENV)/.lint: requirements/lint.txt $(VENV)/.runtime
	@echo "Installing the linters (requirements/lint.txt)"
	@$(INSTALL) --require-hashes -r requirements/lint.txt
	@touch $@

# The foreign implementations that our files are held against.
$(VENV)/.foreign: requirements/node.txt $(VENV)/.made scripts/prepare-foreign.sh $(wildcard scripts/install-*.sh tests/foreign/package*.json)
	@$(IN_VENV) sh scripts/prepare-foreign.sh $(VENV)
