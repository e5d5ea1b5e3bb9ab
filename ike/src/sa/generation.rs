//! One set of keys and SPIs of an IKE SA. A rekeying makes the next one; the IKE SA's name stays.

use std::time::Instant;

use super::Context;
use super::exchange::Purpose;
use super::window::{Incoming, Outgoing, Retransmission};
use crate::action::{Action, Endpoints, KeyLog};
use crate::config::IkeSuite;
use crate::crypto::{Channel, IkeKeys, Prf};
use crate::fault::Fault;
use crate::wire::{ExchangeType, Flags, Group, Header, Notify, NotifyType, Payload};

/// Keys, SPIs and the two windows.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The original initiator's SPI and the responder's.
    pub(crate) spis: (u64, u64),
    /// RFC 7296 §3.1: whether we are the original initiator, that is the side that started this generation.
    pub(crate) initiator: bool,
    pub(crate) prf: &'static dyn Prf,
    /// The key exchange method of this generation: the peer can calculate it.
    pub(crate) group: Group,
    pub(crate) channel: Channel,
    pub(crate) outgoing: Outgoing<Purpose>,
    pub(crate) incoming: Incoming,
}

/// How a retransmission timer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Still waiting, or nothing to wait for.
    Left,
    /// The peer did not answer.
    Exhausted,
}

impl Generation {
    /// RFC 7296 §2.2: the first request after IKE_SA_INIT has Message ID 1; §2.18: after a rekeying it has 0.
    pub(crate) fn new(
        ctx: &mut Context<'_>,
        (suite, group): (IkeSuite, Group),
        keys: IkeKeys,
        spis: (u64, u64),
        initiator: bool,
        first_message_id: u32,
    ) -> Result<Self, Fault> {
        let (prf, protection) = algorithms(suite)?;
        let channel = Channel::new(protection, keys, initiator);
        if ctx.config.key_log {
            let (ours, theirs) = (channel.sealer.keys(), channel.opener.keys());
            let (i, r) = if initiator { (ours, theirs) } else { (theirs, ours) };
            let (encryption_name, integrity_name) = protection.tshark_names();
            ctx.emit(Action::KeyLog(Box::new(KeyLog {
                spis,
                encryption: (i.encryption.duplicate(), r.encryption.duplicate()),
                integrity: (i.integrity.duplicate(), r.integrity.duplicate()),
                encryption_name,
                integrity_name,
            })));
        }
        Ok(Generation {
            spis,
            initiator,
            prf,
            group,
            channel,
            outgoing: Outgoing::starting_at(if initiator { first_message_id } else { 0 }),
            incoming: Incoming::starting_at(if initiator { 0 } else { first_message_id }),
        })
    }

    /// Our SPI.
    pub(crate) fn local_spi(&self) -> u64 {
        if self.initiator { self.spis.0 } else { self.spis.1 }
    }

    /// Seals and sends a request, and keeps it until it is answered. The caller has seen that the window is free.
    pub(crate) fn request(
        &mut self,
        ctx: &mut Context<'_>,
        endpoints: Endpoints,
        exchange: ExchangeType,
        payloads: &[Payload],
        purpose: Purpose,
    ) -> Result<(), Fault> {
        let Some(message_id) = self.outgoing.free() else {
            return Err(Fault::Local("a request was built while another is outstanding".into()));
        };
        let bytes = self.seal(ctx, exchange, false, message_id, payloads)?;
        ctx.emit(Action::Send { endpoints, bytes: bytes.clone() });
        self.outgoing.begin(message_id, Retransmission::new(ctx.now, ctx.config, bytes), purpose);
        Ok(())
    }

    /// Seals and sends the answer to the request that is due, and keeps it for repetitions of the request.
    pub(crate) fn answer(
        &mut self,
        ctx: &mut Context<'_>,
        endpoints: Endpoints,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<(), Fault> {
        let bytes = self.answer_later(ctx, exchange, payloads)?;
        ctx.emit(Action::Send { endpoints, bytes });
        Ok(())
    }

    /// The same, but the caller sends the octets, after what has to come before.
    pub(crate) fn answer_later(
        &mut self,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<Vec<u8>, Fault> {
        let bytes = self.seal(ctx, exchange, true, self.incoming.expected(), payloads)?;
        self.incoming.answered(bytes.clone());
        Ok(bytes)
    }

    /// Answers with a notify and nothing else.
    pub(crate) fn answer_notify(
        &mut self,
        ctx: &mut Context<'_>,
        endpoints: Endpoints,
        exchange: ExchangeType,
        (notify, data): (NotifyType, &[u8]),
    ) -> Result<(), Fault> {
        let payloads = [Payload::Notify(Notify::with_data(notify, data.to_vec()))];
        self.answer(ctx, endpoints, exchange, &payloads)
    }

    fn seal(
        &mut self,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        response: bool,
        message_id: u32,
        payloads: &[Payload],
    ) -> Result<Vec<u8>, Fault> {
        let flags = Flags { initiator: self.initiator, higher_version: false, response };
        let header = Header::new(self.spis, exchange, flags, message_id);
        self.channel
            .sealer
            .seal(&header, payloads, ctx.random)
            .map_err(|error| Fault::Local(format!("a message cannot be sealed: {error}")))
    }

    /// Sends the outstanding request again if it is time.
    pub(crate) fn on_timer(&mut self, ctx: &mut Context<'_>, endpoints: Endpoints) -> Patience {
        let Some(outstanding) = self.outgoing.outstanding_mut() else { return Patience::Left };
        match outstanding.wire.on_timer(ctx.now, ctx.config) {
            super::window::Step::Wait => Patience::Left,
            super::window::Step::GiveUp => Patience::Exhausted,
            super::window::Step::Again => {
                let bytes = outstanding.wire.bytes().to_vec();
                ctx.stats.retransmitted += 1;
                ctx.emit(Action::Send { endpoints, bytes });
                Patience::Left
            }
        }
    }

    /// RFC 7296 §2.1: the outstanding request goes on, bit for bit the same, on the new path and at once.
    pub(crate) fn moved(&mut self, ctx: &mut Context<'_>, endpoints: Endpoints) {
        if let Some(outstanding) = self.outgoing.outstanding_mut() {
            outstanding.wire.restart(ctx.now, ctx.config);
            let bytes = outstanding.wire.bytes().to_vec();
            ctx.stats.retransmitted += 1;
            ctx.emit(Action::Send { endpoints, bytes });
        }
    }

    /// When the outstanding request is due again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.outgoing.outstanding().map(|outstanding| outstanding.wire.due())
    }
}

/// PRF and protection of a suite.
pub(crate) fn algorithms(suite: IkeSuite) -> Result<(&'static dyn Prf, &'static dyn crate::crypto::Protection), Fault> {
    match (suite.prf(), suite.protection()) {
        (Some(prf), Some(protection)) => Ok((prf, protection)),
        _ => Err(Fault::Local(format!("{suite:?} cannot be calculated"))),
    }
}
