//! Records on their way into the log.

use super::layout::{self, PAYLOAD_BYTES_MAX, RecordKind, Standing};
use super::{Ballot, Generation, GroupId, Index, Record};
use bytes::{BufMut, Bytes};

/// Entries' payloads from this length on are written from where they are, without a copy.
const SHARED_BYTES_MIN: usize = 4096;

/// Records of any groups, encoded and ready to be appended together.
///
/// - Checksums of payloads are taken when a record is pushed, before any lock of the log.
/// - What `bytes` holds of the records stands in their order without gaps.
#[derive(Debug, Default)]
pub struct JournalBatch {
    bytes: Vec<u8>,
    records: Vec<Pending>,
}

/// One of them: its place in `bytes` ends where the next begins.
#[derive(Debug)]
struct Pending {
    group: GroupId,
    generation: Generation,
    kind: RecordKind,
    note: Note,
    start: usize,
    checksum: u32,
    /// The end of the payload where that is long, else empty.
    shared: Bytes,
}

/// What the log's bookkeeping needs of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// This ballot is promised.
    Promised(Ballot),
    /// An entry of this index, accepted under this ballot.
    Entry(Index, Ballot),
    /// An entry of this index again; its promise stands elsewhere by now, or was another incarnation's.
    Moved(Index),
    /// All up to here is chosen.
    Chosen(Index),
    /// State was replaced up to here.
    Base(Index),
    /// Log time may have been shown up to here, ms.
    LogTime(u64),
    /// The log's own.
    Own,
}

/// A record as the log writes it: head, `payload`, `shared`.
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord<'a> {
    /// Whose.
    pub group: GroupId,
    /// Of the group.
    pub generation: Generation,
    /// What.
    pub kind: RecordKind,
    /// The same in short.
    pub note: Note,
    /// CRC-32 of both parts together.
    pub checksum: u32,
    /// The payload's first part.
    pub payload: &'a [u8],
    /// The payload's second part, to be written from where it is; mostly empty.
    pub shared: &'a Bytes,
}

impl BatchRecord<'_> {
    /// Bytes of the whole payload.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len() + self.shared.len()
    }
}

impl JournalBatch {
    /// Adds a record of a group. Payloads of 4 KiB and more are shared, shorter ones copied.
    pub fn push(&mut self, group: GroupId, generation: Generation, record: &Record) {
        let start = self.bytes.len();
        let (kind, mut shared) = layout::encode_record(record, &mut self.bytes);
        if shared.len() < SHARED_BYTES_MIN {
            self.bytes.put_slice(&shared);
            shared = Bytes::new();
        }
        let note = match record {
            Record::Promised(ballot) => Note::Promised(*ballot),
            Record::Accepted { index, ballot, .. } => Note::Entry(*index, *ballot),
            Record::Chosen(index) => Note::Chosen(*index),
            Record::Base(base) => Note::Base(base.index),
            Record::LogTime(ms) => Note::LogTime(*ms),
        };
        self.end_record(group, generation, kind, note, start, shared);
    }

    /// Adds what holds of a group beside its entries. The log does this where a segment begins.
    pub fn push_standing(&mut self, group: GroupId, generation: Generation, standing: &Standing) {
        let start = self.bytes.len();
        standing.encode(&mut self.bytes);
        let kind = RecordKind::Standing;
        self.end_record(group, generation, kind, Note::Own, start, Bytes::new());
    }

    /// Adds an accepted record of the log again, by its payload as it was read. The log does this when it frees segments.
    pub fn push_moved(
        &mut self,
        group: GroupId,
        generation: Generation,
        lsn: u64,
        index: Index,
        payload: &[u8],
    ) {
        let start = self.bytes.len();
        self.bytes.put_u64_le(lsn);
        self.bytes.put_slice(payload);
        let note = Note::Moved(index);
        self.end_record(
            group,
            generation,
            RecordKind::Moved,
            note,
            start,
            Bytes::new(),
        );
    }

    /// Adds a record of the log itself: a segment is sealed, or the log closed.
    pub fn push_mark(&mut self, kind: RecordKind) {
        let start = self.bytes.len();
        self.end_record(
            GroupId(0),
            Generation(0),
            kind,
            Note::Own,
            start,
            Bytes::new(),
        );
    }

    /// Adds that segments before `oldest` are being deleted.
    pub fn push_trimmed(&mut self, oldest: u64) {
        let start = self.bytes.len();
        self.bytes.put_u64_le(oldest);
        let (group, generation) = (GroupId(0), Generation(0));
        self.end_record(
            group,
            generation,
            RecordKind::Trimmed,
            Note::Own,
            start,
            Bytes::new(),
        );
    }

    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = BatchRecord<'_>> {
        self.records.iter().enumerate().map(|(place, record)| {
            let end = self
                .records
                .get(place + 1)
                .map_or(self.bytes.len(), |next| next.start);
            BatchRecord {
                group: record.group,
                generation: record.generation,
                kind: record.kind,
                note: record.note,
                checksum: record.checksum,
                payload: &self.bytes[record.start..end],
                shared: &record.shared,
            }
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets the records, keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    fn end_record(
        &mut self,
        group: GroupId,
        generation: Generation,
        kind: RecordKind,
        note: Note,
        start: usize,
        shared: Bytes,
    ) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.bytes[start..]);
        hasher.update(&shared);
        assert!(
            self.bytes.len() - start + shared.len() <= PAYLOAD_BYTES_MAX,
            "a record is larger than what can be read back"
        );
        self.records.push(Pending {
            group,
            generation,
            kind,
            note,
            start,
            checksum: hasher.finalize(),
            shared,
        });
    }
}
