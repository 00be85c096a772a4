# make demo   a real call wakes a sleeping phone, on this machine alone, as a timeline
# make test   everything; with OPENSIPS and OPENSIPS_MODULES set, a real OpenSIPS as well
# make build  the module for a SIP server: target/release/libvoip_push.so

# so that a failing test is not hidden behind the program that counts
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: demo test build setup

# The development build: its pushes are as quick, and it is built in half the time.
demo: setup
	@cargo test --locked --quiet --test demo

test: setup
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings
	@mkdir -p target
	@failed=0; cargo test --locked --no-fail-fast 2>&1 | tee target/test.log || failed=$$?; \
	  [ -z "$${OPENSIPS:-}" ] || cargo test --locked --test opensips_real -- --ignored 2>&1 | tee -a target/test.log \
	    || failed=$$?; tests/summary target/test.log; exit $$failed

build:
	cargo build --locked --release

setup:
	@tests/setup

include benches/bench.mk packaging/packaging.mk
