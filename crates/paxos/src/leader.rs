//! The leader: what it knows, its beats, how it feeds its followers.

use crate::door::{Output, RoleChange};
use crate::election::Phase1;
use crate::follower::{Fed, Follower, View};
use crate::lease::{LogTime, passed_ms};
use crate::membership::Wanted;
use crate::message::Kind;
use crate::mutation::Mutation;
use crate::reads::Reads;
use crate::replica::{Replica, Role};
use crate::transfer::Transfer;
use crate::types::{Ballot, Config, Index, NodeId, ReplicaId};
use std::collections::VecDeque;

/// Beats in which a follower that is sent what is chosen may make no progress, before that counts as lost.
const CATCH_UP_BEATS: u64 = 10;

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
    /// If not: since when, us.
    pub(crate) unready_since_us: u64,
    /// The highest index that phase 1 brought to light; reads wait until it is chosen (R10).
    pub(crate) limbo: Index,
    /// Noops are proposed up to here before anything of its own. An entry of a former leader may lie beyond what phase 1
    /// found, at most a window beyond what that leader knew chosen, and would be adopted later, behind what this leader
    /// has shown; nothing of a lower ballot is, once these are chosen.
    pub(crate) fill_to: Index,
    /// The last index proposed, or chosen.
    pub(crate) last: Index,
    /// A configuration that is proposed and not chosen (R4).
    pub(crate) barrier: Option<Index>,
    /// Weight of `chosen + 1 ..= last`, bytes.
    pub(crate) unchosen_bytes: usize,
    /// Log time of the last batch, ms.
    pub(crate) entry_ms: u64,
    /// Log time that this replica has heard of or shown, which is what it promises with when it leads no more. Its clock as a
    /// leader begins at an estimate, and runs on without a lease: nobody has seen that.
    pub(crate) seen: LogTime,
    /// Whether something may rest on its log time: a batch has its stamp, or it was shown.
    pub(crate) has_own_time: bool,
    /// Whether a batch was its own. From then on all that former leaders left is in the log, and log time runs with its
    /// clock alone.
    pub(crate) has_stamped: bool,
    /// All other members.
    pub(crate) followers: Vec<Follower>,
    /// How many voters there were before the last change (a mutation's).
    pub(crate) voters_before: usize,
    /// The own log is durable up to here …
    pub(crate) own_upto: Index,
    /// … and further when these records are: (token, index).
    pub(crate) own_pending: VecDeque<(u64, Index)>,
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
    /// A configuration that waits.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) reads: Reads,
}

impl Leader {
    /// Phase 1 found nothing above `limbo`: what may lie beyond it is covered before anything is shown.
    pub(crate) fn fill_beyond(&mut self, limbo: Index, entries: u64) {
        let to = Index(limbo.0 + entries);
        self.fill_to = self.fill_to.max(to);
        self.limbo = self.limbo.max(self.fill_to);
    }

    /// When time matters to it next, us.
    pub(crate) fn wake_us(&self, now_us: u64) -> u64 {
        let beat_us = if self.followers.is_empty() {
            u64::MAX
        } else {
            self.beat_us
        };
        let transfer_us = self
            .transfer
            .map_or(u64::MAX, |transfer| transfer.wake_us());
        let beat_us = beat_us.min(transfer_us);
        if self.phase1.visible_us > now_us {
            beat_us.min(self.phase1.visible_us)
        } else {
            beat_us
        }
    }

    /// The highest index that `needed` voters have, O(voters²) without a sorted copy.
    pub(crate) fn quorum_index(&self, own: Option<Index>, needed: usize, anybody: bool) -> Index {
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
    /// Log time at the beginning of a leadership: not before anything that was shown, and else what has passed.
    fn first_log_ms(&self, phase1: &Phase1) -> u64 {
        let (settings, now_us) = (&self.settings, self.now_us);
        let mut testimony = phase1.testimony;
        if self.mutations.has(Mutation::LogTimeWithoutAge) {
            return self.log_time.ms.max(testimony.floor_ms()).max(1);
        }
        testimony.note(settings, self.log_time, self.line, now_us);
        let floor_ms = testimony.floor_ms().max(self.learned.ms);
        let line = match self.mutations.has(Mutation::LogTimeOfAny) {
            true => testimony.seen(),
            false => testimony.line(),
        };
        // A stamp that was learned is later than a word that is long ago, as it may be, and says less: who began there would begin
        // behind by all the time that went by since it was stamped.
        let line = if line.ms > 0 { line } else { self.learned };
        let passed_ms = match line.ms {
            0 => 0,
            ms => passed_ms(settings, ms, now_us.saturating_sub(line.at_us)),
        };
        // 0 stands for log time that was never seen, so no leader's begins there.
        floor_ms.max(passed_ms).max(1)
    }

    /// Phase 1 is done: this replica leads.
    pub(crate) fn become_leader(&mut self, phase1: Phase1, limbo: Index, out: &mut Output) {
        assert_eq!(phase1.ballot, self.promised, "it leads what it promised");
        let first_ms = self.first_log_ms(&phase1);
        let mut leader = Box::new(Leader {
            ready: true,
            unready_since_us: 0,
            limbo,
            fill_to: Index(0),
            last: self.chosen,
            barrier: None,
            unchosen_bytes: 0,
            entry_ms: 0,
            has_stamped: false,
            seen: self.log_time,
            has_own_time: false,
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
        // A group that begins with one voter had no leader before.
        if limbo > Index(0) || !self.is_sole_voter() {
            leader.fill_beyond(limbo, self.settings.fill_entries);
        }
        for follower in &mut leader.followers {
            let promised = leader.phase1.promises.iter().find(|p| p.id == follower.id);
            if let Some(promised) = promised {
                follower.go_on_from(promised.chosen.min(self.chosen), self.now_us);
            }
        }
        self.log_time = LogTime {
            ms: first_ms,
            at_us: self.now_us,
            of: self.promised,
        };
        self.upto = self.chosen;
        self.role = Role::Leader(leader);
        self.leader = Some(self.names.me);
        self.drop_incoming(out);
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
            let patience_us = CATCH_UP_BEATS * self.settings.heartbeat_us;
            follower.on_upto(upto, sent_us, &self.log, (now_us, patience_us));
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
        if unready && self.now_us > leader.unready_since_us + self.settings.election_max_us {
            // Whoever promised may know less by now, after a restart, than it said then: it is asked anew.
            self.campaign(None, out);
            return;
        }
        self.send_beats(out);
        if unready {
            self.send_prepares(out);
        }
        self.send_probes(out);
        self.tick_wanted(out);
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
