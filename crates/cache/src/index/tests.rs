use super::{Index, Lookup};
use crate::tests::Numbers;
use std::collections::BTreeMap;

/// An index beside a map; an entry's location is its key here, so it identifies itself.
struct Both {
    index: Index,
    model: BTreeMap<(u32, u32), ()>,
}

impl Both {
    fn new() -> Self {
        Both {
            index: Index::new(),
            model: BTreeMap::new(),
        }
    }

    fn toggle(&mut self, hash: u32, location: u32) {
        match self.index.find(hash, |other| other == location) {
            Lookup::Found(place, _) => {
                assert!(self.model.remove(&(hash, location)).is_some());
                self.index.remove(place);
            }
            Lookup::Absent(place) => {
                assert!(self.model.insert((hash, location), ()).is_none());
                self.index.insert(place, hash, location);
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.index.len(), self.model.len());
        let mut walked: Vec<_> = self.index.walk(0).collect();
        assert!(walked.is_sorted_by_key(|entry| entry.0));
        walked.sort_unstable();
        assert!(walked.iter().eq(self.model.keys()));
        let segments = self.index.segments.iter();
        let bytes: usize = segments.map(|segment| segment.used_bytes()).sum();
        assert_eq!(bytes, self.index.segments_bytes);
    }
}

// Growth, splits and shrinking must lose no entry, whatever bits the hashes have.
#[test]
fn holds_what_a_map_holds() {
    for mask in [u32::MAX, 0, 0xffff_ffff << 20, 0xff, 0x8000_0001] {
        let mut both = Both::new();
        let mut numbers = Numbers::new(1);
        let count = if mask.count_ones() < 10 { 600 } else { 60_000 };
        for share in [count, count / 10, count / 3, 1] {
            for step in 0..2 * count {
                let location = numbers.below(count) as u32;
                let hash = location.wrapping_mul(0x9e37_79b1) & mask;
                let is_there = both.model.contains_key(&(hash, location));
                if is_there == (u64::from(location) >= share) {
                    both.toggle(hash, location);
                }
                if step % (count / 2) == 0 {
                    both.compare();
                }
            }
        }
        both.compare();
    }
}

// A walk that starts in the middle must neither skip nor repeat; SCAN's cursors are such starts.
#[test]
fn walks_from_anywhere() {
    let mut both = Both::new();
    for location in 0..40_000u32 {
        both.toggle(location.wrapping_mul(0x9e37_79b1), location);
    }
    for from in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_0000, u32::MAX] {
        let walked: Vec<_> = both.index.walk(from).collect();
        let expected: Vec<_> = both
            .model
            .range((from, 0)..)
            .map(|entry| *entry.0)
            .collect();
        assert_eq!(walked, expected);
    }
}

// An index that does not give memory back after a flood would hold the shard's budget for good.
#[test]
fn shrinks_with_its_entries() {
    let mut both = Both::new();
    let empty = both.index.used_bytes();
    for location in 0..100_000u32 {
        both.toggle(location.wrapping_mul(0x9e37_79b1), location);
    }
    let full = both.index.used_bytes();
    assert!(full < 100_000 * 13, "{full} bytes for 100,000 entries");
    for location in 0..99_000u32 {
        both.toggle(location.wrapping_mul(0x9e37_79b1), location);
    }
    assert!(
        both.index.used_bytes() < full / 20,
        "{}",
        both.index.used_bytes()
    );
    for location in 99_000..100_000u32 {
        both.toggle(location.wrapping_mul(0x9e37_79b1), location);
    }
    assert!(both.index.used_bytes() <= empty);
}

// The steps of growth must stay small, or the index at its mean load costs more than ten bytes an entry.
#[test]
fn costs_about_ten_bytes_an_entry() {
    let mut both = Both::new();
    let (mut sum, mut samples) = (0.0, 0);
    for location in 0..200_000u32 {
        both.toggle(location.wrapping_mul(0x9e37_79b1), location);
        if location > 20_000 && location % 1000 == 0 {
            sum += both.index.used_bytes() as f64 / f64::from(location);
            samples += 1;
        }
    }
    let mean = sum / f64::from(samples);
    assert!((9.0..11.5).contains(&mean), "{mean} bytes an entry");
}
