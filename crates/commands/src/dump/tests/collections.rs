//! Payloads of collections.

use super::*;
use cache::{Collection, Hash, List, Pending, Set, SortedSet, Stream, StreamId, Typed};
use resp::DoubleText;

/// What the golden file says of a payload: the bytes, and what is in it.
fn golden() -> impl Iterator<Item = (Vec<u8>, &'static str)> {
    let lines = include_str!("../../../testdata/redis-7.0-dumps.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| {
        let (payload, shown) = line.split_once(' ').expect("a payload and its content");
        let bytes = (0..payload.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&payload[at..at + 2], 16).unwrap());
        (bytes.collect(), shown)
    })
}

fn collection(harness: &mut Harness) -> Collection {
    let key = harness.key(b"k");
    match harness
        .cache()
        .peek(key)
        .expect("the key was restored")
        .value
    {
        Value::Collection(collection) => collection.clone(),
        other => panic!("{other:?} is no collection"),
    }
}

/// A collection as the golden file shows it: members of sets and fields of hashes in the order of their bytes.
fn shown(collection: &Collection) -> String {
    let mut items: Vec<Vec<u8>> = Vec::new();
    let pair =
        |one: &[u8], other: &[u8]| format!("{}={}", escaped(one), escaped(other)).into_bytes();
    match collection {
        Collection::List(list) => items.extend(list.iter_from(0).map(|e| escaped(e).into_bytes())),
        Collection::Set(set) => {
            let mut members: Vec<&[u8]> = set.iter().collect();
            members.sort();
            items.extend(members.iter().map(|member| escaped(member).into_bytes()));
        }
        Collection::Hash(hash) => {
            let mut fields: Vec<_> = hash.iter().collect();
            fields.sort();
            items.extend(fields.iter().map(|(field, value)| pair(field, value)));
        }
        Collection::Stream(stream) => {
            for entry in stream.iter_from(0) {
                let fields: Vec<String> = entry.fields.map(escaped).collect();
                let shown = format!("{}-{}:{}", entry.id.ms, entry.id.seq, fields.join(" "));
                items.push(shown.into_bytes());
            }
            let groups = stream.groups().iter().map(|group| {
                let pending = group.pending_from(StreamId::MIN).map(|pending| {
                    let name = group.name_of(pending.consumer).expect("it has a name");
                    format!("{}-{} {}", pending.id.ms, pending.id.seq, escaped(name))
                });
                let pending: Vec<String> = pending.collect();
                format!("group {}: {}", escaped(group.name()), pending.join(" ")).into_bytes()
            });
            items.extend(groups);
            let (last, deleted) = (stream.last_id(), stream.max_deleted_id());
            items.push(
                format!(
                    "last {}-{} deleted {}-{} ever {}",
                    last.ms,
                    last.seq,
                    deleted.ms,
                    deleted.seq,
                    stream.entries_added()
                )
                .into_bytes(),
            );
        }
        Collection::SortedSet(set) => {
            let members = set.iter_from(0);
            items.extend(
                members.map(|(member, score)| pair(member, &DoubleText::with_17_digits(score))),
            );
        }
    }
    let kind = crate::type_name(&Value::Collection(collection));
    format!("{kind} {}", String::from_utf8(items.join(&b',')).unwrap())
}

