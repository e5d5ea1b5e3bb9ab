//! `XFRM_MSG_MIGRATE`: tunnel SAs and the policy that leads to them go to other addresses, with all their state.

use super::netlink::{Answer, Outcome, Refused, Request};
use super::op::{Move, PolicyKey, SaKey};
use super::ours::{Ours, Sa, matches, moved};
use super::xfrm::read::{KernelPolicy, Sa as KernelSa};
use super::xfrm::{MIGRATE_ENTRIES, read, write};

/// A migration in its messages, and what has to stand afterwards.
pub(super) struct Migration {
    /// The entries of each message.
    messages: Vec<Vec<Move>>,
    /// Each SA of ours that moves: its new name, and what is known of it.
    expected: Vec<(SaKey, Sa)>,
}

impl Migration {
    /// Linux moves one SA for each entry, takes six entries and none twice, and demands in every message one that matches the
    /// policy's template: further messages begin with an entry that leaves where it is what the first message moved.
    pub(super) fn plan(ours: &Ours, policy: &PolicyKey, moves: &[Move]) -> Result<Self, Refused> {
        let templates = ours.templates(policy);
        let guides = |entry: &Move| templates.iter().any(|template| matches(template, entry));
        let guide = moves.iter().position(guides).unwrap_or(0);
        let mut left: Vec<(Move, usize)> = Vec::new();
        let mut expected = Vec::new();
        for entry in moves.get(guide).into_iter().chain(moves.iter().filter(|entry| moves.get(guide) != Some(*entry))) {
            let here: Vec<_> = ours.moving(entry).map(|(key, sa)| (moved(key, entry), *sa)).collect();
            if here.is_empty() {
                // The kernel would move the policy alone, and acknowledge: nothing would pass any more.
                let (source, destination) = entry.from;
                let reason = format!("no SA with reqid {} from {source} to {destination} is ours", entry.reqid);
                return Err(Refused { errno: libc::ESRCH, ..Refused::new(reason) });
            }
            left.push((*entry, here.len()));
            expected.extend(here);
        }
        Ok(Self { messages: messages(left), expected })
    }

    /// The encapsulation to name in the messages. Linux up to 6.12 keeps what it is not told and newer ones take it away, but
    /// one message can name one pair of ports only: where the SAs have several, they are left out, and reading back tells
    /// whether each kept its own.
    fn encapsulation(&self) -> Option<(u16, u16)> {
        let (_, first) = self.expected.first()?;
        first.encapsulation.filter(|_| self.expected.iter().all(|(_, sa)| sa.encapsulation == first.encapsulation))
    }

    /// All messages, then a question for the policy and for each SA. The acknowledgement proves little: an SA that was not
    /// found is passed over in silence.
    pub(super) fn requests(&self, policy: &PolicyKey) -> Vec<Request> {
        let messages = self.messages.iter().map(|entries| write::migrate(policy, entries, self.encapsulation()));
        let sas = self.expected.iter().map(|(key, _)| write::get_sa(key));
        messages.chain([write::get_policy(policy)]).chain(sas).collect()
    }

    /// Whether all of it was done; `Err` has the reason.
    pub(super) fn verdict(&self, moves: &[Move], outcomes: &[Outcome]) -> Result<(), Refused> {
        let (messages, answers) = outcomes.split_at(self.messages.len().min(outcomes.len()));
        match messages.iter().find_map(|outcome| outcome.as_ref().err()) {
            Some(refused) => Err(refused.clone()),
            None => self.check(moves, answers),
        }
    }

    /// Whether a part of it was done, or may have been.
    pub(super) fn began(&self, outcomes: &[Outcome]) -> bool {
        (0..self.messages.len()).any(|at| done(outcomes, at))
    }

    /// The messages that move back what those that were done have moved. They are not the same ones turned around: beside the
    /// entry that stays, a turned one would begin at the same addresses, which Linux takes for a repetition.
    pub(super) fn back(&self, policy: &PolicyKey, outcomes: &[Outcome]) -> Vec<Request> {
        let mut moved: Vec<(Move, usize)> = Vec::new();
        let done = self.messages.iter().enumerate().filter(|(at, _)| done(outcomes, *at));
        for entry in done.flat_map(|(_, entries)| entries).filter(|entry| entry.from != entry.to) {
            let turned = Move { from: entry.to, to: entry.from, reqid: entry.reqid };
            match moved.iter_mut().find(|(known, _)| *known == turned) {
                Some((_, count)) => *count += 1,
                None => moved.push((turned, 1)),
            }
        }
        messages(moved).iter().map(|entries| write::migrate(policy, entries, self.encapsulation())).collect()
    }

