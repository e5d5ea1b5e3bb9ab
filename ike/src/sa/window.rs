//! Message IDs, retransmission and the answers kept for a peer that did not get them. The window is one message in each
//! direction: we announce no other and use no other (RFC 7296 §2.3).

use std::time::{Duration, Instant};

use crate::config::Config;

/// The longest pause between two repetitions.
const LONGEST: Duration = Duration::from_secs(3600);

/// A request of ours on its way, repeated until it is answered.
#[derive(Debug)]
pub(crate) struct Retransmission {
    bytes: Vec<u8>,
    sent: u32,
    interval: Duration,
    due: Instant,
}

/// What a timer asks of an outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing yet.
    Wait,
    /// Send it again.
    Again,
    /// It was sent often enough.
    GiveUp,
}

impl Retransmission {
    /// A request that is sent for the first time now.
    pub(crate) fn new(now: Instant, config: &Config, bytes: Vec<u8>) -> Self {
        let interval = config.retransmit_first;
        Retransmission { bytes, sent: 1, interval, due: now + interval }
    }

    /// RFC 7296 §2.1: each repetition is the same octets, so they are kept and never built again.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When the timer has to be looked at.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// RFC 7296 §2.4: the intervals grow exponentially, and after the last one the peer counts as failed.
    pub(crate) fn on_timer(&mut self, now: Instant, config: &Config) -> Step {
        if now < self.due {
            return Step::Wait;
        }
        if self.sent >= config.retransmit_tries {
            return Step::GiveUp;
        }
        self.sent += 1;
        self.interval = self.interval.saturating_mul(config.retransmit_factor).min(LONGEST);
        self.due = now + self.interval;
        Step::Again
    }

    /// A new path says nothing about losses on the old one: the count begins again.
    pub(crate) fn restart(&mut self, now: Instant, config: &Config) {
        self.sent = 1;
        self.interval = config.retransmit_first;
        self.due = now + self.interval;
    }

    /// RFC 7296 §2.21.1: an unprotected refusal may be forged. It ends no attempt at once, it only leaves less patience.
    pub(crate) fn lose_patience(&mut self, config: &Config) {
        self.sent = self.sent.max(config.retransmit_tries.saturating_sub(2));
    }
}

/// A request outstanding under an IKE SA, and what it is for.
#[derive(Debug)]
pub(crate) struct Outstanding<P> {
    pub(crate) message_id: u32,
    pub(crate) wire: Retransmission,
    pub(crate) purpose: P,
}

/// Our requests (RFC 7296 §2.2: a counter of our own).
#[derive(Debug)]
pub(crate) struct Outgoing<P> {
    /// One more than 32 bits hold: no Message ID is left, and none is used twice.
    next: u64,
    outstanding: Option<Outstanding<P>>,
}

impl<P> Outgoing<P> {
    /// The next request gets this Message ID.
    pub(crate) fn starting_at(next: u32) -> Self {
        Outgoing { next: next.into(), outstanding: None }
    }

    /// The Message ID for a new request, or none while another one is unanswered (RFC 7296 §2.3).
    pub(crate) fn free(&self) -> Option<u32> {
        match self.outstanding {
            None => u32::try_from(self.next).ok(),
            Some(_) => None,
        }
    }

    /// RFC 7296 §2.2: an IKE SA ends or is rekeyed before its Message IDs wrap.
    pub(crate) fn worn_out(&self) -> bool {
        self.next >= u64::from(u32::MAX - 0x1_0000)
    }

    /// A request was built with the Message ID of [`Self::free`].
    pub(crate) fn begin(&mut self, message_id: u32, wire: Retransmission, purpose: P) {
        self.next = u64::from(message_id) + 1;
        self.outstanding = Some(Outstanding { message_id, wire, purpose });
    }

    pub(crate) fn outstanding(&self) -> Option<&Outstanding<P>> {
        self.outstanding.as_ref()
    }

    pub(crate) fn outstanding_mut(&mut self) -> Option<&mut Outstanding<P>> {
        self.outstanding.as_mut()
    }

    /// Whether a response to this Message ID is awaited.
    pub(crate) fn awaits(&self, message_id: u32) -> bool {
        self.outstanding.as_ref().is_some_and(|outstanding| outstanding.message_id == message_id)
    }

    /// Takes the request that this response answers; a response to anything else finds nothing.
    pub(crate) fn answered(&mut self, message_id: u32) -> Option<P> {
        let taken = self.outstanding.take_if(|outstanding| outstanding.message_id == message_id)?;
        Some(taken.purpose)
    }

    /// Forgets the outstanding request: nothing is expected any more.
    pub(crate) fn forget(&mut self) -> Option<P> {
        self.outstanding.take().map(|outstanding| outstanding.purpose)
    }
}

