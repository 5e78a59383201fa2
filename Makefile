# Every step of the work on Faythe. CI runs `make test` and nothing that has no target here.
#
# Rust is wanted (rustup takes the release in rust-toolchain.toml by itself), and for all but fmt, check and image also
# Go and what tools/README.md says. Nothing has to be installed or built by hand.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check tools bench image fmt lint
# The targets share cargo's directory and the machine's few cores, so they run one after another.
.NOTPARALLEL:

# Where cargo builds.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# The platform of `make image`.
PLATFORM := x86_64-unknown-linux-gnu

help: ## shows what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: tools ## real servers, sample Ingresses, certificates as they come; ONCE=1 to end when all are settled
	cargo build --release --locked -p faythe
	cargo run --locked -p faythe-bed --bin demo -- $(if $(ONCE),--once) --faythe $(TARGET_DIR)/release/faythe

test: tools lint ## everything: format, lints, guides, dependencies, flake, and all tests, live ones too
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	.ci/deny
	.ci/nix
	.ci/tests

check: lint ## the fast part, before each commit: format, lints, and the tests that need no servers
	cargo test --locked -p faythe-core
	cargo test --locked -p faythe --lib --test tidy

tools: ## builds or installs the servers that demo, tests and bench use
	tools/build
	tools/bind

bench: tools ## measures Faythe on the servers, beside what they can do alone, into bench/results/
	cargo build --release --locked -p faythe
	cargo run --release --locked -p faythe-bed --bin bench -- --faythe $(TARGET_DIR)/release/faythe

image: ## builds the static program that deploy/Dockerfile puts into an image
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked -p faythe --target $(PLATFORM)
	@echo 'The program is $(TARGET_DIR)/$(PLATFORM)/release/faythe; deploy/Dockerfile says how it becomes an image.'

fmt: ## formats all code
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
