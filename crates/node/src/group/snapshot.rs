//! A shard's state at one index, as chunks: made a step at a time while writes go on, and put together elsewhere.
//!
//! Layout of a chunk, version 6, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  version, 6
//!      1     1  part: 0 beginning, 1 keys, 2 end, 3 the beginning of a state that was dropped: only on disk, no keys follow
//! beginning, of either kind:
//!      2     8  the state is that after this index
//!     10     8  its log time, ms
//!     18     8  wall time minus log time as of its last entry, ms (i64)
//!     26     8  the last fence that was given (`cache::Cache::last_fence`)
//!     34        origins (`Origins::encode`), then the table of locks (`cache::Locks::encode`), then what is known of
//!               transactions (`Reservations::encode`); then, if locks are withheld, until which log time, ms, to the end
//! keys:
//!      2        keys, to the end:
//!               +0   1  numbered database
//!               +1   9  head (`effects`) but its fence
//!              +10   4  length of the key, k
//!              +14   4  length of the value, v
//!              +18   f  the head's fence: 8 bytes if the key is pinned, else none
//!              +18+f k+v  key, value
//! end:
//!      2     8  sum over all keys of xxh3 of their bytes as above
//!     10     8  log time at the walk's end, ms, or that from which on the copy itself was exact, if that is later
//! ```
//!
//! Keys are walked in the order of their hashes. Who writes to a key that the walk has not reached puts the key's old
//! state into the next chunk first and marks it done, so the chunks together hold the state at the beginning. A key
//! that expires meanwhile may be left out: no entry behind the beginning finds it alive, or it was saved before that.
//! So from that log time on the state is exact to the key.
//!
//! A large collection comes in pieces, each under its key (`effects`): a clone of it is streamed, which costs O(1) and what
//! writes change of the original meanwhile. Pieces of one key are in their order; other keys may be between them.