/// Where a request of the peer stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// The one that is due.
    New,
    /// The last one again: it gets this answer again.
    Repeated(&'a [u8]),
    /// Outside of the window, or still being worked on: nothing is said.
    Dropped,
}

/// The peer's requests, and the answer to the last one.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// RFC 7296 §2.2: Message IDs do not wrap; after the last one nothing is expected.
    expected: u64,
    answer: Option<Vec<u8>>,
    working: bool,
}

impl Incoming {
    /// The peer's next request has this Message ID.
    pub(crate) fn starting_at(expected: u32) -> Self {
        Incoming { expected: expected.into(), answer: None, working: false }
    }

    /// RFC 7296 §2.1: a repeated request has no effect but the same answer; §2.3: what is outside of the window gets none.
    pub(crate) fn arrival(&self, message_id: u32) -> Arrival<'_> {
        if self.working {
            return Arrival::Dropped;
        }
        if u64::from(message_id) == self.expected {
            return Arrival::New;
        }
        match &self.answer {
            Some(answer) if u64::from(message_id) + 1 == self.expected => Arrival::Repeated(answer),
            _ => Arrival::Dropped,
        }
    }

    /// The expected request is suspended until the owner of the engine has answered a question.
    pub(crate) fn suspend(&mut self) {
        self.working = true;
    }

    /// The expected request was answered with these octets.
    pub(crate) fn answered(&mut self, answer: Vec<u8>) {
        self.working = false;
        self.expected += 1;
        self.answer = Some(answer);
    }

    /// The Message ID of the request that is due or suspended.
    pub(crate) fn expected(&self) -> u32 {
        // A request is due, so its Message ID is one.
        u32::try_from(self.expected).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_with_growing_pauses_and_then_given_up() {
        let config = Config { retransmit_tries: 3, ..Config::default() };
        let start = crate::test_clock();
        let mut request = Retransmission::new(start, &config, vec![1, 2, 3]);
        let mut pauses = Vec::new();
        let mut last = start;
        loop {
            let due = request.due();
            pauses.push(due - last);
            last = due;
            assert_eq!(request.on_timer(due - Duration::from_millis(1), &config), Step::Wait);
            match request.on_timer(due, &config) {
                Step::Wait => panic!("the timer was due"),
                Step::Again => assert_eq!(request.bytes(), [1, 2, 3]),
                Step::GiveUp => break,
            }
        }
        assert_eq!(pauses, [500, 1000, 2000].map(Duration::from_millis));
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer_and_an_older_one_none() {
        let mut incoming = Incoming::starting_at(0);
        assert_eq!(incoming.arrival(0), Arrival::New);
        incoming.suspend();
        assert_eq!(incoming.arrival(0), Arrival::Dropped);
        incoming.answered(vec![7]);
        assert_eq!(incoming.arrival(0), Arrival::Repeated(&[7]));
        assert_eq!(incoming.arrival(1), Arrival::New);
        incoming.answered(vec![8]);
        assert_eq!(incoming.arrival(0), Arrival::Dropped);
        assert_eq!(incoming.arrival(3), Arrival::Dropped);
    }

    /// RFC 7296 §2.2: a Message ID is used once; long before there is none left the IKE SA is rekeyed.
    #[test]
    fn message_ids_come_to_an_end_and_do_not_wrap() {
        let mut outgoing = Outgoing::starting_at(u32::MAX - 0x1_0001);
        assert!(!outgoing.worn_out());
        for left in [0x1_0001, 0x1_0000] {
            let id = outgoing.free().unwrap();
            assert_eq!(id, u32::MAX - left);
            outgoing.begin(id, Retransmission::new(crate::test_clock(), &Config::default(), Vec::new()), ());
            outgoing.answered(id);
        }
        assert!(outgoing.worn_out());
        let mut outgoing = Outgoing::starting_at(u32::MAX);
        outgoing.begin(u32::MAX, Retransmission::new(crate::test_clock(), &Config::default(), Vec::new()), ());
        outgoing.answered(u32::MAX);
        assert_eq!(outgoing.free(), None);
        let mut incoming = Incoming::starting_at(u32::MAX);
        assert_eq!(incoming.arrival(u32::MAX), Arrival::New);
        incoming.answered(vec![1]);
        assert_eq!(incoming.arrival(u32::MAX), Arrival::Repeated(&[1]));
        assert_eq!(incoming.arrival(0), Arrival::Dropped);
    }

    #[test]
    fn an_answer_to_another_request_leaves_ours_outstanding() {
        let config = Config::default();
        let mut outgoing = Outgoing::starting_at(4);
        let id = outgoing.free().unwrap();
        outgoing.begin(id, Retransmission::new(crate::test_clock(), &config, Vec::new()), "ours");
        assert_eq!(outgoing.answered(3), None);
        assert_eq!(outgoing.free(), None);
        assert_eq!(outgoing.answered(4), Some("ours"));
        assert_eq!(outgoing.free(), Some(5));
    }
}
