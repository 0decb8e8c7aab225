//! The open log: appending, syncing, beginning segments, installing checkpoints. Shared by the callers, the checkpoints
//! under way and the keeper's thread.
//!
//! - Locks are taken in the order `keeping`, `synced`, `writer`. `synced` is held over a sync: whoever comes meanwhile
//!   waits, and mostly finds that his records were synced with the others'.
//! - After any failure of the disk nothing is written any more: what a failed sync left on the disk is unknown, and a
//!   second one may say yes without having written (the kernel drops the pages that it could not write).

use super::directory::{CheckpointName, Directory};
use super::segments::{Life, Segment, Segments};
use bytes::Bytes;
use node::journal::layout::{HEAD_BYTES, HEADER_BYTES, RecordHead, RecordKind, SegmentHeader};
use node::journal::{BatchRecord, GroupId, JournalBatch, JournalError, JournalUsage, SyncPolicy};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Pieces handed to one system call at most; the system takes 1024.
const PIECES_MAX: usize = 1000;
/// Bytes that a batch may gather for one call before its room is given back.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Directory,
    pub(super) policy: SyncPolicy,
    pub(super) segment_bytes_max: u64,
    pub(super) writer: Mutex<Writer>,
    /// All records below this are on the disk.
    synced: Mutex<u64>,
    /// The same, for whoever only looks.
    durable: AtomicU64,
    failed: OnceLock<JournalError>,
    closed: AtomicBool,
    /// One at a time moves records, deletes segments or installs a checkpoint.
    pub(super) keeping: Mutex<()>,
}

/// What writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// The newest segment.
    pub(super) file: Arc<File>,
    /// As the newest segment has it.
    pub(super) header: SegmentHeader,
    pub(super) segments: Segments,
    pub(super) next_lsn: u64,
    /// Written to since the last sync and not written to any more; the directory, if it has new files.
    unsynced: Vec<Arc<File>>,
    scratch: Vec<u8>,
    /// Checkpoints ever begun.
    checkpoints_count: u64,
}

impl Writer {
    pub(super) fn new(
        file: File,
        header: SegmentHeader,
        segments: Segments,
        next_lsn: u64,
    ) -> Writer {
        Writer {
            file: Arc::new(file),
            header,
            segments,
            next_lsn,
            unsynced: Vec::new(),
            scratch: Vec::new(),
            checkpoints_count: 0,
        }
    }

    /// Writes the batch to the newest segment, whatever its size.
    pub(super) fn write(&mut self, batch: &JournalBatch, durable: u64) -> io::Result<()> {
        self.scratch.clear();
        // Where shared payloads stand between the bytes of `scratch`.
        let mut shared: Vec<(usize, &Bytes)> = Vec::new();
        for record in batch.records() {
            let head = RecordHead {
                payload_checksum: record.checksum,
                payload_bytes: record.payload_bytes() as u32,
                group: record.group,
                lsn: self.next_lsn,
                durable,
                generation: record.generation,
                kind: record.kind,
            };
            self.next_lsn += 1;
            self.scratch.extend_from_slice(&head.encode());
            self.scratch.extend_from_slice(record.payload);
            if !record.shared.is_empty() {
                shared.push((self.scratch.len(), record.shared));
            }
            self.segments.note(&record, record_bytes(&record));
        }
        write_pieces(&self.file, &self.scratch, &shared)?;
        if self.scratch.len() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// Ends the newest segment and begins another, with all that holds beside entries.
    fn begin_segment(&mut self, directory: &Directory, durable: u64) -> io::Result<()> {
        let header = SegmentHeader {
            number: self.header.number + 1,
            oldest: self.segments.list[0].number,
            first_lsn: self.next_lsn + 1,
            ..self.header
        };
        let (file, header) = create_segment(directory, header)?;
        let mut batch = JournalBatch::default();
        batch.push_mark(RecordKind::Sealed);
        self.write(&batch, durable)?;
        let sealed = std::mem::replace(&mut self.file, Arc::new(file));
        self.unsynced.push(sealed);
        self.unsynced.push(directory.handle());
        self.header = header;
        let segment = Segment::new(header.number, HEADER_BYTES as u64, Life::This);
        self.segments.list.push_back(segment);
        let standings = self.standings();
        self.write(&standings, durable)
    }

    /// What holds of every group beside its entries.
    pub(super) fn standings(&self) -> JournalBatch {
        let mut batch = JournalBatch::default();
        for (id, group) in &self.segments.groups {
            batch.push_standing(*id, group.generation, &group.standing());
        }
        batch
    }
}

/// Creates a segment's file and writes its header, which is given back with what only the file knows.
pub(super) fn create_segment(
    directory: &Directory,
    header: SegmentHeader,
) -> io::Result<(File, SegmentHeader)> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(directory.segment(header.number))?;
    let metadata = file.metadata()?;
    let header = SegmentHeader {
        device: metadata.dev(),
        inode: metadata.ino(),
        ..header
    };
    file.write_all(&header.encode())?;
    Ok((file, header))
}

