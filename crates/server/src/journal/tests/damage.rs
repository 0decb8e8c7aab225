//! Files that end early, were changed, or are gone.

use super::*;

/// Writes entries 1 to `count`, one an append.
fn write(bed: &Bed, count: u64) {
    let journal = bed.begin();
    for index in 1..=count {
        append(
            &journal,
            GROUP,
            &[
                accepted(index, 1, &[index as u8; 20]),
                Record::Chosen(Index(index)),
            ],
        );
    }
}

fn is_prefix(indexes: &[u64]) -> bool {
    indexes.iter().copied().eq(1..=indexes.len() as u64)
}

#[test]
fn a_log_cut_anywhere_gives_a_prefix() {
    // Breaks if a process that is killed while it writes cannot start again, or remembers a half of a record.
    for reboots in [false, true] {
        let mut bed = Bed::new(SyncPolicy::Always);
        write(&bed, 5);
        if reboots {
            bed.reboot();
        }
        let whole = fs::read(bed.segment(1)).unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        // From the end on, each as if no more had been written: the file itself stays the same.
        for length in (0..=whole.len()).rev() {
            let file = File::options().write(true).open(bed.segment(1)).unwrap();
            file.set_len(length as u64).unwrap();
            let found = bed.open();
            let has_header = length >= HEADER_BYTES;
            assert_eq!(
                verdict(&found) == &Verdict::Keep,
                has_header,
                "{length}: {:?}",
                verdict(&found)
            );
            let indexes = indexes(&found);
            assert!(is_prefix(&indexes), "{length}: {indexes:?}");
            lengths.insert(indexes.len());
        }
        assert_eq!(lengths.len(), 6);
    }
}

#[test]
fn a_log_goes_on_behind_a_cut() {
    // Breaks if what is left of a torn record hides what is written after it.
    let bed = Bed::new(SyncPolicy::EverySecond);
    write(&bed, 3);
    let bytes = fs::metadata(bed.segment(1)).unwrap().len();
    let file = File::options().write(true).open(bed.segment(1)).unwrap();
    // The last chosen, and a part of the entry before it.
    file.set_len(bytes - 60).unwrap();
    for index in 3..6 {
        let found = bed.open();
        assert_eq!(verdict(&found), &Verdict::Keep);
        assert_eq!(indexes(&found).len() as u64, index - 1);
        append(
            &found.begin(identity(1)).unwrap(),
            GROUP,
            &[accepted(index, 1, b"again")],
        );
    }
}

#[test]
fn a_changed_byte_is_damage_while_the_kernel_lives() {
    // Breaks if bytes that went bad are taken for a torn end: the node would vote without what it accepted.
    let bed = Bed::new(SyncPolicy::EverySecond);
    write(&bed, 4);
    let whole = fs::read(bed.segment(1)).unwrap();
    for place in (0..whole.len()).rev() {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        fs::write(bed.segment(1), &changed).unwrap();
        match open(&bed.options) {
            Ok(found) => {
                // Only a length can make it look cut short, and only when nothing follows.
                assert!(
                    matches!(doubt(&found), Doubt::Corrupt { .. }),
                    "{place}: {:?}",
                    verdict(&found)
                );
                assert!(is_prefix(&indexes(&found)), "{place}");
            }
            Err(OpenError::Format { .. }) => assert!((8..12).contains(&place), "{place}"),
            Err(error) => panic!("{place}: {error}"),
        }
    }
}

#[test]
fn after_a_loss_of_power_only_what_was_not_synced_may_be_torn() {
    // Breaks if a lost power supply costs a vote under `always`, or a bad disk does not.
    let mut bed = Bed::new(SyncPolicy::Always);
    let journal = bed.begin();
    append(&journal, GROUP, &[accepted(1, 1, b"synced")]);
    // One append: its records may reach the disk in any order.
    append(
        &journal,
        GROUP,
        &[accepted(2, 1, b"second"), accepted(3, 1, b"third")],
    );
    drop(journal);
    bed.reboot();
    change(&bed, b"second");
    let found = bed.open();
    assert_eq!(
        (verdict(&found), indexes(&found)),
        (&Verdict::Keep, vec![1])
    );
    drop(found);

    change(&bed, b"synced");
    let found = bed.open();
    assert!(
        matches!(doubt(&found), Doubt::Corrupt { .. }),
        "{:?}",
        verdict(&found)
    );
    let journal = found.begin(identity(2)).unwrap();
    append(&journal, GROUP, &[accepted(1, 5, b"anew")]);
    drop(journal);
    let found = bed.open();
    assert_eq!(
        (verdict(&found), indexes(&found)),
        (&Verdict::Keep, vec![1])
    );
}

