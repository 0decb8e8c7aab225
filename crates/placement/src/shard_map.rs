//! Slot → shard: equal ranges of slots, in the order of the shards.
//!
//! Why not the ring, as for shards → nodes: a ring keeps what moves small when members come and go, and the number of
//! shards is fixed for the life of a cluster. What the ring costs here was measured: it scatters each shard's slots over
//! all 16384, so that three nodes that lead 8 shards answered `CLUSTER SLOTS` with 10789 ranges (3 MB, asked for by every
//! cluster-aware client at start and after each failover); ranges need at most as many as there are shards. Keys are
//! spread over slots by their checksum already, so ranges are as even.

use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

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

/// Which shard owns each slot. Equal counts give equal maps, on every node.
///
/// * Every slot has exactly one shard, whose id is below `shards_count`.
/// * The slots of a shard are next to each other, ⌊16384 / `shards_count`⌋ of them or one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMap {
    shards_count: u32,
}

impl ShardMap {
    /// Divides all slots among `shards_count` shards.
    ///
    /// # Errors
    ///
    /// [`ShardCountError`] unless `shards_count` is `1..=16384`.
    pub fn new(shards_count: u32) -> Result<ShardMap, ShardCountError> {
        if shards_count == 0 || shards_count > u32::from(SLOTS_COUNT) {
            return Err(ShardCountError(shards_count));
        }
        Ok(ShardMap { shards_count })
    }

    /// The shard that owns `slot`, which is below [`SLOTS_COUNT`], as [`slot_of`](crate::slot_of) returns it.
    #[inline]
    pub fn shard_of_slot(&self, slot: u16) -> ShardId {
        // Below `shards_count`, so within 16 bits; the division is a shift.
        ShardId((u32::from(slot) * self.shards_count / u32::from(SLOTS_COUNT)) as u16)
    }

    /// How many shards there are.
    #[inline]
    pub fn shards_count(&self) -> u32 {
        self.shards_count
    }

    /// The slots of `shard`; none if it does not exist.
    pub fn slots_of(&self, shard: ShardId) -> Option<RangeInclusive<u16>> {
        let shard = u32::from(shard.0);
        let first_of = |shard: u32| (shard * u32::from(SLOTS_COUNT)).div_ceil(self.shards_count);
        let slots = first_of(shard) as u16..=(first_of(shard + 1) - 1) as u16;
        (shard < self.shards_count).then_some(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_or_too_many_shards_are_refused() {
        // Breaks if a bad --shards would start a node that panics or has unreachable shards.
        for count in [0, 16385, u32::MAX] {
            assert_eq!(ShardMap::new(count), Err(ShardCountError(count)));
        }
        let words = ShardCountError(16385).to_string();
        assert_eq!(words, "the number of shards must be 1 to 16384, not 16385");
    }

    #[test]
    fn the_extreme_counts_work() {
        // Breaks if one shard, or a shard per slot, is refused or panics.
        let one = ShardMap::new(1).unwrap();
        assert_eq!(one.slots_of(ShardId(0)), Some(0..=16383));
        assert_eq!(one.slots_of(ShardId(1)), None);
        let most = ShardMap::new(16384).unwrap();
        assert_eq!(most.slots_of(ShardId(77)), Some(77..=77));
        assert_eq!(most.shard_of_slot(16383), ShardId(16383));
    }

    #[test]
    fn the_map_is_fixed_for_good() {
        // Breaks if anything moves the slots of clusters that exist.
        let map = ShardMap::new(64).unwrap();
        assert_eq!(map.slots_of(ShardId(0)), Some(0..=255));
        assert_eq!(map.slots_of(ShardId(63)), Some(16128..=16383));
        let odd = ShardMap::new(3).unwrap();
        let ranges: Vec<_> = (0..3)
            .map(|id| odd.slots_of(ShardId(id)).unwrap())
            .collect();
        assert_eq!(ranges, [0..=5461, 5462..=10922, 10923..=16383]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shards_are_even_and_ranges_hold_exactly_their_slots(shards_count in 1u32..=16384) {
            // Breaks if a shard holds more than its share, a slot belongs to no shard, or CLUSTER SLOTS names it twice.
            let map = ShardMap::new(shards_count).unwrap();
            let mean = usize::from(SLOTS_COUNT) / shards_count as usize;
            let mut next = 0;
            for shard in (0..shards_count).map(|id| ShardId(id as u16)) {
                let slots = map.slots_of(shard).unwrap();
                prop_assert_eq!(*slots.start(), next);
                prop_assert!((mean..=mean + 1).contains(&slots.len()));
                next = slots.end() + 1;
                for slot in slots {
                    prop_assert_eq!(map.shard_of_slot(slot), shard);
                }
            }
            prop_assert_eq!(next, SLOTS_COUNT);
        }
    }
}
