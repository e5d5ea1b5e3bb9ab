# make demo    the whole story on a real kernel: make demo ARGS="--moves 10 --delay 50", `homeward demo --help` says what there is
# make test    format, lints, docs, all tests, the real-kernel ones on each of KERNELS
# Both install the Debian packages that are missing (as root) and fetch what kernel no package of this Debian has.
KERNELS ?= 6.1 6.12

TEST_PACKAGES = user-mode-linux kmod iproute2 iputils-ping radvd gcc libc6-dev make openssl strace netbase tshark strongswan-charon charon-systemd strongswan-swanctl strongswan-pki \
	libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins

DEMO_PACKAGES = user-mode-linux kmod iproute2 radvd gcc libc6-dev

# What the property tests draw their cases from. The same for everybody, so that a run can be repeated; another one finds other cases.
SEED ?= 6275

# Kernels that are fetched, of those asked for.
FETCHED = $(filter 6.12,$(KERNELS))

.PHONY: demo test test-packages kernels

# Nothing on the standard output but the demo itself: --json is for programs.
demo:
	@tests/common/install-packages $(DEMO_PACKAGES) >&2
	@set -e; for version in $(filter 6.12,$(subst =, ,$(ARGS))); do tests/common/fetch-kernel $$version >&2; done
	@cargo build --release
	@target/release/homeward demo $(ARGS)

test: test-packages kernels
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	HOMEWARD_KERNELS="$(KERNELS)" PROPTEST_RNG_SEED=$(SEED) cargo test --workspace

test-packages:
	tests/common/install-packages $(TEST_PACKAGES)

# After the packages: they bring kmod.
kernels: test-packages
	set -e; for version in $(FETCHED); do tests/common/fetch-kernel $$version; done
