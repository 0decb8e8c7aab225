//! Starting again: what is remembered, whether it may vote, and directories that must not be used.

use super::*;

#[test]
fn what_was_appended_is_there_after_a_crash() {
    // Breaks if a killed process forgets what it promised or accepted, under any policy.
    for policy in [
        SyncPolicy::Always,
        SyncPolicy::EverySecond,
        SyncPolicy::Never,
    ] {
        let bed = Bed::new(policy);
        assert_eq!(doubt(&bed.open()), &Doubt::FirstStart);
        let journal = bed.begin();
        let long = vec![b'x'; 100_000];
        append(
            &journal,
            GROUP,
            &[Record::Promised(ballot(4)), accepted(1, 4, b"one")],
        );
        append(
            &journal,
            GROUP,
            &[accepted(2, 4, &long), Record::Chosen(Index(1))],
        );
        drop(journal);

        let found = bed.open();
        assert_eq!(verdict(&found), &Verdict::Keep, "{policy:?}");
        assert_eq!(found.recovered().identity, Some(identity(1)));
        let group = &found.recovered().groups[0];
        assert_eq!((group.promised, group.chosen), (ballot(4), Index(1)));
        assert_eq!(indexes(&found), [1, 2]);
        let Entry::Batch { payload, .. } = &group.log[1].entry else {
            panic!()
        };
        assert_eq!(payload, &long);
    }
}

#[test]
fn a_lost_kernel_is_a_doubt_unless_all_was_synced() {
    // Breaks if a node votes although writes that it had acknowledged may be gone.
    for (policy, keeps) in [
        (SyncPolicy::Always, true),
        (SyncPolicy::EverySecond, false),
        (SyncPolicy::Never, false),
    ] {
        let mut bed = Bed::new(policy);
        append(
            &bed.begin(),
            GROUP,
            &[
                accepted(1, 4, b"one"),
                accepted(2, 4, b"open"),
                Record::Chosen(Index(1)),
            ],
        );
        bed.reboot();
        // Which policy is asked for now does not matter: the log was written under the other.
        bed.options.policy = SyncPolicy::Always;
        let found = bed.open();
        assert_eq!(verdict(&found) == &Verdict::Keep, keeps, "{policy:?}");
        if !keeps {
            assert_eq!(doubt(&found), &Doubt::Unsynced);
            assert_eq!(indexes(&found), [1], "the chosen prefix may be used");
            assert_eq!(found.recovered().groups[0].promised, Ballot::default());
        }
    }
}

#[test]
fn a_clean_stop_keeps_under_every_policy() {
    // Breaks if every planned restart of a machine costs a catch-up.
    let mut bed = Bed::new(SyncPolicy::Never);
    let journal = bed.begin();
    append(&journal, GROUP, &[accepted(1, 4, b"one")]);
    journal.close().unwrap();
    assert!(
        journal
            .append(&batch(GROUP, &[accepted(2, 4, b"")]))
            .is_err()
    );
    drop(journal);
    bed.reboot();
    assert_eq!(verdict(&bed.open()), &Verdict::Keep);

    // The mark counts only while it is the last word.
    append(&bed.begin(), GROUP, &[accepted(2, 4, b"two")]);
    assert_eq!(indexes(&bed.open()), [1, 2]);
    bed.reboot();
    assert_eq!(doubt(&bed.open()), &Doubt::Unsynced);
}

#[test]
fn a_new_incarnation_votes_with_nothing_of_the_old() {
    // Breaks if the promise of somebody else counts, or a doubt comes back at every later start.
    let mut bed = Bed::new(SyncPolicy::Never);
    append(
        &bed.begin(),
        GROUP,
        &[
            accepted(1, 4, b"one"),
            accepted(2, 4, b"open"),
            Record::Chosen(Index(1)),
        ],
    );
    bed.reboot();
    let journal = bed.open().begin(identity(2)).unwrap();
    append(&journal, GROUP, &[Record::Promised(ballot(2))]);
    drop(journal);
    let found = bed.open();
    assert_eq!(found.recovered().identity, Some(identity(2)));
    assert_eq!(verdict(&found), &Verdict::Keep);
    assert_eq!(indexes(&found), [1]);
    assert_eq!(found.recovered().groups[0].promised, ballot(2));
}

