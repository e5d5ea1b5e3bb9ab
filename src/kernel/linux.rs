//! The Linux kernel of this machine (of this network namespace).

use std::borrow::Cow;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalError};
use super::netlink::{Netlink, Outcome, Refused, Request};
use super::op::{Op, SaKey};
use super::ours::{Entry, Ours, Seen, is_below};
use super::plan::{Family, Ran, Reverse, Work, may_take_over, name, removes, reverse, work};
use super::undo::{Undo, undo_all};
use super::xfrm::read::Sa;
use super::xfrm::{read, write};
use super::{Done, Failure, Kernel, probe, route, sysctl};

/// Why the kernel cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It lacks something.
    #[error("the kernel lacks {facility}: {help} ({source})")]
    Missing {
        /// What is missing, by the name of its option.
        facility: &'static str,
        /// What to do.
        help: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// We are not allowed to ask.
    #[error(
        "the kernel does not let this process set IPsec states: run it as root, or with CAP_NET_ADMIN in its network namespace"
    )]
    Denied,
    /// Another process has the journal.
    #[error("{}: {reason}", path.display())]
    InUse {
        /// Where it is.
        path: PathBuf,
        /// Which process, in words.
        reason: String,
    },
    /// The journal cannot be read or written.
    #[error("{}: {source}", path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The kernel, with a journal of what is ours in it.
///
/// A batch is one transaction. Its messages go out in as few sends as its order allows: neighbours of one netlink family in one
/// send, but what takes something away never together with what was added before it. Linux goes on after a message that it refuses;
/// whatever was done beside it is undone in reverse order, so that a batch is carried out as a whole or not at all.
///
/// - An SA is read by the same send that deletes it. If the batch fails it is added again with its keys, its replay window and
///   its counters; an outbound one leaves some sequence numbers out, for none may be used twice (RFC 4303 §3.3.3).
/// - An address or a proxy entry of others is left as it is, or put back in the end if it had to be changed. A policy, a
///   route-optimisation state or a route that is in our place is taken for what a killed process left, and replaced with a word in the
///   log. An ESP SA that is in our place is an error.
/// - A neighbour's link-layer address is not put back: the kernel refreshes and forgets it by itself.
pub struct Linux {
    xfrm: Netlink,
    route: Netlink,
    ours: Ours,
    journal: Journal,
    lost: Vec<SaKey>,
}

/// An operation on its way.
struct Step<'a> {
    op: Cow<'a, Op>,
    work: Work,
    /// What was remembered before it, in the order of its effects.
    old: Vec<Entry>,
    ran: Ran,
}

impl Linux {
    /// Tries the facilities that cannot be done without, by objects that nothing else uses and that are removed at once.
    ///
    /// # Errors
    /// The facility that is missing and what to do.
    pub fn probe() -> Result<(), OpenError> {
        probe::probe(&mut probe::sockets()?.0)
    }

    /// Opens the kernel and removes what an earlier process left behind according to its journal.
    ///
    /// # Errors
    /// No socket of the kernel's, the process that runs with this journal, or why it cannot be written.
    pub fn open(journal: &Path) -> Result<Self, OpenError> {
        let wrong = |source| OpenError::Journal { path: journal.to_owned(), source };
        let journal_ = Journal::open(journal).map_err(|error| match error {
            JournalError::Io(source) => wrong(source),
            in_use @ JournalError::InUse { .. } => {
                OpenError::InUse { path: journal.to_owned(), reason: in_use.to_string() }
            }
        })?;
        let (xfrm, route) = probe::sockets()?;
        let mut linux = Self { xfrm, route, ours: Ours::default(), journal: journal_, lost: Vec::new() };
        let owed = linux.journal.owed();
        if !owed.is_empty() {
            tracing::info!(event = "cleaned_up", objects = owed.len());
            let undone = undo_all(&mut linux.xfrm, &mut linux.route, owed);
            for left in undone.left_behind {
                tracing::warn!(event = "not_cleaned_up", left);
            }
            linux.lost = undone.esp_sas;
        }
        linux.journal.clear().map_err(wrong)?;
        Ok(linux)
    }

