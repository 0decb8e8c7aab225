//! One segment of the index: an open-addressing table in hash order.
//!
//! A bucket is `hash << 32 | location`, or [`EMPTY`]. An entry's *home* is its hash scaled to the
//! capacity, so homes rise with hashes; entries lie sorted by hash, each at or after its home, with no empty
//! bucket between. A walk over the buckets is therefore a walk in hash order, whatever the capacity.
//!
//! Invariants:
//! - the last bucket is empty: every probe ends there at the latest and nothing wraps around;
//! - of equal hashes the order is that of insertion.

use super::Lookup;
use crate::class::allocated_bytes;
use crate::record::Location;

/// A bucket without entry. It sorts after all others; no entry equals it, as no location is `u32::MAX`.
const EMPTY: u64 = u64::MAX;

/// Buckets of the smallest segment.
pub(super) const BUCKETS_MIN: usize = 16;

/// Buckets from which on a segment is split rather than grown: 128 KiB, so that growing or splitting one
/// holds a shard's lock for some 50 µs, however many keys the shard has.
pub(super) const BUCKETS_MAX: usize = 16 * 1024;

pub(super) struct Segment {
    buckets: Vec<u64>,
    /// Buckets that are homes; behind them is the tail for what the last ones push out.
    homes: u32,
    entries: u32,
    /// Leading bits that all its hashes share.
    depth: u32,
}

fn hash_of(bucket: u64) -> u32 {
    (bucket >> 32) as u32
}

impl Segment {
    /// An empty segment of `buckets` buckets.
    pub(super) fn new(depth: u32, buckets: usize) -> Self {
        let tail = (buckets / 8).min(64);
        Segment {
            buckets: vec![EMPTY; buckets],
            homes: (buckets - tail) as u32,
            entries: 0,
            depth,
        }
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries as usize
    }