/// Bytes of a record on disk.
fn record_bytes(record: &BatchRecord<'_>) -> u64 {
    (HEAD_BYTES + record.payload_bytes()) as u64
}

/// Writes `bytes` with `shared` between them, each at its place.
fn write_pieces(mut file: &File, bytes: &[u8], shared: &[(usize, &Bytes)]) -> io::Result<()> {
    let mut pieces = Vec::with_capacity(2 * shared.len() + 1);
    let mut from = 0;
    for (place, payload) in shared {
        pieces.push(IoSlice::new(&bytes[from..*place]));
        pieces.push(IoSlice::new(payload));
        from = *place;
    }
    if from < bytes.len() {
        pieces.push(IoSlice::new(&bytes[from..]));
    }
    let mut left = &mut pieces[..];
    while !left.is_empty() {
        let count = left.len().min(PIECES_MAX);
        match file.write_vectored(&left[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Shared {
    /// All that was written so far is on the disk.
    pub(super) fn new(
        directory: Directory,
        policy: SyncPolicy,
        segment_bytes_max: u64,
        writer: Writer,
    ) -> Shared {
        let synced = writer.next_lsn;
        Shared {
            directory,
            policy,
            segment_bytes_max,
            writer: Mutex::new(writer),
            synced: Mutex::new(synced),
            durable: AtomicU64::new(synced),
            failed: OnceLock::new(),
            closed: AtomicBool::new(false),
            keeping: Mutex::new(()),
        }
    }

    /// Whether the log still goes on.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(JournalError("the log is closed".into()));
        }
        Ok(())
    }

    /// The log is over. Gives the error that everybody gets from now on: the first.
    pub(super) fn fail(&self, what: &str, error: &io::Error) -> JournalError {
        let path = self.directory.path().display();
        let text = format!("cannot {what} in {path}: {error}");
        self.failed.get_or_init(|| JournalError(text)).clone()
    }

    pub(super) fn append(&self, batch: &JournalBatch) -> Result<(), JournalError> {
        if batch.is_empty() {
            return self.check();
        }
        let end = self.write(batch)?;
        match self.policy {
            SyncPolicy::Always => self.sync(end),
            SyncPolicy::EverySecond | SyncPolicy::Never => Ok(()),
        }
    }

    /// Hands a batch to the system. Gives the lsn after it.
    fn write(&self, batch: &JournalBatch) -> Result<u64, JournalError> {
        let mut writer = self.writer.lock();
        // Under the lock: nobody writes behind another's half-written batch.
        self.check()?;
        let durable = self.durable.load(Ordering::Acquire);
        let newest = writer.segments.list.back().expect("one segment is written");
        let bytes: u64 = batch.records().map(|record| record_bytes(&record)).sum();
        // A segment that holds nothing but its beginning takes any batch; else standings alone could fill it for ever.
        let is_full = newest.bytes + bytes > self.segment_bytes_max && !newest.pins.is_empty();
        let result = if is_full || newest.bytes > 2 * self.segment_bytes_max {
            let begun = writer.begin_segment(&self.directory, durable);
            begun.and_then(|()| writer.write(batch, durable))
        } else {
            writer.write(batch, durable)
        };
        match result {
            Ok(()) => Ok(writer.next_lsn),
            Err(error) => Err(self.fail("write the log", &error)),
        }
    }

    /// Returns when all records below `lsn` are on the disk.
    fn sync(&self, lsn: u64) -> Result<(), JournalError> {
        let mut synced = self.synced.lock();
        // Also when there is nothing to do: a sync that failed has not told how far it came.
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        if *synced >= lsn {
            return Ok(());
        }
        let (file, old, upto) = {
            let mut writer = self.writer.lock();
            let old = std::mem::take(&mut writer.unsynced);
            (writer.file.clone(), old, writer.next_lsn)
        };
        old.iter()
            .try_for_each(|file| file.sync_all())
            .and_then(|()| file.sync_data())
            .map_err(|error| self.fail("sync the log", &error))?;
        *synced = upto;
        self.durable.store(upto, Ordering::Release);
        Ok(())
    }

    /// Returns when all that was written so far is on the disk.
    pub(super) fn sync_all(&self) -> Result<(), JournalError> {
        let end = self.writer.lock().next_lsn;
        self.sync(end)
    }

    /// A clean stop: all is on the disk, and says that nothing follows.
    pub(super) fn close(&self) -> Result<(), JournalError> {
        let mut batch = JournalBatch::default();
        batch.push_mark(RecordKind::Closed);
        {
            let mut writer = self.writer.lock();
            self.check()?;
            self.closed.store(true, Ordering::Release);
            let durable = self.durable.load(Ordering::Acquire);
            writer
                .write(&batch, durable)
                .map_err(|error| self.fail("write the log", &error))?;
        }
        self.sync_all()
    }

    pub(super) fn usage(&self) -> JournalUsage {
        let writer = self.writer.lock();
        JournalUsage {
            segments_count: writer.segments.list.len() as u64,
            segments_bytes: writer.segments.bytes(),
            checkpoints_bytes: writer.segments.checkpoints_bytes(),
            next_lsn: writer.next_lsn,
            durable_lsn: self.durable.load(Ordering::Acquire),
        }
    }

    /// Puts a finished checkpoint, whose bytes are on the disk, in the place of the one before. Says whether it was
    /// taken: not if there is a later one already.
    pub(super) fn install_checkpoint(
        &self,
        unfinished: &Path,
        name: CheckpointName,
        bytes: u64,
    ) -> Result<bool, JournalError> {
        let _keeping = self.keeping.lock();
        let is_stale = self
            .writer
            .lock()
            .segments
            .groups
            .get(&name.group)
            .is_some_and(|group| {
                (group.generation, group.base) >= (name.generation, name.index) && group.base.0 > 0
                    || group.generation > name.generation
            });
        if is_stale {
            return Ok(false);
        }
        let failed = |error: io::Error| self.fail("install a checkpoint", &error);
        fs::rename(unfinished, self.directory.checkpoint(name)).map_err(failed)?;
        self.directory.sync().map_err(failed)?;
        {
            let mut writer = self.writer.lock();
            let group = writer.segments.groups.entry(name.group).or_default();
            // The record that begins a generation may follow its first checkpoint.
            if group.generation <= name.generation {
                group.generation = name.generation;
                group.base = name.index;
                group.chosen = group.chosen.max(name.index);
                group.checkpoint_bytes = bytes;
            }
        }
        for old in self.directory.list().map_err(failed)?.checkpoints {
            if old.group == name.group && old != name {
                fs::remove_file(self.directory.checkpoint(old)).map_err(failed)?;
            }
        }
        Ok(true)
    }

    /// A checkpoint of the group is under way. Gives a number that no other has.
    pub(super) fn count_checkpoint(&self, group: GroupId) -> u64 {
        let mut writer = self.writer.lock();
        writer
            .segments
            .groups
            .entry(group)
            .or_default()
            .checkpoints_open += 1;
        writer.checkpoints_count += 1;
        writer.checkpoints_count
    }

    /// A checkpoint of the group is no longer under way.
    pub(super) fn end_checkpoint(&self, group: GroupId) {
        let mut writer = self.writer.lock();
        let group = writer.segments.groups.entry(group).or_default();
        group.checkpoints_open = group.checkpoints_open.saturating_sub(1);
    }
}
