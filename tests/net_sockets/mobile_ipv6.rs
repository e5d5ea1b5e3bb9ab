//! Mobile IPv6 in the kernel as the sockets show it: Home Address option, routing header, and what the kernel drops.

use std::net::{Ipv6Addr, SocketAddrV6};

use homeward::net::icmp6::{self, Icmp6Socket};
use homeward::net::mobility::MobilitySocket;
use homeward::real_kernel_test;
use mip6::wire::checksum::fill_mobility;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    A, B, HOME, Host, LINK_LOCAL_A, between_two_hosts, binding_update, next_mobility_message, nothing_comes,
    within_a_second,
};

real_kernel_test!(home_address_option_and_routing_header_show_the_care_of_address, {
    between_two_hosts(async |mobile, agent| {
        mobile_ipv6(&mobile, &agent);
        let (mobile_socket, agent_socket) =
            (mobile.within(MobilitySocket::open).unwrap(), agent.within(MobilitySocket::open).unwrap());

        mobile_socket.send(HOME, B, None, &binding_update(1)).unwrap();
        let update = next_mobility_message(&agent_socket).await;
        assert_eq!((update.source, update.destination), (HOME, B));
        assert_eq!((update.home_address_option_care_of, update.routing_header_care_of), (Some(A), None));

        agent_socket
            .send(B, HOME, update.home_address_option_care_of, &[59, 1, 6, 0, 0, 0, 0, 0, 0, 1, 0, 60, 1, 2, 0, 0])
            .unwrap();
        let acknowledgement = next_mobility_message(&mobile_socket).await;
        assert_eq!((acknowledgement.source, acknowledgement.destination), (B, HOME));
        assert_eq!(
            (acknowledgement.home_address_option_care_of, acknowledgement.routing_header_care_of),
            (None, Some(A))
        );
    });
});

real_kernel_test!(mobile_prefix_discovery_shows_the_care_of_address, {
    between_two_hosts(async |mobile, agent| {
        mobile_ipv6(&mobile, &agent);
        let mobile_socket = mobile.within(|| Icmp6Socket::open(&[icmp6::MOBILE_PREFIX_ADVERTISEMENT])).unwrap();
        let agent_socket = agent.within(|| Icmp6Socket::open(&[icmp6::MOBILE_PREFIX_SOLICITATION])).unwrap();

        mobile_socket.send(0, Some(HOME), B, 64, &[146, 0, 0, 0, 0, 1, 0, 0], None).unwrap();
        let solicitation = within_a_second(agent_socket.recv()).await;
        assert_eq!((solicitation.kind, solicitation.source, solicitation.destination), (146, HOME, B));
        assert_eq!((solicitation.home_address_option_care_of, solicitation.routing_header_care_of), (Some(A), None));

        agent_socket
            .send(0, Some(B), HOME, 64, &[147, 0, 0, 0, 0, 1, 0, 0], solicitation.home_address_option_care_of)
            .unwrap();
        let advertisement = within_a_second(mobile_socket.recv()).await;
        assert_eq!((advertisement.kind, advertisement.source, advertisement.destination), (147, B, HOME));
        assert_eq!((advertisement.home_address_option_care_of, advertisement.routing_header_care_of), (None, Some(A)));
        // The routing header is worth a hop.
        assert_eq!(advertisement.hop_limit, 63);
    });
});

real_kernel_test!(a_mobility_header_that_is_not_whole_is_dropped_and_its_fault_pointed_at, {
    between_two_hosts(async |a, b| {
        mobile_ipv6(&b, &a);
        let raw = a.within(|| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255)))).unwrap();
        let errors = a.within(|| Icmp6Socket::open(&[PARAMETER_PROBLEM])).unwrap();
        let socket = b.within(MobilitySocket::open).unwrap();
        let send = |message: &[u8]| {
            let packet = packet(A, B, message);
            raw.send_to(&packet, &SocketAddrV6::new(B, 0, 0, 0).into()).unwrap();
        };
        let whole = |mut message: Vec<u8>| {
            fill_mobility(A, B, &mut message);
            message
        };
        send(&whole(binding_update(1)));
        assert_eq!(next_mobility_message(&socket).await.message, whole(binding_update(1)));

        // RFC 6275 §9.2: a wrong checksum is dropped silently.
        let mut wrong = whole(binding_update(2));
        wrong[5] ^= 1;
        send(&wrong);
        nothing_comes(errors.recv()).await;
        // Something behind it, or shorter than its type: ICMPv6 Parameter Problem, code 0, where the fault is.
        let mut piggy_backed = binding_update(3);
        piggy_backed[0] = 6;
        let mut short = binding_update(4);
        short[1] = 0;
        short.truncate(8);
        for (message, pointer) in [(piggy_backed, 40), (short, 41)] {
            let message = whole(message);
            send(&message);
            let error = within_a_second(errors.recv()).await;
            assert_eq!((error.kind, error.message[1], error.source, error.destination), (PARAMETER_PROBLEM, 0, B, A));
            assert_eq!(error.message[4..8], u32::to_be_bytes(pointer));
            assert_eq!(error.message[48..], message);
        }
        // The errors came after them, so none of the four is still on its way.
        assert_eq!(socket.try_recv().unwrap(), None);
    });
});

