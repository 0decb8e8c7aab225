use super::layout::{self, LayoutError, RecordHead, RecordKind, SegmentHeader, Standing};
use super::*;

const GROUP: GroupId = GroupId(3);

fn replica(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot {
        round,
        replica: replica(1, 1),
    }
}

fn base(index: u64) -> SnapshotBase {
    SnapshotBase {
        index: Index(index),
        config: config(),
        log_ms: 77,
    }
}

fn config() -> Config {
    Config {
        number: 4,
        voters: vec![replica(1, 1), replica(2, 9)],
        learners: vec![replica(3, u64::MAX)],
    }
}

fn accepted(index: u64, round: u64, payload: &str) -> Record {
    Record::Accepted {
        index: Index(index),
        ballot: ballot(round),
        entry: Entry::Batch {
            log_ms: 5,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        },
    }
}

fn every_record() -> Vec<Record> {
    let entry = |entry| Record::Accepted {
        index: Index(9),
        ballot: ballot(2),
        entry,
    };
    vec![
        Record::Promised(ballot(7)),
        Record::Chosen(Index(u64::MAX)),
        Record::Base(base(12)),
        Record::LogTime(12_345),
        entry(Entry::Noop),
        entry(Entry::Config(config())),
        accepted(1, 1, ""),
        accepted(2, 1, "value"),
        accepted(3, 1, &"long".repeat(3000)),
    ]
}

/// Heads and payloads of a batch, as they come back from the disk, from `lsn` on.
fn read_back(batch: &JournalBatch, lsn: u64) -> Vec<(RecordHead, Bytes)> {
    batch
        .records()
        .zip(lsn..)
        .map(|(record, lsn)| {
            let payload = [record.payload, record.shared].concat();
            assert_eq!(crc32fast::hash(&payload), record.checksum);
            let head = RecordHead {
                payload_checksum: record.checksum,
                payload_bytes: payload.len() as u32,
                group: record.group,
                lsn,
                durable: 1,
                generation: record.generation,
                kind: record.kind,
            };
            assert_eq!(RecordHead::decode(&head.encode()), Ok(head));
            (head, payload.into())
        })
        .collect()
}

fn replay(records: &[(u32, Record)]) -> (Vec<GroupMemory>, Vec<Doubt>) {
    let mut replay = Replay::default();
    feed(&mut replay, 1, records);
    replay.finish()
}

fn feed(replay: &mut Replay, lsn: u64, records: &[(u32, Record)]) {
    let mut batch = JournalBatch::default();
    for (generation, record) in records {
        batch.push(GROUP, Generation(*generation), record);
    }
    for (head, payload) in read_back(&batch, lsn) {
        replay.record(&head, payload).unwrap();
    }
}

fn indexes(memory: &GroupMemory) -> Vec<u64> {
    memory.log.iter().map(|entry| entry.index.0).collect()
}

#[test]
fn records_come_back_as_they_were() {
    // Breaks if a restart remembers something else than what was promised or accepted.
    let mut batch = JournalBatch::default();
    for record in every_record() {
        batch.push(GROUP, Generation(1), &record);
    }
    let shared = batch.records().filter(|record| !record.shared.is_empty());
    assert_eq!(shared.count(), 1, "only the long payload is not copied");
    for ((head, payload), record) in read_back(&batch, 1).into_iter().zip(every_record()) {
        assert_eq!(layout::decode_record(head.kind, payload), Ok(record));
    }
    batch.clear();
    assert!(batch.is_empty());
}

#[test]
fn payloads_cut_short_or_lengthened_are_refused() {
    // Breaks if damaged bytes are taken for a record, or end the process.
    let mut batch = JournalBatch::default();
    for record in every_record() {
        batch.push(GROUP, Generation(1), &record);
    }
    for (head, payload) in read_back(&batch, 1) {
        let is_open = matches!(
            layout::decode_record(head.kind, payload.clone()),
            Ok(Record::Accepted {
                entry: Entry::Batch { .. },
                ..
            })
        );
        for cut in 0..payload.len().min(40) {
            let result = layout::decode_record(head.kind, payload.slice(..cut));
            assert!(result.is_err() || is_open, "{head:?} cut at {cut}");
        }
        let longer = Bytes::from([&payload[..], b"x"].concat());
        assert!(layout::decode_record(head.kind, longer).is_err() || is_open);
    }
    let many = [&[0; 24][..], &u32::MAX.to_le_bytes()].concat();
    assert!(layout::decode_record(RecordKind::Base, many.into()).is_err());
}

