//! Virtual hosts, links and kernels for `homeward demo` and the system tests.
//!
//! A guest is a Linux kernel in user mode that boots on this machine's own root file system, read-only; what runs in it sees the
//! binaries that were just built. Inside it (or on a running kernel that can do it) a [`Lab`] is a set of network
//! namespaces joined by bridges, and a [`Scene`] is the lab of the standard Mobile IPv6 picture.
//!
//! | file | what |
//! |---|---|
//! | `kernel.rs` | which kernels there are, and where |
//! | `guest.rs` | boots one, runs a command, says how it ended |
//! | `real_kernel.rs` | a `#[test]` that runs inside guests |
//! | `host.rs`, `link.rs` | virtual hosts; links, ports, moves, delay and loss |
//! | `process.rs`, `snapshot.rs` | processes of a host; its kernel's state as text |
//! | `capture.rs` | packets of an interface, in memory and as pcap |
//! | `flow.rs`, `stream.rs` | UDP, ICMPv6 and TCP that show what a move costs |
//! | `tree.rs` | folders, copied |
//! | `topology.rs` | the standard scene |
//! | `attached.rs` | a home agent and a mobile node that is bound with it, in a scene |
//! | `service.rs` | `homeward run` as a process of a host, with its configuration and its log |
//! | `story/` | the whole idea from the first attachment to the last clean-up, as `homeward demo` tells it |

pub mod attached;
pub mod capture;
pub mod flow;
pub mod guest;
pub mod host;
pub mod kernel;
pub mod link;
mod netlink;
pub mod process;
pub mod real_kernel;
pub mod service;
mod slot;
pub mod snapshot;
pub mod story;
pub mod stream;
pub mod topology;
pub mod tree;

pub use attached::Attached;
pub use capture::{Capture, Packet};
pub use flow::{Datagram, FlowReport, Outage, PingFlow, UdpFlow};
pub use guest::{Guest, LabError, Outcome, Stream, Verdict, run_in_guest};
pub use host::{Host, Lab};
pub use kernel::Kernel;
pub use link::{Impairment, Move, Port, Segment};
pub use process::{Line, Process};
pub use real_kernel::{in_guest, on_real_kernel, on_real_kernel_within, outcomes_on_real_kernels, output_folder};
pub use service::{Auth, Configurations, Event, HomeAddressBy, Node, Service};
pub use snapshot::Snapshot;
pub use story::{Handover, Moment, Story, Summary};
pub use stream::{DirectionReport, StreamReport, TcpFlow};
pub use topology::{Link, Mobile, Scene, SceneOptions};
