//! `homeward run` as a process of a virtual host: its configuration file and credentials, and its log as events.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Map, Value};

use super::guest::LabError;
use super::host::Host;
use super::process::{Line, Process};
use super::topology::{HOME_AGENT, HOME_PREFIX};

/// The identity of the home agent.
pub const HOME_AGENT_ID: &str = "ha.example.org";
/// The identity of the first mobile node.
pub const MOBILE_NODE_ID: &str = "mn.example.org";
/// The secret that [`Auth::Psk`] uses.
const SECRET: &str = "a secret for the lab and nowhere else";
/// How long certificates of the lab are good.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How peers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By a shared secret.
    Psk,
    /// By certificates (ECDSA P-256) of one authority.
    Certificate,
}

/// How a mobile node comes to its home address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeAddressBy {
    /// The home agent assigns one (RFC 4877 §9).
    Assignment,
    /// The configuration says it.
    Configuration(Ipv6Addr),
}

/// A mobile node, as both configuration files know it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its identity.
    pub id: String,
    /// Where its home address comes from.
    pub home_address: HomeAddressBy,
    /// Its interfaces, the most preferred first.
    pub interfaces: Vec<String>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: MOBILE_NODE_ID.to_owned(),
            home_address: HomeAddressBy::Assignment,
            interfaces: vec!["eth0".to_owned()],
        }
    }
}

/// A folder with what a home agent and its mobile nodes are configured with.
///
/// Files: `ha.toml`, `ID.toml` for each node, the shared secret `psk` or the authority `ca.pem`, `ca.key` and `ID.pem`, `ID.key` of
/// each identity; `ha.keys` and `ID.keys`, configuration folders of Wireshark, come to be when the keys are logged.
#[derive(Clone, Debug)]
pub struct Configurations {
    folder: PathBuf,
    auth: Auth,
}

impl Configurations {
    /// Makes the folder, the credentials of the home agent, and its configuration for these nodes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(folder: &Path, auth: Auth, nodes: &[Node]) -> Result<Self, LabError> {
        fs::create_dir_all(folder).map_err(|e| LabError::file(folder, e))?;
        let made = Self { folder: folder.to_owned(), auth };
        match auth {
            Auth::Psk => made.write("psk", SECRET)?,
            Auth::Certificate => {
                let wrong = |e: pki::IssueError| LabError::system("making certificates", std::io::Error::other(e));
                let now = SystemTime::now();
                // Clocks of guests need not agree to the second.
                let validity = pki::Validity { not_before: now - DAY, not_after: now + DAY };
                let top = pki::Authority::create("Homeward lab", validity).map_err(wrong)?;
                made.write("ca.pem", &top.certificate_pem)?;
                made.write("ca.key", &top.key_pem)?;
                let authority = pki::Authority::from_pem(&top.certificate_pem, &top.key_pem).map_err(wrong)?;
                for id in std::iter::once(HOME_AGENT_ID).chain(nodes.iter().map(|node| node.id.as_str())) {
                    let identity = pki::Identity::Fqdn(id.to_owned());
                    let issued = authority.issue(&identity, validity).map_err(wrong)?;
                    made.write(&format!("{id}.pem"), &issued.certificate_pem)?;
                    made.write(&format!("{id}.key"), &issued.key_pem)?;
                }
            }
        }
        made.write("ha.toml", &made.home_agent(nodes))?;
        for node in nodes {
            made.write(&format!("{}.toml", node.id), &made.mobile_node(node))?;
        }
        Ok(made)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file that only its owner can read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())
        };
        write().map_err(|e| LabError::file(&path, e))
    }

    /// Changes a configuration file: `from` stands in it once or more often and becomes `to`.
    ///
    /// # Errors
    /// When it does not stand there, or the file cannot be written.
    pub fn change(&self, name: &str, from: &str, to: &str) -> Result<(), LabError> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).map_err(|e| LabError::file(&path, e))?;
        if !text.contains(from) {
            return Err(LabError::file(&path, std::io::Error::other(format!("{from:?} does not stand in it"))));
        }
        self.write(name, &text.replace(from, to))
    }

    fn home_agent(&self, nodes: &[Node]) -> String {
        let mut text = self.head("home-agent", HOME_AGENT_ID);
        let [a, b, c, ..] = HOME_PREFIX.segments();
        let pool = Ipv6Addr::new(a, b, c, 0, 1, 0, 0, 0);
        let _ = write!(
            text,
            "\n[home_agent]\ninterface = \"home0\"\naddress = \"{HOME_AGENT}\"\nprefix = \"{HOME_PREFIX}/64\"\n\
             pool = \"{pool}/80\"\nadvertise = \"3s\"\n"
        );
        for node in nodes {
            let home_address = match node.home_address {
                HomeAddressBy::Assignment => "assign".to_owned(),
                HomeAddressBy::Configuration(address) => address.to_string(),
            };
            let id = &node.id;
            let _ = write!(text, "\n[[mobile_node]]\nid = \"{id}\"\n{}", self.authentication());
            let _ = writeln!(text, "home_address = \"{home_address}\"");
        }
        text.push_str(&self.tail("ha"));
        text
    }

    fn mobile_node(&self, node: &Node) -> String {
        let mut text = self.head("mobile-node", &node.id);
        let home_address = match node.home_address {
            HomeAddressBy::Assignment => "assign".to_owned(),
            HomeAddressBy::Configuration(address) => address.to_string(),
        };
        let highest = node.interfaces.len();
        let interface =
            |(at, name): (usize, &String)| format!("{{ name = \"{name}\", preference = {} }}", highest - at);
        let interfaces: Vec<String> = node.interfaces.iter().enumerate().map(interface).collect();
        let _ = write!(
            text,
            "\n[mobile]\ninterfaces = [{}]\nhome_prefix = \"{HOME_PREFIX}/64\"\nhome_address = \"{home_address}\"\n\
             \n[mobile.home_agent]\naddress = \"{HOME_AGENT}\"\nid = \"{HOME_AGENT_ID}\"\n{}",
            interfaces.join(", "),
            self.authentication()
        );
        text.push_str(&self.tail(&node.id));
        text
    }

    fn head(&self, role: &str, id: &str) -> String {
        let mut text = format!("role = \"{role}\"\nstate_dir = \"state-{id}\"\n");
        if self.auth == Auth::Certificate {
            text.push_str("authorities = [\"ca.pem\"]\n");
        }
        let _ = write!(text, "\n[identity]\nid = \"{id}\"\n");
        if self.auth == Auth::Certificate {
            let _ = write!(text, "certificate = \"{id}.pem\"\nkey = \"{id}.key\"\n");
        }
        text
    }

    fn authentication(&self) -> &'static str {
        match self.auth {
            Auth::Psk => "authentication = \"psk\"\npsk_file = \"psk\"\n",
            Auth::Certificate => "authentication = \"certificate\"\n",
        }
    }

    fn tail(&self, name: &str) -> String {
        format!("\n[ike]\nkey_log = \"{name}.keys\"\n\n[log]\nlevel = \"debug\"\nformat = \"json\"\n")
    }
}

