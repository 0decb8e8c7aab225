//! One turn of the node's housekeeping, ten times a second, in steps so short that others run in between.

use crate::group::Mode;
use crate::host::Now;
use crate::node::{Node, Room};

/// Entries that one step of background expiry examines in one shard.
pub(crate) const RECLAIM_WORK_MAX: usize = 256;
/// Steps of background expiry in one shard and one turn.
pub(crate) const RECLAIM_STEPS_MAX: usize = 16;

/// What is left of a turn. Each step is a bounded piece of work, well under a millisecond.
pub struct Housework<'a> {
    node: &'a Node,
    now: Now,
    next: Work,
}

/// The next step.
#[derive(Clone, Copy)]
enum Work {
    Clocks,
    /// Reclaims expired keys of a shard; so many steps were spent on it.
    Reclaim {
        shard: usize,
        steps: usize,
    },
    /// Brings memory under the budget: it was lowered, or large values came in faster than small ones went.
    Relieve,
    Sample,
    Done,
}

impl<'a> Housework<'a> {
    /// A turn that begins now.
    pub fn new(node: &'a Node) -> Self {
        Housework {
            node,
            now: node.now(),
            next: Work::Clocks,
        }
    }

    /// Reclaims in one shard; whether there is more to reclaim in it.
    fn reclaim(&self, shard: usize) -> bool {
        let node = self.node;
        let mut guard = node.lock(shard);
        // A follower's log time moves by entries alone.
        if let Some(log_ms) = guard.clock_ms(self.now) {
            guard.cache.set_now(log_ms);
        }
        let reclaimed = guard.cache.reclaim_expired(RECLAIM_WORK_MAX);
        let has_clones = guard.let_go_of_clones();
        let has_graves = guard.cache.bury(RECLAIM_WORK_MAX) || has_clones;
        guard.settle(&node.budget);
        let changes = guard.take_changes();
        let has_locks = guard.mode() == Mode::Solo && !guard.cache.locks().is_empty();
        drop(guard);
        if has_locks {
            // A tick looks what time changed about them.
            node.cluster.set_wake_us(shard, 0);
        }
        node.note_reclaimed(reclaimed, changes, self.now);
        has_graves || reclaimed >= RECLAIM_WORK_MAX / 4
    }
}

impl Iterator for Housework<'_> {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        let node = self.node;
        self.next = match self.next {
            Work::Clocks => {
                node.sample_wall(self.now);
                let clients_count = node.clients.len();
                node.resident
                    .turn(&*node.host, &node.budget, node.policy(), clients_count);
                Work::Reclaim { shard: 0, steps: 0 }
            }
            Work::Reclaim { shard, steps } => {
                let more = self.reclaim(shard);
                if more && steps + 1 < RECLAIM_STEPS_MAX {
                    Work::Reclaim {
                        shard,
                        steps: steps + 1,
                    }
                } else if shard + 1 < node.shards_count() {
                    Work::Reclaim {
                        shard: shard + 1,
                        steps: 0,
                    }
                } else {
                    Work::Relieve
                }
            }
            Work::Relieve => {
                let before = node.budget.missing();
                let room = node.relieve(self.now);
                let after = node.budget.missing();
                // What is left to others, or to decisions under way, does not go by asking again.
                match room {
                    Room::Enough if after > 0 && after < before => Work::Relieve,
                    Room::Enough | Room::None => Work::Sample,
                }
            }
            Work::Sample => {
                node.warn_of_locks();
                node.stats.sample(self.now.monotonic_us);
                Work::Done
            }
            Work::Done => return None,
        };
        Some(())
    }
}
