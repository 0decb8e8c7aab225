//! The leader: proposes, counts acknowledgements, feeds its followers (rules R2, R4, R5, R6, R9).

use crate::door::{Output, RoleChange};
use crate::election::Phase1;
use crate::follower::{Fed, Follower, View};
use crate::lease::{LogTime, aged_ms};
use crate::log::weight;
use crate::message::Kind;
use crate::mutation::Mutation;
use crate::reads::Reads;
use crate::replica::{ConfigNews, Replica, Role};
use crate::transfer::Transfer;
use crate::types::{Ballot, Config, Entry, Index, NodeId, ReplicaId};
use bytes::Bytes;
use std::collections::VecDeque;

/// What a leader knows beside what every acceptor knows.
///
/// - Nothing is proposed while `ready` is false, or behind `barrier`.
/// - `chosen <= last`; all in `chosen + 1 ..= last` was proposed by it in its ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// Its phase 1, the ballot among it.
    pub(crate) phase1: Phase1,
    /// R6 and R9 hold in the configuration in force.
    pub(crate) ready: bool,
    /// The highest index that phase 1 brought to light; reads wait until it is chosen (R10).
    pub(crate) limbo: Index,
    /// The last index proposed, or chosen.
    pub(crate) last: Index,
    /// A configuration that is proposed and not chosen (R4).
    pub(crate) barrier: Option<Index>,
    /// Weight of `chosen + 1 ..= last`, bytes.
    unchosen_bytes: usize,
    /// Log time of the last batch, ms.
    entry_ms: u64,
    /// All other members.
    pub(crate) followers: Vec<Follower>,
    /// How many voters there were before the last change (a mutation's).
    pub(crate) voters_before: usize,
    /// The own log is durable up to here …
    own_upto: Index,
    /// … and further when these records are: (token, index).
    own_pending: VecDeque<(u64, Index)>,
    /// The next beat is due, us.
    beat_us: u64,
    /// Leads since, us.
    since_us: u64,
    /// What the owner was told last: when it may show things, us, and log time.
    told: (u64, LogTime),
    /// A hand-over under way.
    pub(crate) transfer: Option<Transfer>,
    /// A hand-over was sent: no read by lease in this ballot any more, ever.
    pub(crate) released: bool,
    /// A configuration that waits for all before it to be chosen.
    pub(crate) wanted: Option<Config>,
    pub(crate) reads: Reads,
}

impl Leader {
    /// When time matters to it next, us.
    pub(crate) fn wake_us(&self, now_us: u64) -> u64 {
        let beat_us = if self.followers.is_empty() {
            u64::MAX
        } else {
            self.beat_us
        };
        if self.phase1.visible_us > now_us {
            beat_us.min(self.phase1.visible_us)
        } else {
            beat_us
        }
    }

    /// The highest index that `needed` voters have, O(voters²) without a sorted copy.
    fn quorum_index(&self, own: Option<Index>, needed: usize, anybody: bool) -> Index {
        let acks = || {
            let others = self
                .followers
                .iter()
                .filter(move |f| f.is_voter || anybody)
                .map(|f| f.acked);
            own.into_iter().chain(others)
        };
        acks()
            .filter(|&ack| acks().filter(|&other| other >= ack).count() >= needed)
            .max()
            .unwrap_or_default()
    }

    /// Whether so many voters have answered something sent since then.
    fn has_echoes_since(&self, since_us: u64, needed: usize) -> bool {
        let voters = self.followers.iter().filter(|f| f.is_voter);
        voters
            .filter(|f| f.echoed_us.max(self.since_us) >= since_us)
            .count()
            >= needed
    }

    /// Its knowledge of the members of a configuration, kept for those that it knew.
    pub(crate) fn follow(&mut self, config: &Config, me: ReplicaId) {
        let mut known = std::mem::take(&mut self.followers);
        let members = (config.voters.iter().map(|&id| (id, true)))
            .chain(config.learners.iter().map(|&id| (id, false)));
        for (id, is_voter) in members.filter(|(id, _)| *id != me) {
            let at = known.iter().position(|follower| follower.id == id);
            let follower = at.map(|at| known.swap_remove(at));
            let mut follower = follower.unwrap_or_else(|| Follower::new(id));
            follower.is_voter = is_voter;
            self.followers.push(follower);
        }
    }
}

