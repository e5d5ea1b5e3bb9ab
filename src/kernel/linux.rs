//! The Linux kernel of this machine (of this network namespace).

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::inverse::{Ours, Undo};
use super::journal::Journal;
use super::netlink::{Netlink, Refused};
use super::op::{Op, Protocol, SaKey};
use super::{Done, Failure, Kernel, route, sysctl, xfrm};

/// Why the kernel cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No netlink socket of this family.
    #[error("the kernel lacks {facility}: {help} ({source})")]
    Missing {
        /// What is missing, by the name of its option.
        facility: &'static str,
        /// What to do.
        help: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// We are not allowed to ask.
    #[error("the kernel does not let this process set IPsec states: it needs CAP_NET_ADMIN in its network namespace")]
    Denied,
    /// The journal cannot be read or written.
    #[error("{}: {source}", path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The kernel, with a journal of what is ours in it.
pub struct Linux {
    xfrm: Netlink,
    route: Netlink,
    ours: Ours,
    journal: Journal,
    lost: Vec<SaKey>,
}

impl Linux {
    /// Opens the kernel and removes what an earlier process left behind according to its journal.
    ///
    /// # Errors
    /// The facility that is missing and what to do, or the journal that cannot be written.
    pub fn open(journal: &Path) -> Result<Self, OpenError> {
        let (xfrm, route) = sockets()?;
        let wrong = |source| OpenError::Journal { path: journal.to_owned(), source };
        let left_behind = Journal::left_behind(journal).map_err(wrong)?;
        let mut linux = Self {
            xfrm,
            route,
            ours: Ours::default(),
            lost: Vec::new(),
            journal: Journal::create(&journal.with_extension("new")).map_err(wrong)?,
        };
        for undo in &left_behind {
            // What is gone already was removed before the earlier process ended.
            match (linux.undo(undo), undo) {
                (Ok(()), Undo::Sa(key)) if key.protocol == Protocol::Esp => linux.lost.push(*key),
                (Ok(()), _) => {}
                (Err(refused), _) => {
                    tracing::debug!(event = "not_left_behind", ?undo, reason = refused.reason);
                }
            }
        }
        if !left_behind.is_empty() {
            tracing::info!(event = "cleaned_up", objects = left_behind.len());
        }
        linux.journal.remove().map_err(wrong)?;
        linux.journal = Journal::create(journal).map_err(wrong)?;
        Ok(linux)
    }

    /// Tries the facilities that cannot be done without, by objects that nothing else uses and that are removed at once.
    ///
    /// # Errors
    /// The facility that is missing and what to do.
    pub fn probe() -> Result<(), OpenError> {
        let (mut xfrm, _) = sockets()?;
        std::fs::metadata("/proc/net/if_inet6").map_err(|source| OpenError::Missing {
            facility: "IPv6 (CONFIG_IPV6)",
            help: "load the module ipv6, take ipv6.disable=1 off the kernel's command line, or use a kernel that has it",
            source,
        })?;
        let test = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1));
        let key = |protocol| SaKey { protocol, source: test, destination: test, spi: 0 };
        let mip6 = super::op::RouteOptimization {
            key: key(Protocol::DestinationOptions),
            care_of: Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 2),
            wildcard: false,
        };
        let result = xfrm::set_route_optimization(&mut xfrm, &mip6);
        let result = result.and_then(|()| xfrm::delete_sa(&mut xfrm, &mip6.key));
        result.map_err(lacks("Mobile IPv6 (CONFIG_IPV6_MIP6)", "load the module mip6 or use a kernel that has it"))?;
        let esp = super::op::EspSa {
            key: SaKey { spi: 0x0bad_cafe, ..key(Protocol::Esp) },
            mode: super::op::Mode::Tunnel,
            reqid: 0,
            selector: super::op::Selector {
                source: super::op::Net { address: test, len: 128 },
                destination: super::op::Net { address: test, len: 128 },
                protocol: 0,
                source_port: None,
                destination_port: None,
            },
            keys: super::op::EspKeys::AesGcm16(zeroize::Zeroizing::new(vec![0; 36])),
            replay_window: 0,
            esn: false,
            encapsulation: None,
        };
        let result = xfrm::add_sa(&mut xfrm, &esp).and_then(|()| xfrm::delete_sa(&mut xfrm, &esp.key));
        result.map_err(lacks(
            "ESP with AES-GCM for IPv6 (CONFIG_INET6_ESP, CONFIG_CRYPTO_GCM)",
            "load the modules esp6 and gcm or use a kernel that has them",
        ))
    }

    /// The ESP SAs that an earlier process left behind and that are gone now: their peers do not know yet.
    pub fn lost(&self) -> &[SaKey] {
        &self.lost
    }

    /// Removes everything of ours and puts every value back; all of it is tried.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn restore(&mut self) -> Result<(), Failure> {
        let mut left_behind = Vec::new();
        for undo in self.ours.all() {
            if let Err(refused) = self.undo(&undo) {
                left_behind.push(format!("{undo:?} ({})", refused.reason));
            }
        }
        self.ours = Ours::default();
        if left_behind.is_empty() {
            // A journal that stays would only be tried once more by the next process.
            drop(self.journal.remove());
            return Ok(());
        }
        Err(Failure { index: 0, operation: "restore".into(), errno: None, reason: "not all of it".into(), left_behind })
    }

    fn undo(&mut self, undo: &Undo) -> Result<(), Refused> {
        match undo {
            Undo::Sa(key) => xfrm::delete_sa(&mut self.xfrm, key),
            Undo::Policy(key) => xfrm::delete_policy(&mut self.xfrm, key),
            Undo::Address(address) => route::delete_address(&mut self.route, address),
            Undo::Route(route) => route::delete_route(&mut self.route, route),
            Undo::Proxy { interface, address } => route::delete_proxy(&mut self.route, *interface, *address),
            Undo::Sysctl { path, value } => sysctl::write(path, value),
            Undo::SpdHash => xfrm::spd_hash(&mut self.xfrm, 128, 128),
        }
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), Refused> {
        match op {
            Op::SpdHash { local, remote } => xfrm::spd_hash(&mut self.xfrm, *local, *remote),
            Op::AddSa(sa) => xfrm::add_sa(&mut self.xfrm, sa),
            Op::DeleteSa(key) => xfrm::delete_sa(&mut self.xfrm, key),
            Op::CopySa { from, to } => xfrm::copy_sa(&mut self.xfrm, from, *to),
            Op::SetRouteOptimization(state) => xfrm::set_route_optimization(&mut self.xfrm, state),
            Op::SetPolicy(policy) => xfrm::set_policy(&mut self.xfrm, policy),
            Op::DeletePolicy(key) => xfrm::delete_policy(&mut self.xfrm, key),
            Op::Migrate { policy, moves } => xfrm::migrate(&mut self.xfrm, policy, moves),
            Op::AddAddress(address) => route::add_address(&mut self.route, address),
            Op::DeleteAddress(address) => gone(route::delete_address(&mut self.route, address)),
            Op::SetRoute(route) => route::set_route(&mut self.route, route),
            Op::DeleteRoute(route) => gone(route::delete_route(&mut self.route, route)),
            Op::AddProxy { interface, address } => route::add_proxy(&mut self.route, *interface, *address),
            Op::DeleteProxy { interface, address } => gone(route::delete_proxy(&mut self.route, *interface, *address)),
            Op::SetNeighbour { interface, address, link_layer } => {
                route::set_neighbour(&mut self.route, *interface, *address, *link_layer)
            }
            Op::DeleteNeighbour { interface, address } => {
                gone(route::delete_neighbour(&mut self.route, *interface, *address))
            }
            Op::Sysctl { path, value } => sysctl::write(path, value),
        }
    }

    /// Takes back what a batch did before it failed, last first.
    fn roll_back(&mut self, done: Vec<Vec<Op>>) -> Vec<String> {
        let mut left_behind = Vec::new();
        for op in done.into_iter().rev().flatten() {
            match self.carry_out(&op) {
                Ok(()) => self.ours.note(&op, None),
                Err(refused) => left_behind.push(format!("{} ({})", name(&op), refused.reason)),
            }
        }
        left_behind
    }
}

