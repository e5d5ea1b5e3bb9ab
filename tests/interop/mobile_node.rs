//! Homeward as mobile node and initiator, strongSwan as the IKE of a home agent and responder.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeward::lab::service::{HOME_AGENT_ID, MOBILE_NODE_ID};
use homeward::lab::topology::{CORRESPONDENT, HOME_AGENT};
use homeward::lab::{
    Auth, Capture, Configurations, Event, HomeAddressBy, Link, Node, Scene, SceneOptions, Service, output_folder,
};
use nix::sys::signal::Signal;

use crate::load::half_open;
use crate::matrix::{REFUSED, row};
use crate::mobility::{HomeAgent, in_clear};
use crate::peer::{BINDING, CONNECTION, Connection, PAYLOAD, algorithms, certificates, pings, stranger, until};
use crate::strongswan::{PATIENCE, StrongSwan};
use crate::{PROGRAM, matrix};

const HOME_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x101);
const ASSIGNED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x102);
/// strongSwan asks for cookies as soon as one stranger has begun an IKE SA.
const SETTINGS: &str = "cookie_threshold = 1";
/// The purposes of CHILD_SAs, in Homeward's words.
const CHILDREN: [&str; 4] = ["binding", "prefix-discovery", "return-routability", "payload"];

/// All cases, one after the other in one scene.
pub(crate) fn cases() {
    let stand = Stand::new();
    matrix::peer(&stand.swan.version());
    stand.shared_secret();
    stand.settings();
    stand.certificates();
    let packets = stand.access.iter().flat_map(Capture::packets);
    let clear = packets.filter(in_clear).count();
    row("Mobility Header messages outside ESP, all cases together", &clear.to_string());
}

struct Stand {
    scene: Scene,
    swan: StrongSwan,
    access: [Capture; 2],
    out: PathBuf,
    mobility: HomeAgent,
}

impl Stand {
    fn new() -> Self {
        let out = output_folder().unwrap();
        let scene = Scene::new(SceneOptions::default()).unwrap();
        let access = [Link::A, Link::B].map(|link| scene.capture(link, None).unwrap());
        let swan = StrongSwan::start(&scene.ha, &out.join("strongswan"), SETTINGS);
        let mobility = HomeAgent::start(&scene.ha, &out);
        Self { scene, swan, access, out, mobility }
    }

    fn shared_secret(&self) {
        let files = self.files("psk", Auth::Psk, HomeAddressBy::Configuration(HOME_ADDRESS), "");
        let connection = Connection::new(Auth::Psk, HOME_ADDRESS, files.folder());

        let mn = self.attach(&files, &connection);
        row("shared secret; transport-mode CHILD_SA for the Mobility Header", &algorithms(&self.swan, BINDING));
        row("binding update and acknowledgement under it", "pass");
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("all four CHILD_SAs of RFC 4877", "echo requests and replies pass through the payload tunnel");
        self.rekeyed_by_strongswan(&mn);
        self.rekeyed_by_homeward(&mn);
        let mark = mn.mark();
        mn.signal(Signal::SIGUSR1).unwrap();
        mn.wait_after(mark, "ike_alive", PATIENCE).unwrap();
        row("liveness asked by Homeward", "answered");
        let (mark, old) = (mn.mark(), self.swan.child(CONNECTION, "prefix-discovery").text("spi-in").to_owned());
        self.swan.swanctl(&["--terminate", "--child", "prefix-discovery"]);
        mn.wait_for(mark, "child", PATIENCE, |event| event.text("purpose") == "prefix-discovery").unwrap();
        assert_ne!(self.swan.child(CONNECTION, "prefix-discovery").text("spi-in"), old);
        until("four pairs of SAs", || self.esp_sas() == 8);
        row("CHILD_SA deleted by strongSwan", "gone on both sides; Homeward builds it anew");
        let mark = mn.mark();
        self.swan.swanctl(&["--terminate", "--ike", CONNECTION]);
        mn.wait_after(mark, "ike_closed", PATIENCE).unwrap();
        mn.wait_after(mark, "bound", PATIENCE).unwrap();
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("IKE SA deleted by strongSwan", "gone on both sides; Homeward builds it anew");
        self.detach(mn);
        row("IKE SA deleted by Homeward", "gone on both sides");

        let other = connection.clone().with("aes256-sha256-prfsha256-ecp256", "aes256-sha256");
        let mn = self.attach(&files, &Connection { settings: "dpd_delay = 1s", ..other.clone() });
        assert!(self.swan.said("generating IKE_SA_INIT response 0 [ N(INVAL_KE) ]"), "{}", self.swan.log());
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("AES-CBC with HMAC-SHA2-256, P-256 after INVALID_KE_PAYLOAD", &algorithms(&self.swan, PAYLOAD));
        self.swan.mark();
        self.swan.wait("sending DPD request");
        self.swan.wait("parsed INFORMATIONAL response");
        row("liveness asked by strongSwan", "answered");
        self.detach(mn);

        self.swan.load(&connection.home_agent());
        half_open(&self.scene.cn, CORRESPONDENT, HOME_AGENT, 1);
        let mn = self.attach(&files, &other.with("aes256gcm16-prfsha256-ecp256", "aes128gcm16-esn"));
        for answer in ["COOKIE", "INVAL_KE"] {
            let text = format!("generating IKE_SA_INIT response 0 [ N({answer}) ]");
            assert!(self.swan.said(&text), "{text}: {}", self.swan.log());
        }
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("strongSwan asks for a cookie, then for another group", &algorithms(&self.swan, PAYLOAD));
        self.detach(mn);

        self.mobility.grant_key_mobility(false);
        let mn = self.attach(&files, &connection);
        // Nothing announces that nothing happens; a mobile node that wants another IKE SA wants it at once.
        assert!(mn.wait_for(0, "ike_closed", Duration::from_secs(2), |_| true).is_err());
        let mark = mn.mark();
        self.scene.mn.move_to(Link::B).unwrap();
        mn.wait_after(mark, "ike_established", PATIENCE).unwrap();
        let at_b = |event: &Event| event.text("care_of").starts_with("2001:db8:b:");
        let established = mn.all("ike_established").len();
        mn.wait_for(mark, "bound", PATIENCE, at_b).unwrap();
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row(
            "home agent that does not grant the K bit",
            &format!("{established} IKE SAs: a new one after the movement, none before"),
        );
        self.detach(mn);
        self.scene.mn.move_to(Link::A).unwrap();
        self.mobility.grant_key_mobility(true);

        let wrong = Connection { secret: "another secret than ours".into(), ..connection };
        row("wrong shared secret", self.refused(&files, &wrong, ("AUTHENTICATION_FAILED", "tried 1 shared key for")));
    }

