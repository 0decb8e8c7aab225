//! Sees everything, and says at once when something happened that must not.
//!
//! - One value per index: what any replica applies at an index equals what the first one applied there.
//! - One value per (ballot, index), in proposals and in promises (DESIGN-PAXOS §3.14, 4).
//! - One leader per ballot, over restarts too (14).
//! - A snapshot's state equals that of the log up to its base (12).
//! - What is placed in the log after something was visible stays visible: an operation's place is behind all that was
//!   shown before it was called. Far sharper than the history's values, which are judged at the end.
//! - No leader holds a lease after a later ballot has shown anything (23).
//! - An operation is applied once at most, and never after its client was told that it was refused (10, 41).
//! - Log time that was shown never goes back, and does not run away from true time (39).

use super::operations::{Machine, OperationId, Operations, Progress};
use paxos::{Ballot, Config, Entry, Index, Kind, Message};
use std::collections::HashMap;

/// What a leader showed, and how it knew that it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A write, at the index where it was chosen.
    Write,
    /// A read from the applied state under a lease.
    LeaseRead,
    /// A read after a quorum's word.
    QuorumRead,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// What was chosen, from index 1 on.
    chosen: Vec<Entry>,
    /// The rolling hash after each index, 0 included.
    hashes: Vec<u64>,
    proposed: HashMap<(Ballot, Index), Entry>,
    leaders: HashMap<Ballot, (usize, u64)>,
    /// Where each operation was applied.
    placed: HashMap<OperationId, u64>,
    /// Every configuration that was proposed or founded, by number; several may have one number.
    pub configs: Vec<Config>,
    shown_index: u64,
    shown_log_ms: u64,
    shown_ballot: Ballot,
    /// The latest true time, us, at which log time can have been 0 by what was shown, as a lock's holder reckons: from when
    /// it asked, by a clock that may be as slow as is assumed.
    origin_us: i64,
    /// How often leadership began.
    pub leaderships: u64,
    /// How often somebody campaigned.
    pub campaigns: u64,
    /// What is wrong, first of all.
    pub violation: Option<String>,
}

/// How slow the clock of a lock's holder may be against a leader's, in percent of it.
const SLOWEST_PERCENT: i64 = 98;
/// What a leader adds at its beginning to be on the safe side, us: the clocks' error over a lease, and milliseconds cut off.
const ROUNDING_US: i64 = 8_000;

impl Judge {
    /// Of a group that begins with this configuration.
    pub fn new(founding: Config) -> Judge {
        Judge {
            hashes: vec![0],
            configs: vec![founding],
            origin_us: i64::MIN / 2,
            ..Judge::default()
        }
    }