impl Replica {
    /// Phase 1 is done: this replica leads.
    pub(crate) fn become_leader(&mut self, phase1: Phase1, limbo: Index, out: &mut Output) {
        assert_eq!(phase1.ballot, self.promised, "it leads what it promised");
        let aged_us = self.now_us.saturating_sub(self.log_time.at_us);
        let own_ms = if self.log_time.ms == 0 || self.mutations.has(Mutation::LogTimeWithoutAge) {
            self.log_time.ms
        } else {
            aged_ms(&self.settings, self.log_time.ms, aged_us)
        };
        let mut leader = Box::new(Leader {
            ready: true,
            limbo,
            last: self.chosen,
            barrier: None,
            unchosen_bytes: 0,
            entry_ms: 0,
            followers: Vec::new(),
            voters_before: self.config.voters.len(),
            own_upto: self.chosen,
            own_pending: VecDeque::new(),
            beat_us: self.now_us,
            since_us: self.now_us,
            told: (0, LogTime::default()),
            transfer: None,
            released: false,
            wanted: None,
            reads: Reads::default(),
            phase1,
        });
        leader.follow(&self.config, self.names.me);
        for follower in &mut leader.followers {
            let promised = leader.phase1.promises.iter().find(|p| p.id == follower.id);
            if let Some(promised) = promised {
                follower.go_on_from(promised.chosen.min(self.chosen), self.now_us);
            }
        }
        // 0 stands for log time that was never seen, so no leader's begins there.
        self.log_time.ms = self.log_time.ms.max(own_ms).max(1);
        self.log_time.at_us = self.now_us;
        self.upto = self.chosen;
        self.role = Role::Leader(leader);
        self.leader = Some(self.names.me);
        self.tell_leader(out);
        self.tick_leader(out);
    }

