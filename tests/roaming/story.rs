//! The story from the first link to the last: attach, move, come home, go away again, end.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use homeward::lab::attached::{CHILDREN, address, is_on};
use homeward::lab::topology::{CORRESPONDENT, HOME_PREFIX};
use homeward::lab::{Attached, Auth, Capture, Link, Node, Packet, Scene, SceneOptions, TcpFlow};
use homeward::real_kernel_test;

use crate::kernel_sas;
use crate::packets;
use crate::traffic::{alive, at, ping};
use crate::{PATIENCE, configurations, program};

/// That the migrated SAs of a host are those of before, with counters that went on, at the new care-of address.
fn assert_went_on(before: &[kernel_sas::Sa], after: &[kernel_sas::Sa], care_of: Ipv6Addr) {
    let care_of = care_of.to_string();
    let spis = |sas: &[kernel_sas::Sa]| sas.iter().map(|sa| sa.spi).collect::<BTreeSet<u32>>();
    assert_eq!(spis(before), spis(after));
    assert_eq!((before.len(), after.len()), (8, 8), "{before:#?} {after:#?}");
    for sa in after {
        let old = before.iter().find(|old| old.spi == sa.spi).unwrap();
        assert!(sa.sent >= old.sent && sa.received >= old.received, "{old:?} {sa:?}");
        assert!(old.bitmap == 0 || sa.bitmap != 0, "{old:?} {sa:?}");
        assert_eq!(sa.tunnel, old.tunnel);
        if sa.tunnel {
            assert!(sa.source == care_of || sa.destination == care_of, "{sa:?} is not at {care_of}");
        } else {
            assert_eq!((&sa.source, &sa.destination), (&old.source, &old.destination));
        }
    }
    let windows = |sas: &[kernel_sas::Sa]| sas.iter().filter(|sa| sa.bitmap != 0).count();
    assert!(windows(before) > 0 && windows(after) >= windows(before), "{before:#?} {after:#?}");
    // Payload went through and was counted: the numbers did not begin again.
    let counted =
        |sas: &[kernel_sas::Sa]| sas.iter().filter(|sa| sa.tunnel).map(|sa| sa.sent + sa.received).sum::<u32>();
    assert!(counted(before) > 10 && counted(after) >= counted(before), "{before:#?} {after:#?}");
}

real_kernel_test!(a_node_with_a_certificate_roams_comes_home_and_leaves_nothing_behind, {
    let scene = Scene::new(SceneOptions::default()).unwrap();
    let before = (scene.mn.snapshot().unwrap(), scene.ha.snapshot().unwrap());
    let wire: Vec<Capture> =
        [Link::A, Link::B, Link::Home].into_iter().map(|link| scene.capture(link, None).unwrap()).collect();
    let node = Node::default();
    let files = configurations(Auth::Certificate, &node);
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    let home = pair.home_address;
    assert!(is_on(home, Link::Home), "{home}");
    // RFC 4877 §7.3: the pair for binding updates comes with IKE_AUTH, the others one after the other behind it.
    for service in [&pair.mn, &pair.ha] {
        let order: Vec<String> = service.all("child").iter().map(|child| child.text("purpose")).collect();
        assert_eq!(order, CHILDREN);
    }
    ping(&scene.mn, home, CORRESPONDENT);
    ping(&scene.cn, CORRESPONDENT, home);
    let stream =
        TcpFlow::start((&scene.mn, at(home, 0)), (&scene.cn, at(CORRESPONDENT, 7000)), Duration::from_millis(5))
            .unwrap();

    for link in [Link::B, Link::A, Link::B] {
        alive(&stream);
        let (mark, sas) = (pair.ha.mark(), (kernel_sas::all(&scene.mn), kernel_sas::all(&scene.ha)));
        let bound = pair.move_to(&scene, link).unwrap();
        let care_of = address(&bound, "care_of").unwrap();
        // RFC 4877 §7.4: with the K bit the home agent's IKE follows the binding, as the mobile node's own has.
        let moved = pair.ha.wait_after(mark, "ike_moved", PATIENCE).unwrap();
        assert_eq!(moved.text("to"), at(care_of, 500).to_string());
        alive(&stream);
        assert_went_on(&sas.0, &kernel_sas::all(&scene.mn), care_of);
        assert_went_on(&sas.1, &kernel_sas::all(&scene.ha), care_of);
    }

    // A packet that waits for the old router's link-layer address would keep TCP from repeating it for three seconds.
    let stalls = stream.so_far();
    assert!(stalls.up.longest_stall.max(stalls.down.longest_stall) < Duration::from_secs(2), "{stalls:?}");

    let proxies = |scene: &Scene| scene.ha.snapshot().unwrap().to_string().contains(&format!("{home} dev home0 proxy"));
    assert!(proxies(&scene));
    pair.go_home(&scene).unwrap();
    assert!(!proxies(&scene));
    let at_home = scene.mn.snapshot().unwrap().to_string();
    assert!(at_home.contains(&format!("inet6 {home}/64 scope global")), "{at_home}");
    assert!(!at_home.contains("mode tunnel reqid"), "a tunnel policy is still active:\n{at_home}");
    alive(&stream);
    // On the home link a neighbour reaches it directly: not one packet goes by the home agent.
    let neighbour = Ipv6Addr::from_bits(HOME_PREFIX.to_bits() | 0x77);
    let neighbour = (scene.add_host("neighbour", Link::Home, neighbour).unwrap(), neighbour);
    ping(&neighbour.0, neighbour.1, home);
    ping(&scene.cn, CORRESPONDENT, home);

    let mark = pair.ha.mark();
    let bound = pair.move_to(&scene, Link::A).unwrap();
    let care_of = address(&bound, "care_of").unwrap();
    assert!(is_on(care_of, Link::A));
    let moved = pair.ha.wait_after(mark, "ike_moved", PATIENCE).unwrap();
    assert_eq!(moved.text("to"), at(care_of, 500).to_string());
    assert!(proxies(&scene));
    ping(&neighbour.0, neighbour.1, home);
    alive(&stream);
    let report = stream.stop();
    assert_eq!((report.up.failure, report.down.failure), (None, None));

    pair.stop().unwrap();
    assert_eq!(before.0.difference(&scene.mn.snapshot().unwrap()), "", "of the mobile node");
    assert_eq!(before.1.difference(&scene.ha.snapshot().unwrap()), "", "of the home agent");
    let packets: Vec<Packet> = wire.into_iter().flat_map(Capture::stop).collect();
    let inits = packets::ike_sa_inits(&packets);
    assert_eq!(inits.iter().map(|ike| ike.initiator_spi).collect::<BTreeSet<u64>>().len(), 1, "{inits:?}");
    for service in [&pair.mn, &pair.ha] {
        assert_eq!(service.all("kernel_refused"), []);
        assert_eq!(service.all("not_restored"), []);
    }
});
