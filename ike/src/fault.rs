//! What can go wrong, and whose fault it is.

use crate::wire::NotifyType;

/// A fault while a message or an input was handled. The state from before it stays, except where the protocol says that the
/// fault ends the IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer broke the protocol, or offers what we cannot accept; it is told by `notify`.
    #[error("peer: {reason} ({notify:?})")]
    Peer {
        /// What the peer is told.
        notify: NotifyType,
        /// The notification data that belongs to it (a group number, a payload type); mostly empty.
        data: Vec<u8>,
        /// One sentence for the log, without secrets.
        reason: String,
    },
    /// We or the owner of the engine are to blame.
    #[error("local: {0}")]
    Local(String),
    /// A calculation was refused: an impossible public value, a broken checksum, a wrong key length.
    #[error("crypto: {0}")]
    Crypto(String),
}

impl Fault {
    /// A fault of the peer with no notification data.
    pub(crate) fn peer(notify: NotifyType, reason: impl Into<String>) -> Self {
        Fault::Peer { notify, data: Vec::new(), reason: reason.into() }
    }

    /// RFC 7296 §3.10.1: INVALID_SYNTAX stands for what no other notify covers.
    pub(crate) fn syntax(reason: impl Into<String>) -> Self {
        Fault::peer(NotifyType::InvalidSyntax, reason)
    }

    /// What the peer is told: nothing of our own troubles but that it may try again.
    pub(crate) fn notify(&self) -> (NotifyType, &[u8]) {
        match self {
            Fault::Peer { notify, data, .. } => (*notify, data),
            Fault::Local(_) => (NotifyType::TemporaryFailure, &[]),
            Fault::Crypto(_) => (NotifyType::InvalidSyntax, &[]),
        }
    }
}
