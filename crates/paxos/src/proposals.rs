//! Proposals of a leader, and how they become chosen (rules R2, R4, R5, R6, R9).

use crate::door::Output;
use crate::log::weight;
use crate::mutation::Mutation;
use crate::replica::{ConfigNews, Replica, Role};
use crate::types::{Config, Entry, Index};
use bytes::Bytes;

impl Replica {
    /// Whether a proposal would be taken now: it leads, phase 1 holds in the configuration in force (R6, R9), all that
    /// phase 1 found is proposed, no configuration is on its way, the window is open, no hand-over is under way, and
    /// former leases are over. Until then nothing that it proposed could show, and a former leader may still answer
    /// reads by later log times than the proposal would carry.
    pub fn can_propose(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                leader.ready
                    && (self.now_us >= leader.phase1.visible_us
                        || self.mutations.has(Mutation::AcknowledgeBeforeVisible))
                    && leader.barrier.is_none()
                    && !self.is_wanted_confirmed()
                    && !leader.transfer.is_some_and(|transfer| transfer.is_closed())
                    && leader.phase1.best.is_empty()
                    && leader.last >= leader.fill_to
                    && ((leader.last.0 - self.chosen.0) as usize) < self.settings.window_entries_max
                    && leader.unchosen_bytes < self.settings.window_bytes_max
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => false,
        }
    }

    /// Whether [`Replica::skip`] may be called: a sole voter without learners, not durable, leads, and nothing waits.
    pub fn can_skip(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                self.can_propose()
                    && leader.followers.is_empty()
                    && leader.last == self.chosen
                    && !self.settings.durable
                    && self.is_sole_voter()
                    && self.outgoing.is_empty()
                    && self.offers.is_empty()
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => false,
        }
    }

    /// `count` further entries count as chosen and applied without passing the log, the last with this log time, ms, as
    /// of now. The log keeps nothing of them: whoever joins gets a snapshot.
    ///
    /// # Panics
    /// Unless [`Replica::can_skip`].
    pub fn skip(&mut self, count: u64, log_ms: u64, now_us: u64) {
        assert!(
            self.can_skip(),
            "only a group of one goes on without its log"
        );
        // A replica that skips may not have been stepped for long: a log time of now must not count as seen back then.
        self.now_us = self.now_us.max(now_us);
        self.learn_log_ms(log_ms);
        self.chosen.0 += count;
        self.upto = self.chosen;
        if let Role::Leader(leader) = &mut self.role {
            leader.last = self.chosen;
            leader.own_upto = self.chosen;
            leader.entry_ms = leader.entry_ms.max(log_ms);
            leader.has_stamped = true;
        }
        self.log.restart_after(self.chosen);
    }

    /// The owner proposes.
    pub(crate) fn on_propose(&mut self, log_ms: u64, payload: Bytes, out: &mut Output) {
        if !self.can_propose() {
            out.refused = Some("no proposal is taken now");
            return;
        }
        // Not below what was proposed before, nor below the leader's own log time. What is adopted from others stays as it is (R3).
        let now_ms = self.log_ms(self.now_us);
        let before_ms = match &mut self.role {
            Role::Leader(leader) => {
                leader.has_stamped = true;
                leader.has_own_time = true;
                leader.entry_ms.max(now_ms)
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => 0,
        };
        let log_ms = log_ms.max(before_ms);
        self.propose(Entry::Batch { log_ms, payload }, out);
        self.feed_all(out);
    }

    /// Proposes at the next index, to itself first. [`Replica::feed_all`] sends it.
    pub(crate) fn propose(&mut self, entry: Entry, out: &mut Output) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let lax = self.mutations.any();
        let index = leader.last.next();
        assert!(leader.ready && leader.barrier.is_none(), "R6, R9, R4");
        if let Entry::Batch { log_ms, .. } = &entry {
            leader.entry_ms = leader.entry_ms.max(*log_ms);
        }
        if let Entry::Config(_) = &entry {
            assert!(
                leader.last == self.chosen || lax,
                "all before a configuration is chosen"
            );
            if !self.mutations.has(Mutation::ProposeBehindConfig)
                && !self.mutations.has(Mutation::ConfigAtAppend)
            {
                leader.barrier = Some(index);
            }
        }
        leader.last = index;
        leader.unchosen_bytes += weight(&entry);
        let ballot = leader.phase1.ballot;
        if self.settings.durable {
            let token = self.next_token();
            if let Role::Leader(leader) = &mut self.role {
                leader.own_pending.push_back((token, index));
            }
        } else {
            leader.own_upto = index;
        }
        assert!(self.is_voter(self.names.me) || lax, "a leader is a voter");
        self.accept(index, ballot, entry, out);
    }

    /// Proposes again what phase 1 found, and then the configuration that waits, if any.
    pub(crate) fn propose_waiting(&mut self, out: &mut Output) {
        loop {
            let Role::Leader(leader) = &mut self.role else {
                return;
            };
            if !leader.ready || leader.barrier.is_some() {
                return;
            }
            let index = leader.last.next();
            let best = &mut leader.phase1.best;
            while best.first_key_value().is_some_and(|(&at, _)| at < index) {
                best.pop_first();
            }
            let entry = if best.is_empty() {
                if leader.last < leader.fill_to {
                    Entry::Noop
                } else if leader.last > self.chosen {
                    return;
                } else {
                    match self.take_wanted() {
                        Some(config) => Entry::Config(config),
                        None => return,
                    }
                }
            } else {
                let found = best.get(&index).map(|(ballot, entry)| {
                    assert!(
                        *ballot < self.promised,
                        "what is adopted is of a lower ballot"
                    );
                    entry.clone()
                });
                match found {
                    Some(Entry::Config(_)) if leader.last > self.chosen => return,
                    Some(entry) => entry,
                    None => Entry::Noop,
                }
            };
            if let Role::Leader(leader) = &mut self.role {
                leader.phase1.best.remove(&index);
            }
            self.observe_entry(&entry);
            self.propose(entry, out);
            self.choose(out);
            // A sole voter has crossed into a configuration by now. Nobody may be left whose message would come to make it
            // ready there, and without followers no tick is due.
            self.make_ready(out);
        }
    }

    /// The configuration that waits, if a quorum of its voters is known to be alive.
    fn take_wanted(&mut self) -> Option<Config> {
        let is_confirmed = self.is_wanted_confirmed();
        let Role::Leader(leader) = &mut self.role else {
            return None;
        };
        let wanted = leader.wanted.take_if(|_| is_confirmed)?;
        Some(wanted.config)
    }

    /// Counts acknowledgements over the voters of the configuration in force (R5).
    pub(crate) fn choose(&mut self, out: &mut Output) {
        let anybody = self.mutations.has(Mutation::CountAnybody);
        let is_voter = self.is_voter(self.names.me);
        let needed = self.quorum();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let own = is_voter.then_some(leader.own_upto);
        let index = leader.quorum_index(own, needed, anybody);
        if index <= self.chosen {
            return;
        }
        assert!(
            index <= leader.last,
            "nothing is chosen that was not proposed"
        );
        for index in self.chosen.0 + 1..=index.0 {
            let (_, entry) = self
                .log
                .get(Index(index))
                .expect("proposals are in the log");
            leader.unchosen_bytes -= weight(entry);
        }
        if leader.barrier.is_some_and(|barrier| barrier <= index) {
            leader.barrier = None;
        }
        self.advance_chosen(index, ConfigNews::Counted, out);
    }
}
