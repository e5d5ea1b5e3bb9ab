//! Homeward joins an IKEv2 daemon with a Mobile IPv6 stack in one process, as RFC 4877 describes.

pub mod cli;
pub mod daemon;
pub mod kernel;
pub mod lab;
pub mod net;
mod private_file;
pub mod rfc4877;
pub mod telemetry;
