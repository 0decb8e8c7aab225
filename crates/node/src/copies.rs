//! What a shard's copy on this node is, for whoever compares copies: the simulator, tests, people who look for a fault.

use crate::host::Now;
use crate::node::Node;
use paxos::{Ballot, Entry, Index, Input, NodeId, Replica, ReplicaId};
use xxhash_rust::xxh3::xxh3_64;

/// A shard's copy on one node, or that of the cluster's own state.
///
/// Copies that agree in `applied` and `log_ms` agree in both checksums, or they have diverged. But a copy that is not
/// yet `exact` may lack keys that were about to expire when its snapshot was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardCopy {
    /// The generation of its group.
    pub generation: u32,
    /// Index of the last entry that was applied.
    pub applied: u64,
    /// Log time of its keys, ms; 0: it has none.
    pub log_ms: u64,
    /// Whether no key can be missing.
    pub exact: bool,
    /// Whether the keys were dropped, because the node left the group.
    pub hollow: bool,
    /// Checksum of the keys that are alive at that time, or of the cluster's state.
    pub keys: u64,
    /// Checksum of the table of origins and of what is known of transactions.
    pub origins: u64,
    /// The ballot that this node leads under, if it leads.
    pub leads: Option<Ballot>,
    /// Who votes, as this copy knows it.
    pub voters: Vec<ReplicaId>,
    /// Who only learns.
    pub learners: Vec<ReplicaId>,
    /// Who votes by configurations that are under way, and may be chosen by now or soon.
    pub coming: Vec<Vec<ReplicaId>>,
}

impl Node {
    /// A shard's copy as it is now. Walks all keys.
    pub fn copy(&self, shard: usize) -> ShardCopy {
        let guard = self.lock(shard);
        let replica = &guard.group.replica;
        let config = replica.config();
        ShardCopy {
            generation: replica.generation().0,
            applied: guard.applied,
            log_ms: guard.cache.now_ms(),
            exact: guard.cache.now_ms() >= guard.group.streams.exact_from_ms,
            hollow: replica.is_hollow(),
            keys: guard.cache.checksum(),
            origins: guard.origins.checksum() ^ guard.reservations.checksum(),
            leads: ballot_led(replica),
            voters: config.voters.clone(),
            learners: config.learners.clone(),
            coming: voters_coming(replica),
        }
    }

    /// The copy of the cluster's own state.
    pub fn meta_copy(&self) -> ShardCopy {
        self.with_meta(|group| {
            let replica = group.replica();
            let config = replica.config();
            ShardCopy {
                generation: 0,
                applied: group.applied().0,
                log_ms: 0,
                exact: true,
                hollow: false,
                keys: xxh3_64(format!("{:?}", group.state()).as_bytes()),
                origins: 0,
                leads: ballot_led(replica),
                voters: config.voters.clone(),
                learners: config.learners.clone(),
                coming: voters_coming(replica),
            }
        })
    }

    /// The ballot that this node leads a shard under, if it does.
    pub fn leads(&self, shard: usize) -> Option<Ballot> {
        ballot_led(&self.lock(shard).group.replica)
    }

    /// Moves a copy's log time forward to `log_ms` (never back), as a read at that time would. For the comparison of
    /// copies whose entries are over: the next entry must not be older.
    pub fn look_at(&self, shard: usize, log_ms: u64) -> ShardCopy {
        self.lock(shard).cache.set_now(log_ms);
        self.copy(shard)
    }

    /// Hands the lead of a shard to another voter, if this node leads it. Returns whether it was asked to.
    pub fn hand_over(&self, shard: usize, to: NodeId, now: Now) -> bool {
        let mut asked = false;
        let mut work = self.work(now);
        self.on_shard(shard, &mut work, |shard, work| {
            let replica = &shard.group.replica;
            let voter = replica
                .config()
                .voters
                .iter()
                .find(|voter| voter.node == to);
            if let (true, Some(&voter)) = (replica.is_leader(), voter) {
                shard.step(Input::TransferTo(voter), work);
                asked = true;
            }
        });
        self.finish(work);
        self.request_flush();
        asked
    }
}

/// By whom a replica may be led on by what it has accepted or is about to propose.
fn voters_coming(replica: &Replica) -> Vec<Vec<ReplicaId>> {
    let accepted = replica
        .unchosen(Index(u64::MAX))
        .filter_map(|entry| match entry {
            Entry::Config(config) => Some(config),
            Entry::Noop | Entry::Batch { .. } => None,
        });
    let all = accepted.chain(replica.config_wanted());
    all.map(|config| config.voters.clone()).collect()
}

fn ballot_led(replica: &Replica) -> Option<Ballot> {
    replica.is_leader().then(|| replica.ballot())
}
