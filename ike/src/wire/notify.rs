//! Notify payload: `| protocol | SPI size | type (2) | SPI … | data … |` (RFC 7296 §3.10).

use super::reader::Reader;
use super::{Protocol, WireError, length8};

codes! {
    /// What is notified: errors below 16384, states from there on.
    NotifyType: u16 {
        UnsupportedCriticalPayload = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        InvalidIkeSpi = 4, "INVALID_IKE_SPI";
        InvalidMajorVersion = 5, "INVALID_MAJOR_VERSION";
        InvalidSyntax = 7, "INVALID_SYNTAX";
        InvalidMessageId = 9, "INVALID_MESSAGE_ID";
        InvalidSpi = 11, "INVALID_SPI";
        NoProposalChosen = 14, "NO_PROPOSAL_CHOSEN";
        InvalidKePayload = 17, "INVALID_KE_PAYLOAD";
        AuthenticationFailed = 24, "AUTHENTICATION_FAILED";
        SinglePairRequired = 34, "SINGLE_PAIR_REQUIRED";
        NoAdditionalSas = 35, "NO_ADDITIONAL_SAS";
        InternalAddressFailure = 36, "INTERNAL_ADDRESS_FAILURE";
        FailedCpRequired = 37, "FAILED_CP_REQUIRED";
        TsUnacceptable = 38, "TS_UNACCEPTABLE";
        InvalidSelectors = 39, "INVALID_SELECTORS";
        UnacceptableAddresses = 40, "UNACCEPTABLE_ADDRESSES";
        UnexpectedNatDetected = 41, "UNEXPECTED_NAT_DETECTED";
        UseAssignedHoa = 42, "USE_ASSIGNED_HoA";
        TemporaryFailure = 43, "TEMPORARY_FAILURE";
        ChildSaNotFound = 44, "CHILD_SA_NOT_FOUND";
        InvalidGroupId = 45, "INVALID_GROUP_ID";
        AuthorizationFailed = 46, "AUTHORIZATION_FAILED";
        StateNotFound = 47, "STATE_NOT_FOUND";
        InitialContact = 16384, "INITIAL_CONTACT";
        SetWindowSize = 16385, "SET_WINDOW_SIZE";
        AdditionalTsPossible = 16386, "ADDITIONAL_TS_POSSIBLE";
        IpcompSupported = 16387, "IPCOMP_SUPPORTED";
        NatDetectionSourceIp = 16388, "NAT_DETECTION_SOURCE_IP";
        NatDetectionDestinationIp = 16389, "NAT_DETECTION_DESTINATION_IP";
        Cookie = 16390, "COOKIE";
        UseTransportMode = 16391, "USE_TRANSPORT_MODE";
        HttpCertLookupSupported = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        RekeySa = 16393, "REKEY_SA";
        EspTfcPaddingNotSupported = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        NonFirstFragmentsAlso = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        MobikeSupported = 16396, "MOBIKE_SUPPORTED";
        AdditionalIp4Address = 16397, "ADDITIONAL_IP4_ADDRESS";
        AdditionalIp6Address = 16398, "ADDITIONAL_IP6_ADDRESS";
        NoAdditionalAddresses = 16399, "NO_ADDITIONAL_ADDRESSES";
        UpdateSaAddresses = 16400, "UPDATE_SA_ADDRESSES";
        Cookie2 = 16401, "COOKIE2";
        NoNatsAllowed = 16402, "NO_NATS_ALLOWED";
        AuthLifetime = 16403, "AUTH_LIFETIME";
        MultipleAuthSupported = 16404, "MULTIPLE_AUTH_SUPPORTED";
        AnotherAuthFollows = 16405, "ANOTHER_AUTH_FOLLOWS";
        RedirectSupported = 16406, "REDIRECT_SUPPORTED";
        Redirect = 16407, "REDIRECT";
        RedirectedFrom = 16408, "REDIRECTED_FROM";
        TicketLtOpaque = 16409, "TICKET_LT_OPAQUE";
        TicketRequest = 16410, "TICKET_REQUEST";
        TicketAck = 16411, "TICKET_ACK";
        TicketNack = 16412, "TICKET_NACK";
        TicketOpaque = 16413, "TICKET_OPAQUE";
        EapOnlyAuthentication = 16417, "EAP_ONLY_AUTHENTICATION";
        ChildlessIkev2Supported = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        QuickCrashDetection = 16419, "QUICK_CRASH_DETECTION";
        Ikev2MessageIdSyncSupported = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        IpsecReplayCounterSyncSupported = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        Ikev2MessageIdSync = 16422, "IKEV2_MESSAGE_ID_SYNC";
        IpsecReplayCounterSync = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        Ikev2FragmentationSupported = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        SignatureHashAlgorithms = 16431, "SIGNATURE_HASH_ALGORITHMS";
        CloneIkeSaSupported = 16432, "CLONE_IKE_SA_SUPPORTED";
        CloneIkeSa = 16433, "CLONE_IKE_SA";
        Puzzle = 16434, "PUZZLE";
        UsePpk = 16435, "USE_PPK";
        PpkIdentity = 16436, "PPK_IDENTITY";
        NoPpkAuth = 16437, "NO_PPK_AUTH";
        IntermediateExchangeSupported = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        AdditionalKeyExchange = 16441, "ADDITIONAL_KEY_EXCHANGE";
    }
}