    fn check(&self, moves: &[Move], answers: &[Outcome]) -> Result<(), Refused> {
        let (policy, sas) = answers.split_first().ok_or_else(|| Refused::new("no answer"))?;
        let policy = KernelPolicy::read(only(policy)?)?;
        if policy.templates().iter().any(|t| moves.iter().any(|entry| entry.from != entry.to && matches(t, entry))) {
            return Err(Refused::new("the policy's template did not move"));
        }
        for ((key, known), answer) in self.expected.iter().zip(sas) {
            let found = only(answer).and_then(|answer| KernelSa::read(answer));
            let Ok(found) = found else {
                return Err(Refused::new(format!("{} did not move", read::name(key))));
            };
            if found.ends() != (key.source, key.destination) {
                return Err(Refused::new(format!("{} moved by half", read::name(key))));
            }
            if found.encapsulation() != known.encapsulation {
                return Err(Refused::new(format!("{} lost its encapsulation", read::name(key))));
            }
        }
        Ok(())
    }
}

/// Each entry as often as it has SAs to move. The first one is for the policy's template.
fn messages(mut left: Vec<(Move, usize)>) -> Vec<Vec<Move>> {
    let mut messages = Vec::new();
    let mut lead: Option<Move> = None;
    while !left.is_empty() {
        let mut message: Vec<Move> = lead.into_iter().collect();
        for (entry, count) in left.iter_mut().take(MIGRATE_ENTRIES - message.len()) {
            message.push(*entry);
            *count -= 1;
        }
        lead = lead.or_else(|| message.first().map(|first| Move { from: first.to, ..*first }));
        left.retain(|(_, count)| *count > 0);
        messages.push(message);
    }
    messages
}

fn done(outcomes: &[Outcome], at: usize) -> bool {
    outcomes.get(at).is_some_and(|outcome| outcome.as_ref().err().is_none_or(|refused| refused.perhaps_done))
}

