//! What the access links carry, read by ourselves without keys and by tshark with the logged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::process::Command;

use homeward::lab::topology::{CORRESPONDENT, HOME_AGENT};
use homeward::lab::{
    Attached, Auth, Capture, HomeAddressBy, Host, Link, Node, Packet, Scene, SceneOptions, output_folder,
};
use homeward::real_kernel_test;
use mip6::rr::{HomeInitCookie, HomeKeygenToken, NonceIndex};
use mip6::wire::{HomeTest, HomeTestInit, MOBILITY_HEADER, MobilityMessage, checksum, icmp6_type, mobility_type};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packets::{self, ESP};
use crate::{PATIENCE, configurations, program};

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x99);
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const USE_TRANSPORT_MODE: &str = "16391";
/// Fields that tshark prints of each packet, all occurrences.
const FIELDS: [&str; 16] = [
    "ipv6.src",
    "ipv6.dst",
    "ipv6.opt.mipv6.home_address",
    "ipv6.routing.mipv6.home_address",
    "esp.spi",
    "esp.contained_data",
    "mip6.mhtype",
    "mip6.acoa.acoa",
    "icmpv6.type",
    "isakmp.exchangetype",
    "isakmp.notify.msgtype",
    "isakmp.ts.protoid",
    "isakmp.ts.start_port",
    "isakmp.ts.end_port",
    "isakmp.ts.start_ipv6",
    "isakmp.ts.end_ipv6",
];

/// A packet as tshark reads it: the values of each of [`FIELDS`].
type Row = BTreeMap<&'static str, Vec<String>>;

fn tshark(capture: &Path, keys: &Path) -> Vec<Row> {
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", keys).args(["-T", "fields", "-E", "separator=;", "-E", "occurrence=a"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.arg("-r").arg(capture).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let values = |cell: &str| cell.split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect();
    text.lines().map(|line| FIELDS.into_iter().zip(line.split(';').map(values)).collect()).collect()
}

fn first(row: &Row, field: &str) -> String {
    row[field].first().cloned().unwrap_or_default()
}

fn address(row: &Row, field: &str) -> Option<Ipv6Addr> {
    row[field].first()?.parse().ok()
}

/// SPIs of one purpose as the mobile node logged them: what it sends under, what it receives under.
fn spis(pair: &Attached, purpose: &str) -> (String, String) {
    let child = pair.mn.wait_for(0, "child", PATIENCE, |child| child.text("purpose") == purpose).unwrap();
    (format!("0x{}", child.text("outbound")), format!("0x{}", child.text("inbound")))
}

