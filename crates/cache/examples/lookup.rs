//! CPU nanoseconds (of this thread, from the kernel) of a GET and a SET on 64 locked shards, in batches, with and without the passes that touch ahead.
//!
//! `cargo run --release -p cache --example lookup [KEYS [OPERATIONS]]`

use cache::{Cache, Expiry, Key, Pin};
use parking_lot::Mutex;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: usize = 64;
const SEED: u64 = 99;
const ROUNDS: usize = 9;
const OPERATIONS: u64 = 1 << 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    None,
    Index,
    Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get,
    Set,
}

fn name(number: u64) -> [u8; 16] {
    let mut name = [b'0'; 16];
    let mut rest = number;
    for digit in name.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// CPU time of this thread: other load on the machine does not count, but for what it does to the caches.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's /proc");
    let first = text.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

/// What a read from a random place of 128 MiB costs here and now, each waiting for the one before: the
/// measure of all numbers below.
fn random_read_ns() -> f64 {
    let memory: Vec<u64> = (0..16 << 20).collect();
    let (mut state, mut seen) = (1, 0);
    let began = cpu_ns();
    for _ in 0..500_000 {
        state ^= seen & 1;
        seen = memory[(mixed(&mut state) >> 40) as usize & (memory.len() - 1)];
    }
    black_box(seen);
    (cpu_ns() - began) as f64 / 500_000.0
}

/// The shard of a key: as good as random, as by slot.
fn shard_of(name: &[u8; 16]) -> usize {
    name[10..]
        .iter()
        .fold(7, |sum, digit| sum * 31 + usize::from(*digit))
        % SHARDS
}

#[inline(never)]
fn run(
    shards: &[Mutex<Cache>],
    names: &[[u8; 16]],
    batch: usize,
    passes: Passes,
    operation: Operation,
) -> f64 {
    let value = [b'w'; 64];
    let began = cpu_ns();
    let mut keys: Vec<(usize, Key<'_>)> = Vec::with_capacity(batch);
    for names in names.chunks(batch) {
        keys.clear();
        keys.extend(
            names
                .iter()
                .map(|name| (shard_of(name), Key::new(SEED, 0, name))),
        );
        if passes != Passes::None {
            keys.iter()
                .for_each(|(shard, key)| shards[*shard].lock().touch_index(*key));
        }
        if passes == Passes::Entry {
            keys.iter()
                .for_each(|(shard, key)| shards[*shard].lock().touch_entry(*key));
        }
        for (shard, key) in &keys {
            let mut cache = shards[*shard].lock();
            match operation {
                Operation::Get => {
                    let entry = cache.get(*key).expect("every key is stored");
                    black_box(entry.value.string().unwrap()[63]);
                }
                Operation::Set => cache.put(*key, &value, Expiry::Never, Pin::Unpinned),
            }
        }
    }
    (cpu_ns() - began) as f64 / names.len() as f64
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse().expect("a number"));
    let count: u64 = arguments.next().unwrap_or(1_000_000);
    let operations: u64 = arguments.next().unwrap_or(OPERATIONS);
    let shards: Vec<Mutex<Cache>> = (0..SHARDS).map(|_| Mutex::new(Cache::new(SEED))).collect();
    let began = cpu_ns();
    for number in 0..count {
        let name = name(number);
        let mut cache = shards[shard_of(&name)].lock();
        cache.put(
            Key::new(SEED, 0, &name),
            &[b'v'; 64],
            Expiry::Never,
            Pin::Unpinned,
        );
    }
    let load_ns = (cpu_ns() - began) as f64 / count as f64;
    println!("{count} keys, loaded in {load_ns:.0} ns each");
    let mut state = 1;
    let names: Vec<_> = (0..operations)
        .map(|_| name(mixed(&mut state) % count))
        .collect();
    println!("a random read takes {:.0} ns", random_read_ns());
    println!("operation batch   passes: none index entry (best of {ROUNDS})");
    for operation in [Operation::Get, Operation::Set] {
        for batch in [1, 16, 64] {
            let mut best = [f64::MAX; 3];
            for _ in 0..ROUNDS {
                let all = [Passes::None, Passes::Index, Passes::Entry];
                for (best, passes) in best.iter_mut().zip(all) {
                    *best = best.min(run(&shards, &names, batch, passes, operation));
                }
            }
            println!("{operation:?} {batch:2}  {best:.0?}");
        }
    }
}