/// A line of the log, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened, as the process says.
    pub at: SystemTime,
    /// Its name, empty for what is no event of ours.
    pub name: String,
    /// What else the line holds.
    pub fields: Map<String, Value>,
}

impl Event {
    fn read(line: &Line) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_str(&line.text) else { return None };
        let at = fields.get("timestamp").and_then(Value::as_str).and_then(time).unwrap_or(line.at);
        let name = fields.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { at, name, fields })
    }

    /// A field as text, empty if there is none.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        match self.fields.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// A field as a number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.as_u64()
    }
}

/// `2026-01-31T12:00:00.123456Z` as a time.
fn time(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    // Days since 1970 of the civil calendar, whose year begins in March here.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
            - 719_469;
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3600 + minute * 60 + second;
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// A running `homeward run`.
pub struct Service {
    process: Process,
}

impl Service {
    /// Starts `program run --config FILE` in a host.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, host: &Host, configuration: &Path) -> Result<Self, LabError> {
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(configuration);
        Ok(Self { process: host.spawn(command)? })
    }

    /// Everything that it logged until now.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.process.lines().iter().filter_map(Event::read).collect()
    }

    /// All that it logged of one name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.name == name).collect()
    }

    /// A mark of what it has logged, for [`Service::wait_after`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.process.lines().len()
    }

    /// Waits for an event of this name, of those logged already or yet to come.
    ///
    /// # Errors
    /// When none comes in time, or the process ends without it.
    pub fn wait(&self, name: &str, within: Duration) -> Result<Event, LabError> {
        self.wait_after(0, name, within)
    }

    /// As [`Service::wait`], of those after a mark.
    ///
    /// # Errors
    /// When none comes in time, or the process ends without it.
    pub fn wait_after(&self, mark: usize, name: &str, within: Duration) -> Result<Event, LabError> {
        self.wait_for(mark, name, within, |_| true)
    }

    /// As [`Service::wait_after`], for the first that is `wanted`.
    ///
    /// # Errors
    /// When none comes in time, or the process ends without it.
    pub fn wait_for(
        &self,
        mark: usize,
        name: &str,
        within: Duration,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> Result<Event, LabError> {
        let mut found = None;
        self.process.wait_for_line(mark, &format!("the event {name:?}"), within, |line| {
            found = Event::read(line).filter(|event| event.name == name && wanted(event));
            found.is_some()
        })?;
        found.ok_or_else(|| LabError::system("reading the log", std::io::Error::other(name.to_owned())))
    }

    /// What it wrote that is no event: messages for people.
    #[must_use]
    pub fn messages(&self) -> String {
        let lines = self.process.lines();
        let others = lines.iter().filter(|line| Event::read(line).is_none());
        others.map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        self.process.signal(signal)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus, LabError> {
        self.process.wait(within)
    }
}

impl Drop for Service {
    /// A test that fails shows what its processes said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- log of process {}", self.process.id());
            self.process.lines().iter().for_each(|line| println!("{}", line.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_log_is_read_to_the_microsecond() {
        let read = |text| time(text).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros());
        assert_eq!(read("1970-01-01T00:00:00.000001Z"), Some(1));
        assert_eq!(read("2000-02-29T23:59:59.5Z"), Some(951_868_799_500_000));
        assert_eq!(read("2026-11-24T12:00:00.123456Z"), Some(1_795_521_600_123_456));
        assert_eq!(read("soon"), None);
    }
}
