//! The whole idea as one story: a mobile node attaches, roams while its connections go on, comes home, leaves again, and in the end
//! everything is as it was. `homeward demo` tells it, and the tests ask what came of it.
//!
//! | file | what |
//! |---|---|
//! | `stage.rs` | the scene with its two processes, captures and flows |
//! | `acts.rs` | what happens, step by step |
//! | `handover.rs` | what a handover cost, from flows, captures and logs |
//! | `wire.rs` | what a packet of the access links is |
//! | `sas.rs` | the SAs that the kernel holds |
//! | `verdict.rs` | what was expected and what came of it |

mod acts;
mod handover;
mod sas;
mod stage;
mod verdict;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::service::Auth;
pub use handover::Handover;
pub use verdict::{Expectation, Medians, Summary};

/// What is to be told.
#[derive(Clone, Debug)]
pub struct Story {
    /// The program whose `run` the home agent and the mobile node are.
    pub program: PathBuf,
    /// How they prove who they are.
    pub auth: Auth,
    /// One way, between the access routers and the home agent.
    pub delay: Duration,
    /// How many handovers between the access links, at least 1.
    pub moves: u32,
    /// Whether the old link stays up during a handover: the mobile node has two interfaces then.
    pub soft: bool,
    /// Where to keep captures of every link and the logged keys.
    pub captures: Option<PathBuf>,
}

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The lab itself.
    Lab,
    /// The home agent.
    HomeAgent,
    /// The mobile node.
    MobileNode,
}

impl Place {
    /// A short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::HomeAgent => "ha",
            Self::MobileNode => "mn",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since the lab was ready.
    pub at: Duration,
    /// Where.
    pub place: Place,
    /// What, as one word.
    pub event: &'static str,
    /// What, in words.
    pub text: String,
    /// What, as values.
    pub fields: Map<String, Value>,
}

impl Story {
    /// Lets it happen. Every moment is handed to `audience` as it comes.
    ///
    /// It needs root, a kernel with all that Homeward needs, and the programs `ip` and `radvd`: see
    /// [`Guest`](super::Guest) for where to find those together. What went wrong stands in the summary.
    pub fn tell(&self, audience: &mut dyn FnMut(&Moment)) -> Summary {
        acts::play(self, audience)
    }
}

/// Milliseconds to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
