//! Reading a segment, and telling where it ends.

use bytes::Bytes;
use node::journal::layout::{HEAD_BYTES, HEADER_BYTES, LayoutError, RecordHead, SegmentHeader};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: BufReader<File>,
    bytes: u64,
    offset: u64,
}

/// What stands next in a segment.
#[derive(Debug)]
pub(super) enum Found {
    Record(RecordHead, Bytes),
    /// Nothing: the file ends where a record could begin.
    End,
    /// No record. A search for later ones begins at `search_from`.
    Bad {
        damage: Damage,
        search_from: u64,
    },
}

/// What is wrong where a record should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The file ends within the record, as after a write that was cut short.
    CutShort,
    /// All its bytes are there, but they are others.
    Changed,
}

/// A segment's header, with what tells whether the file is the one that was written.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) reader: SegmentReader,
    pub(super) header: Result<SegmentHeader, LayoutError>,
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Opens a segment. A file too short for a header counts as one with a damaged header.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut reader = SegmentReader {
        file: BufReader::with_capacity(READ_BYTES, file),
        bytes: metadata.len(),
        offset: HEADER_BYTES as u64,
    };
    let mut bytes = [0; HEADER_BYTES];
    let header = if reader.bytes < HEADER_BYTES as u64 {
        Err(LayoutError::Damaged)
    } else {
        reader.file.read_exact(&mut bytes)?;
        SegmentHeader::decode(&bytes)
    };
    Ok(Opened {
        reader,
        header,
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

impl SegmentReader {
    /// Bytes of the whole file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record, which must have this lsn. After anything but a record, there is no next.
    pub(super) fn next(&mut self, lsn: u64) -> io::Result<Found> {
        let left = self.bytes.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Found::End);
        }
        let bad = |damage, search_from| {
            Ok(Found::Bad {
                damage,
                search_from,
            })
        };
        if left < HEAD_BYTES as u64 {
            return bad(Damage::CutShort, self.bytes);
        }
        let mut head = [0; HEAD_BYTES];
        self.file.read_exact(&mut head)?;
        let head = match RecordHead::decode(&head) {
            Ok(head) if head.lsn == lsn => head,
            Ok(_) | Err(_) => return bad(Damage::Changed, self.offset + 1),
        };
        let payload_bytes = u64::from(head.payload_bytes);
        let end = self.offset + HEAD_BYTES as u64 + payload_bytes;
        if end > self.bytes {
            return bad(Damage::CutShort, self.bytes);
        }
        let mut payload = vec![0; payload_bytes as usize];
        self.file.read_exact(&mut payload)?;
        if crc32fast::hash(&payload) != head.payload_checksum {
            return bad(Damage::Changed, end);
        }
        self.offset = end;
        Ok(Found::Record(head, payload.into()))
    }

    /// Whether any record later than `lsn` stands from `from` on: then, the highest lsn below which all was on the disk
    /// when one of them was written. Looks at every byte; of use only after damage.
    pub(super) fn later_than(&mut self, lsn: u64, from: u64) -> io::Result<Option<u64>> {
        self.file.seek(SeekFrom::Start(from.min(self.bytes)))?;
        let mut rest = Vec::new();
        self.file.read_to_end(&mut rest)?;
        let mut durable = None;
        for window in rest.windows(HEAD_BYTES) {
            let window = window.try_into().expect("windows are that long");
            if let Ok(head) = RecordHead::decode(window)
                && head.lsn > lsn
            {
                durable = durable.max(Some(head.durable));
            }
        }
        Ok(durable)
    }
}
