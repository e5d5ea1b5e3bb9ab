//! Payloads picked out of a message. RFC 7296 §2.5: their order means nothing.

use crate::fault::Fault;
use crate::wire::{
    Authentication, CfgAttribute, CfgType, Configuration, HashAlgorithm, Identification, KeyExchange, Nonce, Notify,
    NotifyType, Payload, SecurityAssociation, TrafficSelector,
};

/// The payloads of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a>(pub(crate) &'a [Payload]);

macro_rules! first {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(crate) fn $name(self) -> Option<&'a $type> {
            self.0.iter().find_map(|payload| match payload {
                Payload::$variant(found) => Some(found),
                _ => None,
            })
        }
    };
}

impl<'a> Parts<'a> {
    first!(sa, Sa, SecurityAssociation);
    first!(ke, Ke, KeyExchange);
    first!(nonce, Nonce, Nonce);
    first!(id_i, IdI, Identification);
    first!(id_r, IdR, Identification);
    first!(auth, Auth, Authentication);
    first!(cp, Cp, Configuration);

    /// RFC 7296 §2.9: selectors of unknown types are passed over.
    pub(crate) fn ts_i(self) -> Option<&'a [TrafficSelector]> {
        self.0.iter().find_map(|payload| match payload {
            Payload::TsI(found) => Some(found.selectors.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn ts_r(self) -> Option<&'a [TrafficSelector]> {
        self.0.iter().find_map(|payload| match payload {
            Payload::TsR(found) => Some(found.selectors.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn notifies(self) -> impl Iterator<Item = &'a Notify> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    pub(crate) fn notify(self, kind: NotifyType) -> Option<&'a Notify> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    pub(crate) fn has(self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// The first error. RFC 7296 §3.10.1: an unknown one in a response means that the request has failed.
    pub(crate) fn error(self) -> Option<NotifyType> {
        self.notifies().map(|notify| notify.kind).find(|kind| kind.is_error())
    }

    /// RFC 7427 §4: the hashes that the peer can verify; none if it does not say so.
    pub(crate) fn hashes(self) -> Option<Vec<HashAlgorithm>> {
        let notify = self.notify(NotifyType::SignatureHashAlgorithms)?;
        HashAlgorithm::parse_list(&notify.data).ok()
    }

    /// What a CFG_REQUEST asks for (RFC 7296 §3.15).
    pub(crate) fn address_request(self) -> Option<crate::action::AddressRequest> {
        let cp = self.cp().filter(|cp| cp.kind == CfgType::Request)?;
        let suggestion = cp.attributes.iter().find_map(|attribute| match attribute {
            CfgAttribute::InternalIp6Address(address) => Some(address.map(|(address, _)| address)),
            _ => None,
        })?;
        let suggestion = suggestion.filter(|address| !address.is_unspecified());
        let dns = cp.attributes.iter().any(|attribute| matches!(attribute, CfgAttribute::InternalIp6Dns(_)));
        Some(crate::action::AddressRequest { suggestion, dns })
    }

    /// What a CFG_REPLY grants.
    pub(crate) fn lease(self) -> Option<crate::action::Lease> {
        let cp = self.cp().filter(|cp| cp.kind == CfgType::Reply)?;
        let (address, prefix_len) = cp.attributes.iter().find_map(|attribute| match attribute {
            CfgAttribute::InternalIp6Address(address) => *address,
            _ => None,
        })?;
        let dns = cp.attributes.iter().filter_map(|attribute| match attribute {
            CfgAttribute::InternalIp6Dns(server) => *server,
            _ => None,
        });
        Some(crate::action::Lease { address, prefix_len, dns: dns.collect() })
    }
}

/// RFC 7296 §2.21: a payload that an exchange cannot do without.
pub(crate) fn needed<T>(found: Option<T>, what: &str) -> Result<T, Fault> {
    found.ok_or_else(|| Fault::syntax(format!("no {what} payload")))
}

/// A notification without data.
pub(crate) fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::new(kind))
}
