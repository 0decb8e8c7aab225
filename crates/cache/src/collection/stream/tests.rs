//! A stream against maps, its count of bytes against the allocator's, and its pieces.

use crate::tests::{SEED, key};
use crate::{Cache, Changed, Collection, Pending, Piece, Stream, StreamId, Typed, Vacant};
use allocation_counter::measure;
use proptest::prelude::*;
use std::collections::BTreeMap;

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

type PlainEntries = BTreeMap<StreamId, Vec<Vec<u8>>>;

/// Consumers by name, and pending entries: name of the consumer, time, count.
#[derive(Default)]
struct PlainGroup {
    consumers: BTreeMap<Vec<u8>, i64>,
    pending: BTreeMap<StreamId, (Vec<u8>, i64, u64)>,
}

#[derive(Default)]
struct Plain {
    entries: PlainEntries,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
    groups: BTreeMap<Vec<u8>, PlainGroup>,
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

fn some_id(plain: &Plain, numbers: &mut Numbers) -> StreamId {
    let at = numbers.below(plain.entries.len() as u64 + 1) as usize;
    match plain.entries.keys().nth(at) {
        Some(id) if numbers.below(4) > 0 => *id,
        Some(id) => id.next().unwrap_or(*id),
        None => id(numbers.below(1000), numbers.below(300)),
    }
}

fn step_entries(stream: &mut Stream, plain: &mut Plain, numbers: &mut Numbers) {
    match numbers.below(12) {
        0..8 => {
            let last = plain.last_id;
            let next = match numbers.below(4) {
                0 => id(last.ms + 1 + numbers.below(1 << 33), 0),
                1 => id(last.ms, last.seq + 1 + numbers.below(1 << 20)),
                _ => last.next().expect("far from the end"),
            };
            let count = 2 * (1 + numbers.below(4));
            let fields: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let len = [3, 200, 3000][(numbers.below(40) == 0) as usize * 2];
                    vec![numbers.below(256) as u8; numbers.below(len) as usize]
                })
                .collect();
            stream.push(next, fields.iter().map(Vec::as_slice));
            plain.entries.insert(next, fields);
            (plain.last_id, plain.added) = (next, plain.added + 1);
        }
        8..11 => {
            let id = some_id(plain, numbers);
            let was_there = plain.entries.remove(&id).is_some();
            assert_eq!(stream.remove(id), was_there);
            if was_there {
                plain.max_deleted_id = plain.max_deleted_id.max(id);
            }
        }
        _ => {
            let count = numbers.below(plain.entries.len().min(60) as u64 + 1) as usize;
            let cut = stream.cut_front(count);
            assert!(cut.len() == count || count <= 16);
            for _ in 0..count {
                plain.entries.pop_first();
            }
        }
    }
}

fn step_groups(stream: &mut Stream, plain: &mut Plain, numbers: &mut Numbers) {
    let name = vec![b'g', numbers.below(3) as u8];
    let consumer = vec![b'c'; numbers.below(5) as usize];
    let id = some_id(plain, numbers);
    let (time, count) = (numbers.below(1 << 40) as i64, numbers.below(1 << 10));
    let Some(model) = plain.groups.get_mut(&name) else {
        assert!(stream.edit_group(&name, |_| ()).is_none());
        assert!(stream.make_group(&name, id, Some(count)));
        plain.groups.insert(name, PlainGroup::default());
        return;
    };
    assert!(!stream.make_group(&name, id, None));
    match numbers.below(40) {
        0 => {
            assert!(stream.remove_group(&name).is_some());
            plain.groups.remove(&name);
        }
        1..3 => {
            let removed = stream.edit_group(&name, |group| group.remove_consumer(&consumer));
            let before = model.pending.len();
            model.pending.retain(|_, pending| pending.0 != consumer);
            let was_there = model.consumers.remove(&consumer).is_some();
            let gone = before - model.pending.len();
            assert_eq!(removed, Some(was_there.then_some(gone)));
        }
        3..15 => {
            let was_there = model.pending.remove(&id).is_some();
            assert_eq!(
                stream.edit_group(&name, |group| group.acknowledge(id)),
                Some(was_there)
            );
        }
        _ => {
            model.consumers.insert(consumer.clone(), time);
            model.pending.insert(id, (consumer.clone(), time, count));
            let given = stream.edit_group(&name, |group| {
                match group.consumer(&consumer) {
                    Some(_) => group.see_consumer(&consumer, time),
                    None => drop(group.make_consumer(&consumer, time)),
                }
                group.give(Pending {
                    id,
                    consumer: group.consumer(&consumer).expect("made above").number,
                    delivered_ms: time,
                    deliveries: count,
                });
            });
            assert!(given.is_some());
        }
    }
}

