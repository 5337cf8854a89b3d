# Every target explains itself: `make help`.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup setup-dev up fmt lint types imports test test-core test-component test-system golden simulate faults bench lock check clean

help: ## Print what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.up: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.up requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.up ## Set up what `make up` needs: a virtual environment from the lock file

setup-dev: $(VENV)/.dev ## Set up what `make test` and `make check` need besides

up: setup ## Start everything on this machine: embedded servers, all services, the samples
	@exec $(BIN)/flotilla up

fmt: setup-dev ## Format and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup-dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: setup-dev ## Check the walls between the packages
	$(BIN)/lint-imports

types: setup-dev ## Check types (mypy strict)
	$(BIN)/mypy

test: setup-dev ## Run every test against embedded servers: those that need none beside the others
	@told=$$(mktemp); \
	$(BIN)/pytest -m "not component and not system" > "$$told" 2>&1 & alone=$$!; \
	$(BIN)/pytest -m "component or system"; servers=$$?; \
	wait $$alone; alone=$$?; \
	cat "$$told"; rm -f "$$told"; \
	exit $$((servers || alone))

test-core: setup-dev ## Run the tests that need no server (seconds)
	$(BIN)/pytest -m "not component and not system"

test-component: setup-dev ## Run the tests of one package at a time against real servers
	$(BIN)/pytest -m component

test-system: setup-dev ## Run the tests of the whole engine as processes
	$(BIN)/pytest -m system

golden: setup-dev ## Rewrite golden files; review the diff
	GOLDEN=rewrite $(BIN)/pytest -q tests -m "not system" -k golden

simulate: setup-dev ## Run the ten thousand simulated worlds of `make test`, and tell what they came across
	$(BIN)/python -m tests.simulator --seeds 10000 --report

FAULTS ?= --row all --seed 1

faults: setup-dev ## Break a whole engine under load in every way there is (half an hour); FAULTS="--row NAME --seed N" for one
	$(BIN)/python -m tests.faults $(FAULTS)

bench: setup ## Measure the engine on this machine, beside what the machine could do
	$(BIN)/flotilla bench

lock: ## Resolve the lock files anew (needs uv)
	uv pip compile pyproject.toml --extra embedded --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o requirements.lock
	uv pip compile pyproject.toml --extra embedded --extra dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -c requirements.lock -o requirements-dev.lock

check: lint imports types test ## Everything that CI runs

clean: ## Remove the environment and caches; data in .flotilla stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
