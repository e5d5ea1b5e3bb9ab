//! Whole messages, sealed and opened (RFC 7296 §3.14).

use zeroize::Zeroize;

use super::{CryptoError, DirectionKeys, IkeKeys, Protection, Randomness, SkD, SkP};
use crate::wire::encrypted::{Frame, pad, unpad};
use crate::wire::message::MAX_MESSAGE;
use crate::wire::{Header, Message, Payload, PayloadType, WireError, parse_chain, write_chain};

/// Why a sealed message could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a message with one SK payload. Nobody has vouched for it: to be dropped.
    #[error("not a protected message: {0}")]
    Frame(WireError),
    /// It is not from the peer, or was changed on the way: to be dropped.
    #[error(transparent)]
    Unauthentic(CryptoError),
    /// The peer itself sent contents that are wrong: to be answered (RFC 7296 §2.21.2, §2.21.3).
    #[error("wrong contents: {0}")]
    Contents(WireError),
}

/// Both directions of an IKE SA, and the keys that are needed later.
#[derive(Debug)]
pub struct Channel {
    /// Our messages.
    pub sealer: Sealer,
    /// The peer's messages.
    pub opener: Opener,
    /// SK_d.
    pub sk_d: SkD,
    /// SK_pi.
    pub sk_pi: SkP,
    /// SK_pr.
    pub sk_pr: SkP,
}

impl Channel {
    /// The channel of the original initiator or of the original responder.
    pub fn new(protection: &'static dyn Protection, keys: IkeKeys, initiator: bool) -> Self {
        let IkeKeys { sk_d, initiator: initiator_keys, responder: responder_keys, sk_pi, sk_pr } = keys;
        let (ours, theirs) =
            if initiator { (initiator_keys, responder_keys) } else { (responder_keys, initiator_keys) };
        Self {
            sealer: Sealer { protection, keys: ours, sealed: 0 },
            opener: Opener { protection, keys: theirs },
            sk_d,
            sk_pi,
            sk_pr,
        }
    }
}

/// Seals our messages.
#[derive(Debug)]
pub struct Sealer {
    protection: &'static dyn Protection,
    keys: DirectionKeys,
    /// Messages so far; numbers the IVs.
    sealed: u64,
}

impl Sealer {
    /// The keys, for a packet analyser.
    pub fn keys(&self) -> &DirectionKeys {
        &self.keys
    }

    /// A whole message in which `payloads` are inside SK. A retransmission is the same octets again, not a second call.
    ///
    /// # Errors
    /// [`SealError`] if the contents cannot be written or the key is used up.
    pub fn seal(
        &mut self,
        header: &Header,
        payloads: &[Payload],
        randomness: &mut dyn Randomness,
    ) -> Result<Vec<u8>, SealError> {
        let (first, mut text) = write_chain(payloads)?;
        pad(&mut text, self.protection.block_len());
        let body = [text.len(), self.protection.iv_len(), self.protection.icv_len()].into_iter().sum();
        let mut message = Frame::write_head(header, first, body)?;
        if message.len().saturating_add(body) > MAX_MESSAGE {
            return Err(WireError::TooLong("message").into());
        }
        let number = self.sealed;
        self.sealed = number.checked_add(1).ok_or(CryptoError::UsedUp)?;
        let iv = self.protection.iv(number, randomness);
        self.protection.seal(&self.keys, &message, &iv, &mut text)?;
        message.extend_from_slice(&iv);
        message.extend_from_slice(&text);
        Ok(message)
    }
}

/// Why a message could not be sealed; a fault of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The contents cannot be written.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The key cannot be used.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Opens the peer's messages.
#[derive(Debug)]
pub struct Opener {
    protection: &'static dyn Protection,
    keys: DirectionKeys,
}

impl Opener {
    /// The keys, for a packet analyser.
    pub fn keys(&self) -> &DirectionKeys {
        &self.keys
    }

    /// Whether the peer made this message, whatever is in it.
    ///
    /// # Errors
    /// [`OpenError::Frame`] or [`OpenError::Unauthentic`].
    pub fn authenticate(&self, datagram: &[u8]) -> Result<Header, OpenError> {
        let (header, _, mut text) = self.decrypt(datagram)?;
        text.zeroize();
        Ok(header)
    }

    /// The header and the payloads that were inside SK.
    ///
    /// # Errors
    /// [`OpenError`], which says whether the peer or a stranger is to blame.
    pub fn open(&self, datagram: &[u8]) -> Result<Message, OpenError> {
        let (header, first, mut text) = self.decrypt(datagram)?;
        let payloads = unpad(&mut text).and_then(|()| parse_chain(first, &text)).map_err(OpenError::Contents);
        text.zeroize();
        Ok(Message { header, payloads: payloads? })
    }

    fn decrypt(&self, datagram: &[u8]) -> Result<(Header, PayloadType, Vec<u8>), OpenError> {
        let frame = Frame::parse(datagram).map_err(OpenError::Frame)?;
        let (iv, text) =
            frame.body.split_at_checked(self.protection.iv_len()).ok_or(OpenError::Frame(WireError::Truncated))?;
        let mut text = text.to_vec();
        self.protection.open(&self.keys, frame.head, iv, &mut text).map_err(OpenError::Unauthentic)?;
        Ok((frame.header, frame.first, text))
    }
}