fn check(stream: &Stream, plain: &Plain, numbers: &mut Numbers) {
    let all: PlainEntries = stream
        .iter_from(0)
        .map(|entry| (entry.id, entry.fields.map(<[u8]>::to_vec).collect()))
        .collect();
    assert_eq!(all, plain.entries);
    assert_eq!(stream.len(), plain.entries.len());
    assert_eq!(stream.last_id(), plain.last_id);
    assert_eq!(stream.max_deleted_id(), plain.max_deleted_id);
    assert_eq!(stream.entries_added(), plain.added);
    let (first, last) = (some_id(plain, numbers), some_id(plain, numbers));
    let within = match first <= last {
        true => plain.entries.range(first..=last).count(),
        false => 0,
    };
    assert_eq!(stream.ranks(first, last).len(), within);
    assert_eq!(
        stream.get(first).is_some(),
        plain.entries.contains_key(&first)
    );
    let names: Vec<_> = stream
        .groups()
        .iter()
        .map(|group| group.name().to_vec())
        .collect();
    assert!(names.iter().eq(plain.groups.keys()));
    for (name, model) in &plain.groups {
        let group = stream.group(name).expect("it is there");
        let consumers: BTreeMap<_, _> = group
            .consumers()
            .map(|consumer| (consumer.name.to_vec(), consumer.seen_ms))
            .collect();
        assert_eq!(consumers, model.consumers);
        let pending: BTreeMap<_, _> = group
            .pending_from(StreamId::MIN)
            .map(|one| {
                let name = group.name_of(one.consumer).expect("it has a name").to_vec();
                (one.id, (name, one.delivered_ms, one.deliveries))
            })
            .collect();
        assert_eq!(pending, model.pending);
        for consumer in group.consumers() {
            let ids: Vec<_> = group.ids_of(consumer.number, first).collect();
            let of_it = model.pending.range(first..);
            let of_it = of_it.filter(|(_, pending)| pending.0 == consumer.name);
            assert!(ids.iter().eq(of_it.map(|(id, _)| id)));
            let all = group.ids_of(consumer.number, StreamId::MIN).count();
            assert_eq!(group.pending_len_of(consumer.number), all);
        }
    }
}

fn restored(collection: &Collection, bytes_max: usize) -> Collection {
    let mut piece = Vec::new();
    let mut next = collection.encode_from(0, bytes_max, &mut piece);
    let mut restored = Collection::decode(&piece).expect("well formed");
    while let Piece::Next(from) = next {
        piece.clear();
        next = collection.encode_from(from, bytes_max, &mut piece);
        restored.extend(&piece).expect("well formed");
    }
    restored
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Breaks if an entry, a pending one or a consumer is lost, a clone sees what comes after it, or a piece lacks something.
    #[test]
    fn does_what_maps_do(seed in 1u64.., groups in 0u64..4) {
        let mut numbers = Numbers(seed);
        let (mut stream, mut plain) = (Stream::new(), Plain::default());
        let mut clones = Vec::new();
        for step in 0..1500 {
            match numbers.below(4) {
                part if part < groups => step_groups(&mut stream, &mut plain, &mut numbers),
                _ => step_entries(&mut stream, &mut plain, &mut numbers),
            }
            if step % 300 == 7 {
                check(&stream, &plain, &mut numbers);
                clones.push((stream.clone(), stream.clone().into_collection().encode()));
            }
        }
        check(&stream, &plain, &mut numbers);
        for (clone, encoded) in clones {
            prop_assert_eq!(clone.into_collection().encode(), encoded);
        }
        let stream = stream.into_collection();
        for bytes_max in [1, 100, 4096] {
            prop_assert_eq!(&restored(&stream, bytes_max), &stream);
        }
    }

    // A count that drifts from the memory that is really held breaks `maxmemory`, slowly.
    #[test]
    fn counts_what_the_allocator_counts(seed in 1u64.., groups in 0u64..4) {
        let mut numbers = Numbers(seed);
        let (mut stream, mut plain) = (Stream::new(), Plain::default());
        for _ in 0..3000 {
            match numbers.below(4) {
                part if part < groups => step_groups(&mut stream, &mut plain, &mut numbers),
                _ => step_entries(&mut stream, &mut plain, &mut numbers),
            }
        }
        let counted = stream.bytes();
        let freed = measure(|| drop(stream)).bytes_current;
        let held = usize::try_from(-freed).expect("it was freed");
        let slack = 512 + held / 8;
        prop_assert!(counted + slack >= held && counted <= held + slack, "{} counted, {} held", counted, held);
    }
}

