//! How a group gets from the members that it has to those that are wanted: one step at a time, by its leader.
//!
//! ```text
//!   wanted nodes ─▶ learners ─(caught up)─▶ voters; who is over, or not wanted, leaves with the same entry
//! ```
//!
//! - A node becomes a learner first, a voter only when it has caught up.
//! - A group never gets an even number of voters, and none it has leaves before its place can be taken.
//! - Whoever votes after a step can go on without those that leave with it: most of them are alive and have everything.
//! - A replica whose life is over is replaced by its node's next life, or by another node, in one entry.
//! - The meta group does not shrink while there are nodes that live and could vote, though they are being drained.
//! - Whoever votes and is wanted stays a voter: members change no more than they must.
//! - A node becomes a learner only when there is room for one more state on its way (`pace`).
//! - A leader that is to leave hands over first, if it can: an election would take longer.
//! - Leadership goes to the preferred node only when that has been alive for a while, has everything and takes in no
//!   shards, and not twice in a row within a while.
//!
//! Pure: what is known goes in, the next input for the replica comes out. What comes of it shows in the next round;
//! the replica refuses what is not safe.

use crate::view::ClusterView;
use paxos::{Config, GroupId, Index, Input, NodeId, Replica, ReplicaId};

/// A member may lag so far behind what is chosen, and counts as caught up. As in the replica's own check.
const LAG_MAX: u64 = 64;
/// A node that is preferred as leader must have been alive for so long, us.
const STEADY_US: u64 = 2_000_000;
/// Between two tries to hand leadership over, us.
const TRANSFER_PAUSE_US: u64 = 2_000_000;
/// After a change of members nobody is handed leadership for so long, us: longer than a lease and a few beats. Who learns of a
/// configuration owes the former members' leader a lease, and no release says that it is over.
const SETTLED_US: u64 = 400_000;

/// What a leader knows of its group and the nodes.
pub(crate) struct Standing<'a> {
    /// The group.
    pub group: GroupId,
    /// The leader itself.
    pub me: ReplicaId,
    /// The configuration in force, and where it stands.
    pub config: &'a Config,
    /// Where that stands in the log.
    pub config_index: Index,
    /// All up to here is chosen.
    pub chosen: Index,
    /// How far a member is known to hold everything.
    pub acked: &'a dyn Fn(ReplicaId) -> Index,
    /// Since when a node has been alive without a break, us; none if it is not.
    pub alive_since: &'a dyn Fn(NodeId) -> Option<u64>,
    /// Whether a node may be fed the state now that it lacks.
    pub admits: &'a dyn Fn(NodeId) -> bool,
    /// Whether a node is taking in shards at the moment, and has little time.
    pub is_busy: &'a dyn Fn(NodeId) -> bool,
    /// The clock, us.
    pub now_us: u64,
}

/// Decides for one group, on the node that leads it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reconciler {
    /// No transfer before this time, us.
    transfer_after_us: u64,
    /// The configuration that was last seen, by its number …
    seen: u64,
    /// … and since when it has been, us.
    seen_us: u64,
}

impl Reconciler {
    /// The next step of a replica that leads; none if all is as wanted, or nothing can be done at the moment.
    pub fn next(
        &mut self,
        view: &ClusterView,
        replica: &Replica,
        alive_since: &dyn Fn(NodeId) -> Option<u64>,
        admits: &dyn Fn(NodeId) -> bool,
        is_busy: &dyn Fn(NodeId) -> bool,
        now_us: u64,
    ) -> Option<Input> {
        if !replica.can_propose() || replica.is_changing() {
            return None;
        }
        self.step(
            view,
            &Standing {
                group: replica.group(),
                me: replica.me(),
                config: replica.config(),
                config_index: replica.config_index(),
                chosen: replica.chosen(),
                acked: &|id| replica.acked(id),
                alive_since,
                admits,
                is_busy,
                now_us,
            },
        )
    }

    fn step(&mut self, view: &ClusterView, standing: &Standing<'_>) -> Option<Input> {
        let wanted = view.wanted_of(standing.group);
        if wanted.is_empty() {
            return None;
        }
        if standing.config.number != self.seen {
            (self.seen, self.seen_us) = (standing.config.number, standing.now_us);
        }
        let target = target_voters(view, standing, &wanted);
        let mut voters = next_voters(view, standing, &target);
        if !standing.has_ready_majority(&voters) {
            voters.clone_from(&standing.config.voters);
        }
        let learners = next_learners(standing, &wanted, &voters);
        if voters != standing.config.voters || learners != standing.config.learners {
            return match self.heir_of_leaver(standing, &wanted, &voters) {
                Some(_) if !self.has_settled(standing) => None,
                Some(heir) => self.transfer(standing, heir),
                None => Some(Input::Reconfigure { voters, learners }),
            };
        }
        match self.has_settled(standing) {
            true => self.hand_over(standing, &wanted, &target),
            false => None,
        }
    }

    /// Whether the members have been the same for a while.
    fn has_settled(&self, standing: &Standing<'_>) -> bool {
        standing.now_us >= self.seen_us + SETTLED_US
    }

    fn may_transfer(&self, standing: &Standing<'_>) -> bool {
        standing.now_us >= self.transfer_after_us
    }

    fn transfer(&mut self, standing: &Standing<'_>, heir: ReplicaId) -> Option<Input> {
        self.transfer_after_us = standing.now_us + TRANSFER_PAUSE_US;
        (heir != standing.me).then_some(Input::TransferTo(heir))
    }

