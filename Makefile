# Every target creates and uses .venv; no setup is needed before.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH_INSTALLED := $(patsubst benchmarks/requirements-%.txt,.venv-%/.installed,$(wildcard benchmarks/requirements-bench*.txt))
EVENTS ?= 10000
MINUTES ?= 3
SOAK_MINUTES ?= 30
SEEDS ?= 100000
POSTGRES ?= 14,15,16,17,18,partitioned,pgbouncer-session,pgbouncer-transaction
KILLS := $(if $(CHAOS),3,0)

.DEFAULT_GOAL := help
.PHONY: bench-console screenshots help setup demo check format lint types imports test test-unit test-contract test-acceptance test-long test-postgres mutants simulate faults faults-short soak bench bench-throughput bench-latency bench-curves bench-start bench-guard bench-flame bench-peers bench-backlog bench-audit bench-consumers docs docs-json docs-site figures observe lock clean
.PHONY: tools wheel runtime audit-deps sbom licences manifests image-lint test-container release-check

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
	@rm -rf .venv/src && mkdir -p .venv/src/keepstream && ln -s $(foreach module,__init__ testing,../../../app/public/$(module).py) .venv/src/keepstream/ \
		&& ln -s $(foreach layer,app processors schemas sinks,../../../$(layer)) .venv/src/keepstream/  # for mypy and editors: pyproject.toml
	@touch $@

demo: $(INSTALLED) ## Run events through a real Kafka and PostgreSQL, and print the proof (EVENTS=100000, CHAOS=1, KEEP=1)
	@$(BIN)/keepstream demo --events $(EVENTS) --kills $(KILLS) $(if $(KEEP),--keep)

test: $(INSTALLED) ## Run the tests, on a real Kafka and a real PostgreSQL (the rest: test-long, faults)
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder

test-unit: $(INSTALLED) ## Run the unit tests: fakes only, seconds
	@$(BIN)/pytest -q -n 2 tests/unit

test-contract: $(INSTALLED) ## Run the contract suites: one per port, against the fake and the real part
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder tests/contract

simulate: $(INSTALLED) ## Simulate 100,000 seeds of faults (SEEDS=5000), or print the trace of one (SEED=123)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-long: .venv/tools/.installed ## Run the slow tests: TLS, logins, rights, rolling restart, migration under load, wheel, embedded servers, PgBouncer, Debezium, CloudEvents
	@$(BIN)/pytest -q -m long tests/acceptance/security tests/acceptance/test_rolling_change.py tests/acceptance/test_migration_under_load.py tests/acceptance/test_wheel.py \
		tests/contract/test_embedded.py tests/contract/test_embedded_services.py \
		tests/contract/test_faust_traps.py tests/contract/test_faust_commit_traps.py \
		tests/acceptance/test_crash_points.py tests/acceptance/test_memory.py tests/acceptance/test_workers_option.py \
		tests/acceptance/test_documented_commands.py tests/unit/test_documentation.py tests/acceptance/test_odd_arguments.py tests/acceptance/test_debezium.py \
		tests/acceptance/test_cloudevents.py tests/acceptance/test_pooler.py tests/acceptance/test_topics.py tests/acceptance/test_faults.py

test-postgres: $(INSTALLED) ## Run the store's contract suite on PostgreSQL 14 to 18, a partitioned table and PgBouncer (POSTGRES=14,17)
	@KEEPSTREAM_TEST_POSTGRES=$(POSTGRES) $(BIN)/pytest -q tests/contract/test_event_store.py tests/contract/test_fast_and_step_path.py \
		tests/contract/test_migrate.py tests/contract/test_one_transaction.py tests/contract/test_postgres_store.py \
		tests/contract/test_postgres_verdicts.py tests/contract/test_prune.py tests/contract/test_replay_ledger.py \
		tests/contract/test_custom_tables.py tests/contract/test_custom_table_plans.py

test-acceptance: $(INSTALLED) ## Run the acceptance tests: the worker as a process
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder tests/acceptance

faults: $(INSTALLED) ## Inject every fault on real servers, then print the table; random kills last MINUTES=3
	@FAULT_MINUTES=$(MINUTES) $(BIN)/pytest -q tests/faults -m "long or not long"

faults-short: $(INSTALLED) ## Inject the faults in the short form of `make test`
	@$(BIN)/pytest -q tests/faults

soak: $(INSTALLED) ## Let every idle limit run out for SOAK_MINUTES=30: a standby, an outage, a worker started before the migration
	@SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/pytest -q -m long tests/faults/test_idle_soak.py

mutants: $(INSTALLED) ## Run the mutation tests in a copy of the tree (10 minutes)
	@$(BIN)/python -m tests.mutation
	@$(BIN)/python -m tests.mutation.mutmut

