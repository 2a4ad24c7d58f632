# `make` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-mysql9 bench build tools fmt lint generate clean

help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the operator in two minutes; KEEP=1 leaves it running, CONTEXT=name uses a cluster of yours
	@KEEP='$(KEEP)' CONTEXT='$(CONTEXT)' hack/demo

test: ## everything: formatting, lints, unit tests, tests against a real API server and real systems
	@hack/test

test-unit: ## the tests that need nothing but the code
	@cargo test --locked --lib

test-mysql9: ## the probe of MySQL against MySQL 9 of Debian's unstable release; not among the tests, since it cannot be pinned
	@CONNECTION_OPERATOR_TEST_MYSQL9="$$(hack/tools mysql9)" && export CONNECTION_OPERATOR_TEST_MYSQL9 && cargo test --locked --test mysql9

bench: ## how quick it is and what it costs, measured; QUICK=1 in four minutes, WINDOW=seconds of rest that are looked at
	@QUICK='$(QUICK)' WINDOW='$(WINDOW)' CROWD='$(CROWD)' PARTS='$(PARTS)' hack/bench

build: ## the operator, for production
	@cargo build --locked --release

tools: ## what the tests and the demo need, into the cache
	@hack/tools all

fmt: ## format the code
	@cargo fmt --all

lint: ## formatting and lints, as the tests check them
	@cargo fmt --all --check
	@cargo clippy --locked --all-targets -- -D warnings
	@cargo clippy --locked --test mysql9 -- -D warnings

generate: ## write crds/, docs/ and examples/ from the code
	@UPDATE_GOLDEN=1 cargo test --locked --test contract -- --test-threads=1

clean: ## remove what was built here; the tools in the cache stay
	@cargo clean
