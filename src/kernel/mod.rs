//! What the daemon asks of the Linux kernel, as plain data, and the ways to carry it out.

pub mod op;