impl NotifyType {
    /// Whether the exchange failed. RFC 7296 §3.10.1: types below 16384 are errors, known or not.
    pub const fn is_error(self) -> bool {
        self.code() < 16384
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Of which SA; [`Protocol::None`] if it has no SPI.
    pub protocol: Protocol,
    /// Its SPI, or empty.
    pub spi: Vec<u8>,
    /// What.
    pub kind: NotifyType,
    /// More about it.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification that concerns the IKE SA or message that carries it.
    pub fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    /// The same with data.
    pub fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: Protocol::None, spi: Vec::new(), kind, data }
    }

    /// A notification about an ESP SA (REKEY_SA, CHILD_SA_NOT_FOUND).
    pub fn esp(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: Protocol::Esp, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The SPI, if it has the four octets of ESP and AH.
    pub fn spi32(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// Parses the payload's body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the SPI does not fit.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let protocol = Protocol::from_code(reader.u8()?);
        let spi_size = reader.u8()?;
        let kind = NotifyType::from_code(reader.u16()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        Ok(Self { protocol, spi, kind, data: reader.rest().to_vec() })
    }

    /// Writes the payload's body.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if the SPI has more than 255 octets.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(self.protocol.code());
        out.push(length8(self.spi.len(), "SPI")?);
        out.extend_from_slice(&self.kind.code().to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn a_notification_has_the_octets_of_the_rfc() {
        for (notify, octets) in [
            (Notify::new(NotifyType::UseTransportMode), "00 00 4007"),
            (Notify::with_data(NotifyType::InvalidKePayload, vec![0, 31]), "00 00 0011 001f"),
            (Notify::esp(NotifyType::RekeySa, 0x0102_0304), "03 04 4009 01020304"),
        ] {
            let mut written = Vec::new();
            notify.write(&mut written).unwrap();
            assert_eq!(written, hex(octets));
            assert_eq!(Notify::parse(&written), Ok(notify));
        }
        assert_eq!(Notify::esp(NotifyType::RekeySa, 7).spi32(), Some(7));
        assert_eq!(Notify::parse(&hex("03 04 4009 010203")), Err(WireError::Truncated));
    }

    #[test]
    fn codes_are_those_of_the_registry() {
        for (kind, code) in [
            (NotifyType::TsUnacceptable, 38),
            (NotifyType::TemporaryFailure, 43),
            (NotifyType::ChildSaNotFound, 44),
            (NotifyType::Cookie, 16390),
            (NotifyType::ChildlessIkev2Supported, 16418),
            (NotifyType::SignatureHashAlgorithms, 16431),
        ] {
            assert_eq!(kind.code(), code);
            assert_eq!(NotifyType::from_code(code), kind);
        }
        assert_eq!(NotifyType::Cookie.to_string(), "COOKIE");
        assert_eq!(NotifyType::from_code(40960).to_string(), "NotifyType 40960");
    }

    #[test]
    fn an_unknown_type_below_16384_is_an_error() {
        assert!(NotifyType::from_code(8191).is_error());
        assert!(NotifyType::from_code(16383).is_error());
        assert!(!NotifyType::from_code(16384).is_error());
        assert!(!NotifyType::from_code(65535).is_error());
    }
}
