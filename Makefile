# make test    format, lints, docs, all tests, the real-kernel ones on each of KERNELS
# make demo    the demonstration; ARGS are its options
# Both install the Debian packages that are missing (as root) and fetch what kernel no package of this Debian has.
KERNELS ?= 6.1 6.12
ARGS ?=

LAB_PACKAGES = user-mode-linux kmod iproute2 iputils-ping radvd gcc make
TEST_PACKAGES = $(LAB_PACKAGES) tshark strongswan-charon charon-systemd strongswan-swanctl strongswan-pki \
	libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins

# Kernels that are fetched, of those asked for.
FETCHED = $(filter 6.12,$(KERNELS))

.PHONY: test demo lab-packages test-packages kernels

test: test-packages kernels
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	HOMEWARD_KERNELS="$(KERNELS)" cargo test --workspace

demo: lab-packages
	cargo build --release
	target/release/homeward demo $(ARGS)

lab-packages:
	tests/common/install-packages $(LAB_PACKAGES)

test-packages:
	tests/common/install-packages $(TEST_PACKAGES)

# After the packages: they bring kmod.
kernels: test-packages
	set -e; for version in $(FETCHED); do tests/common/fetch-kernel $$version; done
