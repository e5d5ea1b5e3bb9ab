//! Virtual hosts, links and kernels for `homeward demo` and the system tests.
