//! Movements: what of the kernel, the tunnels and IKE goes along.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Instant;

use ike::action::{Endpoints, Input};
use mip6::action::{CareOf, Location, MobileNodeInput};
use mip6::address::HomeAddress;
use tracing::info;

use super::session::Session;
use super::standing::METRIC;
use super::{AfterUpdate, MobileNode};
use crate::daemon::shell::Shell;
use crate::kernel::op::{Address, Op, Route};

/// How often a care-of address is tried before another one is.
const MAX_REFUSALS: u32 = 5;

impl MobileNode {
    pub(super) fn add_care_of(&mut self, care_of: CareOf, shell: &mut dyn Shell) {
        // A movement begins with its address.
        self.netlink_messages = 0;
        for op in release(&care_of) {
            self.repair.forgive(&op);
        }
        self.refusals = 0;
        if self.apply(&hold(&care_of), shell) {
            self.standing.held.push(care_of.address);
            info!(event = "care_of_usable", care_of = %care_of.address, interface = care_of.interface.0);
        }
        // What is refused is tried again with all else that this place needs.
    }

    pub(super) fn remove_care_of(&mut self, now: Instant, care_of: CareOf, shell: &mut dyn Shell) {
        // The update may have to wait (RFC 6275 §11.8, MAX_UPDATE_RATE); the tunnels do not end at an address that is gone.
        self.finish_movement(now, shell);
        self.standing.held.retain(|held| *held != care_of.address);
        let copies = self.standing.take_copies(|copy| copy.at == care_of.address);
        let mut ops: Vec<Op> = copies.into_iter().map(Op::DeleteSa).collect();
        ops.extend(release(&care_of));
        self.repair.remove(now, ops, shell);
    }

    /// A movement is one plan in two halves: what the Binding Update needs comes before it, the tunnels follow right behind.
    pub(super) fn relocate(&mut self, now: Instant, from: Location, to: Location, soft: bool, shell: &mut dyn Shell) {
        info!(event = "relocate", from = %Place(from), to = %Place(to), soft);
        self.location = to;
        if !matches!(to, Location::Away(_)) {
            self.netlink_messages = 0;
        }
        self.arrive(now, soft, shell);
        let forget = if soft { None } else { forgotten_router(from, to) };
        let moves_ike = self.session_moves(now);
        self.after_update = Some(AfterUpdate { moves_ike, forget });
    }

    /// The home address is known: everything that hangs on it is put in place.
    pub(super) fn adopt(&mut self, now: Instant, home_address: HomeAddress, shell: &mut dyn Shell) {
        if self.home_address == Some(home_address) {
            return;
        }
        self.home_address = Some(home_address);
        info!(event = "home_address", %home_address);
        self.arrive(now, false, shell);
        self.follow(now, shell);
    }

    /// The first half. If the kernel refuses it, it is tried again.
    pub(super) fn arrive(&mut self, now: Instant, soft: bool, shell: &mut dyn Shell) {
        self.claim_copies();
        let (ops, next) = self.arrival(soft);
        self.arrived = self.apply(&ops, shell);
        match self.arrived {
            true => self.standing = next,
            false => self.not_arrived(now),
        }
    }

    /// The kernel refuses what this place needs: for a moment, or the address for good.
    fn not_arrived(&mut self, now: Instant) {
        self.repair.soon(now);
        self.refusals += 1;
        if let Location::Away(care_of) = self.location
            && !self.standing.held.contains(&care_of.address)
            && self.refusals >= MAX_REFUSALS
        {
            self.refusals = 0;
            self.mip6.handle(now, MobileNodeInput::CareOfRefused(care_of));
        }
    }

    /// The second half, when the first is done.
    pub(super) fn follow(&mut self, now: Instant, shell: &mut dyn Shell) {
        if !self.arrived {
            return;
        }
        self.claim_copies();
        let (ops, desired) = self.tunnels();
        if ops.is_empty() {
            return;
        }
        if self.apply(&ops, shell) {
            let useless = self.tunnels_stand(desired);
            self.repair.remove(now, useless.into_iter().map(Op::DeleteSa).collect(), shell);
        } else {
            self.repair.soon(now);
        }
    }

    /// What is done once the update has left, and before anything else.
    pub(super) fn finish_movement(&mut self, now: Instant, shell: &mut dyn Shell) {
        let Some(AfterUpdate { moves_ike, forget }) = self.after_update.take() else { return };
        self.follow(now, shell);
        if let Some(forget) = forget {
            self.apply(&[forget], shell);
        }
        if let (true, Session::Established { ike_sa, .. }) = (moves_ike, &self.session) {
            // RFC 4877 §7.4: the mobile node moves its IKE end point when the update is sent.
            self.move_ike(now, *ike_sa);
        }
    }

    pub(super) fn move_ike(&mut self, now: Instant, ike_sa: ike::IkeSaId) {
        let old = self.ike.endpoints(ike_sa);
        let new = old.and_then(|old| Some(Endpoints { local: self.local(old.local.port())?, ..old }));
        if let Some(endpoints) = new.filter(|new| Some(*new) != old) {
            self.ike_moved = true;
            self.ike.handle(now, Input::Move(ike_sa, endpoints));
        }
    }

    /// Our IKE address here: the care-of address, at home the home address (RFC 4877 §4.4, RFC 6275 §11.5.5).
    pub(super) fn local(&self, port: u16) -> Option<SocketAddr> {
        let address = match self.location {
            Location::Away(care_of) => care_of.address.0,
            Location::Home { .. } => self.home_address?.0,
            Location::Nowhere => return None,
        };
        Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0)))
    }
}

/// Packets that were sent while the link was gone wait in the kernel for the old router's link-layer address, for three
/// seconds; and as long as one waits TCP does not repeat it.
fn forgotten_router(from: Location, to: Location) -> Option<Op> {
    let router = |location| match location {
        Location::Away(care_of) => Some((care_of.interface.0, care_of.router.address)),
        Location::Home { interface, router } => Some((interface.0, router.address)),
        Location::Nowhere => None,
    };
    let (interface, address) = router(from).filter(|old| router(to) != Some(*old))?;
    Some(Op::DeleteNeighbour { interface, address })
}

/// What makes a care-of address ours. Linux makes the local route of an address by a work queue; the answer to the update may be
/// there before that has had the processor, and would be dropped.
pub(super) fn hold(care_of: &CareOf) -> [Op; 2] {
    [Op::AddAddress(address(care_of)), Op::SetRoute(own(care_of))]
}

fn release(care_of: &CareOf) -> [Op; 2] {
    [Op::DeleteRoute(own(care_of)), Op::DeleteAddress(address(care_of))]
}

fn own(care_of: &CareOf) -> Route {
    Route {
        destination: (care_of.address.0, 128),
        gateway: None,
        interface: care_of.interface.0,
        preferred_source: None,
        metric: METRIC,
        local: true,
    }
}

fn address(care_of: &CareOf) -> Address {
    Address { interface: care_of.interface.0, address: care_of.address.0, len: care_of.prefix.length(), home: false }
}

struct Place(Location);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Location::Nowhere => f.write_str("nowhere"),
            Location::Away(care_of) => care_of.address.fmt(f),
            Location::Home { .. } => f.write_str("home"),
        }
    }
}
