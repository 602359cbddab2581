# Everything that cargo can't do alone. `make demo` and `make test` need only a Rust toolchain, make and Debian
# packages, which tests/setup.sh installs as root.

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BINARY ?= $(TARGET_DIR)/release/ssh-session-notifier

.PHONY: build demo test test-services check bench size dist dist-cross dist-test install uninstall clean

build:
	@sh tests/setup.sh build
	$(CARGO) build --release --locked

# Shows the main job in a temporary directory, with notices on standard output.
demo:
	@sh tests/setup.sh build
	$(CARGO) build --locked
	@sh tests/demo.sh $(TARGET_DIR)/debug/ssh-session-notifier

# Modules of the crates hook, host, net and queue that are tested without TLS too: files tests/*/NAME.rs.
WITHOUT_TLS = config letters login names rejections takeover wire

# Runs the unit tests, then tests the binary with the real sshd, PAM, TLS servers and cron.
test:
	@sh tests/setup.sh test
	$(CARGO) test --locked --no-fail-fast
	$(CARGO) test --locked --no-fail-fast --no-default-features --bins --test send
	@for module in $(WITHOUT_TLS); do ls tests/*/$$module.rs >/dev/null || exit 1; done
	$(CARGO) test --locked --no-fail-fast --no-default-features --test hook --test host --test net --test queue -- \
		$(addsuffix ::,$(WITHOUT_TLS))

# Delivers to servers that others wrote, from PyPI and npm. Slow.
test-services:
	@sh tests/setup.sh build
	$(CARGO) build --locked
	@sh tests/services/run.sh $(TARGET_DIR)/debug/ssh-session-notifier

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	@for service in $$(sed -n 's/^default = \["tls", "\(.*\)"\]$$/\1/p' Cargo.toml | sed 's/", "/ /g'); do \
		echo "clippy with only $$service"; \
		$(CARGO) clippy --quiet --locked --no-default-features --features "$$service" -- -D warnings || exit 1; \
	done
	@sh tests/setup.sh check
	shellcheck -x install.sh tests/*.sh tests/services/*.sh cross/*.sh .ci/run
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check bans licenses sources && \
		if $(CARGO) deny --locked fetch db 2>/dev/null; then $(CARGO) deny --locked check advisories; \
		else echo 'cannot download the advisory database, so advisories were not checked'; fi; \
	elif $(CARGO) audit --version >/dev/null 2>&1; then $(CARGO) audit; \
	else echo 'neither cargo-deny nor cargo-audit is installed, so advisories were not checked'; fi

# Also measures the static build if `make dist` has built it; STATIC= leaves it out.
STATIC ?= $(wildcard dist/ssh-session-notifier-full-$(shell uname -m)-unknown-linux-musl)
bench: build
	@sh tests/setup.sh bench
	@python3 tests/bench $(BENCH) $(BINARY) $(STATIC)

install: $(if $(filter $(TARGET_DIR)/release/%,$(BINARY)),build)
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh install.sh --binary $(BINARY)

uninstall:
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh install.sh --uninstall

# Builds static musl binaries (cross/README.md).
dist:
	sh cross/build.sh $(TARGET)

# Builds the same in a container, with `cross`.
dist-cross:
	sh cross/cross.sh $(TARGET)

# Tests the binaries of `dist`, and checks that a build in another directory gives the same bytes.
dist-test:
	sh cross/test.sh $(TARGET)
	sh cross/reproduce.sh

size:
	sh cross/size.sh

clean:
	$(CARGO) clean
	rm -rf dist