#[test]
fn heads_and_headers_with_any_bit_flipped_are_refused() {
    // Breaks if a damaged length or sequence number is believed.
    let head = RecordHead {
        payload_checksum: 1,
        payload_bytes: 2,
        group: GROUP,
        lsn: 4,
        durable: 3,
        generation: Generation(6),
        kind: RecordKind::Moved,
    }
    .encode();
    for bit in 0..head.len() * 8 {
        let mut flipped = head;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            RecordHead::decode(&flipped),
            Err(LayoutError::Damaged),
            "bit {bit}"
        );
    }
    let header = header().encode();
    for bit in 0..header.len() * 8 {
        let mut flipped = header;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
    }
}

fn header() -> SegmentHeader {
    SegmentHeader {
        node_key: 1 << 100,
        identity: Identity {
            cluster: 2,
            replica: replica(3, 4),
        },
        policy: SyncPolicy::Never,
        number: 5,
        oldest: 1,
        first_lsn: 6,
        boot_id: 7,
        device: 8,
        inode: 9,
    }
}

#[test]
fn newer_formats_are_told_from_damage() {
    // Breaks if a node that was set back to an older version says "damaged", and its data are thrown away.
    let mut bytes = header().encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    bytes[8] = 2;
    assert_eq!(SegmentHeader::decode(&bytes), Err(LayoutError::Newer(2)));
    let mut key = layout::encode_key_file(7);
    assert_eq!(layout::decode_key_file(&key), Ok(7));
    assert_eq!(
        layout::decode_key_file(&key[..31]),
        Err(LayoutError::Damaged)
    );
    key[8] = 3;
    assert_eq!(layout::decode_key_file(&key), Err(LayoutError::Newer(3)));
    let checkpoint = layout::encode_checkpoint_header(GROUP, Generation(2));
    assert_eq!(
        layout::decode_checkpoint_header(&checkpoint),
        Ok((GROUP, Generation(2)))
    );
    let end = layout::encode_checkpoint_end(4, &base(3));
    assert_eq!(layout::decode_checkpoint_end(end.into()), Ok((4, base(3))));
}

#[test]
fn the_later_record_of_an_index_counts() {
    // Breaks if a restart brings back a value that another ballot's had replaced.
    let (groups, doubts) = replay(&[
        (0, accepted(1, 1, "old")),
        (0, accepted(2, 1, "b")),
        (0, accepted(1, 2, "new")),
        (0, Record::Promised(ballot(5))),
        (0, Record::LogTime(1_000)),
        (0, Record::Chosen(Index(1))),
        (0, Record::LogTime(1_500)),
        (0, accepted(4, 2, "behind a gap")),
    ]);
    assert_eq!(doubts, []);
    let [group] = &groups[..] else {
        panic!("{groups:?}")
    };
    assert_eq!((group.promised, group.chosen), (ballot(5), Index(1)));
    assert_eq!(group.log_ms_ceiling, 1_500);
    assert_eq!(indexes(group), [1, 2, 4]);
    assert_eq!(group.log[0].ballot, ballot(2));
}

