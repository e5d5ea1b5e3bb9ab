//! Homeward as home agent and responder, strongSwan as the IKE of a mobile node and initiator.

use std::cell::Cell;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeward::lab::service::MOBILE_NODE_ID;
use homeward::lab::topology::{CORRESPONDENT, HOME_AGENT};
use homeward::lab::{
    Auth, Capture, Configurations, Event, HomeAddressBy, Link, Node, Scene, SceneOptions, Service, output_folder,
};
use mip6::wire::BindingStatus;
use nix::sys::signal::Signal;

use crate::load::half_open;
use crate::matrix::{REFUSED, row};
use crate::mobility::{MobileNode, in_clear};
use crate::peer::{BINDING, CONNECTION, Connection, PAYLOAD, algorithms, certificates, pings, stranger, until};
use crate::strongswan::{PATIENCE, StrongSwan};
use crate::{PROGRAM, matrix};

const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x99);
const HOME_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x101);
/// The first of the lab's pool.
const ASSIGNED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 1, 0, 0, 1);
const LIFETIME: Duration = Duration::from_secs(600);

/// All cases, one after the other in one scene.
pub(crate) fn cases() {
    let stand = Stand::new();
    matrix::peer(&stand.swan.version());
    stand.shared_secret();
    stand.settings();
    stand.certificates();
    let clear = stand.access.packets().iter().filter(|packet| in_clear(packet)).count();
    row("Mobility Header messages outside ESP, all cases together", &clear.to_string());
}

/// Algorithms as strongSwan names them, for IKE and for ESP: what each case is about, one at a time.
const ALGORITHMS: [(&str, &str, &str); 1] =
    [("key exchange with P-384", "aes256gcm16-prfsha256-ecp384", "aes256gcm16-ecp384")];

/// The algorithms that no other case has, each with a CHILD_SA that carries traffic and that is rekeyed.
pub(crate) fn algorithm_cases() {
    let stand = Stand::new();
    matrix::peer(&stand.swan.version());
    let (files, ha) = stand.home_agent("algorithms", Auth::Psk, HomeAddressBy::Configuration(HOME_ADDRESS), "");
    let mn = MobileNode::start(&stand.scene.mn, files.folder(), HOME_ADDRESS, CARE_OF);
    let connection = Connection::new(Auth::Psk, HOME_ADDRESS, files.folder());
    for (case, ike, esp) in ALGORITHMS {
        stand.connect(&connection.clone().with(ike, esp), BINDING);
        stand.open_payload();
        stand.pass(&mn, HOME_ADDRESS);
        let (mark, old) = (ha.mark(), stand.swan.spis(CONNECTION));
        stand.swan.swanctl(&["--rekey", "--ike", CONNECTION]);
        ha.wait_after(mark, "ike_rekeyed", PATIENCE).unwrap();
        until("the new IKE SA", || stand.swan.ike_sas(CONNECTION).len() == 1 && stand.swan.spis(CONNECTION) != old);
        let old = stand.swan.child(CONNECTION, PAYLOAD).text("spi-in").to_owned();
        stand.swan.swanctl(&["--rekey", "--child", PAYLOAD]);
        until("the new child", || stand.swan.child(CONNECTION, PAYLOAD).text("spi-in") != old);
        stand.pass(&mn, HOME_ADDRESS);
        row(case, &algorithms(&stand.swan, PAYLOAD));
        stand.disconnect(&ha);
    }
}

struct Stand {
    scene: Scene,
    swan: StrongSwan,
    access: Capture,
    out: PathBuf,
    sequence: Cell<u16>,
}

impl Stand {
    fn new() -> Self {
        let out = output_folder().unwrap();
        let scene = Scene::new(SceneOptions::default()).unwrap();
        scene.mn.address("eth0", &format!("{CARE_OF}/64")).unwrap();
        scene.mn.route("default", &Link::A.router().to_string()).unwrap();
        let access = scene.capture(Link::A, None).unwrap();
        let swan = StrongSwan::start(&scene.mn, &out.join("strongswan"), "");
        Self { scene, swan, access, out, sequence: Cell::new(0) }
    }

