//! The lab itself, on every kernel that the tests are to run on.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use homeward::lab::topology::{CORRESPONDENT, HOME_AGENT};
use homeward::lab::{
    Capture, FlowReport, Guest, Host, Impairment, Kernel, Lab, Line, Link, Packet, PingFlow, Scene, SceneOptions,
    TcpFlow, UdpFlow, Verdict, output_folder,
};
use homeward::real_kernel_test;
use socket2::{Domain, Protocol, Socket, Type};

real_kernel_test!(a_test_runs_on_the_kernel_that_it_names, {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let named = std::env::var("HOMEWARD_GUEST").unwrap();
    assert!(named == "running" || release.starts_with(&format!("{named}.")), "{named}: {release}");
    assert!(nix::unistd::geteuid().is_root());
});

/// The user-mode kernels among those to be tested.
fn user_mode_kernels() -> Vec<Kernel> {
    Kernel::requested().into_iter().filter(|kernel| *kernel != Kernel::Running).collect()
}

#[test]
fn a_guest_that_panics_is_reported_with_its_console() {
    for kernel in user_mode_kernels() {
        let outcome = Guest::new(kernel)
            .run(&["sh", "-c", "echo before; echo c >/proc/sysrq-trigger; echo after"], &mut |_, _| {})
            .unwrap();
        let Verdict::Panicked { console } = outcome.verdict else { panic!("{outcome:?}") };
        assert!(console.contains("Kernel panic"), "{console}");
        assert_eq!(outcome.stdout, "before\n");
    }
}

#[test]
fn a_guest_that_hangs_is_reported_and_ended() {
    for kernel in user_mode_kernels() {
        let start = Instant::now();
        let guest = Guest::new(kernel).timeout(Duration::from_secs(8));
        let outcome = guest.run(&["sh", "-c", "echo before; sleep 1000"], &mut |_, _| {}).unwrap();
        assert!(matches!(outcome.verdict, Verdict::Hung { .. }), "{outcome:?}");
        assert_eq!(outcome.stdout, "before\n");
        // Waiting for a slot comes on top of the eight seconds.
        assert!(start.elapsed() < Duration::from_secs(600));
    }
}

#[test]
fn the_output_comes_while_the_command_runs() {
    for kernel in user_mode_kernels() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; sleep 1; echo three; exit 7";
        let outcome = Guest::new(kernel)
            .env("UNUSED", "it's")
            .run(&["sh", "-c", script], &mut |_, line| lines.push((Instant::now(), line.to_owned())))
            .unwrap();
        assert_eq!(outcome.verdict, Verdict::Exited(7));
        let at = |text: &str| lines.iter().find(|(_, line)| line == text).unwrap().0;
        assert!(at("three") - at("one") > Duration::from_millis(800));
        assert!(at("three") - at("two") > Duration::from_millis(800));
    }
}

real_kernel_test!(two_hosts_hear_each_other_through_a_delay, {
    let lab = Lab::new().unwrap();
    let (one, other) = (lab.host("one").unwrap(), lab.host("other").unwrap());
    let segment = lab.segment("between").unwrap();
    let port = lab.connect(&one, "eth0", &segment).unwrap();
    lab.connect(&other, "eth0", &segment).unwrap();
    one.address("eth0", "2001:db8::1/64").unwrap();
    other.address("eth0", "2001:db8::2/64").unwrap();
    let ping = || {
        let ping = PingFlow::start(&one, None, "2001:db8::2".parse().unwrap(), Duration::from_millis(20)).unwrap();
        thread::sleep(Duration::from_millis(500));
        ping.stop()
    };
    // A link that has just come up swallows packets for a moment, and a lost neighbour solicitation costs a second.
    let mut tries = 0..20;
    while ping().delivered() == 0 {
        assert!(tries.next().is_some(), "the hosts never heard each other");
    }
    let near = ping();
    port.impair_sent(Impairment { delay: Duration::from_millis(30), loss: 0.0 }).unwrap();
    port.impair_received(Impairment { delay: Duration::from_millis(10), loss: 0.0 }).unwrap();
    let far = ping();
    let median = |report: &FlowReport| {
        let mut delays = report.delays();
        delays.sort_unstable();
        delays[delays.len() / 2]
    };
    println!("{} and {} replies, {:?} and {:?}", near.delivered(), far.delivered(), median(&near), median(&far));
    assert_eq!((near.lost(), far.lost()), (0, 0));
    assert!(median(&near) < Duration::from_millis(10));
    assert!((Duration::from_millis(40)..Duration::from_millis(70)).contains(&median(&far)));
    port.impair_sent(Impairment { delay: Duration::ZERO, loss: 1.0 }).unwrap();
    assert_eq!(ping().delivered(), 0);
});