bench: $(INSTALLED) bench-peers ## Run all benchmarks with all peers and compare with the goals (EVENTS, RUNS, ONLY, OTHER_PYTHON)
	@$(BIN)/python -m benchmarks.throughput > /dev/null
	@$(BIN)/python -m benchmarks.latency > /dev/null
	@$(BIN)/python -m benchmarks.curves > /dev/null
	@$(BIN)/python -m benchmarks.start > /dev/null
	@$(BIN)/python -m benchmarks.goals

bench-throughput: $(INSTALLED) bench-peers ## Measure throughput: backlogs of three event sizes, all contestants in turn
	@$(BIN)/python -m benchmarks.throughput

bench-latency: $(INSTALLED) bench-peers ## Measure latency from produce to commit at 10 and 50 % load, in an open loop
	@$(BIN)/python -m benchmarks.latency

bench-curves: $(INSTALLED) bench-peers ## Measure rate, CPU and memory against rows per commit, bad records, partitions, workers, table
	@$(BIN)/python -m benchmarks.curves

bench-start: $(INSTALLED) ## Measure the start of the worker and of the command line
	@$(BIN)/python -m benchmarks.start

bench-guard: $(INSTALLED) ## Check the ratios to the hand-written loop and the floor, in under two minutes
	@$(BIN)/python -m benchmarks.guard

bench-flame: $(INSTALLED) bench-peers ## Draw a flame graph of the worker while it drains a backlog
	@$(BIN)/python -m benchmarks.flame

# Each peer has its own environment: their pins conflict, and none belongs to the product's lock. One that does not install
# on this Python is left out, and the tables report it.
bench-peers: $(BENCH_INSTALLED)

.venv-%/.installed: benchmarks/requirements-%.txt
	@echo "Installing into .venv-$*" >&2
	@$(PYTHON) -m venv .venv-$* && .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r $< && touch $@ || { echo ".venv-$* does not install and is left out" >&2; rm -rf .venv-$*; }

bench-backlog: $(INSTALLED) ## Drain a backlog of 300,000 events three times and print the rate (MAPPED=1: and a mapped one)
	@$(BIN)/python -m benchmarks.backlog $(if $(MAPPED),--mapped)

bench-audit: $(INSTALLED) ## Audit 1,000,000 settled records: speed and memory
	@$(BIN)/python -m benchmarks.audit

bench-consumers: $(INSTALLED) ## Compare aiokafka with confluent-kafka: rate, backpressure, memory, faults, rebalances (ONLY=rate,bomb)
	@$(BIN)/python -m benchmarks.consumers

bench-console: $(INSTALLED) ## Measure the console's list with 1,000,000 dead letters
	@$(BIN)/python -m benchmarks.web_list

