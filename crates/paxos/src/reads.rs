//! Reads without a lease: one round of probes serves all reads that waited for it.

use crate::door::Output;
use crate::message::Kind;
use crate::mutation::Mutation;
use crate::replica::{Replica, Role};
use crate::types::{Ballot, ReplicaId};
use std::collections::VecDeque;

/// Reads that may wait; more are denied.
const READS_WAITING_MAX: usize = 65_536;

/// A leader's reads that wait for a quorum's word that it still leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// The round that is under way, or was last.
    round: u64,
    /// Whether it is under way.
    is_open: bool,
    /// The leader's log time when it began, ms …
    round_log_ms: u64,
    /// … and that of the highest round that a quorum answered.
    confirmed_log_ms: u64,
    /// The highest round that a quorum answered.
    confirmed: u64,
    /// (round that must be confirmed, ticket), in order.
    waiting: VecDeque<(u64, u64)>,
}

impl Reads {
    /// A configuration came into force: what voters of the former said proves nothing of log time there, where another may
    /// have led already. All that wait are asked for anew.
    pub(crate) fn ask_again(&mut self) {
        self.is_open = false;
        let next = self.round + 1;
        for (round, _) in &mut self.waiting {
            *round = next;
        }
    }

    /// Gives the tickets back.
    pub(crate) fn into_tickets(self) -> impl Iterator<Item = u64> {
        self.waiting.into_iter().map(|(_, ticket)| ticket)
    }
}

impl Replica {
    /// The owner has a read and no lease.
    pub(crate) fn on_read(&mut self, ticket: u64, out: &mut Output) {
        match &mut self.role {
            Role::Leader(leader) if leader.reads.waiting.len() < READS_WAITING_MAX => {
                // A round that is under way was asked before this read came, so it proves nothing for it.
                let round = leader.reads.round + 1;
                leader.reads.waiting.push_back((round, ticket));
            }
            Role::Leader(_) | Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                out.deny.push(ticket);
            }
        }
    }

    /// Starts a round if reads wait for one, and serves those that may be.
    pub(crate) fn serve_reads(&mut self, out: &mut Output) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(&(newest, _)) = leader.reads.waiting.back() else {
            return;
        };
        // Not before former leases are over: their holders may answer by later log times than this round would name.
        let may_begin = leader.ready && self.now_us >= leader.phase1.visible_us;
        if !leader.reads.is_open && may_begin && newest > leader.reads.round {
            leader.reads.round_log_ms = self.log_time.now_ms(self.now_us);
            leader.reads.round += 1;
            leader.reads.is_open = true;
            self.send_probes(out);
        }
        self.count_probes();
        if !self.may_show() {
            return;
        }
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let reads = &mut leader.reads;
        while let Some(&(round, ticket)) = reads.waiting.front()
            && round <= reads.confirmed
        {
            reads.waiting.pop_front();
            out.serve.push(ticket);
            out.serve_log_ms = reads.confirmed_log_ms;
        }
    }

    /// Asks the voters of the round that is under way, again if need be.
    pub(crate) fn send_probes(&self, out: &mut Output) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if !leader.reads.is_open {
            return;
        }
        let round = leader.reads.round;
        for follower in &leader.followers {
            if follower.is_voter && follower.probe < round {
                let kind = Kind::ReadProbe {
                    ballot: leader.phase1.ballot,
                    round,
                    log_ms: self.log_time.now_ms(self.now_us),
                };
                out.send_first.push(self.names.message(follower.id, kind));
            }
        }
    }

    /// Closes the round if a quorum of the configuration in force has answered.
    fn count_probes(&mut self) {
        let needed = self.quorum();
        let round_log_ms = match &self.role {
            Role::Leader(leader) => leader.reads.round_log_ms,
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => return,
        };
        let own = self.is_voter(self.names.me) && self.remembers_log_ms(round_log_ms);
        let own = usize::from(own);
        let any_round = self.mutations.has(Mutation::AnyProbeRound);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let round = leader.reads.round;
        let answered = |probe: u64| probe >= round || (any_round && probe > 0);
        let others = leader.followers.iter().filter(|f| f.is_voter);
        let count = own + others.filter(|f| answered(f.probe)).count();
        if leader.reads.is_open && count >= needed {
            leader.reads.is_open = false;
            leader.reads.confirmed = round;
            leader.reads.confirmed_log_ms = leader.reads.round_log_ms;
            self.note_shown(round_log_ms);
        }
    }

    /// A leader asks whether it still is one.
    pub(crate) fn on_read_probe(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        round: u64,
        log_ms: u64,
        out: &mut Output,
    ) {
        if from != ballot.replica {
            return;
        }
        if ballot < self.promised {
            self.send_nack(from, ballot, out);
            return;
        }
        if ballot > self.promised {
            self.raise_promised(ballot, out);
        }
        self.see_log_ms(log_ms);
        self.ceiling.on_asked(log_ms);
        self.send_promised(from, Kind::ReadProbeReply { ballot, round }, out);
    }

    /// Somebody says that it has promised nothing higher.
    pub(crate) fn on_read_probe_reply(&mut self, from: ReplicaId, ballot: Ballot, round: u64) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if leader.phase1.ballot != ballot || round > leader.reads.round {
            return;
        }
        if let Some(follower) = leader.followers.iter_mut().find(|f| f.id == from) {
            follower.probe = follower.probe.max(round);
        }
    }
}
