//! Messages that are none of a home agent's, or of no known type (RFC 6275 §9.2, §11.3.6).

use mip6::action::{MobileNodeAction, MobileNodeInput};
use mip6::address::HomeAddress;
use mip6::wire::{BindingError, BindingErrorStatus, MobilityMessage};

use crate::host::{Host, WLAN, address, home_address, home_agent, router_home};

#[test]
fn a_binding_error_of_a_stranger_changes_nothing() {
    let mut host = Host::bound();
    let status = BindingErrorStatus::UnknownBinding;
    let error = BindingError { status, home_address: home_address(), options: Vec::new() };
    host.handle(MobileNodeInput::MobilityMessage {
        source: address("2001:db8:bad::1"),
        destination: home_address().0,
        message: MobilityMessage::BindingError(error).write(),
    });
    assert!(host.node.binding().is_some());
    assert!(matches!(host.take()[..], [MobileNodeAction::Audit(_)]));
}

#[test]
fn a_message_of_an_unknown_type_is_answered_from_where_we_are() {
    let unknown = |host: &mut Host, source: &str| {
        host.take();
        host.handle(MobileNodeInput::MobilityMessage {
            source: address(source),
            destination: home_address().0,
            message: vec![59, 0, 200, 0, 0, 0, 0, 0],
        });
        let errors = host.take().into_iter().filter_map(|action| match action {
            MobileNodeAction::SendBindingError { source, destination, message } => {
                let Ok(MobilityMessage::BindingError(error)) = MobilityMessage::parse(&message) else { panic!() };
                assert_eq!(error.status, BindingErrorStatus::UnrecognizedType);
                assert_eq!(error.home_address, HomeAddress(address("::")), "no option told one");
                Some((source, destination))
            }
            _ => None,
        });
        errors.collect::<Vec<_>>()
    };
    let mut host = Host::bound();
    let care_of = host.care_of().address.0;
    for from in [home_agent().0.to_string().as_str(), "2001:db8:9::9"] {
        assert_eq!(unknown(&mut host, from), [(care_of, address(from))]);
    }
    for from in ["::", "ff0e::1"] {
        assert_eq!(unknown(&mut host, from), [], "{from}");
    }
    let answered = (0..100).filter(|_| !unknown(&mut host, "2001:db8:9::9").is_empty()).count();
    assert_eq!(answered, 8, "ten at once, and two were before");
    assert!(host.node.binding().is_some());
    let mut nowhere = Host::new();
    assert_eq!(unknown(&mut nowhere, "2001:db8:9::9"), []);
    let mut at_home = Host::bound();
    at_home.down(WLAN);
    at_home.up(WLAN, 1);
    at_home.advertise(WLAN, &router_home());
    assert_eq!(unknown(&mut at_home, "2001:db8:9::9"), [(home_address().0, address("2001:db8:9::9"))]);
}
