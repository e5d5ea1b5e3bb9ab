//! What goes into the engine and what comes out of it: plain data, no callbacks, no handles of the operating system.
//!
//! The engine asks for what it must not do itself (look up an identity, judge a certificate, sign, grant an address or a
//! selector) by an action, and goes on when the answer comes back as an [`Input`]. A question that is never answered
//! ends with the half-open IKE SA that asked it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::crypto::Secret;
use crate::wire::{Identity, NotifyType, TrafficSelector};

/// An IKE SA as the rest of the process knows it. It stays the same when the IKE SA is rekeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IkeSaId(pub u64);

/// One CHILD_SA pair. A rekeyed child is a new one that names the old one in [`ChildSa::replaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// The two addresses and UDP ports between which an IKE SA speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoints {
    /// Our address and port (500 or 4500).
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

/// Which of the owner's private keys is meant. The key itself never enters the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHandle(pub u64);

/// How a signature is made (RFC 7427). The `AlgorithmIdentifier` octets travel in the AUTH payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureScheme {
    /// ecdsa-with-SHA256 over P-256; the signature is the DER `ECDSA-Sig-Value`.
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 over P-384.
    EcdsaP384Sha384,
    /// Ed25519 (RFC 8420).
    Ed25519,
    /// RSASSA-PSS with SHA2-256.
    RsaPssSha256,
}

/// How we prove who we are.
#[derive(Debug)]
pub enum LocalAuth {
    /// A shared secret (RFC 7296 §2.15).
    Psk(Secret),
    /// A certificate chain (DER, end entity first) and the key that goes with it.
    Certificate {
        /// DER certificates, the end entity's first.
        chain: Vec<Vec<u8>>,
        /// The key of the first certificate.
        key: KeyHandle,
        /// What the key can sign, by preference.
        schemes: Vec<SignatureScheme>,
    },
}

/// How the peer has to prove who it is.
#[derive(Debug)]
pub enum RemoteAuth {
    /// A shared secret.
    Psk(Secret),
    /// A certificate, judged by the answer to [`Action::VerifySignature`]. Holds the SHA-1 hashes of the trusted
    /// authorities' public keys for CERTREQ (RFC 7296 §3.7).
    Certificate {
        /// SHA-1 of each trusted authority's SubjectPublicKeyInfo.
        authorities: Vec<[u8; 20]>,
    },
}

/// What the configuration payload of an initiator asks for (RFC 4877 §9, RFC 7296 §3.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRequest {
    /// A suggested address, or none: "any address".
    pub suggestion: Option<Ipv6Addr>,
    /// Whether INTERNAL_IP6_DNS is asked for.
    pub dns: bool,
}

/// What a responder grants in the configuration payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The assigned (home) address.
    pub address: Ipv6Addr,
    /// The length in bits of the (home) prefix.
    pub prefix_len: u8,
    /// Recursive name servers.
    pub dns: Vec<Ipv6Addr>,
}

/// An ESP algorithm suite that is offered or accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EspSuite {
    /// AES-GCM with a 16-octet ICV and a 256-bit key (RFC 4106).
    AesGcm16_256,
    /// AES-GCM with a 16-octet ICV and a 128-bit key.
    AesGcm16_128,
    /// AES-CBC with a 256-bit key and HMAC-SHA2-256-128.
    AesCbc256HmacSha256,
}

/// When a CHILD_SA is rekeyed, counted from its installation. The engine adds the jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Rekey after this time.
    pub rekey: Duration,
    /// Delete after this time, whatever happened to the rekeying.
    pub hard: Duration,
}

/// A CHILD_SA that we want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRequest {
    /// What we may send and where we receive it (TSi of the exchange that we start).
    pub local_selectors: Vec<TrafficSelector>,
    /// What the peer may send (TSr).
    pub remote_selectors: Vec<TrafficSelector>,
    /// USE_TRANSPORT_MODE.
    pub transport: bool,
    /// Acceptable ESP suites, by preference.
    pub suites: Vec<EspSuite>,
    /// When to rekey.
    pub lifetime: Lifetime,
    /// The owner's mark, given back in [`ChildSa::tag`].
    pub tag: u64,
}

