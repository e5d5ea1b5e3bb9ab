//! The chain of payloads (RFC 7296 §3.2).
//!
//! ```text
//! | next payload | C | reserved | payload length (2, with these four octets) | body …
//! ```

use super::reader::Reader;
use super::{
    Authentication, Certificate, CertificateRequest, Configuration, Delete, Eap, Encrypted, Identification,
    KeyExchange, Nonce, Notify, SecurityAssociation, TrafficSelectors, VendorId, WireError, length16,
};

codes! {
    /// The type of a payload.
    PayloadType: u8 {
        None = 0, "none";
        Sa = 33, "SA";
        Ke = 34, "KE";
        IdI = 35, "IDi";
        IdR = 36, "IDr";
        Cert = 37, "CERT";
        CertReq = 38, "CERTREQ";
        Auth = 39, "AUTH";
        Nonce = 40, "Nonce";
        Notify = 41, "N";
        Delete = 42, "D";
        VendorId = 43, "V";
        TsI = 44, "TSi";
        TsR = 45, "TSr";
        Encrypted = 46, "SK";
        Cp = 47, "CP";
        Eap = 48, "EAP";
        Fragment = 53, "SKF";
    }
}

/// Payloads that one message may hold. The largest legitimate messages have some twenty (a long certificate chain
/// with notifies); a datagram of four-octet payloads must not cost more than it is worth.
pub const MAX_PAYLOADS: usize = 64;

const CRITICAL: u8 = 0x80;

/// One payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Security association.
    Sa(SecurityAssociation),
    /// Key exchange.
    Ke(KeyExchange),
    /// The initiator's identity.
    IdI(Identification),
    /// The responder's identity.
    IdR(Identification),
    /// A certificate.
    Cert(Certificate),
    /// A request for certificates.
    CertReq(CertificateRequest),
    /// Proof of identity.
    Auth(Authentication),
    /// Ni or Nr.
    Nonce(Nonce),
    /// A notification.
    Notify(Notify),
    /// Deletion of SAs.
    Delete(Delete),
    /// Vendor ID.
    VendorId(VendorId),
    /// The exchange initiator's traffic selectors.
    TsI(TrafficSelectors),
    /// The exchange responder's traffic selectors.
    TsR(TrafficSelectors),
    /// Encrypted payloads, still closed.
    Encrypted(Encrypted),
    /// Configuration.
    Cp(Configuration),
    /// An EAP message.
    Eap(Eap),
    /// A payload that is not interpreted here.
    Other {
        /// Its type.
        kind: u8,
        /// Its octets.
        data: Vec<u8>,
    },
}

impl Payload {
    /// The payload's type.
    pub fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::Sa,
            Self::Ke(_) => PayloadType::Ke,
            Self::IdI(_) => PayloadType::IdI,
            Self::IdR(_) => PayloadType::IdR,
            Self::Cert(_) => PayloadType::Cert,
            Self::CertReq(_) => PayloadType::CertReq,
            Self::Auth(_) => PayloadType::Auth,
            Self::Nonce(_) => PayloadType::Nonce,
            Self::Notify(_) => PayloadType::Notify,
            Self::Delete(_) => PayloadType::Delete,
            Self::VendorId(_) => PayloadType::VendorId,
            Self::TsI(_) => PayloadType::TsI,
            Self::TsR(_) => PayloadType::TsR,
            Self::Encrypted(_) => PayloadType::Encrypted,
            Self::Cp(_) => PayloadType::Cp,
            Self::Eap(_) => PayloadType::Eap,
            Self::Other { kind, .. } => PayloadType::from_code(*kind),
        }
    }

    fn parse(raw: RawPayload<'_>) -> Result<Self, WireError> {
        let RawPayload { kind, next, critical, body } = raw;
        Ok(match kind {
            PayloadType::Sa => Self::Sa(SecurityAssociation::parse(body)?),
            PayloadType::Ke => Self::Ke(KeyExchange::parse(body)?),
            PayloadType::IdI => Self::IdI(Identification::parse(body)?),
            PayloadType::IdR => Self::IdR(Identification::parse(body)?),
            PayloadType::Cert => Self::Cert(Certificate::parse(body)?),
            PayloadType::CertReq => Self::CertReq(CertificateRequest::parse(body)?),
            PayloadType::Auth => Self::Auth(Authentication::parse(body)?),
            PayloadType::Nonce => Self::Nonce(Nonce::parse(body)?),
            PayloadType::Notify => Self::Notify(Notify::parse(body)?),
            PayloadType::Delete => Self::Delete(Delete::parse(body)?),
            PayloadType::VendorId => Self::VendorId(VendorId(body.to_vec())),
            PayloadType::TsI => Self::TsI(TrafficSelectors::parse(body)?),
            PayloadType::TsR => Self::TsR(TrafficSelectors::parse(body)?),
            PayloadType::Cp => Self::Cp(Configuration::parse(body)?),
            PayloadType::Eap => Self::Eap(Eap(body.to_vec())),
            PayloadType::Encrypted => Self::Encrypted(Encrypted { first: next, data: body.to_vec() }),
            PayloadType::None | PayloadType::Fragment | PayloadType::Other(_) => {
                // RFC 7296 §2.5: an unknown payload is skipped, unless it is critical.
                if critical {
                    return Err(WireError::UnsupportedCritical(kind.code()));
                }
                Self::Other { kind: kind.code(), data: body.to_vec() }
            }
        })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Sa(sa) => sa.write(out)?,
            Self::Ke(ke) => ke.write(out),
            Self::IdI(id) | Self::IdR(id) => id.write(out),
            Self::Cert(cert) => cert.write(out),
            Self::CertReq(request) => request.write(out),
            Self::Auth(auth) => auth.write(out),
            Self::Nonce(nonce) => out.extend_from_slice(nonce.as_bytes()),
            Self::Notify(notify) => notify.write(out)?,
            Self::Delete(delete) => delete.write(out)?,
            Self::VendorId(vendor) => out.extend_from_slice(&vendor.0),
            Self::TsI(ts) | Self::TsR(ts) => ts.write(out)?,
            Self::Encrypted(encrypted) => out.extend_from_slice(&encrypted.data),
            Self::Cp(cp) => cp.write(out)?,
            Self::Eap(eap) => out.extend_from_slice(&eap.0),
            Self::Other { data, .. } => out.extend_from_slice(data),
        }
        Ok(())
    }
}

