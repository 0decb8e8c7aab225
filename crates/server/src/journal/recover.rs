//! Reading a log at start: what the groups remember, whether that is all, and where the log goes on.

use super::checkpoint::{self, FileReader, ReadError};
use super::directory::{CheckpointName, Directory, Listing};
use super::scan::{self, Damage, Found, SegmentReader};
use super::segments::{Group, Life, Segment};
use super::{Company, OpenError};
use node::journal::layout::{
    self, HEADER_BYTES, LayoutError, RecordHead, RecordKind, SegmentHeader,
};
use node::journal::{
    CheckpointReader, Doubt, GroupId, GroupMemory, Record, Recovered, RecoveredGroup, Replay,
    SyncPolicy, Verdict,
};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;

/// What a log holds, and what is to be done before it goes on.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) recovered: Recovered,
    /// `None`: the file is to be written.
    pub(super) node_key: Option<u128>,
    /// Segments that stay, whole, each as of the incarnation that wrote last.
    pub(super) segments: VecDeque<Segment>,
    /// The header of the last of them.
    pub(super) last_header: Option<SegmentHeader>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Of the first record that comes.
    pub(super) next_lsn: u64,
    /// Whether the last segment says already that another follows.
    pub(super) is_sealed: bool,
    /// The last segment is to be cut to its bytes as in `segments`.
    pub(super) is_cut: bool,
    /// Files that are of no use any more.
    pub(super) useless: Vec<PathBuf>,
}

/// A segment whose header could be read.
struct Headed {
    number: u64,
    path: PathBuf,
    header: SegmentHeader,
    reader: SegmentReader,
    /// If the file is not the one that was written.
    copied: Option<Doubt>,
}

/// Reads everything. Nothing on the disk is changed.
pub(super) fn recover(
    directory: &Directory,
    boot_id: u128,
    company: Company,
) -> Result<Recovery, OpenError> {
    let unusable = |source| OpenError::Unusable {
        path: directory.path().into(),
        source,
    };
    let listing = directory.list().map_err(unusable)?;
    let mut doubts = Vec::new();
    let mut useless = Vec::new();
    let headed = read_headers(directory, &listing, boot_id, &mut doubts, &mut useless)?;
    let node_key = check_key(directory, &headed, &mut doubts)?;
    let mut replay = Replay::default();
    let checkpoints =
        read_checkpoints(directory, &listing, &mut replay, &mut doubts, &mut useless)?;
    let mut walk = Walk {
        boot_id,
        company,
        replay,
        doubts,
        life_doubts: Vec::new(),
        segments: VecDeque::new(),
        last_header: None,
        next_lsn: 0,
        last_kind: None,
        oldest: 0,
        is_cut: false,
        useless,
    };
    walk.walk(headed).map_err(unusable)?;
    walk.finish(directory, node_key, checkpoints)
}

/// Opens all segments. One whose header never was completed is of no use; if it is not the last, it is damage.
fn read_headers(
    directory: &Directory,
    listing: &Listing,
    boot_id: u128,
    doubts: &mut Vec<Doubt>,
    useless: &mut Vec<PathBuf>,
) -> Result<Vec<Headed>, OpenError> {
    let mut headed = Vec::new();
    for (place, &number) in listing.segments.iter().enumerate() {
        let path = directory.segment(number);
        let opened = scan::open(&path).map_err(|source| OpenError::Unusable {
            path: path.clone(),
            source,
        })?;
        let header = match opened.header {
            Ok(header) => header,
            Err(error @ LayoutError::Newer(_)) => return Err(OpenError::format(&path, error)),
            Err(LayoutError::Damaged) => {
                let is_last = place + 1 == listing.segments.len();
                if !is_last || opened.reader.bytes() > HEADER_BYTES as u64 {
                    doubts.push(corrupt(&path, 0));
                }
                // What follows a segment that cannot be read cannot be used either.
                let rest = &listing.segments[place..];
                useless.extend(rest.iter().rev().map(|&number| directory.segment(number)));
                break;
            }
        };
        let is_device = opened.device == header.device || header.boot_id != boot_id;
        let is_original = opened.inode == header.inode && is_device && header.number == number;
        let file = path.display().to_string();
        let copied = (!is_original).then_some(Doubt::Copied { file });
        headed.push(Headed {
            number,
            path,
            header,
            reader: opened.reader,
            copied,
        });
    }
    Ok(headed)
}