fn only(outcome: &Outcome) -> Result<&Answer, Refused> {
    match outcome {
        Ok(answers) => answers.first().ok_or_else(|| Refused::new("no answer")),
        Err(refused) => Err(refused.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::kernel::op::{
        Direction, EspKeys, EspSa, Mode, Net, Op, Policy, PolicyType, Protocol, Selector, Template, Verdict,
    };
    use crate::kernel::ours::Seen;

    const AGENT: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));

    fn care_of(which: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, which))
    }

    fn selector() -> Selector {
        let any = Net { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };
        Selector { source: any, destination: any, protocol: 0, source_port: None, destination_port: None }
    }

    fn key() -> PolicyKey {
        PolicyKey { kind: PolicyType::Main, direction: Direction::Out, selector: selector() }
    }

    fn sa(spi: u32, reqid: u32, (source, destination): (IpAddr, IpAddr), encapsulation: Option<(u16, u16)>) -> Op {
        Op::AddSa(EspSa {
            key: SaKey { protocol: Protocol::Esp, source, destination, spi },
            mode: Mode::Tunnel,
            reqid,
            selector: selector(),
            keys: EspKeys::AesGcm16(zeroize::Zeroizing::new(vec![0; 36])),
            replay_window: 32,
            esn: false,
            encapsulation,
        })
    }

    fn policy(reqid: u32, (source, destination): (IpAddr, IpAddr)) -> Op {
        let template =
            Template { protocol: Protocol::Esp, mode: Mode::Tunnel, source, destination, reqid, optional: false };
        Op::SetPolicy(Policy { key: key(), priority: 1, verdict: Verdict::Allow(vec![template]) })
    }

    fn ours(ops: &[Op]) -> Ours {
        let mut ours = Ours::default();
        for op in ops {
            for entry in ours.effects(op, &Seen::default()) {
                ours.put(entry);
            }
        }
        ours
    }

    fn out(reqid: u32) -> Move {
        Move { from: (care_of(1), AGENT), to: (care_of(2), AGENT), reqid }
    }

    fn back(reqid: u32) -> Move {
        Move { from: (AGENT, care_of(1)), to: (AGENT, care_of(2)), reqid }
    }

    #[test]
    fn a_second_sa_with_the_same_ends_and_reqid_moves_by_a_second_message() {
        let ours = ours(&[
            sa(1, 9, out(9).from, None),
            sa(2, 9, out(9).from, None),
            sa(3, 9, back(9).from, None),
            policy(9, out(9).from),
        ]);
        let migration = Migration::plan(&ours, &key(), &[out(9), back(9)]).unwrap();
        let identity = Move { from: out(9).to, ..out(9) };
        assert_eq!(migration.messages, [vec![out(9), back(9)], vec![identity, out(9)]]);
        let spis: Vec<u32> = migration.expected.iter().map(|(key, _)| key.spi).collect();
        assert_eq!(spis, [1, 2, 3]);
    }

    #[test]
    fn the_move_of_the_policys_template_leads_every_message() {
        let mut ops = vec![policy(15, out(15).from)];
        let mut moves = Vec::new();
        for reqid in 10..16 {
            ops.extend([sa(reqid, reqid, out(reqid).from, None), sa(reqid, reqid, back(reqid).from, None)]);
            moves.extend([out(reqid), back(reqid)]);
        }
        let migration = Migration::plan(&ours(&ops), &key(), &moves).unwrap();
        assert_eq!(migration.messages.len(), 3);
        assert_eq!(migration.messages[0][0], out(15));
        for message in &migration.messages[1..] {
            assert_eq!(message[0], Move { from: out(15).to, ..out(15) });
        }
        assert!(migration.messages.iter().all(|message| message.len() <= MIGRATE_ENTRIES));
        let moved: Vec<Move> = migration.messages.concat();
        assert!(moves.iter().all(|entry| moved.iter().filter(|done| *done == entry).count() == 1));
    }

    #[test]
    fn a_move_for_which_there_is_no_sa_is_refused_before_the_kernel_is_told() {
        let ours = ours(&[sa(1, 9, out(9).from, None), policy(9, out(9).from)]);
        let refused = Migration::plan(&ours, &key(), &[out(9), back(9)]).err().unwrap();
        assert_eq!(refused.errno, libc::ESRCH);
        assert!(refused.reason.contains("reqid 9"), "{}", refused.reason);
    }

    #[test]
    fn ports_are_named_only_if_all_sas_share_them() {
        let plan = |ports: [Option<(u16, u16)>; 2]| {
            let ours =
                ours(&[sa(1, 9, out(9).from, ports[0]), sa(2, 9, back(9).from, ports[1]), policy(9, out(9).from)]);
            Migration::plan(&ours, &key(), &[out(9), back(9)]).unwrap().encapsulation()
        };
        assert_eq!(plan([Some((4500, 4500)); 2]), Some((4500, 4500)));
        assert_eq!(plan([Some((4500, 7)), Some((7, 4500))]), None);
        assert_eq!(plan([None, None]), None);
    }

    #[test]
    fn only_what_was_done_is_undone() {
        let ours = ours(&[sa(1, 9, out(9).from, None), sa(2, 9, out(9).from, None), policy(9, out(9).from)]);
        let migration = Migration::plan(&ours, &key(), &[out(9)]).unwrap();
        let refused = || Err(Refused { errno: libc::ENODATA, ..Refused::new("no") });
        let outcomes = |first: Outcome, second: Outcome| [first, second, Ok(vec![]), Ok(vec![]), Ok(vec![])];
        let back = |outcomes: &[Outcome]| migration.back(&key(), outcomes).len();
        assert_eq!(back(&outcomes(Ok(vec![]), Ok(vec![]))), 2);
        assert_eq!(back(&outcomes(Ok(vec![]), refused())), 1);
        assert!(!migration.began(&outcomes(refused(), refused())));
        let lost = Err(Refused { perhaps_done: true, ..Refused::new("lost") });
        assert!(migration.began(&outcomes(lost, refused())));
    }
}
