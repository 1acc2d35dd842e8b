# `make demo` shows what builder does; `make test` checks that it does. Both work on a fresh clone on Debian or Ubuntu.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET  := $(or $(CARGO_TARGET_DIR),target)
BUILDER := $(TARGET)/release/builder
SUITE   := bookworm

# Namespaces, overlay mounts and debootstrap need root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What the build, the tests and the demo use from the distribution:
#   the C compiler that the crates with C inside need (SQLite, zstd, libdeflate, liblzma, ring), and certificates
PACKAGES := gcc libc6-dev ca-certificates
#   what base images are made of and with
PACKAGES += busybox-static debootstrap debian-archive-keyring
#   other readers and writers of images, which must agree with ours
PACKAGES += skopeo umoci podman buildah
#   a registry to push to and pull from, with passwords and with TLS
PACKAGES += docker-registry apache2-utils openssl
#   runtimes that must run what we write
PACKAGES += runc crun
#   compressors, as `ADD` and `load` meet their output
PACKAGES += gzip bzip2 xz-utils zstd
#   extended attributes and file capabilities; ACLs
PACKAGES += attr acl libcap2-bin
#   repositories to add, and their server
PACKAGES += git
#   looking at JSON
PACKAGES += jq
#   an agent and keys to forward; interpreters of programs for other machines
PACKAGES += openssh-client qemu-user-static
#   a server for caches in buckets
PACKAGES += python3-venv curl

# What `make bench` compares with besides: Docker, and `time` for peak memory.
BENCH_PACKAGES := docker.io docker-registry skopeo curl time

.PHONY: build
build: cargo ## builds target/release/builder
	cargo build --release --locked

.PHONY: test
test: deps cargo moto ## formatting, lints and all tests, the tests as root
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@mkdir -p $(TARGET); status=0; \
	$(AS_ROOT) cargo test --workspace --locked --no-fail-fast 2>&1 | tee $(TARGET)/test.log || status=$$?; \
	awk '/^test result: /{ passed += $$4; failed += $$6; skipped += $$8 } \
	     END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' $(TARGET)/test.log; \
	exit $$status

# Tests of namespaces run as root; the compiler does not.
AS_ROOT = $(if $(SUDO),CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER='sudo --preserve-env')

# An S3 server for the tests; Debian has no package of one.
MOTO := 5.2.5

.PHONY: moto
moto: $(TARGET)/moto/bin/moto_server

$(TARGET)/moto/bin/moto_server: | deps
	python3 -m venv $(TARGET)/moto
	$(TARGET)/moto/bin/pip install --quiet --disable-pip-version-check 'moto[s3,server]==$(MOTO)'

.PHONY: demo
demo: deps build base-tars ## builds, runs, changes and exports a real program, with explanations
	$(SUDO) testdata/demo/run.sh $(BUILDER) $(TARGET)

.PHONY: base
base: build base-tars ## imports the base images busybox and debian:bookworm into the store
	$(SUDO) $(BUILDER) import $(TARGET)/base/busybox.tar busybox --change 'CMD ["sh"]'
	$(SUDO) $(BUILDER) import $(TARGET)/base/debian-$(SUITE).tar debian:$(SUITE) --change 'CMD ["bash"]'

.PHONY: base-tars
base-tars: $(TARGET)/base/busybox.tar $(TARGET)/base/debian-$(SUITE).tar

$(TARGET)/base/busybox.tar: testdata/base/busybox.sh | deps
	testdata/base/busybox.sh $@

$(TARGET)/base/debian-$(SUITE).tar: testdata/base/debian.sh | deps
	@mkdir -p $(@D)
	@echo 'making a Debian base image with debootstrap; this takes a minute, once'
	$(SUDO) testdata/base/debian.sh $@ $(SUITE)

.PHONY: bench
bench: deps build ## compares with Docker and buildah; BENCH='--write' puts the table into docs/BENCHMARKS.md
	$(if $(wildcard frontend/examples/parse_bench.rs),cargo build --release --locked --package builder-frontend --example parse_bench)
	$(if $(wildcard solver/examples/schedule_bench.rs),cargo build --release --locked --package builder-solver --example schedule_bench)
	$(SUDO) bench/run --builder $(BUILDER) $(BENCH)

.PHONY: bench-deps
bench-deps: PACKAGES := $(BENCH_PACKAGES)
bench-deps: deps ## installs the peers that `make bench` compares with

.PHONY: test-apps
test-apps: deps build base-tars ## builds, runs and changes real applications with packages from the registries; APPS='rust c' takes some
	$(SUDO:%=% --preserve-env) testdata/apps/run.sh $(BUILDER) $(TARGET) $(APPS)

# Each fuzz target runs for this long. Without a nightly toolchain the stable one is told to take the unstable flags.
FUZZ_SECONDS   := 600
FUZZ_TARGETS   := grammar plan expand mount ignore wildcard tar reference address
FUZZ_SANITIZER := none
FUZZ_CARGO      = $(if $(shell rustup toolchain list 2>/dev/null | grep '^nightly'),cargo +nightly,RUSTC_BOOTSTRAP=1 cargo)

.PHONY: fuzz
fuzz: PACKAGES += g++
fuzz: deps cargo ## fuzzes each target for FUZZ_SECONDS; FUZZ_TARGETS='grammar tar' takes some. See fuzz/README.md
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	fuzz/seeds.sh
	@for target in $(FUZZ_TARGETS); do \
	    echo "fuzzing $$target for $(FUZZ_SECONDS) seconds"; \
	    $(FUZZ_CARGO) fuzz run --sanitizer $(FUZZ_SANITIZER) $$target -- -dict=fuzz/dictionaries/$$target.dict \
	        -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=$$([[ $$target == tar ]] && echo 32768 || echo 2048) -print_final_stats=1; \
	done

.PHONY: fmt
fmt: cargo ## formats the sources
	cargo fmt --all

.PHONY: clippy
clippy: cargo ## lints, as `make test` does
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deps
deps: ## installs the Debian packages that are missing
	@if ! command -v apt-get >/dev/null; then \
	    echo 'no apt-get here: what the tests and the demo use has to be installed by hand: $(PACKAGES)' >&2; exit 0; \
	fi; \
	missing=(); \
	for package in $(PACKAGES); do \
	    [[ $$(dpkg-query --show --showformat='$${db:Status-Status}' "$$package" 2>/dev/null) == installed ]] || missing+=("$$package"); \
	done; \
	if (( $${#missing[@]} )); then \
	    echo "installing $${missing[*]}"; \
	    $(SUDO) apt-get update --quiet; \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$${missing[@]}"; \
	fi

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { \
	    echo 'cargo is missing. Install Rust 1.95 or newer with rustup: see https://www.rust-lang.org/tools/install' >&2; exit 1; }

.PHONY: help
help: ## shows this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | column --table --separator '|'
