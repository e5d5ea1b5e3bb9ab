//! Strangers who begin IKE SAs and never go on, so that a responder asks for cookies.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Instant;

use homeward::lab::Host;
use ike::action::{Action, Connect, Endpoints, Input, LocalAuth, RemoteAuth};
use ike::crypto::{Randomness, Secret};
use ike::wire::Identity;
use ring::rand::{SecureRandom, SystemRandom};

use crate::strongswan::PATIENCE;

struct Random(SystemRandom);

impl Randomness for Random {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill(octets).unwrap();
    }
}

/// Sends so many IKE_SA_INIT requests from an address of a host and waits for an answer to each, which is the last that the
/// responder hears of it.
pub(crate) fn half_open(host: &Host, from: Ipv6Addr, responder: Ipv6Addr, count: usize) {
    let at = |address, port| SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0));
    let socket = host.enter(|| UdpSocket::bind(at(from, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let endpoints = Endpoints { local: socket.local_addr().unwrap(), remote: at(responder, 500) };
    let mut engine = ike::Engine::new(ike::Config::default(), Box::new(Random(SystemRandom::new())));
    let secret = || Secret::from_slice(b"nobody gets as far as this");
    for tag in 0..count {
        let connect = Connect {
            endpoints,
            local_id: Identity::Fqdn("stranger.example.org".into()),
            remote_id: Identity::Fqdn("anybody.example.org".into()),
            local_auth: LocalAuth::Psk(secret()),
            remote_auth: RemoteAuth::Psk(secret()),
            address: None,
            child: None,
            initial_contact: false,
            tag: tag as u64,
        };
        engine.handle(Instant::now(), Input::Connect(Box::new(connect)));
        while let Some(action) = engine.poll() {
            if let Action::Send { bytes, .. } = action {
                socket.send_to(&bytes, endpoints.remote).unwrap();
                socket.recv_from(&mut [0; 2048]).unwrap();
            }
        }
    }
}
