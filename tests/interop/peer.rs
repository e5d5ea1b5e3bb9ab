//! strongSwan's side of the connection, in each of the two roles, and what both roles' cases ask of it.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use homeward::lab::service::{HOME_AGENT_ID, MOBILE_NODE_ID};
use homeward::lab::topology::HOME_AGENT;
use homeward::lab::{Auth, Host, PingFlow};

use crate::mobility::{PAYLOAD_REQID, RETURN_ROUTABILITY_REQID};
use crate::strongswan::{PATIENCE, StrongSwan};
use crate::vici::Section;

/// The name of the only connection.
pub(crate) const CONNECTION: &str = "home";
/// The transport-mode child for binding updates and acknowledgements.
pub(crate) const BINDING: &str = "binding";
/// The tunnel-mode child for everything else.
pub(crate) const PAYLOAD: &str = "payload";

/// What differs from case to case.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) auth: Auth,
    pub(crate) home_address: Ipv6Addr,
    /// Whether the home address is assigned by the home agent.
    pub(crate) assigned: bool,
    /// strongSwan's words for algorithms.
    pub(crate) ike: &'static str,
    pub(crate) esp: &'static str,
    /// More settings of the connection.
    pub(crate) settings: &'static str,
    /// The shared secret, if there is one.
    pub(crate) secret: String,
}

impl Connection {
    /// AES-GCM and X25519, as Homeward prefers them.
    pub(crate) fn new(auth: Auth, home_address: Ipv6Addr, folder: &Path) -> Self {
        let secret = fs::read_to_string(folder.join("psk")).unwrap_or_default();
        let (ike, esp) = ("aes256gcm16-prfsha256-x25519", "aes256gcm16");
        Self { auth, home_address, assigned: false, ike, esp, settings: "", secret }
    }

    /// With other algorithms.
    pub(crate) fn with(self, ike: &'static str, esp: &'static str) -> Self {
        Self { ike, esp, ..self }
    }

    /// `swanctl.conf` of strongSwan as a mobile node at a care-of address. Policies are its own.
    pub(crate) fn mobile_node(&self, care_of: Ipv6Addr) -> String {
        let Self { home_address, esp, .. } = self;
        let (vips, own) = match self.assigned {
            true => ("vips = ::\n", "dynamic".to_owned()),
            false => ("", home_address.to_string()),
        };
        // The transport-mode child has to name the home address: with `dynamic` its SAs would be between the IKE end points.
        let children = format!(
            "{BINDING} {{\n mode = transport_proxy\n local_ts = {home_address}[135]\n remote_ts = {HOME_AGENT}[135]\n \
             esp_proposals = {esp}\n }}\n\
             {PAYLOAD} {{\n mode = tunnel\n local_ts = {own}\n remote_ts = ::/0\n esp_proposals = {esp}\n }}\n"
        );
        let ends = format!("local_addrs = {care_of}\n remote_addrs = {HOME_AGENT}\n {vips}");
        self.text(&ends, (MOBILE_NODE_ID, HOME_AGENT_ID), &children)
    }

    /// `swanctl.conf` of strongSwan as a home agent. Types stand where RFC 7296 §3.13.1 has them, so that a child is found by its
    /// selectors; policies are not its own.
    pub(crate) fn home_agent(&self) -> String {
        let Self { home_address, esp, .. } = self;
        let mut children = String::new();
        let mh = |kind: u32| format!("[135/{}]", kind << 8);
        let icmp = |kind: u32| format!("[58/{}-{}]", kind << 8, (kind << 8) + 255);
        let agent = HOME_AGENT.to_string();
        for (name, mode, reqid, (end, local), remote) in [
            (BINDING, "transport_proxy", 1, (agent.as_str(), mh(6)), mh(5)),
            ("prefix-discovery", "transport_proxy", 2, (agent.as_str(), icmp(147)), icmp(146)),
            ("return-routability", "tunnel", RETURN_ROUTABILITY_REQID, ("::/0", mh(3)), mh(1)),
            (PAYLOAD, "tunnel", PAYLOAD_REQID, ("::/0", String::new()), String::new()),
        ] {
            children.push_str(&format!(
                "{name} {{\n mode = {mode}\n policies = no\n reqid = {reqid}\n local_ts = {end}{local}\n \
                 remote_ts = {home_address}{remote}\n esp_proposals = {esp}\n }}\n"
            ));
        }
        let pools = if self.assigned { "pools = homes" } else { "" };
        let text =
            self.text(&format!("local_addrs = {HOME_AGENT}\n {pools}"), (HOME_AGENT_ID, MOBILE_NODE_ID), &children);
        format!("{text}pools {{ homes {{\n addrs = {home_address}/128\n }} }}\n")
    }

