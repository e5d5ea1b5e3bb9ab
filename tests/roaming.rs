//! The story of the demo, step by step, on every kernel that the tests are to run on.

use std::path::Path;
use std::time::Duration;

use homeward::lab::{Auth, Configurations, Link, Node, Scene, SceneOptions, Service, output_folder};
use homeward::real_kernel_test;

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeward");

real_kernel_test!(a_mobile_node_attaches_with_an_assigned_home_address, {
    let scene = Scene::new(SceneOptions::default()).unwrap();
    let files = Configurations::new(&output_folder().unwrap(), Auth::Certificate, &[Node::default()]).unwrap();
    let start = |host, name: &str| Service::start(Path::new(PROGRAM), host, &files.folder().join(name)).unwrap();
    let ha = start(&scene.ha, "ha.toml");
    ha.wait("started", Duration::from_secs(5)).unwrap();
    let mn = start(&scene.mn, "mn.example.org.toml");
    mn.wait("bound", Duration::from_secs(10)).unwrap();
    let mark = mn.mark();
    scene.mn.move_to(Link::B).unwrap();
    mn.wait_after(mark, "bound", Duration::from_secs(10)).unwrap();
    for event in mn.events() {
        println!("{:?} {} {:?}", event.at, event.name, event.fields);
    }
    println!("{}", ha.messages());
    println!("{}", mn.messages());
});
