# Every step of the work on Faythe. CI runs `make test` and nothing that has no target here.
#
# Rust is wanted (rustup takes the release in rust-toolchain.toml by itself), and for all but fmt, check, sim, soak, fuzz and image
# also Go and what tools/README.md says. Nothing has to be installed or built by hand.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check tools bench sim soak fuzz image program fmt lint
# The targets share cargo's directory and the machine's few cores, so they run one after another.
.NOTPARALLEL:

# Where cargo builds.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# The static program: the one that goes into the image, that the demo runs, and that a test starts in an empty chroot.
# The explicit target keeps its flags away from what runs at build time.
PLATFORM := $(shell rustc -vV | sed -n 's/^host: //p')
PROGRAM := $(TARGET_DIR)/$(PLATFORM)/release/faythe

help: ## shows what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: tools program ## real servers, sample Ingresses, certificates as they come; ONCE=1 to end when all are settled
	cargo run --locked -p faythe-bed --bin demo -- $(if $(ONCE),--once) --faythe $(PROGRAM)

test: tools lint program ## everything: format, lints, guides, dependencies, flake, and all tests, live ones too
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	.ci/deny
	.ci/nix
	FAYTHE_PROGRAM=$(abspath $(PROGRAM)) .ci/tests

check: lint ## the fast part, before each commit: format, lints, and the tests that need no servers
	cargo test --locked -p faythe-core
	cargo test --locked -p faythe --lib --test tidy

tools: ## builds or installs the servers that demo, tests and bench use
	tools/build
	tools/step-ca/build
	tools/bind
	tools/knot
	tools/powerdns
	tools/dnspython >/dev/null

bench: tools program ## measures Faythe on the servers, beside what they can do alone, into bench/results/
	cargo run --profile harness --locked -p faythe-bench -- --faythe $(PROGRAM)

sim: ## simulates whole fleets: a year with every limit of the CA, crashes, two leaders; FAYTHE_SEED=n for another run
	FAYTHE_SIM=full cargo test --profile harness --locked -p faythe-core --test sim scenarios -- --nocapture --test-threads 1

soak: ## the laws of names, budgets, plans and whole lives on SEEDS=200 that nobody has seen; a failing one is printed
	PROPTEST_RNG_SEED=$$(date +%s) FAYTHE_TIMES=20 cargo test --profile harness --locked -p faythe-core --test properties
	FAYTHE_SEEDS=$(or $(SEEDS),200) cargo test --profile harness --locked -p faythe-core --test sim fresh_seeds

fuzz: ## throws bytes at every parser, SECS=30 at each; wants a nightly Rust and cargo-fuzz, see fuzz/README.md
	cargo +nightly fuzz build
	for target in $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs))); do \
	    mkdir -p fuzz/target/found/$$target; \
	    cargo +nightly fuzz run $$target fuzz/target/found/$$target fuzz/corpus/$$target -- \
	        -max_total_time=$(or $(SECS),30); \
	done

image: program ## puts the static program and the CA roots into target/image, where deploy/Dockerfile finds them
	mkdir -p $(TARGET_DIR)/image
	cp $(PROGRAM) /etc/ssl/certs/ca-certificates.crt $(TARGET_DIR)/image/
	@echo 'Now: docker build --file deploy/Dockerfile --tag faythe:latest $(TARGET_DIR)/image'

program:
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked -p faythe --target $(PLATFORM)

fmt: ## formats all code
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
