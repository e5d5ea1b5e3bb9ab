//! What a home agent counts.

/// Counters since the start; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Binding updates that were read.
    pub updates: u64,
    /// Updates that were acknowledged with a status below 128.
    pub accepted: u64,
    /// Updates that were acknowledged with a status from 128 on.
    pub refused: u64,
    /// Messages that were dropped without an answer.
    pub dropped: u64,
    /// Bindings that ended because their lifetime did.
    pub expired: u64,
    /// Binding Errors sent.
    pub binding_errors: u64,
    /// Router Advertisements sent.
    pub router_advertisements: u64,
    /// Mobile Prefix Advertisements sent.
    pub prefix_advertisements: u64,
}
