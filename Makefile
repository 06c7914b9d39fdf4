# Two commands do all on a fresh machine: `make demo` and `make test`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-print-directory
export BERTH_CACHE ?= $(CURDIR)/lab/.cache/berth
# A cache per checkout: a shared one remembers findings by the paths of a checkout that may be gone.
export GOLANGCI_LINT_CACHE ?= $(CURDIR)/bin/golangci-lint
# The settings of the lab's builds, so that tests and linter find the packages compiled.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath '-gcflags=all=-l -dwarf=false' -gcflags=std=

GOLANGCI := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
LAB := go -C lab run .
# Modules of our own code; the others below lab/ only collect what is built from elsewhere.
MODULES := . lab lab/pulumi

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1|\2/' | column -t -s '|'

.PHONY: demo
demo: packages ## start the lab, show the problem, run pulumi up, pull by plain name, destroy
	lab/demo.sh

.PHONY: test
test: packages lint unit e2e ## lint, unit and script tests, then the end-to-end test on the lab

.PHONY: lint
lint: packages ## golangci-lint in every module, shellcheck
	for module in $(MODULES); do (cd $$module && $(GOLANGCI) run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./...); done
	shellcheck -s sh scripts/*.sh scripts/operator/*.sh
	shellcheck .ci/run .ci/packages
	shellcheck --exclude SC2016 lab/demo.sh

.PHONY: fmt
fmt: ## format the Go code
	for module in $(MODULES); do (cd $$module && $(GOLANGCI) fmt --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: unit
unit: packages ## unit and script tests
	go test -timeout 60m ./... # minutes, but for containerd lines whose patches changed
	cd lab && go test $$(go list ./... | grep -v /e2e)
	cd lab/pulumi && go test ./...

.PHONY: e2e
e2e: packages lab-up ## the end-to-end test on the lab
	go -C lab test ./e2e -run TestEndToEnd -v -count=1 -timeout 45m

.PHONY: e2e-all
e2e-all: packages lab-up ## every end-to-end test on the lab: connections, names, drain, modes, builds on nodes and faults, too
	go -C lab test ./e2e -v -count=1 -timeout 120m

# No part of test: it takes minutes, and the script tests kill the same steps at every tool that they call, in simulation.
.PHONY: faults
faults: packages lab-up ## the faults on the lab: kills, cut connections, lost power, full disks, one row each
	go -C lab test ./e2e -run TestFaults -v -count=1 -timeout 30m

.PHONY: modes
modes: packages lab-up ## the end-to-end test of every access mode on the lab
	go -C lab test ./e2e -run TestModes -v -count=1 -timeout 45m

.PHONY: test-containerd
test-containerd: packages ## apply, vet, test and build every patched containerd
	BERTH_TEST_CONTAINERD=1 go test ./components/containerd/... -v -count=1 -timeout 120m

.PHONY: bench
# How many nodes, one cluster after the other, and how often each figure is taken.
NODES ?= 1,4,12,24
ROUNDS ?= 2
bench: packages ## berth and Ansible side by side on clusters of 1, 4, 12 and 24 workers (NODES=4,12 ROUNDS=3)
	.ci/packages ansible-core ansible-mitogen
	go -C lab run ./bench -nodes $(NODES) -rounds $(ROUNDS)

.PHONY: lab-up lab-down lab-status
lab-up: packages ## start the lab: a kubeadm cluster of three systemd machines
	$(LAB) up
lab-down: ## stop the lab and remove its machines
	$(LAB) down
lab-status: ## what of the lab runs
	$(LAB) status

.PHONY: packages
packages: # what the lab and the tests need from the distribution
	@.ci/packages