use super::origins::Origins;
use super::reservations::Reservations;
use crate::effects;
use crate::shard::Shard;
use bytes::Bytes;
use cache::{Cache, Collection, Entry, FENCE_MAX, Key, Locks, Piece, Value};
use std::collections::{HashSet, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 6;
const BEGINNING: u8 = 0;
const KEYS: u8 = 1;
const END: u8 = 2;
const HOLLOW: u8 = 3;
const HEAD_BYTES: usize = 2;
/// Bytes ahead of a key and its fence, if it has one.
const KEY_HEAD_BYTES: usize = 9 + effects::HEAD_BYTES;
/// A chunk with so many bytes takes no further key: small, as whoever takes it in does nothing else meanwhile.
const CHUNK_BYTES: usize = 64 << 10;
/// About as many bytes are a piece of a collection.
const PIECE_BYTES: usize = 32 << 10;
/// Keys visited between two looks at the chunk's length.
const WALK_STEPS: usize = 64;
/// Keys visited for one chunk.
const CHUNK_STEPS_MAX: usize = 4096;
/// Bytes that writes may put aside before the stream is given up: the writes outrun it. Clones of collections count in full,
/// but less by what the cache holds, which they share with what they are clones of: a shard of which most is one large
/// collection that is written to all the time would otherwise never be copied.
const ASIDE_BYTES_MAX: usize = 64 << 20;
/// Numbered databases.
const DATABASES: u8 = crate::entry::DATABASES;

/// Makes the chunks of one stream.
#[derive(Debug)]
pub(crate) struct Producer {
    /// Its name.
    pub stream: u64,
    /// The chunk under way; complete ones before it are in `ready`.
    chunk: Vec<u8>,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// Where the walk goes on; none at its end.
    position: Option<(u8, u32)>,
    /// Collections of which not all is in a chunk yet.
    pieces: VecDeque<Pieces>,
    /// Bytes of these collections, as far as nobody else has anything of them.
    pieces_bytes: usize,
    /// Collections of which all is in chunks, to be let go of.
    over: Vec<Collection>,
    /// Keys ahead of the walk whose state at the beginning is in a chunk already, or that were not there.
    done: HashSet<(u8, Box<[u8]>)>,
    done_bytes: usize,
    sum: u64,
    /// From this log time on, ms, no key is missing here that is alive elsewhere.
    exact_from_ms: u64,
    ended: bool,
}

/// A collection as it was, and where its next piece begins.
#[derive(Debug)]
struct Pieces {
    db: u8,
    key: Box<[u8]>,
    head: effects::Head,
    collection: Collection,
    next: usize,
}

impl Producer {
    /// A stream of the shard's state as it is.
    pub fn new(stream: u64, shard: &Shard) -> Self {
        let part = match shard.group.replica.is_hollow() {
            true => HOLLOW,
            false => BEGINNING,
        };
        let mut beginning = vec![VERSION, part];
        beginning.extend_from_slice(&shard.applied.to_le_bytes());
        beginning.extend_from_slice(&shard.cache.now_ms().to_le_bytes());
        beginning.extend_from_slice(&shard.wall_offset_ms.to_le_bytes());
        beginning.extend_from_slice(&shard.cache.last_fence().to_le_bytes());
        shard.origins.encode(&mut beginning);
        shard.cache.locks().encode(&mut beginning);
        shard.reservations.encode(&mut beginning);
        match shard.cache.locks_withheld_until_ms() {
            0 => {}
            until_ms => beginning.extend_from_slice(&until_ms.to_le_bytes()),
        }
        Producer {
            stream,
            chunk: vec![VERSION, KEYS],
            ready: [beginning.into()].into(),
            ready_bytes: 0,
            position: Some((0, 0)),
            pieces: VecDeque::new(),
            pieces_bytes: 0,
            over: Vec::new(),
            done: HashSet::new(),
            done_bytes: 0,
            sum: 0,
            exact_from_ms: shard.group.streams.exact_from_ms,
            ended: false,
        }
    }

    /// Whether the walk has passed a key.
    fn is_past(&self, key: Key<'_>) -> bool {
        self.position
            .is_none_or(|position| (key.db, key.hash) < position)
    }

    /// A key is about to be written to. Returns false if the writes outrun the stream.
    pub fn save(&mut self, cache: &Cache, db: u8, key: &[u8]) -> bool {
        let place = Key::new(cache.seed(), db, key);
        if self.is_past(place) || self.done.contains(&(db, Box::from(key))) {
            return true;
        }
        if let Some(entry) = cache.peek(place) {
            self.push(db, key, entry);
        }
        self.done_bytes += key.len() + size_of::<(u8, Box<[u8]>)>();
        self.done.insert((db, key.into()));
        let shared_bytes_max = self.pieces_bytes.min(cache.used_bytes());
        let pieces_bytes = self.pieces_bytes - shared_bytes_max;
        self.ready_bytes + self.chunk.len() + self.done_bytes + pieces_bytes <= ASIDE_BYTES_MAX
    }

    /// Collections that are needed no more. A large one is freed in steps: whoever gets it gives it to
    /// [`cache::Cache::let_go`].
    pub fn take_over(&mut self) -> Vec<Collection> {
        std::mem::take(&mut self.over)
    }

    /// The same where the stream is over.
    pub fn into_collections(self) -> impl Iterator<Item = Collection> {
        let pieces = self.pieces.into_iter().map(|pieces| pieces.collection);
        self.over.into_iter().chain(pieces)
    }

    /// The next chunk, and whether it is the last.
    pub fn next(&mut self, cache: &Cache) -> (Bytes, bool) {
        let mut steps = 0;
        while self.ready.is_empty() && steps < CHUNK_STEPS_MAX {
            if let Some(pieces) = self.pieces.pop_front() {
                self.push_piece(pieces);
                continue;
            }
            let Some((db, from)) = self.position else {
                break;
            };
            let mut found = Vec::new();
            let next = cache.scan(db, from, WALK_STEPS, &mut |key, _| {
                found.push(Box::from(key))
            });
            for key in found {
                let id = (db, key);
                if self.done.remove(&id) {
                    self.done_bytes -= id.1.len() + size_of::<(u8, Box<[u8]>)>();
                } else {
                    let entry = cache.peek(Key::new(cache.seed(), db, &id.1));
                    self.push(db, &id.1, entry.expect("visited just now"));
                }
            }
            self.position = match next {
                Some(hash) => Some((db, hash)),
                None if db + 1 < DATABASES => Some((db + 1, 0)),
                None => None,
            };
            steps += WALK_STEPS;
        }
        if let Some(chunk) = self.ready.pop_front() {
            self.ready_bytes -= chunk.len().min(self.ready_bytes);
            return (chunk, false);
        }
        if self.position.is_some() || !self.pieces.is_empty() || self.chunk.len() > HEAD_BYTES {
            let chunk = std::mem::replace(&mut self.chunk, vec![VERSION, KEYS]);
            return (chunk.into(), false);
        }
        let mut end = vec![VERSION, END];
        end.extend_from_slice(&self.sum.to_le_bytes());
        // What this copy lacks itself, because it came by a snapshot, the next one lacks as well.
        let exact_from_ms = self.exact_from_ms.max(cache.now_ms());
        end.extend_from_slice(&exact_from_ms.to_le_bytes());
        self.ended = true;
        (end.into(), true)
    }

    /// Whether the last chunk was made.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn push(&mut self, db: u8, key: &[u8], entry: Entry<'_>) {
        let mut head = effects::head_of(Some(entry));
        let collection = match entry.value {
            Value::String(value) => return self.push_value(db, key, &head, value),
            Value::Shared(value) => return self.push_value(db, key, &head, value),
            Value::Collection(collection) => collection,
        };
        let mut value = Vec::new();
        let next = collection.encode_from(0, PIECE_BYTES, &mut value);
        self.push_value(db, key, &head, &value);
        if let Piece::Next(next) = next {
            effects::make_further(&mut head);
            self.pieces_bytes += collection.bytes();
            self.pieces.push_back(Pieces {
                db,
                key: key.into(),
                head,
                collection: collection.clone(),
                next,
            });
        }
    }

    /// Puts the next piece of a collection into the chunk; what is left of it comes later.
    fn push_piece(&mut self, mut pieces: Pieces) {
        let mut value = Vec::new();
        let next = pieces
            .collection
            .encode_from(pieces.next, PIECE_BYTES, &mut value);
        self.push_value(pieces.db, &pieces.key, &pieces.head, &value);
        if let Piece::Next(next) = next {
            pieces.next = next;
            self.pieces.push_front(pieces);
        } else {
            self.pieces_bytes -= pieces.collection.bytes();
            self.over.push(pieces.collection);
        }
    }

    fn push_value(&mut self, db: u8, key: &[u8], head: &[u8], value: &[u8]) {
        let at = self.chunk.len();
        self.chunk.push(db);
        let (head, fence) = head.split_at(effects::HEAD_BYTES);
        self.chunk.extend_from_slice(head);
        self.chunk
            .extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.chunk
            .extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.chunk.extend_from_slice(fence);
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        self.sum = self.sum.wrapping_add(xxh3_64(&self.chunk[at..]));
        if self.chunk.len() >= CHUNK_BYTES {
            let chunk = std::mem::replace(&mut self.chunk, vec![VERSION, KEYS]);
            self.ready_bytes += chunk.len();
            self.ready.push_back(chunk.into());
        }
    }
}