    /// ESP SAs that an earlier process left behind and that [`Linux::open`] has removed.
    pub fn lost(&self) -> &[SaKey] {
        &self.lost
    }

    /// Removes everything of ours and puts every value back; all of it is tried.
    ///
    /// # Errors
    /// What could not be removed; it stays in the journal for the next process.
    pub fn restore(&mut self) -> Result<(), Failure> {
        let left_behind = undo_all(&mut self.xfrm, &mut self.route, &self.ours.all()).left_behind;
        self.ours = Ours::default();
        if left_behind.is_empty() {
            // A journal that stays would only be tried once more by the next process.
            drop(self.journal.remove());
            return Ok(());
        }
        Err(Failure { index: 0, operation: "restore".into(), errno: None, reason: "not all of it".into(), left_behind })
    }

    /// Sends until now, of both families.
    pub fn sends(&self) -> u32 {
        self.xfrm.sends.wrapping_add(self.route.sends)
    }

    fn sent(&self) -> u32 {
        self.xfrm.sent.wrapping_add(self.route.sent)
    }

    /// Looks for what others have, where the batch might touch it.
    fn look(&mut self, batch: &[Op]) -> Result<Seen, Refused> {
        let mut seen = Seen::default();
        let (mut requests, mut wanted) = (Vec::new(), Vec::new());
        for op in batch {
            match op {
                Op::AddAddress(address) | Op::DeleteAddress(address)
                    if !self.ours.has_address(&(address.interface, address.address)) =>
                {
                    requests.push(route::get_address(address));
                    wanted.push(op);
                }
                Op::AddProxy { interface, address } if !self.ours.has_proxy(&(*interface, *address)) => {
                    requests.push(route::get_proxy(*interface, *address));
                    wanted.push(op);
                }
                Op::SpdHash { .. } => {
                    let answers = self.xfrm.request(write::get_spd_hash())?;
                    seen.spd_hash = Some(read::spd_hash(answers.first().map_or(&[], |answer| answer))?);
                }
                Op::Sysctl { path, .. } => seen.sysctls.extend(settings(path, self.ours.has_sysctl(path))),
                _ => {}
            }
        }
        for (op, outcome) in wanted.into_iter().zip(self.route.exchange(&requests)) {
            let answer = match outcome {
                Ok(answers) => answers.into_iter().next(),
                Err(refused) if refused.is_gone() => None,
                Err(refused) => return Err(refused),
            };
            match (op, answer) {
                (Op::AddAddress(wanted) | Op::DeleteAddress(wanted), Some(answer)) => {
                    let found = route::read_address(wanted, &answer)?;
                    seen.addresses.extend(found.map(|found| ((wanted.interface, wanted.address), found)));
                }
                (Op::AddProxy { interface, address }, Some(_)) => drop(seen.proxies.insert((*interface, *address))),
                _ => {}
            }
        }
        Ok(seen)
    }

    /// Remembers what an operation changes; what was remembered before.
    fn note(&mut self, op: &Op, seen: &Seen) -> Vec<Entry> {
        let effects = self.ours.effects(op, seen);
        effects.into_iter().map(|entry| self.ours.put(entry)).collect()
    }

    fn forget(&mut self, old: Vec<Entry>) {
        for entry in old.into_iter().rev() {
            self.ours.put(entry);
        }
    }

    /// Carries steps out in order until one fails.
    fn run(&mut self, steps: &mut [Step<'_>]) {
        let mut rest = steps;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(at_once(rest));
            match now.first().map(|step| &step.work) {
                Some(Work::Copy(..)) => self.copy(now),
                Some(Work::Sysctl) => now.iter_mut().for_each(|step| step.ran = write_setting(&step.op)),
                _ => self.send(now),
            }
            if now.iter().any(|step| step.ran.refused().is_some()) {
                return;
            }
            rest = later;
        }
    }

