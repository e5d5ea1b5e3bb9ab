//! Mobility options (RFC 6275 §6.2).

use super::Malformed;
use super::octets::Octets;
use crate::address::CareOfAddress;

const PAD_1: u8 = 0;
const PAD_N: u8 = 1;
const BINDING_REFRESH_ADVICE: u8 = 2;
const ALTERNATE_CARE_OF: u8 = 3;
const NONCE_INDICES: u8 = 4;
const BINDING_AUTHORIZATION_DATA: u8 = 5;

/// The longest Mobility Header: 255 units of 8 octets and the first.
const LONGEST: usize = 2048;

/// A mobility option. Padding (types 0 and 1) is no value: it is skipped on reading and put where it is needed on writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MobilityOption {
    /// After how many units of 4 s the home agent would like the next update (RFC 6275 §6.2.4).
    BindingRefreshAdvice(u16),
    /// The care-of address to be registered (RFC 6275 §6.2.5).
    AlternateCareOf(CareOfAddress),
    /// Which nonces the tokens were made of (RFC 6275 §6.2.6).
    NonceIndices {
        /// Of the home keygen token.
        home: u16,
        /// Of the care-of keygen token.
        care_of: u16,
    },
    /// The authenticator: 12 octets with return routability. Always written last (RFC 6275 §6.2.7).
    BindingAuthorizationData(Vec<u8>),
    /// An option without a name here, of a type above 5 and with at most 255 octets.
    Other {
        /// Its type.
        kind: u8,
        /// Its data.
        data: Vec<u8>,
    },
}

impl MobilityOption {
    /// All options of a message, from the octets behind its fixed part.
    pub(super) fn parse_all(octets: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut octets = Octets::new(octets);
        let mut options = Vec::new();
        while !octets.is_empty() {
            let kind = octets.u8()?;
            // RFC 6275 §6.2.2: Pad1 has neither length nor data.
            if kind == PAD_1 {
                Self::refuse_after_authorization(&options)?;
                continue;
            }
            let length = octets.u8()?;
            // RFC 6275 §6.2.1: an option cannot run past its message.
            let wrong = Malformed::OptionLength { kind, length };
            let data = octets.take(usize::from(length)).map_err(|_| wrong)?;
            Self::refuse_after_authorization(&options)?;
            // RFC 6275 §6.2.3: what PadN holds is ignored.
            if kind != PAD_N {
                options.push(Self::parse_one(kind, data).map_err(|_| wrong)?);
            }
        }
        Ok(options)
    }

    /// RFC 6275 §6.2: the Binding Authorization Data is the last option, without padding behind it.
    fn refuse_after_authorization(options: &[Self]) -> Result<(), Malformed> {
        match options.last() {
            Some(Self::BindingAuthorizationData(_)) => Err(Malformed::AfterAuthorization),
            _ => Ok(()),
        }
    }

    fn parse_one(kind: u8, data: &[u8]) -> Result<Self, Malformed> {
        let mut octets = Octets::new(data);
        let option = match kind {
            BINDING_REFRESH_ADVICE => Self::BindingRefreshAdvice(octets.u16()?),
            ALTERNATE_CARE_OF => Self::AlternateCareOf(CareOfAddress(octets.address()?)),
            NONCE_INDICES => Self::NonceIndices { home: octets.u16()?, care_of: octets.u16()? },
            BINDING_AUTHORIZATION_DATA => Self::BindingAuthorizationData(octets.take(data.len())?.to_vec()),
            // RFC 6275 §6.2.1: what is not known is skipped, and the rest is processed.
            kind => Self::Other { kind, data: octets.take(data.len())?.to_vec() },
        };
        if octets.is_empty() { Ok(option) } else { Err(Malformed::Truncated) }
    }

    /// Appends the options to a message that holds its header and fixed part, each where its alignment wants it, and
    /// pads the whole to a multiple of 8. Options that no longer fit into the longest Mobility Header are left out.
    pub(super) fn write_all(options: &[Self], message: &mut Vec<u8>) {
        let is_last = |option: &&Self| matches!(option, Self::BindingAuthorizationData(_));
        for option in options.iter().filter(|option| !is_last(option)) {
            option.write_one(message);
        }
        match options.iter().find(is_last) {
            Some(authorization) => authorization.write_one(message),
            None => pad(message, 8, 0),
        }
    }

