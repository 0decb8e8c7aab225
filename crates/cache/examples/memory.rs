//! Resident bytes per key above key and value, and the longest single SET while filling.
//!
//! `cargo run --release -p cache --example memory [KEYS [SHARDS [expiry]]]`

use cache::{Cache, Expiry, Key, Pin};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 99;

/// Resident bytes of this process.
fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux's /proc");
    let pages = text.split(' ').nth(1).expect("seven numbers");
    pages.parse::<f64>().expect("a number") * 4096.0
}

/// Fills shards with `count` keys; keeps in `fastest_ns` the shortest time that each SET took so far.
fn fill(count: usize, shards_count: usize, expiry: Expiry, fastest_ns: &mut [u32]) -> Vec<Cache> {
    let mut shards: Vec<Cache> = (0..shards_count).map(|_| Cache::new(SEED)).collect();
    for (number, fastest_ns) in (0..count).zip(fastest_ns) {
        let name = format!("{number:016}");
        let key = Key::new(SEED, 0, name.as_bytes());
        let began = Instant::now();
        shards[number % shards_count].put(key, &[7; 64], expiry, Pin::Unpinned);
        *fastest_ns = (*fastest_ns).min(began.elapsed().as_nanos() as u32);
    }
    shards
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        let text = arguments.next();
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, shards_count): (usize, usize) = (number(1_000_000), number(64));
    let expiry = match arguments.next().as_deref() {
        Some("expiry") => Expiry::At(u64::MAX),
        _ => Expiry::Never,
    };
    let mut fastest_ns = vec![u32::MAX; count];
    let before = resident_bytes();
    let shards = fill(count, shards_count, expiry, &mut fastest_ns);
    let each = |bytes: f64| bytes / count as f64 - 80.0;
    let counted: usize = shards.iter().map(Cache::used_bytes).sum();
    println!(
        "{count} keys on {shards_count} shards, {expiry:?}: {:.1} bytes resident, {:.1} counted above 16 + 64",
        each(resident_bytes() - before),
        each(counted as f64),
    );
    drop(shards);
    // The same SET grows an index each time; what the machine does besides falls on others.
    for _ in 0..4 {
        drop(fill(count, shards_count, expiry, &mut fastest_ns));
    }
    let longest = fastest_ns.iter().max().expect("some keys");
    println!("longest SET {} us", longest / 1000);
}
