//! Keeping the log small: segments that nobody needs are deleted, entries of groups that write little are written again
//! at the end so that their old segment may go. The rest is for checkpoints, which only the node can make.

use super::scan::{self, Found};
use super::segments::Segments;
use super::shared::Shared;
use bytes::Bytes;
use node::journal::layout::{self, RecordKind};
use node::journal::{Generation, GroupId, Index, JournalBatch, JournalError, Record, SyncPolicy};
use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Bytes of moved records that are appended at once.
const MOVE_BYTES_MAX: usize = 1 << 20;

/// What is moved of a group: entries of this generation above the base, up to the last that counts.
struct Wanted {
    generation: Generation,
    base: Index,
    last: Index,
}

impl Shared {
    /// One turn of housekeeping, to be called about once a second: syncs if it is time, moves, deletes.
    pub(super) fn keep_house(&self) -> Result<(), JournalError> {
        self.check()?;
        match self.policy {
            SyncPolicy::EverySecond => self.sync_all()?,
            SyncPolicy::Always | SyncPolicy::Never => {}
        }
        let _keeping = self.keeping.lock();
        self.delete_free()?;
        if self.move_oldest()? {
            self.delete_free()?;
        }
        Ok(())
    }

    /// Deletes the oldest segments that nobody needs.
    fn delete_free(&self) -> Result<(), JournalError> {
        let (count, oldest) = {
            let writer = self.writer.lock();
            let count = writer.segments.free_count();
            (count, writer.segments.list[count].number)
        };
        if count == 0 {
            return Ok(());
        }
        let mut batch = JournalBatch::default();
        batch.push_trimmed(oldest);
        self.append(&batch)?;
        // What makes them needless (standings, moved entries) must outlive a loss of power, as must the note that they
        // are not missing.
        self.sync_all()?;
        for _ in 0..count {
            let number = self.writer.lock().segments.list[0].number;
            // Each for good before the next, so that never one is left without its successors.
            fs::remove_file(self.directory.segment(number))
                .and_then(|()| self.directory.sync())
                .map_err(|error| self.fail("delete an old segment", &error))?;
            self.writer.lock().segments.list.pop_front();
        }
        Ok(())
    }

    /// While the log is too large: writes again what is better moved than covered by a checkpoint of the oldest
    /// segment's entries. Says whether there was any.
    fn move_oldest(&self) -> Result<bool, JournalError> {
        let (number, wanted) = {
            let writer = self.writer.lock();
            let segments = &writer.segments;
            if segments.list.len() == 1 || segments.excess_bytes(self.segment_bytes_max) == 0 {
                return Ok(false);
            }
            let oldest = &segments.list[0];
            let wanted: BTreeMap<GroupId, Wanted> = segments
                .needed_by(oldest)
                .filter(|(_, pin, group)| Segments::is_movable(pin, group, self.segment_bytes_max))
                .map(|(id, pin, group)| {
                    let wanted = Wanted {
                        generation: group.generation,
                        base: group.base,
                        last: segments.highest(oldest, &pin, group),
                    };
                    (id, wanted)
                })
                .collect();
            (oldest.number, wanted)
        };
        if wanted.is_empty() {
            return Ok(false);
        }
        self.move_from(number, &wanted)?;
        let mut writer = self.writer.lock();
        let oldest = &mut writer.segments.list[0];
        for group in wanted.keys() {
            oldest.pins.remove(group);
        }
        Ok(true)
    }

    fn move_from(
        &self,
        number: u64,
        wanted: &BTreeMap<GroupId, Wanted>,
    ) -> Result<(), JournalError> {
        let failed = |error: io::Error| self.fail("read an old segment", &error);
        let path = self.directory.segment(number);
        let mut opened = scan::open(&path).map_err(failed)?;
        let damaged = || failed(io::Error::other(format!("{} is damaged", path.display())));
        let mut lsn = opened.header.map_err(|_| damaged())?.first_lsn;
        let mut batch = JournalBatch::default();
        let mut batch_bytes = 0;
        loop {
            let (head, payload) = match opened.reader.next(lsn).map_err(failed)? {
                Found::Record(head, payload) => (head, payload),
                Found::End => break,
                Found::Bad { .. } => return Err(damaged()),
            };
            lsn += 1;
            let Some(wanted) = wanted.get(&head.group) else {
                continue;
            };
            let Some((origin, payload)) =
                entry_of(head.kind, head.lsn, payload).map_err(|()| damaged())?
            else {
                continue;
            };
            let record = layout::decode_record(RecordKind::Accepted, payload.clone());
            let Ok(Record::Accepted { index, .. }) = record else {
                return Err(damaged());
            };
            let is_wanted = wanted.base < index && index <= wanted.last;
            if head.generation != wanted.generation || !is_wanted {
                continue;
            }
            batch_bytes += payload.len();
            batch.push_moved(head.group, head.generation, origin, index, &payload);
            if batch_bytes >= MOVE_BYTES_MAX {
                self.append(&batch)?;
                batch.clear();
                batch_bytes = 0;
            }
        }
        self.append(&batch)
    }
}

/// The lsn and payload of the accepted record that a record is or repeats.
fn entry_of(kind: RecordKind, lsn: u64, mut payload: Bytes) -> Result<Option<(u64, Bytes)>, ()> {
    match kind {
        RecordKind::Accepted => Ok(Some((lsn, payload))),
        RecordKind::Moved => {
            let origin = layout::take_number(&mut payload).map_err(|_| ())?;
            Ok(Some((origin, payload)))
        }
        RecordKind::Promised
        | RecordKind::Chosen
        | RecordKind::Base
        | RecordKind::Standing
        | RecordKind::Sealed
        | RecordKind::Trimmed
        | RecordKind::Closed
        | RecordKind::LogTime => Ok(None),
    }
}