#[test]
fn copies_have_no_vote() {
    // Breaks if a restored backup, which has forgotten promises, votes as if it had not.
    let mut bed = Bed::new(SyncPolicy::Always);
    let journal = bed.begin();
    append(
        &journal,
        GROUP,
        &[accepted(1, 4, b"one"), Record::Chosen(Index(1))],
    );
    journal.close().unwrap();
    drop(journal);
    let copy = bed.directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&bed.options.path).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    bed.options.path = copy;
    let found = bed.open();
    assert!(matches!(doubt(&found), Doubt::Copied { .. }), "{found:?}");
    assert_eq!(indexes(&found), [1]);
    drop(found.begin(identity(2)).unwrap());
    assert_eq!(
        verdict(&bed.open()),
        &Verdict::Keep,
        "once begun anew, it is whole"
    );
}

#[test]
fn one_process_has_a_directory() {
    // Breaks if two nodes write one log.
    let bed = Bed::new(SyncPolicy::Never);
    let journal = bed.begin();
    let error = open(&bed.options).unwrap_err().to_string();
    let pid = std::process::id();
    assert!(
        error.ends_with(&format!("is in use by another process (pid {pid})")),
        "{error}"
    );
    drop(journal);
    bed.open();
}

#[test]
fn directories_of_others_are_refused() {
    // Breaks if a node takes over another's memory, or another cluster's.
    let bed = Bed::new(SyncPolicy::Always);
    append(&bed.begin(), GROUP, &[accepted(1, 4, b"one")]);
    let other_cluster = Identity {
        cluster: 1,
        ..identity(1)
    };
    let error = bed.open().begin(other_cluster).unwrap_err();
    assert!(
        error.to_string().contains("belongs to cluster 0000"),
        "{error}"
    );
    let mut other_node = identity(1);
    other_node.replica.node = NodeId(4);
    let error = bed.open().begin(other_node).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to node 3 of the cluster, not to node 4"),
        "{error}"
    );

    let mut other = Bed::new(SyncPolicy::Always);
    other.options.fresh_key = 8;
    drop(other.begin());
    fs::rename(other.segment(1), bed.segment(2)).unwrap();
    let error = open(&bed.options).unwrap_err().to_string();
    assert!(error.contains("another node's data"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn newer_formats_are_refused_and_left_alone() {
    // Breaks if an older program throws a newer one's data away.
    let bed = Bed::new(SyncPolicy::Always);
    let journal = bed.begin();
    checkpoint(&journal, GROUP, 3, &[b"state"]);
    drop(journal);
    let files = [
        bed.segment(1),
        bed.options.path.join("node"),
        bed.options.path.join("checkpoint-1-0-3.ckp"),
    ];
    for file in files {
        let whole = fs::read(&file).unwrap();
        let mut newer = whole.clone();
        newer[8] = 9;
        fs::write(&file, &newer).unwrap();
        let error = open(&bed.options).unwrap_err().to_string();
        assert!(
            error.ends_with("is of format 9, which is newer than this program's 1"),
            "{error}"
        );
        assert_eq!(fs::read(&file).unwrap(), newer);
        fs::write(&file, &whole).unwrap();
    }
    bed.open();
}

#[test]
fn what_is_no_directory_is_told() {
    // Breaks if a mistyped path gives a riddle instead of its name.
    let mut bed = Bed::new(SyncPolicy::Always);
    bed.options.path = bed.directory.path().join("file");
    fs::write(&bed.options.path, "").unwrap();
    let error = open(&bed.options).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot use the data directory: ") && error.contains("/file"),
        "{error}"
    );
}

#[test]
fn callers_at_the_same_time_all_find_their_records() {
    // Breaks if a shared sync tells somebody that his records are durable who came too late for it.
    let bed = Bed::small(SyncPolicy::Always, 4096);
    let journal = bed.begin();
    std::thread::scope(|scope| {
        for group in 1..=4 {
            let journal = &journal;
            scope.spawn(move || {
                for index in 1..=50 {
                    append(journal, GroupId(group), &[accepted(index, 1, &[0; 50])]);
                }
            });
        }
    });
    let usage = journal.usage();
    assert_eq!(usage.durable_lsn, usage.next_lsn);
    assert!(usage.segments_count > 4, "{usage:?}");
    drop(journal);
    let found = bed.open();
    assert_eq!(verdict(&found), &Verdict::Keep);
    let lengths: Vec<usize> = found
        .recovered()
        .groups
        .iter()
        .map(|group| group.log.len())
        .collect();
    assert_eq!(lengths, [50; 4]);
}

#[test]
fn a_machine_that_runs_on_is_the_same_one() {
    // Breaks if every restart of the process looks like one of the machine: no node without `always` would keep its vote.
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::at(&directory.path().join("log"), SyncPolicy::Never);
    let journal = open(&options()).unwrap().begin(identity(1)).unwrap();
    append(&journal, GROUP, &[accepted(1, 1, b"one")]);
    drop(journal);
    assert_eq!(verdict(&open(&options()).unwrap()), &Verdict::Keep);
}
