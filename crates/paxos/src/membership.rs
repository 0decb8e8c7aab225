//! Changes of the configuration (DESIGN-PAXOS §3.9; rules R4, R5, R6).
//!
//! A configuration is an entry. It rules from the index behind it, and nothing is proposed there before it is chosen, so
//! who votes at an index is a function of what was chosen before. Replacing a member is one entry.

use crate::door::Output;
use crate::mutation::Mutation;
use crate::replica::{ConfigNews, Replica, Role};
use crate::types::{Config, Entry, Index, ReplicaId};

/// A learner this many indexes behind what is chosen may become a voter.
const PROMOTION_LAG_MAX: u64 = 64;

/// Members of a configuration, voters or learners.
const MEMBERS_MAX: usize = 64;

/// A configuration that waits: for a quorum of its own voters to answer something that was sent since it was wanted, then
/// for all before it to be chosen. Whoever answered before may have died since, unnoticed by a leader that was asleep
/// itself; and once it is chosen nobody can go on without a quorum of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) config: Config,
    /// Since when, us.
    since_us: u64,
}

impl Replica {
    /// The owner wants another configuration.
    pub(crate) fn on_reconfigure(
        &mut self,
        mut voters: Vec<ReplicaId>,
        mut learners: Vec<ReplicaId>,
        out: &mut Output,
    ) {
        voters.sort_unstable();
        learners.sort_unstable();
        if let Err(why) = self.check_change(&voters, &learners) {
            out.refused = Some(why);
            return;
        }
        let number = self.config.number + 1;
        let config = Config {
            number,
            voters,
            learners,
        };
        if let Role::Leader(leader) = &mut self.role {
            if self.mutations.has(Mutation::ConfigAtAppend)
                || self.mutations.has(Mutation::ProposeBehindConfig)
            {
                self.propose(Entry::Config(config), out);
            } else {
                let since_us = self.now_us;
                leader.wanted = Some(Wanted { config, since_us });
                if !self.is_wanted_confirmed() {
                    self.send_beats(out);
                }
            }
        }
    }

