//! Encrypted payload SK: `| IV | encrypted: payloads, padding, pad length | ICV |` (RFC 7296 §3.14, RFC 5282 §3).
//!
//! This is the framing; [`crate::crypto::Channel`] opens and closes it.

use super::payload::{RawChain, generic_header};
use super::{Header, PayloadType, WireError};

/// An SK payload, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The type of the first payload inside.
    pub first: PayloadType,
    /// IV, encrypted octets and ICV.
    pub data: Vec<u8>,
}

/// A message with an SK payload, split where cryptography has to split it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    /// The type of the first payload inside.
    pub(crate) first: PayloadType,
    /// All octets up to and including SK's generic header: the associated data (RFC 5282 §5.1).
    pub(crate) head: &'a [u8],
    /// IV, encrypted octets and ICV.
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Octets of the head of a message in which SK is the only payload.
    pub(crate) const HEAD: usize = Header::LEN + 4;

    /// Finds the SK payload. It has to be the only one: no exchange puts a payload beside it (RFC 7296 §1.2 to §1.4).
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        let (header, kind, payloads) = Header::parse(datagram)?;
        if header.version.major != 2 {
            return Err(WireError::MajorVersion(header.version.major));
        }
        let mut chain = RawChain::new(kind, payloads);
        let (Some(Ok(sk)), None) = (chain.next(), chain.next()) else {
            return Err(WireError::Malformed { payload: "SK", reason: "not the only payload" });
        };
        if sk.kind != PayloadType::Encrypted {
            return Err(WireError::Malformed { payload: "SK", reason: "missing" });
        }
        let head = datagram.get(..Self::HEAD).ok_or(WireError::Truncated)?;
        Ok(Self { header, first: sk.next, head, body: sk.body })
    }

    /// The head of a message whose SK payload has `body` octets after its generic header.
    pub(crate) fn write_head(header: &Header, first: PayloadType, body: usize) -> Result<Vec<u8>, WireError> {
        let mut head = header.write(PayloadType::Encrypted, body.saturating_add(4))?.to_vec();
        head.extend_from_slice(&generic_header(first, body)?);
        Ok(head)
    }
}

/// Appends padding and its length, so that the whole is a multiple of `block` octets (1 to 256).
pub(crate) fn pad(text: &mut Vec<u8>, block: usize) {
    let over = text.len().saturating_add(1).checked_rem(block).unwrap_or(0);
    let padding = if over == 0 { 0 } else { block.saturating_sub(over) };
    // RFC 7296 §3.14: the padding may have any value; zero tells nothing.
    text.resize(text.len().saturating_add(padding), 0);
    text.push(u8::try_from(padding).unwrap_or(u8::MAX));
}

/// Removes padding and its length.
pub(crate) fn unpad(text: &mut Vec<u8>) -> Result<(), WireError> {
    let padding = text.pop().ok_or(WireError::Truncated)?;
    let length = text
        .len()
        .checked_sub(usize::from(padding))
        .ok_or(WireError::Malformed { payload: "SK", reason: "more padding than octets" })?;
    text.truncate(length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_a_block_and_comes_off_again() {
        for block in [1, 16] {
            for length in 0..40 {
                let mut text = vec![7; length];
                pad(&mut text, block);
                assert_eq!(text.len() % block, 0);
                assert!(text.len() <= length + block);
                unpad(&mut text).unwrap();
                assert_eq!(text, vec![7; length]);
            }
        }
    }

    #[test]
    fn more_padding_than_octets_is_refused() {
        assert!(unpad(&mut vec![]).is_err());
        assert!(unpad(&mut vec![1]).is_err());
        assert!(unpad(&mut vec![0, 0, 3]).is_err());
        assert!(unpad(&mut vec![0, 0, 2]).is_ok());
    }
}