    /// To whom a leader hands over that does not vote after the next step; none if it stays, or nobody can take over.
    fn heir_of_leaver(
        &self,
        standing: &Standing<'_>,
        wanted: &[ReplicaId],
        next: &[ReplicaId],
    ) -> Option<ReplicaId> {
        if next.contains(&standing.me) || !self.may_transfer(standing) {
            return None;
        }
        let can_lead = |id: &&ReplicaId| next.contains(id) && standing.can_lead(**id);
        wanted.iter().chain(next).find(can_lead).copied()
    }

    /// Gives leadership to the node that should have it, or to any that may keep it.
    fn hand_over(
        &mut self,
        standing: &Standing<'_>,
        wanted: &[ReplicaId],
        target: &[ReplicaId],
    ) -> Option<Input> {
        if !self.may_transfer(standing) {
            return None;
        }
        let can_lead = |id: &ReplicaId| standing.can_lead(*id);
        let may_stay = target.contains(&standing.me);
        let heir = match standing.group {
            // Nobody is preferred for the meta group; only who has to go goes.
            GroupId(0) if may_stay => None,
            GroupId(0) => target.iter().find(|id| can_lead(id)),
            _ if wanted[0] == standing.me => None,
            _ if may_stay && (standing.is_busy)(wanted[0].node) => None,
            _ if can_lead(&wanted[0]) => Some(&wanted[0]),
            _ if may_stay => None,
            _ => target.iter().find(|id| can_lead(id)),
        };
        self.transfer(standing, *heir?)
    }
}

impl Standing<'_> {
    fn has_caught_up(&self, id: ReplicaId) -> bool {
        let acked = (self.acked)(id);
        id == self.me || acked.0 + LAG_MAX >= self.chosen.0 && acked >= self.config_index
    }

    fn can_lead(&self, id: ReplicaId) -> bool {
        let is_steady = |since_us: u64| since_us + STEADY_US <= self.now_us;
        self.config.voters.contains(&id)
            && self.has_caught_up(id)
            && (self.alive_since)(id.node).is_some_and(is_steady)
    }

    fn is_alive(&self, id: ReplicaId) -> bool {
        id == self.me || (self.alive_since)(id.node).is_some()
    }

    fn is_ready(&self, id: ReplicaId) -> bool {
        self.is_alive(id) && self.has_caught_up(id)
    }

    /// Whether these could go on if nobody else had a vote: a group that is left to one that has just died is lost.
    fn has_ready_majority(&self, voters: &[ReplicaId]) -> bool {
        let ready = voters.iter().filter(|&&id| self.is_ready(id));
        2 * ready.count() > voters.len()
    }
}

/// Who should vote in the end, sorted: of the wanted those that do, then those that do not, of both first who is alive, then
/// those in front. Where too few have a share of the replicas, nodes that are being drained go on voting on the cluster's own state
/// as long as they live: a state that one node alone holds is lost with it.
fn target_voters(
    view: &ClusterView,
    standing: &Standing<'_>,
    wanted: &[ReplicaId],
) -> Vec<ReplicaId> {
    let is_active = |id: &ReplicaId| view.may_vote(id.node);
    let fills_in = |id: &ReplicaId| {
        standing.group == GroupId(0) && view.may_fill_in(id.node) && standing.is_alive(*id)
    };
    let may_vote = wanted.iter().copied();
    let mut target: Vec<ReplicaId> = may_vote
        .filter(|id| is_active(id) || fills_in(id))
        .collect();
    let count = match standing.group {
        GroupId(0) => view.voters_count_among(target.len()),
        _ => view.voters_count().min(target.len()),
    };
    let votes = |id: &ReplicaId| standing.config.voters.contains(id);
    target.sort_by_key(|id| (!is_active(id), !votes(id), !standing.is_alive(*id)));
    target.truncate(count);
    target.sort_unstable();
    target
}

/// Who votes after the next step, sorted: the target as soon as all of it is ready, before that as much of it as can take
/// the places of those that go, or make the group grow to an odd number.
fn next_voters(
    view: &ClusterView,
    standing: &Standing<'_>,
    target: &[ReplicaId],
) -> Vec<ReplicaId> {
    let present = &standing.config.voters;
    let stays = |id: &&ReplicaId| target.contains(id);
    let mut next: Vec<ReplicaId> = present.iter().filter(stays).copied().collect();
    let newcomers = target.iter().filter(|&&id| {
        !present.contains(&id) && standing.config.learners.contains(&id) && standing.is_ready(id)
    });
    next.extend(newcomers);
    if next.len() < target.len() {
        let count = match next.len() {
            ready if ready > present.len() => (ready - 1) / 2 * 2 + 1,
            _ => present.len(),
        };
        // Whose place nobody can take yet stays, those whose life is over only if nobody else does. A node's next life
        // takes the place of the one before: a node has one vote.
        let is_replaced = |id: &ReplicaId| next.iter().any(|other| other.node == id.node);
        let mut going: Vec<ReplicaId> = present
            .iter()
            .filter(|id| !target.contains(id) && !is_replaced(id))
            .copied()
            .collect();
        going.sort_by_key(|&id| (id != standing.me, view.is_over(id), id));
        next.extend(going);
        next.truncate(count);
    }
    next.sort_unstable();
    next
}

/// Who learns after the next step, sorted: whoever is wanted and does not vote. A node that is not alive becomes none, as
/// it would only hold memory up; one that is may stay.
fn next_learners(
    standing: &Standing<'_>,
    wanted: &[ReplicaId],
    voters: &[ReplicaId],
) -> Vec<ReplicaId> {
    let config = standing.config;
    let mut learners: Vec<ReplicaId> = wanted
        .iter()
        .copied()
        .filter(|id| !voters.contains(id))
        .filter(|id| {
            config.learners.contains(id)
                || config.voters.contains(id)
                || (standing.alive_since)(id.node).is_some() && (standing.admits)(id.node)
        })
        .collect();
    learners.sort_unstable();
    learners
}

#[cfg(test)]
mod tests;