/// Sends what is to be dropped and then something good, which comes alone.
async fn only_the_last_arrives(from: &Host, to: &MobilitySocket, packets: &[Vec<u8>]) {
    let raw = from.within(|| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255)))).unwrap();
    for packet in packets {
        let destination = <[u8; 16]>::try_from(&packet[24..40]).unwrap();
        raw.send_to(packet, &SocketAddrV6::new(destination.into(), 0, 0, 0).into()).unwrap();
    }
    let came = next_mobility_message(to).await;
    let last = packets.last().unwrap();
    assert_eq!(came.message[6..], last[last.len() - came.message.len() + 6..], "another one came");
    assert_eq!(to.try_recv().unwrap(), None);
}

real_kernel_test!(a_routing_header_leads_only_to_ones_own_home_address, {
    between_two_hosts(async |mobile, agent| {
        mobile_ipv6(&mobile, &agent);
        let socket = mobile.within(MobilitySocket::open).unwrap();
        // The number tells them apart.
        let routed = |number: u8, length: u8, segments_left: u8, address: Ipv6Addr| {
            let mut message = vec![59, 1, 6, 0, 0, 0, 0, 0, 0, number, 0, 60, 1, 2, 0, 0];
            // Right for whatever the kernel would take it for.
            fill_mobility(B, address, &mut message);
            let mut header = vec![135, length, 2, segments_left, 0, 0, 0, 0];
            header.extend(address.octets());
            header.resize(usize::from(length) * 8 + 8, 0);
            packet_with(43, B, A, &[header, message].concat())
        };
        let other = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x200);
        let packets = [
            routed(1, 2, 1, other),
            // Ours, but no home address.
            routed(2, 2, 1, A),
            routed(3, 2, 1, Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1)),
            routed(4, 2, 1, LINK_LOCAL_A),
            routed(5, 4, 1, HOME),
            routed(6, 2, 2, HOME),
            routed(7, 2, 1, HOME),
        ];
        only_the_last_arrives(&agent, &socket, &packets).await;
    });
});

real_kernel_test!(a_home_address_option_is_taken_for_signalling_only_and_only_with_a_unicast_address, {
    between_two_hosts(async |mobile, agent| {
        mobile_ipv6(&mobile, &agent);
        let socket = agent.within(MobilitySocket::open).unwrap();
        let datagrams = agent.within(|| std::net::UdpSocket::bind((B, 7))).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let optioned = |next: u8, address: Ipv6Addr, payload: &[u8]| {
            let mut header = vec![next, 2, 1, 2, 0, 0, 201, 16];
            header.extend(address.octets());
            packet_with(60, A, B, &[&header, payload].concat())
        };
        let update = |number: u8, address: Ipv6Addr| {
            let mut message = binding_update(number.into());
            fill_mobility(address, B, &mut message);
            optioned(135, address, &message)
        };
        let datagram = |source| {
            let mut octets = vec![0, 9, 0, 7, 0, 8, 0, 0];
            let sum = udp_checksum(source, B, &octets);
            octets[6..8].copy_from_slice(&sum.to_be_bytes());
            octets
        };
        let packets = [
            update(1, Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1)),
            update(2, Ipv6Addr::UNSPECIFIED),
            update(3, Ipv6Addr::LOCALHOST),
            optioned(17, HOME, &datagram(HOME)),
            packet_with(17, A, B, &datagram(A)),
            update(5, HOME),
        ];
        only_the_last_arrives(&mobile, &socket, &packets).await;
        // RFC 6275 §9.3.1: there is no binding, so of the two datagrams only the one without the option came.
        assert_eq!(datagrams.recv_from(&mut [0; 8]).unwrap().1.ip(), A);
        assert_eq!(datagrams.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
});

const PARAMETER_PROBLEM: u8 = 4;

/// An IPv6 packet with this Mobility Header message.
fn packet(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    packet_with(135, source, destination, message)
}

fn packet_with(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next_header, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// RFC 8200 §8.1, of an even number of octets whose checksum field is zero.
fn udp_checksum(source: Ipv6Addr, destination: Ipv6Addr, octets: &[u8]) -> u16 {
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0, 0, octets.len() as u8, 0, 0, 0, 17], octets];
    let words = pseudo.concat();
    let mut sum: u32 = words.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The mobile node's home address at its care-of address A, the home agent B, without ESP.
fn mobile_ipv6(mobile: &Host, agent: &Host) {
    mobile.ip(&format!("addr add {HOME}/128 dev lo home nodad"));
    mobile.ip(&format!("xfrm state add src {HOME} dst {B} proto hao mode ro coa {A}"));
    mobile.ip(&format!("xfrm state add src :: dst {HOME} proto route2 mode ro coa {A} flag wildrecv"));
    for proto in ["135", "ipv6-icmp type 146"] {
        mobile.ip(&format!(
            "xfrm policy add src {HOME} dst {B} proto {proto} dir out ptype sub priority 10 tmpl src {HOME} dst {B} proto hao mode ro"
        ));
    }
    // Towards the mobile node there is no state: the routing header comes from the socket.
    agent.ip("xfrm state add src :: dst :: proto hao mode ro coa :: flag wildrecv");
    for proto in ["135", "ipv6-icmp"] {
        mobile.ip(&format!(
            "xfrm policy add src {B} dst {HOME} proto {proto} dir in ptype sub priority 10 tmpl src :: dst :: proto route2 mode ro"
        ));
        agent.ip(&format!(
            "xfrm policy add src {HOME} dst {B} proto {proto} dir in ptype sub priority 10 tmpl src :: dst :: proto hao mode ro level use"
        ));
    }
}
