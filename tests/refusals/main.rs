//! Bad peers and bad input, on every kernel that the tests are to run on: each is refused with its reason in a log, changes nothing
//! at the home agent, and the honest mobile nodes go on.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")]

mod certificates;
mod ike_peer;
mod ike_requests;
mod packets;
mod wire;

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use homeward::lab::attached::{CHILDREN, address};
use homeward::lab::{
    Attached, Auth, Configurations, Event, HomeAddressBy, Host, Link, Mobile, Node, Scene, SceneOptions, Service,
    Snapshot, output_folder,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeward");
const PATIENCE: Duration = Duration::from_secs(15);

/// The first honest mobile node, whose home address is assigned.
const FIRST: &str = "mn.example.org";
/// The second one, and its home address.
const SECOND: &str = "second.example.org";
const SECOND_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// One that the home agent knows, and that means ill.
const ROGUE: &str = "rogue.example.org";
/// One whose home address lies outside the home prefix.
const OUTSIDE: &str = "outside.example.org";
const OUTSIDE_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

/// Two honest mobile nodes that are bound, and a host on the first one's link for those who mean ill.
struct Ground {
    honest: Attached,
    second: Service,
    _second_host: Mobile,
    /// With a daemon of its own, if it wants.
    rogue: Mobile,
    /// Sends what it likes.
    stranger: Host,
    stranger_address: Ipv6Addr,
    /// The home agent's kernel with both bindings.
    standing: Snapshot,
    files: Configurations,
    scene: Scene,
}

impl Ground {
    fn new(auth: Auth) -> Self {
        let node = |id: &str, home_address| Node { id: id.to_owned(), home_address, ..Node::default() };
        let nodes = [
            node(FIRST, HomeAddressBy::Assignment),
            node(SECOND, HomeAddressBy::Configuration(SECOND_HOME)),
            node(ROGUE, HomeAddressBy::Assignment),
            node(OUTSIDE, HomeAddressBy::Configuration(OUTSIDE_HOME)),
        ];
        let scene = Scene::new(SceneOptions::default()).unwrap();
        let files = Configurations::new(&output_folder().unwrap(), auth, &nodes).unwrap();
        let second_host = scene.add_mobile("second", Link::B).unwrap();
        let rogue = scene.add_mobile("rogue", Link::A).unwrap();
        let stranger_address = Ipv6Addr::from_bits(Link::A.prefix().to_bits() | 0xbad);
        let stranger = scene.add_host("stranger", Link::A, stranger_address).unwrap();
        let honest = Attached::start(Path::new(PROGRAM), &scene, &files, FIRST).unwrap();
        let second = start(&files, &second_host, &format!("{SECOND}.toml"));
        for purpose in CHILDREN {
            second.wait_for(0, "child", PATIENCE, |event| event.text("purpose") == purpose).unwrap();
        }
        second.wait("bound", PATIENCE).unwrap();
        let standing = scene.ha.snapshot().unwrap();
        Self { honest, second, _second_host: second_host, rogue, stranger, stranger_address, standing, files, scene }
    }

    /// The care-of address of the first mobile node.
    fn care_of(&self) -> Ipv6Addr {
        address(self.honest.mn.all("bound").last().unwrap(), "care_of").unwrap()
    }

    /// Nothing at the home agent is other than before, and the tunnel works.
    fn assert_unharmed(&self, after: &str) {
        assert_eq!(self.standing.difference(&self.scene.ha.snapshot().unwrap()), "", "after {after}");
        self.honest.reaches_correspondent(&self.scene).unwrap();
    }

    /// Waits for an event whose reason contains `why`.
    fn refused(&self, by: &Service, mark: usize, event: &str, why: &str) -> Event {
        by.wait_for(mark, event, PATIENCE, |event| event.text("reason").contains(why)).unwrap_or_else(|error| {
            let said: Vec<_> = by.events().into_iter().skip(mark).map(|event| event.fields).collect();
            panic!("{error}; {why:?} is in none of {said:#?}")
        })
    }

    /// A configuration like another one but for one part.
    fn variant(&self, name: &str, like: &str, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(self.files.folder().join(like)).unwrap();
        for (part, by) in changes {
            assert!(text.contains(part), "{part:?} in {like}");
            text = text.replace(part, by);
        }
        self.files.write(name, &text).unwrap();
    }

    /// Starts a mobile node on the rogue's host.
    fn rogue(&self, configuration: &str) -> Service {
        start(&self.files, &self.rogue, configuration)
    }

    /// In the end all honest ones still move, are bound there, and are taken down in peace.
    fn finish(mut self) {
        self.honest.move_to(&self.scene, Link::B).unwrap();
        self.honest.reaches_correspondent(&self.scene).unwrap();
        assert_eq!(self.second.all("bound").len(), 1, "the second one noticed nothing");
        assert_eq!(self.second.all("ike_closed").len(), 0);
        terminate(&mut self.second);
        self.honest.stop().unwrap();
    }
}

fn start(files: &Configurations, host: &Host, configuration: &str) -> Service {
    Service::start(Path::new(PROGRAM), host, &files.folder().join(configuration)).unwrap()
}

fn terminate(service: &mut Service) {
    service.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(service.wait_for_end(PATIENCE).unwrap().success(), "{}", service.messages());
}
