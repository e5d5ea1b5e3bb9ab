//! Whole messages, sealed and opened (RFC 7296 §3.14).

use zeroize::Zeroize;

use super::{CryptoError, DirectionKeys, IkeKeys, Protection, Randomness, SkD, SkP};
use crate::wire::encrypted::{Frame, pad, unpad};
use crate::wire::message::MAX_MESSAGE;
use crate::wire::payload::parse_inner_chain;
use crate::wire::{Header, Message, Payload, PayloadType, WireError, write_chain};

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
        let (first, text) = write_chain(payloads)?;
        self.seal_chain(header, first, text, randomness)
    }

    /// The same with a chain of payloads that is written already and begins with one of type `first`.
    pub(crate) fn seal_chain(
        &mut self,
        header: &Header,
        first: PayloadType,
        mut text: Vec<u8>,
        randomness: &mut dyn Randomness,
    ) -> Result<Vec<u8>, SealError> {
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
        let payloads = unpad(&mut text).and_then(|()| parse_inner_chain(first, &text)).map_err(OpenError::Contents);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RING;
    use crate::crypto::test_support::{Counting, SPIS, hex, ike_keys};
    use crate::wire::{Delete, ExchangeType, Flags, Nonce, Notify, NotifyType};
    use proptest::prelude::*;

    fn channels(protection: &'static dyn Protection) -> (Channel, Channel) {
        let ours = Channel::new(protection, ike_keys(protection), true);
        (ours, Channel::new(protection, ike_keys(protection), false))
    }

    fn header() -> Header {
        Header::new(SPIS, ExchangeType::Informational, Flags { initiator: true, ..Flags::default() }, 7)
    }

    /// What the initiator would send if it put just `text` inside SK.
    fn sealed_text(protection: &'static dyn Protection, first: PayloadType, mut text: Vec<u8>) -> Vec<u8> {
        let body = protection.iv_len() + text.len() + protection.icv_len();
        let head = Frame::write_head(&header(), first, body).unwrap();
        let iv = vec![9; protection.iv_len()];
        protection.seal(&ike_keys(protection).initiator, &head, &iv, &mut text).unwrap();
        [head, iv, text].concat()
    }

    // The expected octets were put together from RFC 7296 §3.14 and RFC 5282 with Python's `cryptography` and `hmac` and
    // with `openssl enc`.

    #[test]
    fn a_message_sealed_with_aes_gcm_has_the_expected_octets() {
        let (mut initiator, _) = channels(RING.protections[0]);
        let sealed = initiator.sealer.seal(&header(), &[Payload::Delete(Delete::Ike)], &mut Counting(1)).unwrap();
        assert_eq!(
            sealed,
            hex(
                "010203040506070811121314151617182e20250800000007000000412a0000250000000000000000390e9dccaa1a34fdd34f7d0e7c7a257e9198aa4fdf18d84f41"
            )
        );
    }

    #[test]
    fn a_message_sealed_with_aes_cbc_has_the_expected_octets() {
        let (mut initiator, _) = channels(RING.protections[2]);
        let sealed = initiator.sealer.seal(&header(), &[Payload::Delete(Delete::Ike)], &mut Counting(1)).unwrap();
        assert_eq!(
            sealed,
            hex(
                "010203040506070811121314151617182e20250800000007000000502a00003401082bda455ccf0e497033020d4457b654ec92ddec9d039fbaeeb38a5173fdfc80b9176d155214e5b78ad691a343666e"
            )
        );
    }

    #[test]
    fn an_empty_message_can_be_sealed() {
        for protection in RING.protections {
            let (mut initiator, responder) = channels(*protection);
            let sealed = initiator.sealer.seal(&header(), &[], &mut Counting(1)).unwrap();
            assert_eq!(responder.opener.open(&sealed), Ok(Message { header: header(), payloads: Vec::new() }));
        }
    }

    #[test]
    fn a_message_of_ours_is_not_taken_for_the_peers() {
        for protection in RING.protections {
            let (mut initiator, responder) = channels(*protection);
            let sealed = initiator.sealer.seal(&header(), &[], &mut Counting(1)).unwrap();
            assert_eq!(initiator.opener.open(&sealed), Err(OpenError::Unauthentic(CryptoError::Integrity)));
            assert_eq!(responder.opener.authenticate(&sealed), Ok(header()));
        }
    }

    #[test]
    fn no_iv_is_used_twice() {
        for protection in RING.protections {
            let (mut initiator, _) = channels(*protection);
            let mut randomness = Counting(1);
            let ivs: std::collections::BTreeSet<Vec<u8>> = (0..8)
                .map(|_| initiator.sealer.seal(&header(), &[], &mut randomness).unwrap())
                .map(|sealed| sealed[Frame::HEAD..Frame::HEAD + protection.iv_len()].to_vec())
                .collect();
            assert_eq!(ivs.len(), 8);
        }
    }

    #[test]
    fn a_used_up_key_seals_nothing() {
        let (mut initiator, _) = channels(RING.protections[0]);
        initiator.sealer.sealed = u64::MAX;
        let refused = initiator.sealer.seal(&header(), &[], &mut Counting(1));
        assert_eq!(refused, Err(SealError::Crypto(CryptoError::UsedUp)));
    }

    #[test]
    fn a_payload_beside_sk_is_refused() {
        let (mut initiator, responder) = channels(RING.protections[0]);
        let sealed = initiator.sealer.seal(&header(), &[], &mut Counting(1)).unwrap();
        let mut message = Message::parse(&sealed).unwrap();
        message.payloads.insert(0, Payload::Notify(Notify::new(NotifyType::InitialContact)));
        let refused = responder.opener.open(&message.write().unwrap());
        assert!(matches!(refused, Err(OpenError::Frame(WireError::Malformed { payload: "SK", .. }))), "{refused:?}");
        message.payloads.pop();
        assert!(matches!(responder.opener.open(&message.write().unwrap()), Err(OpenError::Frame(_))));
    }

    #[test]
    fn wrong_contents_are_blamed_on_the_peer_only_if_it_sealed_them() {
        for protection in RING.protections {
            let (_, responder) = channels(*protection);
            // More padding than octets, a chain that ends too early, an encrypted payload in another.
            for (first, text) in [
                (PayloadType::Notify, vec![255; 16]),
                (PayloadType::Notify, [vec![0, 0, 0, 9], vec![0; 11], vec![11]].concat()),
                (PayloadType::Encrypted, [vec![0, 0, 0, 4], vec![0; 11], vec![11]].concat()),
            ] {
                let mut sealed = sealed_text(*protection, first, text);
                let refused = responder.opener.open(&sealed);
                assert!(matches!(refused, Err(OpenError::Contents(_))), "{first}: {refused:?}");
                assert_eq!(responder.opener.authenticate(&sealed), Ok(header()));
                sealed[Frame::HEAD + 1] ^= 1;
                assert_eq!(responder.opener.open(&sealed), Err(OpenError::Unauthentic(CryptoError::Integrity)));
            }
        }
    }

    #[test]
    fn an_unknown_critical_payload_is_named() {
        for protection in RING.protections {
            let (_, responder) = channels(*protection);
            let text = [vec![0, 0x80, 0, 4], vec![0; 11], vec![11]].concat();
            let refused = responder.opener.open(&sealed_text(*protection, PayloadType::from_code(200), text));
            assert_eq!(refused, Err(OpenError::Contents(WireError::UnsupportedCritical(200))));
        }
    }

    #[test]
    fn any_padding_that_fits_is_accepted() {
        // RFC 7296 §3.14: the receiver accepts any padding that aligns.
        for protection in RING.protections {
            let (_, responder) = channels(*protection);
            let text = [vec![0xa5; 47], vec![47]].concat();
            let sealed = sealed_text(*protection, PayloadType::None, text);
            assert_eq!(responder.opener.open(&sealed).unwrap().payloads, []);
        }
    }

    #[test]
    fn a_message_that_fits_no_datagram_is_not_sealed() {
        let (mut initiator, _) = channels(RING.protections[0]);
        let payloads = vec![Payload::Other { kind: 200, data: vec![0; 30_000] }; 3];
        let refused = initiator.sealer.seal(&header(), &payloads, &mut Counting(1));
        assert!(matches!(refused, Err(SealError::Wire(WireError::TooLong(_)))), "{refused:?}");
    }

    proptest! {
        #[test]
        fn what_one_side_seals_the_other_opens(
            which in 0..3_usize, nonce in prop::collection::vec(any::<u8>(), 16..=256)
        ) {
            let (mut initiator, mut responder) = channels(RING.protections[which]);
            let payloads = vec![Payload::Nonce(Nonce::new(nonce).unwrap()), Payload::Delete(Delete::Esp(vec![1, 2]))];
            for (from, to) in [(&mut initiator.sealer, &responder.opener), (&mut responder.sealer, &initiator.opener)] {
                let sealed = from.seal(&header(), &payloads, &mut Counting(5)).unwrap();
                prop_assert_eq!(to.open(&sealed), Ok(Message { header: header(), payloads: payloads.clone() }));
            }
        }

        #[test]
        fn a_changed_message_is_never_opened(
            which in 0..3_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8
        ) {
            let (mut initiator, responder) = channels(RING.protections[which]);
            let payloads = [Payload::Delete(Delete::Esp(vec![1, 2, 3]))];
            let mut sealed = initiator.sealer.seal(&header(), &payloads, &mut Counting(5)).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            let refused = responder.opener.open(&sealed);
            prop_assert!(matches!(refused, Err(OpenError::Frame(_) | OpenError::Unauthentic(_))), "{:?}", refused);
        }

        #[test]
        fn a_truncated_message_is_never_opened(which in 0..3_usize, length in any::<prop::sample::Index>()) {
            let (mut initiator, responder) = channels(RING.protections[which]);
            let sealed = initiator.sealer.seal(&header(), &[], &mut Counting(5)).unwrap();
            let mut cut = sealed[..length.index(sealed.len())].to_vec();
            prop_assert!(responder.opener.open(&cut).is_err());
            // The same with length fields that agree with what is left.
            if cut.len() >= Frame::HEAD {
                let total = u32::try_from(cut.len()).unwrap();
                cut[24..28].copy_from_slice(&total.to_be_bytes());
                cut[30..32].copy_from_slice(&u16::try_from(total - 28).unwrap().to_be_bytes());
                prop_assert!(responder.opener.open(&cut).is_err());
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(which in 0..3_usize, octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let (_, responder) = channels(RING.protections[which]);
            prop_assert!(responder.opener.open(&octets).is_err());
            let framed = [Frame::write_head(&header(), PayloadType::Sa, octets.len()).unwrap(), octets].concat();
            prop_assert!(responder.opener.open(&framed).is_err());
        }
    }
}
