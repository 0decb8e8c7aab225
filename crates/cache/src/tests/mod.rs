//! Tests of the whole store, most of them against [`crate::naive`].

mod check;
mod expiry;
mod model;
mod order;
mod scan;
mod writing;

use crate::{Cache, Key};

/// The seed of the tests' caches.
pub(crate) const SEED: u64 = 7;

/// A key of database 0.
pub(crate) fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(SEED, 0, bytes)
}

/// The value at a key, without an access.
pub(crate) fn value_at(cache: &Cache, name: &[u8]) -> Option<Vec<u8>> {
    cache
        .peek(key(name))
        .map(|entry| entry.value.string().unwrap().to_vec())
}

/// Numbers that follow from a seed, for tests whose walk is long.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Numbers(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
