//! Which keys this node's clients ask for most, by samples: a bounded table of counts ("space saving": Metwally,
//! Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).

use crate::host::Now;
use parking_lot::Mutex;
use serde::Serialize;

/// One key in so many is looked at.
pub(crate) const KEYS_PER_SAMPLE: u32 = 64;
/// Keys that are counted at once.
const KEYS_MAX: usize = 64;
/// Keys that are shown.
const SHOWN_MAX: usize = 16;
/// What was counted in so long a time is shown until the next is over, us.
const WINDOW_US: u64 = 10_000_000;
/// Bytes of a key that are kept.
const KEY_BYTES_MAX: usize = 256;

/// A key, as it was sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    hash: u32,
    db: u8,
    key: Box<[u8]>,
    samples: u32,
    /// Samples that may have been another key's.
    doubtful: u32,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct HotKeys(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    since_us: u64,
    current: Vec<Counted>,
    last: Vec<Counted>,
    /// How long `last` was counted, us.
    last_us: u64,
}

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HotKey {
    /// The key, the beginning of a long one; what is no text is shown as such.
    pub key: String,
    /// Numbered database.
    pub db: u8,
    /// Its shard.
    pub shard: u32,
    /// Requests a second through this node, at most.
    pub requests_per_s: u64,
    /// And at least.
    pub requests_per_s_min: u64,
}

impl HotKeys {
    /// A key was asked for.
    pub fn sample(&self, db: u8, hash: u32, key: &[u8], now: Now) {
        let mut table = self.0.lock();
        table.turn(now.monotonic_us);
        let is_it = |counted: &&mut Counted| {
            counted.hash == hash && counted.db == db && is_of(&counted.key, key)
        };
        if let Some(counted) = table.current.iter_mut().find(is_it) {
            counted.samples += 1;
            return;
        }
        let mut new = Counted {
            hash,
            db,
            key: key[..key.len().min(KEY_BYTES_MAX)].into(),
            samples: 1,
            doubtful: 0,
        };
        if table.current.len() < KEYS_MAX {
            table.current.push(new);
            return;
        }
        let least = table
            .current
            .iter_mut()
            .min_by_key(|counted| counted.samples);
        let least = least.expect("the table is full");
        new.samples += least.samples;
        new.doubtful = least.samples;
        *least = new;
    }

    /// The keys that were asked for most in the last ten seconds that are over.
    pub fn top(&self, shard_of: impl Fn(&[u8]) -> usize, now: Now) -> Vec<HotKey> {
        let mut table = self.0.lock();
        table.turn(now.monotonic_us);
        let us = u128::from(table.last_us.max(1));
        let per_s = |samples: u32| {
            (u128::from(samples) * u128::from(KEYS_PER_SAMPLE) * 1_000_000 / us) as u64
        };
        let mut last: Vec<&Counted> = table.last.iter().collect();
        last.sort_by_key(|counted| (std::cmp::Reverse(counted.samples), &counted.key));
        last.truncate(SHOWN_MAX);
        last.into_iter()
            .map(|counted| HotKey {
                key: String::from_utf8_lossy(&counted.key).into_owned(),
                db: counted.db,
                shard: shard_of(&counted.key) as u32,
                requests_per_s: per_s(counted.samples),
                requests_per_s_min: per_s(counted.samples - counted.doubtful),
            })
            .collect()
    }
}

impl Table {
    /// Begins anew if the time is over.
    fn turn(&mut self, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.since_us);
        if passed_us >= WINDOW_US {
            self.last = std::mem::take(&mut self.current);
            self.last_us = passed_us;
            self.since_us = now_us;
        }
    }
}

/// Whether what was kept is of this key.
fn is_of(kept: &[u8], key: &[u8]) -> bool {
    kept == &key[..key.len().min(KEY_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic_us: ms * 1000,
            log_ms: 0,
            wall_offset_ms: 0,
        }
    }

    #[test]
    fn the_hot_keys_stand_out_of_many() {
        // Breaks if an operator is shown keys that nobody asks for, or not the one that takes half of a node.
        let keys = HotKeys::default();
        for n in 0..6400u64 {
            let now = at(n);
            let cold = format!("cold:{n}");
            keys.sample(0, n as u32, cold.as_bytes(), now);
            keys.sample(0, 7, b"hot", now);
            if n % 4 == 0 {
                keys.sample(3, 8, b"warm", now);
            }
        }
        assert_eq!(keys.top(|_| 5, at(6400)), [], "ten seconds are not over");
        let top = keys.top(|_| 5, at(12_800));
        assert_eq!(top[0].key, "hot");
        assert_eq!((top[0].db, top[0].shard), (0, 5));
        // 6400 samples of one in 64, in 12.8 s.
        assert_eq!(top[0].requests_per_s, 32_000);
        assert_eq!((top[1].key.as_str(), top[1].db), ("warm", 3));
        assert!(top.len() <= SHOWN_MAX);
        assert!(top[2].requests_per_s_min <= 5 * 64, "{:?}", top[2]);
    }
}