/// Parses a chain that starts with a payload of type `first` and fills all of `octets`.
///
/// # Errors
/// [`WireError::UnsupportedCritical`] if everything before it was well-formed; else what is wrong with the octets.
pub fn parse_chain(first: PayloadType, octets: &[u8]) -> Result<Vec<Payload>, WireError> {
    let mut payloads = Vec::new();
    for raw in RawChain::new(first, octets) {
        let raw = raw?;
        if payloads.len() == MAX_PAYLOADS {
            return Err(WireError::TooMany("payloads"));
        }
        payloads.push(Payload::parse(raw)?);
    }
    Ok(payloads)
}

/// Parses the chain that was inside SK.
///
/// # Errors
/// As [`parse_chain`], and if there is another SK in it.
pub(crate) fn parse_inner_chain(first: PayloadType, octets: &[u8]) -> Result<Vec<Payload>, WireError> {
    let payloads = parse_chain(first, octets)?;
    // RFC 7296 §3.1: an SK payload is never inside another.
    if matches!(payloads.last(), Some(Payload::Encrypted(_))) {
        return Err(WireError::Malformed { payload: "SK", reason: "inside another" });
    }
    Ok(payloads)
}

/// Writes `payloads` as a chain; gives the type of the first and the octets.
///
/// # Errors
/// [`WireError::TooLong`] if a value does not fit its length field, [`WireError::Malformed`] if an encrypted payload
/// is not the last.
pub fn write_chain(payloads: &[Payload]) -> Result<(PayloadType, Vec<u8>), WireError> {
    let mut octets = Vec::new();
    let mut rest = payloads;
    while let [payload, following @ ..] = rest {
        let next = match (payload, following.first()) {
            // RFC 7296 §3.14: an encrypted payload is the last, and its next payload is the first inside.
            (Payload::Encrypted(encrypted), None) => encrypted.first,
            (Payload::Encrypted(_), Some(_)) => {
                return Err(WireError::Malformed { payload: "SK", reason: "not the last payload" });
            }
            (_, Some(next)) => next.kind(),
            (_, None) => PayloadType::None,
        };
        let mut body = Vec::new();
        payload.write(&mut body)?;
        octets.extend_from_slice(&generic_header(next, body.len())?);
        octets.extend_from_slice(&body);
        rest = following;
    }
    Ok((payloads.first().map_or(PayloadType::None, Payload::kind), octets))
}

/// The generic header in front of a body of `length` octets.
///
/// # Errors
/// [`WireError::TooLong`] if the payload does not fit its length field.
pub(crate) fn generic_header(next: PayloadType, length: usize) -> Result<[u8; 4], WireError> {
    let [high, low] = length16(length.saturating_add(4), "payload")?.to_be_bytes();
    // RFC 7296 §3.2: the critical bit is zero for every payload type of that document.
    Ok([next.code(), 0, high, low])
}