/// The node key, which all segments must have.
fn check_key(
    directory: &Directory,
    headed: &[Headed],
    doubts: &mut Vec<Doubt>,
) -> Result<Option<u128>, OpenError> {
    let key = directory.read_key()?;
    let expected = key.or(headed.first().map(|first| first.header.node_key));
    for segment in headed {
        if Some(segment.header.node_key) != expected {
            return Err(OpenError::ForeignKey {
                file: segment.path.clone(),
            });
        }
    }
    if key.is_none() && !headed.is_empty() {
        let file = directory.key_file().display().to_string();
        doubts.push(Doubt::Corrupt { file, offset: 0 });
    }
    Ok(key)
}

/// Verifies the last checkpoint of every group and tells `replay` of it. Gives their sizes.
fn read_checkpoints(
    directory: &Directory,
    listing: &Listing,
    replay: &mut Replay,
    doubts: &mut Vec<Doubt>,
    useless: &mut Vec<PathBuf>,
) -> Result<BTreeMap<GroupId, (CheckpointName, u64)>, OpenError> {
    let mut last: BTreeMap<GroupId, CheckpointName> = BTreeMap::new();
    for &name in &listing.checkpoints {
        // Ascending: the later one of a group replaces the earlier.
        if let Some(earlier) = last.insert(name.group, name) {
            useless.push(directory.checkpoint(earlier));
        }
    }
    let mut sizes = BTreeMap::new();
    for (group, name) in last {
        let path = directory.checkpoint(name);
        match checkpoint::verify(directory, name) {
            Ok(verified) => {
                replay.checkpoint(group, name.generation, verified.base);
                sizes.insert(group, (name, verified.bytes));
            }
            Err(ReadError::Layout(LayoutError::Damaged)) => {
                let file = path.display().to_string();
                doubts.push(Doubt::CheckpointCorrupt { file });
                useless.push(path);
            }
            Err(ReadError::Layout(error @ LayoutError::Newer(_))) => {
                return Err(OpenError::format(&path, error));
            }
            Err(ReadError::Disk(source)) => return Err(OpenError::Unusable { path, source }),
        }
    }
    Ok(sizes)
}

/// The way through all records.
struct Walk {
    boot_id: u128,
    company: Company,
    replay: Replay,
    doubts: Vec<Doubt>,
    /// Of what the last incarnation wrote alone: what earlier ones wrote has no vote anyway.
    life_doubts: Vec<Doubt>,
    segments: VecDeque<Segment>,
    last_header: Option<SegmentHeader>,
    next_lsn: u64,
    last_kind: Option<RecordKind>,
    /// Segments from this number on must be there.
    oldest: u64,
    is_cut: bool,
    useless: Vec<PathBuf>,
}

/// How a segment ended.
enum Ending {
    /// It is whole, and says that another follows.
    Sealed,
    /// Its last record is followed by nothing.
    Open,
    Bad {
        damage: Damage,
        search_from: u64,
    },
}

impl Walk {
    fn walk(&mut self, headed: Vec<Headed>) -> io::Result<()> {
        let mut rest = VecDeque::from(headed);
        self.next_lsn = rest.front().map_or(1, |first| first.header.first_lsn);
        while let Some(mut segment) = rest.pop_front() {
            let header = segment.header;
            let expected = self
                .last_header
                .map_or(segment.number, |last| last.number + 1);
            if segment.number != expected || header.first_lsn != self.next_lsn {
                self.doubts.push(Doubt::SegmentMissing { number: expected });
                self.give_up(segment, rest);
                return Ok(());
            }
            let is_unused = segment.reader.bytes() == HEADER_BYTES as u64 && rest.is_empty();
            if is_unused && self.last_header.is_some() {
                // Begun and never written to: nothing rests on it, not even who began it.
                self.useless.push(segment.path);
                return Ok(());
            }
            if self
                .last_header
                .is_some_and(|last| last.identity != header.identity)
            {
                self.replay.begin_life();
                self.life_doubts.clear();
                for earlier in &mut self.segments {
                    earlier.life = Life::Earlier;
                }
            }
            self.life_doubts.extend(segment.copied.take());
            self.oldest = self.oldest.max(header.oldest);
            let fresh = Segment::new(segment.number, 0, Life::This);
            self.segments.push_back(fresh);
            self.last_header = Some(header);
            let ending = self.read(&mut segment)?;
            let newest = self.segments.back_mut().expect("it was just put there");
            newest.bytes = segment.reader.offset();
            let (damage, search_from) = match ending {
                Ending::Sealed => continue,
                Ending::Open if rest.is_empty() => return Ok(()),
                Ending::Open => (Damage::CutShort, segment.reader.bytes()),
                Ending::Bad {
                    damage,
                    search_from,
                } => (damage, search_from),
            };
            return self.end_at_damage(segment, rest, damage, search_from);
        }
        Ok(())
    }