/// A CHILD_SA that the peer wants; selectors are seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildOffer {
    /// The peer's TSr: what it asks us to send and receive.
    pub local_selectors: Vec<TrafficSelector>,
    /// The peer's TSi.
    pub remote_selectors: Vec<TrafficSelector>,
    /// Whether the peer asked for transport mode.
    pub transport: bool,
}

/// The owner's word on a [`ChildOffer`]. The selectors have to be subsets of those offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildDecision {
    /// Accept, narrowed to these selectors.
    Accept(ChildRequest),
    /// Refuse with this notify (TS_UNACCEPTABLE, NO_ADDITIONAL_SAS …); `reason` goes to the log.
    Refuse {
        /// The error notify to send.
        notify: NotifyType,
        /// Why, for the log.
        reason: String,
    },
}

/// An IKE SA that we want.
#[derive(Debug)]
pub struct Connect {
    /// Between which addresses.
    pub endpoints: Endpoints,
    /// Our identity (IDi).
    pub local_id: Identity,
    /// The peer's identity: sent as IDr, and the peer has to prove just this one.
    pub remote_id: Identity,
    /// How we prove our identity.
    pub local_auth: LocalAuth,
    /// How the peer proves its identity.
    pub remote_auth: RemoteAuth,
    /// Whether an address is asked for.
    pub address: Option<AddressRequest>,
    /// The CHILD_SA of IKE_AUTH; none: childless (RFC 6023) if the peer can.
    pub child: Option<ChildRequest>,
    /// Whether INITIAL_CONTACT is sent (RFC 7296 §2.4).
    pub initial_contact: bool,
    /// The owner's mark, given back in [`Action::Established`] and [`Action::Closed`].
    pub tag: u64,
}

/// What the owner knows of a peer that claims an identity.
#[derive(Debug)]
pub struct PeerPolicy {
    /// Who we are towards this peer (IDr).
    pub local_id: Identity,
    /// How we prove it.
    pub local_auth: LocalAuth,
    /// How the peer has to prove its identity.
    pub remote_auth: RemoteAuth,
    /// The owner's mark for this IKE SA.
    pub tag: u64,
}

