//! The log against a model in memory, under random operations, crashes and restarts.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

const STEPS: usize = 400;
const SEEDS: u64 = 20;

/// What a group must remember.
#[derive(Clone, Debug, Default)]
struct Expected {
    generation: u32,
    promised: Ballot,
    chosen: u64,
    base: u64,
    log: BTreeMap<u64, (Ballot, Vec<u8>)>,
}

struct Model {
    bed: Bed,
    journal: Option<FileJournal>,
    incarnation: u64,
    groups: BTreeMap<u32, Expected>,
    random: StdRng,
    deleted: bool,
}

#[test]
fn the_log_remembers_what_the_model_does() {
    // Breaks if rotation, moving, deletion, checkpoints or restarts lose or bring back anything.
    let first: u64 = rand::random();
    let mut deletions = 0;
    for seed in first..first.saturating_add(SEEDS) {
        println!("seed {seed}");
        let bed = Bed::small(SyncPolicy::Never, 2048);
        let mut model = Model {
            journal: Some(bed.begin()),
            bed,
            incarnation: 1,
            groups: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            deleted: false,
        };
        for _ in 0..STEPS {
            model.step();
        }
        model.restart();
        deletions += u64::from(model.deleted);
    }
    assert!(
        deletions > SEEDS / 2,
        "segments were deleted in {deletions} seeds only"
    );
}

impl Model {
    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..75 => self.append(),
            75..85 => self.checkpoint(),
            85..97 => self.keep_house(),
            _ => self.restart(),
        }
    }

    fn append(&mut self) {
        let mut batch = JournalBatch::default();
        for _ in 0..self.random.random_range(1..5) {
            let id = self.random.random_range(1..4);
            let group = self.groups.entry(id).or_default();
            if self.random.random_range(0..200) == 0 {
                *group = Expected {
                    generation: group.generation + 1,
                    ..Expected::default()
                };
            }
            let record = draw_record(&mut self.random, group);
            batch.push(GroupId(id), Generation(group.generation), &record);
        }
        self.journal.as_ref().unwrap().append(&batch).unwrap();
    }

    fn checkpoint(&mut self) {
        let journal = self.journal.as_ref().unwrap();
        let wanted = journal.groups_to_checkpoint();
        for (id, group) in &mut self.groups {
            // As asked, and sometimes unasked.
            let is_wanted = wanted.contains(&GroupId(*id)) || self.random.random_range(0..8) == 0;
            if is_wanted && group.chosen > group.base {
                let generation = Generation(group.generation);
                let mut checkpoint = journal.begin_checkpoint(GroupId(*id), generation).unwrap();
                checkpoint.chunk(&[1; 500]).unwrap();
                checkpoint.finish(&base(group.chosen)).unwrap();
                group.base = group.chosen;
                group.log = group.log.split_off(&(group.base + 1));
            }
        }
    }

    fn keep_house(&mut self) {
        let journal = self.journal.as_ref().unwrap();
        journal.shared.keep_house().unwrap();
        self.deleted |= !self.bed.segment(1).exists();
    }

    fn restart(&mut self) {
        let journal = self.journal.take().unwrap();
        let closes = self.random.random_range(0..3) == 0;
        if closes {
            journal.close().unwrap();
        }
        drop(journal);
        let reboots = self.random.random_range(0..4) == 0;
        if reboots {
            self.bed.reboot();
        }
        let found = self.bed.open();
        let keeps = closes || !reboots;
        assert_eq!(
            verdict(&found) == &Verdict::Keep,
            keeps,
            "{:?}",
            verdict(&found)
        );
        // Sometimes the cluster has replaced a node whose memory is whole.
        if !keeps || self.random.random_range(0..4) == 0 {
            self.incarnation += 1;
        }
        if !keeps {
            self.groups.values_mut().for_each(Expected::forget_votes);
        }
        self.compare(found.recovered());
        if found.recovered().identity != Some(identity(self.incarnation)) {
            self.groups.values_mut().for_each(Expected::forget_votes);
        }
        self.journal = Some(found.begin(identity(self.incarnation)).unwrap());
    }

    fn compare(&self, recovered: &Recovered) {
        for group in &recovered.groups {
            let expected = self.groups.get(&group.group.0).cloned().unwrap_or_default();
            assert_eq!(group.generation.0, expected.generation);
            assert_eq!(group.promised, expected.promised, "group {:?}", group.group);
            assert_eq!(
                (group.chosen.0, group.base.index.0),
                (expected.chosen, expected.base)
            );
            let log: BTreeMap<u64, (Ballot, Vec<u8>)> = group
                .log
                .iter()
                .map(|entry| {
                    let Entry::Batch { payload, .. } = &entry.entry else {
                        panic!("{entry:?}")
                    };
                    (entry.index.0, (entry.ballot, payload.to_vec()))
                })
                .collect();
            assert_eq!(log, expected.log, "group {:?}", group.group);
            assert_eq!(group.checkpoint.is_some(), expected.base > 0);
        }
        assert_eq!(recovered.groups.len(), self.groups.len());
    }
}

impl Expected {
    fn forget_votes(&mut self) {
        self.promised = Ballot::default();
        self.log.split_off(&(self.chosen + 1));
    }
}

/// A record that a replica in this state could write.
fn draw_record(random: &mut StdRng, group: &mut Expected) -> Record {
    match random.random_range(0..10) {
        0 => {
            let promised = ballot(group.promised.round + random.random_range(0..3));
            group.promised = group.promised.max(promised);
            Record::Promised(promised)
        }
        1..3 => {
            while group.log.contains_key(&(group.chosen + 1)) {
                group.chosen += 1;
            }
            Record::Chosen(Index(group.chosen))
        }
        _ => {
            // Now and then with a gap, or over what is there.
            let index = group.chosen + random.random_range(1..6);
            let under = ballot(group.promised.round.max(1));
            let payload: Vec<u8> = (0..random.random_range(0..200))
                .map(|_| random.random())
                .collect();
            group.promised = group.promised.max(under);
            group.log.insert(index, (under, payload.clone()));
            accepted(index, under.round, &payload)
        }
    }
}
