//! Checkpoint files: written beside, renamed when whole; verified when the log is opened, read once more by the node.

use super::directory::{CheckpointName, Directory};
use super::shared::Shared;
use bytes::{BufMut, Bytes};
use node::journal::layout::{self, CHECKPOINT_HEADER_BYTES, CHUNK_BYTES_MAX, LayoutError};
use node::journal::{
    Checkpoint, CheckpointReader, Generation, GroupId, JournalError, SnapshotBase,
};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read or written at once.
const BUFFER_BYTES: usize = 1 << 18;
/// Bytes of a checkpoint's end at most.
const END_BYTES_MAX: u32 = 1 << 20;

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct FileCheckpoint {
    shared: Arc<Shared>,
    group: GroupId,
    generation: Generation,
    /// `None` once it is finished.
    unfinished: Option<PathBuf>,
    file: BufWriter<File>,
    chunks_count: u64,
    bytes: u64,
}

impl FileCheckpoint {
    /// `number` tells it from others of the group.
    pub(super) fn begin(
        shared: Arc<Shared>,
        group: GroupId,
        generation: Generation,
        number: u64,
    ) -> io::Result<FileCheckpoint> {
        let name = format!("checkpoint-{}-{}-{number}.tmp", group.0, generation.0);
        let path = shared.directory.path().join(name);
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&path)?);
        file.write_all(&layout::encode_checkpoint_header(group, generation))?;
        Ok(FileCheckpoint {
            shared,
            group,
            generation,
            unfinished: Some(path),
            file,
            chunks_count: 0,
            bytes: CHECKPOINT_HEADER_BYTES as u64,
        })
    }

    fn put(&mut self, length: u32, bytes: &[u8]) -> io::Result<()> {
        let mut head = Vec::with_capacity(12);
        head.put_u32_le(length);
        head.put_u32_le(crc32fast::hash(bytes));
        if length == 0 {
            head.put_u32_le(bytes.len() as u32);
        }
        self.file.write_all(&head)?;
        self.file.write_all(bytes)?;
        self.bytes += (head.len() + bytes.len()) as u64;
        Ok(())
    }

    fn end(&mut self, base: &SnapshotBase) -> io::Result<()> {
        let rest = layout::encode_checkpoint_end(self.chunks_count, base);
        self.put(0, &rest)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl Checkpoint for FileCheckpoint {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        assert!(
            bytes.len() <= CHUNK_BYTES_MAX,
            "a chunk could not be read back"
        );
        if bytes.is_empty() {
            // Length 0 ends a checkpoint; nothing is what an empty chunk says.
            return Ok(());
        }
        self.shared.check()?;
        self.chunks_count += 1;
        let put = self.put(bytes.len() as u32, bytes);
        put.map_err(|error| self.shared.fail("write a checkpoint", &error))
    }

    fn finish(mut self: Box<Self>, base: &SnapshotBase) -> Result<(), JournalError> {
        self.shared.check()?;
        self.end(base)
            .map_err(|error| self.shared.fail("write a checkpoint", &error))?;
        let name = CheckpointName {
            group: self.group,
            generation: self.generation,
            index: base.index,
        };
        let unfinished = self.unfinished.as_ref().expect("it is finished once");
        if self
            .shared
            .install_checkpoint(unfinished, name, self.bytes)?
        {
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for FileCheckpoint {
    fn drop(&mut self) {
        self.shared.end_checkpoint(self.group);
        if let Some(path) = &self.unfinished {
            // What cannot be deleted now is deleted at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads a checkpoint.
#[derive(Debug)]
pub(super) struct FileReader {
    path: PathBuf,
    file: BufReader<File>,
    chunks_count: u64,
    /// Bytes of the file that are not read yet: no length is believed beyond them.
    left: u64,
    end: Option<SnapshotBase>,
}

/// A checkpoint that was read to its end.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) base: SnapshotBase,
    pub(super) bytes: u64,
}

/// Why a checkpoint cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Disk(io::Error),
    Layout(LayoutError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // A file that ends too early is damaged; the disk is well.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            ReadError::Layout(LayoutError::Damaged)
        } else {
            ReadError::Disk(error)
        }
    }
}

impl From<LayoutError> for ReadError {
    fn from(error: LayoutError) -> Self {
        ReadError::Layout(error)
    }
}

/// Reads a checkpoint to its end, which must be what its name says.
pub(super) fn verify(directory: &Directory, name: CheckpointName) -> Result<Verified, ReadError> {
    let (mut reader, group, generation) = FileReader::open(&directory.checkpoint(name))?;
    let bytes = reader.left + CHECKPOINT_HEADER_BYTES as u64;
    while reader.next()?.is_some() {}
    match reader.end {
        Some(base)
            if (group, generation, base.index) == (name.group, name.generation, name.index) =>
        {
            Ok(Verified { base, bytes })
        }
        Some(_) | None => Err(LayoutError::Damaged.into()),
    }
}

impl FileReader {
    /// Opens a checkpoint, and says of which group and generation it is.
    pub(super) fn open(path: &Path) -> Result<(FileReader, GroupId, Generation), ReadError> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut header = [0; CHECKPOINT_HEADER_BYTES];
        file.read_exact(&mut header)?;
        let (group, generation) = layout::decode_checkpoint_header(&header)?;
        let reader = FileReader {
            path: path.into(),
            file,
            chunks_count: 0,
            left: bytes - CHECKPOINT_HEADER_BYTES as u64,
            end: None,
        };
        Ok((reader, group, generation))
    }

    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let length = self.number()?;
        let checksum = self.number()?;
        if length == 0 {
            let length = self.number()?;
            if length > END_BYTES_MAX {
                return Err(LayoutError::Damaged.into());
            }
            let (chunks_count, base) = layout::decode_checkpoint_end(self.take(length, checksum)?)?;
            if chunks_count != self.chunks_count || self.left != 0 {
                return Err(LayoutError::Damaged.into());
            }
            self.end = Some(base);
            return Ok(None);
        }
        self.chunks_count += 1;
        self.take(length, checksum).map(Some)
    }

    fn number(&mut self) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(4);
        Ok(u32::from_le_bytes(bytes))
    }

    fn take(&mut self, length: u32, checksum: u32) -> Result<Bytes, ReadError> {
        if u64::from(length) > self.left {
            return Err(LayoutError::Damaged.into());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        self.left -= u64::from(length);
        if crc32fast::hash(&bytes) != checksum {
            return Err(LayoutError::Damaged.into());
        }
        Ok(bytes.into())
    }
}

impl CheckpointReader for FileReader {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, JournalError> {
        self.next().map_err(|error| {
            let reason = match error {
                ReadError::Disk(error) => error.to_string(),
                ReadError::Layout(error) => error.to_string(),
            };
            JournalError(format!("cannot read {}: {reason}", self.path.display()))
        })
    }
}
