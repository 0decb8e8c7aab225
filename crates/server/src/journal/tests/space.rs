//! What the log takes on disk, and disks that are full or fail.

use super::*;
use std::process::Command;

const SEGMENT: u64 = 16 << 10;

/// What is there as files.
fn disk_bytes(bed: &Bed) -> u64 {
    fs::read_dir(&bed.options.path)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn the_log_stays_within_its_bounds_whoever_is_idle() {
    // Breaks if one group that writes nothing keeps all segments of the others.
    let bed = Bed::small(SyncPolicy::Never, SEGMENT);
    let journal = bed.begin();
    let (idle, busy, slow, stuck) = (GroupId(1), GroupId(2), GroupId(3), GroupId(4));
    let state = vec![9; 20 << 10];
    append(
        &journal,
        idle,
        &[accepted(1, 1, b"idle"), Record::Chosen(Index(1))],
    );
    // Never chosen, so no checkpoint can cover it.
    append(&journal, stuck, &[accepted(1, 1, b"stuck")]);
    checkpoint(&journal, slow, 1, &[&state]);
    let mut checkpoints = 0;
    let mut disk_bytes_max = 0;
    for index in 1..=3000 {
        append(
            &journal,
            busy,
            &[accepted(index, 1, &[1; 200]), Record::Chosen(Index(index))],
        );
        if index % 100 == 0 {
            append(
                &journal,
                slow,
                &[
                    accepted(1 + index / 100, 1, b"now and then"),
                    Record::Chosen(Index(1 + index / 100)),
                ],
            );
        }
        journal.shared.keep_house().unwrap();
        for group in journal.groups_to_checkpoint() {
            checkpoints += 1;
            let index = if group == busy {
                index
            } else if group == idle {
                1
            } else {
                1 + index / 100
            };
            checkpoint(&journal, group, index, &[&state]);
        }
        disk_bytes_max = disk_bytes_max.max(disk_bytes(&bed));
    }
    let live = journal.usage().checkpoints_bytes;
    assert!(live > 2 * state.len() as u64, "{live}");
    assert!(
        disk_bytes_max <= 2 * live + 3 * SEGMENT,
        "{disk_bytes_max} for {live}"
    );
    // 30 segments were written; what they cost is about one checkpoint for as much as the state.
    assert!((5..60).contains(&checkpoints), "{checkpoints}");
    drop(journal);
    let found = bed.open();
    assert_eq!(verdict(&found), &Verdict::Keep);
    let group = |id| {
        found
            .recovered()
            .groups
            .iter()
            .find(|group| group.group == id)
            .unwrap()
    };
    assert_eq!(
        (group(idle).chosen, group(busy).chosen, group(slow).chosen),
        (Index(1), Index(3000), Index(31))
    );
    assert_eq!(group(stuck).log.len(), 1, "moved along, not lost");
}

#[test]
fn checkpoints_come_back_whole() {
    // Breaks if a state is read back in another order, or an unfinished checkpoint replaces a finished one.
    let bed = Bed::new(SyncPolicy::Always);
    let journal = bed.begin();
    checkpoint(&journal, GROUP, 5, &[b"old"]);
    checkpoint(&journal, GROUP, 6, &[b"one", &[7; 300_000], b"three"]);
    // A later one is there already.
    checkpoint(&journal, GROUP, 4, &[b"older"]);
    let mut unfinished = journal.begin_checkpoint(GROUP, GENERATION).unwrap();
    unfinished.chunk(b"half").unwrap();
    std::mem::forget(unfinished);
    drop(journal);
    // The forgotten one still has the lock, as a process that ended would not.
    let copy = bed.options.path.join("lock");
    fs::remove_file(copy).unwrap();

    let mut found = bed.open();
    let mut groups = found.take_groups();
    let reader = groups[0].checkpoint.as_mut().unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    assert_eq!(chunks, [&b"one"[..], &[7; 300_000], b"three"]);
    assert_eq!(
        (groups[0].base.clone(), groups[0].chosen),
        (base(6), Index(6))
    );
    drop(found.begin(identity(1)).unwrap());
    let left = fs::read_dir(&bed.options.path).unwrap();
    let names: Vec<_> = left
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let checkpoints = names
        .iter()
        .filter(|name| name.starts_with("checkpoint"))
        .count();
    assert_eq!(checkpoints, 1, "{names:?}");
}

#[test]
fn a_disk_that_refuses_ends_the_log() {
    // Breaks if a node goes on after a failed write or sync, or tries it a second time.
    for (device, what) in [
        ("/dev/full", "cannot write the log in"),
        ("/dev/null", "cannot sync the log in"),
    ] {
        let bed = Bed::new(SyncPolicy::Always);
        let journal = bed.begin();
        let refusing = Arc::new(File::options().write(true).open(device).unwrap());
        let whole = std::mem::replace(&mut journal.shared.writer.lock().file, refusing);
        let error = journal
            .append(&batch(GROUP, &[accepted(1, 1, b"")]))
            .unwrap_err();
        assert!(error.0.starts_with(what), "{error}");
        journal.shared.writer.lock().file = whole;
        // The disk is well again, and it is too late.
        assert_eq!(
            journal.append(&batch(GROUP, &[accepted(2, 1, b"")])),
            Err(error.clone())
        );
        assert_eq!(journal.append(&JournalBatch::default()), Err(error.clone()));
        assert_eq!(
            journal.begin_checkpoint(GROUP, GENERATION).unwrap_err(),
            error
        );
        assert_eq!(journal.close(), Err(error));
    }
}

/// A file system of 1 MiB, if this process may make one.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(path: &Path) -> Option<SmallDisk<'_>> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "torc-test"])
            .arg(path)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_ends_the_log_and_keeps_what_was_acknowledged() {
    // Breaks if a full disk loses what was answered, or the log cannot be opened afterwards.
    let bed = Bed::new(SyncPolicy::Always);
    fs::create_dir(&bed.options.path).unwrap();
    let Some(_disk) = SmallDisk::mount(&bed.options.path) else {
        eprintln!("no right to mount: a failing device stands for a full disk in another test");
        return;
    };
    let journal = bed.begin();
    let mut acknowledged = 0;
    let error = loop {
        let record = accepted(acknowledged + 1, 1, &[0; 10_000]);
        match journal.append(&batch(GROUP, &[record])) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 200, "the disk is not full");
    };
    assert!(error.0.contains("No space left on device"), "{error}");
    drop(journal);
    let found = bed.open();
    assert_eq!(verdict(&found), &Verdict::Keep);
    assert!(
        indexes(&found).len() as u64 >= acknowledged,
        "{acknowledged}"
    );
}
