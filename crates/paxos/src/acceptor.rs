//! The acceptor: promises, accepts, and learns what is chosen (rules R1, R3, R7).

use crate::door::{Output, Record, RoleChange};
use crate::lease::LogTime;
use crate::log::weight;
use crate::message::{AcceptedEntry, HeardTime, Kind};
use crate::mutation::Mutation;
use crate::replica::{ConfigNews, Replica, Role};
use crate::types::{Ballot, Entry, Index, ReplicaId};

impl Replica {
    /// Phase 1a came.
    pub(crate) fn on_prepare(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        first: Index,
        released: Option<Ballot>,
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
        // The candidate gets a little time before others are encouraged.
        self.sticky_until_us = self
            .sticky_until_us
            .max(self.now_us + 2 * self.settings.heartbeat_us);
        self.put_deadline_off();
        self.send_promise(from, first, released, out);
    }

    /// Answers phase 1 with everything accepted above what both know chosen, in as many messages as it takes.
    fn send_promise(
        &mut self,
        to: ReplicaId,
        first: Index,
        released: Option<Ballot>,
        out: &mut Output,
    ) {
        let mut index = self.chosen.next().max(first);
        let mut last = self.log.last();
        if self.mutations.has(Mutation::PromiseOmitsOne) && last >= index {
            last = Index(last.0 - 1);
        }
        let heard = |of: LogTime| HeardTime {
            ms: of.ms,
            age_us: self.now_us.saturating_sub(of.at_us),
            of: of.of,
        };
        loop {
            let mut accepted = Vec::new();
            let mut bytes = 0;
            while index <= last && (bytes == 0 || bytes < self.settings.message_bytes_max) {
                let Some((ballot, entry)) = self.log.get(index) else {
                    break;
                };
                bytes += weight(entry);
                accepted.push(AcceptedEntry {
                    index,
                    ballot: *ballot,
                    entry: entry.clone(),
                });
                index = index.next();
            }
            let more = index <= last;
            let forgets = self.is_hollow && self.mutations.has(Mutation::RetireForgets);
            let kind = Kind::Promise {
                ballot: self.promised,
                chosen: if forgets { Index(0) } else { self.chosen },
                accepted,
                more,
                lease_left_us: self.lease_left_us(released),
                log_seen: heard(self.log_time),
                log_line: heard(self.line),
            };
            self.send_promised(to, kind, out);
            if !more {
                return;
            }
        }
    }

    /// Phase 2a came.
    pub(crate) fn on_accept(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        (first, entries): (Index, Vec<Entry>),
        commit: Index,
        sent_us: u64,
        out: &mut Output,
    ) {
        if !self.hear_leader(from, ballot, out) || self.is_hollow {
            return;
        }
        // What does not follow on what is accepted under this ballot is left out; the leader sees from the answer where
        // to go on. So the log has no holes and acknowledgements are cumulative.
        if first <= self.upto.next() {
            for (entry, index) in entries.into_iter().zip(first.0..) {
                if index > self.upto.0 {
                    // What is sent again may have been stamped long ago.
                    if sent_us > 0 {
                        self.observe_entry(&entry);
                    }
                    self.accept(Index(index), ballot, entry, out);
                }
            }
        }
        self.learn_commit(commit, out);
        self.send_accepted(from, ballot, sent_us, out);
    }

    /// A leader's beat came.
    pub(crate) fn on_beat(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        commit: Index,
        sent_us: u64,
        log_ms: u64,
        out: &mut Output,
    ) {
        if !self.hear_leader(from, ballot, out) {
            return;
        }
        self.see_log_ms(log_ms);
        if self.is_hollow {
            // How far it was says nothing of what it has, so it is not told.
            self.ask_for_state(from, out);
            return;
        }
        self.learn_commit(commit, out);
        self.send_accepted(from, ballot, sent_us, out);
    }

    /// A message of phase 2 came: refuses it if more was promised, else takes its sender for the leader and grants it a
    /// lease. Whether it is to be looked at further.
    fn hear_leader(&mut self, from: ReplicaId, ballot: Ballot, out: &mut Output) -> bool {
        if from != ballot.replica {
            return false;
        }
        if ballot < self.promised && !self.mutations.has(Mutation::AcceptBelowPromise) {
            self.send_nack(from, ballot, out);
            return false;
        }
        if ballot > self.promised {
            self.raise_promised(ballot, out);
        }
        if self.leader != Some(from) || matches!(self.role, Role::Asking(_)) {
            self.leader = Some(from);
            self.role = Role::Follower;
            self.tell_follower(out);
        }
        self.sticky_until_us = self.now_us + self.settings.lease_us;
        self.put_deadline_off();
        self.grants
            .grant(ballot, self.now_us + self.settings.lease_us);
        true
    }

