//! The real world: sockets, the kernel, keys and certificates.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Arc;

use ike::action::{Endpoints, KeyHandle, KeyLog as IkeKeys, SignatureScheme};
use ike::wire::Identity;
use mip6::action::Interface;
use mip6::wire::icmp6_type;
use tracing::{debug, warn};

use super::credentials::Credentials;
use super::key_log::KeyLog;
use super::lock::Lock;
use super::shell::{Icmp6, Shell};
use crate::kernel::event::Link;
use crate::kernel::op::Op;
use crate::kernel::{Done, Failure, Kernel, Linux};
use crate::net::icmp6::{ALL_NODES, ALL_ROUTERS, Icmp6Socket, solicited_node};
use crate::net::ike::IkeSocket;
use crate::net::mobility::MobilitySocket;
use conf::model::{Model, Role};

/// What the node acts on and sends by.
pub(super) struct World {
    kernel: Linux,
    ike: Arc<IkeSocket>,
    mobility: Arc<MobilitySocket>,
    icmp6: Arc<Icmp6Socket>,
    /// What is known of the interfaces, by index.
    links: BTreeMap<u32, Link>,
    /// The group that was joined last for a probe, by interface.
    probed: BTreeMap<u32, Ipv6Addr>,
    credentials: Arc<Credentials>,
    key_log: Option<KeyLog>,
    _lock: Lock,
}

impl World {
    /// Opens all of it, after having removed what an earlier process left behind.
    ///
    /// # Errors
    /// What is missing, in words for an operator.
    pub(super) fn open(model: &Model, credentials: Arc<Credentials>) -> Result<Self, String> {
        Linux::probe().map_err(|error| error.to_string())?;
        // Two guards before anything is touched: the lock of the state folder, and the IKE ports, of which this network
        // namespace has one pair. Without them the objects of a running process would be taken for left behind.
        let lock = Lock::take(&model.state_dir)?;
        let ike = Arc::new(IkeSocket::open().map_err(|error| error.to_string())?);
        let kernel = Linux::open(&model.state_dir.join("kernel.journal")).map_err(|error| error.to_string())?;
        let types: &[u8] = match model.role {
            Role::HomeAgent(_) => &[
                icmp6_type::ROUTER_SOLICITATION,
                icmp6_type::NEIGHBOUR_ADVERTISEMENT,
                icmp6_type::MOBILE_PREFIX_SOLICITATION,
            ],
            Role::MobileNode(_) => &[
                icmp6_type::ROUTER_ADVERTISEMENT,
                icmp6_type::NEIGHBOUR_ADVERTISEMENT,
                icmp6_type::MOBILE_PREFIX_ADVERTISEMENT,
            ],
        };
        let key_log = model.ike.key_log.as_deref().map(open_key_log).transpose()?;
        let links = crate::kernel::event::links().map_err(|error| format!("cannot list the interfaces: {error}"))?;
        let world = Self {
            kernel,
            ike,
            mobility: Arc::new(MobilitySocket::open().map_err(|error| error.to_string())?),
            icmp6: Arc::new(Icmp6Socket::open(types).map_err(|error| error.to_string())?),
            links: links.into_iter().map(|link| (link.index, link)).collect(),
            probed: BTreeMap::new(),
            credentials,
            key_log,
            _lock: lock,
        };
        if let Role::HomeAgent(agent) = &model.role {
            let interface = world.index(&agent.interface)?;
            world.icmp6.join(interface.0, ALL_ROUTERS).map_err(|error| error.to_string())?;
        }
        Ok(world)
    }

    /// The sockets, to wait for.
    pub(super) fn sockets(&self) -> (Arc<IkeSocket>, Arc<MobilitySocket>, Arc<Icmp6Socket>) {
        (self.ike.clone(), self.mobility.clone(), self.icmp6.clone())
    }