    /// Reads a segment's records as far as they are whole.
    fn read(&mut self, segment: &mut Headed) -> io::Result<Ending> {
        let mut sealed = false;
        loop {
            let at = segment.reader.offset();
            match segment.reader.next(self.next_lsn)? {
                Found::Record(head, payload) if !sealed => {
                    let bytes = segment.reader.offset() - at;
                    if self.record(&head, payload, bytes).is_err() {
                        // Its checksums hold: not damage, but bytes that we would not have written.
                        self.life_doubts.push(corrupt(&segment.path, at));
                    }
                    self.next_lsn += 1;
                    self.last_kind = Some(head.kind);
                    sealed = head.kind == RecordKind::Sealed;
                }
                Found::End if sealed => return Ok(Ending::Sealed),
                Found::End => return Ok(Ending::Open),
                Found::Record(..) => {
                    return Ok(Ending::Bad {
                        damage: Damage::Changed,
                        search_from: at,
                    });
                }
                Found::Bad {
                    damage,
                    search_from,
                } => {
                    return Ok(Ending::Bad {
                        damage,
                        search_from,
                    });
                }
            }
        }
    }

    fn record(
        &mut self,
        head: &RecordHead,
        payload: bytes::Bytes,
        bytes: u64,
    ) -> Result<(), LayoutError> {
        let newest = self.segments.back_mut().expect("it is being read");
        let mut rest = payload.clone();
        match head.kind {
            RecordKind::Accepted => {}
            RecordKind::Moved => {
                layout::take_number(&mut rest)?;
            }
            RecordKind::Trimmed => {
                self.oldest = self.oldest.max(layout::take_number(&mut rest)?);
                return Ok(());
            }
            RecordKind::Promised
            | RecordKind::Chosen
            | RecordKind::Base
            | RecordKind::Standing
            | RecordKind::Sealed
            | RecordKind::Closed
            | RecordKind::LogTime => return self.replay.record(head, payload),
        }
        if let Record::Accepted { index, .. } = layout::decode_record(RecordKind::Accepted, rest)? {
            newest.pin(head.group, head.generation, index, bytes);
        }
        self.replay.record(head, payload)
    }

    /// The records end before the files do: as a crash leaves them, or damaged later?
    ///
    /// A process that is killed leaves a record that was cut short. A loss of power may leave anything in what was not
    /// synced. So records that are whole but later than the bad one speak of damage if the system did not go down
    /// since, or if one of them was written when the bad one was known to be on the disk.
    fn end_at_damage(
        &mut self,
        mut segment: Headed,
        rest: VecDeque<Headed>,
        damage: Damage,
        search_from: u64,
    ) -> io::Result<()> {
        let lost = self.next_lsn;
        let mut durable = segment.reader.later_than(lost, search_from)?;
        let mut rest = rest;
        for later in &mut rest {
            durable = durable.max(later.reader.later_than(lost, HEADER_BYTES as u64)?);
        }
        let is_same_boot = segment.header.boot_id == self.boot_id;
        let is_corrupt = match durable {
            Some(durable) => is_same_boot || durable > lost,
            None => is_same_boot && damage == Damage::Changed,
        };
        let at = segment.reader.offset();
        if is_corrupt {
            self.doubts.push(corrupt(&segment.path, at));
        }
        self.is_cut = true;
        // From the last on, so that never one is left without those before it.
        let later = rest.into_iter().rev().map(|later| later.path);
        self.useless.extend(later);
        Ok(())
    }

    /// A segment does not follow the one before: it and the rest are of no use.
    fn give_up(&mut self, segment: Headed, rest: VecDeque<Headed>) {
        let later = rest.into_iter().rev().map(|later| later.path);
        self.useless.extend(later);
        self.useless.push(segment.path);
    }