fn mobility_socket(host: &Host, address: Ipv6Addr) -> Socket {
    let protocol = Protocol::from(i32::from(MOBILITY_HEADER));
    let socket = host.enter(|| Socket::new(Domain::IPV6, Type::RAW, Some(protocol))).unwrap().unwrap();
    socket.bind(&SocketAddrV6::new(address, 0, 0, 0).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Waits for a message of this type.
fn receive(mut socket: &Socket, kind: u8) -> MobilityMessage {
    loop {
        let mut message = [0; 256];
        let length = socket.read(&mut message).unwrap();
        if message[2] == kind {
            return MobilityMessage::parse(&message[..length]).unwrap();
        }
    }
}

/// Return routability's home half (RFC 6275 §5.2.5), as a correspondent with route optimisation would answer it.
fn home_test(mobile: &Socket, correspondent: &Socket) {
    let cookie = HomeInitCookie([7; 8]);
    let init = MobilityMessage::HomeTestInit(HomeTestInit { cookie, options: Vec::new() });
    mobile.send_to(&init.write(), &SocketAddrV6::new(CORRESPONDENT, 0, 0, 0).into()).unwrap();
    let MobilityMessage::HomeTestInit(asked) = receive(correspondent, mobility_type::HOME_TEST_INIT) else {
        unreachable!("the type was looked at");
    };
    assert_eq!(asked.cookie, cookie);
    let token = HomeKeygenToken::new([9; 8]);
    let answer = HomeTest { nonce_index: NonceIndex(1), cookie, token, options: Vec::new() };
    let answer = MobilityMessage::HomeTest(answer).write();
    correspondent.send_to(&answer, &SocketAddrV6::new(HOME, 0, 0, 0).into()).unwrap();
    receive(mobile, mobility_type::HOME_TEST);
}

/// Nothing but what has to be readable is: neighbour discovery, IKE, and ESP with HAO and RT2 before it.
fn assert_nothing_leaks(packets: &[Packet]) {
    for ip in packets.iter().filter_map(packets::ip) {
        match ip.protocol {
            ESP => {}
            // Multicast listener reports have a hop-by-hop header (protocol 0) before them.
            0 => assert!(ip.destination.is_multicast(), "{ip:?}"),
            UDP => assert!(ip.payload[..4].chunks(2).all(|port| port == [0x01, 0xf4]), "{ip:?}"),
            ICMPV6 => assert!((133..=137).contains(&ip.payload[0]), "{ip:?}"),
            other => panic!("protocol {other} outside ESP: {ip:?}"),
        }
        if ip.home_address_option.is_some() || ip.type_2_routing_header.is_some() {
            assert_eq!(ip.protocol, ESP, "{ip:?}");
        }
    }
}

/// One Mobility Header or prefix discovery message, outside in: extension header, SA, type, checksum.
fn assert_signalling(row: &Row, kind: u8, by: &BTreeMap<u8, String>) {
    let (outer, inner) = (address(row, "ipv6.src").unwrap(), address(row, "ipv6.dst").unwrap());
    assert_eq!(Some(&first(row, "esp.spi")), by.get(&kind), "type {kind} under the wrong SA: {row:?}");
    let from_mobile = outer != HOME_AGENT;
    let (source, destination) = if row["ipv6.src"].len() == 1 {
        // RFC 4877 §4.2, RFC 6275 §6.3, §6.4: in transport mode the home address stands in HAO or RT2.
        let (option, header) =
            (address(row, "ipv6.opt.mipv6.home_address"), address(row, "ipv6.routing.mipv6.home_address"));
        assert_eq!((option, header), if from_mobile { (Some(HOME), None) } else { (None, Some(HOME)) }, "{row:?}");
        if from_mobile { (HOME, inner) } else { (outer, HOME) }
    } else {
        let at = |field: &str| row[field][1].parse::<Ipv6Addr>().unwrap();
        assert!(row["ipv6.opt.mipv6.home_address"].is_empty() && row["ipv6.routing.mipv6.home_address"].is_empty());
        (at("ipv6.src"), at("ipv6.dst"))
    };
    let message = contained(row);
    if row["mip6.mhtype"].is_empty() {
        assert!(checksum::icmp6_is_correct(source, destination, &message), "{row:?}");
        return;
    }
    // The message of a tunnel stands behind the inner IPv6 header.
    let message = if row["ipv6.src"].len() == 1 { &message[..] } else { &message[40..] };
    assert!(checksum::mobility_is_correct(source, destination, message), "{row:?}");
    if kind == mobility_type::BINDING_UPDATE && from_mobile {
        // RFC 4877 §4.2, RFC 6275 §11.7.1: ESP does not cover the source address, the option does.
        assert_eq!(address(row, "mip6.acoa.acoa"), Some(outer), "{row:?}");
    }
}

fn contained(row: &Row) -> Vec<u8> {
    let text = first(row, "esp.contained_data").replace(':', "");
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The selectors of RFC 4877 §7.2 in the four exchanges, as asked for and as granted.
fn assert_selectors(rows: &[Row]) {
    let (home, agent) = (format!("{HOME}-{HOME}"), format!("{HOME_AGENT}-{HOME_AGENT}"));
    let any = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    // RFC 7296 §3.13.1: a type stands in the port's high octet, ICMPv6 codes in the low one.
    let wanted = [
        ("35", true, format!("135 1280-1280 {home}; 135 1536-1536 {agent}")),
        ("36", true, format!("58 37376-37631 {home}; 58 37632-37887 {agent}")),
        ("36", false, format!("135 256-256 {home}; 135 768-768 {any}")),
        ("36", false, format!("0 0-65535 {home}; 0 0-65535 {any}")),
    ];
    let exchanges: Vec<(String, bool, String)> = rows
        .iter()
        .filter(|row| !row["isakmp.ts.protoid"].is_empty())
        .map(|row| {
            let selector = |at: usize| {
                let of = |field: &str| row[field][at].clone();
                format!(
                    "{} {}-{} {}-{}",
                    of("isakmp.ts.protoid"),
                    of("isakmp.ts.start_port"),
                    of("isakmp.ts.end_port"),
                    of("isakmp.ts.start_ipv6"),
                    of("isakmp.ts.end_ipv6")
                )
            };
            let selectors: Vec<String> = (0..row["isakmp.ts.protoid"].len()).map(selector).collect();
            let transport = row["isakmp.notify.msgtype"].iter().any(|notify| notify == USE_TRANSPORT_MODE);
            (first(row, "isakmp.exchangetype"), transport, selectors.join("; "))
        })
        .collect();
    let wanted: Vec<(String, bool, String)> = wanted
        .into_iter()
        .flat_map(|(exchange, transport, selectors)| {
            let one = (exchange.to_owned(), transport, selectors);
            [one.clone(), one]
        })
        .collect();
    assert_eq!(exchanges, wanted);
}

real_kernel_test!(all_signalling_is_inside_esp_and_as_rfc_4877_has_it, {
    let folder = output_folder().unwrap();
    let scene = Scene::new(SceneOptions::default()).unwrap();
    let node = Node { home_address: HomeAddressBy::Configuration(HOME), ..Node::default() };
    let files = configurations(Auth::Psk, &node);
    let file = |link: Link| folder.join(format!("{}.pcap", link.name()));
    let captures = [Link::A, Link::B].map(|link| (link, scene.capture(link, Some(&file(link))).unwrap()));
    let mut pair = Attached::start(program(), &scene, &files, &node.id).unwrap();
    assert_eq!(pair.home_address, HOME);
    let sockets = (mobility_socket(&scene.mn, HOME), mobility_socket(&scene.cn, CORRESPONDENT));
    home_test(&sockets.0, &sockets.1);
    pair.mn.wait("home_prefix", PATIENCE).unwrap();
    pair.move_to(&scene, Link::B).unwrap();
    home_test(&sockets.0, &sockets.1);
    let (binding, discovery, routability) =
        (spis(&pair, "binding"), spis(&pair, "prefix-discovery"), spis(&pair, "return-routability"));
    let by = BTreeMap::from([
        (mobility_type::BINDING_UPDATE, binding.0),
        (mobility_type::BINDING_ACKNOWLEDGEMENT, binding.1),
        (mobility_type::HOME_TEST_INIT, routability.0),
        (mobility_type::HOME_TEST, routability.1),
        (icmp6_type::MOBILE_PREFIX_SOLICITATION, discovery.0),
        (icmp6_type::MOBILE_PREFIX_ADVERTISEMENT, discovery.1),
    ]);
    pair.stop().unwrap();

    let keys: PathBuf = files.folder().join(format!("{}.keys", node.id));
    let mut rows = Vec::new();
    for (link, capture) in captures {
        let packets = Capture::stop(capture);
        assert!(packets.len() > 10, "{link:?}");
        assert_nothing_leaks(&packets);
        rows.extend(tshark(&file(link), &keys));
    }
    let mut seen = BTreeSet::new();
    for row in &rows {
        if row["esp.spi"].is_empty() {
            continue;
        }
        assert!(!row["esp.contained_data"].is_empty(), "the key log does not open this: {row:?}");
        let kind = row["mip6.mhtype"].first().or(row["icmpv6.type"].first());
        if let Some(kind) = kind.and_then(|kind| kind.parse().ok()).filter(|kind| by.contains_key(kind)) {
            assert_signalling(row, kind, &by);
            seen.insert(kind);
        }
    }
    assert_eq!(seen, by.keys().copied().collect::<BTreeSet<u8>>(), "not all of the signalling was seen");
    assert_selectors(&rows);
});
