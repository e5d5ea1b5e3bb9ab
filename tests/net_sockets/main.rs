//! The sockets between two network namespaces that are joined by a pair of virtual Ethernet interfaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod mobile_ipv6;

use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use homeward::net::icmp6::{self, Icmp6Socket};
use homeward::net::ike::{self, IkeSocket};
use homeward::net::mobility::{self, MobilitySocket};
use nix::sched::{CloneFlags, setns, unshare};

const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa);
const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xb);
const LINK_LOCAL_A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const LINK_LOCAL_B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);
const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];

/// A network namespace. Dropping it takes its interfaces along.
struct Host(File);

impl Host {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Self(File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// Runs `work` inside.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        let result = work();
        setns(&before, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }

    /// Runs `ip` with these words.
    fn ip(&self, words: &str) {
        assert!(self.try_ip(words), "ip {words}");
    }

    fn try_ip(&self, words: &str) -> bool {
        self.within(|| Command::new("ip").args(words.split_whitespace()).status()).unwrap().success()
    }

    /// Gives `eth0` this address and waits until it receives: even without duplicate address detection the kernel joins the
    /// solicited-node group and makes the local route a moment later, and a solicitation before that is repeated after a second.
    fn add_address(&self, address: Ipv6Addr) {
        self.ip(&format!("addr add {address}/64 dev eth0 nodad"));
        let route = format!("{:032x} 80 ", address.to_bits());
        wait_until(|| {
            self.within(|| std::fs::read_to_string("/proc/thread-self/net/ipv6_route")).unwrap().contains(&route)
        });
    }

    fn ip_says(&self, words: &str) -> String {
        let output = self.within(|| Command::new("ip").args(words.split_whitespace()).output()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn eth0(&self) -> u32 {
        self.within(|| nix::net::if_::if_nametoindex("eth0")).unwrap()
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a test with two hosts whose interfaces `eth0` are joined; they have no addresses yet.
fn on_a_bare_link(test: impl AsyncFnOnce(Host, Host) + Send + 'static) {
    let run = move || {
        let (a, b) = (Host::new(), Host::new());
        a.ip(&format!(
            "link add eth0 address 02:00:00:00:00:0a type veth peer name eth0 address 02:00:00:00:00:0b netns /proc/{}/fd/{}",
            std::process::id(),
            b.0.as_raw_fd()
        ));
        for host in [&a, &b] {
            host.ip("link set lo up");
            host.ip("link set eth0 addrgenmode none");
            host.ip("link set eth0 up");
        }
        // The kernel takes the link up a moment later; until then it swallows what is sent.
        for host in [&a, &b] {
            wait_until(|| host.ip_says("link show eth0").contains("state UP"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(a, b));
    };
    // Its own thread: the namespace belongs to the thread.
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// The same, with a global and a link-local address on each host.
fn between_two_hosts(test: impl AsyncFnOnce(Host, Host) + Send + 'static) {
    on_a_bare_link(async move |a, b| {
        for (host, address, link_local) in [(&a, A, LINK_LOCAL_A), (&b, B, LINK_LOCAL_B)] {
            host.add_address(address);
            host.add_address(link_local);
        }
        test(a, b).await;
    });
}

async fn within_a_second<T>(what: impl Future<Output = io::Result<T>>) -> T {
    tokio::time::timeout(Duration::from_secs(1), what).await.expect("nothing came").unwrap()
}

async fn nothing_comes<T: std::fmt::Debug>(what: impl Future<Output = io::Result<T>>) {
    if let Ok(came) = tokio::time::timeout(Duration::from_millis(200), what).await {
        panic!("this came: {came:?}");
    }
}

fn at(address: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0))
}

#[test]
fn an_ike_message_arrives_with_both_its_ends_and_is_answered_from_them() {
    between_two_hosts(async |a, b| {
        let second = "2001:db8::a2".parse().unwrap();
        a.add_address(second);
        let (a, b) = (a.within(IkeSocket::open).unwrap(), b.within(IkeSocket::open).unwrap());
        for port in [ike::PORT, ike::NAT_PORT] {
            for from in [second, A] {
                a.send(at(from, port), at(B, port), b"request").unwrap();
                let request = within_a_second(b.recv()).await;
                assert_eq!(
                    request,
                    ike::Received { local: at(B, port), remote: at(from, port), bytes: b"request".to_vec() }
                );
                b.send(request.local, request.remote, b"response").unwrap();
                let response = within_a_second(a.recv()).await;
                assert_eq!(
                    response,
                    ike::Received { local: at(from, port), remote: at(B, port), bytes: b"response".to_vec() }
                );
            }
        }
    });
}

#[test]
fn an_ike_message_between_link_local_addresses_is_answered_on_its_interface() {
    between_two_hosts(async |a, b| {
        let link_local = |host: &Host, address| SocketAddr::V6(SocketAddrV6::new(address, ike::PORT, 0, host.eth0()));
        let (from, to) = (link_local(&a, LINK_LOCAL_A), link_local(&a, LINK_LOCAL_B));
        let (local, remote) = (link_local(&b, LINK_LOCAL_B), link_local(&b, LINK_LOCAL_A));
        let (a, b) = (a.within(IkeSocket::open).unwrap(), b.within(IkeSocket::open).unwrap());
        a.send(from, to, b"request").unwrap();
        let request = within_a_second(b.recv()).await;
        assert_eq!((request.local, request.remote), (local, remote));
        b.send(request.local, request.remote, b"response").unwrap();
        assert_eq!(within_a_second(a.recv()).await.local, from);
    });
}

#[test]
fn the_non_esp_marker_is_on_the_wire_on_port_4500_only() {
    between_two_hosts(async |a, b| {
        let a = a.within(IkeSocket::open).unwrap();
        for (port, expected) in [(ike::PORT, &b"message"[..]), (ike::NAT_PORT, b"\0\0\0\0message")] {
            let wire = b.within(|| UdpSocket::bind(at(B, port))).unwrap();
            wire.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            a.send(at(A, port), at(B, port), b"message").unwrap();
            let mut octets = [0; 100];
            let len = wire.recv(&mut octets).unwrap();
            assert_eq!(&octets[..len], expected, "port {port}");
        }
    });
}

#[test]
fn keepalives_esp_and_multicast_are_not_taken_for_ike() {
    between_two_hosts(async |a, b| {
        let eth0 = a.eth0();
        let sender = a.within(|| UdpSocket::bind(at(A, 4500))).unwrap();
        let b = b.within(IkeSocket::open).unwrap();
        let esp = [&0x1234_5678_u32.to_be_bytes()[..], &[0; 60]].concat();
        for other in [&[0xff][..], &[], &[0, 0, 0], &[0xff; 4], &esp[..12], &esp[..]] {
            sender.send_to(other, at(B, 4500)).unwrap();
        }
        let all_nodes = SocketAddrV6::new(icmp6::ALL_NODES, 500, 0, eth0);
        sender.send_to(b"to all", all_nodes).unwrap();
        sender.send_to(b"\0\0\0\0first", at(B, 4500)).unwrap();
        assert_eq!(within_a_second(b.recv()).await.bytes, b"first");
        nothing_comes(b.recv()).await;
    });
}

#[test]
fn ike_passes_where_a_policy_blocks_everything() {
    between_two_hosts(async |a, b| {
        for host in [&a, &b] {
            for direction in ["in", "out"] {
                host.ip(&format!("xfrm policy add src ::/0 dst ::/0 dir {direction} priority 1000 action block"));
                for kind in [135, 136] {
                    host.ip(&format!(
                        "xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type {kind} dir {direction} priority 1"
                    ));
                }
            }
        }
        let blocked = a.within(|| UdpSocket::bind(at(A, 501))).unwrap();
        assert!(blocked.send_to(b"blocked", at(B, 500)).is_err(), "the policies block nothing");
        let (a, b) = (a.within(IkeSocket::open).unwrap(), b.within(IkeSocket::open).unwrap());
        for port in [ike::PORT, ike::NAT_PORT] {
            a.send(at(A, port), at(B, port), b"passes").unwrap();
            assert_eq!(within_a_second(b.recv()).await.bytes, b"passes");
        }
    });
}

#[test]
fn a_second_daemon_is_told_which_port_is_taken() {
    on_a_bare_link(async |a, _b| {
        let _taken = a.within(|| UdpSocket::bind(at(Ipv6Addr::UNSPECIFIED, 4500))).unwrap();
        let error = a.within(IkeSocket::open).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("4500"), "{error}");
    });
}

#[test]
fn what_cannot_be_sent_is_named_with_both_ends() {
    between_two_hosts(async |a, _b| {
        let eth0 = a.eth0();
        let ike = a.within(IkeSocket::open).unwrap();
        let error = ike.send(at(HOME, 500), at(B, 500), b"x").unwrap_err().to_string();
        assert!(error.contains("from [2001:db8:1::100]:500 to [2001:db8::b]:500"), "{error}");
        let error = ike.send(at(A, 501), at(B, 500), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = ike.send("192.0.2.1:500".parse().unwrap(), at(B, 500), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let mobility = a.within(MobilitySocket::open).unwrap();
        let error = mobility.send(HOME, B, None, &binding_update(1)).unwrap_err().to_string();
        assert!(error.contains("type 5 from 2001:db8:1::100 to 2001:db8::b"), "{error}");
        let icmp6 = a.within(|| Icmp6Socket::open(&[])).unwrap();
        let error = icmp6.send(eth0, Some(HOME), icmp6::ALL_NODES, 255, &[134; 16], None).unwrap_err().to_string();
        assert!(error.contains("type 134 from 2001:db8:1::100 to ff02::1 on interface"), "{error}");
        let error = icmp6.join(eth0 + 100, icmp6::ALL_ROUTERS).unwrap_err().to_string();
        assert!(error.contains("ff02::2"), "{error}");
    });
}

/// A Binding Update with this sequence number and a padded body; the checksum is the kernel's.
fn binding_update(sequence: u16) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    vec![59, 1, 5, 0, 0, 0, high, low, 0xc0, 0, 0, 60, 1, 2, 0, 0]
}

async fn next_mobility_message(socket: &MobilitySocket) -> mobility::Received {
    within_a_second(async {
        loop {
            socket.readable().await?;
            if let Some(received) = socket.try_recv()? {
                return Ok(received);
            }
        }
    })
    .await
}

#[test]
fn a_mobility_message_arrives_with_addresses_interface_and_checksum() {
    between_two_hosts(async |a, b| {
        a.ip("addr add 2001:db8:1::100/128 dev lo nodad");
        b.ip("route add 2001:db8:1::100/128 via 2001:db8::a");
        let eth0 = b.eth0();
        let (a, b) = (a.within(MobilitySocket::open).unwrap(), b.within(MobilitySocket::open).unwrap());
        a.send(HOME, B, None, &binding_update(7)).unwrap();
        let received = next_mobility_message(&b).await;
        assert_eq!((received.source, received.destination, received.interface), (HOME, B, eth0));
        assert_eq!((received.home_address_option_care_of, received.routing_header_care_of), (None, None));
        assert_ne!(received.message[4..6], [0, 0], "the kernel fills the checksum in");
        assert_eq!(received.message[..4], binding_update(7)[..4]);
        assert_eq!(received.message[6..], binding_update(7)[6..]);
        assert_eq!(b.try_recv().unwrap(), None);
        nothing_comes(b.readable()).await;
    });
}

#[test]
fn a_burst_of_updates_waits_until_it_is_read_in_order() {
    between_two_hosts(async |a, b| {
        let (a, b) = (a.within(MobilitySocket::open).unwrap(), b.within(MobilitySocket::open).unwrap());
        // The first one waits for neighbour discovery, with room for a few packets only.
        a.send(A, B, None, &binding_update(0)).unwrap();
        next_mobility_message(&b).await;
        // More than the default buffer holds.
        for sequence in 1..=2000 {
            a.send(A, B, None, &binding_update(sequence)).unwrap();
        }
        let mut sequences = Vec::new();
        b.readable().await.unwrap();
        while let Some(received) = b.try_recv().unwrap() {
            sequences.push(u16::from_be_bytes([received.message[6], received.message[7]]));
        }
        assert!(sequences.iter().copied().eq(1..=2000), "{} came", sequences.len());
    });
}

fn router_solicitation() -> Vec<u8> {
    [&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &MAC_A].concat()
}

const ROUTER_ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_solicitation_reaches_the_routers_and_the_advertisement_comes_back() {
    between_two_hosts(async |a, b| {
        let (eth0_a, eth0_b) = (a.eth0(), b.eth0());
        let node = a.within(|| Icmp6Socket::open(&[icmp6::ROUTER_ADVERTISEMENT])).unwrap();
        let router = b.within(|| Icmp6Socket::open(&[icmp6::ROUTER_SOLICITATION])).unwrap();
        router.join(eth0_b, icmp6::ALL_ROUTERS).unwrap();
        router.join(eth0_b, icmp6::ALL_ROUTERS).unwrap();

        node.send(eth0_a, None, icmp6::ALL_ROUTERS, 255, &router_solicitation(), None).unwrap();
        let solicitation = within_a_second(router.recv()).await;
        assert_eq!((solicitation.kind, solicitation.hop_limit, solicitation.interface), (133, 255, eth0_b));
        assert_eq!((solicitation.source, solicitation.destination), (LINK_LOCAL_A, icmp6::ALL_ROUTERS));
        assert_eq!(solicitation.message[4..], router_solicitation()[4..]);

        router.send(eth0_b, Some(LINK_LOCAL_B), solicitation.source, 255, &ROUTER_ADVERTISEMENT, None).unwrap();
        let advertisement = within_a_second(node.recv()).await;
        assert_eq!((advertisement.kind, advertisement.hop_limit, advertisement.interface), (134, 255, eth0_a));
        assert_eq!((advertisement.source, advertisement.destination), (LINK_LOCAL_B, LINK_LOCAL_A));
        assert_eq!(advertisement.message[4..], ROUTER_ADVERTISEMENT[4..]);

        router.leave(eth0_b, icmp6::ALL_ROUTERS).unwrap();
        router.leave(eth0_b, icmp6::ALL_ROUTERS).unwrap();
        node.send(eth0_a, None, icmp6::ALL_ROUTERS, 255, &router_solicitation(), None).unwrap();
        nothing_comes(router.recv()).await;
    });
}

#[test]
fn neighbour_discovery_from_beyond_the_link_is_dropped() {
    between_two_hosts(async |a, b| {
        let eth0_b = b.eth0();
        let node = a.within(|| Icmp6Socket::open(&[icmp6::ROUTER_ADVERTISEMENT])).unwrap();
        let router = b.within(|| Icmp6Socket::open(&[])).unwrap();
        router.send(eth0_b, Some(LINK_LOCAL_B), icmp6::ALL_NODES, 254, &ROUTER_ADVERTISEMENT, None).unwrap();
        let mut genuine = ROUTER_ADVERTISEMENT;
        genuine[4] = 65;
        router.send(eth0_b, Some(LINK_LOCAL_B), icmp6::ALL_NODES, 255, &genuine, None).unwrap();
        assert_eq!(within_a_second(node.recv()).await.message[4], 65);
    });
}

#[test]
fn types_that_nobody_asked_for_are_not_delivered() {
    between_two_hosts(async |a, b| {
        let eth0_b = b.eth0();
        let node = a.within(|| Icmp6Socket::open(&[icmp6::MOBILE_PREFIX_ADVERTISEMENT])).unwrap();
        let sender = b.within(|| Icmp6Socket::open(&[])).unwrap();
        for kind in [1, 128, 134, 136, 146, 148, 179, 147] {
            sender.send(eth0_b, None, A, 255, &[kind, 0, 0, 0, 0, 0, 0, 0], None).unwrap();
        }
        assert_eq!(within_a_second(node.recv()).await.kind, 147);
        nothing_comes(node.recv()).await;
    });
}

#[test]
fn a_probe_from_an_interface_without_addresses_is_answered_by_the_owner() {
    on_a_bare_link(async |a, b| {
        b.add_address(HOME);
        b.add_address(LINK_LOCAL_B);
        let (eth0_a, eth0_b) = (a.eth0(), b.eth0());
        let prober = a.within(|| Icmp6Socket::open(&[icmp6::NEIGHBOUR_ADVERTISEMENT])).unwrap();
        let owner = b.within(|| Icmp6Socket::open(&[icmp6::NEIGHBOUR_SOLICITATION])).unwrap();
        owner.join(eth0_b, icmp6::solicited_node(HOME)).unwrap();

        prober.raw_neighbour_solicitation(eth0_a, HOME).unwrap();
        let probe = within_a_second(owner.recv()).await;
        assert_eq!((probe.source, probe.destination), (Ipv6Addr::UNSPECIFIED, icmp6::solicited_node(HOME)));
        assert_eq!((probe.hop_limit, probe.message.len()), (255, 24));
        assert_eq!(probe.message[8..], HOME.octets());

        let answer = within_a_second(prober.recv()).await;
        assert_eq!((answer.kind, answer.destination, answer.hop_limit), (136, icmp6::ALL_NODES, 255));
        assert_eq!(answer.message[8..24], HOME.octets());

        prober.raw_neighbour_solicitation(eth0_a, A).unwrap();
        nothing_comes(prober.recv()).await;
    });
}

#[test]
fn a_probe_passes_where_a_policy_blocks_everything() {
    on_a_bare_link(async |a, b| {
        a.ip("xfrm policy add src ::/0 dst ::/0 dir out priority 1000 action block");
        let (eth0_a, eth0_b) = (a.eth0(), b.eth0());
        let prober = a.within(|| Icmp6Socket::open(&[])).unwrap();
        let listener = b.within(|| Icmp6Socket::open(&[icmp6::NEIGHBOUR_SOLICITATION])).unwrap();
        listener.join(eth0_b, icmp6::solicited_node(HOME)).unwrap();
        prober.raw_neighbour_solicitation(eth0_a, HOME).unwrap();
        assert_eq!(within_a_second(listener.recv()).await.message[8..], HOME.octets());
    });
}

#[test]
fn a_router_is_solicited_before_any_address_is_usable() {
    on_a_bare_link(async |a, b| {
        // Without `nodad` the address stays tentative for a second or more.
        a.ip(&format!("addr add {LINK_LOCAL_A}/64 dev eth0"));
        let (eth0_a, eth0_b) = (a.eth0(), b.eth0());
        let node = a.within(|| Icmp6Socket::open(&[])).unwrap();
        let router = b.within(|| Icmp6Socket::open(&[icmp6::ROUTER_SOLICITATION])).unwrap();
        router.join(eth0_b, icmp6::ALL_ROUTERS).unwrap();
        let message = [133, 0, 0, 0, 0, 0, 0, 0];
        assert!(a.ip_says("addr show dev eth0").contains("tentative"));
        node.send(eth0_a, Some(Ipv6Addr::UNSPECIFIED), icmp6::ALL_ROUTERS, 255, &message, None).unwrap();
        let solicitation = within_a_second(router.recv()).await;
        assert_eq!((solicitation.source, solicitation.hop_limit), (Ipv6Addr::UNSPECIFIED, 255));
        assert_eq!(solicitation.message.len(), 8);
    });
}

#[test]
fn an_unsolicited_advertisement_with_override_updates_the_neighbours() {
    between_two_hosts(async |a, b| {
        b.ip("neigh add 2001:db8::100 lladdr 02:00:00:00:00:99 dev eth0 nud reachable");
        let eth0_a = a.eth0();
        let socket = a.within(|| Icmp6Socket::open(&[icmp6::NEIGHBOUR_ADVERTISEMENT])).unwrap();
        let target: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &MAC_A].concat();
        socket.send(eth0_a, None, icmp6::ALL_NODES, 255, &message, None).unwrap();
        wait_until(|| b.ip_says("-6 neigh show 2001:db8::100 dev eth0").contains("02:00:00:00:00:0a"));
        // Nor do we hear it ourselves.
        nothing_comes(socket.recv()).await;
    });
}
