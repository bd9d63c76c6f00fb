.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SHOP := $(PYTHON) deploy/local/shop.py
# Commands that only look or stop build no .venv: without one, the machine's python3 says that no shop runs.
SHOP_AS_IT_IS = $(or $(wildcard $(PYTHON)),python3) deploy/local/shop.py
UV := $(or $(shell command -v uv),.run/tools/bin/uv)

.PHONY: help up down clean status logs audit dead-letters load scale soak check format openapi test faults mutations

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/.runtime  ## start the shop; REPLICAS=n, or REPLICAS="notifier=5 orders=1", BACKSTAGE=off does without its figures
	@$(SHOP) up $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(BACKSTAGE),--backstage $(BACKSTAGE))

down:  ## stop it
	@$(SHOP_AS_IT_IS) down

clean:  ## stop it and remove its data
	@$(SHOP_AS_IT_IS) clean

status:  ## every part and whether it is ready
	@$(SHOP_AS_IT_IS) status

logs:  ## follow all logs
	@$(SHOP_AS_IT_IS) logs

dead-letters:  ## what nobody could handle; ARGS="list", and --help says the rest
	@$(SHOP_AS_IT_IS) dead-letters -- $(ARGS)

audit:  ## check every invariant of money and progress; ARGS= goes to the auditor
	@$(SHOP_AS_IT_IS) audit -- $(ARGS)

# The words given to make, such as RATE=200, go on to the tool.
load: .venv/.synced  ## load the running shop, or URL=, and check every order; RATE= USERS= SECONDS= ..., HELP= lists all
	@$(PYTHON) -m loadtest.load $(MAKEOVERRIDES)

scale: .venv/.synced  ## the same load with more and more replicas, on a shop of its own; NOTIFIERS="1 5" OTHERS="1 2" ...
	@$(PYTHON) -m loadtest.load.scale $(MAKEOVERRIDES)

soak: .venv/.synced  ## load the running shop for MINUTES= (60), and see that nothing grows but its orders
	@$(PYTHON) -m loadtest.load.soak $(MAKEOVERRIDES)

check: .venv/.synced  ## format, lint, types, import contracts
	@.venv/bin/ruff format --check && .venv/bin/ruff check && PATH="$$($(PYTHON) deploy/local/node.py)" .venv/bin/pyright && .venv/bin/lint-imports

format: .venv/.synced  ## format the Python code
	@.venv/bin/ruff format && .venv/bin/ruff check --fix

openapi: .venv/.synced  ## write docs/openapi anew from the code
	@$(PYTHON) -m docs.tools.write_openapi

test: .venv/.synced  ## every test, on a shop of its own; ARGS= goes to pytest
	@$(SHOP) test --dir .run/test -- $(ARGS)

faults: .venv/.synced  ## break a shop of its own again and again; SEED= repeats a plan, ROUNDS= faults, MINUTES= at most, ONLY="kill orders,kill redis", ON=cluster or swarm: deploy/cluster, deploy/swarm
	@$(if $(ON),true,$(PYTHON) deploy/local/packages.py faketime || true)
	@$(PYTHON) -m loadtest.faults $(if $(ON),--on $(ON)) $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only "$(ONLY)")

mutations: .venv/.synced  ## break the code instead: every mistake must be noticed by the faults
	@$(PYTHON) -m loadtest.faults.mutations

# The services and what starts them. --inexact leaves installed what .venv/.synced adds.
.venv/.runtime: pyproject.toml uv.lock $(filter .run/%,$(UV))
	@echo "installing Python packages"
	@"$(UV)" sync --quiet --locked --inexact --no-dev --group local && touch $@

# Everything, for tests, checks and load as well.
.venv/.synced: pyproject.toml uv.lock $(filter .run/%,$(UV))
	@echo "installing Python packages, development tools included"
	@"$(UV)" sync --quiet --locked && touch .venv/.runtime $@

.run/tools/bin/uv:
	@sh deploy/local/get-uv.sh .run/tools
