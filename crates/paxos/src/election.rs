//! Elections: suspicion, pre-votes, phase 1 (rules R3, R6, R8, R9).

use crate::door::{Output, RoleChange};
use crate::lease::{LogTime, Testimony, scaled_up};
use crate::message::{HeardTime, Kind};
use crate::mutation::{Mutation, Mutations};
use crate::replica::{Replica, Role};
use crate::types::{Ballot, Entry, Index, NodeId, ReplicaId};
use std::collections::BTreeMap;

/// Pre-votes that came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asking {
    /// The ballot that would be used.
    ballot: Ballot,
    /// Who would promise it.
    granted: Vec<ReplicaId>,
}

/// Phase 1 of a ballot: of a candidate, and on with its leader, which needs promises of voters that come later (R6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Phase1 {
    /// The ballot.
    pub(crate) ballot: Ballot,
    /// First index that was not known chosen at its beginning.
    from: Index,
    /// Whose leader released its lease for this ballot.
    released: Option<Ballot>,
    /// What came in, by replica; the own one included.
    pub(crate) promises: Vec<Promised>,
    /// Per index above the chosen prefix the entry of the highest ballot that was reported (R3).
    pub(crate) best: BTreeMap<Index, (Ballot, Entry)>,
    /// Former leases may last until then, own clock, us.
    pub(crate) visible_us: u64,
    /// What others know of log time.
    pub(crate) testimony: Testimony,
    /// When promises were last asked for, us.
    pub(crate) asked_us: u64,
    /// The own promise counts when this record is durable.
    own_token: u64,
    /// Who is ahead was last asked for what is chosen from this index on …
    ahead_asked: Index,
    /// … at this time, us.
    ahead_asked_us: u64,
}

/// One acceptor's promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Promised {
    /// Whose.
    pub(crate) id: ReplicaId,
    /// It has reported all that it accepted up to here, without a hole.
    covered: Index,
    /// Whether that is all.
    is_complete: bool,
    /// Its chosen prefix, as it said.
    pub(crate) chosen: Index,
    /// Until then, own clock, us, it owes leases to former leaders, as it said.
    lease_until_us: u64,
}

/// What phase 1 comes to in a configuration.
enum Verdict {
    /// No quorum yet.
    Short,
    /// Quorums need replicas that know indexes chosen that the own one does not (R9).
    Behind,
    /// Done; the highest index that came to light.
    Done(Index),
}

impl Replica {
    /// Draws the time after which a silent leader is suspected.
    pub(crate) fn put_deadline_off(&mut self) {
        let (min, max) = (self.settings.election_min_us, self.settings.election_max_us);
        self.deadline_us = self.now_us + self.draw_between(min, max);
    }

    /// A node is unreachable: if it led, or campaigned, it is suspected at once.
    pub(crate) fn on_peer_down(&mut self, node: NodeId) {
        self.forget_progress(node);
        if self.promised.replica.node != node {
            return;
        }
        self.sticky_until_us = self.now_us;
        if matches!(self.role, Role::Follower) {
            let soon_us = self.draw_between(0, self.settings.heartbeat_us);
            self.deadline_us = self.deadline_us.min(self.now_us + soon_us);
        }
    }

    /// Somebody wants this replica to campaign whoever leads.
    pub(crate) fn on_campaign(&mut self, out: &mut Output) {
        if self.may_campaign() {
            self.campaign(None, out);
        } else {
            out.refused = Some("only a voter campaigns");
        }
    }