    /// Memory of the buckets, as the allocator takes it.
    pub(super) fn used_bytes(&self) -> usize {
        allocated_bytes(self.buckets.capacity() * size_of::<u64>())
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash << self.depth) * u64::from(self.homes)) >> 32) as usize
    }

    /// The bucket where a probe for `hash` starts, to be loaded ahead.
    #[inline]
    pub(super) fn first_bucket(&self, hash: u32) -> &u64 {
        &self.buckets[self.home(hash)]
    }

    /// The first location under `hash`.
    #[inline]
    pub(super) fn first_location(&self, hash: u32) -> Option<Location> {
        let bucket = self.buckets[self.home(hash)..]
            .iter()
            .find(|bucket| hash_of(**bucket) >= hash)?;
        (hash_of(*bucket) == hash && *bucket != EMPTY).then_some(*bucket as u32)
    }

    /// The bucket under `hash` whose location `matches`, or where it would be inserted.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u32,
        mut matches: impl FnMut(Location) -> bool,
    ) -> Lookup<usize> {
        let mut at = self.home(hash);
        loop {
            let bucket = self.buckets[at];
            if hash_of(bucket) >= hash {
                if hash_of(bucket) > hash || bucket == EMPTY {
                    return Lookup::Absent(at);
                }
                if matches(bucket as u32) {
                    return Lookup::Found(at, bucket as u32);
                }
            }
            // Ends at the last bucket at the latest, which is empty.
            at += 1;
        }
    }

    #[inline]
    pub(super) fn set_location(&mut self, at: usize, location: Location) {
        let hash = self.buckets[at] >> 32;
        self.buckets[at] = hash << 32 | u64::from(location);
    }

    /// Whether one more entry would make probes long.
    pub(super) fn is_full(&self) -> bool {
        self.entries as usize >= self.homes as usize * 7 / 8
    }

    /// Whether growing is the remedy for a full tail (or else its hashes are few).
    pub(super) fn is_half_full(&self) -> bool {
        self.entries as usize * 2 >= self.homes as usize
    }

    /// Whether most buckets are empty.
    pub(super) fn is_sparse(&self) -> bool {
        self.buckets.len() > BUCKETS_MIN && (self.entries as usize) < self.homes as usize * 2 / 5
    }

    /// Inserts at a place that [`Segment::find`] gave; whether there was room in the tail.
    pub(super) fn insert(&mut self, at: usize, hash: u32, location: Location) -> bool {
        let hole = at
            + self.buckets[at..]
                .iter()
                .position(|bucket| *bucket == EMPTY)
                .expect("the last bucket is empty");
        if hole + 1 == self.buckets.len() {
            return false;
        }
        self.buckets.copy_within(at..hole, at + 1);
        self.buckets[at] = u64::from(hash) << 32 | u64::from(location);
        self.entries += 1;
        true
    }

    /// Removes the entry at `at` and moves those behind it back towards their homes.
    pub(super) fn remove(&mut self, at: usize) {
        let mut end = at + 1;
        while self.buckets[end] != EMPTY && self.home(hash_of(self.buckets[end])) < end {
            end += 1;
        }
        self.buckets.copy_within(at + 1..end, at);
        self.buckets[end - 1] = EMPTY;
        self.entries -= 1;
    }

    /// Lengthens the tail: for many entries of one hash, which no growth would spread.
    pub(super) fn extend_tail(&mut self) {
        let more = (self.buckets.len() / 4).max(BUCKETS_MIN);
        self.buckets.reserve_exact(more);
        self.buckets.resize(self.buckets.len() + more, EMPTY);
    }

    /// Entries from position `at` on, as (hash, location).
    pub(super) fn walk(&self, at: usize) -> impl Iterator<Item = (u32, Location)> + '_ {
        self.buckets[at..]
            .iter()
            .filter(|bucket| **bucket != EMPTY)
            .map(|bucket| (hash_of(*bucket), *bucket as u32))
    }

    /// Entries with hashes from `hash` on.
    pub(super) fn walk_from(&self, hash: u32) -> impl Iterator<Item = (u32, Location)> + '_ {
        self.walk(self.home(hash))
            .skip_while(move |entry| entry.0 < hash)
    }

    /// The same entries in a segment of about `buckets` buckets.
    pub(super) fn resized(&self, buckets: usize) -> Segment {
        let mut new = Segment::new(self.depth, buckets);
        new.fill(self.walk(0));
        new
    }

    /// The entries parted by the bit after the shared ones; none if that would part them badly, because
    /// their hashes are few.
    pub(super) fn split(&self) -> Option<[Segment; 2]> {
        let bit = 31u32.checked_sub(self.depth)?;
        let low = self
            .walk(0)
            .take_while(|entry| entry.0 >> bit & 1 == 0)
            .count();
        let high = self.entries() - low;
        if low.min(high) * 4 < self.entries() {
            return None;
        }
        Some([(0, low), (low, high)].map(|(skip, count)| {
            let mut half = Segment::new(self.depth + 1, buckets_for(count));
            half.fill(self.walk(0).skip(skip).take(count));
            half
        }))
    }

    fn fill(&mut self, entries: impl Iterator<Item = (u32, Location)>) {
        let mut free = 0;
        for (hash, location) in entries {
            let at = free.max(self.home(hash));
            while at + 1 >= self.buckets.len() {
                self.extend_tail();
            }
            self.buckets[at] = u64::from(hash) << 32 | u64::from(location);
            self.entries += 1;
            free = at + 1;
        }
    }
}

/// The next larger number of buckets: 4, 5, 6 or 7 times a power of two, which the allocator's classes hold
/// without waste.
pub(super) fn next_buckets(buckets: usize) -> usize {
    let step = 1 << (buckets.ilog2() - 2);
    buckets / step * step + step
}

/// Buckets for `entries` entries with room to grow by a fifth.
pub(super) fn buckets_for(entries: usize) -> usize {
    let mut buckets = BUCKETS_MIN;
    while (buckets - (buckets / 8).min(64)) * 3 < entries * 4 {
        buckets = next_buckets(buckets);
    }
    buckets
}
