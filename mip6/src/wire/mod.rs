//! What goes over the wire (RFC 6275 §6, RFC 4861 §4): octets become typed values once, and unknown types and options survive.
//!
//! [`MobilityMessage`] and [`Icmp6Message`] are the two doors; each noun behind them has its own file. Checksums are
//! left zero on writing, since the kernel fills them in; [`checksum`] is there for captures and tests.

pub mod checksum;

mod binding_acknowledgement;
mod binding_error;
mod binding_refresh_request;
mod binding_status;
mod binding_update;
mod home_address_option;
mod home_agent_discovery;
mod icmp6_message;
mod lifetime;
mod malformed;
mod mobile_prefix;
mod mobility_message;
mod mobility_option;
mod neighbour;
mod neighbour_option;
mod octets;
mod prefix_information;
#[cfg(test)]
mod properties;
mod return_routability;
mod router_advertisement;
mod router_solicitation;
mod sequence;
mod type_2_routing_header;
mod unicast;

pub use binding_acknowledgement::{AcknowledgementFlags, BindingAcknowledgement};
pub use binding_error::{BindingError, BindingErrorStatus};
pub use binding_refresh_request::BindingRefreshRequest;
pub use binding_status::BindingStatus;
pub use binding_update::{BindingUpdate, UpdateFlags};
pub use home_address_option::{HOME_ADDRESS_OPTION, home_address_in, write_home_address};
pub use home_agent_discovery::{DiscoveryReply, DiscoveryRequest};
pub use icmp6_message::{ICMPV6, Icmp6Message, icmp6_type};
pub use lifetime::Lifetime;
pub use malformed::Malformed;
pub use mobile_prefix::{MobilePrefixAdvertisement, MobilePrefixSolicitation};
pub use mobility_message::{MOBILITY_HEADER, MobilityMessage, OtherMessage, mobility_type};
pub use mobility_option::MobilityOption;
pub use neighbour::{NeighbourAdvertisement, NeighbourSolicitation};
pub use neighbour_option::NeighbourOption;
pub use prefix_information::PrefixInformation;
pub use return_routability::{CareOfTest, CareOfTestInit, HomeTest, HomeTestInit};
pub use router_advertisement::{RouterAdvertisement, RouterFlags};
pub use router_solicitation::RouterSolicitation;
pub use sequence::sequence_is_newer;
pub use type_2_routing_header::Type2RoutingHeader;
pub use unicast::is_unicast_routable;
