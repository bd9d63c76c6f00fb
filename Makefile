.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SHOP := $(PYTHON) deploy/local/shop.py
# For commands that need no .venv. Without .venv no shop runs, and the machine's python3 can report that.
SHOP_WITHOUT_VENV = $(or $(wildcard $(PYTHON)),python3) deploy/local/shop.py
# The help of `audit` and `dead-letters` needs .venv, but no running shop.
HELP_ARG = $(filter -h --help,$(ARGS))
UV := $(or $(shell command -v uv),.run/tools/bin/uv)

.PHONY: help up down clean status logs audit dead-letters load scale soak check format openapi quick test faults mutations

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/.runtime  ## start the shop, or change the running one; REPLICAS=3, REPLICAS="notifier=5 orders=1", BACKSTAGE=off
	@$(SHOP) up $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(BACKSTAGE),--backstage $(BACKSTAGE))

down:  ## stop the shop; its data stays
	@$(SHOP_WITHOUT_VENV) down

clean:  ## stop the shop and delete its data
	@$(SHOP_WITHOUT_VENV) clean

status:  ## show every process of the shop and whether it is ready
	@$(SHOP_WITHOUT_VENV) status

logs:  ## follow the logs of the shop
	@$(SHOP_WITHOUT_VENV) logs

dead-letters: $(if $(HELP_ARG),.venv/.runtime)  ## list, show, replay or discard dead letters; ARGS="list", ARGS=--help
	@$(if $(HELP_ARG),$(SHOP),$(SHOP_WITHOUT_VENV)) dead-letters -- $(ARGS)

audit: $(if $(HELP_ARG),.venv/.runtime)  ## check that orders, payments and balances agree; ARGS=--help
	@$(if $(HELP_ARG),$(SHOP),$(SHOP_WITHOUT_VENV)) audit -- $(ARGS)

# Passes the variables on make's command line, such as RATE=200, to the tool.
load: .venv/.synced  ## put load on the running shop and check every order; RATE=200, HELP= lists all settings
	@$(PYTHON) -m loadtest.load $(MAKEOVERRIDES)

scale: .venv/.synced  ## run the load on a separate shop with several numbers of replicas; NOTIFIERS="1 5" OTHERS="1 2"
	@$(PYTHON) -m loadtest.load.scale $(MAKEOVERRIDES)

soak: .venv/.synced  ## put load on the running shop for an hour and check that nothing leaks; MINUTES=60
	@$(PYTHON) -m loadtest.load.soak $(MAKEOVERRIDES)

check: .venv/.synced  ## check formatting, lint rules, types and import rules
	@.venv/bin/ruff format --check && .venv/bin/ruff check && PATH="$$($(PYTHON) deploy/local/node.py)" .venv/bin/pyright && .venv/bin/lint-imports

format: .venv/.synced  ## format the Python code
	@.venv/bin/ruff format && .venv/bin/ruff check --fix

openapi: .venv/.synced  ## write docs/openapi from the code
	@$(PYTHON) -m docs.tools.write_openapi

quick: .venv/.synced  ## run the tests that need no server, in about a minute
	@$(PYTHON) -m pytest -q --quick -m "not fuzz" $(addprefix --ignore tests/,deploy browser e2e faults) $(ARGS)

test: .venv/.synced  ## run every test on a separate shop; ARGS="-k name" for pytest
	@$(SHOP) test --dir .run/test -- $(ARGS)

faults: .venv/.synced  ## break a separate shop under load and check its guarantees; SEED= ROUNDS= MINUTES= ONLY= ON=
	@$(if $(ON),true,$(PYTHON) deploy/local/packages.py faketime || true)
	@$(PYTHON) -m loadtest.faults $(if $(ON),--on $(ON)) $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only "$(ONLY)")

mutations: .venv/.synced  ## break the code and check that the fault suite notices it
	@$(PYTHON) -m loadtest.faults.mutations

# The packages of the services and of supervisord. --inexact keeps the packages that .venv/.synced adds.
.venv/.runtime: pyproject.toml uv.lock $(filter .run/%,$(UV))
	@echo "installing Python packages"
	@"$(UV)" sync --quiet --locked --inexact --no-dev --group local && touch $@

# All packages, including those of tests, checks and load.
.venv/.synced: pyproject.toml uv.lock $(filter .run/%,$(UV))
	@echo "installing Python packages, development tools included"
	@"$(UV)" sync --quiet --locked && touch .venv/.runtime $@

.run/tools/bin/uv:
	@sh deploy/local/get-uv.sh .run/tools