    /// What else can stand in strongSwan's configuration.
    fn settings(&self) {
        let files = self.files("settings", Auth::Psk, HomeAddressBy::Configuration(HOME_ADDRESS), "");
        let connection = Connection::new(Auth::Psk, HOME_ADDRESS, files.folder());

        let mn = self.attach(&files, &Connection { policies: true, ..connection.clone().default_settings() });
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("strongSwan's default proposals, MOBIKE", &algorithms(&self.swan, PAYLOAD));
        row("strongSwan's own policy for binding acknowledgements, Mobility Header type 6", &self.policy_type());
        self.detach(mn);

        let compression = Connection { child_settings: "ipcomp = yes", ..connection.clone() };
        let mn = self.attach(&files, &compression);
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("IPComp allowed", &algorithms(&self.swan, PAYLOAD));
        self.detach(mn);

        let mn = self.attach(&files, &connection.clone().with(connection.ike, "aes256gcm16-ecp256"));
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("CHILD_SAs demanded with a key exchange of their own", &algorithms(&self.swan, PAYLOAD));
        self.detach(mn);
    }

    /// The Mobility Header type in strongSwan's policy for binding acknowledgements, as the kernel has it.
    fn policy_type(&self) -> String {
        let snapshot = self.scene.ha.snapshot().unwrap().to_string();
        let start = format!("src {HOME_AGENT}/128 dst {HOME_ADDRESS}/128 proto mobility-header ");
        let policy = snapshot.lines().find(|line| line.starts_with(&start) && line.contains("dir out"));
        let rest = policy.and_then(|line| line.strip_prefix(&start)).unwrap_or_default();
        rest.split(" \\").next().unwrap_or_default().to_owned()
    }

    fn certificates(&self) {
        // Its CHILD_SAs are rekeyed all the time.
        let files = self.files("cert", Auth::Certificate, HomeAddressBy::Assignment, "child_rekey = \"2s\"\n");
        let others = self.out.join("others");
        stranger(&others, HOME_AGENT_ID);
        let (ours, others) = (files.folder(), others.as_path());
        let connection = Connection::new(Auth::Certificate, ASSIGNED, ours);
        let connection = Connection { assigned: true, ..connection };

        certificates(&self.swan, HOME_AGENT_ID, ours, ours);
        let mn = self.attach(&files, &connection);
        assert_eq!(mn.wait("bound", PATIENCE).unwrap().text("home_address"), ASSIGNED.to_string());
        row("ECDSA P-256 certificates; home address assigned", &algorithms(&self.swan, BINDING));
        pings(&self.scene.mn, ASSIGNED, CORRESPONDENT);
        row("payload of an assigned home address", "echo requests and replies pass");
        for purpose in CHILDREN {
            let rekeyed = |event: &Event| event.text("purpose") == purpose && event.text("rekeyed") == "true";
            mn.wait_for(0, "child", PATIENCE, rekeyed).unwrap();
        }
        pings(&self.scene.mn, ASSIGNED, CORRESPONDENT);
        row("CHILD_SAs rekeyed by Homeward", "echo requests pass");
        self.detach(mn);

        certificates(&self.swan, HOME_AGENT_ID, others, ours);
        let result = self.refused(&files, &connection, ("trusted", "INFORMATIONAL request 2 [ N(AUTH_FAILED) ]"));
        row("strongSwan's certificate of an authority unknown to Homeward", result);
        certificates(&self.swan, HOME_AGENT_ID, ours, others);
        let result = self.refused(
            &files,
            &connection,
            ("AUTHENTICATION_FAILED", "no trusted ECDSA public key found for 'mn.example.org'"),
        );
        row("Homeward's certificate of an authority unknown to strongSwan", result);
    }

