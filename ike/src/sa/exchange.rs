//! What our own requests are for, and what waits to become a request.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::action::{ChildId, ChildRequest};
use crate::crypto::KeyPair;
use crate::wire::{Group, Nonce};

/// What an outstanding request is for: all that its answer needs.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// IKE_AUTH.
    Auth,
    /// A new child, or one that replaces another.
    Child(ChildExchange),
    /// The next generation of the IKE SA.
    RekeyIke(IkeExchange),
    /// A child's end.
    DeleteChild(ChildId),
    /// The end of a child that we do not want to have; its SPI is still taken.
    DeleteSpi(u32),
    /// The end of the IKE SA, or of one generation of it.
    DeleteIke,
    /// Is the peer there?
    Liveness,
}

/// CREATE_CHILD_SA for a child.
#[derive(Debug)]
pub(crate) struct ChildExchange {
    pub(crate) request: ChildRequest,
    /// Our inbound SPI.
    pub(crate) spi: u32,
    pub(crate) nonce: Nonce,
    /// The child's own key exchange, if the peer wants one.
    pub(crate) key: Option<Box<dyn KeyPair>>,
    pub(crate) replaces: Option<ChildId>,
    pub(crate) attempt: u32,
    /// RFC 7296 §2.8.1: what the peer made of the same old child meanwhile.
    pub(crate) rival: Option<ChildRival>,
    /// SPIs that the peer has deleted meanwhile and that nobody knows: one of them may be that of this child, whose answer was
    /// overtaken.
    pub(crate) deleted: BTreeSet<u32>,
    /// The owner has deleted what this replaces.
    pub(crate) unwanted: bool,
}

impl ChildExchange {
    pub(crate) fn new(
        request: ChildRequest,
        spi: u32,
        (nonce, key): (Nonce, Option<Box<dyn KeyPair>>),
        replaces: Option<ChildId>,
        attempt: u32,
    ) -> Self {
        Self { request, spi, nonce, key, replaces, attempt, rival: None, deleted: BTreeSet::new(), unwanted: false }
    }

    /// The group of the child's own key exchange.
    pub(crate) fn group(&self) -> Option<Group> {
        self.key.as_ref().map(|key| key.group())
    }

    /// The peer has deleted a child of this SPI, which is none that we have.
    pub(crate) fn unknown_deleted(&mut self, spi: u32) {
        // A peer deletes one or two while it answers one request; more are not worth their memory.
        if self.deleted.len() < 64 {
            self.deleted.insert(spi);
        }
    }
}

/// A child that the peer made to replace the one that we are replacing.
#[derive(Clone, Debug)]
pub(crate) struct ChildRival {
    pub(crate) child: ChildId,
    /// The lower of its two nonces.
    pub(crate) lowest: Vec<u8>,
}

/// CREATE_CHILD_SA for the next generation.
#[derive(Debug)]
pub(crate) struct IkeExchange {
    /// Our SPI of the next generation.
    pub(crate) spi: u64,
    pub(crate) nonce: Nonce,
    pub(crate) key: Box<dyn KeyPair>,
    pub(crate) attempt: u32,
}

/// Something to be done by a request of ours as soon as the window is free.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) work: Work,
    /// RFC 7296 §2.25: not at once after TEMPORARY_FAILURE.
    pub(crate) not_before: Instant,
    pub(crate) attempt: u32,
}

#[derive(Debug)]
pub(crate) enum Work {
    CreateChild(ChildRequest),
    RekeyChild(ChildId),
    /// With this group, if the peer asked for it.
    RekeyIke(Option<Group>),
    DeleteChild(ChildId),
    DeleteSpi(u32),
    Liveness,
    Close,
}

/// RFC 7296 §2.8.1: the lower of the two nonces of an exchange, octet by octet, a shorter prefix being lower.
pub(crate) fn lowest(ours: &Nonce, theirs: &Nonce) -> Vec<u8> {
    ours.as_bytes().min(theirs.as_bytes()).to_vec()
}
