//! After moves IKE goes on at the new address: liveness, rekeying of IKE SA and CHILD_SAs, and moves in the middle of that.

use std::time::{Duration, SystemTime};

use homeward::lab::attached::CHILDREN;
use homeward::lab::topology::CORRESPONDENT;
use homeward::lab::{Attached, Auth, Link, Node, Scene, SceneOptions, Service, TcpFlow};
use homeward::real_kernel_test;
use nix::sys::signal::Signal;

use crate::traffic::{alive, at, ping};
use crate::{PATIENCE, attach, configurations, kernel_sas, packets, program};

/// An INFORMATIONAL exchange without payload, there and back.
fn assert_answers(service: &Service) {
    let mark = service.mark();
    service.signal(Signal::SIGUSR1).unwrap();
    service.wait_after(mark, "ike_alive", PATIENCE).unwrap();
}

/// Rekeys the IKE SA from one side; both sides have the new one.
fn rekey(pair: &Attached, from: &Service) {
    let marks = (pair.mn.mark(), pair.ha.mark());
    from.signal(Signal::SIGUSR2).unwrap();
    pair.mn.wait_after(marks.0, "ike_rekeyed", PATIENCE).unwrap();
    pair.ha.wait_after(marks.1, "ike_rekeyed", PATIENCE).unwrap();
}

real_kernel_test!(liveness_and_rekeying_of_ike_work_at_the_new_address, {
    let (mut pair, scene, _files) = attach(SceneOptions::default());
    let wire = [Link::A, Link::B].map(|link| scene.capture(link, None).unwrap());
    for link in [Link::B, Link::A] {
        pair.move_to(&scene, link).unwrap();
        for service in [&pair.mn, &pair.ha] {
            assert_answers(service);
            rekey(&pair, service);
            assert_answers(service);
        }
        ping(&scene.mn, pair.home_address, CORRESPONDENT);
    }
    pair.go_home(&scene).unwrap();
    for service in [&pair.mn, &pair.ha] {
        assert_answers(service);
    }
    rekey(&pair, &pair.mn);
    pair.move_to(&scene, Link::B).unwrap();
    assert_answers(&pair.mn);
    ping(&scene.cn, CORRESPONDENT, pair.home_address);
    settled(&scene);
    pair.stop().unwrap();
    let packets: Vec<_> = wire.into_iter().flat_map(homeward::lab::Capture::stop).collect();
    assert_eq!(packets::ike_sa_inits(&packets), []);
});

/// Waits until each side has just the four pairs again.
fn settled(scene: &Scene) {
    let end = SystemTime::now() + PATIENCE;
    loop {
        let sas = (kernel_sas::all(&scene.mn), kernel_sas::all(&scene.ha));
        if (sas.0.len(), sas.1.len()) == (8, 8) {
            return;
        }
        assert!(SystemTime::now() < end, "the old SAs stay: {sas:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

real_kernel_test!(child_sas_are_rekeyed_under_traffic_and_move_in_the_middle_of_it, {
    // So far away that the old pair and the new one stand beside each other for a while.
    let options = SceneOptions { delay: Duration::from_millis(100), ..SceneOptions::default() };
    let node = Node::default();
    let scene = Scene::new(options).unwrap();
    let files = configurations(Auth::Psk, &node);
    files.change(&format!("{}.toml", node.id), "[ike]\n", "[ike]\nchild_rekey = \"4s\"\n").unwrap();
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    let home = pair.home_address;
    let stream =
        TcpFlow::start((&scene.mn, at(home, 0)), (&scene.cn, at(CORRESPONDENT, 7000)), Duration::from_millis(5))
            .unwrap();
    for link in [Link::B, Link::A] {
        let mark = pair.mn.mark();
        // The new pair has just been installed, the old one not deleted yet.
        pair.mn
            .wait_for(mark, "child", PATIENCE, |child| {
                child.text("rekeyed") == "true" && child.text("purpose") == "payload"
            })
            .unwrap();
        assert!(kernel_sas::all(&scene.mn).len() > 8);
        pair.move_to(&scene, link).unwrap();
        for purpose in CHILDREN {
            pair.mn
                .wait_for(mark, "child", PATIENCE, |child| {
                    child.text("rekeyed") == "true" && child.text("purpose") == purpose
                })
                .unwrap();
        }
        settled(&scene);
        alive(&stream);
        ping(&scene.mn, home, CORRESPONDENT);
        assert_answers(&pair.mn);
    }
    let report = stream.stop();
    assert_eq!((report.up.failure, report.down.failure), (None, None));
    pair.stop().unwrap();
    for service in [&pair.mn, &pair.ha] {
        assert_eq!(service.all("kernel_refused"), []);
        assert_eq!(service.all("ike_established").len(), 1);
    }
});
