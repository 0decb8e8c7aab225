//! SCAN's promise, RANDOMKEY, and clearing.

use super::{Numbers, SEED, key};
use crate::{Cache, Expiry, Key, Pin};
use std::collections::BTreeSet;

fn name(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn fill(cache: &mut Cache, numbers: std::ops::Range<u64>) {
    for number in numbers {
        cache.put(key(&name(number)), b"value", Expiry::Never, Pin::Unpinned);
    }
}

// A key that is there from the first call to the last must be seen, while the table grows, shrinks and
// loses others.
#[test]
fn scan_sees_what_stays() {
    let mut cache = Cache::new(SEED);
    let mut numbers = Numbers::new(3);
    fill(&mut cache, 0..1000);
    for turn in 0..6 {
        let mut seen = BTreeSet::new();
        let mut from = Some(0);
        while let Some(at) = from {
            from = cache.scan(0, at, 10, &mut |key, _| {
                seen.insert(key.to_vec());
            });
            // Even turns grow to tens of thousands, odd ones shrink to few; the first thousand stay.
            for _ in 0..200 {
                let other = name(1000 + numbers.below(40_000));
                if turn % 2 == 0 {
                    cache.put(key(&other), b"other", Expiry::Never, Pin::Unpinned);
                } else {
                    cache.remove(key(&other));
                }
            }
        }
        for number in 0..1000 {
            assert!(seen.contains(&name(number)), "turn {turn} missed {number}");
        }
        cache.check();
    }
}

// A step that visits more than it may would hold the shard's lock for as long as the shard is large.
#[test]
fn scan_steps_are_bounded() {
    let mut cache = Cache::new(SEED);
    fill(&mut cache, 0..5000);
    let mut from = Some(0);
    let mut visited = 0;
    while let Some(at) = from {
        let mut step = 0;
        from = cache.scan(0, at, 50, &mut |_, _| step += 1);
        assert!(step <= 52, "{step} at once");
        visited += step;
    }
    assert_eq!(visited, 5000);
}

// A cursor must be good on a replica whose table has another history.
#[test]
fn cursors_are_good_on_a_replica() {
    let (mut one, mut other) = (Cache::new(SEED), Cache::new(SEED));
    fill(&mut one, 0..3000);
    fill(&mut other, 0..30_000);
    (3000..30_000).for_each(|number| {
        other.remove(key(&name(number)));
    });
    let mut seen = [Vec::new(), Vec::new()];
    let half = one.scan(0, 0, 1500, &mut |key, _| seen[0].push(key.to_vec()));
    other.scan(0, half.expect("half of them"), 9999, &mut |key, _| {
        seen[0].push(key.to_vec())
    });
    one.scan(0, 0, 9999, &mut |key, _| seen[1].push(key.to_vec()));
    assert_eq!(seen[0], seen[1]);
}

// A draw that always meets the same keys would make RANDOMKEY useless for sampling.
#[test]
fn random_reaches_most_keys() {
    let mut cache = Cache::new(SEED);
    fill(&mut cache, 0..100);
    let mut numbers = Numbers::new(5);
    let seen: BTreeSet<Vec<u8>> = (0..2000)
        .map(|_| cache.random(0, numbers.below(u64::MAX) << 11))
        .map(|key| key.expect("there are keys").to_vec())
        .collect();
    assert!(seen.len() > 85, "{} of 100", seen.len());
    assert_eq!(cache.random(1, 0), None);
}

// Clearing one database must leave the others, and clearing the last must give all memory back.
#[test]
fn clear_takes_one_database() {
    let mut cache = Cache::new(SEED);
    let empty = cache.used_bytes();
    fill(&mut cache, 0..2000);
    for number in 0..2000 {
        let bytes = name(number);
        let other = Key::new(SEED, 3, &bytes);
        cache.put(other, &[1; 5000], Expiry::Never, Pin::Unpinned);
    }
    assert_eq!(cache.clear(0), 2000);
    cache.check();
    assert_eq!((cache.len(0), cache.len(3)), (0, 2000));
    assert_eq!(cache.clear(3), 2000);
    cache.check();
    assert!(cache.is_empty() && cache.used_bytes() == empty);
}
