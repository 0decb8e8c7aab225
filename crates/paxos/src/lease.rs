//! Leases, the wait of a new leader, and log time (DESIGN-PAXOS §3.6).
//!
//! An acceptor that hears a leader promises, for a lease's length, that nothing of another ballot will show. A leader
//! holds a lease while a quorum's promises last, counted from when it *sent* what they answer. A new leader learns from
//! its promises how long former leases may last and shows nothing before.

use crate::door::{Output, Record, Settings};
use crate::follower::Follower;
use crate::mutation::Mutation;
use crate::replica::{Replica, Role};
use crate::types::{Ballot, Index};

/// What an acceptor owes: until when nothing but the effects of a ballot may show. Its own clock, us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grants {
    /// The ballot that was granted to last.
    ballot: Ballot,
    /// Until when, for that ballot.
    until_us: u64,
    /// Until when, for all else: earlier ballots, configurations learned, a life before a restart.
    others_until_us: u64,
}

impl Grants {
    /// Grants to a leader that was just heard.
    pub(crate) fn grant(&mut self, ballot: Ballot, until_us: u64) {
        if ballot != self.ballot {
            self.others_until_us = self.others_until_us.max(self.until_us);
            self.ballot = ballot;
            self.until_us = 0;
        }
        self.until_us = self.until_us.max(until_us);
    }

    /// Grants to whoever it may concern.
    pub(crate) fn grant_unnamed(&mut self, until_us: u64) {
        self.others_until_us = self.others_until_us.max(until_us);
    }

    /// Until when something is owed to others than `own`'s replica, which has left its earlier ballots itself. A ballot whose leader released its lease is owed nothing.
    pub(crate) fn until_us(&self, own: Ballot, released: Option<Ballot>) -> u64 {
        if own.replica == self.ballot.replica || released == Some(self.ballot) {
            self.others_until_us
        } else {
            self.others_until_us.max(self.until_us)
        }
    }
}

/// Log time as an acceptor heard it last, or as a leader makes it run with its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LogTime {
    /// Log time, ms; 0 if none was ever seen …
    pub(crate) ms: u64,
    /// … at this time of the own clock, us.
    pub(crate) at_us: u64,
    /// The ballot whose leader said it. None's: no leader in particular did, it is what a disk knows, or a stamp.
    pub(crate) of: Ballot,
}

impl LogTime {
    /// This log time is seen now.
    pub(crate) fn observe(&mut self, ms: u64, now_us: u64) {
        if ms > self.ms {
            self.ms = ms;
            self.at_us = now_us;
        }
    }

    /// The leader of a ballot says this log time now: nothing that it shows on this word is later than this and a lease.
    /// What a disk knows runs on meanwhile.
    pub(crate) fn observe_word(&mut self, settings: &Settings, of: Ballot, ms: u64, now_us: u64) {
        if ms <= self.ms {
            return;
        }
        let passed_ms = match self.of == Ballot::default() && self.ms > 0 {
            true => passed_ms(settings, self.ms, now_us.saturating_sub(self.at_us)),
            false => 0,
        };
        self.observe(ms.max(passed_ms), now_us);
        self.of = of;
    }

    /// The leader of a ballot says this log time now, by which its locks are reckoned.
    ///
    /// At not less than what has passed since its word before: one that was held up for a second would have the next leader
    /// begin a second behind, and the locks that it grants would end early by that under a later one who knows better
    /// (light seed 210001731). The first word of another leader stands for itself, also if it is behind what has passed since
    /// the words of those before it: its own locks are reckoned by it (light seed 220002838).
    pub(crate) fn follow_word(&mut self, settings: &Settings, of: Ballot, ms: u64, now_us: u64) {
        if self.of != of {
            (self.of, self.ms, self.at_us) = (of, ms, now_us);
        } else if ms > self.ms {
            let passed_ms = passed_ms(settings, self.ms, now_us.saturating_sub(self.at_us));
            self.observe(ms.max(passed_ms), now_us);
        }
    }

    /// A leader's: runs with the clock, once it was seen at all.
    pub(crate) fn now_ms(&self, now_us: u64) -> u64 {
        if self.ms == 0 {
            return 0;
        }
        self.ms + now_us.saturating_sub(self.at_us) / 1000
    }