/// Changes these bytes where they stand in the first segment.
fn change(bed: &Bed, payload: &[u8]) {
    let mut bytes = fs::read(bed.segment(1)).unwrap();
    let at = bytes
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(bed.segment(1), bytes).unwrap();
}

#[test]
fn a_missing_segment_is_a_doubt_wherever_it_was() {
    // Breaks if a deleted file goes unnoticed.
    for number in 1..=4 {
        let bed = Bed::small(SyncPolicy::Always, 300);
        write(&bed, 7);
        assert!(bed.segment(4).exists() && !bed.segment(9).exists());
        let last = (1..9)
            .filter(|&number| bed.segment(number).exists())
            .max()
            .unwrap();
        let number = if number == 4 { last } else { number };
        fs::remove_file(bed.segment(number)).unwrap();
        let found = bed.open();
        assert_eq!(doubt(&found), &Doubt::SegmentMissing { number });
        assert!(is_prefix(&indexes(&found)) || number == 1);
        drop(found.begin(identity(2)).unwrap());
        assert_eq!(
            verdict(&bed.open()),
            &Verdict::Keep,
            "without segment {number}"
        );
    }
}

#[test]
fn damage_in_an_old_segment_is_no_torn_end() {
    // Breaks if everything behind a bad spot in the middle of the log is dropped without a word.
    let mut bed = Bed::small(SyncPolicy::Always, 300);
    write(&bed, 7);
    bed.reboot();
    let file = File::options().write(true).open(bed.segment(1)).unwrap();
    file.set_len(fs::metadata(bed.segment(1)).unwrap().len() - 3)
        .unwrap();
    let found = bed.open();
    assert!(
        matches!(doubt(&found), Doubt::Corrupt { .. }),
        "{:?}",
        verdict(&found)
    );
    drop(found.begin(identity(2)).unwrap());
    assert!(!bed.segment(3).exists());
    assert_eq!(verdict(&bed.open()), &Verdict::Keep);
}

#[test]
fn damaged_and_missing_checkpoints_are_doubts() {
    // Breaks if a node starts with a half of its state.
    for cut in [0, 13, 30, 60] {
        let bed = Bed::new(SyncPolicy::Always);
        write(&bed, 4);
        checkpoint(
            &bed.begin(),
            GROUP,
            3,
            &[b"a part of the state", b"and another one"],
        );
        let found = bed.open();
        assert_eq!(
            (verdict(&found), indexes(&found)),
            (&Verdict::Keep, vec![4])
        );
        drop(found);
        let file = bed.options.path.join("checkpoint-1-0-3.ckp");
        let mut bytes = fs::read(&file).unwrap();
        bytes[cut] ^= 4;
        fs::write(&file, bytes).unwrap();
        assert!(
            matches!(doubt(&bed.open()), Doubt::CheckpointCorrupt { .. }),
            "{cut}"
        );
    }
    let bed = Bed::new(SyncPolicy::Always);
    write(&bed, 4);
    let journal = bed.begin();
    checkpoint(&journal, GROUP, 9, &[b"received"]);
    append(&journal, GROUP, &[Record::Base(base(9))]);
    drop(journal);
    assert_eq!(verdict(&bed.open()), &Verdict::Keep);
    fs::remove_file(bed.options.path.join("checkpoint-1-0-9.ckp")).unwrap();
    assert_eq!(doubt(&bed.open()), &Doubt::CheckpointMissing { group: 1 });
}

#[test]
fn a_begun_segment_without_records_changes_nothing() {
    // Breaks if a crash between two steps of a start counts as damage, or loses the old name.
    let bed = Bed::new(SyncPolicy::Always);
    write(&bed, 2);
    let header = {
        let found = bed.open();
        found.recovery.last_header.unwrap()
    };
    let next = SegmentHeader {
        number: 2,
        first_lsn: 99,
        identity: identity(2),
        ..header
    };
    for bytes in [&next.encode()[..], &[0; 50], &[]] {
        fs::write(bed.segment(2), bytes).unwrap();
        let found = bed.open();
        assert_eq!(verdict(&found), &Verdict::Keep);
        assert_eq!(found.recovered().identity, Some(identity(1)));
        assert_eq!(indexes(&found), [1, 2]);
    }
    append(&bed.begin(), GROUP, &[accepted(3, 1, b"")]);
    assert_eq!(indexes(&bed.open()), [1, 2, 3]);
}
