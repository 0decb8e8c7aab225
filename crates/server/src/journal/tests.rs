//! The log on real files. `Bed` stands for a machine: its kernel's run is a number, a crash is dropping the log.

mod damage;
mod model;
mod recovery;
mod space;

use super::*;
use bytes::Bytes;
use node::journal::{
    Ballot, Config, Doubt, Entry, Incarnation, Index, NodeId, Record, ReplicaId, SnapshotBase,
};
use std::time::Instant;

const GROUP: GroupId = GroupId(1);
const GENERATION: Generation = Generation(0);

/// A machine with a data directory.
struct Bed {
    directory: tempfile::TempDir,
    options: Options,
}

impl Bed {
    fn new(policy: SyncPolicy) -> Bed {
        // In memory where there is such a place: many files are synced here, and no disk is tested.
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let directory = directory.unwrap();
        let options = Options {
            path: directory.path().join("log"),
            policy,
            segment_bytes_max: SEGMENT_BYTES,
            boot_id: 1,
            fresh_key: 7,
            company: Company::Others,
        };
        Bed { directory, options }
    }

    fn small(policy: SyncPolicy, segment_bytes_max: u64) -> Bed {
        let mut bed = Bed::new(policy);
        bed.options.segment_bytes_max = segment_bytes_max;
        bed
    }

    /// The machine lost its power.
    fn reboot(&mut self) {
        self.options.boot_id += 1;
    }

    /// A child that another test is just starting has all files of this process for a moment, and with them their locks.
    fn open(&self) -> FoundLog {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match open(&self.options) {
                Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::yield_now()
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Opens for the first time, or goes on.
    fn begin(&self) -> FileJournal {
        let found = self.open();
        let identity = found.recovered().identity.unwrap_or(identity(1));
        found.begin(identity).unwrap()
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.options.path.join(format!("segment-{number:016}.log"))
    }
}

fn identity(incarnation: u64) -> Identity {
    Identity {
        cluster: 0xc0ffee,
        replica: ReplicaId {
            node: NodeId(3),
            incarnation: Incarnation(incarnation),
        },
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot {
        round,
        replica: identity(1).replica,
    }
}

fn accepted(index: u64, round: u64, payload: &[u8]) -> Record {
    Record::Accepted {
        index: Index(index),
        ballot: ballot(round),
        entry: Entry::Batch {
            log_ms: index,
            payload: Bytes::copy_from_slice(payload),
        },
    }
}

fn base(index: u64) -> SnapshotBase {
    SnapshotBase {
        index: Index(index),
        config: Config::default(),
        log_ms: index,
    }
}

fn append(journal: &FileJournal, group: GroupId, records: &[Record]) {
    journal.append(&batch(group, records)).unwrap();
}

fn batch(group: GroupId, records: &[Record]) -> JournalBatch {
    let mut batch = JournalBatch::default();
    for record in records {
        batch.push(group, GENERATION, record);
    }
    batch
}

fn checkpoint(journal: &FileJournal, group: GroupId, index: u64, chunks: &[&[u8]]) {
    let mut checkpoint = journal.begin_checkpoint(group, GENERATION).unwrap();
    for chunk in chunks {
        checkpoint.chunk(chunk).unwrap();
    }
    checkpoint.finish(&base(index)).unwrap();
}

/// Indexes that the log holds of the only group.
fn indexes(found: &FoundLog) -> Vec<u64> {
    let groups = &found.recovered().groups;
    assert!(groups.len() <= 1, "{groups:?}");
    groups
        .iter()
        .flat_map(|group| group.log.iter().map(|entry| entry.index.0))
        .collect()
}

fn verdict(found: &FoundLog) -> &Verdict {
    &found.recovered().verdict
}

fn doubt(found: &FoundLog) -> &Doubt {
    match verdict(found) {
        Verdict::NewIncarnation(doubt) => doubt,
        Verdict::Keep => panic!("no doubt"),
    }
}
