//! Slot → shard, as a flat table filled once by the ring.

use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::ring::{Member, Ring, RingOptions};
use crate::slot::SLOTS_COUNT;

/// Names a shard, `0..shards_count`. Fixed for the life of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The id as an index into a table of shards.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A number of shards that no map can have; holds that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the number of shards must be 1 to {SLOTS_COUNT}, not {0}")]
pub struct ShardCountError(pub u32);

/// Which shard owns each slot. Equal arguments give equal maps, on every node.
///
/// * Every slot has exactly one shard, whose id is below `shards_count`.
/// * No shard has more than ⌈1.05 × 16384 / `shards_count`⌉ slots.
///
/// There is no lower bound: with thousands of shards, some own no slot.
#[derive(Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// 32 KiB, read on the path of every key.
    shard_by_slot: Box<[ShardId; SLOTS_COUNT as usize]>,
    shards_count: u32,
}

/// The bound of DESIGN, "Placement": 1.05 × the mean.
const LOAD_MAX_PERMILLE: u32 = 1050;

/// Points of a shard: with 256, a shard's arc strays by about 6 % from its due, as much as 256 slots
/// (a 64th of all) stray by falling on the circle at random. More would hardly help.
const POINTS_PER_SHARD_MAX: u32 = 256;

/// Points of all shards together, where there are many: a map is then made in some 30 ms. Where a
/// shard has few slots their own scatter outweighs that of the points.
const POINTS_MAX: u32 = 1 << 18;

impl ShardMap {
    /// Assigns all slots to `shards_count` shards; `seed` picks one of the many ways to do so.
    ///
    /// # Errors
    ///
    /// [`ShardCountError`] unless `shards_count` is `1..=16384`.
    pub fn new(shards_count: u32, seed: u64) -> Result<ShardMap, ShardCountError> {
        if shards_count == 0 || shards_count > u32::from(SLOTS_COUNT) {
            return Err(ShardCountError(shards_count));
        }
        let members: Vec<Member> = (0..u64::from(shards_count))
            .map(|id| Member { id, weight: 1 })
            .collect();
        let options = RingOptions {
            seed,
            points_per_weight: (POINTS_MAX / shards_count).min(POINTS_PER_SHARD_MAX),
            load_max_permille: LOAD_MAX_PERMILLE,
        };
        let ring = Ring::new(&members, options).expect("1..=16384 distinct members of weight 1");
        let slots: Vec<u64> = (0..u64::from(SLOTS_COUNT)).collect();
        let shards: Vec<ShardId> = ring
            .assign(&slots)
            .into_iter()
            .map(|id| ShardId(id as u16))
            .collect();
        let shard_by_slot = shards.try_into().expect("one shard for each slot");
        Ok(ShardMap {
            shard_by_slot,
            shards_count,
        })
    }

    /// The shard that owns `slot`.
    ///
    /// # Panics
    ///
    /// Unless `slot` is below [`SLOTS_COUNT`], as [`slot_of`](crate::slot_of) returns it.
    #[inline]
    pub fn shard_of_slot(&self, slot: u16) -> ShardId {
        self.shard_by_slot[usize::from(slot)]
    }

    /// How many shards there are.
    #[inline]
    pub fn shards_count(&self) -> u32 {
        self.shards_count
    }

    /// The slots of `shard` as ranges, ascending and as long as they can be; none for a shard that
    /// owns no slot or does not exist. O(16384).
    pub fn slots_of(&self, shard: ShardId) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in 0..SLOTS_COUNT {
            if self.shard_of_slot(slot) != shard {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if *range.end() + 1 == slot => *range = *range.start()..=slot,
                _ => ranges.push(slot..=slot),
            }
        }
        ranges
    }
}

impl fmt::Debug for ShardMap {
    /// 16384 numbers help nobody; the map is told by its size.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ShardMap")
            .field("shards_count", &self.shards_count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loads(map: &ShardMap) -> Vec<usize> {
        let mut loads = vec![0; map.shards_count() as usize];
        for slot in 0..SLOTS_COUNT {
            loads[map.shard_of_slot(slot).index()] += 1;
        }
        loads
    }

    #[test]
    fn no_or_too_many_shards_are_refused() {
        // Breaks if a bad --shards would start a node that panics or has unreachable shards.
        for count in [0, 16385, u32::MAX] {
            assert_eq!(ShardMap::new(count, 1), Err(ShardCountError(count)));
        }
        let words = ShardCountError(16385).to_string();
        assert_eq!(words, "the number of shards must be 1 to 16384, not 16385");
    }

    #[test]
    fn the_extreme_counts_work() {
        // Breaks if one shard, or a shard per slot, is refused, panics or goes over the bound.
        let one = ShardMap::new(1, 7).unwrap();
        assert_eq!(one.slots_of(ShardId(0)), [0..=16383]);
        assert_eq!(one.slots_of(ShardId(1)), []);
        let most = ShardMap::new(16384, 7).unwrap();
        assert!(loads(&most).into_iter().all(|load| load <= 2));
    }

    #[test]
    fn the_map_of_a_seed_is_fixed_for_good() {
        // Breaks if anything moves the slots of clusters that exist: hash, layout, order of placing.
        let map = ShardMap::new(64, 0x746f_7263).unwrap();
        let first: Vec<u16> = (0..8).map(|slot| map.shard_of_slot(slot).0).collect();
        assert_eq!(first, [9, 35, 52, 38, 9, 1, 44, 30]);
        let all: Vec<u8> = (0..SLOTS_COUNT)
            .map(|slot| map.shard_of_slot(slot).0 as u8)
            .collect();
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&all), 14762491924411491456);
    }

    #[test]
    fn the_default_map_displaces_few_slots() {
        // Breaks if the ring spreads so badly that the bound, not the ring, decides the placement.
        let map = ShardMap::new(64, 1).unwrap();
        let lightest = loads(&map).into_iter().min().unwrap();
        assert!(
            lightest >= 200,
            "of 256 slots the lightest shard has {lightest}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_shard_is_over_the_bound(shards_count in 1u32..=16384, seed: u64) {
            // Breaks if a shard holds over 1.05 × the mean, or a slot belongs to no shard.
            let map = ShardMap::new(shards_count, seed).unwrap();
            let bound = (1.05 * 16384.0 / f64::from(shards_count)).ceil() as usize;
            prop_assert!(loads(&map).into_iter().all(|load| load <= bound));
        }

        #[test]
        fn ranges_hold_exactly_the_slots_of_their_shard(shards_count in 1u32..200, seed: u64) {
            // Breaks if CLUSTER SLOTS would name a slot twice, not at all, or out of order.
            let map = ShardMap::new(shards_count, seed).unwrap();
            let mut seen = 0;
            for shard in (0..shards_count).map(|id| ShardId(id as u16)) {
                let ranges = map.slots_of(shard);
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
                for slot in ranges.into_iter().flatten() {
                    prop_assert_eq!(map.shard_of_slot(slot), shard);
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, SLOTS_COUNT);
        }
    }
}