    /// The index of an interface.
    pub(super) fn index(&self, name: &str) -> Result<Interface, String> {
        let found = self.links.values().find(|link| link.name == name);
        found.map(|link| Interface(link.index)).ok_or_else(|| {
            let known: Vec<&str> = self.links.values().map(|link| link.name.as_str()).collect();
            format!("there is no interface {name}; there are {}", known.join(", "))
        })
    }

    /// The interfaces that are there.
    pub(super) fn links(&self) -> Vec<Link> {
        self.links.values().cloned().collect()
    }

    /// What is known of an interface.
    pub(super) fn link(&self, interface: Interface) -> Option<&Link> {
        self.links.get(&interface.0)
    }

    /// Takes note of an interface's state; whether it is news.
    pub(super) fn changed(&mut self, link: &Link) -> bool {
        let old = self.links.insert(link.index, link.clone());
        old.is_none_or(|old| old.running != link.running)
    }

    /// Listens on an interface for what all nodes are told.
    pub(super) fn listen(&self, interface: Interface) {
        if let Err(error) = self.icmp6.join(interface.0, ALL_NODES) {
            warn!(event = "not_sent", %error);
        }
    }

    /// Puts everything back as it was before we started.
    pub(super) fn restore(&mut self) {
        if let Err(failure) = self.kernel.restore() {
            warn!(event = "not_restored", %failure);
        }
    }
}

impl Shell for World {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        if let Some(log) = &self.key_log {
            log.esp(batch);
        }
        self.kernel.apply(batch)
    }

    fn send_ike(&mut self, endpoints: Endpoints, message: &[u8]) {
        sent(self.ike.send(endpoints.local, endpoints.remote, message));
    }

    fn send_mobility(&mut self, source: Ipv6Addr, destination: Ipv6Addr, care_of: Option<Ipv6Addr>, message: &[u8]) {
        sent(self.mobility.send(source, destination, care_of, message));
    }

    fn send_icmp6(&mut self, icmp6: &Icmp6) {
        let interface = icmp6.interface.map_or(0, |interface| interface.0);
        sent(self.icmp6.send(
            interface,
            icmp6.source,
            icmp6.destination,
            icmp6.hop_limit,
            &icmp6.message,
            icmp6.care_of,
        ));
    }

    fn probe_duplicate(&mut self, interface: Interface, address: Ipv6Addr) {
        // RFC 4862 §5.4.2: who probes hears what is sent to the address. The kernel joins by itself, but somewhat later; the next
        // probe on the interface needs ours no more.
        let group = solicited_node(address);
        if let Some(old) = self.probed.insert(interface.0, group).filter(|old| *old != group) {
            sent(self.icmp6.leave(interface.0, old));
        }
        sent(self.icmp6.join(interface.0, group));
        sent(self.icmp6.raw_neighbour_solicitation(interface.0, address));
    }

    fn link_layer(&self, interface: Interface) -> Option<[u8; 6]> {
        self.links.get(&interface.0)?.link_layer
    }

    fn sign(&mut self, key: KeyHandle, scheme: SignatureScheme, octets: &[u8]) -> Result<Vec<u8>, String> {
        self.credentials.sign(key, scheme, octets)
    }

    fn verify(
        &mut self,
        identity: &Identity,
        chain: &[Vec<u8>],
        scheme: SignatureScheme,
        octets: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        self.credentials.verify(identity, chain, scheme, octets, signature)
    }

    fn log_keys(&mut self, keys: &IkeKeys) {
        if let Some(log) = &self.key_log {
            log.ike(keys);
        }
    }
}

fn open_key_log(folder: &Path) -> Result<KeyLog, String> {
    let log = KeyLog::open(folder).map_err(|error| format!("cannot write keys to {}: {error}", folder.display()))?;
    warn!(event = "key_log", path = %folder.display(), "whoever reads this folder can read all traffic");
    Ok(log)
}

/// What could not be sent is lost, as on a link; the protocols repeat it.
fn sent(result: std::io::Result<()>) {
    if let Err(error) = result {
        debug!(event = "not_sent", %error);
    }
}
