//! How much may wait in the queues of a node's groups, in one and in all of them together.
//!
//! A group that has no quorum keeps its writes until the log decides about them, which may be never. So each group has a
//! bound of its own, a quarter of the node's: what one of them cannot get rid of leaves room for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Unanswered requests of a node: 500 connections with 64 each are 32,000, a few seconds' worth of a busy node's more.
const NODE_REQUESTS_MAX: usize = 1 << 20;
/// Their bytes.
const NODE_BYTES_MAX: usize = 256 << 20;
/// Unanswered requests of one group.
const GROUP_REQUESTS_MAX: usize = NODE_REQUESTS_MAX / 4;
/// Their bytes.
const GROUP_BYTES_MAX: usize = NODE_BYTES_MAX / 4;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// Too many wait for this shard already: `-TRYAGAIN`.
    #[error("TRYAGAIN Too many requests wait for the shard's leader, please try again later")]
    Group,
    /// Too many wait at this node already, whatever for: `-TRYAGAIN`.
    #[error(
        "TRYAGAIN Too many requests at this node wait for their shards' leaders, please try again later"
    )]
    Node,
    /// What waits has done so for 10 s already: `-CLUSTERDOWN`.
    #[error("CLUSTERDOWN The shard has had no leader for 10 seconds")]
    NoLeader,
    /// Nobody can lead the shard any more: `-CLUSTERDOWN`.
    #[error("CLUSTERDOWN A majority of the shard's replicas have lost their memory")]
    Lost,
    /// It is longer than a message to another node may be.
    #[error("ERR request is too long to be replicated")]
    TooLong,
}

/// What all groups of the node together have in their queues.
#[derive(Debug, Default)]
pub(crate) struct QueueBudget {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// What one group has of it; given back when it goes.
///
/// Invariant: both are also counted in the budget.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<QueueBudget>,
    requests: usize,
    bytes: usize,
}

impl Share {
    /// Nothing yet.
    pub fn new(budget: Arc<QueueBudget>) -> Self {
        Share {
            budget,
            requests: 0,
            bytes: 0,
        }
    }

    /// Takes room for a request of `bytes`.
    ///
    /// # Errors
    /// There is none, in the group or in the node. A single large request is admitted into an empty queue, else it
    /// never would be.
    pub fn admit(&mut self, bytes: usize) -> Result<(), QueueFull> {
        let is_over = |held: usize, max: usize| held > 0 && held + bytes > max;
        if self.requests >= GROUP_REQUESTS_MAX || is_over(self.bytes, GROUP_BYTES_MAX) {
            return Err(QueueFull::Group);
        }
        let budget = &self.budget;
        if budget.requests.load(Ordering::Relaxed) >= NODE_REQUESTS_MAX
            || is_over(budget.bytes.load(Ordering::Relaxed), NODE_BYTES_MAX)
        {
            return Err(QueueFull::Node);
        }
        self.take(bytes);
        Ok(())
    }

    /// Takes room for a request of `bytes`, be there any or not: for what others wait for that take up room.
    pub fn take(&mut self, bytes: usize) {
        self.budget.requests.fetch_add(1, Ordering::Relaxed);
        self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.requests += 1;
        self.bytes += bytes;
    }

    /// Gives room back.
    pub fn release(&mut self, requests: usize, bytes: usize) {
        self.requests -= requests;
        self.bytes -= bytes;
        self.budget.requests.fetch_sub(requests, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release(self.requests, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_full_leaves_room_for_others() {
        // Breaks if one shard without a quorum makes the node refuse requests for all the others.
        let budget = Arc::new(QueueBudget::default());
        let mut stuck = Share::new(budget.clone());
        let refusal = (0..).find_map(|_| stuck.admit(100).err());
        assert_eq!(refusal, Some(QueueFull::Group));
        assert_eq!(stuck.requests, GROUP_REQUESTS_MAX);
        let mut other = Share::new(budget.clone());
        assert_eq!(other.admit(1 << 20), Ok(()));
        drop(stuck);
        assert_eq!(budget.requests.load(Ordering::Relaxed), 1);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 1 << 20);
    }

    #[test]
    fn many_groups_together_keep_the_nodes_bound() {
        // Breaks if a node that lost all its leaders would take memory for every shard's bound.
        let budget = Arc::new(QueueBudget::default());
        let mut shares: Vec<Share> = (0..8).map(|_| Share::new(budget.clone())).collect();
        let mut admitted = 0;
        for share in &mut shares {
            while share.admit(1 << 20).is_ok() {
                admitted += 1;
            }
        }
        assert_eq!(admitted, NODE_BYTES_MAX >> 20);
        assert_eq!(shares[7].admit(1 << 20), Err(QueueFull::Node));
    }

    #[test]
    fn a_request_larger_than_the_bound_is_taken_alone() {
        // Breaks if a value of 512 MB could never be written.
        let budget = Arc::new(QueueBudget::default());
        let mut share = Share::new(budget);
        assert_eq!(share.admit(600 << 20), Ok(()));
        assert_eq!(share.admit(1), Err(QueueFull::Group));
        share.release(1, 600 << 20);
        assert_eq!(share.admit(1), Ok(()));
    }
}
