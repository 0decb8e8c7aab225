//! Streams as bytes: the items of a piece ([`crate::collection::encoding`]) are records, integers little endian.
//!
//! ```text
//! 0 head      16 last id, 16 highest id removed by itself, 8 entries ever
//! 1 entry     16 id, 4 length, fields as they are kept
//! 2 group     4 length, name, 16 last id, 8 entries read (all ones: cannot be told), 8 last consumer's number
//! 3 consumer  8 number, 8 last seen, 4 length, name
//! 4 pending   16 id, 8 consumer's number, 8 last handed out, 8 how often
//! ```
//!
//! The head comes first, then the entries, then each group with its consumers and what is pending with them. An id is
//! its two numbers.

use super::fields::is_packed;
use super::{Group, Pending, Stream, StreamId};

const HEAD: u8 = 0;
const ENTRY: u8 = 1;
const GROUP: u8 = 2;
const CONSUMER: u8 = 3;
const PENDING: u8 = 4;

/// Bytes that are no records of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::collection) struct RecordError;

fn push_id(out: &mut Vec<u8>, id: StreamId) {
    out.extend_from_slice(&id.ms.to_le_bytes());
    out.extend_from_slice(&id.seq.to_le_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// What is read from.
struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(RecordError)?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u64, RecordError> {
        self.take().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Result<StreamId, RecordError> {
        Ok(StreamId {
            ms: self.number()?,
            seq: self.number()?,
        })
    }

    fn text(&mut self) -> Result<&'a [u8], RecordError> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(RecordError)?;
        self.0 = rest;
        Ok(text)
    }
}

impl Group {
    /// How many records there are of it.
    fn records_len(&self) -> usize {
        1 + self.consumers_len() + self.pending_len()
    }

    /// Hands its records from a position on to `put`, until that returns false; whether it never did.
    fn encode_from(
        &self,
        from: usize,
        out: &mut Vec<u8>,
        go_on: &mut impl FnMut(&Vec<u8>) -> bool,
    ) -> bool {
        if from == 0 {
            if !go_on(out) {
                return false;
            }
            out.push(GROUP);
            push_text(out, self.name());
            push_id(out, self.last_id());
            let read = self.entries_read().unwrap_or(u64::MAX);
            out.extend_from_slice(&read.to_le_bytes());
            out.extend_from_slice(&self.last_number().to_le_bytes());
        }
        for consumer in self.consumers_from(from.saturating_sub(1)) {
            if !go_on(out) {
                return false;
            }
            out.push(CONSUMER);
            out.extend_from_slice(&consumer.number.to_le_bytes());
            out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            push_text(out, consumer.name);
        }
        let from = from.saturating_sub(1 + self.consumers_len());
        for pending in self.pending_from_rank(from) {
            if !go_on(out) {
                return false;
            }
            out.push(PENDING);
            push_id(out, pending.id);
            out.extend_from_slice(&pending.consumer.to_le_bytes());
            out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            out.extend_from_slice(&pending.deliveries.to_le_bytes());
        }
        true
    }
}

impl Stream {
    /// Appends records from the one at a position on, at least one if there is one, until about `bytes_max` bytes are
    /// there. Returns where the next piece begins; none if there is none.
    pub(in crate::collection) fn encode_records(
        &self,
        from: usize,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let (begin, mut next) = (out.len(), from);
        let mut go_on = |out: &Vec<u8>| {
            let is_room = next == from || out.len() - begin < bytes_max;
            next += usize::from(is_room);
            is_room
        };
        if from == 0 && go_on(out) {
            out.push(HEAD);
            push_id(out, self.last_id);
            push_id(out, self.max_deleted_id);
            out.extend_from_slice(&self.entries_added.to_le_bytes());
        }
        for item in self.entries.iter_from(from.saturating_sub(1)) {
            if !go_on(out) {
                return Some(next);
            }
            out.push(ENTRY);
            push_id(out, super::id_of(&item));
            push_text(out, item.value);
        }
        let mut before = 1 + self.len();
        for group in self.groups() {
            let len = group.records_len();
            if from < before + len
                && !group.encode_from(from.saturating_sub(before), out, &mut go_on)
            {
                return Some(next);
            }
            before += len;
        }
        None
    }

    /// Adds what records say.
    ///
    /// # Errors
    /// [`RecordError`]: something may have been added.
    pub(in crate::collection) fn extend_records(
        &mut self,
        records: &[u8],
    ) -> Result<(), RecordError> {
        let mut records = Records(records);
        while !records.0.is_empty() {
            match records.take::<1>()?[0] {
                HEAD => {
                    self.last_id = records.id()?;
                    self.max_deleted_id = records.id()?;
                    self.entries_added = records.number()?;
                }
                ENTRY => {
                    let (id, fields) = (records.id()?, records.text()?);
                    let top = self.iter_back(self.len()).next().map(|entry| entry.id);
                    if id > self.last_id || top.is_some_and(|top| top >= id) || !is_packed(fields) {
                        return Err(RecordError);
                    }
                    self.push_packed(id, fields);
                }
                GROUP => self.add_group(&mut records)?,
                CONSUMER => {
                    let (number, seen_ms) = (records.number()?, records.number()? as i64);
                    let name = records.text()?;
                    self.edit_last_group(|group| {
                        let is_new = group.consumer(name).is_none();
                        let is_free = group.name_of(number).is_none();
                        if is_new && is_free && number <= group.last_number() {
                            group.put_consumer(name, number, seen_ms);
                            return Ok(());
                        }
                        Err(RecordError)
                    })?;
                }
                PENDING => {
                    let pending = Pending {
                        id: records.id()?,
                        consumer: records.number()?,
                        delivered_ms: records.number()? as i64,
                        deliveries: records.number()?,
                    };
                    self.edit_last_group(|group| {
                        let is_known = group.name_of(pending.consumer).is_some();
                        if is_known && group.pending(pending.id).is_none() {
                            group.give(pending);
                            return Ok(());
                        }
                        Err(RecordError)
                    })?;
                }
                _ => return Err(RecordError),
            }
        }
        Ok(())
    }

    fn add_group(&mut self, records: &mut Records<'_>) -> Result<(), RecordError> {
        let (name, last_id, read) = (records.text()?, records.id()?, records.number()?);
        let number = records.number()?;
        let last = self.groups().last();
        if last.is_some_and(|last| last.name() >= name) {
            return Err(RecordError);
        }
        let read = (read != u64::MAX).then_some(read);
        self.make_group(name, last_id, read);
        self.edit_last_group(|group| {
            group.set_last_number(number);
            Ok(())
        })
    }

    fn edit_last_group(
        &mut self,
        change: impl FnOnce(&mut Group) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let last = self.groups.len().checked_sub(1).ok_or(RecordError)?;
        self.edit_group_at(last, change)
    }
}
