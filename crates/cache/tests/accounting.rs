//! The cache's own count of bytes against the allocator's.

use allocation_counter::measure;
use cache::{Cache, Expiry, Key, Pin, Policy};
use proptest::prelude::*;

const SEED: u64 = 5;

/// Sizes of the values of one workload.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    Short,
    Paged,
    Mixed,
}

impl Sizes {
    fn draw(self, number: u64) -> usize {
        let number = number as usize;
        match (self, number % 50) {
            (Sizes::Short, _) => number % 128,
            (Sizes::Paged, _) | (Sizes::Mixed, 2..) => number % 3500,
            (Sizes::Mixed, _) => 4000 + number % 200_000,
        }
    }
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

/// One random operation. Long-lived memory is allocated by the cache alone.
fn step(cache: &mut Cache, numbers: &mut Numbers, sizes: Sizes, names: u64) {
    let name = format!("key:{:012}", numbers.next() % names);
    let key = Key::new(SEED, (numbers.next() % 2) as u8, name.as_bytes());
    let len = sizes.draw(numbers.next());
    match numbers.next() % 16 {
        0..9 => {
            let expiry = match numbers.next() % 3 {
                0 => Expiry::At(cache.now_ms() + 1 + numbers.next() % 5000),
                1 => Expiry::Keep,
                _ => Expiry::Never,
            };
            cache.put(key, &vec![1; len], expiry, Pin::Unpinned);
        }
        9 => cache.edit(key, len).fill(2),
        10 => {
            if let Some(entry) = cache.get(key) {
                drop(entry.value.string().unwrap().to_vec());
            }
        }
        11 => {
            cache.set_expiry(key, Some(cache.now_ms() + numbers.next() % 5000));
        }
        12 => {
            if let Some(entry) = cache.take(key) {
                cache.put_entry(key, entry);
            }
        }
        13 => {
            cache.remove(key);
        }
        14 => {
            cache.set_now(cache.now_ms() + 3);
            cache.reclaim_expired(20);
        }
        _ => {
            for victim in cache.victims(Policy::AllKeysLru, len, 8, 1) {
                cache.evict(Key::new(SEED, victim.db, &victim.key));
            }
        }
    }
}

/// Fails if the count is not the allocator's, give or take what the allocator rounds up long values by (it
/// is asked for less than it takes) and the ends of directories.
fn compare(cache: &Cache, allocated: i64, sizes: Sizes) {
    let allocated = usize::try_from(allocated).expect("more was freed than allocated");
    let used = cache.used_bytes() - size_of::<Cache>();
    let rounded = match sizes {
        Sizes::Short | Sizes::Paged => allocated,
        Sizes::Mixed => allocated + allocated / 7,
    };
    let slack = 4096 + allocated / 50;
    assert!(
        used + slack >= allocated,
        "{used} counted, {allocated} allocated"
    );
    assert!(
        used <= rounded + slack,
        "{used} counted, {allocated} allocated"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // A count that drifts from the memory that is really held breaks `maxmemory`, slowly.
    #[test]
    fn counts_what_the_allocator_counts(
        seed in 1u64..,
        names in prop_oneof![Just(30u64), Just(3000), Just(30_000)],
        sizes in prop_oneof![Just(Sizes::Short), Just(Sizes::Paged), Just(Sizes::Mixed)],
    ) {
        let mut numbers = Numbers(seed);
        let mut made = None;
        let mut allocated = measure(|| made = Some(Cache::new(SEED))).bytes_current;
        let mut cache = made.expect("made in the measurement");
        for _ in 0..20 {
            let steps = measure(|| {
                for _ in 0..1000 {
                    step(&mut cache, &mut numbers, sizes, names);
                }
            });
            allocated += steps.bytes_current;
            compare(&cache, allocated, sizes);
        }
        let cleared = measure(|| {
            cache.clear(0);
            cache.clear(1);
        });
        allocated += cleared.bytes_current;
        compare(&cache, allocated, Sizes::Short);
        prop_assert!(cache.is_empty() && allocated < 64 * 1024, "{} bytes left", allocated);
    }
}

// More than this above key and value, and fewer keys fit than in the servers that this one stands beside.
#[test]
fn a_key_costs_what_was_promised() {
    for (expiry, bytes_max) in [(Expiry::Never, 35.0), (Expiry::At(u64::MAX), 43.0)] {
        let (mut sum, mut samples) = (0.0, 0);
        let mut cache = Cache::new(SEED);
        for number in 0..100_000 {
            let name = format!("{number:016}");
            let key = Key::new(SEED, 0, name.as_bytes());
            cache.put(key, &[7; 64], expiry, Pin::Unpinned);
            if number >= 10_000 && number % 1000 == 0 {
                sum += cache.used_bytes() as f64 / f64::from(number + 1) - 80.0;
                samples += 1;
            }
        }
        let mean = sum / f64::from(samples);
        assert!(mean < bytes_max, "{mean} bytes above key and value");
    }
}