/// Chunks that are no snapshot of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// Cut short, or with something where nothing should be.
    #[error("snapshot has a malformed chunk")]
    Shape,
    /// Another version of the layout.
    #[error("snapshot has version {0}, this node reads version {VERSION}")]
    Version(u8),
    /// The parts do not come as beginning, keys, end.
    #[error("snapshot's chunks are out of order")]
    Order,
    /// What arrived is not what was sent.
    #[error("snapshot's checksum does not match")]
    Sum,
}

/// Puts the chunks of one stream together.
pub(crate) struct Staging {
    /// Its name.
    pub stream: u64,
    cache: Cache,
    base: Option<(u64, u64, i64, Origins, Reservations)>,
    is_hollow: bool,
    sum: u64,
    /// Log time at the walk's end, ms, once the end is there.
    exact_from_ms: Option<u64>,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// A state that was put together.
pub(crate) struct Staged {
    /// The keys.
    pub cache: Cache,
    /// The state is that after this index.
    pub applied: u64,
    /// Its log time, ms.
    pub log_ms: u64,
    /// Wall time minus log time as of the last entry, ms.
    pub wall_offset_ms: i64,
    /// From this log time on, ms, no key is missing that is alive elsewhere.
    pub exact_from_ms: u64,
    /// Who wrote it.
    pub origins: Origins,
    /// Who has keys for himself.
    pub reservations: Reservations,
    /// Whether the state was dropped: there are no keys, though there were some.
    pub is_hollow: bool,
}

impl Staging {
    /// Nothing yet, of keys hashed under `seed`.
    pub fn new(stream: u64, seed: u64) -> Self {
        Staging {
            stream,
            cache: Cache::new(seed),
            base: None,
            is_hollow: false,
            sum: 0,
            exact_from_ms: None,
        }
    }