    /// Time goes by for a follower, or for one that asks for pre-votes.
    pub(crate) fn tick_follower(&mut self, out: &mut Output) {
        if self.now_us < self.deadline_us {
            return;
        }
        if !self.may_campaign() {
            // It may vote all the same by a configuration that it does not know chosen, and without it nobody may win: a
            // restart can forget how far was chosen. Whoever is still there tells.
            self.put_deadline_off();
            if !self.is_hollow {
                self.ask_anybody(out);
            }
            return;
        }
        if self.is_sole_voter() {
            self.campaign(None, out);
            return;
        }
        if self.leader.take().is_some() {
            self.tell_follower(out);
        }
        self.round_seen = self.round_seen.max(self.promised.round) + 1;
        let ballot = Ballot {
            round: self.round_seen,
            replica: self.names.me,
        };
        self.role = Role::Asking(Asking {
            ballot,
            granted: vec![self.names.me],
        });
        let min_us = self.settings.election_min_us;
        self.deadline_us = self.now_us + self.draw_between(min_us / 2, min_us);
        for &voter in self.config.voters.iter().filter(|&&v| v != self.names.me) {
            out.send_first
                .push(self.names.message(voter, Kind::PreVote { ballot }));
        }
        self.ask_anybody(out);
    }

    /// Without a leader nobody pushes what is chosen, so it is fetched from some member, or from who was heard to lead: all
    /// members that are known here may have left since.
    fn ask_anybody(&mut self, out: &mut Output) {
        let me = self.names.me;
        let draw = self.draw();
        let (voters, learners) = (&self.config.voters, &self.config.learners);
        let members = || voters.iter().chain(learners);
        let stranger = self
            .leader
            .iter()
            .filter(|leader| !members().any(|id| id == *leader));
        let others = || members().chain(stranger.clone()).filter(|&&id| id != me);
        let count = others().count().max(1) as u64;
        if let Some(&member) = others().nth((draw % count) as usize) {
            let from = self.chosen.next();
            out.send_first
                .push(self.names.message(member, Kind::CatchUpRequest { from }));
        }
    }

    /// Would this replica promise a ballot? Nothing changes.
    pub(crate) fn on_pre_vote(&mut self, from: ReplicaId, ballot: Ballot, out: &mut Output) {
        if ballot <= self.promised {
            // Tells the round to go beyond.
            self.send_nack(from, ballot, out);
        }
        // A leader that gave up, and asks itself, need not wait for itself to fall silent.
        let silent = self.now_us >= self.sticky_until_us || from == self.promised.replica;
        let granted = ballot > self.promised && silent && !self.is_leader();
        self.send_promised(from, Kind::PreVoteReply { ballot, granted }, out);
    }

    /// A pre-vote's answer came.
    pub(crate) fn on_pre_vote_reply(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        granted: bool,
        out: &mut Output,
    ) {
        let is_voter = self.is_voter(from);
        let needed = self.quorum();
        let Role::Asking(asking) = &mut self.role else {
            return;
        };
        if !granted || !is_voter || ballot != asking.ballot || asking.granted.contains(&from) {
            return;
        }
        asking.granted.push(from);
        if asking.granted.len() >= needed {
            self.campaign(None, out);
        }
    }

    /// Begins phase 1 under a ballot of its own. `released`: whose leader has given up its lease for it.
    pub(crate) fn campaign(&mut self, released: Option<Ballot>, out: &mut Output) {
        if self.is_installing() {
            self.put_deadline_off();
            return;
        }
        let reuse =
            self.mutations.has(Mutation::ReuseBallot) && self.promised.replica == self.names.me;
        let round = self.round_seen.max(self.promised.round) + u64::from(!reuse);
        let ballot = Ballot {
            round: round.max(1),
            replica: self.names.me,
        };
        if ballot > self.promised {
            self.raise_promised(ballot, out);
        } else {
            self.become_follower(out);
        }
        let visible_us = self.grants.until_us(ballot, released);
        let tail = self.chosen.next().0..=self.log.last().0;
        let best = tail
            .filter_map(|index| Some((Index(index), self.log.get(Index(index))?.clone())))
            .collect();
        self.role = Role::Candidate(Box::new(Phase1 {
            ballot,
            from: self.chosen.next(),
            released,
            promises: vec![Promised {
                id: self.names.me,
                covered: self.log.last(),
                is_complete: true,
                chosen: self.chosen,
                lease_until_us: 0,
            }],
            best,
            visible_us,
            testimony: Testimony::default(),
            asked_us: self.now_us,
            own_token: self.next_token(),
            ahead_asked: Index(0),
            ahead_asked_us: 0,
        }));
        out.role = Some(RoleChange::Candidate);
        self.put_deadline_off();
        self.send_prepares(out);
        self.count_promises(out);
    }

