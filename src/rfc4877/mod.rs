//! Where IKE meets Mobile IPv6: pure functions from what the two cores say to what the kernel and the other core are told.

pub mod child;
pub mod movement;
pub mod pad;
pub mod spd;
