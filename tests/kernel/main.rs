//! The kernel executor on real kernels: what each operation does, that a batch is all or nothing, and what the design builds on.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot do what it needs has failed"
)]

mod events;
mod facts;
mod kill;
mod migrate;
mod operations;
mod probe;
mod scale;
mod support;
mod transaction;
