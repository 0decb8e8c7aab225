//! Eviction's order.

use super::{Numbers, SEED, key};
use crate::{Cache, Expiry, Pin, Policy};

fn name(number: usize) -> Vec<u8> {
    format!("{number:06}").into_bytes()
}

fn victims(cache: &mut Cache, policy: Policy, count: usize) -> Vec<usize> {
    let victims = cache.victims(policy, usize::MAX, count, 1);
    let number = |key: &[u8]| std::str::from_utf8(key).expect("ascii").parse::<usize>();
    let names = victims.iter().map(|victim| number(&victim.key));
    names.map(|number| number.expect("a number")).collect()
}

// Any other order than that of last use evicts what is still wanted.
#[test]
fn eviction_is_exactly_least_recently_used() {
    let mut cache = Cache::new(SEED);
    let mut numbers = Numbers::new(11);
    let mut order: Vec<usize> = Vec::new();
    for step in 0..60_000 {
        let number = numbers.below(3000) as usize;
        let name = name(number);
        let is_there = order.contains(&number);
        match numbers.below(10) {
            0 => {
                cache.remove(key(&name));
                order.retain(|other| *other != number);
                continue;
            }
            // Values of many sizes: records move between classes and fill each other's holes.
            1..=4 => {
                let value = vec![7; numbers.below(300) as usize];
                cache.put(key(&name), &value, Expiry::Never, Pin::Unpinned);
            }
            _ if is_there => assert!(cache.get(key(&name)).is_some()),
            _ => continue,
        }
        order.retain(|other| *other != number);
        order.push(number);
        if step % 1000 == 0 {
            assert_eq!(victims(&mut cache, Policy::AllKeysLru, order.len()), order);
        }
    }
    cache.check();
}

// Accesses are relinked together, some time later: nobody may see that, wherever in a run of them he looks.
#[test]
fn order_holds_in_the_middle_of_runs_of_accesses() {
    const NAMES: u64 = 60;
    let mut cache = Cache::new(SEED);
    let mut numbers = Numbers::new(3);
    // The order of last use, and when that was.
    let mut order: Vec<(usize, u64)> = Vec::new();
    for run in 0..3000u64 {
        for _ in 0..numbers.below(100) {
            let now = cache.now_ms() + 16;
            cache.set_now(now);
            let number = numbers.below(NAMES.min(1 + run)) as usize;
            let name = name(number);
            let is_there = order.iter().any(|(other, _)| *other == number);
            if numbers.below(3) == 0 || !is_there {
                cache.put(key(&name), b"value", Expiry::Never, Pin::Unpinned);
            } else {
                cache.get(key(&name)).expect("stored");
            }
            order.retain(|(other, _)| *other != number);
            order.push((number, now));
            let oldest = cache.coldest_ms(Policy::AllKeysLru);
            assert_eq!(oldest, Some(order[0].1));
        }
        match numbers.below(4) {
            0 if !order.is_empty() => {
                let (number, _) = order.remove(numbers.below(order.len() as u64) as usize);
                assert!(cache.remove(key(&name(number))));
            }
            1 => {
                let numbers: Vec<usize> = order.iter().map(|(number, _)| *number).collect();
                let real = victims(&mut cache, Policy::AllKeysLru, NAMES as usize);
                assert_eq!(real, numbers);
            }
            _ => cache.check(),
        }
    }
}

// A volatile policy that touches a key without expiry loses data that was meant to stay.
#[test]
fn volatile_policies_spare_the_persistent() {
    let mut cache = Cache::new(SEED);
    for number in 0..200 {
        let expiry = if number % 2 == 0 {
            Expiry::Never
        } else {
            Expiry::At(5000 - number)
        };
        cache.put(key(&name(number as usize)), b"v", expiry, Pin::Unpinned);
    }
    assert_eq!(victims(&mut cache, Policy::VolatileLru, 3), [1, 3, 5]);
    for policy in [Policy::VolatileRandom, Policy::VolatileTtl] {
        let all = victims(&mut cache, policy, 200);
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|number| number % 2 == 1));
    }
    // Of each sixteen drawn the one that ends first: the first victims end early.
    let first = victims(&mut cache, Policy::VolatileTtl, 10);
    assert!(first.iter().sum::<usize>() / 10 > 160, "{first:?}");
    assert_eq!(victims(&mut cache, Policy::AllKeysRandom, 200).len(), 200);
    assert!(victims(&mut cache, Policy::NoEviction, 200).is_empty());
}

// A pinned key is a held lock: no policy may choose it, and an eviction decided before the pin must miss it.
#[test]
fn pinned_keys_stay() {
    let mut cache = Cache::new(SEED);
    for number in 0..50 {
        cache.put(key(&name(number)), b"lock", Expiry::At(9000), Pin::Pinned);
    }
    let policies = [
        Policy::AllKeysLru,
        Policy::VolatileLru,
        Policy::AllKeysRandom,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ];
    for policy in policies {
        assert!(victims(&mut cache, policy, 50).is_empty(), "{policy:?}");
        assert_eq!(cache.coldest_ms(policy), None);
    }
    assert!(!cache.evict(key(&name(7))) && cache.peek(key(&name(7))).is_some());
    cache.put(key(&name(7)), b"free", Expiry::Keep, Pin::Unpinned);
    for policy in policies {
        assert_eq!(victims(&mut cache, policy, 50), [7], "{policy:?}");
    }
    assert!(cache.evict(key(&name(7))) && !cache.evict(key(&name(7))));
}

// Too few victims leave the shard over its budget; too many throw away what fits.
#[test]
fn victims_free_about_what_is_wanted() {
    let mut cache = Cache::new(SEED);
    for number in 0..1000 {
        cache.put(key(&name(number)), &[0; 100], Expiry::Never, Pin::Unpinned);
    }
    let each = cache.entry_bytes(key(&name(0))).expect("stored");
    assert_eq!(
        cache.victims(Policy::AllKeysLru, each * 10, 100, 0).len(),
        10
    );
    assert_eq!(cache.victims(Policy::AllKeysLru, 0, 100, 0).len(), 1);
    assert_eq!(
        cache.victims(Policy::AllKeysLru, usize::MAX, 100, 0).len(),
        100
    );
    assert_eq!(cache.victims(Policy::AllKeysLru, usize::MAX, 0, 0).len(), 0);
}

// Idle times and the age of the coldest key steer budgets between shards; both must survive wrapping stamps.
#[test]
fn idle_time_is_told_to_sixteen_milliseconds() {
    let mut cache = Cache::new(SEED);
    let start = (1u64 << 36) - 1000;
    cache.set_now(start);
    cache.put(key(b"1"), b"v", Expiry::Never, Pin::Unpinned);
    cache.set_now(start + 500);
    cache.put(key(b"2"), b"v", Expiry::At(u64::MAX), Pin::Unpinned);
    cache.set_now(start + 10_000);
    let idle = cache.peek(key(b"1")).expect("stored").idle_ms;
    assert!((9984..=10_016).contains(&idle), "{idle}");
    let coldest = cache.coldest_ms(Policy::AllKeysLru).expect("stored");
    assert!(coldest.abs_diff(start) <= 16);
    assert_eq!(victims(&mut cache, Policy::AllKeysLru, 2), [1, 2]);
    assert!(cache.get(key(b"1")).is_some_and(|entry| entry.idle_ms < 16));
    assert_eq!(victims(&mut cache, Policy::AllKeysLru, 2), [2, 1]);
}