    fn text(&self, ends: &str, (own, other): (&str, &str), children: &str) -> String {
        let Self { ike, settings, secret, .. } = self;
        let (method, certificate) = match self.auth {
            Auth::Psk => ("psk", String::new()),
            Auth::Certificate => ("pubkey", format!("certs = {own}.pem")),
        };
        format!(
            "connections {{ {CONNECTION} {{\n version = 2\n mobike = no\n {ends}\n proposals = {ike}\n {settings}\n \
             local {{\n auth = {method}\n id = {own}\n {certificate}\n }}\n \
             remote {{\n auth = {method}\n id = {other}\n }}\n children {{\n{children}}}\n }} }}\n\
             secrets {{ ike-1 {{\n id-1 = {own}\n id-2 = {other}\n secret = \"{secret}\"\n }} }}\n"
        )
    }
}

/// Gives strongSwan the certificate of an identity with its key from one folder of Homeward's configuration, and the authority
/// that it trusts from another.
pub(crate) fn certificates(swan: &StrongSwan, id: &str, own: &Path, trusted: &Path) {
    let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
    swan.credential(&format!("x509/{id}.pem"), &read(own, &format!("{id}.pem")));
    swan.credential(&format!("private/{id}.pem"), &read(own, &format!("{id}.key")));
    swan.credential("x509ca/ca.pem", &read(trusted, "ca.pem"));
}

/// Makes a folder with another authority, and a certificate of it for an identity.
pub(crate) fn stranger(folder: &Path, id: &str) {
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let validity = pki::Validity { not_before: now - day, not_after: now + day };
    let made = pki::Authority::create("Another authority", validity).unwrap();
    let authority = pki::Authority::from_pem(&made.certificate_pem, &made.key_pem).unwrap();
    let issued = authority.issue(&pki::Identity::Fqdn(id.to_owned()), validity).unwrap();
    fs::create_dir_all(folder).unwrap();
    let files = [
        ("ca.pem".to_owned(), made.certificate_pem.as_str()),
        (format!("{id}.pem"), issued.certificate_pem.as_str()),
        (format!("{id}.key"), issued.key_pem.as_str()),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// The algorithms of strongSwan's only IKE SA and of its child of a name, as strongSwan calls them.
pub(crate) fn algorithms(swan: &StrongSwan, child: &str) -> String {
    let cipher = |section: &Section| {
        let name = format!("{}-{}", section.text("encr-alg"), section.text("encr-keysize"));
        match section.text("integ-alg") {
            "" => name,
            integrity => format!("{name} {integrity}"),
        }
    };
    let (ike_sa, child) = (swan.ike_sa(CONNECTION), swan.child(CONNECTION, child));
    let key_exchange = match child.text("dh-group") {
        "" => String::new(),
        group => format!(" {group}"),
    };
    let numbers = if child.text("esn") == "1" { " ESN" } else { "" };
    let (prf, group) = (ike_sa.text("prf-alg"), ike_sa.text("dh-group"));
    format!("IKE {} {prf} {group}; ESP {}{key_exchange}{numbers}", cipher(&ike_sa), cipher(&child))
}

/// Echo requests have to be answered, one after the other.
pub(crate) fn pings(host: &Host, from: Ipv6Addr, to: Ipv6Addr) {
    let flow = PingFlow::start(host, Some(from), to, Duration::from_millis(20)).unwrap();
    until("replies to echo requests", || flow.so_far().delivered() >= 5);
}

/// Waits for something to become so that nothing announces.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