    /// Time goes by for a candidate.
    pub(crate) fn tick_candidate(&mut self, out: &mut Output) {
        if self.now_us >= self.deadline_us {
            self.become_follower(out);
            let heartbeat_us = self.settings.heartbeat_us;
            self.deadline_us = self.now_us + self.draw_between(0, heartbeat_us);
            return;
        }
        if let Role::Candidate(phase1) = &mut self.role {
            phase1.asked_us = self.now_us;
        }
        self.send_prepares(out);
        // Asks again for what it lacks.
        self.count_promises(out);
    }

    /// Sends phase 1a to the voters of the configuration in force that have not answered in full.
    pub(crate) fn send_prepares(&self, out: &mut Output) {
        let phase1 = match &self.role {
            Role::Candidate(phase1) => phase1,
            Role::Leader(leader) => &leader.phase1,
            Role::Follower | Role::Asking(_) => return,
        };
        for &voter in &self.config.voters {
            if voter == self.names.me || phase1.has_whole(voter) {
                continue;
            }
            let kind = Kind::Prepare {
                ballot: phase1.ballot,
                from: phase1.from,
                released: phase1.released,
            };
            self.send_promised(voter, kind, out);
        }
    }

    /// Phase 1b came, or a part of it.
    pub(crate) fn on_promise(&mut self, from: ReplicaId, kind: Kind, out: &mut Output) {
        let Kind::Promise {
            ballot,
            chosen,
            accepted,
            more,
            lease_left_us,
            log_seen,
            log_line,
        } = kind
        else {
            return;
        };
        let anybody = self.mutations.has(Mutation::CountAnybody);
        if !anybody && !self.is_voter(from) {
            return;
        }
        let (settings, now_us) = (self.settings, self.now_us);
        let own_chosen = self.chosen;
        let mutations = self.mutations;
        let (phase1, last, has_quorum) = match &mut self.role {
            Role::Candidate(phase1) => (&mut **phase1, own_chosen, false),
            Role::Leader(leader) => (&mut leader.phase1, leader.last, leader.ready),
            Role::Follower | Role::Asking(_) => return,
        };
        if phase1.ballot != ballot {
            return;
        }
        let mut lease_until_us = 0;
        if lease_left_us > 0 && !mutations.has(Mutation::IgnoreReportedLeases) {
            lease_until_us = now_us + scaled_up(&settings, lease_left_us) + settings.epsilon_us;
            // Whoever leads on a quorum of promises has heard of all leases that can last under this configuration. A
            // newcomer's, which is mostly owed to this very leader, waits for the next one (`make_ready`).
            if !has_quorum {
                phase1.visible_us = phase1.visible_us.max(lease_until_us);
            }
        }
        let first = accepted.first().map(|entry| entry.index);
        let end = accepted.last().map(|entry| entry.index);
        let said = (chosen, lease_until_us);
        if phase1.note_part(from, said, (first, end), more, mutations) {
            let longest = mutations.has(Mutation::LongestLogWins);
            let longer = end > phase1.best.last_key_value().map(|(index, _)| *index);
            for entry in accepted {
                // What this leader has proposed stands (R2).
                if entry.index <= own_chosen || entry.index <= last {
                    continue;
                }
                match phase1.best.get(&entry.index) {
                    Some(_) if longest && longer => {}
                    Some(_) if longest => continue,
                    Some((best, _)) if *best >= entry.ballot => continue,
                    Some(_) | None => {}
                }
                phase1.best.insert(entry.index, (entry.ballot, entry.entry));
            }
        }
        let heard = |heard: HeardTime| LogTime {
            ms: heard.ms,
            at_us: match mutations.has(Mutation::LogTimeWithoutAge) {
                true => now_us,
                false => now_us.saturating_sub(heard.age_us),
            },
            of: heard.of,
        };
        let (seen, line) = (heard(log_seen), heard(log_line));
        match &mut self.role {
            Role::Candidate(phase1) => phase1.testimony.note(&settings, seen, line, now_us),
            // Who comes late may have a log time that ran on without a lease, and so ahead. It may not move what locks
            // and expiries are reckoned by; and whatever a former leader has shown is owed before the first batch.
            Role::Leader(leader) if !leader.has_stamped => {
                let testimony = &mut leader.phase1.testimony;
                testimony.note(&settings, seen, line, now_us);
                self.log_time.raise(testimony.floor_ms(), now_us);
            }
            Role::Leader(_) | Role::Follower | Role::Asking(_) => {}
        }
        match &self.role {
            Role::Candidate(_) => self.count_promises(out),
            Role::Leader(_) => self.on_late_promise(from, chosen, out),
            Role::Follower | Role::Asking(_) => {}
        }
    }