    fn finish(
        mut self,
        directory: &Directory,
        node_key: Option<u128>,
        checkpoints: BTreeMap<GroupId, (CheckpointName, u64)>,
    ) -> Result<Recovery, OpenError> {
        if let Some(first) = self.segments.front()
            && first.number > self.oldest
        {
            let number = self.oldest;
            self.doubts.push(Doubt::SegmentMissing { number });
        }
        let is_sealed = self.last_kind == Some(RecordKind::Sealed) && !self.is_cut;
        if is_sealed && self.useless_segments() == 0 {
            let number = self.last_header.map_or(0, |last| last.number + 1);
            self.doubts.push(Doubt::SegmentMissing { number });
        }
        let (mut memories, lacking) = std::mem::take(&mut self.replay).finish();
        self.doubts.append(&mut self.life_doubts);
        self.doubts.extend(lacking);
        let verdict = self.verdict();
        if verdict != Verdict::Keep {
            memories.iter_mut().for_each(GroupMemory::forget_votes);
        }
        let mut groups = BTreeMap::new();
        let mut recovered = Vec::new();
        for memory in memories {
            let held = checkpoints
                .get(&memory.group)
                .filter(|(name, _)| name.index == memory.base.index && name.index.0 > 0);
            let checkpoint_bytes = held.map_or(0, |(_, bytes)| *bytes);
            groups.insert(memory.group, group_of(&memory, checkpoint_bytes));
            let checkpoint = match held {
                Some((name, _)) => Some(read_again(directory, *name)?),
                None => None,
            };
            recovered.push(RecoveredGroup {
                group: memory.group,
                generation: memory.generation,
                promised: memory.promised,
                base: memory.base,
                checkpoint,
                log: memory.log,
                chosen: memory.chosen,
                log_ms_ceiling: memory.log_ms_ceiling,
            });
        }
        Ok(Recovery {
            recovered: Recovered {
                identity: self.last_header.map(|header| header.identity),
                verdict,
                groups: recovered,
            },
            node_key,
            segments: self.segments,
            last_header: self.last_header,
            groups,
            next_lsn: self.next_lsn,
            is_sealed,
            is_cut: self.is_cut,
            useless: self.useless,
        })
    }

    fn useless_segments(&self) -> usize {
        let is_segment =
            |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "log");
        self.useless.iter().filter(is_segment).count()
    }

    /// The table of DESIGN-PAXOS §3.10.
    fn verdict(&mut self) -> Verdict {
        let Some(header) = self.last_header else {
            let doubt = self.doubts.drain(..).next();
            return Verdict::NewIncarnation(doubt.unwrap_or(Doubt::FirstStart));
        };
        let company = self.company;
        let mut doubts = self.doubts.drain(..);
        if let Some(doubt) = doubts.find(|doubt| !is_forgiven(company, doubt)) {
            return Verdict::NewIncarnation(doubt);
        }
        let is_closed = self.last_kind == Some(RecordKind::Closed) && !self.is_cut;
        let is_whole = match header.policy {
            SyncPolicy::Always => true,
            // Whatever a process wrote outlives it, as long as the kernel lives.
            SyncPolicy::EverySecond | SyncPolicy::Never => {
                is_closed || header.boot_id == self.boot_id
            }
        };
        if is_whole || is_forgiven(company, &Doubt::Unsynced) {
            Verdict::Keep
        } else {
            Verdict::NewIncarnation(Doubt::Unsynced)
        }
    }
}

/// Whether a doubt is none without company: the memory may be an earlier one, but is whole in itself.
fn is_forgiven(company: Company, doubt: &Doubt) -> bool {
    match doubt {
        Doubt::Unsynced | Doubt::Copied { .. } => company == Company::Nobody,
        Doubt::FirstStart
        | Doubt::Corrupt { .. }
        | Doubt::SegmentMissing { .. }
        | Doubt::CheckpointMissing { .. }
        | Doubt::CheckpointCorrupt { .. }
        | Doubt::EntryMissing { .. } => false,
    }
}

fn group_of(memory: &GroupMemory, checkpoint_bytes: u64) -> Group {
    Group {
        generation: memory.generation,
        promised: memory.promised,
        chosen: memory.chosen,
        log_ms_ceiling: memory.log_ms_ceiling,
        base: memory.base.index,
        checkpoint_bytes,
        inherited: memory.inherited,
        checkpoints_open: 0,
    }
}

fn read_again(
    directory: &Directory,
    name: CheckpointName,
) -> Result<Box<dyn CheckpointReader>, OpenError> {
    let path = directory.checkpoint(name);
    match FileReader::open(&path) {
        Ok((reader, ..)) => Ok(Box::new(reader)),
        Err(ReadError::Disk(source)) => Err(OpenError::Unusable { path, source }),
        Err(ReadError::Layout(error)) => Err(OpenError::format(&path, error)),
    }
}

fn corrupt(path: &std::path::Path, offset: u64) -> Doubt {
    Doubt::Corrupt {
        file: path.display().to_string(),
        offset,
    }
}