    /// Notes that something is wrong; the first counts.
    pub fn accuse(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The highest index that any replica knows chosen.
    pub fn chosen_last(&self) -> u64 {
        self.chosen.len() as u64
    }

    /// What must not go below, for an operation that is called now: index and log time, ms.
    pub fn floors(&self) -> (u64, u64) {
        (self.shown_index, self.shown_log_ms)
    }

    /// A replica applied an entry; `machine` is as before it.
    pub fn on_apply(&mut self, node: usize, machine: &Machine, index: Index, entry: &Entry) {
        if index.0 != machine.applied + 1 {
            self.accuse(format!(
                "node {node} applied index {} after {}: not dense",
                index.0, machine.applied
            ));
            return;
        }
        match self.chosen.get(index.0 as usize - 1) {
            None => {
                self.chosen.push(entry.clone());
                self.on_config(entry);
            }
            Some(chosen) if chosen == entry => {}
            Some(chosen) => {
                let what = format!(
                    "divergence: node {node} applied {entry:?} at index {}, another had {chosen:?}",
                    index.0
                );
                self.accuse(what);
            }
        }
    }

    /// A replica applied an entry; `machine` is as after it.
    pub fn on_applied(&mut self, node: usize, machine: &Machine) {
        match self.hashes.get(machine.applied as usize) {
            None => self.hashes.push(machine.hash),
            Some(hash) if *hash == machine.hash => {}
            Some(_) => self.accuse(format!(
                "node {node} has another state than others at index {}",
                machine.applied
            )),
        }
    }

    /// A replica applied an operation at an index.
    pub fn on_placed(&mut self, operations: &Operations, id: OperationId, index: u64) {
        let placed = *self.placed.entry(id).or_insert(index);
        if placed != index {
            self.accuse(format!(
                "operation {id} took effect twice, at {placed} and {index}"
            ));
        }
        if operations.get(id).progress == Progress::Refused {
            self.accuse(format!(
                "operation {id} took effect at {index} after it was refused"
            ));
        }
    }

    /// A replica put a snapshot's state in place of its own, which was at `before`.
    pub fn on_installed(&mut self, node: usize, before: u64, machine: &Machine) {
        if machine.applied < before {
            self.accuse(format!(
                "node {node}: a snapshot took the state back from {before} to {}",
                machine.applied
            ));
        }
        if self.hashes.get(machine.applied as usize) != Some(&machine.hash) {
            self.accuse(format!(
                "node {node}: a snapshot's state at {} is not that of the log",
                machine.applied
            ));
        }
    }

    /// A message left.
    pub fn on_message(&mut self, message: &Message) {
        if let Kind::Accept {
            ballot,
            first,
            entries,
            ..
        } = &message.kind
        {
            for (entry, index) in entries.iter().zip(first.0..) {
                self.on_value(*ballot, Index(index), entry);
            }
        } else if let Kind::Promise { accepted, .. } = &message.kind {
            for accepted in accepted {
                self.on_value(accepted.ballot, accepted.index, &accepted.entry);
            }
        }
    }

    fn on_value(&mut self, ballot: Ballot, index: Index, entry: &Entry) {
        let mut is_new = false;
        let known = self.proposed.entry((ballot, index)).or_insert_with(|| {
            is_new = true;
            entry.clone()
        });
        if known != entry {
            let what = format!(
                "two values under {ballot:?} at {}: {known:?} and {entry:?}",
                index.0
            );
            self.accuse(what);
        } else if is_new {
            self.on_config(entry);
        }
    }

    fn on_config(&mut self, entry: &Entry) {
        if let Entry::Config(config) = entry
            && !self.configs.contains(config)
        {
            self.configs.push(config.clone());
        }
    }

    /// A replica began to lead in its life `life`.
    pub fn on_leader(&mut self, node: usize, life: u64, ballot: Ballot) {
        let known = *self.leaders.entry(ballot).or_insert((node, life));
        self.leaderships += 1;
        if known != (node, life) || ballot.replica.node.0 as usize != node {
            self.accuse(format!(
                "{ballot:?} is led by node {node} in life {life}, and by node {} in life {}",
                known.0, known.1
            ));
        }
    }

    /// A leader showed the effect of an operation, or the lack of one.
    ///
    /// `index`: where it stands in the log; `log_ms`: by which log time it was judged.
    pub fn on_shown(
        &mut self,
        operations: &Operations,
        id: OperationId,
        (shown, ballot): (Shown, Ballot),
        (index, log_ms): (u64, u64),
        node: usize,
    ) {
        let asked = operations.get(id);
        let behind = match shown {
            Shown::Write => index > asked.floor_index,
            Shown::LeaseRead | Shown::QuorumRead => index >= asked.floor_index,
        };
        if !behind {
            self.accuse(format!(
                "stale: node {node} answered operation {id} ({shown:?}, {ballot:?}) from index {index}, but index {} was \
                 visible before it was called at {} us",
                asked.floor_index, asked.call_us
            ));
        }
        if log_ms < asked.floor_log_ms {
            self.accuse(format!(
                "log time went back: node {node} judged operation {id} ({shown:?}) by {log_ms} ms, but {} ms was shown before",
                asked.floor_log_ms
            ));
        }
        if shown == Shown::LeaseRead && ballot < self.shown_ballot {
            self.accuse(format!(
                "two leases: node {node} read under {ballot:?} after {:?} had shown something",
                self.shown_ballot
            ));
        }
        self.shown_index = self.shown_index.max(index);
        self.shown_log_ms = self.shown_log_ms.max(log_ms);
        self.shown_ballot = self.shown_ballot.max(ballot);
    }

    /// What was asked for at `call_us` was judged by `log_ms`, and that is shown now: no lock that was granted before may have
    /// ended by it earlier than its holder reckons. `is_grant`: it is a write, by which a lock may be granted now; maybe by
    /// another leader's stamp, whose entry this one found and adopted (R3).
    pub fn on_reckoned(
        &mut self,
        node: usize,
        (call_us, now_us): (u64, u64),
        log_ms: u64,
        is_grant: bool,
    ) {
        let origin_us = |at_us: u64| at_us as i64 - log_ms as i64 * 1_000 * SLOWEST_PERCENT / 100;
        let early_us = self.origin_us - origin_us(now_us);
        let allowed_us = 10_000 + ROUNDING_US * self.leaderships as i64;
        if early_us > allowed_us {
            self.accuse(format!(
                "node {node}: a lock is over at log time {log_ms} ms, {} ms earlier than its holder reckons",
                early_us / 1_000
            ));
        }
        if is_grant {
            self.origin_us = self.origin_us.max(origin_us(call_us));
        }
    }

    /// Log time must not run ahead of true time by more than clocks and elections explain.
    pub fn on_log_time(&mut self, node: usize, log_ms: u64, true_us: u64) {
        // Each campaign rounds up what it hears.
        let allowed_ms =
            true_us / 1_000 * 105 / 100 + 5 + 4 * self.leaderships + 3 * self.campaigns;
        if log_ms > allowed_ms {
            self.accuse(format!(
                "node {node}: log time {log_ms} ms runs ahead of true time {} ms",
                true_us / 1_000
            ));
        }
    }
}
