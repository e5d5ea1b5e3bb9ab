//! A home agent and a mobile node of the standard scene, both running, the mobile node bound.

use std::net::Ipv6Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::flow::PingFlow;
use super::guest::LabError;
use super::service::{Configurations, Event, Service};
use super::topology::{CORRESPONDENT, Link, Scene};

/// What an attachment or a movement may take on a busy machine. Duplicate address detection for the home address is a second of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// The CHILD_SAs of RFC 4877, by the names that the log gives them, in the order of their making.
pub const CHILDREN: [&str; 4] = ["binding", "prefix-discovery", "return-routability", "payload"];

/// The two processes, and the home address that one holds with the other.
pub struct Attached {
    /// The mobile node.
    pub mn: Service,
    /// The home agent.
    pub ha: Service,
    /// The mobile node's.
    pub home_address: Ipv6Addr,
}

impl Attached {
    /// Starts the home agent with `ha.toml`, then the mobile node with the identity's file, and waits until that is bound and has
    /// all its CHILD_SAs.
    ///
    /// # Errors
    /// When one cannot be started or the mobile node does not come to be bound.
    pub fn start(program: &Path, scene: &Scene, files: &Configurations, identity: &str) -> Result<Self, LabError> {
        let ha = Service::start(program, &scene.ha, &files.folder().join("ha.toml"))?;
        ha.wait("started", PATIENCE)?;
        let mn = Service::start(program, &scene.mn, &files.folder().join(format!("{identity}.toml")))?;
        let bound = mn.wait("bound", PATIENCE)?;
        for purpose in CHILDREN {
            mn.wait_for(0, "child", PATIENCE, |event| event.text("purpose") == purpose)?;
        }
        let home_address = address(&bound, "home_address")?;
        Ok(Self { mn, ha, home_address })
    }

    /// Moves the mobile node's `eth0` to an access link and waits until it is bound there.
    ///
    /// # Errors
    /// When the kernel refuses, or it does not come to be bound.
    pub fn move_to(&self, scene: &Scene, link: Link) -> Result<Event, LabError> {
        let mark = self.mn.mark();
        scene.mn.move_to(link)?;
        self.bound_on(mark, link)
    }

    /// Waits until the mobile node is bound with a care-of address of this link, in what it logs after the mark.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn bound_on(&self, mark: usize, link: Link) -> Result<Event, LabError> {
        self.mn.wait_for(mark, "bound", PATIENCE, |event| address(event, "care_of").is_ok_and(|at| is_on(at, link)))
    }

    /// Moves the mobile node's `eth0` to the home link and waits until the binding is deleted.
    ///
    /// # Errors
    /// When the kernel refuses, or the de-registration is not acknowledged.
    pub fn go_home(&self, scene: &Scene) -> Result<Event, LabError> {
        let mark = self.mn.mark();
        scene.mn.move_to(Link::Home)?;
        self.mn.wait_after(mark, "unbound", PATIENCE)
    }

    /// Waits until the correspondent answers a few echo requests of the home address: through the tunnel, while the mobile node is
    /// away.
    ///
    /// # Errors
    /// When it does not.
    pub fn reaches_correspondent(&self, scene: &Scene) -> Result<(), LabError> {
        let flow = PingFlow::start(&scene.mn, Some(self.home_address), CORRESPONDENT, Duration::from_millis(20))?;
        let end = Instant::now() + PATIENCE;
        while flow.so_far().delivered() < 3 {
            if Instant::now() > end {
                let what = format!("echo replies of {CORRESPONDENT} to {}", self.home_address);
                return Err(LabError::TimedOut { what, within: PATIENCE });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends the mobile node and then the home agent by SIGTERM.
    ///
    /// # Errors
    /// When one does not end in time, or not with status 0.
    pub fn stop(&mut self) -> Result<(), LabError> {
        for (name, service) in [("the mobile node", &mut self.mn), ("the home agent", &mut self.ha)] {
            service.signal(Signal::SIGTERM)?;
            let status = service.wait_for_end(PATIENCE)?;
            if !status.success() {
                return Err(LabError::system(name, std::io::Error::other(status.to_string())));
            }
        }
        Ok(())
    }
}

/// Whether an address is of a link's prefix.
#[must_use]
pub fn is_on(address: Ipv6Addr, link: Link) -> bool {
    address.segments().get(..4) == link.prefix().segments().get(..4)
}

/// An address in an event.
///
/// # Errors
/// When there is none in this field.
pub fn address(event: &Event, field: &str) -> Result<Ipv6Addr, LabError> {
    let text = event.text(field);
    text.parse().map_err(|_| LabError::system(field, std::io::Error::other(format!("{text:?} is no address"))))
}
