//! Whether a group can ever be led again. The cluster's state says which lives of nodes' memories are over; a group of whose
//! voters so many have lost theirs that the others make no quorum has nobody left who could elect a leader.
//!
//! Only who votes can tell, and only by the configuration that it knows. A later one, of which it has not heard yet, would
//! have a leader of which it hears soon; so it waits a while before it says so. What is said here is no fact that anything
//! is built on: it tells people, and clients need not wait.

use crate::host::Now;
use crate::shard::Shard;
use crate::view::ClusterView;
use paxos::Config;

/// So long a group has had no leader, and a majority of its voters no memory, before it counts as lost, us.
const CERTAIN_US: u64 = 3_000_000;

/// What is known of a group's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Loss {
    /// It has a leader, or may get one.
    #[default]
    None,
    /// It looks as if nobody could lead it, since this time, us.
    Likely(u64),
    /// Nobody can.
    Certain,
}

impl Shard {
    /// Whether nobody can lead the shard any more, as far as this replica, a voter, knows.
    pub fn is_lost(&self) -> bool {
        self.group.loss == Loss::Certain
    }

    /// Looks whether anybody can; to be called a few times a second.
    pub(crate) fn look_for_loss(&mut self, view: &ClusterView, now: Now) {
        let replica = &self.group.replica;
        let config = replica.config();
        let is_leaderless = replica.leader().is_none() && config.voters.contains(&replica.me());
        let now_us = now.monotonic_us;
        let loss = match (is_leaderless && lacks_quorum(view, config), self.group.loss) {
            (false, _) => Loss::None,
            (true, Loss::None) => Loss::Likely(now_us),
            (true, Loss::Likely(since_us)) if now_us < since_us + CERTAIN_US => {
                Loss::Likely(since_us)
            }
            (true, Loss::Likely(_) | Loss::Certain) => Loss::Certain,
        };
        if loss == Loss::Certain && self.group.loss != loss {
            let group = self.group.id.0;
            tracing::error!(
                group,
                "a majority of the group's voters have lost their memory, nobody can lead it as it is"
            );
        }
        self.group.loss = loss;
    }
}

/// Whether the voters that still have their memory are fewer than a quorum.
fn lacks_quorum(view: &ClusterView, config: &Config) -> bool {
    let remembers = |id: &&paxos::ReplicaId| !view.is_over(**id);
    let remaining = config.voters.iter().filter(remembers).count();
    remaining < config.voters.len() / 2 + 1
}
