//! Streams: entries by id, and groups of consumers that read them.
//!
//! An entry's id is two numbers; ids only grow. The entries are a tree sorted by id, so what comes in at the end and goes
//! out at the front costs O(log n), as does a range. A stream without entries is a stream: its key stays.

mod encoding;
mod fields;
mod group;
#[cfg(test)]
mod tests;

use super::sealed::Sealed;
use super::tree::{Item, Tree};
use super::{Collection, Typed};
use crate::class::allocated_bytes;
pub use fields::Fields;
pub use group::{Consumer, Group, Pending};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// The id of an entry: a time and a number among the entries of that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Wall time in milliseconds, if the server gave the id.
    pub ms: u64,
    /// Tells those of one millisecond apart.
    pub seq: u64,
}

impl StreamId {
    /// The lowest; no entry has it.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The highest.
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// The id behind this one, if it is not the highest.
    pub fn next(self) -> Option<StreamId> {
        match (self.ms, self.seq.checked_add(1)) {
            (ms, Some(seq)) => Some(StreamId { ms, seq }),
            (ms, None) => Some(StreamId {
                ms: ms.checked_add(1)?,
                seq: 0,
            }),
        }
    }

    /// The id before this one, if it is not the lowest.
    pub fn previous(self) -> Option<StreamId> {
        match (self.ms, self.seq.checked_sub(1)) {
            (ms, Some(seq)) => Some(StreamId { ms, seq }),
            (ms, None) => Some(StreamId {
                ms: ms.checked_sub(1)?,
                seq: u64::MAX,
            }),
        }
    }
}

/// The second number of an id as a key that sorts as it does: its length, then its bytes, the highest first; 0 is empty.
type SeqKey = SmallVec<[u8; 9]>;

fn seq_key(seq: u64) -> SeqKey {
    let mut key = SeqKey::new();
    if seq > 0 {
        let zeros = (seq.leading_zeros() / 8) as usize;
        key.push((8 - zeros) as u8);
        key.extend_from_slice(&seq.to_be_bytes()[zeros..]);
    }
    key
}

fn seq_of(key: &[u8]) -> u64 {
    let digits = key.get(1..).unwrap_or_default();
    digits
        .iter()
        .fold(0, |seq, digit| seq << 8 | u64::from(*digit))
}

fn id_of(item: &Item<'_>) -> StreamId {
    StreamId {
        ms: item.order,
        seq: seq_of(item.key),
    }
}

/// How many items of a tree that is sorted by id come before `id`.
fn rank_in(tree: &Tree, id: StreamId) -> usize {
    match tree.seek(id.ms, &seq_key(id.seq)) {
        Ok(at) | Err(at) => at,
    }
}

/// Puts `value` into a tree that is sorted by id.
fn put_in(tree: &mut Tree, id: StreamId, value: &[u8]) {
    let key = seq_key(id.seq);
    let item = Item {
        order: id.ms,
        key: &key,
        value,
    };
    match tree.seek(id.ms, &key) {
        Ok(at) => tree.replace(at, item),
        Err(at) => tree.insert(at, item),
    }
}

/// An entry of a stream.
#[derive(Clone, Debug)]
pub struct StreamEntry<'a> {
    /// Its id.
    pub id: StreamId,
    /// Its fields, each followed by its value.
    pub fields: Fields<'a>,
}

fn entry_of(item: Item<'_>) -> StreamEntry<'_> {
    StreamEntry {
        id: id_of(&item),
        fields: Fields::of(item.value),
    }
}

/// A stream. A clone costs O(1).
///
/// - `entries` is sorted by id, and none is above `last_id`;
/// - `groups` is sorted by name; `groups_bytes` is what they hold.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: Tree,
    last_id: StreamId,
    /// The highest id that was removed by itself, not from the front.
    max_deleted_id: StreamId,
    /// How many entries there have been ever.
    entries_added: u64,
    /// A change of one while a clone holds them copies the list of them, not what they hold.
    groups: Arc<Vec<Group>>,
    groups_bytes: usize,
}

/// The same content, whatever it takes.
impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
            && self.last_id == other.last_id
            && self.max_deleted_id == other.max_deleted_id
            && self.entries_added == other.entries_added
            && self.groups == other.groups
    }
}

impl Stream {
    pub(super) fn new() -> Self {
        Stream::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none; it may have groups all the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest id that was given ever.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// Sets the highest id given; it must not be below the last entry's.
    pub fn set_last_id(&mut self, id: StreamId) {
        let top = self.entries.len().checked_sub(1);
        let top = top.and_then(|at| self.at(at)).map(|entry| entry.id);
        assert!(top.is_none_or(|top| top <= id), "ids only grow");
        self.last_id = id;
    }

    /// How many entries there have been ever.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Sets how many entries there have been ever.
    pub fn set_entries_added(&mut self, count: u64) {
        self.entries_added = count;
    }

    /// The highest id that was removed by itself; [`StreamId::MIN`] if there is none.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Sets the highest id that was removed by itself.
    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        self.max_deleted_id = id;
    }

    /// The id of the first entry; [`StreamId::MIN`] if there is none.
    pub fn first_id(&self) -> StreamId {
        self.entries
            .get(0)
            .map_or(StreamId::MIN, |item| id_of(&item))
    }

