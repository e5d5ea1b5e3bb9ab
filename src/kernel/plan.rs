//! From an operation to the messages that carry it out, and from their outcomes to what takes it back.

use std::net::IpAddr;

use super::migration::Migration;
use super::netlink::{Outcome, Refused, Request};
use super::op::{Address, Op, Policy, RouteOptimization, SaKey};
use super::ours::{Entry, Ours, Seen};
use super::route;
use super::xfrm::read::{KernelPolicy, Sa};
use super::xfrm::write;

/// Which socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Xfrm,
    Route,
}

/// How an operation is carried out.
pub(super) enum Work {
    /// By these messages.
    Send(Family, Vec<Request>),
    /// By these messages, and by looking whether it was done.
    Migrate(Migration),
    /// By reading an SA and adding what was read.
    Copy(SaKey, IpAddr),
    /// By writing a file.
    Sysctl,
    /// By nothing: it is as it should be.
    Nothing,
    /// Not at all.
    Refuse(Refused),
}

/// How to carry out `op`, given what is ours before it.
pub(super) fn work(ours: &Ours, seen: &Seen, op: &Op) -> Work {
    use Family::{Route, Xfrm};
    match op {
        Op::SpdHash { local, remote } => Work::Send(Xfrm, vec![write::set_spd_hash((*local, *remote))]),
        Op::AddSa(sa) => Work::Send(Xfrm, vec![write::add_sa(sa)]),
        // It cannot be had back without its keys: the send that deletes it reads it first.
        Op::DeleteSa(key) => Work::Send(Xfrm, vec![write::get_sa(key), write::delete_sa(key)]),
        Op::CopySa { from, .. } if !ours.has_sa(from) => {
            Work::Refuse(Refused { errno: libc::ESRCH, ..Refused::new("it is not ours") })
        }
        Op::CopySa { from, to } => Work::Copy(*from, *to),
        Op::SetRouteOptimization(state) if seen.take_over && ours.state(&state.key).is_none() => {
            let (old, new) = (&state.key, write::set_route_optimization(state, false));
            Work::Send(Xfrm, vec![write::get_sa(old), write::delete_sa(old), new])
        }
        Op::SetRouteOptimization(state) => Work::Send(Xfrm, replace_state(ours.state(&state.key), state)),
        Op::SetPolicy(policy) if seen.take_over && !ours.has_policy(&policy.key) => {
            Work::Send(Xfrm, vec![write::get_policy(&policy.key), write::set_policy(policy, true)])
        }
        Op::SetPolicy(policy) => Work::Send(Xfrm, vec![write::set_policy(policy, ours.has_policy(&policy.key))]),
        Op::DeletePolicy(key) if ours.has_policy(key) => Work::Send(Xfrm, vec![write::delete_policy(key)]),
        Op::DeletePolicy(key) => Work::Send(Xfrm, vec![write::get_policy(key), write::delete_policy(key)]),
        Op::Migrate { moves, .. } if moves.is_empty() => Work::Nothing,
        Op::Migrate { policy, moves } => Migration::plan(ours, policy, moves).map_or_else(Work::Refuse, Work::Migrate),
        Op::AddAddress(address) if theirs_will_do(ours, seen, address) => Work::Nothing,
        Op::AddAddress(address) => Work::Send(Route, vec![route::add_address(address)]),
        Op::DeleteAddress(address) => Work::Send(Route, vec![route::delete_address(address)]),
        Op::SetRoute(route) => {
            Work::Send(Route, vec![route::set_route(route, seen.take_over || ours.has_route(route))])
        }
        Op::DeleteRoute(route) => Work::Send(Route, vec![route::delete_route(route)]),
        Op::AddProxy { interface, address } if seen.proxies.contains(&(*interface, *address)) => Work::Nothing,
        Op::AddProxy { interface, address } => Work::Send(Route, vec![route::add_proxy(*interface, *address)]),
        Op::DeleteProxy { interface, address } if !ours.has_proxy(&(*interface, *address)) => Work::Nothing,
        Op::DeleteProxy { interface, address } => Work::Send(Route, vec![route::delete_proxy(*interface, *address)]),
        Op::SetNeighbour { interface, address, link_layer } => {
            Work::Send(Route, vec![route::set_neighbour(*interface, *address, *link_layer)])
        }
        Op::DeleteNeighbour { interface, address } => {
            Work::Send(Route, vec![route::delete_neighbour(*interface, *address)])
        }
        Op::Sysctl { .. } => Work::Sysctl,
    }
}

