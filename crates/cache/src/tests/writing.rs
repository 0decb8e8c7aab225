//! Writes that change a record's shape, and what they cost.

use super::{SEED, key, value_at};
use crate::{Cache, Expiry, OwnedEntry, OwnedValue, Pin, StringForm, Value};
use bytes::Bytes;

// Growing byte by byte crosses every class and the border to long values; each step must keep the bytes.
#[test]
fn appends_cross_every_class() {
    let mut cache = Cache::new(SEED);
    let mut expected = Vec::new();
    while expected.len() < 20_000 {
        expected.extend_from_slice(&[expected.len() as u8; 7]);
        let target = cache.edit(key(b"k"), expected.len());
        let at = expected.len() - 7;
        assert!(target[at..].iter().all(|byte| *byte == 0));
        target[at..].copy_from_slice(&expected[at..]);
        assert_eq!(value_at(&cache, b"k").as_ref(), Some(&expected));
    }
    assert_eq!(
        cache.peek(key(b"k")).map(|entry| entry.form),
        Some(StringForm::Edited)
    );
    cache.check();
}

// A copy of the whole at each append would make a long log quadratic; a read between must not undo that.
#[test]
fn appends_to_long_values_stay_in_place() {
    let mut cache = Cache::new(SEED);
    cache.edit(key(b"k"), 1_000_000);
    let (mut moves, mut at) = (0, std::ptr::null());
    for len in 1_000_000..1_100_000 {
        let target = cache.edit(key(b"k"), len).as_ptr();
        moves += usize::from(target != at);
        at = target;
        if len % 100 == 0 {
            let entry = cache.get(key(b"k")).expect("stored");
            assert!(matches!(entry.value, Value::Shared(_)));
        }
    }
    assert!(moves < 8, "{moves} moves");
}

// A reply that still holds a long value must not see it change.
#[test]
fn shared_values_do_not_change_under_a_reply() {
    let mut cache = Cache::new(SEED);
    cache.put(key(b"k"), &[1; 10_000], Expiry::Never, Pin::Unpinned);
    let Some(Value::Shared(shared)) = cache.get(key(b"k")).map(|entry| entry.value) else {
        panic!("a long value is shared");
    };
    let reply = shared.clone();
    cache.edit(key(b"k"), 10_000).fill(2);
    cache.put(key(b"k"), &[3; 10_000], Expiry::Never, Pin::Unpinned);
    assert!(reply.iter().all(|byte| *byte == 1));
    assert_eq!(value_at(&cache, b"k"), Some(vec![3; 10_000]));
}

// A value that is a slice of a larger buffer must not keep that buffer alive, uncounted.
#[test]
fn slices_of_buffers_are_copied() {
    let mut cache = Cache::new(SEED);
    let buffer = Bytes::from(vec![5; 1 << 20]);
    let entry = OwnedEntry {
        value: OwnedValue::String(buffer.slice(100..8100)),
        expires_at: None,
        pin: Pin::Unpinned,
        fence: 0,
        form: StringForm::Whole,
    };
    cache.put_entry(key(b"k"), entry);
    assert!(buffer.is_unique(), "the cache holds a slice");
    assert_eq!(value_at(&cache, b"k"), Some(vec![5; 8000]));
}

// RENAME of a long value must move it, not copy it.
#[test]
fn long_values_move_without_a_copy() {
    let mut cache = Cache::new(SEED);
    cache.put(key(b"from"), &[5; 100_000], Expiry::Never, Pin::Unpinned);
    let at = |cache: &Cache, name: &[u8]| {
        cache
            .peek(key(name))
            .map(|entry| entry.value.string().unwrap().as_ptr())
    };
    let before = at(&cache, b"from");
    let entry = cache.take(key(b"from")).expect("stored");
    cache.put_entry(key(b"to"), entry);
    assert_eq!(at(&cache, b"to"), before);
}

// A record that an expiry pushes over the longest slot must go aside, and be one change to observers.
#[test]
fn expiry_can_push_a_value_aside() {
    let mut cache = Cache::new(SEED);
    cache.put(key(b"k"), &[1; 4076], Expiry::Never, Pin::Unpinned);
    cache.observe(true);
    assert!(cache.set_expiry(key(b"k"), Some(1000)));
    assert_eq!(cache.take_changes().len(), 1);
    let entry = cache.peek(key(b"k")).expect("stored");
    assert_eq!(
        (entry.value.string().unwrap(), entry.expires_at),
        (&[1; 4076][..], Some(1000))
    );
    assert!(cache.set_expiry(key(b"k"), None));
    assert_eq!(value_at(&cache, b"k"), Some(vec![1; 4076]));
    cache.check();
}

// Overwriting with a value of the same class must not take memory, however often.
#[test]
fn overwrites_take_no_memory() {
    let mut cache = Cache::new(SEED);
    for long in [50, 5000] {
        let value = vec![1; long];
        cache.put(key(b"k"), &value, Expiry::Never, Pin::Unpinned);
        let before = cache.used_bytes();
        for _ in 0..1000 {
            cache.put(key(b"k"), &value, Expiry::Never, Pin::Unpinned);
            assert_eq!(cache.used_bytes(), before);
        }
    }
}

// Pages of a class that lost its records must go back, or a shift of sizes doubles resident memory.
#[test]
fn a_shift_of_sizes_gives_pages_back() {
    let mut cache = Cache::new(SEED);
    let names: Vec<Vec<u8>> = (0..4000).map(|n: u32| n.to_be_bytes().to_vec()).collect();
    let mut largest: usize = 0;
    for size in [40, 90, 200, 450, 1000, 2200, 300, 60, 10] {
        for name in &names {
            cache.put(key(name), &vec![9; size], Expiry::Never, Pin::Unpinned);
        }
        let payload = names.len() * (size + 4);
        let overhead = cache.used_bytes() - payload;
        largest = largest.max(overhead / names.len());
        assert!(
            overhead < names.len() * 60 + payload / 6,
            "{size}: {overhead}"
        );
    }
    cache.check();
}