    fn shared_secret(&self) {
        let home_address = HomeAddressBy::Configuration(HOME_ADDRESS);
        let (files, mut ha) = self.home_agent("psk", Auth::Psk, home_address, "");
        let mn = MobileNode::start(&self.scene.mn, files.folder(), HOME_ADDRESS, CARE_OF);
        let connection = Connection::new(Auth::Psk, HOME_ADDRESS, files.folder());

        self.connect(&connection, BINDING);
        self.register(&mn);
        row("shared secret; transport-mode CHILD_SA for the Mobility Header", &algorithms(&self.swan, BINDING));
        row("binding update and acknowledgement under it", "pass");
        self.open_payload();
        self.pass(&mn, HOME_ADDRESS);
        row("tunnel-mode CHILD_SA for payload, home address ↔ ::/0", "echo requests and replies pass");
        self.rekeyed_by_strongswan(&ha, &mn);
        self.rekeyed_by_homeward(&ha, &mn);
        let mark = ha.mark();
        ha.signal(Signal::SIGUSR1).unwrap();
        ha.wait_after(mark, "ike_alive", PATIENCE).unwrap();
        row("liveness asked by Homeward", "answered");
        self.swan.swanctl(&["--terminate", "--child", PAYLOAD]);
        until("the end of a pair of SAs", || self.esp_sas() == 2);
        row("CHILD_SA deleted by strongSwan", "gone from both kernels");
        self.disconnect(&ha);
        row("IKE SA deleted by strongSwan", "gone on both sides");

        let other = connection.clone().with("aes256-sha256-prfsha256-ecp256", "aes256-sha256-ecp256");
        let other = Connection { settings: "dpd_delay = 1s", ..other };
        self.connect(&other, BINDING);
        self.open_payload();
        self.pass(&mn, HOME_ADDRESS);
        row("AES-CBC with HMAC-SHA2-256, P-256", &algorithms(&self.swan, PAYLOAD));
        self.swan.mark();
        self.swan.wait("sending DPD request");
        self.swan.wait("parsed INFORMATIONAL response");
        row("liveness asked by strongSwan", "answered");
        self.disconnect(&ha);

        self.connect(&connection.clone().with("aes256gcm16-prfsha256-modp2048-x25519", "aes128gcm16-esn"), BINDING);
        assert!(self.swan.said("IKE_SA_INIT response 0 [ N(INVAL_KE) ]"), "{}", self.swan.log());
        self.open_payload();
        self.pass(&mn, HOME_ADDRESS);
        row(
            "first proposal with a group that Homeward does not have (INVALID_KE_PAYLOAD)",
            &algorithms(&self.swan, PAYLOAD),
        );
        self.disconnect(&ha);

        let wrong = Connection { secret: "another secret than ours".into(), ..connection.clone() };
        row("wrong shared secret", self.refused(&ha, &wrong, "secret"));

        half_open(&self.scene.mn, CARE_OF, HOME_AGENT, ike::Config::default().cookie_threshold);
        self.connect(&connection, BINDING);
        assert!(self.swan.said("IKE_SA_INIT response 0 [ N(COOKIE) ]"), "{}", self.swan.log());
        self.register(&mn);
        row("Homeward asks for a cookie", "binding update and acknowledgement pass");
        self.swan.mark();
        ha.signal(Signal::SIGTERM).unwrap();
        self.swan.wait("received DELETE for IKE_SA");
        assert!(ha.wait_for_end(PATIENCE).unwrap().success());
        until("the end of the IKE SA", || self.swan.ike_sas(CONNECTION).is_empty());
        row("IKE SA deleted by Homeward", "gone on both sides");
    }