    /// A leader's: whether a configuration waits only until all before it is chosen; meanwhile nothing else is proposed.
    pub(crate) fn is_wanted_confirmed(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.wanted.as_ref().is_some_and(|wanted| {
                self.has_quorum_since(&wanted.config.voters, wanted.since_us)
                    || self.mutations.has(Mutation::PromoteLaggard)
            }),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => false,
        }
    }

    /// Time goes by for a configuration that waits: too few of its voters answer, so it is given up.
    pub(crate) fn tick_wanted(&mut self, out: &mut Output) {
        let is_confirmed = self.is_wanted_confirmed();
        let patience_us = self.settings.election_max_us;
        if let Role::Leader(leader) = &mut self.role
            && let Some(wanted) = &leader.wanted
            && !is_confirmed
            && self.now_us >= wanted.since_us + patience_us
        {
            leader.wanted = None;
            out.refused = Some("too few of the new voters are still alive");
        }
    }

    /// Whether a change is safe to propose now, and leaves a quorum that is alive.
    fn check_change(
        &self,
        voters: &[ReplicaId],
        learners: &[ReplicaId],
    ) -> Result<(), &'static str> {
        let Role::Leader(leader) = &self.role else {
            return Err("only a leader changes the configuration");
        };
        if !leader.ready || !leader.phase1.best.is_empty() {
            return Err("the leader has not finished phase 1 here");
        }
        if leader.barrier.is_some() || leader.wanted.is_some() || leader.transfer.is_some() {
            return Err("another change or a hand-over is under way");
        }
        if voters.is_empty() || voters.len() + learners.len() > MEMBERS_MAX {
            return Err("a configuration has at least one voter, and not too many members");
        }
        let same_node = voters.windows(2).any(|two| two[0].node == two[1].node);
        let twice = learners.windows(2).any(|two| two[0] == two[1]);
        if same_node || twice || learners.iter().any(|id| voters.contains(id)) {
            return Err("a node has one vote, and a replica one part");
        }
        let lax = self.mutations.has(Mutation::PromoteLaggard);
        for &voter in voters {
            let learns = self.config.learners.contains(&voter);
            let may_vote = self.is_voter(voter) || lax || (learns && self.has_caught_up(voter));
            if !may_vote {
                return Err("a new voter is a learner that has caught up");
            }
        }
        if !self.has_live_quorum(voters) && !lax {
            return Err("too few of the new voters are alive and have caught up");
        }
        Ok(())
    }

    /// A leader's: whether a member may vote, so that a quorum with it knows what is chosen without delay.
    fn has_caught_up(&self, id: ReplicaId) -> bool {
        id == self.names.me
            || self.acked(id).0 + PROMOTION_LAG_MAX >= self.chosen.0
                && self.acked(id) >= self.config_index
    }

    /// A leader's: whether more than half of these have answered of late, and have caught up.
    pub(crate) fn has_live_quorum(&self, voters: &[ReplicaId]) -> bool {
        let silent_us = 2 * self.settings.election_max_us;
        self.has_quorum_since(voters, self.now_us.saturating_sub(silent_us))
    }

    /// A leader's: whether more than half of these have answered something sent since then, us, and have caught up.
    fn has_quorum_since(&self, voters: &[ReplicaId], since_us: u64) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        let alive = voters.iter().filter(|&&voter| {
            let follower = leader.followers.iter().find(|f| f.id == voter);
            voter == self.names.me
                // Whose connection broke may have died since it answered.
                || follower.is_some_and(|f| f.is_known && f.echoed_us >= since_us)
                    && self.has_caught_up(voter)
        });
        alive.count() > voters.len() / 2
    }

    /// A leader's: whether all learners could vote as far as it depends on what they have.
    pub fn have_learners_caught_up(&self) -> bool {
        let mut learners = self.config.learners.iter();
        learners.all(|&id| self.has_caught_up(id))
    }

    /// A leader's: whether another configuration waits, or is proposed and not chosen yet.
    pub fn is_changing(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.wanted.is_some() || leader.barrier.is_some(),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => false,
        }
    }

    /// A leader's: the configuration that waits for its voters' answers, or until all before it is chosen.
    pub fn config_wanted(&self) -> Option<&Config> {
        match &self.role {
            Role::Leader(leader) => leader.wanted.as_ref().map(|wanted| &wanted.config),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => None,
        }
    }

    /// A configuration in the chosen prefix is new: it rules from here on.
    pub(crate) fn on_config(&mut self, news: ConfigNews, out: &mut Output) {
        out.config = Some(self.config.clone());
        match news {
            ConfigNews::Learned => self.grant_for_config(),
            ConfigNews::FromLeader => {
                let until_us = self.now_us + self.settings.lease_us;
                self.grants.grant(self.promised, until_us);
            }
            ConfigNews::Counted => {}
        }
        match &self.role {
            Role::Leader(_) => self.cross(out),
            Role::Asking(_) if !self.may_campaign() => {
                self.role = Role::Follower;
                self.tell_follower(out);
            }
            Role::Asking(_) | Role::Candidate(_) | Role::Follower => {}
        }
    }

    /// A leader's configuration has changed: those that left hear of it, those that came are asked for promises.
    fn cross(&mut self, out: &mut Output) {
        // To all members of the former configuration: what is chosen, so that those that left know.
        self.send_beats(out);
        let me = self.names.me;
        if !self.is_voter(me) {
            self.give_up_leading(out);
            return;
        }
        let keeps = self.mutations.has(Mutation::LeaseOverOldMembers);
        let config = self.config.clone();
        let now_us = self.now_us;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let former = leader.followers.clone();
        leader.follow(&config, me);
        // By what is chosen without them those that left learn that they may go, those that left before and were away as well.
        leader.fill_to = leader.fill_to.max(self.config_index.next());
        if keeps {
            leader.voters_before = former.iter().filter(|f| f.is_voter).count() + 1;
            let left = former
                .into_iter()
                .filter(|f| !config.voters.contains(&f.id) && !config.learners.contains(&f.id));
            leader.followers.extend(left.map(|mut follower| {
                follower.is_voter = false;
                follower
            }));
        }
        // It would have come next after another.
        leader.wanted = None;
        leader.ready = false;
        leader.unready_since_us = now_us;
        leader.reads.ask_again();
        self.drop_streams_of_strangers(out);
        self.send_prepares(out);
        // Newcomers say in their answers how far they are.
        self.send_beats(out);
    }

    /// A leader that is no voter any more leaves the rest to whoever has everything.
    fn give_up_leading(&mut self, out: &mut Output) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        leader.released = true;
        let ballot = leader.phase1.ballot;
        let shows = self.now_us >= leader.phase1.visible_us;
        let heir = leader
            .followers
            .iter()
            .filter(|f| self.config.voters.contains(&f.id))
            .max_by_key(|f| (f.acked, f.id))
            .map(|f| f.id);
        // A sole voter has chosen the configuration before anybody heard of it.
        self.feed_all(out);
        if let Some(heir) = heir.filter(|_| shows) {
            self.send_transfer(ballot, heir, out);
        }
        self.become_follower(out);
    }

    /// A leader's: where the configuration in force stands.
    pub fn config_index(&self) -> Index {
        self.config_index
    }
}