    /// What phase 1 comes to in the configuration in force.
    fn verdict(&self, phase1: &Phase1) -> Verdict {
        let anybody = self.mutations.has(Mutation::CountAnybody);
        let own_durable = !self.settings.durable || self.persisted >= phase1.own_token;
        let counted = || {
            phase1.promises.iter().filter(|promised| {
                promised.is_complete
                    && (anybody || self.is_voter(promised.id))
                    && (own_durable || promised.id != self.names.me)
            })
        };
        if counted().count() < self.quorum() || self.is_installing() {
            return Verdict::Short;
        }
        // Acceptors do not report what they know chosen. A quorum of those that know no more than this replica reports all
        // that may be chosen; whoever is ahead need not live on.
        let level = counted().filter(|promised| promised.chosen <= self.chosen);
        if level.count() < self.quorum() && !self.mutations.has(Mutation::ProposeKnownChosen) {
            return Verdict::Behind;
        }
        let limbo = counted().map(|promised| promised.covered.max(promised.chosen));
        Verdict::Done(limbo.max().expect("a quorum is not empty"))
    }

    /// A candidate has news: does it lead now?
    pub(crate) fn count_promises(&mut self, out: &mut Output) {
        let Role::Candidate(phase1) = &self.role else {
            return;
        };
        if !self.may_campaign() {
            self.become_follower(out);
            return;
        }
        match self.verdict(phase1) {
            Verdict::Short => {}
            Verdict::Behind => self.ask_ahead(out),
            Verdict::Done(limbo) => {
                let Role::Candidate(phase1) = std::mem::replace(&mut self.role, Role::Follower)
                else {
                    return;
                };
                self.become_leader(*phase1, limbo, out);
            }
        }
    }