real_kernel_test!(a_process_of_a_host_is_in_its_namespace_and_ends_with_its_owner, {
    let lab = Lab::new().unwrap();
    let host = lab.host("alone").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo begun; cat /proc/net/dev; echo listed; exec sleep 1000"]);
    let process = host.spawn(command).unwrap();
    process.wait_for("listed", Duration::from_secs(5)).unwrap();
    // Beside the two lines of the table's head there is the loopback only, however many interfaces other hosts have.
    let interfaces: Vec<Line> = process.lines().into_iter().filter(|line| line.text.contains(':')).collect();
    assert!(interfaces.iter().all(|line| line.text.trim().starts_with("lo:")), "{interfaces:?}");
    let ip = Command::new("ip").args(["netns", "exec", "alone", "cat", "/proc/net/if_inet6"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ip.stdout).lines().count(), 1, "{ip:?}");
    let proc = format!("/proc/{}", process.id());
    assert!(Path::new(&proc).exists());
    drop(process);
    assert!(!Path::new(&proc).exists());
});

real_kernel_test!(a_move_is_seen_as_loss_of_carrier, {
    let start = Instant::now();
    let scene = Scene::new(SceneOptions::default()).unwrap();
    println!("the scene took {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
    let mut monitor = Command::new("ip");
    monitor.args(["-o", "monitor", "link"]);
    let monitor = scene.mn.spawn(monitor).unwrap();
    // It hears a change only from when it listens on: wait for one that is made for it.
    let mut tries = 0;
    while !monitor.lines().iter().any(|line| line.text.contains("lo:")) {
        tries += 1;
        assert!(tries < 100, "ip monitor says nothing");
        let down = if tries % 2 == 1 { "down" } else { "up" };
        assert!(Command::new("ip").args(["-n", "mn", "link", "set", "lo", down]).status().unwrap().success());
        thread::sleep(Duration::from_millis(50));
    }
    let before = monitor.lines().len();
    let moved = scene.mn.move_to(Link::B).unwrap();
    println!("the move took {:?}", moved.arrived.duration_since(moved.left).unwrap());
    let lost = monitor.wait_for_after(before, "NO-CARRIER", Duration::from_secs(2)).unwrap();
    let after = monitor.lines().iter().position(|line| *line == lost).unwrap();
    monitor.wait_for_after(after, "LOWER_UP", Duration::from_secs(2)).unwrap();
});

/// Sends a router solicitation as a mobile node does, from a raw socket (RFC 4861 §4.1).
fn solicit(host: &Host) -> io::Result<()> {
    let index = host.interface("eth0").map_err(io::Error::other)?;
    let send = || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_multicast_hops_v6(255)?;
        let routers = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 0, 0, index);
        socket.send_to(&[133, 0, 0, 0, 0, 0, 0, 0], &routers.into()).map(drop)
    };
    host.enter(send).map_err(io::Error::other)?
}

/// Whether it is a router advertisement with the prefix of a link.
fn advertises(packet: &Packet, link: Link) -> bool {
    let prefix = link.prefix().octets();
    !packet.sent && packet.octets.get(54) == Some(&134) && packet.octets.windows(8).any(|part| part == &prefix[..8])
}

real_kernel_test!(a_router_answers_a_solicitation_after_a_move, {
    let scene = Scene::new(SceneOptions::default()).unwrap();
    let capture = Capture::start(&scene.mn, "eth0", None).unwrap();
    for link in [Link::B, Link::A, Link::B] {
        scene.mn.move_to(link).unwrap();
        let asked = SystemTime::now();
        solicit(&scene.mn).unwrap();
        let answer = capture
            .wait_for("an advertisement", Duration::from_secs(3), |packet| {
                packet.at >= asked && advertises(packet, link)
            })
            .unwrap();
        let took = answer.at.duration_since(asked).unwrap();
        println!("router advertisement on {link:?} after {took:?}");
        // RFC 4861 §6.2.6: up to half a second at random, and what the machine adds; unsolicited ones come each 1 to 3 s.
        assert!(took < Duration::from_secs(1));
    }
});

