//! How a group stands, as its leader alone knows: how far its members are, and how long it may answer reads by itself.

use crate::host::Now;
use crate::overview::Overview;
use paxos::{GroupId, Replica, ReplicaId};
use serde::{Deserialize, Serialize};

/// A voter that is further behind its leader does not count, indexes.
const LAG_MAX: u64 = 1000;

/// What a leader knows of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is chosen up to.
    pub index: u64,
    /// Whether a wanted voter is dead, has not taken its place in its present life, or is more than 1,000 indexes behind: then
    /// the group would lose more than it should with its next voter.
    pub is_short: bool,
    /// Each other member's node, voters first, and how many indexes it is behind.
    pub lags: Vec<(u32, u64)>,
    /// The leader's lease.
    pub lease: Lease,
}

/// How long a leader may answer reads by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lease {
    /// So many milliseconds; 0: it has to ask first.
    LeftMs(u64),
    /// Always: nobody else votes.
    #[default]
    Alone,
}

impl std::fmt::Display for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lease::LeftMs(ms) => write!(f, "{ms} ms"),
            Lease::Alone => f.write_str("alone"),
        }
    }
}

impl Progress {
    /// Of a group that this replica leads; none if it does not.
    pub(crate) fn of(
        group: GroupId,
        replica: &Replica,
        overview: &Overview,
        now: Now,
    ) -> Option<Progress> {
        if !replica.is_leader() {
            return None;
        }
        let config = replica.config();
        let index = replica.chosen().0;
        let lag = |id: ReplicaId| index.saturating_sub(replica.acked(id).0);
        let counts = |id: &&ReplicaId| {
            let node = overview.view.node(id.node);
            let is_present = node.map(crate::NodeView::replica) == Some(**id);
            let is_near = **id == replica.me() || lag(**id) <= LAG_MAX;
            is_present && overview.is_alive(id.node) && is_near
        };
        let wanted = overview.view.wanted_of(group).len();
        let wanted = overview.view.voters_count().min(wanted);
        let others = config.voters.iter().chain(&config.learners);
        let others = others.filter(|id| **id != replica.me());
        Some(Progress {
            index,
            is_short: config.voters.iter().filter(counts).count() < wanted,
            lags: others.map(|id| (id.node.0, lag(*id))).collect(),
            lease: match replica.lease_until() {
                u64::MAX => Lease::Alone,
                until_us => Lease::LeftMs(until_us.saturating_sub(now.monotonic_us) / 1000),
            },
        })
    }
}
