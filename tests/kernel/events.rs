//! Events of links: none is lost, whoever else sends and however many there are.

use std::time::Duration;

use homeward::kernel::event::{Events, Link};
use homeward::real_kernel_test;
use netlink_sys::{Socket, SocketAddr, protocols};

use crate::support::*;

/// Runs a future in the host, to its end.
fn in_host<F: Future<Output = ()>>(bed: &Bed, body: impl FnOnce() -> F + Send) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), body()).await.unwrap();
        });
    };
    bed.node.enter(run).unwrap();
}

fn named<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    links.iter().rev().find(|link| link.name == name)
}

real_kernel_test!(events_that_did_not_fit_are_made_good_by_a_list, {
    let bed = Bed::new();
    in_host(&bed, || async {
        ip("link add name gone type veth peer name other");
        ip("link set other up");
        let mut events = Events::open().unwrap();
        let first = events.next().await.unwrap();
        assert!(named(&first, "eth0").unwrap().running);
        assert!(named(&first, "gone").is_some());
        // More than the socket's buffer holds, and the last of it is what counts.
        let mut batch = String::new();
        for at in 0..1000 {
            batch.push_str(&format!("link set dev other alias number{at}\n"));
        }
        batch.push_str("link set eth0 down\nlink delete gone\n");
        std::fs::write("/run/batch", batch).unwrap();
        ip("-batch /run/batch");
        let (mut lists, mut down, mut removed) = (0, false, false);
        while !(down && removed) {
            let links = events.next().await.unwrap();
            lists += usize::from(named(&links, "lo").is_some());
            down |= named(&links, "eth0").is_some_and(|link| !link.running);
            removed |= named(&links, "gone").is_some_and(|link| !link.running);
        }
        assert!(lists > 0, "no event was missed: the test makes too few");
        // And it goes on.
        ip("link set eth0 up");
        while !named(&events.next().await.unwrap(), "eth0").is_some_and(|link| link.running) {}
    });
});

real_kernel_test!(an_event_that_the_kernel_did_not_send_is_no_event, {
    let bed = Bed::new();
    in_host(&bed, || async {
        let mut events = Events::open().unwrap();
        events.next().await.unwrap();
        // The subscriber is the one socket of the family with a group.
        let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let subscriber = table.lines().map(fields).find(|line| line[1] == "0" && line[3] == "00000001").unwrap();
        let port: u32 = subscriber[2].parse().unwrap();
        let mut socket = Socket::new(protocols::NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        // RTM_NEWLINK for an interface "bad".
        let mut body = vec![0, 0, 1, 0, 99, 0, 0, 0, 0x43, 0, 1, 0, 0, 0, 0, 0];
        body.extend([8, 0, 3, 0]);
        body.extend(b"bad\0");
        let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(16u16.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        socket.send_to(&message, &SocketAddr::new(port, 0), 0).unwrap();
        ip("link set eth0 down");
        loop {
            let links = events.next().await.unwrap();
            assert_eq!(named(&links, "bad"), None);
            if named(&links, "eth0").is_some_and(|link| !link.running) {
                break;
            }
        }
    });
});