    /// A leader's with a lease: what has passed by its clock counts as seen. Else all the time that it leads would be its
    /// age once it leads no more, and whoever leads next would put the clocks' error over that time on top.
    pub(crate) fn advance(&mut self, now_us: u64) {
        if self.ms == 0 {
            return;
        }
        let passed_ms = now_us.saturating_sub(self.at_us) / 1000;
        self.ms += passed_ms;
        self.at_us += passed_ms * 1000;
    }

    /// When a leader's was so late, us of its clock.
    pub(crate) fn at_us(&self, ms: u64) -> u64 {
        let before_us = self.ms.saturating_sub(ms).saturating_mul(1000);
        let after_us = ms.saturating_sub(self.ms).saturating_mul(1000);
        self.at_us
            .saturating_add(after_us)
            .saturating_sub(before_us)
    }

    /// A leader's: goes on from here if that is later.
    pub(crate) fn raise(&mut self, ms: u64, now_us: u64) {
        if ms > self.now_ms(now_us) {
            self.ms = ms;
            self.at_us = now_us;
        }
    }
}

/// What acceptors say of log time in phase 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Testimony {
    /// No former leader can have shown anything beyond, ms.
    floor_ms: u64,
    /// The last leader's log time. Only that one counts of whom any acceptor has heard: what is made of the words of those before
    /// it may be ahead, and locks that it granted would end early.
    line: LogTime,
    /// The latest log time that was seen, whoever said it: counts where no leader was heard of.
    seen: LogTime,
}

impl Testimony {
    /// Takes note of what one acceptor has seen, and of the last leader's log time as it knows it.
    pub(crate) fn note(&mut self, settings: &Settings, seen: LogTime, line: LogTime, now_us: u64) {
        let age_us = |of: LogTime| now_us.saturating_sub(of.at_us);
        let passed_ms = |of: LogTime| passed_ms(settings, of.ms, age_us(of));
        if seen.ms > 0 {
            let leased_ms = leased_ms(settings, seen.ms, age_us(seen));
            // A disk knows how late it may have been a while after the restart: it runs on.
            let run_on_ms = match seen.of == Ballot::default() {
                true => passed_ms(seen),
                false => 0,
            };
            self.floor_ms = self.floor_ms.max(leased_ms).max(run_on_ms);
        }
        if seen.ms > self.seen.ms {
            self.seen = seen;
        }
        // A word that came late says less than has passed.
        let is_later = line.of == self.line.of && passed_ms(line) > passed_ms(self.line);
        if line.ms > 0 && (line.of > self.line.of || is_later) {
            self.line = line;
        }
    }

    /// No former leader can have shown anything beyond, ms.
    pub(crate) fn floor_ms(&self) -> u64 {
        self.floor_ms
    }

    /// The latest log time that was seen, whoever said it.
    pub(crate) fn seen(&self) -> LogTime {
        self.seen
    }

    /// By which log time locks are reckoned; nothing if none was ever seen.
    pub(crate) fn line(&self) -> LogTime {
        match self.line.ms {
            0 => self.seen,
            _ => self.line,
        }
    }
}

/// How far log time may have been shown on this replica's word, as its disk knows it. What it has seen it forgets in a
/// restart; a record for each thing seen would be too many, so a record covers some time ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ceiling {
    /// The last record, ms …
    written_ms: u64,
    /// … and its token.
    token: u64,
    /// The last record that is durable, ms.
    durable_ms: u64,
    /// The highest log time that somebody's read round named, ms.
    asked_ms: u64,
}

impl Ceiling {
    /// A leader's reads are to be answered by this log time, ms, on this replica's word.
    pub(crate) fn on_asked(&mut self, log_ms: u64) {
        self.asked_ms = self.asked_ms.max(log_ms);
    }

    /// Records up to this token are durable.
    pub(crate) fn on_persisted(&mut self, persisted: u64) {
        if persisted >= self.token {
            self.durable_ms = self.written_ms;
        }
    }
}

/// How far ahead of what was seen a record of log time lies at the most, in leases. It lies at least half of that ahead:
/// one lease for what the leader that is granted a lease may show by it, one for the time in which the next record
/// becomes durable.
const CEILING_LEASES: u64 = 4;

/// Longest that `us` of one clock may be on another: both may be off by `drift_ppm`.
pub(crate) fn scaled_up(settings: &Settings, us: u64) -> u64 {
    us + (us.saturating_mul(2 * settings.drift_ppm)).div_ceil(1_000_000)
}

/// Shortest that `us` of one clock may be on another.
fn scaled_down(settings: &Settings, us: u64) -> u64 {
    us.saturating_sub((us.saturating_mul(2 * settings.drift_ppm)).div_ceil(1_000_000))
}

