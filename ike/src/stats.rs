//! Counters for the operator. They only ever grow; the owner reads them through [`crate::Engine::stats`].

/// What the engine has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams handed in.
    pub datagrams: u64,
    /// Datagrams that are no IKE message, or name an IKE SA that is not there.
    pub strangers: u64,
    /// Messages whose checksum or inner form is wrong.
    pub forged: u64,
    /// Requests answered again from the cache.
    pub repeated: u64,
    /// Messages outside of the window, or answers to nothing.
    pub out_of_window: u64,
    /// Our own requests sent again.
    pub retransmitted: u64,
    /// COOKIE notifies sent.
    pub cookies: u64,
    /// IKE_SA_INIT requests dropped at the limit of half-open IKE SAs.
    pub half_open_refused: u64,
    /// IKE SAs established.
    pub established: u64,
    /// IKE SAs whose authentication failed.
    pub authentication_failed: u64,
    /// IKE SAs rekeyed.
    pub ike_rekeyed: u64,
    /// CHILD_SAs installed, rekeyed ones included.
    pub children: u64,
}