fn escaped(bytes: &[u8]) -> String {
    if bytes.len() > 60 && bytes.iter().all(|byte| *byte == bytes[0]) {
        return format!("{}*{}", char::from(bytes[0]), bytes.len());
    }
    let escape = |byte: &u8| match byte {
        b'\\' | b',' | b':' | b'=' => format!("\\x{byte:02x}"),
        b'!'..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(escape).collect()
}

#[test]
fn payloads_of_redis_are_read() {
    // Breaks if a form of collections is not understood: these are what redis-server 7.0.15 answered, or restored.
    let mut harness = Harness::new();
    for (payload, expected) in golden() {
        assert_eq!(restore_into(&mut harness, &payload), OK, "{expected}");
        assert_eq!(shown(&collection(&mut harness)), expected);
    }
}

#[test]
fn payloads_are_written_in_the_oldest_forms() {
    // Breaks if DUMP writes a form that some Redis does not know.
    let mut list = List::empty();
    list.push_back(b"a");
    list.push_back(b"5");
    let mut set = Set::empty();
    set.insert(b"300");
    let mut hash = Hash::empty();
    hash.set(b"f", b"");
    let mut sorted_set = SortedSet::empty();
    sorted_set.set(b"a", 1.5);
    sorted_set.set(b"b", f64::INFINITY);
    let cases: [(Collection, &[u8]); 4] = [
        (list.into_collection(), b"\x01\x02\x01a\xc0\x05"),
        (set.into_collection(), b"\x02\x01\xc1\x2c\x01"),
        (hash.into_collection(), b"\x04\x01\x01f\x00"),
        (
            sorted_set.into_collection(),
            b"\x05\x02\x01b\0\0\0\0\0\0\xf0\x7f\x01a\0\0\0\0\0\0\xf8\x3f",
        ),
    ];
    for (collection, content) in cases {
        assert_eq!(
            payload_of(&Value::Collection(&collection)),
            sealed(content, 10)
        );
    }
}

#[test]
fn contents_that_end_early_are_refused() {
    // Breaks if what is missing is taken for something, or makes a panic.
    let mut harness = Harness::new();
    for (payload, _) in golden().filter(|(payload, _)| payload.len() < 300) {
        let content = &payload[..payload.len() - TRAILER_BYTES];
        for len in 1..content.len() {
            let reply = restore_into(&mut harness, &sealed(&content[..len], 10));
            assert_eq!(
                reply,
                BAD,
                "{:?}",
                content[..len].escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn damaged_contents_are_read_or_refused() {
    // Breaks if a bit that is not as it was makes a panic, or memory is taken on the word of a length.
    let mut harness = Harness::new();
    for (payload, _) in golden().filter(|(payload, _)| payload.len() < 300) {
        let content = &payload[..payload.len() - TRAILER_BYTES];
        for bit in 8..content.len() * 8 {
            let mut damaged = content.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let reply = restore_into(&mut harness, &sealed(&damaged, 10));
            assert!(
                reply == OK || reply == BAD,
                "{:?}",
                damaged.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn contents_that_lie_are_refused() {
    // Breaks if a count, a length or an order from outside is believed.
    let mut harness = Harness::new();
    let listpack = |items: &[u8], bytes_more: u8, count: u8| {
        let bytes = items.len() as u8 + 7 + bytes_more;
        [&[bytes, 0, 0, 0, count, 0], items, &[0xff]].concat()
    };
    let ziplist = |items: &[u8], bytes_more: u8, count: u8| {
        let bytes = items.len() as u8 + 11 + bytes_more;
        [&[bytes, 0, 0, 0, 10, 0, 0, 0, count, 0], items, &[0xff]].concat()
    };
    let string_of = |kind: u8, packed: Vec<u8>| [&[kind, packed.len() as u8], &packed[..]].concat();
    let good = listpack(b"\x81a\x02\x01\x01", 0, 2);
    assert_eq!(
        restore_into(&mut harness, &sealed(&string_of(16, good), 10)),
        OK
    );
    let good = ziplist(b"\x00\x01a\x03\xf2", 0, 2);
    assert_eq!(
        restore_into(&mut harness, &sealed(&string_of(13, good), 10)),
        OK
    );
    let contents = [
        // Nothing, too much, twice the same.
        b"\x01\x00".to_vec(),
        b"\x02\x00".to_vec(),
        b"\x04\x00".to_vec(),
        b"\x05\x00".to_vec(),
        b"\x12\x00".to_vec(),
        b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a".to_vec(),
        b"\x04\x80\xff\xff\xff\xff\x01f\x01v".to_vec(),
        b"\x01\xc0\x01\x01a".to_vec(),
        b"\x02\x02\x01a\x01a".to_vec(),
        b"\x04\x02\x01f\x01a\x01f\x01b".to_vec(),
        b"\x05\x02\x01a\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0".to_vec(),
        // No numbers.
        b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f".to_vec(),
        b"\x03\x01\x01a\xfd".to_vec(),
        b"\x03\x01\x01a\x01x".to_vec(),
        b"\x03\x01\x01a\x03nan".to_vec(),
        string_of(17, listpack(b"\x81a\x02\x81x\x02", 0, 2)),
        string_of(17, listpack(b"\x81a\x02\x83nan\x04", 0, 2)),
        // Listpacks: bytes, count, the length behind an item, an item of no kind, an odd one, an end within.
        string_of(16, listpack(b"\x81a\x02\x01\x01", 1, 2)),
        string_of(16, listpack(b"\x81a\x02\x01\x01", 0, 3)),
        string_of(16, listpack(b"\x81a\x03\x01\x01", 0, 2)),
        string_of(16, listpack(b"\x81a\x02\xf5\x01", 0, 2)),
        string_of(16, listpack(b"\x81a\x02", 0, 1)),
        string_of(16, listpack(b"\x81a\x02\xff\x01\x01", 0, 2)),
        string_of(16, listpack(b"\xbfa\x02\x01\x01", 0, 2)),
        string_of(16, listpack(b"\xf0\xff\xff\xff\xffa\x02", 0, 2)),
        string_of(20, listpack(b"\x81a\x02\x81a\x02", 0, 2)),
        string_of(16, listpack(b"", 0, 0)),
        string_of(16, b"\x07\0\0\0\0\0".to_vec()),
        // Parts of lists.
        b"\x12\x01\x03\x01a".to_vec(),
        b"\x12\x01\x02\x01a".to_vec(),
        // Ziplists: bytes, count, the length before an item, an item of no kind, an odd one.
        string_of(13, ziplist(b"\x00\x01a\x03\xf2", 1, 2)),
        string_of(13, ziplist(b"\x00\x01a\x03\xf2", 0, 1)),
        string_of(13, ziplist(b"\x00\x01a\x02\xf2", 0, 2)),
        string_of(13, ziplist(b"\x00\x01a\x03\x81", 0, 2)),
        string_of(13, ziplist(b"\x00\x01a", 0, 1)),
        string_of(10, ziplist(b"\x00\x80\xff\xff\xff\xffa", 0, 1)),
        // Integers: width, count, order.
        string_of(11, b"\x03\0\0\0\x01\0\0\0\x01\0\0".to_vec()),
        string_of(11, b"\x02\0\0\0\xff\xff\xff\xff\x01\0".to_vec()),
        string_of(11, b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0".to_vec()),
        string_of(11, b"\x02\0\0\0\x00\0\0\0".to_vec()),
    ];
    for content in contents {
        let reply = restore_into(&mut harness, &sealed(&content, 10));
        assert_eq!(reply, BAD, "{}", content.escape_ascii());
    }
}

/// Appends an entry, of which now and then one is pending, or one before it goes.
fn add_entry(stream: &mut Stream, word: u16, item: &[u8]) {
    let last = stream.last_id();
    let id = match word % 3 {
        0 => last.next().expect("far from the end"),
        _ => StreamId {
            ms: last.ms + u64::from(word),
            seq: last.seq.wrapping_add(1 << (word % 40)),
        },
    };
    let fields: &[&[u8]] = match word % 4 {
        0 => &[b"field", item, b"other", b"7"],
        _ => &[b"field", item],
    };
    stream.push(id, fields.iter().copied());
    if word.is_multiple_of(5) {
        stream.remove(last);
    }
    stream.edit_group(b"g", |group| {
        let name = [b'c', word as u8 % 3];
        let number = group.consumer(&name).map(|consumer| consumer.number);
        let consumer = number.unwrap_or_else(|| group.make_consumer(&name, i64::from(word)));
        group.give(Pending {
            id,
            consumer,
            delivered_ms: 1 << (word % 60),
            deliveries: u64::from(word),
        });
    });
}

/// Restores the payload of a collection and compares what came with what went.
fn comes_back(typed: impl Typed) {
    let before = typed.into_collection();
    let mut harness = Harness::new();
    let payload = payload_of(&Value::Collection(&before));
    if before.is_void() {
        return assert_eq!(restore_into(&mut harness, &payload), BAD);
    }
    assert_eq!(restore_into(&mut harness, &payload), OK);
    assert_eq!(collection(&mut harness), before);
    assert_eq!(harness.run_bytes(&[b"DUMP", b"k"]), {
        let header = format!("${}\r\n", payload.len());
        [header.as_bytes(), &payload, b"\r\n"].concat()
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn collections_come_back(
        items in proptest::collection::vec((0u16..400, any::<i64>(), 0u32..64), 0..300),
        text_share in 0u16..400,
    ) {
        // Breaks if any collection is changed on the way through DUMP and RESTORE.
        let (mut list, mut set) = (List::empty(), Set::empty());
        let (mut hash, mut sorted_set) = (Hash::empty(), SortedSet::empty());
        let mut stream = Stream::empty();
        stream.make_group(b"g", StreamId::MAX, None);
        for (word, number, bits) in items {
            let item = match word < text_share {
                true => "text ".repeat(usize::from(word)),
                false => (number >> bits).to_string(),
            };
            list.push_back(item.as_bytes());
            set.insert(item.as_bytes());
            hash.set(&word.to_le_bytes(), item.as_bytes());
            let score = f64::from_bits(number as u64);
            add_entry(&mut stream, word, item.as_bytes());
            sorted_set.set(item.as_bytes(), if score.is_nan() { number as f64 } else { score });
        }
        comes_back(list);
        comes_back(set);
        comes_back(hash);
        comes_back(sorted_set);
        comes_back(stream);
    }

    #[test]
    fn any_collection_is_read_or_refused(
        kind in 0u8..=21,
        mut content in proptest::collection::vec(any::<u8>(), 0..60),
        is_packed: bool,
    ) {
        // Breaks if content that is sealed rightly could panic.
        if is_packed {
            // A string whose head holds its true length, as the compact forms begin.
            let bytes = content.len() as u8;
            content.splice(0..content.len().min(6), [bytes, 0, 0, 0, 0xff, 0xff]);
            content.push(0xff);
            content.insert(0, bytes + 1);
        }
        content.insert(0, kind);
        let mut harness = Harness::new();
        let reply = restore_into(&mut harness, &sealed(&content, 11));
        prop_assert!(reply == OK || reply.starts_with(b"-ERR "));
    }
}
