//! What the tests of this module share.

use super::prf::HMAC_SHA256;
use super::{IkeKeys, Protection, Randomness, Secret};

/// The octets of a hexadecimal text.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// The same, of a known length.
pub(crate) fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// Octets that count up: different each time, the same in each run.
pub(crate) struct Counting(pub(crate) u8);

impl Randomness for Counting {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = self.0;
            self.0 = self.0.wrapping_mul(5).wrapping_add(3);
        }
    }
}

pub(crate) const SPIS: (u64, u64) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);

/// Octets that go up one by one from `first`.
pub(crate) fn rising(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

/// The keys of an IKE SA with Ni 10 11 …, Nr 50 51 … and g^ir 80 81 ….
pub(crate) fn ike_keys(protection: &dyn Protection) -> IkeKeys {
    let shared = Secret::from_slice(&rising(0x80));
    IkeKeys::initial(&HMAC_SHA256, protection, &shared, (&rising(0x10), &rising(0x50)), SPIS).unwrap()
}