/// Log time, ms, that no leader can have shown anything beyond to whose word of `ms` an acceptor listened this long ago:
/// a leader shows nothing once the lease is over that came with its word.
pub(crate) fn leased_ms(settings: &Settings, ms: u64, age_us: u64) -> u64 {
    let leased_us = age_us.min(settings.lease_us + settings.epsilon_us);
    // One more for what a leader's division cut off.
    ms + scaled_up(settings, leased_us).div_ceil(1000) + 1
}

/// What log time is at least that was `ms` this long ago.
pub(crate) fn passed_ms(settings: &Settings, ms: u64, age_us: u64) -> u64 {
    ms + scaled_down(settings, age_us) / 1000
}

impl Replica {
    /// The clock time, us, until which reads may be served from the applied state without asking anybody; 0 = not at
    /// all; `u64::MAX` for a sole voter. Check the clock against it *after* a read was computed and before its answer
    /// leaves.
    pub fn lease_until(&self) -> u64 {
        let Role::Leader(leader) = &self.role else {
            return 0;
        };
        let phase1 = leader.ready || self.mutations.has(Mutation::ReadWithoutPhase1);
        let limbo = self.chosen >= leader.limbo || self.mutations.has(Mutation::ReadBeforeLimbo);
        if !phase1 || !limbo || self.now_us < leader.phase1.visible_us {
            return 0;
        }
        if leader.released && !self.mutations.has(Mutation::LeaseDuringTransfer) {
            return 0;
        }
        let old_members = self.mutations.has(Mutation::LeaseOverOldMembers);
        let voters = if old_members {
            leader.voters_before.max(self.config.voters.len())
        } else {
            self.config.voters.len()
        };
        // The leader counts as one that echoes now.
        let others_needed = voters / 2;
        let ceiling_us = self.ceiling_us();
        if others_needed == 0 {
            return ceiling_us;
        }
        let counts = |f: &&Follower| f.is_voter || old_members;
        // The latest time that enough voters have echoed: O(voters²), without a sorted copy.
        let echoed_us = leader
            .followers
            .iter()
            .filter(counts)
            .map(|f| f.echoed_us)
            .filter(|&at| {
                let as_late = leader.followers.iter().filter(counts);
                as_late.filter(|f| f.echoed_us >= at).count() >= others_needed
            })
            .max()
            .unwrap_or(0);
        if echoed_us == 0 {
            return 0;
        }
        assert!(
            echoed_us <= self.now_us,
            "a lease rests on what was sent already"
        );
        let lease_us = self.settings.lease_us;
        let margin_us = (scaled_up(&self.settings, lease_us) - lease_us) + self.settings.epsilon_us;
        let until_us = (echoed_us + lease_us).saturating_sub(margin_us);
        until_us.min(ceiling_us)
    }

    /// A leader's: when its log time passes what its disk knows. Own clock, us.
    fn ceiling_us(&self) -> u64 {
        if !self.settings.durable {
            return u64::MAX;
        }
        let LogTime { ms, at_us, .. } = self.log_time;
        match self.ceiling.durable_ms.checked_sub(ms) {
            Some(left_ms) => at_us.saturating_add(left_ms.saturating_mul(1_000)),
            None => 0,
        }
    }

    /// Whether this replica may give its word for reads by this log time, ms: a restart would not forget it.
    pub(crate) fn remembers_log_ms(&self, log_ms: u64) -> bool {
        !self.settings.durable || log_ms <= self.ceiling.durable_ms
    }

    /// Half of what a record of log time may lie ahead, ms.
    fn ceiling_step_ms(&self) -> u64 {
        CEILING_LEASES / 2 * self.settings.lease_us.div_ceil(1_000).max(1)
    }

    /// Makes a record of log time if the last one comes near. What leaves with this step rests on it. Groups whose log time
    /// is the same make theirs at the same time, so that one write of a disk does for all.
    pub(crate) fn record_log_time(&mut self, out: &mut Output) {
        let seen_ms = self.log_ms(self.now_us).max(self.ceiling.asked_ms);
        let step_ms = self.ceiling_step_ms();
        if !self.settings.durable || seen_ms == 0 || seen_ms + step_ms <= self.ceiling.written_ms {
            return;
        }
        self.ceiling.written_ms = (seen_ms / step_ms + 2) * step_ms;
        self.ceiling.token = self.next_token();
        out.persist.push(Record::LogTime(self.ceiling.written_ms));
    }

