//! The checked configuration: what the process runs with. Every value here is valid by itself and with the others.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// One configuration file, checked.
#[derive(Debug)]
pub struct Model {
    /// Who we are.
    pub identity: Identity,
    /// Our certificate and key, if we use one.
    pub certificate: Option<CertificateFiles>,
    /// PEM files with the authorities that peers' certificates must lead to.
    pub authorities: Vec<PathBuf>,
    /// What this node does.
    pub role: Role,
    /// IKE and ESP settings.
    pub ike: Ike,
    /// Logging.
    pub log: Log,
    /// Where what must survive the process is kept (default `/run/homeward`).
    pub state_dir: PathBuf,
}

/// Our certificate chain and private key (PEM; PKCS#8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// End entity first.
    pub chain: PathBuf,
    /// Must not be readable by others.
    pub key: PathBuf,
}

/// An IKE identity as the file writes it: an IPv6 address, `name@domain`, or a domain name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_FQDN.
    DomainName(String),
}

/// The text is no identity that a configuration can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnIdentity {
    /// The cause.
    pub message: String,
    /// The fix.
    pub help: String,
}

impl fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.help)
    }
}

impl std::error::Error for NotAnIdentity {}

impl std::str::FromStr for Identity {
    type Err = NotAnIdentity;

    /// As `id = "…"` in the file.
    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        crate::value::identity(text).map_err(|(message, help)| NotAnIdentity { message, help })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv6(address) => address.fmt(f),
            Self::Email(name) | Self::DomainName(name) => name.fmt(f),
        }
    }
}

/// How a peer proves its identity (and we to it).
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Certificates on both sides.
    Certificate,
    /// A shared secret on both sides.
    Psk(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("Certificate"),
            Self::Psk(_) => f.write_str("Psk(..)"),
        }
    }
}

/// What this node does.
#[derive(Debug)]
pub enum Role {
    /// A home agent.
    HomeAgent(HomeAgent),
    /// A mobile node.
    MobileNode(MobileNode),
}

/// IPv6 prefix; bits beyond the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    /// First address.
    pub address: Ipv6Addr,
    /// Length in bits.
    pub len: u8,
}

/// A home agent's settings.
#[derive(Debug)]
pub struct HomeAgent {
    /// The interface on the home link, by name.
    pub interface: String,
    /// Our global address on the home link.
    pub address: Ipv6Addr,
    /// The home prefix; holds `address`.
    pub prefix: Net,
    /// Where assigned home addresses come from; inside `prefix`, without `address`.
    pub pool: Option<Net>,
    /// The longest lifetime that is granted to a binding.
    pub max_lifetime: Duration,
    /// Whether we send Router Advertisements on the home link, and how often at the longest.
    pub advertise: Option<Duration>,
    /// Who may register. Identities are unique, so are home addresses.
    pub mobile_nodes: Vec<MobileNodeEntry>,
}

/// One entry of the peer authorization database (RFC 4877 §7.1).
#[derive(Debug)]
pub struct MobileNodeEntry {
    /// Whose.
    pub identity: Identity,
    /// How it proves that.
    pub authentication: Authentication,
    /// Its home addresses; empty: one is assigned from the pool.
    pub home_addresses: Vec<Ipv6Addr>,
}

/// A mobile node's settings.
#[derive(Debug)]
pub struct MobileNode {
    /// Interfaces that may carry us, at least one.
    pub interfaces: Vec<MobileInterface>,
    /// The home prefix: by it we see that we are at home.
    pub home_prefix: Net,
    /// Our home address; none: the home agent assigns it.
    pub home_address: Option<Ipv6Addr>,
    /// The lifetime that we ask for.
    pub lifetime: Duration,
    /// With equal preference: whether a link that comes up takes over from one that still works.
    pub newest_link: bool,
    /// How long an old care-of address still receives after a soft handover.
    pub linger: Duration,
    /// How long the home agent may take to acknowledge a first registration before it is repeated (default 1.5 s):
    /// InitialBindackTimeoutFirstReg, RFC 6275 §13.
    pub first_wait: Duration,
    /// The home agent.
    pub home_agent: HomeAgentEntry,
}

/// An interface of a mobile node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobileInterface {
    /// Its name.
    pub name: String,
    /// Higher wins.
    pub preference: u32,
}

/// A mobile node's home agent.
#[derive(Debug)]
pub struct HomeAgentEntry {
    /// Its global address on the home link.
    pub address: Ipv6Addr,
    /// Who it has to be.
    pub identity: Identity,
    /// How it proves that.
    pub authentication: Authentication,
}

/// IKE and ESP settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ike {
    /// Ask whether the peer is there after this time without a word from it.
    pub liveness: Duration,
    /// Rekey the IKE SA after this time.
    pub ike_rekey: Duration,
    /// Rekey CHILD_SAs after this time.
    pub child_rekey: Duration,
    /// A folder that all keys are written to, as Wireshark reads them. A warning at every start.
    pub key_log: Option<PathBuf>,
}

/// Logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least level that is written.
    pub level: Level,
    /// How.
    pub format: Format,
}

/// Log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An operator is needed.
    Warn,
    /// SA or binding up, moved, down.
    Info,
    /// Oddities.
    Debug,
    /// Packets.
    Trace,
}

/// Log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
