use super::*;
use proptest::prelude::*;

fn replica(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn batch_of(wall_offset_ms: i64, draw: u64, runs: &[Run<'_>]) -> Vec<u8> {
    let mut out = vec![0; BATCH_HEAD_BYTES];
    write_batch_head(&mut out, wall_offset_ms, draw);
    runs.iter().for_each(|run| push_run(&mut out, *run));
    out
}

/// A moved field would make the logs of two builds unreadable to each other without either noticing.
#[test]
fn layout_is_pinned() {
    let run = Run {
        origin: replica(3, 0x0102_0304_0506_0708),
        done_seq: 9,
        count: 1,
        ops: b"op",
    };
    let golden: &[&[u8]] = &[
        &[6, 0, 0, 0],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11],
        &[3, 0, 0, 0],
        &[8, 7, 6, 5, 4, 3, 2, 1],
        &[9, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 2, 0, 0, 0],
        b"op",
    ];
    assert_eq!(batch_of(-2, 0x1112_1314_1516_1718, &[run]), golden.concat());
}

/// A first run that is filled in later must read like one that was appended.
#[test]
fn heads_that_were_reserved_are_filled_in() {
    let mut out = Vec::new();
    reserve_heads(&mut out);
    out.extend_from_slice(b"operations");
    write_batch_head(&mut out, 5, 6);
    write_run_head(&mut out[BATCH_HEAD_BYTES..], replica(1, 2), 3, 4, 10);
    let run = Run {
        origin: replica(1, 2),
        done_seq: 3,
        count: 4,
        ops: b"operations",
    };
    assert_eq!(out, batch_of(5, 6, &[run]));
}

/// A malformed payload that is taken for a good one would be applied, by panic or by nonsense.
#[test]
fn malformed_payloads_are_refused() {
    let run = Run {
        origin: replica(1, 1),
        done_seq: 0,
        count: 1,
        ops: b"0123456789",
    };
    let good = batch_of(0, 0, &[run]);
    assert!(Batch::parse(&good).is_ok());
    for cut in (0..BATCH_HEAD_BYTES).chain(BATCH_HEAD_BYTES + 1..good.len()) {
        assert_eq!(
            Batch::parse(&good[..cut]).unwrap_err(),
            EntryError::Length,
            "{cut}"
        );
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Batch::parse(&bytes).unwrap_err()
    };
    assert_eq!(changed(0, 1), EntryError::Version(1));
    assert_eq!(changed(2, 1), EntryError::Shape);
    assert_eq!(changed(44, 11), EntryError::Length);
}

proptest! {
    /// Runs that came out otherwise than they went in would credit one node's writes to another.
    #[test]
    fn parsing_gives_back_the_runs(
        runs in prop::collection::vec(
            (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..30)),
            0..5,
        ),
    ) {
        let runs: Vec<Run<'_>> = runs
            .iter()
            .map(|(node, incarnation, done_seq, count, ops)| Run {
                origin: replica(*node, *incarnation),
                done_seq: *done_seq,
                count: *count,
                ops,
            })
            .collect();
        let payload = batch_of(1, 2, &runs);
        let batch = Batch::parse(&payload).unwrap();
        prop_assert_eq!(batch.runs().collect::<Vec<_>>(), runs);
    }

    /// Any bytes at all.
    #[test]
    fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), versioned: bool) {
        if versioned && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[3, 0, 0, 0]);
        }
        if let Ok(batch) = Batch::parse(&bytes) {
            batch.runs().for_each(drop);
        }
    }
}