    fn files(&self, name: &str, auth: Auth, home_address: HomeAddressBy, ike: &str) -> Configurations {
        let node = Node { home_address, ..Node::default() };
        let files = Configurations::new(&self.out.join(name), auth, &[node]).unwrap();
        files.change(&format!("{MOBILE_NODE_ID}.toml"), "[ike]\n", &format!("[ike]\n{ike}")).unwrap();
        files
    }

    fn start(&self, files: &Configurations, connection: &Connection) -> Service {
        self.swan.load(&connection.home_agent());
        self.swan.mark();
        let configuration = files.folder().join(format!("{MOBILE_NODE_ID}.toml"));
        Service::start(Path::new(PROGRAM), &self.scene.mn, &configuration).unwrap()
    }

    /// Starts a mobile node and waits until it is bound with all its children.
    fn attach(&self, files: &Configurations, connection: &Connection) -> Service {
        let mn = self.start(files, connection);
        if let Err(error) = mn.wait("bound", PATIENCE) {
            panic!("{error}\n{:#?}\n{}", mn.events(), self.swan.log());
        }
        for purpose in CHILDREN {
            mn.wait_for(0, "child", PATIENCE, |event| event.text("purpose") == purpose).unwrap();
        }
        mn
    }

    /// Stops the mobile node, which takes its leave of the home agent.
    fn detach(&self, mut mn: Service) {
        self.swan.mark();
        mn.signal(Signal::SIGTERM).unwrap();
        self.swan.wait("received DELETE for IKE_SA");
        assert!(mn.wait_for_end(PATIENCE).unwrap().success());
        until("the end of all ESP SAs", || self.esp_sas() == 0);
    }

    fn rekeyed_by_strongswan(&self, mn: &Service) {
        for child in CHILDREN {
            let (mark, old) = (mn.mark(), self.swan.child(CONNECTION, child).text("spi-in").to_owned());
            self.swan.swanctl(&["--rekey", "--child", child]);
            mn.wait_for(mark, "child", PATIENCE, |event| event.text("rekeyed") == "true").unwrap();
            until("the new child", || self.swan.child(CONNECTION, child).text("spi-in") != old);
        }
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("CHILD_SAs rekeyed by strongSwan", "echo requests pass");
        let (mark, old) = (mn.mark(), self.swan.spis(CONNECTION));
        self.swan.swanctl(&["--rekey", "--ike", CONNECTION]);
        mn.wait_after(mark, "ike_rekeyed", PATIENCE).unwrap();
        until("the new IKE SA", || self.swan.ike_sas(CONNECTION).len() == 1 && self.swan.spis(CONNECTION) != old);
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("IKE SA rekeyed by strongSwan", "echo requests pass");
    }

    fn rekeyed_by_homeward(&self, mn: &Service) {
        let (mark, old) = (mn.mark(), self.swan.spis(CONNECTION));
        mn.signal(Signal::SIGUSR2).unwrap();
        for purpose in CHILDREN {
            let rekeyed = |event: &Event| event.text("purpose") == purpose && event.text("rekeyed") == "true";
            mn.wait_for(mark, "child", PATIENCE, rekeyed).unwrap();
        }
        mn.wait_after(mark, "ike_rekeyed", PATIENCE).unwrap();
        until("the new IKE SA", || self.swan.ike_sas(CONNECTION).len() == 1 && self.swan.spis(CONNECTION) != old);
        pings(&self.scene.mn, HOME_ADDRESS, CORRESPONDENT);
        row("CHILD_SAs and IKE SA rekeyed by Homeward at an operator's signal", "echo requests pass");
    }

    /// The IKE SA does not come about, and both logs say so, each with a word of its own for the cause.
    fn refused(
        &self,
        files: &Configurations,
        connection: &Connection,
        (ours, strongswan): (&str, &str),
    ) -> &'static str {
        let mut mn = self.start(files, connection);
        mn.wait_for(0, "ike_closed", PATIENCE, |event| event.text("reason").contains(ours)).unwrap();
        self.swan.wait(strongswan);
        mn.signal(Signal::SIGTERM).unwrap();
        assert!(mn.wait_for_end(PATIENCE).unwrap().success());
        REFUSED
    }

    /// How many ESP SAs stand in the mobile node's kernel.
    fn esp_sas(&self) -> usize {
        let snapshot = self.scene.mn.snapshot().unwrap().to_string();
        snapshot.lines().filter(|line| line.contains("proto esp spi")).count()
    }
}