    /// Appends an entry of `fields`, each followed by its value, under an id that must be above [`Stream::last_id`].
    pub fn push<'f>(&mut self, id: StreamId, fields: impl Iterator<Item = &'f [u8]>) {
        assert!(id > self.last_id, "ids only grow");
        let packed = fields::pack(fields);
        self.push_packed(id, &packed);
        self.last_id = id;
        // A count from outside may be anything.
        self.entries_added = self.entries_added.saturating_add(1);
    }

    fn push_packed(&mut self, id: StreamId, packed: &[u8]) {
        let key = seq_key(id.seq);
        let item = Item {
            order: id.ms,
            key: &key,
            value: packed,
        };
        self.entries.insert(self.entries.len(), item);
    }

    /// Removes the entry of this id; whether it was there.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Ok(at) = self.entries.seek(id.ms, &seq_key(id.seq)) else {
            return false;
        };
        self.entries.remove(at);
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// Removes the first `count` entries, which must be there. Returns them, to be let go of in steps
    /// ([`crate::Cache::let_go`]): a few are gone at once.
    #[must_use]
    pub fn cut_front(&mut self, count: usize) -> Stream {
        let range: Range<usize> = count..self.len();
        Stream {
            entries: self.entries.keep(range),
            ..Stream::new()
        }
    }

    /// The entry at a position from the first on.
    pub fn at(&self, rank: usize) -> Option<StreamEntry<'_>> {
        self.entries.get(rank).map(entry_of)
    }

    /// The entry of this id.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.entries.find(id.ms, &seq_key(id.seq)).map(entry_of)
    }

    /// How many entries come before `id`: where the one of this id is, or would go.
    pub fn rank(&self, id: StreamId) -> usize {
        rank_in(&self.entries, id)
    }

    /// The positions of the entries from `first` to `last`, both included.
    pub fn ranks(&self, first: StreamId, last: StreamId) -> Range<usize> {
        let end = last.next().map_or(self.len(), |id| self.rank(id));
        let begin = self.rank(first);
        begin..end.max(begin)
    }

    /// The entries from a position on.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = StreamEntry<'_>> {
        self.entries.iter_from(rank).map(entry_of)
    }

    /// The entries before a position, the last one first.
    pub fn iter_back(&self, rank: usize) -> impl Iterator<Item = StreamEntry<'_>> {
        self.entries.iter_back(rank).map(entry_of)
    }

    fn group_at(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| group.name().cmp(name))
    }

    /// The groups, in the order of their names.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of this name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.group_at(name).ok().map(|at| &self.groups[at])
    }

    /// Makes a group; false if there is one of this name already. O(groups).
    pub fn make_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> bool {
        let Err(at) = self.group_at(name) else {
            return false;
        };
        let group = Group::new(name, last_id, entries_read);
        self.groups_bytes += group.bytes();
        Arc::make_mut(&mut self.groups).insert(at, group);
        true
    }

    /// Removes a group. Returns what was in it, to be let go of in steps ([`crate::Cache::let_go`]). O(groups).
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Stream> {
        let at = self.group_at(name).ok()?;
        let group = Arc::make_mut(&mut self.groups).remove(at);
        self.groups_bytes -= group.bytes();
        Some(Stream {
            groups_bytes: group.bytes(),
            groups: Arc::new(vec![group]),
            ..Stream::new()
        })
    }

    /// Lends the group of this name for a change; none if there is none.
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group) -> R,
    ) -> Option<R> {
        let at = self.group_at(name).ok()?;
        Some(self.edit_group_at(at, change))
    }

    fn edit_group_at<R>(&mut self, at: usize, change: impl FnOnce(&mut Group) -> R) -> R {
        let group = &mut Arc::make_mut(&mut self.groups)[at];
        let before = group.bytes();
        let result = change(group);
        let after = group.bytes();
        self.groups_bytes = self.groups_bytes - before + after;
        result
    }

    /// Memory in bytes, as if nothing were shared with a clone. O(1).
    pub(super) fn bytes(&self) -> usize {
        let list = match self.groups.capacity() {
            0 => 0,
            capacity => allocated_bytes(capacity * size_of::<Group>()),
        };
        self.entries.bytes() + GROUPS_BYTES + list + self.groups_bytes
    }

    /// Frees at most about so many pieces of it; whether anything is left.
    pub(super) fn dismantle(&mut self, packs_max: usize) -> bool {
        if self.entries.dismantle(packs_max) {
            return true;
        }
        let Some(groups) = Arc::get_mut(&mut self.groups) else {
            // A clone holds them, and is then what has to be dismantled.
            self.groups = Arc::default();
            return false;
        };
        if let Some(group) = groups.last_mut()
            && !group.dismantle(packs_max)
        {
            groups.pop();
        }
        !groups.is_empty()
    }
}

/// The shared head of the list of groups.
const GROUPS_BYTES: usize = size_of::<Vec<Group>>() + 2 * size_of::<usize>();

impl Sealed for Stream {}

impl Typed for Stream {
    fn empty() -> Self {
        Stream::new()
    }

    fn of(collection: &Collection) -> Option<&Self> {
        match collection {
            Collection::Stream(this) => Some(this),
            _ => None,
        }
    }

    fn of_mut(collection: &mut Collection) -> Option<&mut Self> {
        match collection {
            Collection::Stream(this) => Some(this),
            _ => None,
        }
    }

    fn into_collection(self) -> Collection {
        Collection::Stream(self)
    }
}