    /// Tells the owner that this replica leads, unless it knows.
    pub(crate) fn tell_leader(&mut self, out: &mut Output) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let visible_us = leader.phase1.visible_us;
        let (told_us, told) = leader.told;
        let log_ms = self.log_time.now_ms(self.now_us);
        let knows = told != LogTime::default()
            && told_us >= visible_us
            && told.now_ms(self.now_us) >= log_ms;
        if knows {
            return;
        }
        leader.told = (visible_us, self.log_time);
        let hidden = self.mutations.has(Mutation::AcknowledgeBeforeVisible);
        out.role = Some(RoleChange::Leader {
            ballot: self.promised,
            log_ms,
            visible_us: if hidden { 0 } else { visible_us },
        });
    }

    /// Whether a proposal would be taken now: it leads, phase 1 holds in the configuration in force (R6, R9), all that
    /// phase 1 found is proposed, no configuration is on its way, the window is open, no hand-over is under way, and
    /// former leases are over. Until then nothing that it proposed could show, and a former leader may still answer
    /// reads by later log times than the proposal would carry.
    pub fn can_propose(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                leader.ready
                    && self.now_us >= leader.phase1.visible_us
                    && leader.barrier.is_none()
                    && leader.wanted.is_none()
                    && leader.transfer.is_none()
                    && leader.phase1.best.is_empty()
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

    /// `count` further entries count as chosen and applied without passing the log, the last with this log time, ms.
    /// The log keeps nothing of them: whoever joins gets a snapshot.
    ///
    /// # Panics
    /// Unless [`Replica::can_skip`].
    pub fn skip(&mut self, count: u64, log_ms: u64) {
        assert!(
            self.can_skip(),
            "only a group of one goes on without its log"
        );
        self.see_log_ms(log_ms);
        self.chosen.0 += count;
        self.upto = self.chosen;
        if let Role::Leader(leader) = &mut self.role {
            leader.last = self.chosen;
            leader.own_upto = self.chosen;
            leader.entry_ms = leader.entry_ms.max(log_ms);
        }
        self.log.restart_after(self.chosen);
    }

    /// A leader's: how far a member is known to hold everything.
    pub fn acked(&self, id: ReplicaId) -> Index {
        match &self.role {
            Role::Leader(leader) if id == self.names.me => leader.own_upto,
            Role::Leader(leader) => {
                let follower = leader.followers.iter().find(|f| f.id == id);
                follower.map_or(Index(0), |f| f.acked)
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => Index(0),
        }
    }

    /// The owner proposes.
    pub(crate) fn on_propose(&mut self, log_ms: u64, payload: Bytes, out: &mut Output) {
        if !self.can_propose() {
            out.refused = Some("no proposal is taken now");
            return;
        }
        // Not below what was proposed before, nor below the leader's own log time. What is adopted from others stays as it is (R3).
        let before_ms = match &self.role {
            Role::Leader(leader) => leader.entry_ms.max(self.log_ms(self.now_us)),
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

    /// What is durable of the own log counts.
    pub(crate) fn count_own_acks(&mut self, _out: &mut Output) {
        let persisted = self.persisted;
        if let Role::Leader(leader) = &mut self.role {
            while let Some(&(token, index)) = leader.own_pending.front()
                && token <= persisted
            {
                leader.own_pending.pop_front();
                leader.own_upto = leader.own_upto.max(index);
            }
        }
    }

    /// Sends every member what it lacks.
    pub(crate) fn feed_all(&mut self, out: &mut Output) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let view = View {
            log: &self.log,
            names: self.names,
            settings: &self.settings,
            ballot: leader.phase1.ballot,
            chosen: self.chosen,
            last: leader.last,
            now_us: self.now_us,
            log_ms: self.log_time.now_ms(self.now_us),
        };
        for follower in &mut leader.followers {
            if follower.feed(&view, out) == Fed::NeedsSnapshot
                && self.now_us >= follower.snapshot_after_us
            {
                self.offers.push(follower.id);
            }
        }
    }

    /// A member acknowledges.
    pub(crate) fn on_accepted(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        upto: Index,
        sent_us: u64,
        _out: &mut Output,
    ) {
        let now_us = self.now_us;
        let from_ack = self.mutations.has(Mutation::LeaseFromAckTime);
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if leader.phase1.ballot != ballot || sent_us > now_us {
            return;
        }
        // Whoever knows more chosen than this leader proposed acknowledges no more than that.
        let upto = upto.min(leader.last);
        if let Some(follower) = leader.followers.iter_mut().find(|f| f.id == from) {
            let echoed_us = if from_ack { now_us } else { sent_us };
            follower.echoed_us = follower.echoed_us.max(echoed_us);
            follower.on_upto(upto, sent_us, &self.log, now_us);
        }
    }

    /// What a leader does at the end of every step: counts, goes on with what waits, feeds, serves.
    pub(crate) fn lead_on(&mut self, out: &mut Output) {
        if !self.is_leader() {
            return;
        }
        self.choose(out);
        self.follow_chosen();
        self.make_ready(out);
        self.propose_waiting(out);
        self.feed_all(out);
        self.hand_over(out);
        self.serve_reads(out);
    }

    /// Counts acknowledgements over the voters of the configuration in force (R5).
    fn choose(&mut self, out: &mut Output) {
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

    /// A leader that learned from others what is chosen (R9) goes on behind that.
    fn follow_chosen(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if self.chosen > leader.last {
            leader.last = self.chosen;
            leader.own_upto = self.chosen;
            leader.unchosen_bytes = 0;
            leader.barrier = None;
            leader.phase1.best.retain(|&index, _| index > self.chosen);
        }
    }

    /// Proposes again what phase 1 found, and then the configuration that waits, if any.
    fn propose_waiting(&mut self, out: &mut Output) {
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
                if leader.last > self.chosen {
                    return;
                }
                match leader.wanted.take() {
                    Some(config) => Entry::Config(config),
                    None => return,
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
            self.propose(entry, out);
            self.choose(out);
        }
    }

    /// Time goes by for a leader.
    pub(crate) fn tick_leader(&mut self, out: &mut Output) {
        let others_needed = self.quorum() - usize::from(self.is_voter(self.names.me));
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let silent_us = 2 * self.settings.election_max_us;
        let since_us = self.now_us.saturating_sub(silent_us);
        if !leader.has_echoes_since(since_us, others_needed) {
            // No quorum hears it: others may have gone on (check-quorum).
            self.become_follower(out);
            return;
        }
        if self.now_us < leader.beat_us {
            return;
        }
        leader.beat_us = self.now_us + self.settings.heartbeat_us;
        let unready = !leader.ready;
        self.send_beats(out);
        if unready {
            self.send_prepares(out);
        }
        self.send_probes(out);
        self.tick_transfer(out);
    }

    /// Beats to every member.
    pub(crate) fn send_beats(&self, out: &mut Output) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        for follower in &leader.followers {
            self.send_beat(leader.phase1.ballot, follower.id, out);
        }
    }

    /// One beat.
    pub(crate) fn send_beat(&self, ballot: Ballot, to: ReplicaId, out: &mut Output) {
        let kind = Kind::Beat {
            ballot,
            commit: self.chosen,
            sent_us: self.now_us,
            log_ms: self.log_time.now_ms(self.now_us),
        };
        out.send_first.push(self.names.message(to, kind));
    }

    /// The connection to a node broke: what was in flight there is lost, and nothing is sent before it answers.
    pub(crate) fn forget_progress(&mut self, node: NodeId) {
        if let Role::Leader(leader) = &mut self.role {
            for follower in leader.followers.iter_mut().filter(|f| f.id.node == node) {
                follower.is_known = false;
            }
        }
    }

    /// A promise came to one that leads already.
    pub(crate) fn on_late_promise(&mut self, from: ReplicaId, chosen: Index, out: &mut Output) {
        let (now_us, own_chosen) = (self.now_us, self.chosen);
        if let Role::Leader(leader) = &mut self.role
            && let Some(follower) = leader.followers.iter_mut().find(|f| f.id == from)
            && !follower.is_known
        {
            follower.go_on_from(chosen.min(own_chosen), now_us);
        }
        self.make_ready(out);
    }
}