#[test]
fn moved_records_do_not_overtake_later_ones() {
    // Breaks if freeing a segment brings back what a later record had replaced.
    let mut replay = Replay::default();
    feed(
        &mut replay,
        1,
        &[
            (0, accepted(1, 1, "old")),
            (0, accepted(2, 1, "b")),
            (0, accepted(1, 2, "new")),
        ],
    );
    let mut batch = JournalBatch::default();
    for (index, lsn) in [(1, 1), (2, 2), (3, 3)] {
        let mut payload = Vec::new();
        layout::encode_record(&accepted(index, 1, ""), &mut payload);
        batch.push_moved(GROUP, Generation(0), lsn, Index(index), &payload);
    }
    for (head, payload) in read_back(&batch, 4) {
        replay.record(&head, payload).unwrap();
    }
    let (groups, _) = replay.finish();
    let ballots: Vec<u64> = groups[0]
        .log
        .iter()
        .map(|entry| entry.ballot.round)
        .collect();
    assert_eq!(ballots, [2, 1, 1]);
}

#[test]
fn generations_forget_what_was_before_and_ignore_remnants() {
    // Breaks if a group that began anew is haunted by what its former self accepted.
    let (groups, _) = replay(&[
        (1, accepted(1, 9, "old")),
        (1, Record::Chosen(Index(1))),
        (2, accepted(1, 1, "new")),
        (1, accepted(2, 9, "remnant")),
        (1, Record::Promised(ballot(9))),
    ]);
    assert_eq!(groups[0].generation, Generation(2));
    assert_eq!(
        (indexes(&groups[0]), groups[0].promised),
        (vec![1], ballot(1))
    );
    assert_eq!(groups[0].chosen, Index(0));
}

#[test]
fn another_life_keeps_the_chosen_alone() {
    // Breaks if a new incarnation votes with the memory of the old one.
    let mut replay = Replay::default();
    let old = [
        (0, accepted(1, 3, "a")),
        (0, accepted(2, 3, "b")),
        (0, Record::Chosen(Index(1))),
    ];
    feed(&mut replay, 1, &old);
    replay.begin_life();
    feed(&mut replay, 4, &[(0, Record::Promised(ballot(1)))]);
    let (groups, doubts) = replay.finish();
    assert_eq!(doubts, []);
    assert_eq!(
        (indexes(&groups[0]), groups[0].promised),
        (vec![1], ballot(1))
    );
}

#[test]
fn lacking_entries_and_checkpoints_are_doubts() {
    // Breaks if a replica goes on with a hole in what it knows to be chosen.
    let (groups, doubts) = replay(&[
        (0, accepted(1, 1, "a")),
        (0, accepted(3, 1, "c")),
        (0, Record::Chosen(Index(3))),
    ]);
    assert_eq!(doubts, [Doubt::EntryMissing { group: 3, index: 2 }]);
    assert_eq!(groups[0].chosen, Index(1));

    let (_, doubts) = replay(&[(0, accepted(1, 1, "a")), (0, Record::Base(base(5)))]);
    assert!(
        doubts.contains(&Doubt::CheckpointMissing { group: 3 }),
        "{doubts:?}"
    );

    let mut whole = Replay::default();
    whole.checkpoint(GROUP, Generation(0), base(5));
    feed(
        &mut whole,
        1,
        &[
            (0, accepted(5, 1, "e")),
            (0, Record::Base(base(5))),
            (0, accepted(6, 1, "f")),
        ],
    );
    let (groups, doubts) = whole.finish();
    assert_eq!(doubts, []);
    assert_eq!((indexes(&groups[0]), groups[0].chosen), (vec![6], Index(5)));
}

#[test]
fn a_standing_replaces_what_was_read_before() {
    // Breaks if a doubt that led to a new incarnation came back at every later start.
    let mut replay = Replay::default();
    feed(
        &mut replay,
        1,
        &[(0, accepted(1, 1, "a")), (0, Record::Chosen(Index(9)))],
    );
    replay.begin_life();
    let mut batch = JournalBatch::default();
    let standing = Standing {
        promised: Ballot::default(),
        chosen: Index(1),
        base: Index(0),
        log_ms_ceiling: 70,
    };
    batch.push_standing(GROUP, Generation(0), &standing);
    for (head, payload) in read_back(&batch, 3) {
        replay.record(&head, payload).unwrap();
    }
    let (groups, doubts) = replay.finish();
    assert_eq!((groups[0].chosen, doubts), (Index(1), vec![]));
    assert_eq!(groups[0].log_ms_ceiling, 70);
}
