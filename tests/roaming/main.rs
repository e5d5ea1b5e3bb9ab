//! A mobile node roams, on every kernel that the tests are to run on: homeward itself as two processes in the lab.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod kernel_sas;
mod links;
mod packets;
mod quality;
mod rekeying;
mod signalling;
mod story;
mod traffic;
mod wire;

use std::path::Path;
use std::time::Duration;

use homeward::lab::{Attached, Auth, Configurations, Node, Scene, SceneOptions, output_folder};

/// What one step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_homeward"))
}

/// The credentials and configurations of a home agent and this mobile node.
fn configurations(auth: Auth, node: &Node) -> Configurations {
    Configurations::new(&output_folder().unwrap(), auth, std::slice::from_ref(node)).unwrap()
}

/// The default: certificates, and an assigned home address.
fn attach(options: SceneOptions) -> (Attached, Scene, Configurations) {
    let node = Node::default();
    let scene = Scene::new(options).unwrap();
    let files = configurations(Auth::Certificate, &node);
    let attached = Attached::start(program(), &scene, &files, &node.id).unwrap();
    (attached, scene, files)
}
