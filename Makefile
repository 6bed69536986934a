# Every target makes and uses .venv; nothing has to be set up before.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH_INSTALLED := $(patsubst benchmarks/requirements-%.txt,.venv-%/.installed,$(wildcard benchmarks/requirements-bench*.txt))
EVENTS ?= 10000
MINUTES ?= 3
SEEDS ?= 100000
KILLS := $(if $(CHAOS),3,0)

.DEFAULT_GOAL := help
.PHONY: bench-console screenshots help setup demo check format lint types imports test test-unit test-contract test-acceptance test-long mutants simulate faults faults-short bench bench-throughput bench-latency bench-curves bench-start bench-guard bench-flame bench-peers bench-backlog bench-audit docs observe lock clean
.PHONY: tools wheel runtime audit-deps sbom licences manifests image-lint release-check

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv with hashed dependencies; the command is .venv/bin/keepstream

$(INSTALLED): pyproject.toml deploy/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
		|| { echo "Python 3.11 to 3.14 is needed; name one with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a minute the first time)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@rm -rf .venv/src && mkdir -p .venv/src/keepstream && ln -s ../../../app/public/__init__.py .venv/src/keepstream/ \
		&& ln -s $(foreach layer,app processors schemas sinks,../../../$(layer)) .venv/src/keepstream/  # for mypy and editors: pyproject.toml
	@touch $@

demo: $(INSTALLED) ## Real Kafka, real PostgreSQL, real events, and the proof (EVENTS=100000, CHAOS=1)
	@$(BIN)/keepstream demo --events $(EVENTS) --kills $(KILLS)

test: $(INSTALLED) ## The tests, on a real Kafka and a real PostgreSQL (the rest: test-long, faults)
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder

test-unit: $(INSTALLED) ## Unit tests: fakes only, seconds
	@$(BIN)/pytest -q -n 2 tests/unit

test-contract: $(INSTALLED) ## One suite per port, against the fake and the real part
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder tests/contract

simulate: $(INSTALLED) ## Simulate 100,000 worlds of faults (SEEDS=5000), or tell the story of one (SEED=123)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-long: $(INSTALLED) ## TLS, logins and rights; rolling restart; migration under load; the wheel; embedded servers: many minutes
	@$(BIN)/pytest -q -m long tests/acceptance/security tests/acceptance/test_rolling_change.py tests/acceptance/test_migration_under_load.py tests/acceptance/test_wheel.py \
		tests/contract/test_embedded.py tests/contract/test_embedded_services.py \
		tests/acceptance/test_crash_points.py tests/acceptance/test_memory.py tests/acceptance/test_fleet.py \
		tests/acceptance/test_documented_commands.py

test-acceptance: $(INSTALLED) ## The worker as a process, on good and bad days
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder tests/acceptance

faults: $(INSTALLED) ## Every fault on real parts, then the table; random kills last MINUTES=3
	@FAULT_MINUTES=$(MINUTES) $(BIN)/pytest -q tests/faults -m "long or not long"

faults-short: $(INSTALLED) ## The short form, as `make test` runs it
	@$(BIN)/pytest -q tests/faults

mutants: $(INSTALLED) ## Make known and unknown mistakes in a copy of the tree: the suite must notice (10 minutes)
	@$(BIN)/python -m tests.mutation
	@$(BIN)/python -m tests.mutation.mutmut

bench: $(INSTALLED) bench-peers ## Everything side by side with every peer, the goals met or not (EVENTS, RUNS, SIZES, ONLY, SYNC=on)
	@$(BIN)/python -m benchmarks.throughput > /dev/null
	@$(BIN)/python -m benchmarks.latency > /dev/null
	@$(BIN)/python -m benchmarks.curves > /dev/null
	@$(BIN)/python -m benchmarks.start

bench-throughput: $(INSTALLED) bench-peers ## Backlogs of three event sizes, all contestants in turn
	@$(BIN)/python -m benchmarks.throughput

bench-latency: $(INSTALLED) bench-peers ## From produce to commit at 10 to 75 % load, in an open loop
	@$(BIN)/python -m benchmarks.latency

bench-curves: $(INSTALLED) bench-peers ## Rate, CPU and memory against batch, partitions, size, table, bad records, workers
	@$(BIN)/python -m benchmarks.curves

bench-start: $(INSTALLED) ## Start of the worker and of the command line
	@$(BIN)/python -m benchmarks.start

bench-guard: $(INSTALLED) ## Ratios to the hand-written loop and the floor, in under two minutes
	@$(BIN)/python -m benchmarks.guard

bench-flame: $(INSTALLED) bench-peers ## A flame graph of the worker while it drains a backlog
	@$(BIN)/python -m benchmarks.flame

# Each peer in an environment of its own: their pins disagree, and none of them belongs to the product's lock. One that
# does not install on this Python is left out, and the tables say so.
bench-peers: $(BENCH_INSTALLED)

.venv-%/.installed: benchmarks/requirements-%.txt
	@echo "Installing into .venv-$*" >&2
	@$(PYTHON) -m venv .venv-$* && .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r $< && touch $@ || { echo ".venv-$* does not install and is left out" >&2; rm -rf .venv-$*; }

bench-backlog: $(INSTALLED) ## Drain a backlog of 300,000 events three times and print the rate
	@$(BIN)/python -m benchmarks.backlog

bench-audit: $(INSTALLED) ## Audit 1,000,000 settled records: speed and memory
	@$(BIN)/python -m benchmarks.audit

bench-console: $(INSTALLED) ## How long the console's list takes with 1,000,000 dead letters
	@$(BIN)/python -m benchmarks.web_list

screenshots: $(INSTALLED) ## The story in Chromium again, saving the pictures of docs/images
	@KEEPSTREAM_SCREENSHOTS=docs/images $(BIN)/pytest -q tests/acceptance/web/test_web_story.py

check: lint types imports test-unit ## Format, lint, types, imports, unit tests: under a minute

format: $(INSTALLED) ## Format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

lint: $(INSTALLED) ## Check format and lint
	@$(BIN)/ruff format -q --check . && $(BIN)/ruff check -q .

types: $(INSTALLED) ## Check types, strictly
	@$(BIN)/mypy | sed 's|^\.venv/src/keepstream/||'; exit $${PIPESTATUS[0]}

imports: $(INSTALLED) ## Check who may import whom
	@PYTHONPATH=.venv/src $(BIN)/lint-imports

docs: $(INSTALLED) ## Write docs/metrics.md and the dashboards anew from their sources
	@$(BIN)/python docs/build_metrics.py > docs/metrics.md
	@$(BIN)/python deploy/grafana/build.py

observe: $(INSTALLED) ## A bad day of a worker, watched by a real Prometheus: every panel and alert with its value
	@OBSERVE_PICTURE=docs/overview.svg $(BIN)/pytest -q -s -m long tests/acceptance/test_observe.py

lock: $(INSTALLED) ## Write deploy/requirements.lock anew (needs uv)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --extra embedded --extra dev \
		--no-emit-index-url --no-annotate --no-header --quiet --upgrade -o deploy/requirements.lock
	@uv pip compile deploy/tools.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --quiet --upgrade -o deploy/tools.lock

TOOLS := .venv/tools/bin
RUNTIME := .venv/runtime

tools: .venv/tools/.installed ## Create .venv/tools: the tools of the targets below, hashed

.venv/tools/.installed: deploy/tools.lock | $(INSTALLED)
	@test -x $(TOOLS)/python || $(BIN)/python -m venv .venv/tools
	@$(TOOLS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/tools.lock
	@touch $@

wheel: $(INSTALLED) ## Build dist/keepstream-VERSION.whl
	@rm -rf dist && $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

runtime: wheel ## Install the wheel and what a worker needs, and nothing else, into .venv/runtime
	@$(BIN)/python -m venv --clear $(RUNTIME)
	@sed -e '/--hash=/d' -e 's/ *\\$$//' deploy/requirements.lock > $(RUNTIME)/constraints.txt
	@$(RUNTIME)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(RUNTIME)/constraints.txt \
		"$$(ls dist/keepstream-*.whl)[otel]"

audit-deps: .venv/tools/.installed ## Known vulnerabilities of everything in the lock (asks PyPI, and fails where it cannot)
	@$(TOOLS)/pip-audit --strict --disable-pip --require-hashes -r deploy/requirements.lock

sbom: runtime .venv/tools/.installed ## Write dist/sbom.cdx.json (CycloneDX): what an installed worker consists of
	@$(TOOLS)/cyclonedx-py environment --of JSON -o dist/sbom.cdx.json --pyproject pyproject.toml $(RUNTIME)/bin/python

licences: runtime .venv/tools/.installed ## Write dist/licences.md: the licence of each package of an installed worker
	@$(TOOLS)/pip-licenses --python $(RUNTIME)/bin/python --format markdown --order license --output-file dist/licences.md

manifests: .venv/tools/.installed ## Check deploy/kubernetes against Kubernetes' schemas (needs kubectl or kustomize) and against the tree
	@mkdir -p dist && if command -v kustomize > /dev/null; then kustomize build deploy/kubernetes; \
		else kubectl kustomize deploy/kubernetes; fi > dist/kubernetes.yaml
	@$(TOOLS)/kubernetes-validate --strict --quiet dist/kubernetes.yaml
	@$(BIN)/pytest -q tests/unit/test_kubernetes.py

image-lint: .venv/tools/.installed ## Check deploy/Dockerfile with hadolint
	@$(TOOLS)/hadolint deploy/Dockerfile

release-check: image-lint sbom licences manifests ## These, the wheel in a clean environment with its demo, every command of the docs, and the audit last
	@$(BIN)/pytest -q tests/acceptance/test_wheel.py tests/acceptance/test_documented_commands.py -m "long or not long"
	@$(MAKE) --no-print-directory audit-deps

clean: ## Remove .venv and caches
	@rm -rf .venv .venv-bench* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