    /// What else can stand in strongSwan's configuration.
    fn settings(&self) {
        let home_address = HomeAddressBy::Configuration(HOME_ADDRESS);
        let (files, ha) = self.home_agent("settings", Auth::Psk, home_address, "");
        let mn = MobileNode::start(&self.scene.mn, files.folder(), HOME_ADDRESS, CARE_OF);
        let connection = Connection::new(Auth::Psk, HOME_ADDRESS, files.folder());
        let works = |case: &str, connection: &Connection| {
            self.connect(connection, BINDING);
            self.open_payload();
            self.pass(&mn, HOME_ADDRESS);
            row(case, &algorithms(&self.swan, PAYLOAD));
        };

        works("strongSwan's default proposals, MOBIKE, no IDr", &connection.clone().default_settings());
        let old = self.swan.spis(CONNECTION);
        self.swan.swanctl(&["--rekey", "--ike", CONNECTION, "--reauth"]);
        until("another IKE SA", || self.swan.ike_sas(CONNECTION).len() == 1 && self.swan.spis(CONNECTION) != old);
        until("its children", || {
            [BINDING, PAYLOAD].iter().all(|child| self.swan.children(CONNECTION, child).len() == 1)
        });
        self.pass(&mn, HOME_ADDRESS);
        row("re-authentication by strongSwan", "binding update and echo requests pass");
        self.disconnect(&ha);

        let group = connection.clone().with(connection.ike, "aes256gcm16-modp2048-x25519");
        works("CHILD_SA with a group that Homeward does not have (INVALID_KE_PAYLOAD)", &group);
        self.disconnect(&ha);

        let compression = Connection { child_settings: "ipcomp = yes", ..connection.clone() };
        works("IPComp offered", &compression);
        self.disconnect(&ha);

        let childless = Connection { settings: "childless = force", ..connection.clone() };
        self.swan.load(&childless.mobile_node(CARE_OF));
        self.swan.mark();
        self.swan.swanctl(&["--initiate", "--ike", CONNECTION, "--timeout", "25"]);
        works("IKE SA without a first CHILD_SA (RFC 6023)", &childless);
        self.disconnect(&ha);
    }

    fn certificates(&self) {
        // Its CHILD_SAs are rekeyed all the time.
        let (files, ha) =
            self.home_agent("cert", Auth::Certificate, HomeAddressBy::Assignment, "child_rekey = \"2s\"\n");
        let others = self.out.join("others");
        stranger(&others, MOBILE_NODE_ID);
        let (ours, others) = (files.folder(), others.as_path());
        let connection = Connection::new(Auth::Certificate, ASSIGNED, ours);
        let connection = Connection { assigned: true, esp: "aes256gcm16-x25519", ..connection };

        certificates(&self.swan, MOBILE_NODE_ID, ours, ours);
        let mark = ha.mark();
        self.connect(&connection, PAYLOAD);
        assert_eq!(self.swan.ike_sa(CONNECTION).text("local-vips"), ASSIGNED.to_string());
        row("ECDSA P-256 certificates; home address by configuration payload", &format!("assigned {ASSIGNED}"));
        self.swan.swanctl(&["--initiate", "--child", BINDING, "--timeout", "25"]);
        let mn = MobileNode::start(&self.scene.mn, ours, ASSIGNED, CARE_OF);
        self.pass(&mn, ASSIGNED);
        row("payload of an assigned home address", "echo requests and replies pass");
        for purpose in [BINDING, PAYLOAD] {
            let rekeyed = |event: &Event| event.text("purpose") == purpose && event.text("rekeyed") == "true";
            ha.wait_for(mark, "child", PATIENCE, rekeyed).unwrap();
        }
        self.pass(&mn, ASSIGNED);
        row(
            "CHILD_SAs rekeyed by Homeward, with a key exchange of their own because strongSwan demands it",
            &algorithms(&self.swan, PAYLOAD),
        );
        self.disconnect(&ha);

        certificates(&self.swan, MOBILE_NODE_ID, others, ours);
        row("strongSwan's certificate of an authority unknown to Homeward", self.refused(&ha, &connection, "trusted"));
        certificates(&self.swan, MOBILE_NODE_ID, ours, others);
        self.swan.load(&connection.mobile_node(CARE_OF));
        self.swan.mark();
        let mark = ha.mark();
        assert!(!self.swan.try_swanctl(&["--initiate", "--child", PAYLOAD, "--timeout", "25"]).1);
        self.swan.wait("no trusted ECDSA public key found for 'ha.example.org'");
        let failed = |event: &Event| event.text("reason").contains("AUTHENTICATION_FAILED");
        ha.wait_for(mark, "ike_closed", PATIENCE, failed).unwrap();
        row("Homeward's certificate of an authority unknown to strongSwan", REFUSED);
    }

    fn home_agent(&self, name: &str, auth: Auth, home_address: HomeAddressBy, ike: &str) -> (Configurations, Service) {
        let node = Node { home_address, ..Node::default() };
        let files = Configurations::new(&self.out.join(name), auth, &[node]).unwrap();
        files.change("ha.toml", "[ike]\n", &format!("[ike]\n{ike}")).unwrap();
        let ha = Service::start(Path::new(PROGRAM), &self.scene.ha, &files.folder().join("ha.toml")).unwrap();
        ha.wait("started", PATIENCE).unwrap();
        (files, ha)
    }

