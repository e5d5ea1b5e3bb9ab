//! Homeward and Debian's strongSwan, each as initiator and as responder, on every kernel that the tests are to run on.
//!
//! What comes out is the tables of docs/interop.md, which these tests write and check.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a case that cannot be set up has failed")]

mod home_agent;
mod load;
mod matrix;
mod mobile_node;
mod mobility;
mod peer;
mod strongswan;
mod vici;

use std::time::Duration;

use homeward::lab::outcomes_on_real_kernels;

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeward");
/// For each kernel and role, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(360);
const MEMORY: u64 = 256 << 20;

#[test]
fn strongswan_as_mobile_node_works_with_our_home_agent() {
    let name = "strongswan_as_mobile_node_works_with_our_home_agent";
    matrix::check("Homeward as home agent", &outcomes_on_real_kernels(name, LIMIT, MEMORY, home_agent::cases));
}

#[test]
fn strongswan_and_homeward_have_these_algorithms_in_common() {
    let name = "strongswan_and_homeward_have_these_algorithms_in_common";
    matrix::check("Algorithms", &outcomes_on_real_kernels(name, LIMIT, MEMORY, home_agent::algorithm_cases));
}

#[test]
fn strongswan_as_home_agent_works_with_our_mobile_node() {
    let name = "strongswan_as_home_agent_works_with_our_mobile_node";
    matrix::check("Homeward as mobile node", &outcomes_on_real_kernels(name, LIMIT, MEMORY, mobile_node::cases));
}