screenshots: $(INSTALLED) ## Take the screenshots of docs/images in Chromium, light and dark
	@KEEPSTREAM_SCREENSHOTS=docs/images $(BIN)/pytest -q tests/acceptance/web/test_end_to_end.py tests/acceptance/web/test_pages.py tests/acceptance/web/test_topics.py \
		-k "from_an_error or phone_in_dark_mode and overview or overview_of_topics"
	@cat app/web/templates/* app/web/static/* | sha256sum | cut -d ' ' -f 1 > docs/images/pages.sha256

check: lint types imports test-unit ## Check format, lint, types and imports, and run the unit tests: under a minute

format: $(INSTALLED) ## Format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

lint: $(INSTALLED) ## Check format and lint
	@$(BIN)/ruff format -q --check . && $(BIN)/ruff check -q .

types: $(INSTALLED) ## Check types, strictly
	@$(BIN)/mypy | sed 's|^\.venv/src/keepstream/||'; exit $${PIPESTATUS[0]}

imports: $(INSTALLED) ## Check the layers of imports
	@PYTHONPATH=.venv/src $(BIN)/lint-imports

docs: $(INSTALLED) ## Generate docs/metrics.md, docs/reference and the dashboards from their sources
	@$(BIN)/python docs/build_metrics.py > docs/metrics.md
	@$(BIN)/python docs/build_reference.py
	@$(BIN)/python deploy/grafana/build.py

docs-json: $(INSTALLED) ## Write docs/reference/json.md from what the commands print
	@KEEPSTREAM_WRITE_DOCS=yes $(BIN)/pytest -q -m long tests/acceptance/test_documented_commands.py -k page_about_json

docs-site: $(INSTALLED) .venv/docs/.installed ## Build the site of the documentation into dist/site, and check its links
	@$(BIN)/python docs/build_site.py

.venv/docs/.installed: deploy/docs.lock | $(INSTALLED)
	@test -x .venv/docs/bin/python || $(BIN)/python -m venv .venv/docs
	@.venv/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/docs.lock
	@touch $@

figures: $(INSTALLED) ## Write the figures of benchmarks/results into the pages that state them
	@$(BIN)/python -m benchmarks.statement

observe: $(INSTALLED) ## Inject faults under a real Prometheus: every panel and alert with its value
	@OBSERVE_PICTURE=docs/overview.svg $(BIN)/pytest -q -s -m long tests/acceptance/test_observe.py

lock: $(INSTALLED) ## Update deploy/*.lock (needs uv)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --extra embedded --extra dev \
		--no-emit-index-url --no-annotate --no-header --quiet --upgrade -o deploy/requirements.lock
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --extra console --extra otel \
		--constraint deploy/requirements.lock --no-emit-index-url --no-annotate --no-header --quiet -o deploy/runtime.lock
	@for name in build docs tools; do uv pip compile deploy/$$name.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --upgrade -o deploy/$$name.lock; done

	@uv pip compile docs/examples/fastapi-producer/requirements.in --universal --python-version 3.11 --generate-hashes \
		--constraint deploy/requirements.lock --no-emit-index-url --no-annotate --no-header --quiet --upgrade \
		-o docs/examples/fastapi-producer/requirements.txt

TOOLS := .venv/tools/bin
RUNTIME := .venv/runtime

tools: .venv/tools/.installed ## Create .venv/tools: the hashed tools of the targets below

.venv/tools/.installed: deploy/tools.lock | $(INSTALLED)
	@test -x $(TOOLS)/python || $(BIN)/python -m venv .venv/tools
	@$(TOOLS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/tools.lock
	@touch $@

wheel: .venv/tools/.installed ## Build dist/keepstream-VERSION.tar.gz, and from it the wheel; check what an index would show
	@rm -rf dist && $(TOOLS)/uv build --quiet --no-create-gitignore --build-constraints deploy/build.lock --require-hashes \
		--python $(BIN)/python --out-dir dist .
	@$(TOOLS)/twine check --strict dist/*

runtime: wheel ## Install the wheel and its dependencies only into .venv/runtime
	@$(BIN)/python -m venv --clear $(RUNTIME)
	@$(RUNTIME)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/runtime.lock
	@$(RUNTIME)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/keepstream-*.whl

audit-deps: .venv/tools/.installed ## List known vulnerabilities of the locked packages (asks PyPI, fails without it)
	@$(TOOLS)/pip-audit --strict --disable-pip --require-hashes -r deploy/requirements.lock

sbom: runtime .venv/tools/.installed ## Write dist/sbom.cdx.json (CycloneDX): the packages of an installed worker
	@$(TOOLS)/cyclonedx-py environment --of JSON -o dist/sbom.cdx.json --pyproject pyproject.toml $(RUNTIME)/bin/python

licences: runtime .venv/tools/.installed ## Write dist/licences.md: the licence of each package of an installed worker
	@$(TOOLS)/pip-licenses --python $(RUNTIME)/bin/python --format markdown --order license --output-file dist/licences.md

HELM := $(or $(shell command -v helm),$(TOOLS)/helm)

$(TOOLS)/helm: | .venv/tools/.installed
	@echo "Building helm into .venv/tools (four minutes the first time)" >&2
	@GOBIN=$(CURDIR)/$(TOOLS) GOFLAGS=-mod=mod go install helm.sh/helm/v3/cmd/helm@v3.22.0

manifests: .venv/tools/.installed $(HELM) ## Validate deploy/kubernetes and deploy/helm (needs kubectl or kustomize; helm or Go), and compare the two
	@mkdir -p dist && if command -v kustomize > /dev/null; then kustomize build deploy/kubernetes; \
		else kubectl kustomize deploy/kubernetes; fi > dist/kubernetes.yaml
	@$(HELM) lint --quiet --strict deploy/helm
	@$(HELM) template keepstream deploy/helm --namespace keepstream --kube-version 1.32.0 > dist/helm.yaml
	@$(TOOLS)/kubernetes-validate --strict --quiet dist/kubernetes.yaml dist/helm.yaml
	@$(BIN)/pytest -q tests/unit/test_kubernetes.py tests/unit/test_helm.py

image-lint: .venv/tools/.installed ## Check deploy/Dockerfile with hadolint, and docker-compose.yml with compose
	@$(TOOLS)/hadolint deploy/Dockerfile
	@$(TOOLS)/docker-compose --profile demo --profile ui config --quiet

test-container: .venv/tools/.installed ## Build the image and run docker-compose.yml on an engine of their own (root, Debian)
	@$(BIN)/pytest -q -m long tests/container

release-check: image-lint sbom licences manifests ## Run these, the wheel in a clean environment, every command of the docs, and audit-deps
	@$(BIN)/pytest -q tests/acceptance/test_wheel.py tests/acceptance/test_documented_commands.py -m "long or not long"
	@$(MAKE) --no-print-directory audit-deps

clean: ## Remove .venv and caches
	@rm -rf .venv .venv-bench* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
