# Parley. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run
DEV_STAMP := $(VENV)/.dev
COMPILED_TESTS := tests/unit/sip tests/unit/services tests/unit/ntlm tests/unit/sipae tests/integration/test_transports.py \
  tests/integration/test_cluster.py tests/integration/test_presence.py tests/integration/services \
  tests/interop/test_calls_baresip.py tests/interop/test_sipp.py
# Two processes or more, each file of tests in one of them: most tests wait for a client or a timer.
SIDE_BY_SIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile
CODE := parley services tests bench fuzz tools

.DEFAULT_GOAL := help
.PHONY: help run test coverage unit native check compiled bench fuzz proto proto-baseline fmt lock clean \
  cluster-tools cluster-images cluster-up cluster-install cluster-test cluster-soak cluster-down

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  %-16s %s\n", $$1, $$2}'

# The packages of the lock files, by hash; the stamp is newer than the lock file once they are there.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Parley needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(BIN)/python requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(RUN_STAMP) native ## Run everything on this machine, with demo users
	@$(BIN)/parley run

test: $(DEV_STAMP) native ## Install what the tests need, then run all of them
	@tools/install-test-tools.sh
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

coverage: $(DEV_STAMP) ## Run all tests, one by one, and tell which lines they reach
	@tools/install-test-tools.sh
	$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage report --skip-covered --skip-empty | tail -n 25

native: $(RUN_STAMP) ## Build the packet path of the relay in Rust, when cargo is there
	@$(BIN)/python tools/build_native.py

unit: $(DEV_STAMP) ## Run the tests that need no other program
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: $(DEV_STAMP) ## Format, lint, types, docstrings, protos, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	$(BIN)/python tools/generate_proto.py --check
	$(BIN)/python tools/check_imports.py
	$(BIN)/python tools/check_tree.py
	@if command -v cargo >/dev/null; then tools/check_native.sh; else echo "no cargo: native/ is not checked"; fi
	@echo "all checks passed"

bench: $(DEV_STAMP) native ## Measure against Kamailio and coturn (Debian packages kamailio, sip-tester, coturn), compiled when there is a C compiler
	@mkdir -p build; if command -v cc >/dev/null; then $(BIN)/python tools/compile_cores.py build/compiled >build/compile.log 2>&1 || { cat build/compile.log; exit 1; }; \
	  cd build/compiled && PYTHONPATH=. ../../$(BIN)/python -m bench $(ARGS); \
	else echo "no C compiler: Parley is measured interpreted"; $(BIN)/python -m bench $(ARGS); fi

compiled: $(DEV_STAMP) ## Compile the hot paths, and test what is compiled against real clients
	@command -v cc >/dev/null || { echo "a C compiler is needed"; exit 1; }
	@mkdir -p build; $(BIN)/python tools/compile_cores.py build/compiled >build/compile.log 2>&1 || { cat build/compile.log; exit 1; }
	cd build/compiled && PYTHONPATH=. ../../$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(or $(ARGS),$(COMPILED_TESTS))

cluster-tools: $(RUN_STAMP) ## Install and build what the local cluster needs; takes minutes the first time
	@tools/cluster/cluster.sh install-tools
	@tools/cluster/cluster.sh build
	@tools/images/install.sh

cluster-images: cluster-tools native ## Build the container images, without a daemon
	@tools/install-kafka.sh >/dev/null
	@tools/install-jaeger.sh >/dev/null
	tools/images/build.sh

cluster-up: cluster-tools ## Start a Kubernetes of two nodes on this machine, or use the one that KUBECONFIG or Docker has
	tools/cluster/cluster.sh up

cluster-install: cluster-images cluster-up ## Install the chart into that cluster, with images of this checkout
	tools/cluster/install.sh

# What the tests need is installed, and the cluster started, while the images are built.
cluster-test: cluster-tools native ## Run the tests that need the cluster, then end it; KEEP=1 leaves it running
	@$(MAKE) --no-print-directory --jobs=3 $(DEV_STAMP) cluster-images cluster-up
	tools/cluster/install.sh
	@$(BIN)/python -m pytest tests/cluster -m "not soak" $(ARGS); status=$$?; \
	if [ -z "$(KEEP)" ]; then tools/cluster/cluster.sh down; fi; exit $$status

cluster-soak: cluster-install ## Upgrade under load, recovery and throughput, on the cluster: a quarter of an hour and more
	$(BIN)/python -m pytest tests/cluster -m soak
	$(BIN)/python -m bench cluster $(ARGS)

cluster-down: ## End the local cluster
	tools/cluster/cluster.sh down

fuzz: $(DEV_STAMP) ## Fuzz the parsers for a while
	$(BIN)/python -m fuzz.run --seconds 30 $(ARGS)

proto: $(DEV_STAMP) ## Generate the Python code of proto/
	$(BIN)/python tools/generate_proto.py

proto-baseline: $(DEV_STAMP) ## Accept the protos as they are as what must not be broken
	$(BIN)/buf build proto -o proto/baseline.binpb

fmt: $(DEV_STAMP) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(DEV_STAMP) ## Write the lock files anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra embedded --no-header --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra embedded --extra dev --no-header --no-annotate -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra kerberos --no-header --no-annotate -c requirements.lock pyproject.toml -o requirements-kerberos.lock

clean: ## Remove what was built
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