    /// Bytes held.
    pub fn used_bytes(&self) -> usize {
        self.cache.used_bytes()
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// A line each of [`SnapshotError`].
    pub fn add(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let (head, body) = chunk
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or(SnapshotError::Shape)?;
        if head[0] != VERSION {
            return Err(SnapshotError::Version(head[0]));
        }
        if self.exact_from_ms.is_some()
            || self.base.is_none() != matches!(head[1], BEGINNING | HOLLOW)
        {
            return Err(SnapshotError::Order);
        }
        match head[1] {
            BEGINNING | HOLLOW => {
                self.is_hollow = head[1] == HOLLOW;
                let (index, rest) = split_u64(body)?;
                let (log_ms, rest) = split_u64(rest)?;
                let (offset, rest) = split_u64(rest)?;
                let (last_fence, rest) = split_u64(rest)?;
                if last_fence > FENCE_MAX {
                    return Err(SnapshotError::Shape);
                }
                let (origins, rest) = Origins::decode(rest).ok_or(SnapshotError::Shape)?;
                let (locks, rest) = Locks::decode(rest).ok_or(SnapshotError::Shape)?;
                self.cache.set_now(log_ms);
                self.cache.resume_fences(last_fence);
                self.cache.put_locks(locks);
                let (reservations, rest) =
                    Reservations::decode(rest, &self.cache).ok_or(SnapshotError::Shape)?;
                match rest.len() {
                    0 => {}
                    8 => self.cache.withhold_locks(split_u64(rest)?.0),
                    _ => return Err(SnapshotError::Shape),
                }
                self.base = Some((index, log_ms, offset as i64, origins, reservations));
                Ok(())
            }
            KEYS if self.is_hollow => Err(SnapshotError::Order),
            KEYS => self.add_keys(body),
            END => {
                let (sum, rest) = split_u64(body)?;
                let (exact_from_ms, rest) = split_u64(rest)?;
                if !rest.is_empty() {
                    return Err(SnapshotError::Shape);
                }
                self.exact_from_ms = Some(exact_from_ms);
                match sum == self.sum {
                    true => Ok(()),
                    false => Err(SnapshotError::Sum),
                }
            }
            _ => Err(SnapshotError::Shape),
        }
    }

    fn add_keys(&mut self, mut body: &[u8]) -> Result<(), SnapshotError> {
        while let Some((head, rest)) = body.split_first_chunk::<KEY_HEAD_BYTES>() {
            let length =
                |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
            let db = head[0];
            let fence = rest.split_at_checked(effects::fence_bytes(head[1]));
            let (fence, rest) = fence.ok_or(SnapshotError::Shape)?;
            let mut state = effects::Head::from_slice(&head[1..1 + effects::HEAD_BYTES]);
            state.extend_from_slice(fence);
            if db >= DATABASES || !effects::is_head(&state) || effects::is_unnumbered(&state) {
                return Err(SnapshotError::Shape);
            }
            let key_and_value = rest
                .split_at_checked(length(10) as usize)
                .and_then(|(key, rest)| Some((key, rest.split_at_checked(length(14) as usize)?)));
            let (key, (value, rest)) = key_and_value.ok_or(SnapshotError::Shape)?;
            effects::put(&mut self.cache, db, key, &state, value)
                .map_err(|_| SnapshotError::Shape)?;
            let whole = &body[..KEY_HEAD_BYTES + fence.len() + key.len() + value.len()];
            self.sum = self.sum.wrapping_add(xxh3_64(whole));
            body = rest;
        }
        match body.is_empty() {
            true => Ok(()),
            false => Err(SnapshotError::Shape),
        }
    }

    /// The state, if all of it is there.
    ///
    /// # Errors
    /// Something is missing.
    pub fn finish(self) -> Result<Staged, SnapshotError> {
        let (applied, log_ms, wall_offset_ms, origins, reservations) =
            self.base.ok_or(SnapshotError::Order)?;
        let exact_from_ms = self.exact_from_ms.ok_or(SnapshotError::Order)?;
        Ok(Staged {
            cache: self.cache,
            applied,
            log_ms,
            wall_offset_ms,
            exact_from_ms,
            origins,
            reservations,
            is_hollow: self.is_hollow,
        })
    }
}

fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8]), SnapshotError> {
    let (field, rest) = bytes.split_first_chunk::<8>().ok_or(SnapshotError::Shape)?;
    Ok((u64::from_le_bytes(*field), rest))
}