    /// A leader that has crossed into a configuration: may it go on there (R6, R9)?
    pub(crate) fn make_ready(&mut self, out: &mut Output) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        if leader.ready {
            return;
        }
        let verdict = if self.mutations.has(Mutation::NoPhase1InNewConfig) {
            Verdict::Done(leader.limbo)
        } else {
            self.verdict(&leader.phase1)
        };
        match verdict {
            Verdict::Short => {}
            Verdict::Behind => self.ask_ahead(out),
            Verdict::Done(limbo) => {
                let voters = &self.config.voters;
                if let Role::Leader(leader) = &mut self.role {
                    let promises = leader.phase1.promises.iter();
                    let counted = promises.filter(|promised| voters.contains(&promised.id));
                    let lease_until_us = counted.map(|promised| promised.lease_until_us).max();
                    let visible_us = leader.phase1.visible_us;
                    leader.phase1.visible_us = visible_us.max(lease_until_us.unwrap_or(0));
                    leader.ready = true;
                    leader.fill_beyond(limbo, self.settings.fill_entries);
                }
                self.drop_incoming(out);
                self.tell_leader(out);
            }
        }
    }

    /// Asks one of those that promised and know more chosen: another one each time, since one may be gone. Once for each
    /// index and heartbeat: an answer without news must not be the cause of the next question.
    fn ask_ahead(&mut self, out: &mut Output) {
        let (own_chosen, now_us) = (self.chosen, self.now_us);
        let phase1 = match &mut self.role {
            Role::Candidate(phase1) => phase1,
            Role::Leader(leader) => &mut leader.phase1,
            Role::Follower | Role::Asking(_) => return,
        };
        let due_us = phase1.ahead_asked_us + self.settings.heartbeat_us;
        if phase1.ahead_asked == own_chosen.next() && now_us < due_us {
            return;
        }
        phase1.ahead_asked = own_chosen.next();
        phase1.ahead_asked_us = now_us;
        let ahead = phase1.promises.iter().filter(|p| p.chosen > own_chosen);
        let ahead: Vec<ReplicaId> = ahead.map(|promised| promised.id).collect();
        let pick = self.draw_between(1, ahead.len() as u64) as usize;
        if let Some(&whom) = ahead.get(pick - 1) {
            self.ask_for_chosen(whom, out);
        }
    }

    /// Asks one replica for what it knows chosen.
    pub(crate) fn ask_for_chosen(&self, whom: ReplicaId, out: &mut Output) {
        out.send_first.push(self.catch_up_request(whom));
    }

    /// Somebody has promised more than a ballot of this replica.
    pub(crate) fn on_nack(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        promised: Ballot,
        out: &mut Output,
    ) {
        if promised <= ballot {
            return;
        }
        self.round_seen = self.round_seen.max(promised.round);
        let heartbeat_us = self.settings.heartbeat_us;
        match &self.role {
            Role::Candidate(phase1) if phase1.ballot == ballot => {
                self.become_follower(out);
                let max_us = self.settings.election_min_us;
                self.deadline_us = self.now_us + self.draw_between(heartbeat_us, max_us);
            }
            // Whoever has promised more takes nothing of this leader any more, until a ballot goes beyond.
            Role::Leader(leader)
                if leader.phase1.ballot == ballot
                    && (leader.followers.iter().any(|f| f.id == from)) =>
            {
                self.become_follower(out);
                self.deadline_us = self.now_us + self.draw_between(1, heartbeat_us);
            }
            Role::Follower | Role::Asking(_) | Role::Candidate(_) | Role::Leader(_) => {}
        }
    }
}

impl Phase1 {
    /// Whether a replica's promise is here in full.
    pub(crate) fn has_whole(&self, id: ReplicaId) -> bool {
        self.promises.iter().any(|p| p.id == id && p.is_complete)
    }

    /// Notes a part of a promise that reports the entries `first..=end`. Parts follow one another without a hole: one
    /// behind a lost part counts nothing, and the promise is asked for again. Whether it counts.
    fn note_part(
        &mut self,
        id: ReplicaId,
        (chosen, lease_until_us): (Index, u64),
        (first, end): (Option<Index>, Option<Index>),
        more: bool,
        mutations: Mutations,
    ) -> bool {
        // The acceptor reports what is above both.
        let below = chosen.max(Index(self.from.0 - 1));
        let at = self.promises.iter().position(|promised| promised.id == id);
        let covered = at.map_or(below, |at| self.promises[at].covered.max(below));
        let hole = first.is_some_and(|first| first > covered.next());
        if hole && !mutations.has(Mutation::PromiseMayHaveHoles) {
            return false;
        }
        let part = Promised {
            id,
            covered: end.map_or(covered, |end| end.max(covered)),
            is_complete: !more || at.is_some_and(|at| self.promises[at].is_complete),
            chosen,
            lease_until_us,
        };
        match at {
            Some(at) => {
                let before = &self.promises[at];
                self.promises[at] = Promised {
                    chosen: before.chosen.max(chosen),
                    lease_until_us: before.lease_until_us.max(lease_until_us),
                    ..part
                };
            }
            None => self.promises.push(part),
        }
        true
    }
}