    /// Accepts an entry right behind `upto`; makes it a record.
    pub(crate) fn accept(&mut self, index: Index, ballot: Ballot, entry: Entry, out: &mut Output) {
        assert!(
            ballot >= self.promised || self.mutations.has(Mutation::AcceptBelowPromise),
            "nothing is accepted below the promise"
        );
        if self.settings.durable {
            out.persist.push(Record::Accepted {
                index,
                ballot,
                entry: entry.clone(),
            });
        }
        let config = match &entry {
            Entry::Config(config) if self.mutations.has(Mutation::ConfigAtAppend) => {
                Some(config.clone())
            }
            Entry::Noop | Entry::Batch { .. } | Entry::Config(_) => None,
        };
        self.log.put(index, ballot, entry);
        self.upto = index;
        if let Some(config) = config {
            self.config = config;
            self.config_index = index;
            self.on_config(ConfigNews::Counted, out);
        }
    }

    /// The leader says that all up to `commit` is chosen. That holds for what was accepted under its ballot, and for
    /// nothing else in this log (R7).
    fn learn_commit(&mut self, commit: Index, out: &mut Output) {
        let known = if self.mutations.has(Mutation::CommitWithoutBallotCheck) {
            self.log.last()
        } else {
            self.upto
        };
        let to = commit.min(known);
        if to > self.chosen {
            self.advance_chosen(to, ConfigNews::FromLeader, out);
        }
    }

    /// Promises a higher ballot; whatever this was, it is a follower now.
    pub(crate) fn raise_promised(&mut self, ballot: Ballot, out: &mut Output) {
        assert!(ballot > self.promised, "a promise never falls");
        if matches!(self.role, Role::Follower) {
            self.leader = None;
        } else {
            self.become_follower(out);
        }
        self.promised = ballot;
        self.round_seen = self.round_seen.max(ballot.round);
        if self.settings.durable {
            out.persist.push(Record::Promised(ballot));
        }
        // Nothing above the chosen prefix was accepted under the new ballot yet.
        self.upto = self.chosen;
        self.count_upto();
    }

    /// Learns chosen entries from whoever knew them. Whether anything was new.
    pub(crate) fn learn_chosen(
        &mut self,
        first: Index,
        entries: Vec<Entry>,
        how: ConfigNews,
        out: &mut Output,
    ) -> bool {
        if first > self.chosen.next() || self.is_installing() {
            return false;
        }
        let before = self.chosen;
        let mut to = self.chosen;
        for (entry, index) in entries.into_iter().zip(first.0..) {
            let index = Index(index);
            if index <= to {
                continue;
            }
            self.store_chosen(index, entry, out);
            to = index;
        }
        self.advance_chosen(to, how, out);
        self.count_upto();
        self.chosen > before
    }

    /// Puts an entry that is chosen in the log, unless it is there already: then the ballot under which it was accepted
    /// stays, because a quorum may rest on it. Without one it goes below all ballots.
    fn store_chosen(&mut self, index: Index, entry: Entry, out: &mut Output) {
        if let Some((_, old)) = self.log.get(index)
            && *old == entry
        {
            return;
        }
        let ballot = Ballot::default();
        if self.settings.durable {
            out.persist.push(Record::Accepted {
                index,
                ballot,
                entry: entry.clone(),
            });
        }
        self.log.put(index, ballot, entry);
    }

    /// Acknowledges everything that is accepted under `ballot`.
    pub(crate) fn send_accepted(
        &mut self,
        to: ReplicaId,
        ballot: Ballot,
        sent_us: u64,
        out: &mut Output,
    ) {
        let upto = self.upto;
        self.send_promised(
            to,
            Kind::Accepted {
                ballot,
                upto,
                sent_us,
            },
            out,
        );
    }

    /// Refuses a ballot.
    pub(crate) fn send_nack(&self, to: ReplicaId, ballot: Ballot, out: &mut Output) {
        let promised = self.promised;
        out.send_first
            .push(self.names.message(to, Kind::Nack { ballot, promised }));
    }

    /// Sends what rests on this step's records.
    pub(crate) fn send_promised(&self, to: ReplicaId, kind: Kind, out: &mut Output) {
        let message = self.names.message(to, kind);
        if self.mutations.has(Mutation::SendBeforePersist) {
            out.send_first.push(message);
        } else {
            out.send.push(message);
        }
    }

    /// Stops whatever it was doing beside accepting, and knows no leader.
    pub(crate) fn become_follower(&mut self, out: &mut Output) {
        let role = std::mem::replace(&mut self.role, Role::Follower);
        self.leader = None;
        match &role {
            // What it waited for itself it owes to others.
            Role::Candidate(phase1) => self.grants.grant_unnamed(phase1.visible_us),
            Role::Leader(leader) => self.grants.grant_unnamed(leader.phase1.visible_us),
            Role::Follower | Role::Asking(_) => {}
        }
        if let Role::Leader(leader) = role {
            if leader.has_own_time {
                self.line = self.log_time;
            }
            self.log_time = leader.seen;
            out.deny.extend(leader.reads.into_tickets());
        }
        self.put_deadline_off();
        out.role = Some(RoleChange::Follower { leader: None });
    }
}
