//! Home Test Init, Care-of Test Init, Home Test, Care-of Test (RFC 6275 §6.1.3 to §6.1.6).
//!
//! ```text
//! HoTI, CoTI:  Reserved | 2     HoT, CoT:  Nonce Index  | 2
//!              Cookie   | 8                Cookie       | 8
//!              Options                     Keygen Token | 8
//!                                          Options
//! ```

use super::octets::Octets;
use super::{Malformed, MobilityOption};
use crate::rr::{CareOfInitCookie, CareOfKeygenToken, HomeInitCookie, HomeKeygenToken, NonceIndex};

macro_rules! init {
    ($(#[$doc:meta])* $name:ident, $cookie:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            /// To be returned by the correspondent.
            pub cookie: $cookie,
            /// Mobility options.
            pub options: Vec<MobilityOption>,
        }

        impl $name {
            pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
                octets.u16()?;
                Ok(Self { cookie: $cookie(octets.array()?), options: MobilityOption::parse_all(octets.rest())? })
            }

            pub(super) fn write_data(&self, message: &mut Vec<u8>) {
                message.extend([0, 0]);
                message.extend(self.cookie.0);
                MobilityOption::write_all(&self.options, message);
            }
        }
    };
}

macro_rules! test {
    ($(#[$doc:meta])* $name:ident, $cookie:ident, $token:ident) => {
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub struct $name {
            /// Which nonce the token was made of.
            pub nonce_index: NonceIndex,
            /// As it came.
            pub cookie: $cookie,
            /// Half of what the binding key is made of.
            pub token: $token,
            /// Mobility options.
            pub options: Vec<MobilityOption>,
        }

        impl $name {
            pub(super) fn parse_data(mut octets: Octets<'_>) -> Result<Self, Malformed> {
                Ok(Self {
                    nonce_index: NonceIndex(octets.u16()?),
                    cookie: $cookie(octets.array()?),
                    token: $token::new(octets.array()?),
                    options: MobilityOption::parse_all(octets.rest())?,
                })
            }

            pub(super) fn write_data(&self, message: &mut Vec<u8>) {
                message.extend(self.nonce_index.0.to_be_bytes());
                message.extend(self.cookie.0);
                message.extend(self.token.octets());
                MobilityOption::write_all(&self.options, message);
            }
        }
    };
}

init!(
    /// Asks, through the home agent, for a home keygen token (RFC 6275 §6.1.3).
    HomeTestInit,
    HomeInitCookie
);
init!(
    /// Asks, from the care-of address, for a care-of keygen token (RFC 6275 §6.1.4).
    CareOfTestInit,
    CareOfInitCookie
);
test!(
    /// The home keygen token (RFC 6275 §6.1.5).
    HomeTest,
    HomeInitCookie,
    HomeKeygenToken
);
test!(
    /// The care-of keygen token (RFC 6275 §6.1.6).
    CareOfTest,
    CareOfInitCookie,
    CareOfKeygenToken
);

#[cfg(test)]
mod tests {
    use crate::wire::MobilityMessage;

    use super::*;

    #[test]
    fn the_inits_are_sixteen_octets() {
        // RFC 6275 §6.1.3, §6.1.4: Header Len 1.
        let cookie = [1, 2, 3, 4, 5, 6, 7, 8];
        for (kind, message) in [
            (1, MobilityMessage::HomeTestInit(HomeTestInit { cookie: HomeInitCookie(cookie), options: vec![] })),
            (2, MobilityMessage::CareOfTestInit(CareOfTestInit { cookie: CareOfInitCookie(cookie), options: vec![] })),
        ] {
            let octets = [59, 1, kind, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            assert_eq!(message.write(), octets);
            assert_eq!(MobilityMessage::parse(&octets), Ok(message));
        }
    }

    #[test]
    fn the_tests_are_twenty_four_octets() {
        // RFC 6275 §6.1.5, §6.1.6: Header Len 2.
        let (cookie, token) = ([1, 2, 3, 4, 5, 6, 7, 8], [9; 8]);
        let home = HomeTest {
            nonce_index: NonceIndex(0x0102),
            cookie: HomeInitCookie(cookie),
            token: HomeKeygenToken::new(token),
            options: vec![],
        };
        let care_of = CareOfTest {
            nonce_index: NonceIndex(0x0102),
            cookie: CareOfInitCookie(cookie),
            token: CareOfKeygenToken::new(token),
            options: vec![],
        };
        for (kind, message) in [(3, MobilityMessage::HomeTest(home)), (4, MobilityMessage::CareOfTest(care_of))] {
            let octets = [59, 2, kind, 0, 0, 0, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9];
            assert_eq!(message.write(), octets);
            assert_eq!(MobilityMessage::parse(&octets), Ok(message));
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let test = HomeTest {
            nonce_index: NonceIndex(0),
            cookie: HomeInitCookie([0; 8]),
            token: HomeKeygenToken::new([0xab; 8]),
            options: vec![],
        };
        let printed = format!("{test:?}");
        assert!(printed.contains("HomeKeygenToken(..)") && !printed.contains("171"), "{printed}");
    }
}