// Breaks if bytes from outside can make a stream that its own commands could not.
#[test]
fn malformed_pieces_are_refused() {
    let mut stream = Stream::new();
    stream.push(id(1, 1), [&b"f"[..], b"v"].into_iter());
    stream.push(id(2, 0), [&b"f"[..], b"v"].into_iter());
    stream.make_group(b"g", id(1, 1), None);
    stream.edit_group(b"g", |group| {
        let consumer = group.make_consumer(b"c", 7);
        let (id, delivered_ms, deliveries) = (id(1, 1), 7, 1);
        group.give(Pending {
            id,
            consumer,
            delivered_ms,
            deliveries,
        });
    });
    let whole = stream.into_collection().encode();
    assert!(Collection::decode(&whole).is_ok());
    for len in 0..whole.len() {
        // Cut between two records it is a smaller stream.
        if let Ok(smaller) = Collection::decode(&whole[..len]) {
            assert_eq!(smaller.encode(), whole[..len]);
        }
    }
    let mut doubled = whole.clone();
    doubled.extend_from_slice(&whole[1..]);
    assert!(Collection::decode(&doubled).is_err());
}

// Breaks if an empty stream goes away with its last entry, or with it what its groups know.
#[test]
fn an_empty_stream_stays() {
    let mut cache = Cache::new(SEED);
    let refused =
        cache.edit_collection(key(b"s"), Vacant::Make, |_: &mut Stream| ((), Changed::No));
    assert!(!refused.unwrap().unwrap().is_new && cache.peek(key(b"s")).is_none());
    let made = cache.edit_collection(key(b"s"), Vacant::Make, |stream: &mut Stream| {
        stream.push(id(5, 0), [&b"f"[..], b"v"].into_iter());
        ((), Changed::Yes)
    });
    assert!(made.unwrap().unwrap().is_new);
    let emptied = cache.edit_collection(key(b"s"), Vacant::Make, |stream: &mut Stream| {
        (stream.remove(id(5, 0)), Changed::Yes)
    });
    let emptied = emptied.unwrap().expect("it is there");
    assert!(emptied.result && !emptied.is_gone);
    let entry = cache.take(key(b"s")).expect("it is there");
    cache.put_entry(key(b"s"), entry);
    let after = cache.edit_collection(key(b"s"), Vacant::Leave, |stream: &mut Stream| {
        (stream.last_id(), Changed::No)
    });
    assert_eq!(after.unwrap().expect("it is there").result, id(5, 0));
}

// Breaks if a long front, or a group with much pending, is freed at once while its shard is locked.
#[test]
fn what_goes_is_freed_in_steps() {
    let mut cache = Cache::new(SEED);
    let filled = cache.edit_collection(key(b"s"), Vacant::Make, |stream: &mut Stream| {
        stream.make_group(b"g", StreamId::MIN, None);
        for ms in 1..20_000 {
            stream.push(id(ms, 0), [&b"field"[..], b"value"].into_iter());
        }
        stream.edit_group(b"g", |group| {
            let consumer = group.make_consumer(b"c", 7);
            for ms in 1..20_000 {
                let (id, delivered_ms, deliveries) = (id(ms, 0), 7, 1);
                group.give(Pending {
                    id,
                    consumer,
                    delivered_ms,
                    deliveries,
                });
            }
        });
        ((), Changed::Yes)
    });
    filled.unwrap();
    let edited = cache.edit_collection(key(b"s"), Vacant::Leave, |stream: &mut Stream| {
        let group = stream.remove_group(b"g").expect("it is there");
        ((group, stream.cut_front(19_990)), Changed::Yes)
    });
    let (group, front) = edited.unwrap().expect("it is there").result;
    for gone in [group, front] {
        cache.let_go(gone.into_collection());
        assert!(cache.bury(1));
        while cache.bury(8) {}
    }
    cache.remove(key(b"s"));
    while cache.bury(8) {}
    let empty = Cache::new(SEED).used_bytes();
    assert!(
        cache.used_bytes() < empty + 16 * 1024,
        "{} of {empty}",
        cache.used_bytes()
    );
}