    fn write_one(&self, message: &mut Vec<u8>) {
        let (kind, data, multiple, offset) = match self {
            // RFC 6275 §6.2.4 to §6.2.7: where each of them is to start, n·multiple + offset.
            Self::BindingRefreshAdvice(interval) => (BINDING_REFRESH_ADVICE, interval.to_be_bytes().to_vec(), 2, 0),
            Self::AlternateCareOf(address) => (ALTERNATE_CARE_OF, address.0.octets().to_vec(), 8, 6),
            Self::NonceIndices { home, care_of } => {
                (NONCE_INDICES, [home.to_be_bytes(), care_of.to_be_bytes()].concat(), 2, 0)
            }
            // It has to end where the message ends: for 12 octets that is 8n + 2.
            Self::BindingAuthorizationData(data) => {
                (BINDING_AUTHORIZATION_DATA, data.clone(), 8, (8 - (data.len() + 2) % 8) % 8)
            }
            Self::Other { kind: PAD_1 | PAD_N, .. } => return,
            Self::Other { kind, data } => (*kind, data.clone(), 1, 0),
        };
        let Ok(length) = u8::try_from(data.len()) else { return };
        // Seven octets of padding before it and seven behind it at most.
        if message.len() + 7 + 2 + data.len() + 7 > LONGEST {
            return;
        }
        pad(message, multiple, offset);
        message.push(kind);
        message.push(length);
        message.extend(data);
    }
}

/// Pad1 or PadN until the length is n·`multiple` + `offset` (RFC 6275 §6.2.2, §6.2.3).
fn pad(message: &mut Vec<u8>, multiple: usize, offset: usize) {
    match (multiple + offset - message.len() % multiple) % multiple {
        0 => (),
        1 => message.push(PAD_1),
        missing => {
            message.push(PAD_N);
            message.push(u8::try_from(missing - 2).unwrap_or(0));
            message.resize(message.len() + missing - 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn care_of() -> CareOfAddress {
        CareOfAddress("2001:db8:f::1".parse().unwrap())
    }

    #[test]
    fn each_option_starts_where_its_alignment_wants_it() {
        // RFC 6275 §6.2.5: 8n + 6.
        for before in 6..14 {
            let mut message = vec![0; before];
            MobilityOption::write_all(&[MobilityOption::AlternateCareOf(care_of())], &mut message);
            let start = (before..).find(|at| at % 8 == 6).unwrap();
            assert_eq!(message[start..start + 2], [3, 16]);
            assert_eq!(message.len() % 8, 0);
            assert_eq!(
                MobilityOption::parse_all(&message[before..]).unwrap(),
                [MobilityOption::AlternateCareOf(care_of())]
            );
        }
    }

    #[test]
    fn the_authorization_data_is_written_last_and_nothing_follows_it() {
        let options = [
            MobilityOption::BindingAuthorizationData(vec![7; 12]),
            MobilityOption::NonceIndices { home: 1, care_of: 2 },
        ];
        let mut message = vec![0; 12];
        MobilityOption::write_all(&options, &mut message);
        // RFC 6275 §6.2.7: 8n + 2.
        assert_eq!(message.len(), 32);
        assert_eq!(message[18..20], [5, 12]);
        let parsed = MobilityOption::parse_all(&message[12..]).unwrap();
        assert_eq!(parsed, [options[1].clone(), options[0].clone()]);
    }

    #[test]
    fn anything_behind_the_authorization_data_is_refused() {
        for behind in [&[0_u8][..], &[1, 0], &[200, 0]] {
            let octets = [&[5, 12][..], &[0; 12], behind].concat();
            assert_eq!(MobilityOption::parse_all(&octets), Err(Malformed::AfterAuthorization));
        }
    }

    #[test]
    fn unknown_options_and_filled_padding_are_no_reason_to_refuse() {
        let octets = [1, 3, 9, 9, 9, 0, 250, 2, 5, 6, 2, 2, 0, 8];
        assert_eq!(
            MobilityOption::parse_all(&octets).unwrap(),
            [MobilityOption::Other { kind: 250, data: vec![5, 6] }, MobilityOption::BindingRefreshAdvice(8)]
        );
    }

    #[test]
    fn an_option_that_runs_past_its_message_or_has_another_length_is_refused() {
        for octets in [&[250, 3, 0, 0][..], &[3, 15], &[4, 3, 0, 0, 0], &[2, 4, 0, 0, 0, 0]] {
            assert_eq!(
                MobilityOption::parse_all(octets),
                Err(Malformed::OptionLength { kind: octets[0], length: octets[1] })
            );
        }
        assert_eq!(MobilityOption::parse_all(&[250]), Err(Malformed::Truncated));
    }

    #[test]
    fn more_options_than_fit_are_left_out() {
        let options = vec![MobilityOption::Other { kind: 200, data: vec![0; 255] }; 20];
        let mut message = vec![0; 12];
        MobilityOption::write_all(&options, &mut message);
        assert!(message.len() <= LONGEST && message.len().is_multiple_of(8), "{}", message.len());
        assert_eq!(MobilityOption::parse_all(&message[12..]).unwrap().len(), 7);
    }
}