    /// A leader's: when the next record of log time is due. Own clock, us.
    pub(crate) fn ceiling_wake_us(&self) -> u64 {
        if !self.settings.durable {
            return u64::MAX;
        }
        let LogTime { ms, at_us, .. } = self.log_time;
        let due_ms = self
            .ceiling
            .written_ms
            .saturating_sub(self.ceiling_step_ms());
        at_us + (due_ms + 1).saturating_sub(ms) * 1_000
    }

    /// Begins with what the disk knows of log time. It was not seen as late as the record says, but may have been shown so
    /// late before the time is over by which the record lies ahead: until then nothing shows.
    pub(crate) fn recover_log_time(&mut self, ceiling_ms: u64) {
        self.ceiling = Ceiling {
            written_ms: ceiling_ms,
            token: 0,
            durable_ms: ceiling_ms,
            asked_ms: 0,
        };
        if ceiling_ms == 0 {
            return;
        }
        let ahead_ms = 2 * self.ceiling_step_ms();
        // 0 would say that none was ever seen, and so that none has passed since.
        let seen_ms = ceiling_ms.saturating_sub(ahead_ms).max(1);
        self.log_time.observe(seen_ms, self.now_us);
        self.grants.grant_unnamed(self.now_us + ahead_ms * 1_000);
    }

    /// A leader's: no reply, read or event before this time of its clock, us. 0 for others.
    pub fn visible_us(&self) -> u64 {
        match &self.role {
            Role::Leader(leader) if !self.mutations.has(Mutation::AcknowledgeBeforeVisible) => {
                leader.phase1.visible_us
            }
            Role::Leader(_) | Role::Follower | Role::Asking(_) | Role::Candidate(_) => 0,
        }
    }

    /// The owner has shown this log time, ms, beside the log: a sole voter's reads and skipped entries.
    pub fn raise_log_ms(&mut self, log_ms: u64, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        match &self.role {
            Role::Leader(_) => self.log_time.raise(log_ms, self.now_us),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                self.log_time.observe(log_ms, self.now_us);
            }
        }
        self.note_shown(log_ms);
    }

    /// A leader's log time, ms; for others the highest that they have seen.
    pub fn log_ms(&self, now_us: u64) -> u64 {
        match &self.role {
            Role::Leader(_) => self.log_time.now_ms(now_us),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                self.log_time.ms.max(self.learned.ms)
            }
        }
    }

    /// Log time as it would be by the own clock if it had gone on since it was seen last, ms; 0 if it never was.
    pub fn reckoned_log_ms(&self, now_us: u64) -> u64 {
        let seen_ms = self.log_time.now_ms(now_us);
        match seen_ms.max(self.line.now_ms(now_us)) {
            0 => self.learned.now_ms(now_us),
            reckoned_ms => reckoned_ms,
        }
    }

    /// How long this acceptor still owes leaders of ballots before the one promised, us of its clock.
    pub(crate) fn lease_left_us(&self, released: Option<Ballot>) -> u64 {
        let until_us = self.grants.until_us(self.promised, released);
        until_us.saturating_sub(self.now_us)
    }

    /// A configuration was learned otherwise than by one's own count. A lease of the former configuration may rest on
    /// a quorum that no quorum of this one meets, so it is granted here and now.
    pub(crate) fn grant_for_config(&mut self) {
        if self.mutations.has(Mutation::ConfigGrantsNothing) {
            return;
        }
        let until_us = self.now_us + self.settings.lease_us;
        self.grants.grant_unnamed(until_us);
        match &mut self.role {
            Role::Candidate(phase1) => phase1.visible_us = phase1.visible_us.max(until_us),
            Role::Leader(leader) => {
                leader.phase1.visible_us = leader.phase1.visible_us.max(until_us);
            }
            Role::Follower | Role::Asking(_) => {}
        }
    }

    /// Whether a leader may show anything: phase 1 done here, the tail chosen, former leases over (R10, R11).
    pub fn may_show(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                (leader.ready || self.mutations.has(Mutation::ReadWithoutPhase1))
                    && (self.chosen >= leader.limbo
                        || self.mutations.has(Mutation::ReadBeforeLimbo))
                    && self.now_us >= leader.phase1.visible_us
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => false,
        }
    }

    /// A leader's: the highest index that phase 1 brought to light. [`Index`] 0 for others.
    pub fn limbo(&self) -> Index {
        match &self.role {
            Role::Leader(leader) => leader.limbo,
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => Index(0),
        }
    }
}
