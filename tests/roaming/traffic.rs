//! Traffic between home address and correspondent, to see that it flows.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use homeward::lab::{Host, PingFlow, TcpFlow};

use crate::PATIENCE;

pub(crate) fn at(address: Ipv6Addr, port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(address, port, 0, 0)
}

/// Waits until five echoes have come back.
pub(crate) fn ping(from: &Host, source: Ipv6Addr, to: Ipv6Addr) {
    let flow = PingFlow::start(from, Some(source), to, Duration::from_millis(10)).unwrap();
    let end = SystemTime::now() + PATIENCE;
    while flow.so_far().delivered() < 5 {
        assert!(SystemTime::now() < end, "no echo from {to} to {source}: {:?}", flow.so_far());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn alive(stream: &TcpFlow) {
    let before = stream.so_far();
    let end = SystemTime::now() + PATIENCE;
    loop {
        let now = stream.so_far();
        assert_eq!((&now.up.failure, &now.down.failure), (&None, &None));
        if now.up.octets > before.up.octets && now.down.octets > before.down.octets {
            return;
        }
        assert!(SystemTime::now() < end, "the stream stands still: {before:?} {now:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