/// Whether it failed because something stands there that is not ours, and may be replaced: a process that was killed, and whose
/// journal is lost, leaves policies, states and routes that nobody else would have made.
pub(super) fn may_take_over(op: &Op, errno: Option<i32>) -> bool {
    errno == Some(libc::EEXIST) && matches!(op, Op::SetPolicy(_) | Op::SetRouteOptimization(_) | Op::SetRoute(_))
}

/// `XFRM_MSG_UPDSA` changes the care-of address only: a state that becomes wild, or ceases to be, is made anew.
fn replace_state(old: Option<&RouteOptimization>, new: &RouteOptimization) -> Vec<Request> {
    match old {
        None => vec![write::set_route_optimization(new, false)],
        Some(old) if old.wildcard == new.wildcard => vec![write::set_route_optimization(new, true)],
        Some(old) => vec![write::delete_sa(&old.key), write::set_route_optimization(new, false)],
    }
}

fn theirs_will_do(ours: &Ours, seen: &Seen, address: &Address) -> bool {
    let at = (address.interface, address.address);
    !ours.has_address(&at) && seen.addresses.get(&at).is_some_and(|theirs| theirs.home == address.home)
}

/// Whether it takes something away. Such an operation is not sent along with additions before it: the kernel goes on after a
/// refusal, and a policy that protected something would be gone although its successor was refused.
pub(super) fn removes(op: &Op) -> bool {
    matches!(
        op,
        Op::DeleteSa(_)
            | Op::DeletePolicy(_)
            | Op::DeleteAddress(_)
            | Op::DeleteRoute(_)
            | Op::DeleteProxy { .. }
            | Op::DeleteNeighbour { .. }
    )
}

/// What became of an operation.
pub(super) enum Ran {
    /// It was not begun.
    Not,
    /// It was carried out.
    Done(Vec<Outcome>),
    /// The file was written that had this value before.
    Written(String),
    /// There was nothing to do.
    Idle,
    /// It failed and did nothing.
    Refused(Refused),
    /// It failed, and may have done a part.
    Half(Refused, Vec<Outcome>),
}

impl Ran {
    /// By the outcomes of the messages that [`work`] made.
    pub(super) fn judge(op: &Op, work: &Work, outcomes: Vec<Outcome>) -> Self {
        if let (Work::Migrate(migration), Op::Migrate { moves, .. }) = (work, op) {
            return match migration.verdict(moves, &outcomes) {
                Ok(()) => Self::Done(outcomes),
                Err(refused) if migration.began(&outcomes) => Self::Half(refused, outcomes),
                Err(refused) => Self::Refused(refused),
            };
        }
        // Where there are several, the last one is what was to be done.
        match outcomes.last() {
            // The old state is gone, and the new one does not stand.
            Some(Err(refused)) if matches!(op, Op::SetRouteOptimization(_)) && outcomes.len() > 1 => {
                Self::Half(refused.clone(), outcomes)
            }
            Some(Err(refused)) if refused.perhaps_done => Self::Half(refused.clone(), outcomes),
            // What was to be removed and is not there is removed.
            Some(Err(refused)) if refused.is_gone() && !is_kept_by_name(op) && removes(op) => Self::Idle,
            Some(Err(refused)) if refused.errno == libc::EEXIST => {
                let reason = format!("{}: it is there already, and is not ours", refused.reason);
                Self::Refused(Refused { reason, ..refused.clone() })
            }
            Some(Err(refused)) => Self::Refused(refused.clone()),
            Some(Ok(_)) => Self::Done(outcomes),
            None => Self::Idle,
        }
    }

    pub(super) fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) | Self::Half(refused, _) => Some(refused),
            Self::Not | Self::Done(_) | Self::Written(_) | Self::Idle => None,
        }
    }
}

/// SAs and policies are only removed by who knows that they stand: that one is missing is an error.
fn is_kept_by_name(op: &Op) -> bool {
    matches!(op, Op::DeleteSa(_) | Op::DeletePolicy(_))
}

