//! Updates that are dropped or refused (RFC 6275 §9.5.1, §10.3.1).

use std::time::Duration;

use mip6::action::{Authority, HomeAgentAction as Action};
use mip6::address::CareOfAddress;
use mip6::ha::{Config, PrefixLifetime};
use mip6::wire::{BindingStatus, Lifetime, MobilityOption, UpdateFlags};

use crate::lab::*;

fn with_care_of(text: &str) -> Update {
    Update {
        options: vec![MobilityOption::AlternateCareOf(CareOfAddress(address(text)))],
        ..Update::away(2, care_of(2))
    }
}

/// The update is dropped with and without a binding, and the binding stays what it was.
fn is_dropped(update: &Update) {
    let mut lab = Lab::new(config());
    assert!(dropped(&lab.update(update.clone())), "{update:?}");
    let mut lab = Lab::bound();
    let before = *lab.agent.bindings().next().unwrap();
    assert!(dropped(&lab.update(update.clone())), "{update:?}");
    assert_eq!(*lab.agent.bindings().next().unwrap(), before);
    assert_eq!(lab.agent.stats().dropped, 1);
}

#[test]
fn an_unprotected_update_is_dropped() {
    for update in [Update::away(2, care_of(2)), Update::at_home(2)] {
        is_dropped(&Update { authority: Authority::None, ..update });
    }
}

#[test]
fn an_unprotected_update_with_an_old_number_learns_nothing() {
    is_dropped(&Update { authority: Authority::None, ..Update::away(0, care_of(2)) });
}

#[test]
fn an_update_to_another_address_is_dropped() {
    is_dropped(&Update { destination: address("2001:db8:1::2"), ..Update::away(2, care_of(2)) });
}

#[test]
fn a_home_address_that_is_not_unicast_routable_is_dropped() {
    for source in ["::", "::1", "fe80::1", "ff02::1", "ff0e::1"] {
        is_dropped(&Update { source: address(source), ..Update::away(2, care_of(2)) });
    }
}

#[test]
fn an_update_from_an_address_that_is_not_unicast_routable_is_dropped() {
    for header in ["::", "::1", "fe80::1", "ff0e::1"] {
        is_dropped(&Update { header: Some(CareOfAddress(address(header))), ..Update::away(2, care_of(2)) });
    }
}

#[test]
fn a_care_of_address_that_is_not_unicast_routable_is_dropped() {
    // RFC 6275 §6.1.7: silently.
    for text in ["::", "::1", "fe80::1", "ff02::1", "ff0e::1", "::ffff:192.0.2.1"] {
        is_dropped(&with_care_of(text));
    }
}

#[test]
fn a_care_of_address_on_the_home_link_is_174() {
    for text in ["2001:db8:1::1", "2001:db8:1::200", "2001:db8:1::"] {
        let mut lab = Lab::bound();
        assert_eq!(refused(&lab.update(with_care_of(text))), BindingStatus::InvalidCareOfAddress, "{text}");
    }
}

#[test]
fn a_home_registration_with_nonce_indices_is_dropped() {
    let mut update = Update::away(2, care_of(2));
    update.options.push(MobilityOption::NonceIndices { home: 1, care_of: 1 });
    is_dropped(&update);
}

#[test]
fn an_update_without_h_is_139_where_a_home_registration_is_and_dropped_elsewhere() {
    let update = Update { flags: UpdateFlags::ACKNOWLEDGE, ..Update::away(2, care_of(2)) };
    assert!(dropped(&Lab::new(config()).update(update.clone())));
    let mut lab = Lab::bound();
    assert_eq!(refused(&lab.update(update)), BindingStatus::RegistrationTypeChange);
    assert_eq!(lab.agent.bindings().next().unwrap().care_of, care_of(1));
}

#[test]
fn a_registration_without_a_home_address_option_is_dropped() {
    is_dropped(&Update { header: None, ..Update::away(2, care_of(2)) });
}

#[test]
fn a_registration_without_an_alternate_care_of_address_is_refused() {
    // RFC 4877 §4.3: the address in the header is not protected.
    let mut lab = Lab::bound();
    let update = Update { options: vec![], ..Update::away(2, care_of(2)) };
    assert_eq!(refused(&lab.update(update)), BindingStatus::ReasonUnspecified);
}

#[test]
fn a_home_address_outside_the_home_prefixes_is_132() {
    let mut lab = Lab::new(config());
    let update = Update { source: address("2001:db8:2::100"), ..Update::away(1, care_of(1)) };
    assert_eq!(refused(&lab.update(update)), BindingStatus::NotHomeSubnet);
}

#[test]
fn the_home_agents_own_address_is_nobodys_home_address() {
    let mut lab = Lab::new(config());
    let update = Update { source: agent(), ..Update::away(1, care_of(1)) };
    assert_eq!(refused(&lab.update(update)), BindingStatus::AdministrativelyProhibited);
}