/// What is handed to the engine.
#[derive(Debug)]
pub enum Input {
    /// A UDP datagram arrived (without the non-ESP marker of port 4500).
    Datagram {
        /// Where it arrived and where it came from.
        endpoints: Endpoints,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// The time of [`crate::Engine::deadline`] has come. Harmless if it has not.
    Timeout,
    /// Build an IKE SA.
    Connect(Box<Connect>),
    /// Build another CHILD_SA under an established IKE SA; queued while the window is full.
    CreateChild(IkeSaId, ChildRequest),
    /// Rekey this CHILD_SA now.
    RekeyChild(ChildId),
    /// Rekey this IKE SA now.
    RekeyIke(IkeSaId),
    /// Delete this CHILD_SA, by an exchange with the peer.
    DeleteChild(ChildId),
    /// Delete this IKE SA and its children, by an exchange with the peer.
    Close(IkeSaId),
    /// An empty INFORMATIONAL exchange: is the peer still there?
    CheckLiveness(IkeSaId),
    /// The end points have moved (K bit, RFC 4877 §7.4). Outstanding requests go on from the new ones, bit for bit the same.
    Move(IkeSaId, Endpoints),
    /// The answer to [`Action::IdentifyPeer`]; a refusal is sent as AUTHENTICATION_FAILED.
    PeerIdentified(IkeSaId, Result<Box<PeerPolicy>, String>),
    /// The answer to [`Action::VerifySignature`].
    SignatureVerified(IkeSaId, Result<(), String>),
    /// The answer to [`Action::Sign`].
    Signed(IkeSaId, Result<Vec<u8>, String>),
    /// The answer to [`Action::Authorize`]: the lease, if an address was asked for and can be given
    /// (`Err`: INTERNAL_ADDRESS_FAILURE), and what becomes of the offered child.
    Authorized {
        /// Whose.
        ike_sa: IkeSaId,
        /// The lease to grant; `Ok(None)` if none was asked for.
        lease: Result<Option<Lease>, String>,
        /// The decision on the child; none if none was offered.
        child: Option<ChildDecision>,
    },
    /// The answer to [`Action::JudgeChild`].
    ChildJudged(IkeSaId, ChildDecision),
    /// The owner could not install this child: the engine deletes it with the peer.
    InstallFailed(ChildId),
}

/// ESP keys of one direction. Key octets as the kernel wants them (AEAD: key then 4-octet salt).
#[derive(Debug)]
pub struct EspSa {
    /// The SPI, in host order.
    pub spi: u32,
    /// Encryption key; for AES-GCM followed by the salt.
    pub encryption: Secret,
    /// Integrity key; empty for AEAD.
    pub integrity: Secret,
}

/// A CHILD_SA to install. Its end points are those of the IKE SA at this moment.
#[derive(Debug)]
pub struct ChildSa {
    /// Its name.
    pub id: ChildId,
    /// Under which IKE SA.
    pub ike_sa: IkeSaId,
    /// The owner's mark of the [`ChildRequest`] or [`ChildDecision`]; a rekeyed child inherits it.
    pub tag: u64,
    /// Whether we started the exchange that made it.
    pub initiator: bool,
    /// The child that this one takes over from.
    pub replaces: Option<ChildId>,
    /// Transport mode (else tunnel mode).
    pub transport: bool,
    /// The algorithms.
    pub suite: EspSuite,
    /// What the peer sends to us.
    pub inbound: EspSa,
    /// What we send.
    pub outbound: EspSa,
    /// Agreed selectors, our side.
    pub local_selectors: Vec<TrafficSelector>,
    /// Agreed selectors, the peer's side.
    pub remote_selectors: Vec<TrafficSelector>,
    /// The IKE end points.
    pub endpoints: Endpoints,
    /// Whether ESP goes in UDP (a NAT was detected).
    pub encapsulate: bool,
    /// Extended sequence numbers.
    pub esn: bool,
}

/// Why an IKE SA ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// We were told to.
    Local,
    /// The peer deleted it.
    PeerDeleted,
    /// No answer after all retransmissions.
    Unanswered,
    /// The peer refused with this notify.
    Refused(NotifyType),
    /// Authentication failed; the text names the side and the cause.
    Authentication(String),
    /// The peer sent what the protocol forbids.
    Protocol(String),
    /// The peer's INITIAL_CONTACT, or our own newer IKE SA, replaced it.
    Replaced,
    /// Its hard lifetime ended.
    Expired,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Local => f.write_str("closed by us"),
            CloseReason::PeerDeleted => f.write_str("deleted by the peer"),
            CloseReason::Unanswered => f.write_str("the peer does not answer"),
            CloseReason::Refused(notify) => write!(f, "refused by the peer: {notify}"),
            CloseReason::Authentication(cause) => write!(f, "authentication failed: {cause}"),
            CloseReason::Protocol(cause) => write!(f, "the peer broke the protocol: {cause}"),
            CloseReason::Replaced => f.write_str("replaced by a newer one"),
            CloseReason::Expired => f.write_str("its lifetime ended"),
        }
    }
}

/// Something that an operator may want to read, with nothing for the program to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Whose, if it belongs to one.
    pub ike_sa: Option<IkeSaId>,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
    /// The identity that the peer claims or has proved.
    pub identity: Option<Identity>,
    /// What was refused or odd, and why; one sentence without secrets.
    pub reason: String,
}

/// Keys for a packet analyser. Only emitted if [`crate::Config::key_log`] is set.
#[derive(Debug)]
pub struct KeyLog {
    /// Initiator's and responder's SPI.
    pub spis: (u64, u64),
    /// SK_ei, SK_er (with the salt for AEAD).
    pub encryption: (Secret, Secret),
    /// SK_ai, SK_ar; empty for AEAD.
    pub integrity: (Secret, Secret),
    /// tshark's name of the encryption algorithm.
    pub encryption_name: &'static str,
    /// tshark's name of the integrity algorithm.
    pub integrity_name: &'static str,
}

