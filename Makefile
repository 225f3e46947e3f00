# "make help" lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# make test TESTFLAGS='-count=1 -run=TestName'
TESTFLAGS ?=
FUZZTIME ?= 60s
DATA ?= ./data
CHAOS_MINUTES ?= 10
SIM_SEEDS ?= 10000

LINT_VERSION := v2.15.0
LINT_DIR := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/weed-ci/golangci-lint-$(LINT_VERSION)-$(shell $(GO) env GOVERSION)
LINT := $(LINT_DIR)/golangci-lint

.PHONY: build
build: ## build ./weed (what "make" alone does)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X weed/cmd.version=$(VERSION)" -o weed ./cmd/weed

.PHONY: run
run: build ## build, then run a store on loopback (master 9333, volumes 8080) that keeps its data under ./data
	@exec ./weed server -dir=$(DATA) $(ARGS)

.PHONY: test
test: ## run all tests
	$(GO) test $(TESTFLAGS) ./...

.PHONY: race
race: ## run all tests with the race detector
	$(GO) test -race $(TESTFLAGS) ./...

.PHONY: fmt
fmt: ## fail if a file is not formatted
	@files=$$(gofmt -l .); \
	if [[ -n $$files ]]; then printf 'not formatted (gofmt -w mends it):\n%s\n' "$$files"; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: lint
lint: $(LINT) ## run the linters of .golangci.yml; the first time this builds golangci-lint into a cache
	$(LINT) run ./...

$(LINT):
	GOBIN=$(LINT_DIR) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: check
check: fmt vet lint race ## everything that a change must pass: format, vet, lint, tests with the race detector

.PHONY: bench
bench: build ## measure CPU per request, rates and memory against the goals; prints the table of the README
	$(GO) run ./cmd/bench $(BENCHFLAGS)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s) each
	@targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|/[^/]*:func | |' | sort); \
	while read -r dir target; do \
		echo "== $$target in $$dir"; \
		$(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=1s "$$dir" </dev/null; \
	done <<<"$$targets"

.PHONY: sim
sim: ## run simulated clusters of the replication protocol under SIM_SEEDS (10000) schedules of faults
	$(GO) test -count=1 -run='Sim$$' ./replication -sim.seeds=$(SIM_SEEDS)

.PHONY: chaos
chaos: ## faults for CHAOS_MINUTES (10) each: masters under assign load, and replicated volumes, whose bits flip; root adds cuts and full disks
	$(GO) test -count=1 -v -timeout=0 -parallel=1 -run='^Test(Leader|Follower|Masters?[A-Z]|Replicas)' ./internal/testcluster \
		-chaos.kills=100 -chaos.pause=1m -chaos.minutes=$(CHAOS_MINUTES)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:[^#]*## /\t/' | expand -t 10
