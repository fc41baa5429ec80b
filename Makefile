# Avenue. `make help` lists what there is.
# Every target first makes sure that .venv and node_modules match their lock files (milliseconds when they do).
.DEFAULT_GOAL := help
PY := .venv/bin/python
NAME ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: ## .venv and node_modules, from the lock files
	@stack/install.sh

.PHONY: up down reset clean restart status logs psql env
up: install ## start the local Supabase and the workers; a second time is harmless
	@$(PY) -m stack up
down: install ## stop everything this checkout started; data is kept
	@$(PY) -m stack down
reset: install ## throw the database away and start afresh
	@$(PY) -m stack reset
clean: install ## stop everything and remove all state of this checkout
	@$(PY) -m stack clean
restart: install ## restart one part, e.g. PART=http after changing the workers
	@$(PY) -m stack restart $(PART)
status: install ## which parts run, where, with which keys
	@$(PY) -m stack status
logs: install ## follow the logs of all parts (PART=gateway for one)
	@$(PY) -m stack logs $(PART)
psql: install ## a psql prompt as role postgres
	@$(PY) -m stack psql
env: install ## the settings as shell assignments, for eval
	@$(PY) -m stack env

.PHONY: demo seed
seed: install ## a few members, items and posts to look at, in the running stack
	@$(PY) -m stack.seed
demo: install ## from nothing to a narrated run of the whole marketplace
	@$(PY) -m stack.demo

.PHONY: migration check docs
migration: install ## start a migration from what changed in sql/ (NAME=add_x, optionally PAGES='sql/65_*')
	@$(PY) -m stack.schema migration "$(NAME)" --pages "$(or $(PAGES),*)"
check: install ## sql/ and supabase/migrations make the same database; schema lint; generated pages are current
	@$(PY) -m stack.schema check
docs: install ## rewrite the generated pages under docs/
	@$(PY) -m stack.schema docs

.PHONY: lint test soak bench
lint: install ## ruff, mypy, sqlfluff, squawk, database advisors, plpgsql_check where the server has it
	@$(PY) -m stack.schema lint
test: lint check ## everything: lint, check, pgTAP and pytest
	@.venv/bin/pytest supabase/tests -v
	@.venv/bin/pytest tests -n 2 --dist loadfile --no-loadscope-reorder
soak: install ## the money model with new random runs, for hours if wished (EXAMPLES=1000)
	@AVENUE_MONEY_EXAMPLES=$(or $(EXAMPLES),1000) .venv/bin/pytest tests/money/test_stateful.py -v
bench: install ## measure against the peers, in one run
	@$(PY) -m bench

.PHONY: requirements
requirements: install ## compile requirements.in to requirements.txt
	@.venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' \
		requirements.in --output-file requirements.txt