/// What the engine wants done. To be carried out in order, and all drained before the next input.
#[derive(Debug)]
pub enum Action {
    /// Send this IKE message (the shell adds the non-ESP marker on port 4500).
    Send {
        /// From where to where.
        endpoints: Endpoints,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// Who is this, and how does it prove it? Answer: [`Input::PeerIdentified`].
    IdentifyPeer {
        /// The half-open IKE SA.
        ike_sa: IkeSaId,
        /// IDi, not yet proved.
        claimed: Identity,
        /// IDr, if the initiator named whom it wants.
        wanted: Option<Identity>,
        /// From where.
        endpoints: Endpoints,
    },
    /// Is this signature good, and does the certificate chain vouch for this identity? Answer: [`Input::SignatureVerified`].
    VerifySignature {
        /// The IKE SA.
        ike_sa: IkeSaId,
        /// The identity that the certificate has to carry.
        identity: Identity,
        /// DER certificates, the end entity's first, as received.
        chain: Vec<Vec<u8>>,
        /// How it was signed.
        scheme: SignatureScheme,
        /// What was signed.
        octets: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
    /// Sign these octets. Answer: [`Input::Signed`].
    Sign {
        /// The IKE SA.
        ike_sa: IkeSaId,
        /// With this key.
        key: KeyHandle,
        /// In this way.
        scheme: SignatureScheme,
        /// What to sign.
        octets: Vec<u8>,
    },
    /// The initiator has proved its identity: what may it have? Answer: [`Input::Authorized`].
    Authorize {
        /// The IKE SA.
        ike_sa: IkeSaId,
        /// The mark of [`PeerPolicy::tag`].
        tag: u64,
        /// The proved identity.
        identity: Identity,
        /// The address it asks for.
        address: Option<AddressRequest>,
        /// The child it asks for.
        child: Option<ChildOffer>,
    },
    /// The peer asks for another child under an established IKE SA. Answer: [`Input::ChildJudged`].
    JudgeChild {
        /// The IKE SA.
        ike_sa: IkeSaId,
        /// What it asks for.
        offer: ChildOffer,
    },
    /// An IKE SA stands. Comes before the [`Action::InstallChild`] of its first child.
    Established {
        /// Its name.
        ike_sa: IkeSaId,
        /// The owner's mark.
        tag: u64,
        /// The peer's proved identity.
        peer: Identity,
        /// Its end points.
        endpoints: Endpoints,
        /// The address that we were given (initiator only).
        lease: Option<Lease>,
    },
    /// Keys were renewed; the name stays.
    IkeRekeyed(IkeSaId),
    /// Install this pair, both directions. Comes before the message that tells the peer.
    InstallChild(Box<ChildSa>),
    /// The child that we asked for was refused or failed.
    ChildFailed {
        /// Under which IKE SA.
        ike_sa: IkeSaId,
        /// The mark of the [`ChildRequest`].
        tag: u64,
        /// What the peer said, if it said something.
        notify: Option<NotifyType>,
    },
    /// Remove this pair.
    RemoveChild(ChildId),
    /// The peer answered; it is there.
    Alive(IkeSaId),
    /// Somebody says, without proof, that the peer does not know this IKE SA (INVALID_IKE_SPI, RFC 7296 §2.21.4). Seldom. The peer
    /// is being asked whether it lives; the owner may build another IKE SA meanwhile, with [`Connect::initial_contact`]: when
    /// the peer has proved itself there, it takes the place of this one.
    Doubtful(IkeSaId),
    /// The IKE SA is gone; its children were removed by actions before this one.
    Closed {
        /// Its name.
        ike_sa: IkeSaId,
        /// The owner's mark.
        tag: u64,
        /// Why.
        reason: CloseReason,
    },
    /// For the log.
    Audit(Audit),
    /// For a packet analyser.
    KeyLog(Box<KeyLog>),
}

impl Endpoints {
    /// Our address.
    pub fn local_ip(&self) -> IpAddr {
        self.local.ip()
    }

    /// The peer's address.
    pub fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }
}