real_kernel_test!(a_capture_has_what_passed_in_memory_and_in_its_file, {
    let delay = Duration::from_millis(20);
    let scene = Scene::new(SceneOptions { delay, ..SceneOptions::default() }).unwrap();
    let file = output_folder().unwrap().join("cn.pcap");
    let capture = Capture::start(&scene.cn, "eth0", Some(&file)).unwrap();
    let [up, down] =
        UdpFlow::both_ways((&scene.ha, HOME_AGENT), (&scene.cn, CORRESPONDENT), 4000, Duration::from_millis(5), 100)
            .unwrap();
    thread::sleep(Duration::from_millis(500));
    let (up, down) = (up.stop(), down.stop());
    let packets = capture.stop();
    assert_eq!((up.lost(), down.lost()), (0, 0));
    assert!(up.delays().iter().all(|took| *took >= delay));
    let to_port =
        |packet: &&Packet| packet.octets.get(20) == Some(&17) && packet.octets[56..58] == 4000_u16.to_be_bytes();
    let (sent, received): (Vec<&Packet>, Vec<&Packet>) = packets.iter().filter(to_port).partition(|packet| packet.sent);
    assert_eq!((received.len(), sent.len()), (up.delivered(), down.delivered()));
    for (packet, datagram) in received.iter().zip(&up.datagrams) {
        assert!(packet.at >= datagram.sent && packet.at <= datagram.received.unwrap());
    }
    let tshark = Command::new("tshark").args(["-r"]).arg(&file).args(["-Y", "udp.dstport == 4000"]).output().unwrap();
    assert!(tshark.status.success(), "{tshark:?}");
    assert_eq!(String::from_utf8_lossy(&tshark.stdout).lines().count(), sent.len() + received.len());
});

real_kernel_test!(an_outage_is_measured_and_a_stream_survives_it, {
    let scene = Scene::new(SceneOptions::default()).unwrap();
    let mn = scene.add_host("still", Link::A, "2001:db8:a::77".parse().unwrap()).unwrap();
    let here: Ipv6Addr = "2001:db8:a::77".parse().unwrap();
    let at = |address, port| SocketAddrV6::new(address, port, 0, 0);
    let tcp =
        TcpFlow::start((&mn, at(here, 0)), (&scene.cn, at(CORRESPONDENT, 4001)), Duration::from_millis(5)).unwrap();
    let [up, down] =
        UdpFlow::both_ways((&mn, here), (&scene.cn, CORRESPONDENT), 4000, Duration::from_millis(5), 100).unwrap();
    thread::sleep(Duration::from_millis(300));
    scene.r.sysctl("net/ipv6/conf/all/forwarding", "0").unwrap();
    let cut = SystemTime::now();
    thread::sleep(Duration::from_millis(300));
    scene.r.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
    let mended = SystemTime::now();
    thread::sleep(Duration::from_millis(2000));
    let (now, stream) = (SystemTime::now(), tcp.stop());
    for flow in [up, down] {
        let report = flow.stop();
        let outage = report.longest_outage_between(cut - Duration::from_millis(100), mended).unwrap();
        println!("outage of {:?}, {} lost", outage.duration(), outage.lost);
        assert!((200..2000).contains(&outage.duration().as_millis()));
        assert_eq!(report.lost_between(outage.from, outage.until), outage.lost);
        assert!((40..=400).contains(&outage.lost));
        assert!(report.longest_silence_between(cut, mended) >= Duration::from_millis(200));
        assert!(report.first_delivered_after(cut).unwrap().sent >= outage.until);
    }
    println!("{stream:?}");
    assert!(stream.alive(now, Duration::from_secs(2)), "{stream:?}");
    assert!(stream.up.longest_stall >= Duration::from_millis(200) && stream.down.octets > 10_000);
});

real_kernel_test!(a_snapshot_tells_what_is_left_behind, {
    let scene = Scene::new(SceneOptions { second_interface: true, ..SceneOptions::default() }).unwrap();
    scene.mn.sysctl("net/ipv6/conf/eth0/accept_ra", "0").unwrap();
    let before = scene.mn.snapshot().unwrap();
    assert_eq!(before.difference(&scene.mn.snapshot().unwrap()), "");
    scene.mn.address("lo", "2001:db8:1::100/128").unwrap();
    scene.mn.sysctl("net/ipv6/conf/eth0/proxy_ndp", "1").unwrap();
    for words in [
        "neighbour add proxy 2001:db8:1::100 dev eth0",
        "xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1000 enc cipher_null '' auth hmac(sha1) 0x0102",
        "xfrm policy add dir out src 2001:db8::1 dst 2001:db8::2 action block",
    ] {
        let words = words.split(' ').map(|word| word.trim_matches('\''));
        assert!(Command::new("ip").args(["-n", "mn", "-6"]).args(words).status().unwrap().success());
    }
    let left = before.difference(&scene.mn.snapshot().unwrap());
    println!("{left}");
    for what in ["2001:db8:1::100/128", "proxy_ndp = 1", "2001:db8:1::100 dev eth0", "spi 0x00001000", "dir out"] {
        assert!(left.lines().any(|line| line.starts_with("+ ") && line.contains(what)), "no {what} in\n{left}");
    }
    assert!(!left.contains("0102"), "keys are no business of a snapshot's");
    scene.mn.move_second_to(Link::B).unwrap();
    scene.mn.wait_running("eth1", true, Duration::from_secs(1)).unwrap();
});
