# make test    format, lints, docs, all tests, the real-kernel ones on each of KERNELS
# It installs the Debian packages that are missing (as root) and fetches what kernel no package of this Debian has.
KERNELS ?= 6.1 6.12

TEST_PACKAGES = user-mode-linux kmod iproute2 iputils-ping radvd gcc make strace tshark strongswan-charon charon-systemd strongswan-swanctl strongswan-pki \
	libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins

# Kernels that are fetched, of those asked for.
FETCHED = $(filter 6.12,$(KERNELS))

.PHONY: test test-packages kernels

test: test-packages kernels
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	HOMEWARD_KERNELS="$(KERNELS)" cargo test --workspace

test-packages:
	tests/common/install-packages $(TEST_PACKAGES)

# After the packages: they bring kmod.
kernels: test-packages
	set -e; for version in $(FETCHED); do tests/common/fetch-kernel $$version; done