/// A payload of which only the generic header was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawPayload<'a> {
    pub(crate) kind: PayloadType,
    pub(crate) next: PayloadType,
    pub(crate) critical: bool,
    pub(crate) body: &'a [u8],
}

/// Walks a chain without looking into the payloads. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct RawChain<'a> {
    next: PayloadType,
    reader: Reader<'a>,
}

impl<'a> RawChain<'a> {
    pub(crate) fn new(first: PayloadType, octets: &'a [u8]) -> Self {
        Self { next: first, reader: Reader::new(octets) }
    }

    fn step(&mut self) -> Result<RawPayload<'a>, WireError> {
        let kind = self.next;
        let next = PayloadType::from_code(self.reader.u8()?);
        let critical = self.reader.u8()? & CRITICAL != 0;
        let length = self.reader.u16()?;
        let body = self.reader.body(length, 4)?;
        // RFC 7296 §3.14: nothing follows an encrypted payload; its next payload is inside.
        self.next =
            if matches!(kind, PayloadType::Encrypted | PayloadType::Fragment) { PayloadType::None } else { next };
        Ok(RawPayload { kind, next, critical, body })
    }
}

impl<'a> Iterator for RawChain<'a> {
    type Item = Result<RawPayload<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == PayloadType::None {
            if self.reader.is_empty() {
                return None;
            }
            self.reader.rest();
            return Some(Err(WireError::Length));
        }
        let step = self.step();
        if step.is_err() {
            self.next = PayloadType::None;
            self.reader.rest();
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    use crate::wire::Notify;
    use crate::wire::NotifyType;

    #[test]
    fn an_unknown_payload_survives_unless_it_is_critical() {
        let mut octets = hex("29000006 abcd 00000008 00004000");
        let payloads = vec![
            Payload::Other { kind: 200, data: vec![0xab, 0xcd] },
            Payload::Notify(Notify::new(NotifyType::InitialContact)),
        ];
        let first = PayloadType::from_code(200);
        assert_eq!(parse_chain(first, &octets).unwrap(), payloads);
        assert_eq!(write_chain(&payloads).unwrap(), (first, octets.clone()));
        octets[1] = 0x80;
        assert_eq!(parse_chain(first, &octets), Err(WireError::UnsupportedCritical(200)));
    }

    #[test]
    fn the_critical_bit_of_a_known_payload_is_ignored() {
        let octets = hex("00800008 00004000");
        assert_eq!(parse_chain(PayloadType::Notify, &octets).unwrap().len(), 1);
    }

    #[test]
    fn a_payload_length_under_four_is_refused() {
        for length in 0..4 {
            assert_eq!(parse_chain(PayloadType::VendorId, &[0, 0, 0, length]), Err(WireError::Length));
        }
    }

    #[test]
    fn octets_after_the_last_payload_are_refused() {
        assert_eq!(parse_chain(PayloadType::VendorId, &hex("00000004 00")), Err(WireError::Length));
        assert_eq!(parse_chain(PayloadType::None, &[0]), Err(WireError::Length));
        assert_eq!(parse_chain(PayloadType::None, &[]), Ok(Vec::new()));
    }

    #[test]
    fn more_payloads_than_the_bound_are_refused() {
        let mut octets = hex("2b000004").repeat(MAX_PAYLOADS);
        octets[(MAX_PAYLOADS - 1) * 4] = 0;
        assert_eq!(parse_chain(PayloadType::VendorId, &octets).unwrap().len(), MAX_PAYLOADS);
        octets.splice(0..0, hex("2b000004"));
        assert_eq!(parse_chain(PayloadType::VendorId, &octets), Err(WireError::TooMany("payloads")));
    }

    #[test]
    fn nothing_follows_an_encrypted_payload() {
        let sk = Payload::Encrypted(Encrypted { first: PayloadType::IdI, data: vec![1] });
        let octets = hex("23000005 01");
        assert_eq!(parse_chain(PayloadType::Encrypted, &octets).unwrap(), std::slice::from_ref(&sk));
        assert_eq!(parse_chain(PayloadType::Encrypted, &hex("23000005 01 00000004")), Err(WireError::Length));
        let after = Payload::VendorId(VendorId(Vec::new()));
        assert!(matches!(write_chain(&[sk, after]), Err(WireError::Malformed { payload: "SK", .. })));
    }

    #[test]
    fn a_payload_that_does_not_fit_its_length_is_not_written() {
        let payload = Payload::VendorId(VendorId(vec![0; 65_532]));
        assert_eq!(write_chain(&[payload]), Err(WireError::TooLong("payload")));
    }
}
