//! Expiry: exact when somebody looks, and reclaimed when nobody does.

use super::{Numbers, SEED, key, value_at};
use crate::{Cache, ChangeKind, Expiry, Pin};

fn put_until(cache: &mut Cache, name: &[u8], at: u64) {
    cache.put(key(name), b"value", Expiry::At(at), Pin::Unpinned);
}

// A key that lives a millisecond too long or too short breaks every lock's promise.
#[test]
fn expiry_is_exact() {
    let mut cache = Cache::new(SEED);
    cache.set_now(1000);
    put_until(&mut cache, b"k", 2000);
    cache.set_now(1999);
    assert!(cache.get(key(b"k")).is_some());
    cache.set_now(2000);
    assert!(cache.peek(key(b"k")).is_none() && cache.entry_bytes(key(b"k")).is_none());
    assert_eq!(cache.len(0), 1, "not reclaimed before somebody touches it");
    assert!(cache.get(key(b"k")).is_none());
    assert_eq!((cache.len(0), cache.expiring_len(0)), (0, 0));
    cache.set_now(10);
    assert_eq!(cache.now_ms(), 2000, "log time went back");
}

// A look at an expired key must drop it, or DBSIZE goes on counting what EXISTS has denied.
#[test]
fn a_glance_drops_what_expired_and_counts_as_no_access() {
    let mut cache = Cache::new(SEED);
    put_until(&mut cache, b"k", 2000);
    put_until(&mut cache, b"other", 9000);
    assert!(cache.glance(key(b"k")).is_some());
    let victims = cache.victims(crate::Policy::AllKeysLru, 1, 1, 0);
    assert_eq!(&*victims[0].key, b"k", "a glance made it younger");
    cache.set_now(2000);
    assert!(cache.glance(key(b"k")).is_none());
    assert_eq!((cache.len(0), cache.expiring_len(0)), (1, 1));
}

// The largest times that Redis accepts must come back as they were.
#[test]
fn expiry_keeps_all_bits() {
    let mut cache = Cache::new(SEED);
    for at in [1, u64::from(u32::MAX), 1 << 48, i64::MAX as u64, u64::MAX] {
        put_until(&mut cache, b"k", at);
        assert_eq!(
            cache.peek(key(b"k")).and_then(|entry| entry.expires_at),
            Some(at)
        );
    }
}

// A put whose time has passed must leave nothing, not even what was there.
#[test]
fn past_expiry_removes() {
    let mut cache = Cache::new(SEED);
    cache.set_now(100);
    cache.put(key(b"k"), b"old", Expiry::Never, Pin::Unpinned);
    put_until(&mut cache, b"k", 100);
    assert!(cache.is_empty());
    cache.put(key(b"k"), b"old", Expiry::Never, Pin::Unpinned);
    assert!(cache.set_expiry(key(b"k"), Some(99)));
    assert!(cache.is_empty() && !cache.set_expiry(key(b"k"), None));
}

// Expired keys that nobody touches must go, within a bound of work for each call, and only they.
#[test]
fn reclaim_reaches_all_in_bounded_steps() {
    let mut cache = Cache::new(SEED);
    cache.observe(true);
    let mut numbers = Numbers::new(9);
    let mut expected = 0;
    for number in 0..20_000u64 {
        let name = format!("{number:0>width$}", width = 8 + numbers.below(60) as usize);
        match number % 4 {
            0 => cache.put(key(name.as_bytes()), b"stays", Expiry::Never, Pin::Unpinned),
            1 => put_until(&mut cache, name.as_bytes(), 1_000_000),
            _ => {
                put_until(&mut cache, name.as_bytes(), 1 + numbers.below(1000));
                expected += 1;
            }
        }
    }
    cache.take_changes();
    cache.set_now(1000);
    let mut dropped = 0;
    for _ in 0..1200 {
        let now = cache.reclaim_expired(25);
        assert!(now <= 25);
        dropped += now;
    }
    assert_eq!((dropped, cache.len(0)), (expected, 10_000));
    assert!(
        cache
            .take_changes()
            .iter()
            .all(|change| change.kind == ChangeKind::Expired)
    );
    cache.check();
}

// With nothing expired, the hand must pass long-lived pages at a glance: reclaiming runs all the time.
#[test]
fn reclaim_passes_long_lived_pages() {
    let mut cache = Cache::new(SEED);
    for number in 0..10_000 {
        put_until(&mut cache, format!("{number:08}").as_bytes(), 1_000_000);
    }
    put_until(&mut cache, b"soon....", 10);
    // The first turn learns the pages' bounds; the key that ends is then at most a few steps away.
    assert_eq!(cache.reclaim_expired(usize::MAX), 0);
    cache.set_now(10);
    assert_eq!(cache.reclaim_expired(1500), 1);
}

// An expired value must not come back through a write that keeps what is there.
#[test]
fn writes_do_not_revive() {
    let mut cache = Cache::new(SEED);
    put_until(&mut cache, b"k", 10);
    cache.set_now(10);
    cache.edit(key(b"k"), 2).copy_from_slice(b"ab");
    assert_eq!(value_at(&cache, b"k"), Some(b"ab".to_vec()));
    assert_eq!(
        cache.peek(key(b"k")).and_then(|entry| entry.expires_at),
        None
    );
    put_until(&mut cache, b"k", 20);
    cache.set_now(20);
    cache.put(key(b"k"), b"new", Expiry::Keep, Pin::Unpinned);
    assert_eq!(
        cache.peek(key(b"k")).and_then(|entry| entry.expires_at),
        None
    );
}
