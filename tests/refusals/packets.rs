//! Forged packets: outside ESP, under another's SA, with another's address inside the tunnel, replayed, old.

use std::fs;
use std::net::Ipv6Addr;
use std::time::Duration;

use homeward::lab::topology::{CORRESPONDENT, HOME_AGENT, HOME_PREFIX};
use homeward::lab::{Auth, Host, Link};
use homeward::real_kernel_test;

use crate::wire::{self, Stolen};
use crate::{Ground, PATIENCE, SECOND_HOME};

/// So far ahead of its owner are the packets that are sent under an SA, so that the owner's own next ones are still new. The
/// window has 32.
const AHEAD: u32 = 6;

/// A counter of `/proc/net/xfrm_stat`.
fn counter(host: &Host, name: &str) -> u64 {
    let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/xfrm_stat")).unwrap().unwrap();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends packets of which the home agent's kernel is to drop each for this reason.
fn dropped_by_the_kernel(ground: &Ground, what: &str, reason: &str, from: &Host, packets: &[Vec<u8>]) {
    dropped_by(&ground.scene.ha, what, reason, from, packets);
    ground.assert_unharmed(what);
}

/// The same by the kernel of a host.
fn dropped_by(host: &Host, what: &str, reason: &str, from: &Host, packets: &[Vec<u8>]) {
    let before = counter(host, reason);
    packets.iter().for_each(|packet| wire::send(from, packet));
    let expected = before + packets.len() as u64;
    let end = std::time::Instant::now() + PATIENCE;
    while counter(host, reason) < expected {
        let all = host.enter(|| fs::read_to_string("/proc/thread-self/net/xfrm_stat")).unwrap().unwrap();
        assert!(
            std::time::Instant::now() < end,
            "{what}: {reason} is {}, not {expected}:\n{all}",
            counter(host, reason)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_binding_of(state: &str, home: Ipv6Addr) -> bool {
    state.contains(&format!("sel src {home}/128 dst {HOME_AGENT}/128 proto mobility-header"))
}

fn is_payload_of(state: &str, home: Ipv6Addr) -> bool {
    state.contains(&format!("sel src {home}/128 dst ::/0")) && !state.contains("mobility-header")
}

real_kernel_test!(forged_packets_are_refused_and_change_nothing, {
    let ground = Ground::new(Auth::Psk);
    let (home, care_of) = (ground.honest.home_address, ground.care_of());
    let stranger = ground.stranger_address;
    let unbound = Ipv6Addr::from_bits(HOME_PREFIX.to_bits() | 0x77);
    let mark = ground.honest.ha.mark();

    // Outside ESP, from an address that no policy is about: the kernel delivers it, the home agent refuses it.
    let update = wire::registration(stranger, stranger, HOME_AGENT, 100);
    wire::send(&ground.stranger, &wire::plain(stranger, HOME_AGENT, &update));
    let event = ground.refused(&ground.honest.ha, mark, "refused", "binding update without the protection");
    assert!(event.text("reason").contains(&stranger.to_string()), "{event:?}");
    ground.assert_unharmed("a binding update outside ESP");

    // Outside ESP, with a Home Address option: of one who is bound, and of one who is not.
    let forged = |home| {
        let update = wire::registration(home, stranger, HOME_AGENT, 100);
        wire::plain_with_option(stranger, home, HOME_AGENT, &update)
    };
    let packets = [forged(home), forged(SECOND_HOME), forged(unbound)];
    dropped_by_the_kernel(
        &ground,
        "a home address option outside ESP",
        "XfrmInTmplMismatch",
        &ground.stranger,
        &packets,
    );

    // Outside ESP, on the home link, as if the mobile node were there.
    let neighbour = ground.scene.add_host("neighbour", Link::Home, unbound).unwrap();
    let forged = |home| wire::plain(home, HOME_AGENT, &wire::registration(home, home, HOME_AGENT, 100));
    let packets = [forged(home), forged(SECOND_HOME), forged(unbound)];
    dropped_by_the_kernel(&ground, "a binding update from the home link", "XfrmInTmplMismatch", &neighbour, &packets);

    // Under one's own SA, for the home address of another.
    let binding = Stolen::from(&ground.scene.mn, |state| is_binding_of(state, home));
    let forged = |home, ahead| {
        let update = wire::registration(home, stranger, HOME_AGENT, 40_000);
        binding.update(binding.sequence + ahead, (stranger, home), HOME_AGENT, &update)
    };
    let packets = [forged(SECOND_HOME, AHEAD), forged(unbound, AHEAD + 1)];
    dropped_by_the_kernel(&ground, "an update under another's SA", "XfrmInStateMismatch", &ground.stranger, &packets);

    // In the tunnel, from an address that is not the tunnel's home address.
    let capture = ground.scene.capture(Link::C, None).unwrap();
    let tunnel = Stolen::from(&ground.scene.mn, |state| is_payload_of(state, home));
    let secret = b"nobody is to read this";
    let forged = |source, ahead| {
        let inner = wire::datagram(source, CORRESPONDENT, secret);
        tunnel.tunnel(tunnel.sequence + ahead, (care_of, HOME_AGENT), &inner)
    };
    let packets = [forged(SECOND_HOME, AHEAD), forged(unbound, AHEAD + 1), forged(stranger, AHEAD + 2)];
    dropped_by_the_kernel(&ground, "another's address inside", "XfrmInStateMismatch", &ground.stranger, &packets);
    let leaked = |octets: &[u8]| octets.windows(secret.len()).any(|part| part == secret);
    assert!(!capture.packets().iter().any(|packet| leaked(&packet.octets)), "it was forwarded");
    // It would have been seen: with the owner's own address it goes through.
    let tunnel = Stolen::from(&ground.scene.mn, |state| is_payload_of(state, home));
    let inner = wire::datagram(home, CORRESPONDENT, secret);
    wire::send(&ground.stranger, &tunnel.tunnel(tunnel.sequence + AHEAD, (care_of, HOME_AGENT), &inner));
    capture.wait_for("the owner's datagram", PATIENCE, |packet| leaked(&packet.octets)).unwrap();

    // Under a good SA, but with a sequence number that is not new: status 135, and the binding stays.
    let accepted = ground.honest.ha.all("binding_accepted");
    let last = accepted.iter().rfind(|event| event.text("home_address") == home.to_string()).unwrap();
    let last = u16::try_from(last.number("sequence").unwrap()).unwrap();
    let bound = ground.honest.ha.all("bound").len();
    let old = |sequence: u16, ahead| {
        let update = wire::registration(home, stranger, HOME_AGENT, sequence);
        binding.update(binding.sequence + ahead, (stranger, home), HOME_AGENT, &update)
    };
    for (ahead, sequence) in [(2, last), (3, last.wrapping_sub(1000))] {
        let mark = ground.honest.ha.mark();
        wire::send(&ground.stranger, &old(sequence, AHEAD + ahead));
        let event = ground.refused(&ground.honest.ha, mark, "binding_refused", "sequence number out of window");
        assert!(event.text("status").contains("SequenceOutOfWindow"), "{event:?}");
        ground.assert_unharmed("an old sequence number");
    }

    // Bit for bit what was received before.
    let packets = [old(last, AHEAD + 2), old(last, AHEAD + 2)];
    dropped_by_the_kernel(&ground, "a replayed update", "XfrmInStateSeqError", &ground.stranger, &packets);
    assert_eq!(ground.honest.ha.all("bound").len(), bound);

    // To the mobile node, outside ESP: what the home agent never said, and what did not come through the tunnel.
    let mn = &ground.scene.mn;
    let before = mn.snapshot().unwrap();
    let mut packets: Vec<Vec<u8>> = wire::agents_messages(HOME_AGENT, home).into();
    packets.push(wire::echo_request(CORRESPONDENT, home));
    let packets: Vec<Vec<u8>> = packets.iter().map(|packet| wire::by_way_of(care_of, packet)).collect();
    dropped_by(mn, "outside ESP to the mobile node", "XfrmInTmplMismatch", &ground.stranger, &packets);
    assert_eq!(before.difference(&mn.snapshot().unwrap()), "");
    assert_eq!(ground.honest.mn.all("bound").len(), 1);
    ground.assert_unharmed("forged answers");

    // What the kernels refused is told as well.
    ground.refused(&ground.honest.mn, 0, "packets_refused", "without the protection that the policy demands");
    for why in ["without the protection that the policy demands", "under an SA that is another's", "replayed"] {
        ground.refused(&ground.honest.ha, mark, "packets_refused", why);
    }
    ground.finish();
});