    /// Builds the IKE SA and its first child.
    fn connect(&self, connection: &Connection, child: &str) {
        self.swan.load(&connection.mobile_node(CARE_OF));
        self.swan.mark();
        self.swan.swanctl(&["--initiate", "--child", child, "--timeout", "25"]);
    }

    fn open_payload(&self) {
        self.swan.swanctl(&["--initiate", "--child", PAYLOAD, "--timeout", "25"]);
    }

    fn register(&self, mn: &MobileNode) {
        self.sequence.set(self.sequence.get() + 1);
        assert_eq!(mn.register(self.sequence.get(), LIFETIME).status, BindingStatus::Accepted);
    }

    /// Binding updates and payload pass.
    fn pass(&self, mn: &MobileNode, home_address: Ipv6Addr) {
        self.register(mn);
        pings(&self.scene.mn, home_address, CORRESPONDENT);
    }

    fn rekeyed_by_strongswan(&self, ha: &Service, mn: &MobileNode) {
        for child in [BINDING, PAYLOAD] {
            let (mark, old) = (ha.mark(), self.swan.child(CONNECTION, child).text("spi-in").to_owned());
            self.swan.swanctl(&["--rekey", "--child", child]);
            ha.wait_for(mark, "child", PATIENCE, |event| event.text("rekeyed") == "true").unwrap();
            until("the new child", || self.swan.child(CONNECTION, child).text("spi-in") != old);
        }
        self.pass(mn, HOME_ADDRESS);
        row("CHILD_SAs rekeyed by strongSwan", "binding update and echo requests pass");
        let (mark, old) = (ha.mark(), self.swan.spis(CONNECTION));
        self.swan.swanctl(&["--rekey", "--ike", CONNECTION]);
        ha.wait_after(mark, "ike_rekeyed", PATIENCE).unwrap();
        until("the new IKE SA", || self.swan.ike_sas(CONNECTION).len() == 1 && self.swan.spis(CONNECTION) != old);
        self.pass(mn, HOME_ADDRESS);
        row("IKE SA rekeyed by strongSwan", "binding update and echo requests pass");
    }

    fn rekeyed_by_homeward(&self, ha: &Service, mn: &MobileNode) {
        let (mark, old) = (ha.mark(), self.swan.spis(CONNECTION));
        ha.signal(Signal::SIGUSR2).unwrap();
        for purpose in [BINDING, PAYLOAD] {
            let rekeyed = |event: &Event| event.text("purpose") == purpose && event.text("rekeyed") == "true";
            ha.wait_for(mark, "child", PATIENCE, rekeyed).unwrap();
        }
        ha.wait_after(mark, "ike_rekeyed", PATIENCE).unwrap();
        until("the new IKE SA", || self.swan.ike_sas(CONNECTION).len() == 1 && self.swan.spis(CONNECTION) != old);
        self.pass(mn, HOME_ADDRESS);
        row(
            "CHILD_SAs and IKE SA rekeyed by Homeward at an operator's signal",
            "binding update and echo requests pass",
        );
    }

    /// strongSwan deletes the IKE SA, and Homeward's half of it goes with all its SAs.
    fn disconnect(&self, ha: &Service) {
        let mark = ha.mark();
        self.swan.swanctl(&["--terminate", "--ike", CONNECTION]);
        ha.wait_after(mark, "ike_closed", PATIENCE).unwrap();
        until("the end of all ESP SAs", || self.esp_sas() == 0);
    }

    /// Homeward refuses this connection, and both logs say so; Homeward's names the cause by this word.
    fn refused(&self, ha: &Service, connection: &Connection, cause: &str) -> &'static str {
        self.swan.load(&connection.mobile_node(CARE_OF));
        self.swan.mark();
        let mark = ha.mark();
        assert!(!self.swan.try_swanctl(&["--initiate", "--child", PAYLOAD, "--timeout", "25"]).1);
        self.swan.wait("received AUTHENTICATION_FAILED notify error");
        ha.wait_for(mark, "refused", PATIENCE, |event| event.text("reason").contains(cause)).unwrap();
        REFUSED
    }

    /// How many ESP SAs stand in the home agent's kernel.
    fn esp_sas(&self) -> usize {
        let snapshot = self.scene.ha.snapshot().unwrap().to_string();
        snapshot.lines().filter(|line| line.contains("proto esp spi")).count()
    }
}
