//! A strongSwan in a virtual host: its own folder for socket, settings and credentials, its log line by line, its SAs as it sees them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use homeward::lab::{Host, Process};

use crate::vici::Section;

/// Debian's charon, which does not need systemd and stays in the foreground.
const CHARON: &str = "/usr/lib/ipsec/charon";
/// The plugins that are needed; loading all of them takes many times as long in a guest.
const PLUGINS: &str = "random nonce openssl curve25519 pem pkcs1 pkcs8 x509 pubkey constraints kdf kernel-netlink \
                       socket-default vici";
/// What charon may take for what it does at once; guests are slow and share the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running strongSwan.
pub(crate) struct StrongSwan {
    host: Host,
    folder: PathBuf,
    process: Process,
    /// What of the log was waited for already.
    seen: RefCell<usize>,
}

impl StrongSwan {
    /// Starts charon and waits until it takes orders. `settings` go into the section `charon`.
    pub(crate) fn start(host: &Host, folder: &Path, settings: &str) -> Self {
        for name in ["swanctl/x509", "swanctl/x509ca", "swanctl/private"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let socket = folder.join("vici");
        let text = format!(
            "charon {{\n  load = {PLUGINS}\n  install_routes = no\n  install_virtual_ip = no\n  {settings}\n  \
             filelog {{ out {{\n    path = stderr\n    default = 1\n    ike = 2\n    cfg = 2\n    flush_line = yes\n  }} }}\n  \
             plugins {{ vici {{ socket = unix://{} }} }}\n}}\n",
            socket.display()
        );
        let path = folder.join("strongswan.conf");
        fs::write(&path, text).unwrap();
        let mut command = Command::new(CHARON);
        command.env("STRONGSWAN_CONF", &path);
        let process = host.spawn(command).unwrap();
        process.wait_for("spawning", PATIENCE).unwrap();
        let begin = Instant::now();
        while !socket.exists() {
            assert!(begin.elapsed() < PATIENCE, "charon opens no socket: {:#?}", process.lines());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { host: host.clone(), folder: folder.to_owned(), process, seen: RefCell::new(0) }
    }

    /// Runs swanctl and gives what it printed, and whether it was content.
    pub(crate) fn try_swanctl(&self, words: &[&str]) -> (String, bool) {
        let mut command = Command::new("swanctl");
        command.args(words).arg("--uri").arg(format!("unix://{}", self.folder.join("vici").display()));
        command.env("SWANCTL_DIR", self.folder.join("swanctl"));
        command.env("STRONGSWAN_CONF", self.folder.join("strongswan.conf"));
        let mut process = self.host.spawn(command).unwrap();
        let status = process.wait(2 * PATIENCE).unwrap();
        let mut text = String::new();
        for line in process.lines() {
            let _ = writeln!(text, "{}", line.text);
        }
        (text, status.success())
    }

    /// As [`StrongSwan::try_swanctl`], when it has to be content.
    pub(crate) fn swanctl(&self, words: &[&str]) -> String {
        let (text, content) = self.try_swanctl(words);
        assert!(content, "swanctl {words:?}: {text}\n{}", self.log());
        text
    }

    /// Takes over these connections, pools and secrets, and the credentials of its folder; what was there before goes.
    pub(crate) fn load(&self, configuration: &str) {
        let path = self.folder.join("swanctl/swanctl.conf");
        fs::write(&path, configuration).unwrap();
        self.swanctl(&["--load-all", "--clear", "--noprompt"]);
    }

    /// Puts a credential file into its folder, as `x509/mn.pem`.
    pub(crate) fn credential(&self, name: &str, text: &str) {
        fs::write(self.folder.join("swanctl").join(name), text).unwrap();
    }

    /// Its IKE SAs of a connection, the oldest first.
    pub(crate) fn ike_sas(&self, connection: &str) -> Vec<Section> {
        let text = self.swanctl(&["--list-sas", "--raw", "--ike", connection]);
        let mut found: Vec<Section> = text
            .lines()
            .filter(|line| line.contains("list-sa event"))
            .map(|line| Section::read(line).section("event").section(connection))
            .collect();
        found.sort_by_key(|sa| sa.number("uniqueid"));
        found
    }

    /// Its only IKE SA of a connection.
    pub(crate) fn ike_sa(&self, connection: &str) -> Section {
        let found = self.ike_sas(connection);
        assert_eq!(found.len(), 1, "{found:#?}\n{}", self.log());
        found.into_iter().next().unwrap()
    }

    /// The SPIs of its newest IKE SA of a connection.
    pub(crate) fn spis(&self, connection: &str) -> String {
        let newest = self.ike_sas(connection).pop().unwrap();
        format!("{} {}", newest.text("initiator-spi"), newest.text("responder-spi"))
    }

    /// Its installed CHILD_SAs of a name.
    pub(crate) fn children(&self, connection: &str, name: &str) -> Vec<Section> {
        let children = self.ike_sas(connection).into_iter().flat_map(|sa| {
            let children = sa.section("child-sas");
            children.sections().map(|(_, child)| child.clone()).collect::<Vec<_>>()
        });
        children.filter(|child| child.text("name") == name && child.text("state") == "INSTALLED").collect()
    }

    /// Its only installed CHILD_SA of a name; waits until an older one has gone.
    pub(crate) fn child(&self, connection: &str, name: &str) -> Section {
        let begin = Instant::now();
        loop {
            let found = self.children(connection, name);
            if let [child] = found.as_slice() {
                return child.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "not one child {name}: {found:#?}\n{}", self.log());
        }
    }

    /// Forgets the log until now: what is waited for from here on has yet to come.
    pub(crate) fn mark(&self) {
        *self.seen.borrow_mut() = self.process.lines().len();
    }

    /// Waits for a line of the log since the last [`StrongSwan::mark`].
    pub(crate) fn wait(&self, text: &str) {
        let seen = *self.seen.borrow();
        if let Err(error) = self.process.wait_for_after(seen, text, PATIENCE) {
            panic!("{error}\n{}", self.log());
        }
    }

    /// Whether the log since the last [`StrongSwan::mark`] has this text.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.process.lines().iter().skip(*self.seen.borrow()).any(|line| line.text.contains(text))
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        self.process.lines().iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Its version, as `strongSwan 5.9.8`.
    pub(crate) fn version(&self) -> String {
        let log = self.log();
        let version = log.split("strongSwan ").nth(1).and_then(|rest| rest.split([',', ')']).next());
        format!("strongSwan {}", version.unwrap_or("of an unknown version"))
    }
}
