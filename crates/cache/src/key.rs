//! A key with its hash, computed once on the way of a command.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A key of one numbered database, with its hash under the cluster's secret seed.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// Numbered database, 0..=15.
    pub db: u8,
    /// The upper 32 bits of xxh3-64 of `bytes` under the cluster's seed: the order of SCAN.
    pub hash: u32,
    /// The key's own bytes.
    pub bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// Hashes `bytes` under `seed`. All replicas of a cluster share the seed, so a SCAN cursor
    /// (a position in hash order) is good on any of them.
    pub fn new(seed: u64, db: u8, bytes: &'a [u8]) -> Self {
        Key {
            db,
            hash: (xxh3_64_with_seed(bytes, seed) >> 32) as u32,
            bytes,
        }
    }
}