#[test]
fn the_sequence_window_has_the_edges_of_the_rfc() {
    for (last, number, good) in [
        (15, 16, true),
        (15, 32782, true),
        (15, 32783, false),
        (15, 14, false),
        (15, 15, false),
        (15, 0, false),
        (32783, 15, false),
        (32784, 15, true),
        (65535, 0, true),
        (65535, 65535, false),
    ] {
        let mut lab = Lab::new(config());
        lab.register(Update::away(last, care_of(1)));
        if good {
            assert_eq!(lab.refresh(Update::away(number, care_of(2))).sequence, number, "{last} {number}");
        } else {
            let actions = lab.update(Update::away(number, care_of(2)));
            assert_eq!(refused(&actions), BindingStatus::SequenceOutOfWindow, "{last} {number}");
            assert_eq!(acknowledgement(&actions).1.sequence, last);
        }
    }
}

#[test]
fn a_replayed_update_is_refused_and_so_is_a_replayed_deletion() {
    let mut lab = Lab::bound();
    lab.refresh(Update::away(2, care_of(2)));
    for replayed in [Update::away(1, care_of(1)), Update::at_home(2)] {
        assert_eq!(refused(&lab.update(replayed)), BindingStatus::SequenceOutOfWindow);
    }
    assert_eq!(lab.agent.bindings().next().unwrap().care_of, care_of(2));
}

#[test]
fn a_refused_update_does_not_use_up_its_number() {
    let mut lab = Lab::bound();
    refused(&lab.update(with_care_of("2001:db8:1::200")));
    lab.refresh(Update::away(2, care_of(2)));
}

#[test]
fn one_nodes_number_is_not_anothers() {
    let mut lab = Lab::new(config());
    lab.register(Update::away(500, care_of(1)));
    lab.register(Update { source: address("2001:db8:1::200"), ..Update::away(1, care_of(2)) });
    assert_eq!(lab.agent.bindings().count(), 2);
}

#[test]
fn the_lifetime_is_the_least_of_what_is_asked_for_allowed_and_valid() {
    let lifetime = |asked, most, valid| {
        let mut config = Config { max_lifetime: Duration::from_secs(most), ..config() };
        config.prefixes[0].valid = PrefixLifetime::Fixed(Duration::from_secs(valid));
        Lab::new(config).register(Update { lifetime: asked, ..Update::away(1, care_of(1)) }).lifetime
    };
    assert_eq!(lifetime(105, 3600, 86_400), Lifetime(105));
    assert_eq!(lifetime(65535, 3600, 86_400), Lifetime(900));
    assert_eq!(lifetime(105, 400, 86_400), Lifetime(100));
    assert_eq!(lifetime(105, 3600, 103), Lifetime(25), "the two low bits are dropped");
    assert_eq!(lifetime(105, 1, 86_400), Lifetime(1), "never a deletion that nobody asked for");
}

#[test]
fn a_binding_does_not_outlive_a_prefix_that_runs_down() {
    let mut lab = Lab::new(config());
    let end = lab.now + Duration::from_secs(101);
    let mut config = config();
    config.prefixes[0].valid = PrefixLifetime::Until(end);
    lab.agent = mip6::ha::HomeAgent::new(config, [1; 32]);
    let acknowledgement = lab.register(Update::away(1, care_of(1)));
    // One second went into the probe.
    assert_eq!(acknowledgement.lifetime, Lifetime(25));
    assert_eq!(acknowledgement.status, BindingStatus::PrefixDiscoveryNecessary);
    assert!(lab.agent.bindings().next().unwrap().expires <= end);
    assert!(matches!(lab.pass(100_000)[..], [Action::Unbind { .. }]));
    assert_eq!(refused(&lab.update(Update::away(2, care_of(1)))), BindingStatus::NotHomeSubnet);
}

#[test]
fn a_prefix_that_ends_during_the_probe_makes_it_132() {
    let mut lab = Lab::new(config());
    let mut config = config();
    config.prefixes[0].valid = PrefixLifetime::Until(lab.now + Duration::from_millis(4500));
    lab.agent = mip6::ha::HomeAgent::new(config, [1; 32]);
    lab.update(Update::away(1, care_of(1)));
    assert_eq!(refused(&lab.pass(1000)), BindingStatus::NotHomeSubnet);
    assert_eq!(lab.agent.deadline(), None);
}

#[test]
fn a_prefix_that_is_or_gets_deprecated_makes_it_status_1() {
    for (preferred, valid, status) in [
        (1000, 2000, BindingStatus::Accepted),
        (420, 2000, BindingStatus::Accepted),
        (419, 2000, BindingStatus::PrefixDiscoveryNecessary),
        (0, 2000, BindingStatus::PrefixDiscoveryNecessary),
        (420, 420, BindingStatus::PrefixDiscoveryNecessary),
        (420, 424, BindingStatus::Accepted),
    ] {
        let mut config = config();
        config.prefixes[0].valid = PrefixLifetime::Fixed(Duration::from_secs(valid));
        config.prefixes[0].preferred = PrefixLifetime::Fixed(Duration::from_secs(preferred));
        let acknowledgement = Lab::new(config).register(Update::away(1, care_of(1)));
        // RFC 6275 §10.3.1: the preferred lifetime limits nothing.
        assert_eq!((acknowledgement.status, acknowledgement.lifetime), (status, Lifetime(105)), "{preferred} {valid}");
    }
}