/// What takes an operation back.
pub(super) enum Reverse {
    /// These messages.
    Send(Family, Vec<Request>),
    /// Writing this value.
    Sysctl(String, String),
    /// Nothing: there is nothing to take back.
    Nothing,
    /// It cannot be, for this reason.
    Impossible(&'static str),
}

/// What takes back an operation that did something; `old` is what was remembered of it before.
pub(super) fn reverse(op: &Op, work: &Work, old: &[Entry], seen: &Seen, ran: Ran) -> Reverse {
    let outcomes = match (ran, op) {
        (Ran::Not | Ran::Idle | Ran::Refused(_), _) => return Reverse::Nothing,
        (Ran::Written(before), Op::Sysctl { path, .. }) => return Reverse::Sysctl(path.clone(), before),
        (Ran::Written(_), _) => return Reverse::Nothing,
        (Ran::Done(outcomes) | Ran::Half(_, outcomes), _) => outcomes,
    };
    let xfrm = |request| Reverse::Send(Family::Xfrm, vec![request]);
    let route = |request| Reverse::Send(Family::Route, vec![request]);
    match op {
        Op::AddSa(sa) => xfrm(write::delete_sa(&sa.key)),
        Op::CopySa { from, to } => xfrm(write::delete_sa(&SaKey { destination: *to, ..*from })),
        Op::DeleteSa(_) => read(outcomes, Sa::read).map_or(UNREAD, |sa| xfrm(sa.again())),
        Op::SetRouteOptimization(state) => match old.first() {
            Some(Entry::State(_, Some(old))) => Reverse::Send(Family::Xfrm, replace_state(Some(state), old)),
            _ if seen.take_over => {
                let theirs = read(outcomes, Sa::read).map(Sa::again);
                let back = [write::delete_sa(&state.key)].into_iter().chain(theirs);
                Reverse::Send(Family::Xfrm, back.collect())
            }
            _ => xfrm(write::delete_sa(&state.key)),
        },
        Op::SetPolicy(Policy { key, .. }) => match old.first() {
            Some(Entry::Policy(_, Some(old))) => xfrm(write::set_policy(old, true)),
            _ if seen.take_over => {
                let theirs = read(outcomes, KernelPolicy::read).map(KernelPolicy::again);
                let back = [write::delete_policy(key)].into_iter().chain(theirs);
                Reverse::Send(Family::Xfrm, back.collect())
            }
            _ => xfrm(write::delete_policy(key)),
        },
        Op::DeletePolicy(_) => match old.first() {
            Some(Entry::Policy(_, Some(old))) => xfrm(write::set_policy(old, true)),
            _ => read(outcomes, KernelPolicy::read).map_or(UNREAD, |policy| xfrm(policy.again())),
        },
        Op::Migrate { policy, .. } => match work {
            Work::Migrate(migration) => Reverse::Send(Family::Xfrm, migration.back(policy, &outcomes)),
            _ => Reverse::Nothing,
        },
        Op::AddAddress(address) | Op::DeleteAddress(address) => {
            match had_address(old).or_else(|| seen.addresses.get(&(address.interface, address.address)).copied()) {
                Some(had) => route(route::add_address(&had)),
                None if matches!(op, Op::AddAddress(_)) => route(route::delete_address(address)),
                None => route(route::add_address(address)),
            }
        }
        Op::SetRoute(new) => match old.first() {
            Some(Entry::Route(_, Some(old))) => route(route::set_route(old, true)),
            _ => route(route::delete_route(new)),
        },
        Op::DeleteRoute(gone) => match old.first() {
            Some(Entry::Route(_, Some(old))) => route(route::set_route(old, true)),
            _ => route(route::set_route(gone, true)),
        },
        Op::AddProxy { interface, address } => match old.first() {
            Some(Entry::Proxy(_, false)) => route(route::delete_proxy(*interface, *address)),
            _ => Reverse::Nothing,
        },
        Op::DeleteProxy { interface, address } => route(route::add_proxy(*interface, *address)),
        Op::SpdHash { .. } => seen.spd_hash.map_or(Reverse::Nothing, |before| xfrm(write::set_spd_hash(before))),
        // The kernel refreshes and forgets neighbours by itself.
        Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } | Op::Sysctl { .. } => Reverse::Nothing,
    }
}

const UNREAD: Reverse = Reverse::Impossible("it could not be read before it was deleted");

/// The answer to the first message.
fn read<T>(outcomes: Vec<Outcome>, read: impl Fn(&[u8]) -> Result<T, Refused>) -> Option<T> {
    read(outcomes.into_iter().next()?.ok()?.first()?).ok()
}

fn had_address(old: &[Entry]) -> Option<Address> {
    match old.first()? {
        Entry::Address(_, had) => *had,
        _ => None,
    }
}

/// An operation in words, without keys.
pub(super) fn name(op: &Op) -> String {
    match op {
        Op::AddSa(sa) => format!("AddSa({:?})", sa.key),
        other => format!("{other:?}"),
    }
}