impl Kernel for Linux {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        let before = self.xfrm.sent.wrapping_add(self.route.sent);
        let sysctl = |path: &str| sysctl::read(path).ok();
        let mut done = Vec::new();
        for (index, op) in batch.iter().enumerate() {
            let trace = self.ours.trace(op, &sysctl);
            let reverse = self.ours.reverse(op, &sysctl);
            let old = if let Op::Sysctl { path, .. } = op { sysctl(path) } else { None };
            // Written before it is done: a kill in between leaves a record of nothing rather than a thing without a record.
            let written = if trace.is_empty() { Ok(()) } else { self.journal.append(&trace) };
            let result = written.map_err(Refused::from).and_then(|()| self.carry_out(op));
            if let Err(refused) = result {
                let left_behind = self.roll_back(done);
                return Err(Failure {
                    index,
                    operation: name(op),
                    errno: (refused.errno != 0).then_some(refused.errno),
                    reason: refused.reason,
                    left_behind,
                });
            }
            self.ours.note(op, old);
            done.push(reverse);
        }
        if self.journal.is_long() {
            let mut standing = self.ours.all();
            standing.reverse();
            if let Err(error) = self.journal.compact(&standing) {
                tracing::warn!(event = "journal", %error);
            }
        }
        Ok(Done { messages: self.xfrm.sent.wrapping_add(self.route.sent).wrapping_sub(before) })
    }
}

/// A facility is missing, unless it is we who may not use it.
fn lacks(facility: &'static str, help: &'static str) -> impl FnOnce(Refused) -> OpenError {
    move |refused| match refused.errno {
        libc::EPERM | libc::EACCES => OpenError::Denied,
        _ => OpenError::Missing { facility, help, source: io::Error::other(refused.reason) },
    }
}

/// The sockets for IPsec and for addresses and routes.
fn sockets() -> Result<(Netlink, Netlink), OpenError> {
    let missing = |facility, help| move |source| OpenError::Missing { facility, help, source };
    let xfrm = Netlink::xfrm()
        .map_err(missing("IPsec (CONFIG_XFRM_USER)", "load the module xfrm_user or use a kernel that has it"))?;
    let route = Netlink::route().map_err(missing("rtnetlink", "use a kernel that has it"))?;
    Ok((xfrm, route))
}

/// What was to be removed and is not there is removed.
fn gone(result: Result<(), Refused>) -> Result<(), Refused> {
    match result {
        Err(refused) if matches!(refused.errno, libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENODEV) => {
            Ok(())
        }
        result => result,
    }
}

/// An operation in words, without keys.
fn name(op: &Op) -> String {
    match op {
        Op::AddSa(sa) => format!("AddSa({:?})", sa.key),
        other => format!("{other:?}"),
    }
}
