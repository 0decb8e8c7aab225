//! What the tree under collections costs: nanoseconds of CPU an operation, and resident bytes an item.
//!
//! `cargo run --release -p cache --example tree [ITEMS]`

use cache::{Collection, Hash, List, Pending, SortedSet, Stream, StreamId, Typed};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's /proc");
    let first = text.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

/// Resident bytes of this process.
fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux's /proc");
    let pages = text.split(' ').nth(1).expect("seven numbers");
    pages.parse::<f64>().expect("a number") * 4096.0
}

fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Sixteen digits.
fn name(number: usize) -> [u8; 16] {
    let mut name = [b'0'; 16];
    let mut rest = number;
    for digit in name.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Prints what each of `count` operations took.
fn time(what: &str, count: usize, mut operation: impl FnMut(usize)) {
    let began = cpu_ns();
    (0..count).for_each(&mut operation);
    let each = (cpu_ns() - began) as f64 / count as f64;
    println!("{what:<52} {each:>9.1} ns");
}

fn memory(what: &str, count: usize, counted: usize, before: f64) {
    println!(
        "{what:<52} {:>9.1} bytes resident, {:.1} counted",
        (resident_bytes() - before) / count as f64,
        counted as f64 / count as f64
    );
}

fn hashes(count: usize) {
    let before = resident_bytes();
    let mut hash = Hash::empty();
    time("hash: a new field of 16 + 16 bytes", count, |number| {
        hash.set(&name(number), &name(number));
    });
    let collection = hash.into_collection();
    memory("hash: a field", count, collection.bytes(), before);
    let Collection::Hash(mut hash) = collection else {
        unreachable!("made of a hash");
    };
    let mut state = 1;
    let random = |state: &mut u64| name((mixed(state) % count as u64) as usize);
    time("hash: a read of a random field", count, |_| {
        black_box(hash.get(&random(&mut state)));
    });
    time("hash: another value of a random field", count, |_| {
        hash.set(&random(&mut state), b"0123456789abcdef");
    });
    time("hash: a step of a walk", count, {
        let mut walk = hash.iter();
        move |_| {
            black_box(walk.next());
        }
    });
    let mut clone = hash.clone();
    time(
        "hash: another value beside a clone, first 10,000",
        10_000,
        |_| {
            clone.set(&random(&mut state), b"0123456789abcdef");
        },
    );
    drop(clone);
    time("hash: removal of a field", count, |number| {
        hash.remove(&name(number));
    });
    drop(hash);

    let before = resident_bytes();
    let mut small = Vec::with_capacity(10_000);
    time(
        "small hash: ten new fields of 16 + 16 bytes",
        10_000,
        |_| {
            let mut hash = Hash::empty();
            for number in 0..10 {
                hash.set(&name(number), &name(number));
            }
            small.push(hash);
        },
    );
    let counted = small.iter().map(|hash| {
        let collection = hash.clone().into_collection();
        collection.bytes() + size_of::<Hash>()
    });
    memory("small hash: a hash", small.len(), counted.sum(), before);
    time("small hash: a read of a random field", count, |_| {
        let hash = &small[(mixed(&mut state) % 10_000) as usize];
        black_box(hash.get(&name((mixed(&mut state) % 10) as usize)));
    });
}

fn streams(count: usize) {
    let before = resident_bytes();
    let mut stream = Stream::empty();
    let id = |number: usize| StreamId {
        ms: 1_700_000_000_000 + number as u64 / 4,
        seq: number as u64 % 4,
    };
    time(
        "stream: a new entry, a field of 5 + 16 bytes",
        count,
        |number| {
            stream.push(id(number), [b"field".as_slice(), &name(number)].into_iter());
        },
    );
    let collection = stream.clone().into_collection();
    memory("stream: an entry", count, collection.bytes(), before);
    drop(collection);
    let mut state = 1;
    time("stream: a read of a random entry", count, |_| {
        black_box(stream.get(id((mixed(&mut state) % count as u64) as usize)));
    });
    stream.make_group(b"g", StreamId::MIN, Some(0));
    let before = resident_bytes();
    time("stream: an entry handed out", count, |number| {
        stream.edit_group(b"g", |group| {
            let consumer = group.consumer(b"c").map(|consumer| consumer.number);
            let consumer = consumer.unwrap_or_else(|| group.make_consumer(b"c", 7));
            group.give(Pending {
                id: id(number),
                consumer,
                delivered_ms: 1_700_000_000_000,
                deliveries: 1,
            });
        });
    });
    memory("stream: a pending entry", count, 0, before);
    time("stream: an entry acknowledged", count, |number| {
        stream.edit_group(b"g", |group| group.acknowledge(id(number)));
    });
    time(
        "stream: a new entry, and the first one trimmed",
        count,
        |number| {
            stream.push(id(count + number), [b"field".as_slice(), b"v"].into_iter());
            drop(stream.cut_front(1));
        },
    );
}

fn lists(count: usize) {
    let before = resident_bytes();
    let mut list = List::empty();
    time("list: push of 16 bytes behind", count, |number| {
        list.push_back(&name(number));
    });
    let collection = list.clone().into_collection();
    memory("list: an element", count, collection.bytes(), before);
    drop(collection);
    let mut state = 1;
    time("list: a read at a random position", count, |_| {
        black_box(list.get((mixed(&mut state) % count as u64) as usize));
    });
    time("list: push behind and pop ahead", count, |number| {
        list.push_back(&name(number));
        list.remove(0);
    });
    time("list: push ahead and pop behind", count, |number| {
        list.push_front(&name(number));
        list.remove(list.len() - 1);
    });
    time("list: insertion at a random position", count, |number| {
        list.insert(
            (mixed(&mut state) % list.len() as u64) as usize,
            &name(number),
        );
    });
    time("list: removal at a random position", count, |_| {
        list.remove((mixed(&mut state) % list.len() as u64) as usize);
    });
    let mut short = List::empty();
    time("list of 1000: push ahead and keep 1000", count, |number| {
        short.push_front(&name(number));
        drop(short.keep(0..short.len().min(1000)));
    });
}

fn sorted_sets(count: usize) {
    for (what, scores) in [("scores differ", u64::MAX >> 11), ("scores are equal", 1)] {
        let before = resident_bytes();
        let mut set = SortedSet::empty();
        let mut state = 1;
        time(
            &format!("sorted set: a new member, {what}"),
            count,
            |number| {
                set.set(&name(number), (mixed(&mut state) % scores) as f64);
            },
        );
        let collection = set.into_collection();
        memory("sorted set: a member", count, collection.bytes(), before);
        let Collection::SortedSet(set) = collection else {
            unreachable!("made of a sorted set");
        };
        time("sorted set: rank of a random member", count, |_| {
            let member = name((mixed(&mut state) % count as u64) as usize);
            black_box(set.rank(&member));
        });
        time("sorted set: count up to a random score", count, |_| {
            let bound = (mixed(&mut state) % scores) as f64;
            black_box(set.count_while(|_, score| score < bound));
        });
    }
}

fn main() {
    let count = std::env::args().nth(1);
    let count = count.map_or(1_000_000, |text| text.parse().expect("a number"));
    println!("{count} items each");
    hashes(count);
    lists(count);
    streams(count);
    sorted_sets(count);
}
