# make help lists what there is to do.

# A machine may have an older Go that is told to fetch none. The version that
# go.mod names is fetched from the module proxy, checked against the sum database.
export GOTOOLCHAIN := auto
# The version comes from git describe below, so the build asks git for nothing,
# and a checkout that belongs to somebody else builds too.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/bin/.home
endif

TAGS     := grpcnotrace
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X github.com/airside-gateway/airside/cmd.release=$(VERSION)
PACKAGES ?= ./...
FUZZTIME ?= 10s
TESTFLAGS ?=
BENCHFLAGS ?=

# Tools stand outside go.mod, each in a folder named after its version. They are
# built with the Go of this module: a linter must not be older than what it reads.
GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
CADDY_VERSION       := v2.11.9
GO_VERSION   = $(shell GOTOOLCHAIN=auto go env GOVERSION)
TOOLS       := bin/tools
GOLANGCI    := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)/govulncheck
CADDY       := $(TOOLS)/caddy-$(CADDY_VERSION)/caddy
VULN_DB     ?= https://vuln.go.dev

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## run the clinic: a gateway and its sample agents, in one process
	@go build -tags $(TAGS) -o bin/airside-demo ./cmd/airside && exec bin/airside-demo demo

.PHONY: build
build: ## build the static binary bin/airside
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/airside ./cmd/airside

.PHONY: test
test: ## run all tests
	go test -tags $(TAGS) -shuffle=on $(TESTFLAGS) $(PACKAGES)

# The longest tests of a process of its own, which is built without the race detector, and
# one of a capacity that the detector would halve: with it they would say nothing more.
PROCESSES := ^(TestSoak|TestSlowAttacks|TestFloods|TestH2spec|TestMemoryOfLargeBodies|TestReloadUnderLoad|TestTermination.*|$\
TestWatch|TestFootprint|TestLogReload|TestHangup.*|TestCollector|TestPrometheus.*|TestPromtool|TestOverload)$$

.PHONY: race
race: ## run all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -tags $(TAGS) -shuffle=on -skip '$(PROCESSES)' $(TESTFLAGS) $(PACKAGES)

.PHONY: lint
lint: style vuln ## check the style, find mistakes, look for known vulnerabilities

.PHONY: style
style: $(GOLANGCI) ## gofumpt, goimports and golangci-lint; staticcheck is one of its linters
	$(GOLANGCI) fmt --diff
	$(GOLANGCI) run --build-tags $(TAGS) $(PACKAGES)

.PHONY: vuln
vuln: ## look for known vulnerabilities that the code reaches
	@if curl --silent --fail --max-time 20 --output /dev/null $(VULN_DB)/index/db.json; then \
		$(MAKE) --no-print-directory $(GOVULNCHECK) && \
		$(GOVULNCHECK) -db $(VULN_DB) -tags $(TAGS) $(PACKAGES); \
	else \
		echo; \
		echo "******** NOT CHECKED: govulncheck did not run; its database cannot be reached ********"; \
		echo "******** at $(VULN_DB). Run make vuln where it can.                ********"; \
		echo; \
	fi

.PHONY: fix
fix: $(GOLANGCI) ## format the code and mend what the linters can mend
	$(GOLANGCI) fmt
	$(GOLANGCI) run --fix --build-tags $(TAGS) $(PACKAGES)

.PHONY: generate
generate: ## write the import list, the reference pages and the descriptions of settings
	go generate $(PACKAGES)

.PHONY: check
check: ## fail if generated files, go.mod or go.sum are out of date
	go run ./internal/tool/generate -check
	go mod tidy -diff

# Every fuzz target, as folder:name.
FUZZ = $(shell grep -rhoE --include='*_test.go' --exclude-dir=.git --exclude-dir=bin -H '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's,/[^/]*_test\.go:func ,:,' | LC_ALL=C sort)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@for target in $(FUZZ); do \
		echo "fuzz $$target $(FUZZTIME)"; \
		go test -tags $(TAGS) -run '^$$' -fuzz "^$${target#*:}\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$${target%%:*}" || exit 1; \
	done

.PHONY: fuzz-list
fuzz-list: # one target a line
	@printf '%s\n' $(FUZZ)

.PHONY: benchmarks
benchmarks: ## run the Go benchmarks, with allocations
	go test -tags $(TAGS) -run '^$$' -bench . -benchmem $(TESTFLAGS) $(PACKAGES)

.PHONY: bench
bench: ## measure beside nginx, HAProxy, Caddy and net/http: half an hour, or BENCHFLAGS=-quick
	-@$(MAKE) --no-print-directory $(CADDY)
	go run -tags $(TAGS) ./bench $(BENCHFLAGS)

.PHONY: caddy
caddy: $(CADDY) ## build the Caddy that make bench measures beside

SOAK ?= 10m

.PHONY: soak
soak: ## mixed traffic with faults for SOAK (10m), on every engine; nothing may be left behind
	go test -tags $(TAGS) -count=1 -v -timeout 2h -run '^TestSoak$$' ./test/e2e -soak $(SOAK)

.PHONY: churn
churn: ## agents that are killed and come back, for five minutes on every engine
	go test -tags $(TAGS) -count=1 -v -timeout 30m -run '^TestChurn$$' ./test/e2e -churn 5m

.PHONY: slow
slow: ## slow attacks by 2,000 connections, by ours and by slowhttptest if it is installed
	go test -tags $(TAGS) -count=1 -v -run '^TestSlowAttacks$$' ./test/e2e -slow 2000
	@if command -v slowhttptest >/dev/null; then \
		go test -tags $(TAGS) -count=1 -v -run '^TestSlowAttacks$$' ./test/e2e -slow 2000 -slowhttptest "$$(command -v slowhttptest)"; \
	else \
		echo; \
		echo "******** NOT RUN: slowhttptest is not installed (apt-get install slowhttptest) ********"; \
		echo; \
	fi

.PHONY: bars
bars: ## check what docs/BARS.md promises, and print the figures
	go test -tags $(TAGS) -count=1 -v ./test/...
	$(MAKE) bench BENCHFLAGS=-quick

.PHONY: nightly
nightly: ## everything, long: race detector, a minute for each fuzz target, soak, slow attacks, long tests
	AIRSIDE_NIGHTLY=1 $(MAKE) race TESTFLAGS='-timeout 60m -count=1'
	go test -tags $(TAGS) -count=1 -timeout 90m -v -run Mutations ./test/smuggle -mutations 1000000 -seed $$(date +%Y%m%d)
	$(MAKE) fuzz FUZZTIME=60s
	$(MAKE) soak
	$(MAKE) churn
	$(MAKE) slow
	$(MAKE) bars

.PHONY: clean
clean: ## remove what make has built
	-chmod -R u+w bin 2>/dev/null
	rm -rf bin

$(GOLANGCI):
	GOTOOLCHAIN=$(GO_VERSION) GOBIN=$(CURDIR)/$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(GOVULNCHECK):
	GOTOOLCHAIN=$(GO_VERSION) GOBIN=$(CURDIR)/$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

$(CADDY):
	GOTOOLCHAIN=$(GO_VERSION) GOBIN=$(CURDIR)/$(@D) go install github.com/caddyserver/caddy/v2/cmd/caddy@$(CADDY_VERSION)
