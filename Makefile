# `make help` lists what there is to do. Everything installs what it needs (see .ci/setup).
.PHONY: help demo test lint quality bench bench-mta bench-scan package package-test
.DEFAULT_GOAL := help
# Errors of the tests say what went wrong; where in the harness they arose is noise.
export RUST_LIB_BACKTRACE ?= 0

# One more build for all features: crash points, and the adapter for libmilter beside the usual one.
EXTRA := fault-injection,libmilter
EXTRA_TESTS := --test crash --test crash_matrix --test libmilter --test postfix --test replay --test robustness \
	--test sendmail --test wire

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo KEEP=1        leave the demo's Postfix and straymail running"
	@echo "  make quality DATA=path  score a folder of labelled cases"

demo: ## a private Postfix with straymail in front, a few mails, and what became of them
	@.ci/setup
	@cargo build --quiet --bin straymail --example demo
	@cargo run --quiet --example demo

test: lint ## everything CI runs: lints, all tests (real Postfix included), the shipped configuration
	@if cargo nextest --version >/dev/null 2>&1; then set -ex; \
	    cargo nextest run; \
	    cargo nextest run --features $(EXTRA) $(EXTRA_TESTS); \
	else set -ex; \
	    cargo test -- --nocapture; \
	    cargo test --features $(EXTRA) $(EXTRA_TESTS) -- --nocapture; \
	fi
	cargo test --quiet --doc
	cargo run --quiet --bin straymail -- check-config --config milter.yaml

lint:
	@.ci/setup
	@if cargo fmt --version >/dev/null 2>&1; then set -x; cargo fmt --check; \
	    else echo "skipped: cargo fmt is not installed (rustup component add rustfmt)"; fi
	@if cargo clippy --version >/dev/null 2>&1; then set -x; cargo clippy --all-targets --features $(EXTRA) -- -D warnings; \
	    else echo "skipped: cargo clippy is not installed (rustup component add clippy)"; fi
	cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target --bins

quality: ## recall, false alarms and suggestions on a folder of labelled cases (DATA=path)
	@test -n "$(DATA)" || { echo "say which folder: make quality DATA=path" >&2; exit 64; }
	cargo run --quiet --release --example quality -- $(DATA)

bench: ## speed of the scoring core, with gates, side by side with other libraries, and of learning
	@.ci/setup --bench
	cargo bench --bench scoring
	cargo run --quiet --release --manifest-path benches/peers/Cargo.toml
	cargo run --quiet --release --example learn_speed

bench-mta: ## real Postfix: messages a second beside a filter in C, RCPT, TCP, memory, with gates
	@.ci/setup
	cargo build --quiet --release --bin straymail
	@ulimit -n 16384; cargo run --quiet --example mta_speed -- $(ROUNDS) $(MESSAGES)

bench-scan: ## scan-log over ten million generated lines: speed, memory, pflogsumm on the same file
	@.ci/setup --bench
	cargo build --quiet --release --bin straymail --example scan_speed
	target/release/examples/scan_speed

package: ## a Debian package and an RPM, in target/
	@.ci/setup-package
	cargo build --release --locked --bin straymail
	packaging/prepare target/release/straymail
	cargo deb --no-build --output target/
	cargo generate-rpm --output target/

package-test: ## install, upgrade and remove both packages in a throw-away Debian, with mail
	@packaging/test
