# The few targets that people and CI share. Each installs what it needs; none
# needs a container. `make help` lists them.

GO        ?= go
PYTHON    ?= python3
GOTEST    ?= $(GO) test -timeout 20m
DATA      ?= ./data

ENGINE_VERSION := 26.7.3-stable.1
PLATFORM := $(shell uname -s | tr A-Z a-z)-$(shell uname -m | sed 's/x86_64/x64/;s/aarch64/arm64/')
ENGINE_PACKAGE := @chdb/lib-$(PLATFORM:linux-%=linux-%-gnu)
ENGINE_LIBRARY := .engine/node_modules/$(ENGINE_PACKAGE)/libchdb.so
ENGINE_STAMP   := .engine/.installed-$(ENGINE_VERSION)

.PHONY: help demo test race lint vuln bench simulate build engine venv kafka clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: engine bin/hypostream ## play a population with a known truth, print the verdicts, go on serving
	./bin/hypostream demo -data $(DATA) $(DEMO_FLAGS)

test: engine venv ## unit, property and integration tests on the embedded engines
	$(GO) vet ./...
	$(GOTEST) ./...

race: engine venv ## the same under the race detector
	$(GOTEST) -race ./...

kafka: engine ## the log's and the pipeline's tests on a real Apache Kafka (needs a JDK and Maven)
	scripts/kafka/with-broker $(GOTEST) -count=1 ./pkg/eventlog/... ./pkg/load/... ./pkg/e2e/...

lint: ## vet and staticcheck
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

vuln: ## govulncheck (asks the public database of vulnerabilities)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0 ./...

bench: engine ## every benchmark beside its floor or peer, as tables of ratios
	$(GO) run ./bench/ingest
	$(GO) run ./bench/aggregator
	$(GO) run ./bench/analyzer

simulate: ## how often the statistics are wrong, by simulation (minutes)
	$(GO) run ./bench/stats

build: bin/hypostream bin/ingest bin/aggregator bin/analyzer ## the four binaries, in bin/

bin/%: FORCE
	@mkdir -p bin
	$(GO) build -o $@ ./cmd/$*

engine: $(ENGINE_STAMP) ## the ClickHouse engine as a library, by npm, in .engine/

$(ENGINE_STAMP):
	@command -v npm >/dev/null || { echo "make engine: npm is needed once, to install $(ENGINE_PACKAGE)" >&2; exit 1; }
	@echo "installing the ClickHouse engine ($(ENGINE_PACKAGE) $(ENGINE_VERSION), about 170 MB)"
	@mkdir -p .engine
	npm install --prefix .engine --no-save --no-audit --no-fund --loglevel=error $(ENGINE_PACKAGE)@$(ENGINE_VERSION)
	@test -f $(ENGINE_LIBRARY) || { echo "make engine: $(ENGINE_PACKAGE) has no libchdb.so: platform $(PLATFORM) is not served" >&2; exit 1; }
	@touch $@

# The real Python clients and libraries that tests compare with. Without a
# Python that takes them, those tests say that they are skipped; in CI that fails.
venv: .venv/.ready .venv-stats/.ready

.venv/.ready: deploy/python-requirements.txt
.venv-stats/.ready: deploy/python-stats-requirements.txt
.venv/.ready .venv-stats/.ready:
	@{ $(PYTHON) -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@; } || \
		{ echo "make venv: $(PYTHON) does not take $<: tests that compare with it are skipped" >&2; test "$$CI" != true; }

clean: ## remove what was built (not ./data, not the engine)
	rm -rf bin

FORCE:
