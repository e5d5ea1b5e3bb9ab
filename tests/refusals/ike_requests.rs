//! IKE peers that ask for what is not theirs, or cannot prove who they are.

use std::net::Ipv6Addr;

use homeward::lab::service::HOME_AGENT_ID;
use homeward::lab::topology::{HOME_AGENT, HOME_PREFIX};
use homeward::lab::{Auth, Service};
use homeward::real_kernel_test;
use ike::action::AddressRequest;
use ike::wire::NotifyType;

use crate::ike_peer::IkePeer;
use crate::{Ground, OUTSIDE, OUTSIDE_HOME, PATIENCE, ROGUE, SECOND, SECOND_HOME, start, terminate};

/// A peer by hand on the stranger's host, as one that the home agent knows.
fn peer(ground: &Ground, id: &str, suggestion: Option<Ipv6Addr>, home: Option<Ipv6Addr>) -> IkePeer {
    let secret = std::fs::read_to_string(ground.files.folder().join("psk")).unwrap();
    let address = suggestion.map(|suggestion| AddressRequest { suggestion: Some(suggestion), dns: false });
    let (ends, names) = ((ground.stranger_address, HOME_AGENT), (id, HOME_AGENT_ID));
    IkePeer::connect(&ground.stranger, ends, names, &secret, address, home)
}

real_kernel_test!(a_home_address_is_given_to_nobody_but_its_owner, {
    let ground = Ground::new(Auth::Psk);
    let home = ground.honest.home_address;
    let ha = &ground.honest.ha;

    // By a suggestion in the configuration payload: another address is assigned, and the child is for that one.
    for suggested in [SECOND_HOME, home, HOME_AGENT, OUTSIDE_HOME] {
        let mut peer = peer(&ground, ROGUE, Some(suggested), None);
        peer.until("a child", |fate| !fate.children.is_empty());
        let lease = peer.fate.lease.clone().unwrap().address;
        assert!(![SECOND_HOME, home, HOME_AGENT, OUTSIDE_HOME].contains(&lease), "{lease} was assigned");
        assert_eq!(lease.segments()[..4], HOME_PREFIX.segments()[..4]);
        let selector = &peer.fate.children[0].local_selectors[0];
        assert_eq!((selector.start, selector.end), (lease.into(), lease.into()));

        // By a child of its own.
        let mark = ha.mark();
        peer.ask(suggested, HOME_AGENT);
        peer.until("a refusal", |fate| !fate.failed.is_empty());
        assert_eq!(peer.fate.failed, [Some(NotifyType::TsUnacceptable)]);
        let why = format!("{ROGUE} asked for {suggested}-{suggested}, its home address is {lease}");
        ground.refused(ha, mark, "child_refused", &why);
        peer.close();
    }
    ground.assert_unharmed("suggestions of other nodes' addresses");

    // By the first child, of one with an address of its own and of one who has to ask for it: the IKE SA stands, without it.
    for (id, notify) in [(OUTSIDE, NotifyType::TsUnacceptable), (ROGUE, NotifyType::FailedCpRequired)] {
        let mark = ha.mark();
        let mut peer = peer(&ground, id, None, Some(SECOND_HOME));
        peer.until("a refusal", |fate| fate.ike_sa.is_some() && !fate.failed.is_empty());
        assert_eq!(peer.fate.failed, [Some(notify)]);
        assert!(peer.fate.children.is_empty() && peer.fate.closed.is_empty());
        ground.refused(ha, mark, "child_refused", id);
        peer.close();
        ground.assert_unharmed("a first child for another's address");
    }

    // A homeward that is configured with the address of another one says what is wrong.
    let (own, elses) = (format!("\"{OUTSIDE_HOME}\""), format!("\"{SECOND_HOME}\""));
    ground.variant("greedy.toml", &format!("{OUTSIDE}.toml"), &[(&own, &elses)]);
    let mark = ha.mark();
    let mut greedy = ground.rogue("greedy.toml");
    let why = format!("the home agent's configuration has another home address for us than {SECOND_HOME}");
    ground.refused(&greedy, 0, "child_refused", &why);
    // It is tried again, but ever more seldom.
    let pauses = |event: &homeward::lab::Event| event.number("retry_s");
    let first = greedy.wait("ike_closed", PATIENCE).unwrap();
    greedy.wait_for(0, "ike_closed", PATIENCE, |event| pauses(event) > pauses(&first)).unwrap();
    ground.refused(ha, mark, "child_refused", &format!("{OUTSIDE} asked for {SECOND_HOME}-{SECOND_HOME}"));
    terminate(&mut greedy);
    ground.assert_unharmed("a mobile node that is configured with another's address");

    // Outside of the home prefix an address has an owner too, but cannot be registered: status 132.
    let mark = ha.mark();
    let mut outside = start(&ground.files, &ground.rogue, &format!("{OUTSIDE}.toml"));
    let event = outside.wait("binding_refused", PATIENCE).unwrap();
    assert!(event.text("status").contains("NotHomeSubnet"), "{event:?}");
    ground.refused(ha, mark, "binding_refused", "the home address is not in a home prefix");
    terminate(&mut outside);
    ground.assert_unharmed("a home address outside of the home prefix");
    ground.finish();
});

/// Starts a mobile node that cannot come in, waits until both sides have said why, and ends it.
pub(crate) fn kept_out(ground: &Ground, configuration: &str, by_home_agent: &str, by_mobile_node: &str) {
    let mark = ground.honest.ha.mark();
    let mut service: Service = ground.rogue(configuration);
    if !by_home_agent.is_empty() {
        let event = ground.refused(&ground.honest.ha, mark, "refused", by_home_agent);
        println!("home agent: {:?}", event.fields);
    }
    let event = ground.refused(&service, 0, "ike_closed", by_mobile_node);
    println!("mobile node: {:?}", event.fields);
    terminate(&mut service);
    ground.assert_unharmed(configuration);
}

real_kernel_test!(who_does_not_know_the_secret_or_is_unknown_stays_out, {
    let ground = Ground::new(Auth::Psk);
    ground.files.write("wrong-psk", "another secret, of somebody else").unwrap();
    let rogue = format!("{ROGUE}.toml");
    ground.variant("wrong-secret.toml", &rogue, &[("psk_file = \"psk\"", "psk_file = \"wrong-psk\"")]);
    ground.variant("unknown.toml", &rogue, &[(ROGUE, "nobody.example.org")]);
    // Says that it is somebody who is bound now, and that all older IKE SAs of that one are dead.
    let named = [(&format!("state-{ROGUE}")[..], "state-impostor"), (ROGUE, SECOND)];
    ground.variant("impostor.toml", "wrong-secret.toml", &named);
    ground.variant("other-agent.toml", &rogue, &[(HOME_AGENT_ID, "other.example.org")]);
    kept_out(&ground, "wrong-secret.toml", "the shared secrets differ", "the peer answers AUTHENTICATION_FAILED");
    kept_out(
        &ground,
        "unknown.toml",
        "nobody.example.org is not among the mobile nodes",
        "the peer answers AUTHENTICATION_FAILED",
    );
    kept_out(&ground, "impostor.toml", "the shared secrets differ", "the peer answers AUTHENTICATION_FAILED");
    kept_out(&ground, "other-agent.toml", "", "ha.example.org");
    ground.finish();
});
