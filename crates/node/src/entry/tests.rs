use super::*;
use proptest::prelude::*;

fn stamp(log_ms: u64, wall_offset_ms: i64, random: u64) -> Stamp {
    Stamp {
        log_ms,
        wall_offset_ms,
        random,
    }
}

fn bytes_of(kind: EntryKind, db: u8, stamp: Stamp, arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Entry {
        kind,
        db,
        stamp,
        args: OwnedArgs::from_slices(arguments).args(),
    }
    .encode(&mut bytes);
    bytes
}

fn decode_error(bytes: &[u8]) -> EntryError {
    match OwnedEntry::decode(bytes) {
        Ok(_) => panic!("malformed bytes were taken for an entry"),
        Err(error) => error,
    }
}

/// A moved field would make the logs of two builds unreadable to each other without either noticing.
#[test]
fn layout_is_pinned() {
    let bytes = bytes_of(
        EntryKind::Command,
        3,
        stamp(0x0102_0304_0506_0708, -2, 0x1112_1314_1516_1718),
        &[b"DEL", b"a"],
    );
    let golden: &[&[u8]] = &[
        &[1, 0, 3, 0],
        &[8, 7, 6, 5, 4, 3, 2, 1],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11],
        &[2, 0, 0, 0],
        &[3, 0, 0, 0, 1, 0, 0, 0],
        b"DELa",
    ];
    assert_eq!(bytes, golden.concat());
    for (kind, code) in [
        (EntryKind::Evict, 1),
        (EntryKind::Flush, 2),
        (EntryKind::Effects, 3),
    ] {
        let bytes = bytes_of(kind, 0, stamp(0, 0, 0), &[]);
        assert_eq!((bytes.len(), bytes[1]), (32, code));
    }
}

/// A malformed entry that is taken for a good one would be applied, by panic or by nonsense.
#[test]
fn malformed_bytes_are_refused() {
    let good = bytes_of(EntryKind::Command, 0, stamp(5, 0, 0), &[b"SET", b"k", b"v"]);
    for cut in 0..good.len() {
        assert_eq!(
            decode_error(&good[..cut]),
            EntryError::Length,
            "cut at {cut}"
        );
    }
    let long = [&good[..], b"x"].concat();
    assert_eq!(decode_error(&long), EntryError::Length);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(decode_error(&with(0, 2)), EntryError::Version(2));
    assert_eq!(decode_error(&with(1, 4)), EntryError::Kind(4));
    assert_eq!(decode_error(&with(2, 16)), EntryError::Database(16));
    assert_eq!(
        decode_error(&with(2, ALL_DATABASES)),
        EntryError::Database(255)
    );
    assert_eq!(decode_error(&with(3, 1)), EntryError::Shape);
    // A count or a length that the bytes do not bear out: more, fewer, and as many as there are numbers.
    for count in [0, 1, 2, 4, 0xff] {
        assert_eq!(decode_error(&with(28, count)), EntryError::Length);
    }
    let mut huge = good.clone();
    huge[28..32].fill(0xff);
    assert_eq!(decode_error(&huge), EntryError::Length);
    let mut huge = good.clone();
    huge[32..36].fill(0xff);
    assert_eq!(decode_error(&huge), EntryError::Length);
}

/// Arguments that do not fit the kind would panic where they are applied.
#[test]
fn each_kind_has_its_own_arguments() {
    let of = |kind, db, arguments: &[&[u8]]| {
        OwnedEntry::decode(&bytes_of(kind, db, stamp(1, 0, 0), arguments)).err()
    };
    assert_eq!(of(EntryKind::Command, 0, &[]), Some(EntryError::Shape));
    assert_eq!(of(EntryKind::Flush, 0, &[b"k"]), Some(EntryError::Shape));
    assert_eq!(of(EntryKind::Flush, ALL_DATABASES, &[]), None);
    assert_eq!(of(EntryKind::Evict, 15, &[b"a", b""]), None);
    let effects = |arguments: &[&[u8]]| of(EntryKind::Effects, 0, arguments);
    assert_eq!(effects(&[]), None);
    assert_eq!(effects(&[b"k", &[7, 1, 0, 0, 0, 0, 0, 0, 0], b"v"]), None);
    assert_eq!(effects(&[b"k", &[0; 9], b""]), None);
    for head in [
        &[0; 8][..],
        &[0; 10],
        &[],
        &[8, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2; 9],
    ] {
        assert_eq!(effects(&[b"k", head, b""]), Some(EntryError::Shape));
    }
    assert_eq!(effects(&[b"k", &[0; 9]]), Some(EntryError::Shape));
}

proptest! {
    /// What is read back must be what was written, or replicas would apply something else than the leader.
    #[test]
    fn entries_survive_a_round_trip(
        kind in 0usize..3,
        db in 0u8..16,
        log_ms in any::<u64>(),
        wall_offset_ms in any::<i64>(),
        random in any::<u64>(),
        arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12),
    ) {
        let kind = [EntryKind::Command, EntryKind::Evict, EntryKind::Flush][kind];
        let arguments: Vec<&[u8]> = match kind {
            EntryKind::Flush => Vec::new(),
            EntryKind::Command | EntryKind::Evict | EntryKind::Effects => {
                arguments.iter().map(Vec::as_slice).collect()
            }
        };
        let stamp = stamp(log_ms, wall_offset_ms, random);
        let bytes = bytes_of(kind, db, stamp, &arguments);
        let owned = OwnedEntry::decode(&bytes);
        prop_assert!(owned.is_ok());
        let owned = owned.expect("checked above");
        let entry = owned.entry();
        prop_assert_eq!((entry.kind, entry.db, entry.stamp), (kind, db, stamp));
        prop_assert_eq!(entry.args.iter().collect::<Vec<_>>(), arguments);
    }

    /// Bytes from outside must never panic the reader, and what it accepts has one form only.
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..120), near in any::<bool>()) {
        if near && bytes.len() >= 32 {
            // Close to an entry, so that the checks behind the first are reached.
            bytes[0] = 1;
            bytes[1] %= 5;
            bytes[2] %= 17;
            bytes[3] &= 1;
            bytes[28] %= 8;
            bytes[29..32].fill(0);
            for at in (32..bytes.len().min(64)).step_by(4) {
                bytes[at] %= 16;
                let end = bytes.len().min(at + 4);
                bytes[at + 1..end].fill(0);
            }
        }
        if let Ok(owned) = OwnedEntry::decode(&bytes) {
            let mut again = Vec::new();
            owned.entry().encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