    /// Steps of one family, in one send if they fit.
    fn send(&mut self, steps: &mut [Step<'_>]) {
        let (mut requests, mut counts, mut to) = (Vec::new(), Vec::new(), Family::Xfrm);
        for step in steps.iter_mut() {
            let own = match (&mut step.work, &*step.op) {
                (Work::Send(family, own), _) => {
                    to = *family;
                    mem::take(own)
                }
                (Work::Migrate(migration), Op::Migrate { policy, .. }) => migration.requests(policy),
                _ => Vec::new(),
            };
            counts.push(own.len());
            requests.extend(own);
        }
        let mut outcomes = self.socket(to).exchange(&requests).into_iter();
        for (step, count) in steps.iter_mut().zip(counts) {
            let own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
            step.ran = match &step.work {
                Work::Refuse(refused) => Ran::Refused(refused.clone()),
                work => Ran::judge(&step.op, work, own),
            };
        }
    }

    /// Copies of SAs: all are read at once, then all are added at once.
    fn copy(&mut self, steps: &mut [Step<'_>]) {
        let from = |step: &Step<'_>| match &step.work {
            Work::Copy(from, to) => Some((*from, *to)),
            _ => None,
        };
        let copies: Vec<(SaKey, _)> = steps.iter().filter_map(from).collect();
        let questions: Vec<Request> = copies.iter().map(|(from, _)| write::get_sa(from)).collect();
        let answers = self.xfrm.exchange(&questions);
        let additions: Result<Vec<Request>, (usize, Refused)> = answers
            .into_iter()
            .zip(&copies)
            .enumerate()
            .map(|(at, (outcome, (_, to)))| {
                let read = outcome.and_then(|answers| Sa::read(answers.first().map_or(&[], |answer| answer)));
                read.map(|sa| sa.copy_to(*to)).map_err(|refused| (at, refused))
            })
            .collect();
        match additions {
            Ok(additions) => {
                for (step, outcome) in steps.iter_mut().zip(self.xfrm.exchange(&additions)) {
                    step.ran = Ran::judge(&step.op, &step.work, vec![outcome]);
                }
            }
            Err((at, refused)) => {
                if let Some(step) = steps.get_mut(at) {
                    step.ran = Ran::Refused(refused);
                }
            }
        }
    }

    fn socket(&mut self, family: Family) -> &mut Netlink {
        match family {
            Family::Xfrm => &mut self.xfrm,
            Family::Route => &mut self.route,
        }
    }

    /// Takes back what the steps did, last first, and remembers what stands then; what could not be taken back.
    fn roll_back(&mut self, mut steps: Vec<Step<'_>>, seen: &Seen) -> Vec<String> {
        // Each step was remembered as if those before it had worked. What really happened is remembered anew.
        for step in steps.iter_mut().rev() {
            let old = mem::take(&mut step.old);
            self.forget(old);
        }
        let mut reverses = Vec::new();
        for step in steps {
            let Step { op, work, ran, .. } = step;
            if matches!(ran, Ran::Not | Ran::Refused(_)) {
                continue;
            }
            let old = self.note(&op, seen);
            let reverse = reverse(&op, &work, &old, seen, ran);
            reverses.push((op, old, reverse));
        }
        let mut left_behind = Vec::new();
        for (op, old, reverse) in reverses.into_iter().rev() {
            match self.take_back(reverse) {
                Ok(()) => self.forget(old),
                Err(reason) => left_behind.push(format!("{} ({reason})", name(&op))),
            }
        }
        left_behind
    }

    fn take_back(&mut self, reverse: Reverse) -> Result<(), String> {
        match reverse {
            Reverse::Nothing => Ok(()),
            Reverse::Impossible(reason) => Err(reason.to_owned()),
            Reverse::Sysctl(path, value) => sysctl::write(&path, &value).map_err(|refused| refused.reason),
            Reverse::Send(family, requests) => {
                let outcomes = self.socket(family).exchange(&requests);
                let refused = outcomes.into_iter().find_map(|o| o.err().filter(|refused| !refused.is_gone()));
                refused.map_or(Ok(()), |refused| Err(refused.reason))
            }
        }
    }
}

impl Kernel for Linux {
    fn apply(&mut self, batch: &[Op]) -> Result<Done, Failure> {
        let before = self.sent();
        let mut result = self.transaction(batch, false);
        if let Err(failure) = &result
            && failure.left_behind.is_empty()
            && batch.get(failure.index).is_some_and(|op| may_take_over(op, failure.errno))
        {
            tracing::warn!(event = "taken_over", operation = failure.operation);
            result = self.transaction(batch, true);
        }
        result.map(|()| Done { messages: self.sent().wrapping_sub(before) })
    }
}

impl Linux {
    /// Carries a batch out, or nothing of it.
    fn transaction(&mut self, batch: &[Op], take_over: bool) -> Result<(), Failure> {
        let fail = |index: usize, refused: Refused, left_behind| Failure {
            index,
            operation: batch.get(index).map_or_else(String::new, name),
            errno: (refused.errno != 0).then_some(refused.errno),
            reason: refused.reason,
            left_behind,
        };
        let seen = self.look(batch).map_err(|refused| fail(0, refused, Vec::new()))?;
        let seen = Seen { take_over, ..seen };
        let (mut steps, mut owed, mut touched) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        for op in batch {
            let work = work(&self.ours, &seen, op);
            let effects = self.ours.effects(op, &seen);
            owed.extend(effects.iter().filter_map(Undo::of));
            let old: Vec<Entry> = effects.into_iter().map(|entry| self.ours.put(entry)).collect();
            touched.extend(old.iter().filter_map(Undo::of));
            steps.push(Step { op: Cow::Borrowed(op), work, old, ran: Ran::Not });
        }
        // Written before it is done: a kill in between leaves a record of nothing rather than a thing without a record.
        if let Err(error) = self.journal.owe(owed.iter().cloned()) {
            self.roll_back(steps, &seen);
            return Err(fail(0, Refused::from(&error), Vec::new()));
        }
        self.run(&mut steps);
        let refused = steps.iter().enumerate().find_map(|(index, step)| Some((index, step.ran.refused()?.clone())));
        let failed = refused.map(|(index, refused)| fail(index, refused, self.roll_back(steps, &seen)));
        for undo in touched.into_iter().chain(owed) {
            if !self.ours.needs(&undo) {
                self.journal.settle(undo);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// How many of these steps, at least one, are carried out together.
fn at_once(steps: &[Step<'_>]) -> usize {
    let kind = |step: &Step<'_>| match &step.work {
        Work::Send(family, _) => Some(*family),
        Work::Migrate(_) | Work::Refuse(_) => Some(Family::Xfrm),
        Work::Copy(..) | Work::Sysctl | Work::Nothing => None,
    };
    let mut steps = steps.iter();
    let Some(first) = steps.next() else { return 0 };
    let mut last = first;
    let more = steps.take_while(|step| {
        let together = match (&first.work, &step.work) {
            (Work::Copy(..), Work::Copy(..)) | (Work::Nothing, Work::Nothing) => true,
            (Work::Sysctl, Work::Sysctl) => false,
            _ => kind(first).is_some() && kind(first) == kind(step) && (!removes(&step.op) || removes(&last.op)),
        };
        last = *step;
        together
    });
    1 + more.count()
}

fn write_setting(op: &Op) -> Ran {
    let Op::Sysctl { path, value } = op else { return Ran::Idle };
    let before = match sysctl::read(path) {
        Ok(before) => before,
        Err(refused) => return Ran::Refused(refused),
    };
    sysctl::write(path, value).map_or_else(Ran::Refused, |()| Ran::Written(before))
}

/// A setting's value, with those that Linux changes along with it.
fn settings(path: &str, known: bool) -> Vec<(String, String)> {
    if known {
        return Vec::new();
    }
    let own = sysctl::read(path).ok().map(|value| (path.to_owned(), value));
    let below = sysctl::siblings(path).into_iter().filter(|other| other != path && is_below(other, path));
    let along = below.filter_map(|other| sysctl::read(&other).ok().map(|value| (other, value)));
    let changed: Vec<_> = along.filter(|(_, value)| own.as_ref().is_some_and(|(_, own)| own != value)).collect();
    own.into_iter().chain(changed).collect()
}
